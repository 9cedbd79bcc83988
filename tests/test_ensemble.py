"""Ensembles proper: the average of networks, whose blocks are its members."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from calls import exit_status
from torch import Tensor, nn
from untrained import save_untrained

import ensembles
from ensembles.cards import Card
from ensembles.checkpoints import open_average
from ensembles.decomposition import Decomposition, decompose
from ensembles.errors import CheckpointError, LesionError, PathError, UsageError
from ensembles.lesions import Lesion, single_deletions
from ensembles.models import Average
from ensembles.models.ensemble import AverageOf
from ensembles.unravelling.linearization import Linearizer
from tests.networks import build

IMAGES = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 3, 4, 0])
PLANS = ("post", "inception", "plain")


def members() -> list[nn.Module]:
    return [build([(kind, 6, 1)], seed=seed) for seed, kind in enumerate(PLANS)]


def taken_apart(of: AverageOf = "probabilities") -> tuple[list[nn.Module], Decomposition]:
    parts = members()
    return parts, decompose(Average(parts, of).eval(), IMAGES)


def loss_of(parts: list[nn.Module], of: AverageOf) -> float:
    """The loss of the average, written out."""
    with torch.no_grad():
        answers: list[Tensor] = [part(IMAGES) for part in parts]
        if of == "probabilities":
            logits = (sum(answer.softmax(1) for answer in answers) / len(answers)).log()
        else:
            logits = sum(answers) / len(answers)
        return float(nn.functional.cross_entropy(logits, LABELS))


@pytest.mark.parametrize("of", ["probabilities", "logits"])
@pytest.mark.parametrize("engine", ["prefix", "level", "direct"])
def test_a_deleted_member_leaves_the_average_to_the_others(of: AverageOf, engine: str) -> None:
    parts, net = taken_apart(of)
    assert [block.kind for block in net] == ["member"] * 3
    assert net.names == ("members.0", "members.1", "members.2")
    sweep = [*single_deletions(3), Lesion("delete", (1, 3)), Lesion("duplicate", (2,))]
    frame = ensembles.lesion(net, [(IMAGES, LABELS)], sweep, engine=engine)
    one, two, three = parts
    averages = [parts, [two, three], [one, three], [one, two], [two], [one, two, two, three]]
    expected = [loss_of(average, of) for average in averages]
    assert frame["loss"].to_list() == pytest.approx(expected, rel=1e-4)
    assert frame["lesion"].to_list() == ["none", *["delete"] * 4, "duplicate"]


def test_members_give_the_same_counts_in_both_engines() -> None:
    _, net = taken_apart()
    shared = ensembles.lesion(net, [(IMAGES, LABELS)])
    direct = ensembles.lesion(net, [(IMAGES, LABELS)], engine="direct")
    assert shared["correct"].to_list() == direct["correct"].to_list()
    assert len(shared) == 1 + len(net)


@pytest.mark.parametrize(
    ("lesion", "message"),
    [
        (Lesion("reorder", swaps=((1, 2),)), "members of an average, whose order means nothing"),
        (Lesion("delete", (1, 2, 3)), "deleting all 3 members leaves nothing to average"),
        (Lesion("drop", roads=((1, 1),)), "block 1 (members.0) is member and has no branches"),
    ],
)
def test_what_means_nothing_for_members_is_refused(lesion: Lesion, message: str) -> None:
    _, net = taken_apart()
    with pytest.raises(LesionError) as caught:
        ensembles.lesion(net, [(IMAGES, LABELS)], [lesion])
    assert message in str(caught.value)


def test_members_are_no_paths() -> None:
    _, net = taken_apart()
    with pytest.raises(PathError, match="its 3 blocks are members of an average"):
        Linearizer(net)


def test_an_average_can_be_taken_as_one_block_of_roads() -> None:
    net = decompose(Average(members()).eval(), IMAGES, kinds=["fractal"])
    assert [block.kind for block in net] == ["fractal"]
    assert net.road_counts == (3,)
    data = [(IMAGES, LABELS)]
    dropped = ensembles.lesion(net, data, [Lesion("drop", roads=((1, 2),))])
    deleted = ensembles.lesion(taken_apart()[1], data, [Lesion("delete", (2,))])
    assert dropped["loss"].to_list() == pytest.approx(deleted["loss"].to_list(), rel=1e-5)


def test_a_mean_within_a_network_is_no_average_of_networks() -> None:
    class Within(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.roads = nn.ModuleList(nn.Conv2d(3, 4, 3, padding=1) for _ in range(2))
            self.head = nn.Linear(4, 5)

        def forward(self, x: Tensor) -> Tensor:
            mean = torch.stack([road(x) for road in self.roads]).mean(dim=0)
            return self.head(mean.mean((2, 3)))

    net = decompose(Within().eval(), IMAGES)
    assert [block.kind for block in net] == ["fractal"]


def test_classifiers_on_one_body_are_no_average_of_networks() -> None:
    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.streams = nn.ModuleList(nn.Conv2d(3, 4, 3, padding=1) for _ in range(2))
            self.mixed = nn.Conv2d(4, 4, 1)
            self.heads = nn.ModuleList(nn.Linear(4, 5) for _ in range(2))

        def forward(self, x: Tensor) -> Tensor:
            one, two = (stream(x) for stream in self.streams)
            two = two + self.mixed(one)
            answers = [head(y.mean((2, 3))) for head, y in zip(self.heads, (one, two), strict=True)]
            return torch.mean(torch.stack(answers, dim=0), dim=0)

    net = decompose(Heads().eval(), IMAGES, nested=False)
    assert [(block.kind, block.deletable) for block in net] == [("fractal", False)]
    assert net.road_counts == (2,)
    with pytest.raises(LesionError, match=r"no map without parameters does; leave it out"):
        ensembles.lesion(net, [(IMAGES, LABELS)])


@pytest.mark.parametrize(
    ("count", "of", "message"),
    [(1, "logits", "an average of 1 networks"), (2, "votes", "an average of 'votes'; expected")],
)
def test_averages_that_cannot_be_meant(count: int, of: AverageOf, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Average(members()[:count], of)


def test_certain_members_keep_the_logits_finite() -> None:
    parts = members()
    for part in parts:
        nn.init.constant_(part.classifier.bias, 0.0)
        part.classifier.bias.data[0] = 1e4
    assert Average(parts).eval()(IMAGES).isfinite().all()


def saved(folder: Path, seed: int) -> str:
    return str(save_untrained(folder / f"lenet5-{seed}.pt", seed, "lenet5"))


def test_files_are_averaged_by_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [saved(tmp_path, seed) for seed in range(3)]
    chosen = [word for file in files for word in ("--checkpoint", file)]
    shared = ["--model", "lenet5", "--limit", "8", "--normalize", "none"]
    assert exit_status("lesion", "--average", *shared, *chosen) == 0
    assert "members.2" in capsys.readouterr().out
    assert exit_status("analyze", "diversity", "--average", *shared, *chosen) == 0
    assert "members: the 3 networks of the average" in capsys.readouterr().err
    assert exit_status("lesion", "--average", *shared, *chosen[:2]) == 2
    assert "an average needs two networks or more, got 1" in capsys.readouterr().err
    assert exit_status("lesion", "--kind", "drop", *shared, *chosen[:2]) == 2
    assert "no block has several branches" in capsys.readouterr().err


def test_one_network_is_no_average() -> None:
    with pytest.raises(UsageError, match="an average needs two networks or more, got 1"):
        open_average([("resnet110", None)])


def test_language_models_are_not_averaged() -> None:
    with pytest.raises(UsageError, match="takes text; expected classifiers of images"):
        open_average([("gpt12", None)] * 2)


def test_networks_for_other_images_are_not_averaged(tmp_path: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        other = ensembles.create_model("lenet5", 7)
    torch.save(other.state_dict(), tmp_path / "seven.pt")
    members = [("resnet110", None), ("lenet5", tmp_path / "seven.pt")]
    with pytest.raises(CheckpointError, match="cannot be averaged: their num_classes are 10 and 7"):
        open_average(members)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("normalization", "cifar10"),
        ("dataset", "svhn"),
        ("preprocessing", {"resize": 256, "crop": 224}),
    ],
)
def test_what_members_expect_of_images_is_alike(
    key: str, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = Card("one", "resnet20", 10, dataset="digits", normalization="digits")
    cards = iter([card, replace(card, name="two", **{key: value})])
    network = build([("post", 4, 1)])
    monkeypatch.setattr(
        "ensembles.checkpoints.averages.load", lambda *_, **__: (network, next(cards))
    )
    with pytest.raises(CheckpointError, match=f"one and two cannot be averaged: their {key} are"):
        open_average([("resnet20", "one"), ("resnet20", "two")])
