"""Path numbers against binomials and published figures; effective paths."""

from __future__ import annotations

import math
from functools import cache

import pytest
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st

from ensembles.analyses.members.paths import count_paths
from ensembles.decomposition import Decomposition, decompose
from ensembles.errors import UsageError
from ensembles.models import create_model
from ensembles.unravelling.effective_interval import by_weight_layers, effective
from ensembles.unravelling.path_counts import graph_lengths, joint_lengths, paths_to, weight_lengths
from ensembles.unravelling.places import Place, parse_places


@cache
def taken_apart(name: str, size: int = 32) -> Decomposition:
    return decompose(create_model(name).eval(), torch.randn(2, 3, size, size))


def test_a_residual_chain_is_binomial() -> None:
    net = taken_apart("resnet20")
    frame = count_paths(net)
    assert list(frame["paths"]) == [math.comb(9, k) for k in range(10)]
    assert list(frame["length"]) == list(range(10))
    layers = count_paths(net, "weight_layers")
    assert list(layers["length"]) == [2 * k for k in range(10)]
    assert sum(count_paths(net, "graph")["paths"]) == 2**9
    assert all(type(number) is int for number in frame["paths"])


def test_the_graph_counts_every_weight_layer() -> None:
    counts = graph_lengths(taken_apart("resnet20"))
    assert counts == {2 + 2 * k: math.comb(9, k) for k in range(10)}


def test_a_plain_network_has_one_path() -> None:
    net = taken_apart("vgg15")
    assert list(count_paths(net)["paths"]) == [1]
    assert graph_lengths(net) == {15: 1}


def test_an_unknown_count_is_refused() -> None:
    with pytest.raises(
        UsageError, match=r"paths by 'layers'; expected blocks, weight_layers, graph"
    ):
        count_paths(taken_apart("resnet20"), "layers")  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size", "total", "first", "last"),
    [
        ("googlenet", 64, 262_144, 13, 22),
        ("inception_v3", 96, 5_308_416, 15, 48),
        ("resnet152", 32, 2**50, 6, 152),
    ],
)
def test_published_numbers_of_paths(
    name: str, size: int, total: int, first: int, last: int
) -> None:
    extra = {} if name == "resnet152" else {"init_weights": False}
    model = torchvision.models.get_model(name, weights=None, **extra).eval()
    counts = graph_lengths(decompose(model, torch.randn(2, 3, size, size)))
    assert sum(counts.values()) == total
    assert (min(counts), max(counts)) == (first, last)


def test_paths_to_a_place() -> None:
    net = taken_apart("resnet20")
    assert sum(paths_to(net, Place("block", 4)).values()) == 2**6
    assert paths_to(net, Place("parameters", 7)) == {0: 0, 1: 1, 2: 2, 3: 1}
    assert sum(paths_to(net, Place("input")).values()) == 2**9


def test_places_are_read() -> None:
    net = taken_apart("resnet20")
    assert parse_places("first", net) == (Place("block", 1),)
    assert len(parse_places("blocks", net)) == 9
    assert parse_places("parameters:3", net) == (Place("parameters", 3),)
    with pytest.raises(UsageError, match="the network has blocks 1 to 9"):
        parse_places("block 10", net)
    with pytest.raises(UsageError, match="expected input, first, blocks"):
        parse_places("output", net)


def test_transitions_with_projections_count_their_layer() -> None:
    net = taken_apart("resnet20_b")
    assert max(weight_lengths(net)) == 18
    assert min(weight_lengths(net)) == 2
    assert sum(weight_lengths(net).values()) == 2**9


def test_effective_paths_of_a_known_measure() -> None:
    paths = {k: math.comb(4, k) for k in range(5)}
    found = effective({0: 0.0, 1: 10.0, 2: 85.0, 3: 5.0, 4: 0.0}, paths)
    assert found is not None
    assert (found.first, found.last, found.median) == (1, 2, 2)
    assert found.share == pytest.approx(10 / 16)
    assert effective({0: 0.0, 1: 0.0}, {0: 1, 1: 1}) is None
    fullest = effective({0: 3.0, 1: 2.0, 2: 3.5, 3: 1.5}, dict.fromkeys(range(4), 1), 0.5)
    assert fullest is not None  # of three intervals of two lengths that hold a half
    assert (fullest.first, fullest.last, fullest.held) == (1, 2, pytest.approx(0.55))


@given(
    st.lists(st.floats(0, 1e6, allow_subnormal=False), min_size=1, max_size=40), st.floats(0.05, 1)
)
def test_no_shorter_interval_holds_the_share(values: list[float], share: float) -> None:
    measure = dict(enumerate(values))
    found = effective(measure, dict.fromkeys(measure, 1), share)
    if found is None:
        assert not sum(values)
        return
    width = found.last - found.first + 1
    whole = math.fsum(values)
    assert math.fsum(values[found.first : found.last + 1]) >= share * whole * (1 - 1e-9)
    for start in range(len(values) - width + 2):
        assert math.fsum(values[start : start + width - 1]) < share * whole * (1 + 1e-9)


def test_a_measure_laid_over_weight_layers_keeps_its_sum() -> None:
    joint = joint_lengths(taken_apart("resnet20_b"))
    measure = {k: float(k + 1) for k in range(10)}
    layered = by_weight_layers(measure, joint)
    assert math.fsum(layered.values()) == pytest.approx(math.fsum(measure.values()))
