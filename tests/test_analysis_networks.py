"""Every analysis on each kind of network, and values known beforehand."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest
import torch
from networks import build, images_for, silenced
from torch import nn

import ensembles
from ensembles.analyses.kinds import ANALYSES
from ensembles.decomposition import Decomposition
from ensembles.errors import EnsemblesError
from ensembles.plots import plot_analysis

ROOT = Path(__file__).parent.parent
OPTIONS: dict[str, dict[str, Any]] = {
    "influence": {"resamples": 20},
    "execution": {"lengths": "2"},
    "interactions": {"permutations": 2, "sets": 8},
    "criticality": {"trials": 1},
    "recalibration": {"size": 8},
    "depth": {"images": 2},
    "refinement": {"train": 20},
    "spectra": {"images": 2, "scales": "0.5"},
    "diversity": {"members": 2, "share": 0.3},
    "coupling": {"top": 2, "positions": 1},
}
NAMES = [name for name in ANALYSES.names() if name not in ("lesion", "paths")]
NETWORKS = ("ResNet", "vision transformer", "language model")


class Subject(NamedTuple):
    net: Decomposition
    data: Any
    given: dict[str, Any]


@cache
def subject(what: str) -> Subject:
    if what == "language model":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = ensembles.create_model("gpt6", width=16, heads=2)
            for weight in model.parameters():
                nn.init.normal_(weight, std=0.2)
            windows = torch.randint(0, 256, (6, 8))
        return Subject(ensembles.decompose(model, windows[:2]), windows, {})
    plan = [("post", 6, 1)] * 2 + [("post", 8, 2), ("post", 8, 1)]
    model = build(plan if what == "ResNet" else [("attention", 6, 1)] * 2, seed=1)
    images, labels = images_for(model, 12)
    given = {"reference": [images_for(model, 24, seed=5)]}
    return Subject(ensembles.decompose(model, images[:4]), [(images, labels)], given)


def where_they_run() -> dict[str, list[str]]:
    """The table of the page: what each analysis does on each kind of network."""
    text = (ROOT / "docs" / "analyses.md").read_text(encoding="utf-8")
    part = text[text.index("<!-- networks -->") : text.index("<!-- end of networks -->")]
    rows = [line.strip("| ").split(" | ") for line in part.splitlines() if line.startswith("| `")]
    return {cells[0].strip("`"): cells[1:4] for cells in rows}


@pytest.mark.parametrize("name", NAMES)
def test_it_runs_on_each_kind_of_network_or_says_why_not(
    name: str, tmp_path: Path, unplaced: None
) -> None:
    told = where_they_run()[name]
    tables = []
    for what, said in zip(NETWORKS, told, strict=True):
        net, data, given = subject(what)
        seen: list[int] = []
        try:
            table = ensembles.analyze(
                net, data, name, store=tmp_path / "kept.db", model=what,
                progress=lambda done, _, seen=seen: seen.append(done),
                **given, **OPTIONS.get(name, {}),
            )  # fmt: skip
        except EnsemblesError as error:
            assert said != "yes", what
            assert "\n" not in str(error) and len(str(error)) < 300
            continue
        assert said == "yes" or name == "recalibration", what
        assert seen, "no progress was told"
        ends = ("_low", "_high", "_se", "low", "high")
        assert name == "experts" or any(column.endswith(ends) for column in table.columns)
        if name == "recalibration" and what != "ResNet":
            assert (table["loss_gain"] == 0).all()
        assert ANALYSES.get(name).notes(table) or name == "recalibration"
        assert plot_analysis(table).axes
        tables.append(table)
    assert tables or name == "experts"
    if len(tables) > 1 and name != "recalibration":
        assert plot_analysis(tables).axes


# Values known beforehand


def quiet(blocks: int, *gone: int) -> tuple[Decomposition, list[Any]]:
    """A network of blocks of which some have no branch."""
    model = build([("pre", 6, 1)] * blocks, seed=3)
    for number in gone:
        model = silenced(model, number)
    images, labels = images_for(model, 20)
    return ensembles.decompose(model, images[:4]), [(images, labels)]


def test_spans_without_branches_can_be_run_in_any_way() -> None:
    net, data = quiet(4, 2, 3)
    table = ensembles.analyze(net, data, "execution", lengths="2", scan=True)
    inside = table[(table["first"] == 2) & (table["last"] == 3)]
    assert set(inside["variant"]) >= {"skip", "middle", "reverse", "parallel", "looped", "swap"}
    for column in ("loss_rise", "loss_rise_low", "loss_rise_high", "kl"):
        assert inside[column].abs().max() < 1e-6
    assert table["loss_rise"].abs().max() > 1e-3


def test_equal_blocks_have_no_order() -> None:
    model = build([("pre", 6, 1)] * 3, seed=3)
    for block in model.blocks[1:]:
        block.load_state_dict(model.blocks[0].state_dict())
    images, labels = images_for(model, 20)
    net = ensembles.decompose(model, images[:4])
    table = ensembles.analyze(net, [(images, labels)], "execution", lengths="2,3")
    order = table["variant"].isin(["reverse", "shuffle", "swap", "middle"])
    assert table.loc[order, "kl"].max() < 1e-6 < table.loc[~order, "kl"].max()


def test_weights_that_do_nothing_or_are_the_same_can_be_lost() -> None:
    net, data = quiet(3, 2)
    labels = net(data[0][0]).argmax(1)  # so that the intact network is right
    model = build([("pre", 6, 1)] * 3, seed=3)
    table = ensembles.analyze(
        net, [(data[0][0], labels)], "criticality", trials=1, initial=silenced(model, 2)
    )
    rows = table.set_index(["block", "variant"])
    for place in [(block, "reset") for block in (1, 2, 3)] + [(2, "zero")]:
        assert rows.loc[place, "recovered"] == 1
        assert rows.loc[place, "cosine"] == pytest.approx(1, abs=1e-6)
        assert rows.loc[place, "loss_rise"] == pytest.approx(0, abs=1e-6)
    assert rows.loc[(1, "zero"), "cosine"] < 1


def test_nothing_changes_after_the_last_block_that_adds_anything() -> None:
    net, data = quiet(4, 3, 4)
    table = ensembles.analyze(net, data, "depth", images=0)
    assert table["kl"][:2].min() > 1e-4
    assert table["kl"][2:].abs().max() < 1e-6
    assert table["branch_cosine"][3:].isna().all() and table["branch_cosine"][1:3].notna().all()


def test_a_sum_of_branches_has_no_interactions_of_its_own() -> None:
    net, data = quiet(3, 2)
    frame: pd.DataFrame = ensembles.analyze(net, data, "interactions", sets=8)
    with_it = frame[(frame["block"] == 2) | (frame["other"] == 2)]
    assert with_it["interaction"].abs().max() < 1e-6
    assert frame["interaction"].abs().max() > 1e-5
