"""Attention and MLPs removed by themselves and in turn, against loops by hand."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from by_hand import Loop, loop_of
from networks import Tokens, build, images_for, silenced
from torch import Tensor, nn

import ensembles
from ensembles.analyses.kinds import ANALYSES
from ensembles.analyses.lesion_means import LesionMeans
from ensembles.analyses.sublayer_units import removal, units_of
from ensembles.decomposition.sublayers import Sublayer, sublayers_of
from ensembles.errors import DataError, UsageError
from ensembles.lesions import Delete, Drop
from ensembles.plots import plot_analysis
from ensembles.plots.sublayers import cost_by_layer, cost_by_share

LAYERS = [("attention", 0, 1)] * 3


def losses_by_hand(loop: Loop, images: Tensor, labels: Tensor, gone: Iterable[int]) -> np.ndarray:
    """Cross-entropy of every row without some blocks."""
    x = loop.stem(images)
    for number, unit in enumerate(loop.units, 1):
        x = x if number in set(gone) else unit(x)
    return F.cross_entropy(loop.head(x), labels, reduction="none").numpy()


def test_it_equals_loops_by_hand() -> None:
    model = build(LAYERS, seed=3)
    images, labels = images_for(model, 70)
    net, data = ensembles.decompose(model, images[:4]), [(images, labels)]
    table = ensembles.analyze(net, data, "sublayers")
    loop = loop_of(model)
    units = {
        "attention": [(1,), (3,), (5,)], "mlp": [(2,), (4,), (6,)],
        "both": [(1, 2), (3, 4), (5, 6)],
        "either": [(number,) for number in range(1, 7)],
    }  # fmt: skip
    with torch.no_grad():
        entered = [loop.stem(images)]
        for unit in loop.units:
            entered.append(unit(entered[-1]))

        def influence(unit: tuple[int, ...]) -> float:
            cosines = F.cosine_similarity(entered[unit[0] - 1], entered[unit[-1]], dim=-1)
            return float(1 - cosines.mean(1).mean())

        def losses(gone: Iterable[int]) -> np.ndarray:
            return losses_by_hand(loop, images, labels, gone)

        whole = losses(())
        chosen = np.arange(70) % 32 % 2 == 0
        for removed, parts in units.items():
            alone = table[(table["removed"] == removed) & (table["order"] == "alone")]
            assert len(alone) == (0 if removed == "either" else 3)
            for row, unit in zip(alone.itertuples(), parts, strict=False):
                rise = float((losses(unit) - whole).mean())
                assert row.loss_rise == pytest.approx(rise, abs=1e-5)
                assert row.influence == pytest.approx(influence(unit), abs=1e-5)
                assert row.layer == (unit[0] + 1) // 2
            for order in ("influence", "loss"):
                curve = table[(table["removed"] == removed) & (table["order"] == order)]
                assert curve["step"].tolist() == list(range(len(parts) + 1))
                gone: list[tuple[int, ...]] = []
                for row in curve.itertuples():
                    if row.step:
                        left = [unit for unit in parts if unit not in gone]
                        gone.append(min(left, key=influence) if order == "influence" else min(
                            left, key=lambda unit: losses(sum([*gone, unit], ()))[chosen].mean()
                        ))  # fmt: skip
                        names = " ".join(net.names[number - 1] for number in gone[-1])
                        assert row.name == names
                    seen = losses(sum(gone, ()))[~chosen]
                    assert row.loss == pytest.approx(float(seen.mean()), abs=1e-5)
                    assert row.loss_rise == pytest.approx(
                        float((seen - whole[~chosen]).mean()), abs=1e-5
                    )
                    assert row.loss_rise_low <= row.loss_rise <= row.loss_rise_high
                    assert row.share == len(gone) / len(parts)


def test_what_adds_nothing_goes_first_and_costs_nothing(tmp_path: Path) -> None:
    model = silenced(build(LAYERS, seed=4), 3)
    images, labels = images_for(model, 40)
    net, data = ensembles.decompose(model, images[:4]), [(images, labels)]
    table = ensembles.analyze(net, data, "sublayers", until=0.3, store=tmp_path / "x.db")
    alone = table[(table["order"] == "alone") & (table["removed"] == "attention")]
    assert abs(alone["loss_rise"].iloc[1]) < 1e-7 and abs(alone["influence"].iloc[1]) < 1e-12
    first = table[(table["removed"] == "attention") & (table["step"] == 1)]
    by_influence = first[first["order"] == "influence"].iloc[0]
    assert by_influence["layer"] == 2 and by_influence["kl"] == pytest.approx(0, abs=1e-9)
    steps = table[table["order"] != "alone"].groupby(["removed", "order"])["step"].max()
    assert set(steps.loc["attention"]) == {1} and set(steps.loc["either"]) == {2}
    again = ensembles.analyze(net, data, "sublayers", until=0.3, store=tmp_path / "x.db")
    assert again.equals(table)
    one = ensembles.analyze(net, data, "sublayers", order="loss", rows=20)
    assert set(one["order"]) == {"alone", "loss"}


def test_branches_that_are_added_at_once_are_removed_one_by_one() -> None:
    model = build([("side", 0, 1)] * 2, seed=5)
    assert isinstance(model, Tokens)
    images, labels = images_for(model, 36)
    net, data = ensembles.decompose(model, images[:4]), [(images, labels)]
    parts = sublayers_of(net)
    assert [(part.layer, part.kind, part.block) for part in parts] == [
        (1, "attention", 1), (1, "mlp", 1), (2, "attention", 2), (2, "mlp", 2),
    ]  # fmt: skip
    units = units_of(net)
    road = parts[2].road
    assert removal(net, [units["both"][0]]) == Delete((1,))
    assert removal(net, [units["attention"][1]]) == Drop(((2, road),))
    mixed = removal(net, [units["both"][0], units["attention"][1]])
    assert mixed == Delete((1,)).then(Drop(((2, road),)))

    def by_hand(gone: set[tuple[int, str]]) -> tuple[Tensor, list[Tensor]]:
        x = model.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat([model.token.expand(len(x), -1, -1), x], 1) + model.positions
        alone = []
        for number, block in enumerate(model.blocks, 1):
            y = block.norm(x)
            q, k, v = block.qkv(y).unflatten(-1, (3, 2, -1)).permute(2, 0, 3, 1, 4)
            seen = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
            added = {"attention": block.out(seen), "mlp": block.mlp(y)}
            alone += [1 - F.cosine_similarity(x, x + one, dim=-1).mean() for one in added.values()]
            x = x + sum(one for kind, one in added.items() if (number, kind) not in gone)
        return F.cross_entropy(model.head(model.norm(x)[:, 0]), labels), alone

    table = ensembles.analyze(net, data, "sublayers").set_index(["removed", "order"])
    with torch.no_grad():
        whole, alone = by_hand(set())
        for kind in ("attention", "mlp"):
            rows = table.loc[(kind, "alone")]
            for number, row in enumerate(rows.itertuples(), 1):
                rise = float(by_hand({(number, kind)})[0] - whole)
                assert row.loss_rise == pytest.approx(rise, abs=1e-5)
                place = 2 * (number - 1) + (kind == "mlp")
                assert row.influence == pytest.approx(float(alone[place]), abs=1e-5)
        both = by_hand({(1, "attention"), (1, "mlp")})[0] - whole
        assert table.loc[("both", "alone"), "loss_rise"].iloc[0] == pytest.approx(
            float(both), abs=1e-5
        )


def test_a_language_model_its_figure_and_notes(tmp_path: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = ensembles.create_model("gpt6", width=16, heads=2)
        windows = torch.randint(0, 256, (6, 12))
    net = ensembles.decompose(model, windows[:2])
    assert [part.kind for part in sublayers_of(net)] == ["attention", "mlp"] * 3
    table = ensembles.analyze(net, windows, "sublayers", model="small")
    assert table.attrs["sublayers"] == {"attention": 3, "mlp": 3, "both": 3, "either": 6}
    figure = plot_analysis(table, tmp_path / "x.png")
    assert [ax.get_xlabel() for ax in figure.axes] == ["Layer", "Share removed"]
    assert len(plot_analysis([table, table]).axes) == 4
    names = [text.get_text() for text in cost_by_layer(table).get_legend().get_texts()]
    assert names[:4] == ["attention", "MLP", "both", "95% interval"]
    names = [text.get_text() for text in cost_by_share(table).get_legend().get_texts()]
    assert names[3:-1] == ["either", "order by loss", "order by influence", "95% interval"]
    notes = ANALYSES.get("sublayers").notes(table)
    assert len(notes) == 8 and notes[0].startswith(
        "without 33% of all attention, by influence, the loss rises by "
    )


def test_experts_that_are_chosen_by_a_softmax_are_no_attention() -> None:
    class Experts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.choice, self.experts = nn.Linear(6, 3), nn.Linear(6, 18)

        def forward(self, x: Tensor) -> Tensor:
            shares = torch.softmax(self.choice(x), -1)
            return x + (self.experts(x).unflatten(-1, (3, 6)) * shares[..., None]).sum(-2)

    model = build(LAYERS[:1], seed=1)
    model.blocks.append(Experts())
    net = ensembles.decompose(model, images_for(model, 4)[0])
    assert [part[:3] for part in sublayers_of(net)] == [
        Sublayer(1, "attention", 1, 0, "")[:3], (1, "mlp", 2), (1, "mlp", 3),
    ]  # fmt: skip


def test_a_branch_that_hardly_adds_anything_is_still_no_mlp() -> None:
    model = build([("convnext", 6, 1)] * 2)
    with torch.no_grad():
        for block in model.blocks:  # as layer scale begins
            block.gamma.mul_(1e-6)
    assert not sublayers_of(ensembles.decompose(model, images_for(model, 4)[0]))


def test_an_interrupted_order_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(LAYERS[:2], seed=6)
    images, labels = images_for(model, 40)
    net, data = ensembles.decompose(model, images[:4]), [(images, labels)]
    measure = LesionMeans.measured
    sweeps: list[int] = []

    def measured(*args: Any, **kwargs: Any) -> LesionMeans:
        if len(sweeps) == 2:
            raise KeyboardInterrupt
        found = measure(*args, **kwargs)
        sweeps.append(found.frame.attrs["store"]["measured"])
        return found

    monkeypatch.setattr(LesionMeans, "measured", measured)
    with pytest.raises(KeyboardInterrupt):
        ensembles.analyze(net, data, "sublayers", store=tmp_path / "x.db")
    assert min(sweeps) > 0
    sweeps.clear()

    def counted(*args: Any, **kwargs: Any) -> LesionMeans:
        found = measure(*args, **kwargs)
        sweeps.append(found.frame.attrs["store"]["measured"])
        return found

    monkeypatch.setattr(LesionMeans, "measured", counted)
    table = ensembles.analyze(net, data, "sublayers", store=tmp_path / "x.db")
    assert sweeps[:2] == [0, 0] and len(sweeps) == 4
    monkeypatch.undo()
    alone = ensembles.analyze(net, data, "sublayers")
    assert alone["name"].tolist() == table["name"].tolist()
    assert alone["loss"].tolist() == pytest.approx(table["loss"].tolist())


@pytest.mark.parametrize(
    ("plan", "lacks"),
    [
        ([("pre", 6, 1)], "blocks of attention and no MLPs that work position by position"),
        ([("mixer", 0, 1)], "blocks of attention with a shortcut"),
    ],
)
def test_networks_without_both_kinds_are_refused(
    plan: list[tuple[str, int, int]], lacks: str
) -> None:
    model = build(plan * 2)
    images, labels = images_for(model, 4)
    net = ensembles.decompose(model, images)
    with pytest.raises(UsageError, match=lacks):
        ensembles.analyze(net, [(images, labels)], "sublayers")


def test_what_it_refuses() -> None:
    model = build(LAYERS[:1])
    images, labels = images_for(model, 4)
    net = ensembles.decompose(model, images)
    with pytest.raises(UsageError, match="until 0; expected a share above 0, at most 1"):
        ensembles.analyze(net, [(images, labels)], "sublayers", until=0)
    with pytest.raises(UsageError, match="rows -1; expected 0 or more"):
        ensembles.analyze(net, [(images, labels)], "sublayers", rows=-1)
    with pytest.raises(DataError, match="one row of the data; expected two or more"):
        ensembles.analyze(net, [(images[:1], labels[:1])], "sublayers")
