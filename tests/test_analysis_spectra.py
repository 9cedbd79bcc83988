"""Spectra at all blocks, by two lengths, and linearisations, against paths and loops one by one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from networks import build, images_for
from torch import Tensor, nn

import ensembles
from ensembles.analyses.kinds import ANALYSES
from ensembles.decomposition import Decomposition
from ensembles.errors import PathError, UsageError
from ensembles.lesions import Delete
from ensembles.plots import plot_analysis
from ensembles.plots.spectra import effects_in_three_ways
from ensembles.unravelling.additive import additive
from ensembles.unravelling.linearization import Linearizer
from ensembles.unravelling.oracle import path_gradients
from ensembles.unravelling.two_lengths import two_lengths


def taken_apart(kinds: list[str], count: int = 40) -> tuple[Decomposition, Tensor, Tensor]:
    model = build([(kind, 6, 1) for kind in kinds], seed=5)
    images, labels = images_for(model, count)
    return ensembles.decompose(model, images[:4]), images, labels


def test_places_are_those_of_paths() -> None:
    net, images, labels = taken_apart(["pre", "pre", "pre"])
    data = [(images, labels)]
    table = ensembles.analyze(net, data, "spectra", images=3, scales="0.5", model="small")
    assert table["block"].tolist() == [1, 2, 3] and table["later"].tolist() == [3, 2, 1]
    for row in table.itertuples():
        frame = ensembles.paths(net, data, at=f"block {row.block}", images=3, signs=0)
        (ratio,) = frame.attrs["cancellation"].values()
        assert row.cancellation == pytest.approx(ratio, rel=1e-4)
        found = ensembles.effective_paths(frame).iloc[0]
        assert (row.first, row.last, row.median) == tuple(found[["first", "last", "median"]])
        norms = frame["gradient_coherent"].to_numpy(float)
        mean = (np.arange(len(norms)) * norms).sum() / norms.sum()
        assert row.mean == pytest.approx(mean, rel=1e-4)
        assert row.mean_low <= row.mean <= row.mean_high
    blocks = nn.ModuleList(block.scaled(0.5) for block in net)
    halved, _, _ = taken_apart(["pre", "pre", "pre"])
    halved.blocks = blocks
    frame = ensembles.paths(halved, data, at="first", images=3, signs=0)
    (scaled,) = table.attrs["scales"]
    assert scaled["median"] == ensembles.effective_paths(frame).iloc[0]["median"]
    with torch.no_grad():
        error = (halved(images).argmax(1) != labels).double().mean()
    assert scaled["error"] == pytest.approx(float(error))
    weight = 0.5 * table["branch_weight"][0]
    assert scaled["binomial_mean"] == pytest.approx(3 * weight / (1 + weight))
    notes = ANALYSES.get("spectra").notes(table)
    assert notes[-1].startswith("one length alone") and len(notes) == 4
    assert len(plot_analysis([table, table]).axes) == 5


def scores(logits: Tensor, labels: Tensor) -> Tensor:
    right = logits.gather(1, labels[:, None])[:, 0]
    return (right - logits.mean(1)).double()


def test_in_a_network_of_relus_nothing_is_left_to_hold() -> None:
    """Derivatives and held gates are one; deletion is what a lesioned network gives."""
    net, images, labels = taken_apart(["post", "pre", "bottleneck"])
    table = ensembles.analyze(net, [(images, labels)], "spectra", images=1, scales="none")
    assert table.attrs["not_held"] == ""
    assert table["held"].tolist() == pytest.approx(table["derivative"].tolist(), rel=1e-4)
    with torch.no_grad():
        intact = scores(net(images), labels)
        for row in table.itertuples():
            without = scores(net.lesioned(Delete((row.block,)))(images), labels)
            assert row.deleted == pytest.approx(float((intact - without).mean()), rel=1e-3)
            assert row.deleted_low <= row.deleted <= row.deleted_high
    assert table.attrs["scales"] == []


def test_a_derivative_is_the_sum_of_all_paths_through_the_branch() -> None:
    """By finite differences of a factor of the branch, in double precision."""
    net, images, labels = taken_apart(["attention", "attention"], 8)
    table = ensembles.analyze(net, [(images, labels)], "spectra", images=1, scales="none")
    wide, step = net.double(), 1e-5
    for row in table.itertuples():
        ends = []
        for factor in (1 + step, 1 - step):
            blocks = [b.scaled(factor) if b.index == row.block else b for b in wide]
            x = wide.stem(images.double())
            for block in blocks:
                x = block(x)
            ends.append(scores(wide.head(x), labels).mean())
        slope = float((ends[0] - ends[1]) / (2 * step))
        assert row.derivative == pytest.approx(slope, rel=1e-3, abs=1e-5)
        assert abs(row.derivative - row.held) > 1e-3  # something is held here


class Held:
    """A transformer's blocks with what is held as stored constants: an affine map of the stream."""

    def __init__(self, model: nn.Module, images: Tensor) -> None:
        self.model, self.stored = model, {}
        self.stream = self.stem(images)
        self.run(frozenset(), learn=True)

    def stem(self, images: Tensor) -> Tensor:
        x = self.model.patches(images).flatten(2).transpose(1, 2)
        return torch.cat([self.model.token.expand(len(x), -1, -1), x], 1) + self.model.positions

    def keep(self, name: str, value: Tensor) -> Tensor:
        return self.stored.setdefault(name, value)

    def norm(self, layer: nn.LayerNorm, x: Tensor, name: str) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        scale = (centred.square().mean(-1, keepdim=True) + layer.eps).rsqrt()
        return centred * self.keep(name, scale) * layer.weight + layer.bias

    def attend(self, layer: nn.MultiheadAttention, y: Tensor, name: str) -> Tensor:
        q, k, v = F.linear(y, layer.in_proj_weight, layer.in_proj_bias).chunk(3, -1)
        q, k, v = (one.unflatten(-1, (layer.num_heads, -1)).transpose(1, 2) for one in (q, k, v))
        pattern = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(-1)
        mixed = (self.keep(name, pattern) @ v).transpose(1, 2).flatten(2)
        return layer.out_proj(mixed)

    def run(self, without: frozenset[int], *, learn: bool = False) -> Tensor:
        assert learn or self.stored
        x = self.stream
        for number, block in enumerate(self.model.blocks):
            attended = self.attend(
                block.attention, self.norm(block.norm1, x, f"a{number}"), f"p{number}"
            )
            x = x + attended * (2 * number + 1 not in without)
            wide = block.mlp[0](self.norm(block.norm2, x, f"m{number}"))
            ratio = self.keep(f"g{number}", F.gelu(wide) / wide)
            x = x + block.mlp[3](wide * ratio) * (2 * number + 2 not in without)
        return self.model.head(self.norm(self.model.norm, x, "last")[:, 0])


