"""Gates, shared time steps, two streams, fractal joins: what is found, and what a lesion leaves."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import ensembles
from ensembles.decomposition import Decomposition, decompose
from ensembles.engine import Materials
from ensembles.engine.direct import Direct
from ensembles.errors import LesionError
from ensembles.lesions import Lesion, random_drops, single_drops
from ensembles.models import create_model
from ensembles.models.fractal import CifarFractalNet
from ensembles.models.highway import HighwayNetwork
from ensembles.models.rir import CifarRiR, TwoStreamUnit
from ensembles.models.shared import CifarSharedResNet
from ensembles.unravelling.places import Place
from ensembles.unravelling.sum_checks import reference_gradients
from tests.networks import Silent, build, conv, norm

IMAGES = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Gate(nn.Module):
    """A block with a gate, written in one way or another."""

    def __init__(self, formula: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.bn, self.gate = conv(4, 4), norm(4), conv(4, 4, 1)
        self.formula = formula

    def forward(self, x: Tensor) -> Tensor:
        return self.formula(x, F.relu(self.bn(self.conv(x))), torch.sigmoid(self.gate(x)))


class Chain(nn.Module):
    """A stem, some blocks and a classifier."""

    def __init__(self, *blocks: nn.Module, width: int = 4) -> None:
        super().__init__()
        self.stem, self.blocks = conv(3, width), nn.ModuleList(blocks)
        self.head = nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean((2, 3)))


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return make().eval()


def taken_apart(
    make: Callable[[], nn.Module], **options: object
) -> tuple[nn.Module, Decomposition]:
    model = seeded(make)
    return model, decompose(model, IMAGES, **options)


def lesioned(net: Decomposition, lesion: Lesion) -> Tensor:
    """What the plain walk through the parts gives."""

    program = lesion.program(len(net))
    engine = Direct(net, [program], Materials(net), torch.device("cpu"), torch.float32)
    with torch.no_grad():
        return engine.output(program, IMAGES)


def close(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, rtol=1e-4, atol=1e-5)


FORMULAS = {
    "highway": lambda x, h, t: t * h + (1 - t) * x,
    "carry first": lambda x, h, t: (1.0 - t) * x + h * t,
    "functions": lambda x, h, t: torch.add(torch.mul(h, t), torch.mul(x, torch.sub(1, t))),
    "recurrent unit": lambda x, h, z: z * x + (1 - z) * h,
    "one gate a channel": lambda x, h, t: (s := t.mean((2, 3), keepdim=True)) * h + (1 - s) * x,
    "shortcut alone": lambda x, h, t: h + (1 - t) * x,
}
NOT_GATED = {
    "excited branch": (lambda x, h, t: x + t * h, "residual"),
    "no complement": (lambda x, h, t: h + t * x, "parallel"),
    "branch closes": (lambda x, h, t: x + (1 - t) * h, "residual"),
}


@pytest.mark.parametrize("form", FORMULAS)
def test_a_gate_is_found_and_closed(form: str) -> None:
    model, net = taken_apart(lambda: Chain(Gate(FORMULAS[form]), Gate(FORMULAS[form])))
    assert [block.kind for block in net] == ["gated", "gated"]
    assert [block.road for block in net] == ["identity"] * 2
    x = torch.randn(2, 4, 8, 8)
    with torch.no_grad():
        assert close(net.block(1)(x), model.blocks[0](x))
        assert torch.equal(net.block(1).deleted(x), x)
    assert net.block(1).gates_branch == (form != "shortcut alone")


@pytest.mark.parametrize("form", NOT_GATED)
def test_a_product_alone_is_no_gate(form: str) -> None:
    formula, kind = NOT_GATED[form]
    _, net = taken_apart(lambda: Chain(Gate(formula)))
    assert [block.kind for block in net] == [kind]


def test_gates_of_their_own_on_both_roads_are_not_taken_for_one() -> None:
    class Two(Gate):
        def forward(self, x: Tensor) -> Tensor:
            t = torch.sigmoid(self.gate(x))
            return t * self.conv(x) + (1 - torch.sigmoid(self.bn(x))) * x

    _, net = taken_apart(lambda: Chain(Two(FORMULAS["highway"])))
    assert net.block(1).kind == "gated"
    assert not net.block(1).gates_branch  # the branch's own gate belongs to the branch
    _, net = taken_apart(lambda: HighwayNetwork((4, 6), (3, 2), hidden=4))
    assert [block.kind for block in net] == ["gated"] * 3
    assert net.block(3).before is not None  # pooling and the convolution that widens


def test_gradients_take_gates_as_they_are() -> None:
    model, net = taken_apart(lambda: HighwayNetwork((4,), (3,), hidden=4, gate_bias=0.0))
    with torch.no_grad():
        cotangent = torch.ones(3, 10)
    found = reference_gradients(net, IMAGES, cotangent, [Place("input")])[Place("input")]
    held = copy.deepcopy(model)
    for layer in held.features:
        if hasattr(layer, "gate"):
            gate = layer.gate
            layer.gate = nn.Sequential(gate, Detach())
    probe = IMAGES.clone().requires_grad_()
    (expected,) = torch.autograd.grad(held(probe), probe, cotangent)
    assert close(found, expected)


@pytest.mark.parametrize(
    "make",
    [
        lambda: HighwayNetwork((4,), (4,), hidden=4, gate_bias=0.0),
        lambda: CifarSharedResNet(20, width=4),
        lambda: CifarRiR((4, 6), (2, 1)),
    ],
)
def test_every_measure_of_the_gradient_takes_these_blocks(make: Callable[[], nn.Module]) -> None:
    _, net = taken_apart(make)
    data = [(IMAGES, torch.tensor([0, 1, 2]))]
    frame = ensembles.paths(net, data, "all", samples=30, signs=8).set_index("length")
    for only in (0, len(net)):  # there is one path of these lengths
        row = frame.loc[only]
        assert row["paths"] == 1
        assert row["gradient_mean"] == pytest.approx(row["gradient_coherent"], rel=1e-4)
        assert row["gradient_rms"] == pytest.approx(row["gradient_coherent"], rel=1e-4)
    gates = frame.attrs["provenance"].get("gates")
    assert (gates is not None) == any(block.kind == "gated" for block in net)
    for place in ("blocks", "parameters 2"):  # held against autograd within
        found = ensembles.paths(net, data, at=place, signs=0)
        assert found["gradient_coherent"].notna().all()


class Detach(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.detach()


class Unrolled(nn.Module):
    """One post-activation block at three time steps; a norm and a ReLU follow its sum."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = conv(3, 4), nn.Linear(4, 5)
        self.block = Added()

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for _ in range(3):
            x = self.block(x)
        return self.head(x.mean((2, 3)))


