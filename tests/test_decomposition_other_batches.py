"""What a model does for other batches than the example: more rows, greater numbers, gradients."""

from __future__ import annotations

import copy

import pytest
import torch
from test_decomposition_original import ROWS, Block, Model, seeded
from torch import nn

import ensembles
from ensembles.decomposition import decompose
from ensembles.decomposition.batch_sizes import BatchSizes
from ensembles.decomposition.private_copy import private_copy
from ensembles.errors import DecompositionError, EvaluationError
from ensembles.lesions import Delete

MANY = torch.randn(9, 6, generator=torch.Generator().manual_seed(2))
LABELS = torch.zeros(9, dtype=torch.long)
OTHER = "gives other logits for 9 rows at once than for {}"


def hooked(hook):
    model = seeded(Model)
    model.blocks[1].register_forward_hook(lambda _, args, out: hook(out))
    return model


def forward(change):
    class Changed(Model):
        def forward(self, x):
            return change(super().forward(x), x)

    return seeded(Changed)


def _first_four(out):
    some = min(len(out), 4)
    return torch.cat([out[:some] * 0 + torch.ones(4, 4)[:some], out[some:]])


SIZES = {
    "a hook that counts rows": (lambda: hooked(lambda o: o * 2 if len(o) > 4 else None), 4),
    "a hook that holds four rows": (lambda: hooked(_first_four), 4),
    "a greatest number of rows": (lambda: forward(lambda y, x: y * max(len(x), 6)), 4),
    "quarters of a batch": (lambda: forward(lambda y, x: y * (1 + len(x) // 4)), 2),
    "the size of the input": (lambda: forward(lambda y, x: y * (1 + (x.numel() > 50))), 4),
}


@pytest.mark.parametrize("kind", SIZES)
def test_a_model_that_decides_by_the_number_of_rows_is_refused_for_more(kind):
    make, most = SIZES[kind]
    net = decompose(make(), ROWS[:most])
    torch.testing.assert_close(net(ROWS[:1]), make()(ROWS[:1]))
    for _ in range(2):
        with pytest.raises(EvaluationError, match=OTHER.format(most)):
            net(MANY)
    with pytest.raises(EvaluationError, match=OTHER.format(most)):
        net.lesioned(Delete((1,)))(MANY)
    with pytest.raises(EvaluationError, match=OTHER.format(most)):
        ensembles.lesion(net, [(MANY, LABELS)], [Delete((1,))], device="cpu", progress=False)


def test_a_model_that_takes_so_many_rows_alone_says_so():
    table = torch.ones(8, 1)
    net = decompose(forward(lambda y, x: y * table[: len(x)]), ROWS)
    with pytest.raises(EvaluationError, match=r"takes 4 rows at once, and not 9 \(The size of"):
        net(MANY)


def test_logits_that_are_not_finite_are_no_matter_of_the_number_of_rows():
    odd = MANY.clone()
    odd[3, 2] = torch.inf
    net = decompose(seeded(Model), ROWS)
    assert torch.equal(net(odd).isfinite(), seeded(Model)(odd).isfinite())
    with pytest.raises(EvaluationError, match="not finite for 1 of 9"):
        ensembles.lesion(net, [(odd, LABELS)], [Delete((1,))], device="cpu", progress=False)
    counting = decompose(hooked(lambda o: o * 2 if len(o) > 4 else None), ROWS)
    with pytest.raises(EvaluationError, match=OTHER.format(4)):
        counting(odd)


def test_modules_of_libraries_are_taken_at_their_word_unless_they_have_hooks(monkeypatch):
    plain = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3)).eval()
    counted = copy.deepcopy(plain)
    counted[0].register_forward_hook(lambda _, args, out: out * 2 if len(out) > 4 else None)
    odd = copy.deepcopy(plain)
    odd[0].forward = lambda x: torch.tanh(x) if len(x) > 4 else x
    held = []
    monkeypatch.setattr(BatchSizes, "_hold", lambda self, *given: held.append(self))
    decompose(plain, ROWS)(MANY)
    assert not held
    for model in (counted, odd):
        decompose(model, ROWS)(MANY)
    assert len(held) == 2


def test_a_batch_of_a_new_size_is_held_against_the_model_once():
    rows = []

    class Counted(Model):
        def body(self, x):
            rows.append(len(x))
            return super().body(x)

    model = seeded(Counted)
    net = decompose(model, ROWS)
    del rows[:]
    for _ in range(2):
        torch.testing.assert_close(net(MANY), model(MANY))
    assert rows == [9, 9, 9]  # the copy once, and the model of this test twice
    del rows[:]
    ensembles.lesion(net, [(MANY, LABELS)], [Delete((1,))], device="cpu", progress=False)
    net(MANY[:9].double().float())
    assert not rows  # it is known


def test_parts_that_were_changed_since_are_held_against_nothing():
    net = decompose(seeded(Model), ROWS)
    other = copy.deepcopy(net)
    with torch.no_grad():
        next(other.block(1).parameters()).zero_()
    assert other(MANY).shape == (9, *net.output_shape)
    assert copy.deepcopy(net).double()(MANY.double()).dtype == torch.float64
    torch.func.vmap(net)(MANY[:, None])


DECIDING = {
    "bool": lambda o: o.clamp(-1, 1) if o.abs().max() > 8 else None,
    "item": lambda o: o.clamp(-1, 1) if o.abs().max().item() > 8 else None,
}


@pytest.mark.parametrize("kind", DECIDING)
def test_a_hook_that_decides_beyond_the_example_is_a_guard(kind):
    model = hooked(DECIDING[kind])
    net = decompose(model, ROWS)
    torch.testing.assert_close(net(MANY), model(MANY))
    with pytest.raises(EvaluationError, match="decides on the data"):
        net(MANY * 50)


def test_a_hook_that_changes_greater_numbers_alone_is_kept_or_refused():
    model = hooked(lambda o: o.clamp(-8, 8))
    torch.testing.assert_close(decompose(model, ROWS)(MANY * 50), model(MANY * 50))
    with pytest.raises(DecompositionError, match=r"a forward hook on blocks.1 of Model changes"):
        decompose(hooked(lambda o: o * 0 if float(o.abs().max()) > 8 else None), ROWS)
    with pytest.raises(DecompositionError, match=r"\(numpy of a tensor\)"):
        decompose(hooked(lambda o: torch.from_numpy(o.detach().numpy() * 1)), ROWS)


def test_hooks_that_write_down_are_left_out():
    notes = []
    for note in (
        lambda o: notes.append(float(o.mean())),
        lambda o: notes.append(o.detach().numpy().mean()),
        lambda o: notes.append(f"{o.mean().item():.2f}"),
        lambda o: notes.append(int((o > 0).sum())),
    ):
        model = hooked(note)
        torch.testing.assert_close(decompose(model, ROWS)(MANY * 50), model(MANY * 50))


class Inner(Model):
    """A model whose second block does what a test says."""

    def build(self):
        super().build()
        self.blocks[1].forward = lambda x: x + self.inner(x)


class Many(torch.autograd.Function):
    """Another derivative for more rows than are compared."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * 2 if len(gradient) > 10 else gradient


GRADIENTS = {
    "seen where it is given 64 rows": lambda x: Many.apply(torch.tanh(x)),
    "a gradient at the input that is not finite": lambda x: torch.where(
        x > 9, torch.sqrt(x * 0), torch.tanh(x)
    ),
    "or a value changed unseen": lambda x: _doubled(x * 1),
}


def _doubled(x):
    x.detach().mul_(2)
    return x


@pytest.mark.parametrize("reason", GRADIENTS)
def test_gradients_that_are_not_those_of_the_parts_have_their_reason(reason):
    class Stated(Inner):
        inner = staticmethod(GRADIENTS[reason])

    assert reason in decompose(seeded(Stated), ROWS).other_gradient


def test_a_gradient_hook_on_all_modules_is_found():
    def scaled(module, given, _):
        return tuple(g * 1.5 for g in given) if isinstance(module, Block) else None

    handle = nn.modules.module.register_module_full_backward_hook(scaled)
    try:
        found = decompose(seeded(Model), ROWS).other_gradient
    finally:
        handle.remove()
    assert "the model changes it (a backward hook on all modules)" in found


def test_a_model_that_looks_for_gradients_is_refused():
    class Looking(Inner):
        def inner(self, x):
            return torch.tanh(x) * (2 if x.requires_grad else 1)

    with pytest.raises(DecompositionError, match="gives other logits where gradients are recorded"):
        decompose(seeded(Looking), ROWS)


def test_hooks_around_what_torch_compiles_are_kept():
    model = seeded(Model)
    model.blocks[1] = torch.compile(model.blocks[1], backend="eager")
    model.blocks[1].register_forward_hook(lambda _, args, out: out * 2)
    twin = private_copy(model, hooks=True)
    assert len(twin.blocks[1]._forward_hooks) == 1 and type(twin.blocks[1]) is Block
    model.blocks[1] = model.blocks[1]._orig_mod
    assert not torch.equal(twin(ROWS), model(ROWS))


def test_a_sparse_weight_is_copied():
    class Sparse(Inner):
        def build(self):
            super().build()
            self.blocks[1].matrix = nn.Parameter(torch.eye(4).to_sparse())

        def inner(self, x):
            return torch.sparse.mm(self.blocks[1].matrix, x.T).T

    model = seeded(Sparse)
    torch.testing.assert_close(decompose(model, ROWS)(MANY), model(MANY))
