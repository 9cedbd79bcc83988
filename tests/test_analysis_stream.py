"""The stream between blocks, against loops over hooked values and values known beforehand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import build, images_for, random_networks, silenced
from torch import Tensor, nn

import ensembles
from ensembles.analyses.stream import Mean, Stream, compared_with
from ensembles.decomposition import Block, Decomposition, decompose
from ensembles.errors import UsageError

MEASURES = ("influence", "angle", "branch_ratio", "branch_cosine")


def hooked(net: Decomposition, images: Tensor) -> dict[int, dict[str, Tensor]]:
    """Input, output and branch of every block, as hooks see them in one run of the network."""
    seen: dict[int, dict[str, Tensor]] = {block.index: {} for block in net}
    handles = []
    for block in net:
        values = seen[block.index]

        def of_block(_: nn.Module, given: tuple[Tensor], out: Tensor, values=values) -> None:
            values |= {"x": given[0].clone(), "y": out.clone()}

        def of_branch(_: nn.Module, given: tuple[Tensor], out: Tensor, values=values) -> None:
            values["f"] = out.clone()

        handles.append(block.register_forward_hook(of_block))
        handles.append(block.branch.register_forward_hook(of_branch))
    with torch.no_grad():
        net(images)
    for handle in handles:
        handle.remove()
    return seen


def directions(one: Tensor, other: Tensor, channels: int, flat: bool) -> list[list[tuple]]:
    """For each row the pairs of vectors, of which none is zero, as numpy arrays."""
    rows = []
    for a, b in zip(one.double(), other.double(), strict=True):
        if flat:
            pairs = [(a.flatten().numpy(), b.flatten().numpy())]
        else:
            left, right = (v.movedim(channels, -1).reshape(-1, v.shape[channels]) for v in (a, b))
            pairs = list(zip(left.numpy(), right.numpy(), strict=True))
        rows.append(pairs)
    return rows


def mean_and_error(rows: list[list[float]]) -> tuple[float, float]:
    """Mean over rows of the mean over positions, and its standard error."""
    means = [float(np.mean(row)) for row in rows if row]
    if not means:
        return math.nan, math.nan
    error = np.std(means, ddof=1) / math.sqrt(len(means)) if len(means) > 1 else math.nan
    return float(np.mean(means)), float(error)


def expected(block: Block, seen: dict[str, Tensor], channels: int, flat: bool) -> dict[str, tuple]:
    """The measures of a block by loops over rows and positions."""

    def cosines(one: Tensor, other: Tensor) -> list[list[float]]:
        return [
            [
                float(np.clip(a @ b / np.linalg.norm(a) / np.linalg.norm(b), -1, 1))
                for a, b in pairs
                if a.any() and b.any()
            ]
            for pairs in directions(one, other, channels, flat)
        ]

    found = dict.fromkeys(MEASURES, (math.nan, math.nan))
    against, x = compared_with(block), seen["x"]
    if against:
        before = x if against == "input" else block.deleted(x)
        rows = cosines(before, seen["y"])
        found["influence"] = mean_and_error([[1 - c for c in row] for row in rows])
        found["angle"] = mean_and_error([[math.acos(c) / math.pi for c in row] for row in rows])
    if block.has_shortcut:
        shared = x if block.pre is None else block.pre(x)
        base = x if against == "input" else block.on_shortcut(shared)
        f = seen["f"]
        if block.width:  # a dense block: what is added stands beside what was there
            f = torch.cat([torch.zeros_like(x), f], 1)
        ratios = [
            [float(np.linalg.norm(a) / np.linalg.norm(b)) for a, b in pairs if b.any()]
            for pairs in directions(f, base, channels, flat)
        ]
        found["branch_ratio"] = mean_and_error(ratios)
        found["branch_cosine"] = mean_and_error(cosines(f, base))
    return found


@settings(max_examples=15, deadline=None)
@given(random_networks(max_blocks=4), st.sampled_from(["position", "flattened"]), st.data())
def test_the_stream_agrees_with_loops_over_hooked_values(
    model: nn.Module, cosine: str, data: st.DataObject
) -> None:
    # In float64: a position whose shortcut is nearly zero makes a ratio of rounding errors.
    images = images_for(model, 5)[0].double()
    net = decompose(model.double(), images)
    size = data.draw(st.integers(1, 5), label="batch size")
    stream = Stream(net, cosine)
    with torch.no_grad():
        for part in images.split(size):
            stream.add(part)
        seen = hooked(net, images)
        channels = -1 if len(net.block(1).in_shape) == 2 else 0  # tokens, or images
        for block in net:
            wanted = expected(block, seen[block.index], channels, cosine == "flattened")
            for name, (value, error) in wanted.items():
                mean = stream.means[block.index][name]
                assert mean.value == pytest.approx(value, rel=1e-5, abs=2e-6, nan_ok=True), name
                assert mean.error == pytest.approx(error, rel=1e-3, abs=2e-6, nan_ok=True), name
    assert stream.rows == 5


class Turn(nn.Module):
    """A block whose branch turns pairs of channels by 90 degrees, and stretches them."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.turn = nn.Conv2d(2, 2, 1, bias=False)
        with torch.no_grad():
            self.turn.weight.copy_(
                factor * torch.tensor([[0.0, -1.0], [1.0, 0.0]])[..., None, None]
            )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.turn(x)