class Added(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = conv(4, 4), norm(4)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(x + self.conv(x)))


@pytest.mark.parametrize("blocks", [None, ["block"], "bl.ck"])
def test_each_use_of_a_module_is_a_block(blocks: object) -> None:
    _, net = taken_apart(Unrolled, blocks=blocks)
    assert net.names == ("block#1", "block#2", "block#3")
    assert [(block.step, block.steps) for block in net] == [(1, 3), (2, 3), (3, 3)]
    assert all(block.post is not None and block.before is None for block in net)


def test_a_lesion_skips_one_step_alone() -> None:
    model, net = taken_apart(lambda: CifarSharedResNet(26, width=4))
    assert [b.step for b in net] == [1, 1, 2, 3] * 3
    assert [b.steps for b in net] == [1, 3, 3, 3] * 3
    calls: list[int] = []

    def skip(module: nn.Module, args: tuple[Tensor, int], out: Tensor) -> Tensor:
        calls.append(args[1])
        return args[0] if args[1] == 1 else out

    handle = model.layer2.block.register_forward_hook(skip)
    with torch.no_grad():
        expected = model(IMAGES)
    handle.remove()
    assert calls == [0, 1, 2]
    assert close(lesioned(net, Lesion("delete", (7,))), expected)


def test_two_uses_in_one_block_are_no_time_steps() -> None:
    model = build([("twice", 6, 1), ("post", 6, 1)])
    assert [(b.step, b.steps) for b in decompose(model, IMAGES)] == [(1, 1), (1, 1)]


def test_the_transient_stream_loses_what_the_units_do_not_give_it() -> None:
    model, net = taken_apart(lambda: CifarRiR((4, 6), (2, 2)))
    assert [block.kind for block in net] == ["two-stream"] * 4
    assert net.transitions == (3,)
    unit = model.stages[0][1]
    assert isinstance(unit, TwoStreamUnit)
    x = torch.randn(2, 8, 8, 8)
    with torch.no_grad():
        carried = torch.cat([x[:, :4], torch.zeros(2, 4, 8, 8)], 1)
        assert close(net.block(2).deleted(x), F.relu(unit.bn(carried)))


def test_a_road_of_a_join_leaves_the_mean_to_the_others() -> None:
    model, net = taken_apart(lambda: CifarFractalNet((4, 6), 2))
    assert [block.kind for block in net] == ["fractal"] * 2
    assert net.road_counts == (2, 2)
    for dropped, column in ((1, 2), (2, 1)):
        lesion = Lesion("drop", roads=((1, dropped),))
        model.features[0].only = column
        with torch.no_grad():
            assert close(lesioned(net, lesion), model(IMAGES))
        model.features[0].only = None


