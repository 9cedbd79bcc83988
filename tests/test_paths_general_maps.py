"""Parts without a fast form: tangents by the transpose of the derivative, or by forward mode."""

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

from ensembles.decomposition import decompose
from ensembles.errors import PathError
from ensembles.numerics import differentiable
from ensembles.unravelling.linearization import Linearizer
from ensembles.unravelling.maps import FunctionMap
from ensembles.unravelling.spectra import forward


class Attending(nn.Module):
    """A layer of attention whose runs are counted."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.mix = nn.LayerNorm(6), nn.MultiheadAttention(6, 2, batch_first=True)
        self.grow = nn.Linear(6, 6)
        self.runs = 0

    def forward(self, x: Tensor) -> Tensor:
        self.runs += 1
        y = self.norm(x)
        mixed: Tensor = self.mix(y, y, y, need_weights=False)[0]
        return nn.functional.gelu(self.grow(mixed))


class OnlyBack(torch.autograd.Function):
    """A cube that has no forward mode."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x**3

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0])

    @staticmethod
    def backward(ctx: FunctionCtx, cotangent: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return 3 * x**2 * cotangent


class Neither(OnlyBack):
    """One without either: its derivative backward cannot be derived again."""

    backward = staticmethod(once_differentiable(OnlyBack.backward))


class Once(Neither):
    """One with forward mode only."""

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0])
        ctx.save_for_forward(inputs[0])  # type: ignore[attr-defined]

    jvp = staticmethod(OnlyBack.backward)


@differentiable()
def test_the_function_runs_once_however_often_tangents_are_pushed() -> None:
    torch.manual_seed(0)
    layer = Attending().double().eval()
    x, rows = torch.randn(2, 3, 6).double(), torch.randn(8, 3, 6).double()
    part = FunctionMap(layer, x, "attention")
    before = layer.runs
    found = torch.cat([part.push(rows[:4]), part.push(rows[4:])])
    assert layer.runs == before + 1
    for row, image in ((0, 0), (1, 1), (5, 1)):
        one = torch.func.jvp(layer, (x[image : image + 1],), (rows[row : row + 1],))[1]
        assert torch.allclose(found[row], one[0], rtol=1e-10)
    part.release()
    assert torch.equal(part.push(rows), torch.cat([part.push(rows[:2]), part.push(rows[2:])]))
    assert layer.runs > before + 2


def test_forward_mode_where_the_derivative_has_no_transpose() -> None:
    x, rows = torch.tensor([[1.0, -2.0]]), torch.tensor([[1.0, 1.0], [0.5, 2.0]])
    for cube in (Once, OnlyBack):
        part = FunctionMap(cube.apply, x, "cube")
        assert part.push(rows).tolist() == [[3.0, 12.0], [1.5, 24.0]]
        assert part.pull(rows).tolist() == [[3.0, 12.0], [1.5, 24.0]]


def test_a_part_without_either_is_refused_by_name() -> None:
    part = FunctionMap(Neither.apply, torch.ones(1, 2), "block 3 (cube)")
    with pytest.raises(PathError, match=r"block 3 \(cube\) has no derivative that torch\.func can"):
        part.push(torch.ones(1, 2))


class Stack(nn.Module):
    """Three residual layers of attention."""

    def __init__(self) -> None:
        super().__init__()
        self.layers, self.head = nn.ModuleList(Attending() for _ in range(3)), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = x + layer(x)
        out: Tensor = self.head(x.mean(1))
        return out


@differentiable()
def test_what_blocks_held_is_let_go_on_the_way() -> None:
    torch.manual_seed(0)
    net = decompose(Stack().eval(), torch.randn(2, 3, 6))
    linear = Linearizer(net).at(torch.randn(2, 3, 6))
    forward(linear)
    roads = [block.branch for block in linear.blocks]
    assert all(isinstance(road, FunctionMap) for road in roads)
    assert all(road._back is None and road._transposed is None for road in roads)  # type: ignore[union-attr]
