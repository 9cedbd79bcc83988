"""Weights in other forms, rows that meet, decisions on several rows: right, or said."""

from __future__ import annotations

import functools
import types

import pytest
import torch
import torch.nn.functional as F
from networks import CLASSES
from torch import nn

import ensembles
from ensembles.decomposition import decompose
from ensembles.errors import DecompositionError, PathError
from ensembles.lesions import Delete

GENERATOR = torch.Generator().manual_seed(1)
ROWS = torch.randn(4, 6, generator=GENERATOR)
LABELS = torch.zeros(4, dtype=torch.long)
MATRICES = [torch.randn(4, 4, generator=GENERATOR) * 0.5 for _ in range(2)]
NUMBERS = [matrix.tolist() for matrix in MATRICES]
LAYERS = [nn.Linear(4, 4).eval() for _ in range(2)]
EIGHT_BITS = [torch.quantize_per_tensor(m, 0.02, 0, torch.qint8) for m in MATRICES]


class Loop(nn.Module):
    """Two residual blocks whose branches given functions compute."""

    matrices = torch.stack(MATRICES)

    def __init__(self, branches):
        super().__init__()
        self.stem, self.head = nn.Linear(6, 4), nn.Linear(4, CLASSES)
        self.register_buffer("held", torch.stack(MATRICES))
        self.branches, self.without = branches, None

    def forward(self, x):
        x = self.stem(x)
        for place, branch in enumerate(self.branches):
            if place != self.without:
                x = x + torch.tanh(branch(self, x))
        return self.head(x)


def _complex(_, x, matrix):
    return (x.to(torch.complex64) @ torch.complex(matrix, matrix.T)).imag


def _given(function, values):
    return [functools.partial(function, **{"matrix": value}) for value in values]


BRANCHES = {
    "a list": _given(lambda _, x, matrix: x @ matrix, MATRICES),
    "numpy": _given(
        lambda _, x, matrix: x @ torch.from_numpy(matrix), [m.numpy() for m in MATRICES]
    ),
    "numbers": _given(
        lambda _, x, matrix: x @ torch.tensor(matrix), [m.tolist() for m in MATRICES]
    ),
    "new": _given(lambda _, x, matrix: x @ x.new_tensor(matrix), NUMBERS),
    "8 bits": _given(lambda _, x, matrix: x @ matrix.dequantize(), EIGHT_BITS),
    "integers": _given(
        lambda _, x, matrix: F.linear(x, matrix.float() / 50), [(m * 50).char() for m in MATRICES]
    ),
    "complex": _given(_complex, MATRICES),
    "sparse": _given(
        lambda _, x, matrix: torch.sparse.mm(matrix, x.T).T, [m.to_sparse() for m in MATRICES]
    ),
    "a class": [lambda m, x, i=i: x @ m.matrices[i] for i in range(2)],
    "buffers": [lambda m, x, i=i: x @ m.held[i] for i in range(2)],
    "a default": [lambda _, x, layer=layer: layer(x) for layer in LAYERS],
    "a method": [functools.partial(lambda _, x, f: f(x), f=layer.forward) for layer in LAYERS],
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("form", BRANCHES)
def test_weights_in_other_forms(form):
    model = Loop(BRANCHES[form]).eval()
    net = decompose(model, ROWS)
    assert [block.kind for block in net] == ["residual"] * 2
    model.without = 0
    with torch.no_grad():
        torch.testing.assert_close(net.lesioned(Delete((1,)))(ROWS), model(ROWS))
    frame = ensembles.lesion(net, [(ROWS, LABELS)], progress=False)
    assert frame.loss[1] == pytest.approx(
        float(F.cross_entropy(model(ROWS), torch.zeros(4).long()))
    )


def test_a_layer_with_another_forward_runs_that():
    model = Loop([lambda m, x: m.inner(x)] * 2)
    model.inner = nn.Linear(4, 4)
    whole = model.inner.forward
    model.inner.forward = lambda x: whole(x) * 0.5
    net = decompose(model.eval(), ROWS)
    frame = ensembles.paths(net, [(ROWS, LABELS)], images=2, signs=0, progress=False)
    assert frame.attrs["sum_error"] < 1e-5


class Rows(Loop):
    """Does something to all rows, or by all rows."""

    def __init__(self, change):
        super().__init__([lambda _, x, layer=layer: layer(x) for layer in LAYERS])
        self.change = types.MethodType(change, self)

    def forward(self, x):
        return super().forward(self.change(x))


def test_rows_that_lean_on_others_are_refused_wherever_they_are():
    model = Rows(lambda _, x: torch.cat([x[:1], x[1:] + x[:-1]])).eval()
    with pytest.raises(DecompositionError, match="gives other logits for an input when another"):
        decompose(model, ROWS)


@pytest.mark.parametrize("row", [0, 1, 3])
def test_a_decision_on_all_rows_is_followed_whichever_row_decides(row):
    model = Rows(lambda _, x: x.clamp(-9, 9) if (x.abs() > 9).any() else x).eval()
    rows = ROWS.clone()
    rows[row, 2] = 10
    net = decompose(model, rows)
    torch.testing.assert_close(net(rows), model(rows))


def _doubled_in_place(_, x):
    x = x.clone()
    x.data.mul_(2)
    return x


def _put_in_place(_, x):
    x = x.clone()
    x.data = x.data * 2
    return x


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda _, x: x * (2 if torch.is_grad_enabled() else 1), r"where gradients are recorded"),
        (
            lambda _, x: torch.from_numpy(x.detach().numpy()),
            r"decides on the data .*numpy.* line \d+; .*compute with torch's functions alone",
        ),
        (
            lambda _, x: torch.func.grad(lambda v: (v**3).sum())(x),
            r"transformation such as vmap; let the transformation .* read its arguments alone",
        ),
        (
            lambda _, x: torch.from_dlpack(torch.utils.dlpack.to_dlpack(x.detach())) * 2,
            r"an operation that cannot be seen; write it with torch's functions \(what DLPack",
        ),
        (_doubled_in_place, r"changed through its \.data; change the tensor itself"),
        (_put_in_place, r"changed through its \.data; change the tensor itself"),
    ],
)
def test_what_no_graph_can_hold_is_named(change, message):
    with pytest.raises(DecompositionError, match=message):
        decompose(Rows(change).eval(), ROWS)


def test_a_saved_tensor_that_is_changed_is_another_gradient():
    def packed(_, x):
        with torch.autograd.graph.saved_tensors_hooks(lambda t: t * 0.5, lambda t: t):
            return torch.sin(x)

    net = decompose(Rows(packed).eval(), ROWS)
    with pytest.raises(PathError, match="another gradient at the input"):
        ensembles.paths(net, [(ROWS, LABELS)], images=2, signs=0, progress=False)