@torch.no_grad()
def test_held_effects_are_those_of_an_affine_network() -> None:
    net, images, labels = taken_apart(["attention", "attention"], 8)
    table = ensembles.analyze(net, [(images, labels)], "spectra", images=1, scales="none")
    model = build([("attention", 6, 1)] * 2, seed=5).double()
    held = Held(model, images.double())
    intact = held.run(frozenset())
    assert torch.allclose(intact, model(images.double()))
    same = additive(net)
    assert torch.allclose(same(images), net(images), atol=1e-5)
    for row in table.itertuples():
        gone = scores(intact, labels) - scores(held.run(frozenset((row.block,))), labels)
        assert row.held == pytest.approx(float(gone.mean()), rel=1e-3, abs=1e-5)


def test_two_lengths_are_the_sums_of_all_their_paths() -> None:
    net, images, _ = taken_apart(["attention", "attention"], 3)
    net, images = net.double(), images.double()
    with torch.no_grad():
        cotangent = torch.softmax(net(images), 1)
        at = Linearizer(net, "general").at(images)
        norms = two_lengths(at, cotangent, [True, False, True, False])
        stream = net.stem(images)
    net.stem = nn.Identity()  # gradients arrive at the first stream
    sums: dict[tuple[int, int], Any] = {}
    for choice, gradient in path_gradients(net, stream, cotangent).items():
        pair = choice[0] + choice[2], choice[1] + choice[3]
        sums[pair] = sums.get(pair, 0) + gradient
    assert norms.shape == (3, 3, 3) and len(sums) == 9
    for pair, value in sums.items():
        assert norms[pair].tolist() == pytest.approx(value.flatten(1).norm(dim=1).tolist(), 1e-9)


def test_a_language_model_has_two_lengths() -> None:
    model, _ = ensembles.load("gpt12")
    data = ensembles.dataset("prose", limit=2, window=8)
    net = ensembles.decompose(model, next(iter(data))[None])
    table = ensembles.analyze(net, data, "spectra", images=1, scales="none")
    joint = table.attrs["two_lengths"]
    assert sum(row["share"] for row in joint) == pytest.approx(1)
    assert sum(int(row["paths"]) for row in joint) == 2 ** len(net)
    assert table["deleted"].notna().all() and table["held"].notna().all()
    assert len(plot_analysis(table).axes) == 5  # with the colour bar
    few = ensembles.analyze(net, data, "spectra", images=1, scales="none", cells=9)
    assert few.attrs["two_lengths"] == []
    assert few.attrs["left_out"] == "one length alone: 49 pairs of lengths are more than 9 (cells)"
    ax = effects_in_three_ways(table, colours=["#123456"] * 3, legend=False)
    assert ax.get_legend() is None
    assert np.isfinite(table["cancellation"]).all()


def test_what_spectra_refuses() -> None:
    model = build([("plain", 6, 1)] * 2)
    images, labels = images_for(model, 4)
    net = ensembles.decompose(model, images)
    with pytest.raises(PathError, match="no block has a shortcut"):
        ensembles.analyze(net, [(images, labels)], "spectra")
    for bad, message in (
        ({"images": 0}, "images 0; expected 1 or more"),
        ({"scales": "0.5,x"}, "scales '0.5,x'; expected numbers above 0 and below 100"),
        ({"scales": "0"}, "scales '0'; expected numbers above 0"),
    ):
        with pytest.raises(UsageError, match=message):
            ensembles.analyze(net, [(images, labels)], "spectra", **bad)