def test_a_fractal_network_runs_one_column_alone() -> None:
    model = seeded(lambda: CifarFractalNet((4, 6), 3))
    model.keep_column(2)
    net = decompose(model, IMAGES, kinds=["plain"])
    assert len(net) == 2 * 2 + 1
    model.keep_column(None)
    assert len(decompose(model, IMAGES)) == 2
    with pytest.raises(ValueError, match="column 4; there are columns 1 to 3"):
        model.keep_column(4)


@pytest.mark.parametrize(("road", "name"), [(1, "one"), (2, "three"), (3, "pool")])
def test_a_road_of_a_parallel_block_gives_noughts(road: int, name: str) -> None:
    model = build([("inception", 8, 1), ("inception", 8, 1)], seed=2)
    net = decompose(model, IMAGES)
    assert net.road_counts == (3, 3)
    assert net.block(2).roads is not None
    assert net.block(2).roads.names[road - 1].startswith(f"blocks.1.{name}")
    found = lesioned(net, Lesion("drop", roads=((2, road),)))
    setattr(model.blocks[1], name, Silent(getattr(model.blocks[1], name)))
    with torch.no_grad():
        assert close(found, model(IMAGES))


@pytest.mark.parametrize(("road", "name"), [(1, "a"), (2, "b")])
def test_a_road_of_a_sum_is_left_out(road: int, name: str) -> None:
    model = build([("three", 6, 1), ("post", 6, 1)], seed=2)
    net = decompose(model, IMAGES)
    assert net.road_counts == (2, 0)
    found = lesioned(net, Lesion("drop", roads=((1, road),)))
    setattr(model.blocks[0], name, Silent(getattr(model.blocks[0], name)))
    with torch.no_grad():
        assert close(found, model(IMAGES))


def test_any_set_of_roads_can_go_in_both_engines() -> None:

    model = build([("inception", 8, 1), ("inception", 8, 2), ("shuffle", 8, 1)], seed=4)
    net = decompose(model, IMAGES)
    assert net.road_counts == (3, 3, 2)
    sweep = [*single_drops(net.road_counts), *random_drops(net.road_counts, range(2, 6), 3)]
    data = [(IMAGES, torch.tensor([0, 1, 2]))]
    shared = ensembles.lesion(net, data, sweep)
    direct = ensembles.lesion(net, data, sweep, engine="direct")
    assert list(shared["correct"]) == list(direct["correct"])
    assert shared["loss"].to_list() == pytest.approx(direct["loss"].to_list(), rel=1e-4)
    row = shared[shared["blocks"] == "2.3"].iloc[0]
    assert (row["lesion"], row["count"], row["block_names"]) == ("drop", 1, "blocks.1/3")


@pytest.mark.parametrize(
    ("roads", "message"),
    [
        (((1, 4),), r"branch 1.4: block 1 (blocks.0) has branches 1 to 3"),
        (((1, 1), (1, 2), (1, 3)), "all 3 branches of block 1 (blocks.0) are dropped; leave one"),
        (((3, 1),), "block 3: the network has blocks 1 to 2"),
    ],
)
def test_roads_that_cannot_go(roads: tuple[tuple[int, int], ...], message: str) -> None:
    net = decompose(build([("inception", 8, 1), ("inception", 8, 1)]), IMAGES)
    with pytest.raises(LesionError) as caught:
        ensembles.lesion(net, [], [Lesion("drop", roads=roads)])
    assert message in str(caught.value)


def test_a_block_of_one_road_has_none_to_drop() -> None:
    net = decompose(build([("post", 6, 1)]), IMAGES)
    with pytest.raises(LesionError, match="is residual and has no branches to drop one of; delete"):
        ensembles.lesion(net, [], [Lesion("drop", roads=((1, 1),))])


def test_parameters() -> None:
    def count(name: str) -> int:
        with torch.device("meta"):
            return sum(weight.numel() for weight in create_model(name).parameters())

    assert count("highway19") == 2_256_838  # published: 2.3 million
    weights = {56: (432 + 650) + 128}
    for stage, width in enumerate((16, 32, 64)):
        first = 9 * width * (max(width // 2, 16) + width) + 2 * (max(width // 2, 16) + width)
        weights[56] += first + 18 * width**2 + 8 * 4 * width  # eight steps with norms of their own
        assert stage < 3
    assert count("shared_resnet56") == weights[56]
