"""The intact error, held against that of the card, before a sweep."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
import torch
from calls import called
from torch import Tensor, nn

from ensembles.checkpoints import Card, Measured, check_error
from ensembles.data import ImageDataset, Normalization
from ensembles.data.sources import MemorySource
from ensembles.errors import CheckpointError

Call = Callable[..., tuple[int, str, str]]


class Darkest(nn.Module):
    """Class 0 where the mean is below 0: it needs the right normalisation."""

    def forward(self, images: Tensor) -> Tensor:
        mean = images.mean((1, 2, 3))
        return torch.stack([-mean, mean], 1)


def images(count: int = 1000, normalization: str = "0.5,0.5,0.5/1,1,1") -> ImageDataset:
    """Dark images of class 0, bright ones of class 1."""
    labels = torch.arange(count) % 2
    pixels = (60 + 120 * labels.view(-1, 1, 1, 1)).to(torch.uint8).expand(-1, 3, 2, 2)
    return ImageDataset(
        "folder/shades", "test", ("dark", "bright"), MemorySource(pixels.contiguous(), labels),
        Normalization.parse(normalization),
    )  # fmt: skip


def card(correct: int = 1000, total: int = 1000, **changes: str) -> Card:
    measured = replace(Measured("shades", "test", correct, total), **changes)  # type: ignore[arg-type]
    return Card("mine", "resnet20", 2, normalization="imagenet", measured=(measured,))


@pytest.mark.parametrize("correct", [1000, 997])
def test_errors_that_agree_pass(correct: int) -> None:
    check_error(Darkest(), card(correct), images(), device="cpu")


def test_errors_that_differ_are_both_named() -> None:
    with pytest.raises(CheckpointError) as caught:
        check_error(Darkest(), card(996), images(), device="cpu")
    assert "of mine on folder/shades test is 0.00 %, its card says 0.40 %" in str(caught.value)
    with pytest.raises(CheckpointError) as caught:
        check_error(Darkest(), card(), images(normalization="none"), device="cpu")
    assert str(caught.value) == (
        "the intact error of mine on folder/shades test is 50.00 %, its card says 0.00 %: wrong "
        "normalisation is the commonest mistake (used: none, the card's: imagenet); correct it, or "
        "go on with --force"
    )


@pytest.mark.parametrize(
    ("stated", "data"),
    [
        (card(0), images(998)),
        (card(0, split="val"), images()),
        (card(0, dataset="shadows"), images()),
        (card(0, content_hash="0123"), images()),
        (Card("mine", "resnet20", 2), images()),
    ],
    ids=["a part", "another split", "another set", "another hash", "nothing stated"],
)
def test_other_data_are_not_compared(stated: Card, data: ImageDataset) -> None:
    check_error(Darkest(), stated, data, device="cpu")


def test_the_same_hash_is_compared() -> None:
    with pytest.raises(CheckpointError, match=r"its card says 100\.00 %"):
        check_error(Darkest(), card(0, content_hash=images().content_hash), images(), device="cpu")


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Run the command line; returns exit status, standard output and standard error."""

    return partial(called, capsys)


LESION = ("lesion", "--model", "vgg15", "--device", "cpu", "--blocks", "3")


def test_the_right_normalisation_passes(call: Call) -> None:
    code, out, err = call(*LESION)
    assert code == 0
    assert "357" in out.splitlines()[1]
    assert "intact error 0.56 %" in err


@pytest.mark.parametrize(
    "arguments", [LESION, ("paths", "--model", "resnet110", "--device", "cpu")]
)
def test_a_wrong_normalisation_stops_before_the_sweep(
    call: Call, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("the sweep was started")

    monkeypatch.setattr("ensembles.analyses.members.lesion.lesion", never)
    monkeypatch.setattr("ensembles.analyses.members.paths.paths", never)
    code, out, err = call(*arguments, "--normalize", "none")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith(f"ensembles: the intact error of {arguments[2]}-digits on digits test is")
    assert ": wrong normalisation is the commonest mistake (used: none, the card's: digits)" in err
    assert err.endswith("go on with --force\n")


@pytest.mark.parametrize("more", [("--force",), ("--limit", "20")])
def test_force_goes_on_and_a_part_is_not_compared(call: Call, more: tuple[str, ...]) -> None:
    code, out, err = call(*LESION, "--normalize", "none", *more)
    assert code == 0
    assert len(out.splitlines()) == 3
    assert "intact error" in err