class Stretch(nn.Module):
    """A block whose branch is a multiple of its input."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.scale = nn.Conv2d(2, 2, 1, bias=False)
        with torch.no_grad():
            self.scale.weight.copy_(factor * torch.eye(2)[..., None, None])

    def forward(self, x: Tensor) -> Tensor:
        return x + self.scale(x)


def linear_network(*blocks: nn.Module) -> nn.Module:
    return nn.Sequential(
        *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 3, bias=False)
    ).eval()


@pytest.fixture
def positive() -> Tensor:
    """Images of two channels without a zero."""
    return torch.rand(6, 2, 3, 3, generator=torch.Generator().manual_seed(0)) + 0.1


def measured(model: nn.Module, images: Tensor, **options: object) -> Stream:
    with torch.no_grad():
        stream = Stream(decompose(model, images), **options)
        stream.add(images)
    return stream


def test_a_linear_network_has_values_known_beforehand(positive: Tensor) -> None:
    means = measured(linear_network(Turn(1.0), Stretch(0.5), Turn(3**0.5)), positive).means
    found = {
        index: {name: one.value for name, one in each.items()} for index, each in means.items()
    }
    root = math.sqrt(0.5)
    for index, wanted in {
        1: {"influence": 1 - root, "angle": 0.25, "branch_ratio": 1, "branch_cosine": 0},
        2: {"influence": 0, "angle": 0, "branch_ratio": 0.5, "branch_cosine": 1},
        3: {"influence": 0.5, "angle": 1 / 3, "branch_ratio": 3**0.5, "branch_cosine": 0},
    }.items():
        assert found[index] == pytest.approx(wanted, abs=1e-6), index
    assert means[1]["influence"].error == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("kind", ["post", "pre", "bottleneck", "convnext", "three", "dense"])
@pytest.mark.parametrize("cosine", ["position", "flattened"])
def test_a_branch_that_gives_nothing_has_no_influence_at_all(kind: str, cosine: str) -> None:
    model = build([("post", 6, 1), (kind, 8, 2), (kind, 8, 1)], seed=3)
    images, _ = images_for(model, 4)
    for index in (2, 3):
        stream = measured(silenced(model, index), images, cosine=cosine)
        means = stream.means[index]
        assert means["influence"].value == means["angle"].value == 0
        assert means["branch_ratio"].value == means["influence"].error == 0
        assert means["branch_cosine"].count == 0 and math.isnan(means["branch_cosine"].value)


def test_a_gate_and_two_streams_are_compared_with_what_they_carry() -> None:
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for name, kind, against in (("highway19", "gated", "input"), ("rir", "two-stream", "shortcut")):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            net = decompose(ensembles.create_model(name).eval(), images)
        seen = hooked(net, images)
        with torch.no_grad():
            stream = Stream(net, "flattened")
            stream.add(images)
            for block in list(net)[:3]:
                assert (block.kind, compared_with(block)) == (kind, against)
                x, y = seen[block.index]["x"], seen[block.index]["y"]
                left = block.deleted(x) if against == "shortcut" else x
                cosine = torch.nn.functional.cosine_similarity(left.flatten(1), y.flatten(1))
                found = stream.means[block.index]["influence"].value
                assert found == pytest.approx(1 - float(cosine.mean()), abs=1e-6)
                added = block.gate(x) * seen[block.index]["f"] if block.gate is not None else None
                if added is not None:  # what a gated branch adds has its gate
                    ratio = added.flatten(1).norm(dim=1) / x.flatten(1).norm(dim=1)
                    measured_ratio = stream.means[block.index]["branch_ratio"].value
                    assert measured_ratio == pytest.approx(float(ratio.mean()), rel=1e-5)


def test_positions_without_a_direction_are_left_out_and_counted(positive: Tensor) -> None:
    images = positive.clone()
    images[:, :, 0, 0] = 0  # one position of each row
    images[2] = 0  # a whole row
    stream = measured(linear_network(Turn(1.0)), images)
    one = stream.means[1]["influence"]
    assert (one.count, stream.rows, stream.undefined[1]) == (5, 6, 5 + 9)
    assert one.value == pytest.approx(1 - math.sqrt(0.5))
    assert measured(linear_network(Turn(1.0)), images, cosine="flattened").undefined[1] == 1


def test_what_is_not_a_number_stays_so(positive: Tensor) -> None:
    net = decompose(linear_network(Turn(1.0), Stretch(0.5)), positive)
    broken = positive.clone()
    broken[3, 0, 1, 1] = math.nan
    with torch.no_grad():
        stream = Stream(net)
        stream.add(positive)
        stream.add(broken)
    assert all(math.isnan(one.value) for means in stream.means.values() for one in means.values())


def test_a_span_is_compared_over_all_its_blocks(positive: Tensor) -> None:
    model = linear_network(Turn(1.0), Turn(1.0), Stretch(0.5), Turn(1.0))
    means = measured(model, positive, span=2).means
    angles = [means[index]["span_angle"].value for index in (1, 2, 3)]
    assert angles == pytest.approx([0.5, 0.25, 0.25], abs=1e-6)
    assert means[1]["span_influence"].value == pytest.approx(1, abs=1e-6)
    assert math.isnan(means[4]["span_angle"].value)  # it would leave the network
    whole = measured(model, positive, span=4).means[1]["span_angle"].value
    assert whole == pytest.approx(0.75, abs=1e-6)


def test_a_span_over_transitions_is_compared_with_what_its_shortcuts_carry() -> None:
    model = build([("post", 6, 1), ("post", 8, 2), ("pre", 8, 1), ("dense", 0, 1)], seed=5)
    images, _ = images_for(model, 4)
    net = decompose(model, images)
    stream = measured(model, images, span=3, cosine="flattened")
    seen = hooked(net, images)
    for first in (1, 2):
        carried = seen[first]["x"].clone()
        for index in range(first, first + 3):
            block = net.block(index)
            if compared_with(block) == "shortcut":
                carried = block.deleted(carried)
        pairs = directions(carried, seen[first + 2]["y"], 0, flat=True)
        cosines = [float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)) for [(a, b)] in pairs]
        found = stream.means[first]["span_influence"].value
        assert found == pytest.approx(1 - np.mean(cosines), abs=1e-6)


def test_the_last_position_is_that_of_a_sequence() -> None:
    model = build([("attention", 0, 1), ("mixer", 0, 1)], seed=1, width=6)
    images, _ = images_for(model, 3)
    net = decompose(model, images)
    seen = hooked(net, images)
    stream = measured(model, images, cosine="last")
    for block in net:
        x, y = (seen[block.index][name][:, -1].double() for name in "xy")
        cosine = torch.nn.functional.cosine_similarity(x, y, dim=-1).mean()
        assert stream.means[block.index]["influence"].value == pytest.approx(1 - float(cosine))
    pictures = build([("post", 6, 1)])
    with pytest.raises(UsageError, match=r"block 1 \(blocks.0\) takes 6x8x8: expected position or"):
        measured(pictures, images_for(pictures, 2)[0], cosine="last")


def test_means_do_not_depend_on_how_rows_are_divided(generator: torch.Generator) -> None:
    values = torch.randn(23, generator=generator, dtype=torch.float64) + 100
    for size in (1, 4, 23):
        mean = Mean()
        for part in values.split(size):
            mean.add(part)
        assert mean.value == pytest.approx(float(values.mean()), rel=1e-13)
        assert mean.error == pytest.approx(float(values.std()) / math.sqrt(23), rel=1e-12)
    assert math.isnan(Mean().value) and math.isnan(Mean().error)
