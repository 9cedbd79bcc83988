"""A decomposition computes what the user's own model computes: its hooks, and hidden weights."""

from __future__ import annotations

import copy
import random
import threading

import pytest
import torch
from networks import CLASSES
from torch import nn

from ensembles.decomposition import decompose
from ensembles.decomposition.independence import check_independence
from ensembles.errors import DecompositionError, EvaluationError
from ensembles.lesions import Delete


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x):
        return x + torch.tanh(self.linear(x))


class Model(nn.Module):
    """A linear layer, what a subclass says, and a classifier."""

    def __init__(self):
        super().__init__()
        self.stem, self.head = nn.Linear(6, 4), nn.Linear(4, CLASSES)
        self.build()

    def build(self):
        self.blocks = nn.Sequential(Block(), Block(), Block())

    def body(self, x):
        return self.blocks(x)

    def forward(self, x):
        return self.head(self.body(self.stem(x)))


def seeded(make):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make().eval()


ROWS = torch.randn(4, 6, generator=torch.Generator().manual_seed(1))


class Locked:
    """A hook that cannot be copied."""

    def __init__(self):
        self.lock = threading.Lock()

    def __call__(self, module, args, out):
        with self.lock:
            return out * 2


class Shifting:
    """A hook that holds the model that it belongs to."""

    def __init__(self, model):
        self.model = model

    def __call__(self, module, args, out):
        return out + self.model.head.weight[0]


def _halved(module, args, out):
    out.mul_(0.5)


HOOKS = {
    "ablation": lambda m: m.blocks[1].register_forward_hook(lambda _, a, out: out * 0),
    "layer": lambda m: m.blocks[1].linear.register_forward_hook(lambda _, a, out: out * 0.5 + 1),
    "before a layer": lambda m: m.blocks[1].linear.register_forward_pre_hook(
        lambda _, args: (args[0] * 0.5 + 1,)
    ),
    "model": lambda m: m.register_forward_pre_hook(lambda _, args: ((args[0] - 0.5) / 0.25,)),
    "logits": lambda m: m.register_forward_hook(lambda _, a, out: out.softmax(-1)),
    "keywords": lambda m: m.blocks[0].register_forward_pre_hook(
        lambda _, args, named: ((args[0] + 1,), named), with_kwargs=True
    ),
    "always": lambda m: m.blocks[0].register_forward_hook(
        lambda _, a, out: out.tanh(), always_call=True
    ),
    "in place": lambda m: m.blocks[0].linear.register_forward_hook(_halved),
    "locked": lambda m: m.blocks[1].register_forward_hook(Locked()),
    "object": lambda m: m.blocks[1].register_forward_hook(Shifting(m)),
}


@pytest.mark.parametrize("kind", HOOKS)
@pytest.mark.parametrize("training", [False, True])
def test_hooks_that_change_values_are_kept(kind, training):
    model = seeded(Model)
    HOOKS[kind](model)
    net = decompose(model.train(training), ROWS)
    assert len(net) == 3
    torch.testing.assert_close(net(ROWS), model.eval()(ROWS))
    assert not any(module._forward_hooks for module in net.modules())


def test_hooks_that_change_nothing_are_left_out():
    model, seen = seeded(Model), []
    model.blocks[1].register_forward_hook(lambda _, a, out: seen.append(out))
    net = decompose(model, ROWS)
    count = len(seen)
    net(ROWS)
    assert len(seen) == count <= 5  # a batch, a row, a gradient, two recordings


def test_a_hook_that_changes_values_later_is_refused():
    model, calls = seeded(Model), []

    def weaker(module, args, out):
        calls.append(module)
        return out / len(calls)

    model.blocks[1].register_forward_hook(weaker)
    with pytest.raises(DecompositionError, match=r"a forward hook on blocks.1\) cannot be copied"):
        decompose(model, ROWS)


def test_a_hook_on_all_modules_is_refused_where_it_changes_values():
    def doubled(module, args, out):
        return out * 2 if isinstance(module, nn.Linear) else None

    handle = nn.modules.module.register_module_forward_hook(doubled)
    try:
        with pytest.raises(DecompositionError, match=r"a hook on all modules \(doubled\) changes"):
            decompose(seeded(Model), ROWS)
        assert nn.modules.module._global_forward_hooks
    finally:
        handle.remove()


class InList(Model):
    def build(self):
        self.layers = [Block(), Block()]

    def body(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


class InMapping(InList):
    def build(self):
        self.layers = {"one": Block(), "two": Block()}

    def body(self, x):
        return self.layers["two"](self.layers["one"](x))


class InClosure(Model):
    def build(self):
        layers = [Block(), Block()]

        def run(x):
            for layer in layers:
                x = layer(x)
            return x

        self.run = run

    def body(self, x):
        return self.run(x)


class PlainTensors(Model):
    def build(self):
        self.matrices = [torch.randn(4, 4) * 0.3 for _ in range(2)]

    def body(self, x):
        for matrix in self.matrices:
            x = x + torch.tanh(x @ matrix)
        return x


class LearnedBuffers(Model):
    def build(self):
        for name in ("one", "two"):
            self.register_buffer(name, torch.randn(4, 4).mul(0.3).requires_grad_())

    def body(self, x):
        for matrix in (self.one, self.two):
            x = x + torch.tanh(x @ matrix)
        return x


class Functional(Model):
    def build(self):
        self.blocks = nn.Sequential(Block(), Block())
        self.other = {k: v.detach() * 1.5 for k, v in self.blocks.named_parameters()}

    def body(self, x):
        return torch.func.functional_call(self.blocks, self.other, (x,))


class Replaced(Model):
    def __init__(self):
        super().__init__()
        before = self.forward
        self.forward = lambda x: before(x) * 2

    def build(self):
        self.blocks = nn.Sequential(Block(), Block())


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (InList, ("layers[0]", "layers[1]")),
        (InMapping, ("layers[one]", "layers[two]")),
        (InClosure, ("block#1", "block#2")),
        (PlainTensors, ("block#1", "block#2")),
        (LearnedBuffers, ("block#1", "block#2")),
        (Functional, ("blocks.0", "blocks.1")),
        (Replaced, ("block#1", "block#2")),
    ],
)
def test_weights_that_are_not_registered(make, names):
    model = seeded(make)
    net = decompose(model, ROWS)
    assert net.names == names and {block.kind for block in net} == {"residual"}
    torch.testing.assert_close(net(ROWS), model(ROWS))
    assert all(block.parameter_count for block in net)


def test_a_hidden_module_in_training_mode_is_named():
    model = seeded(InList)
    model.layers[1] = nn.Sequential(Block(), nn.BatchNorm1d(4))
    message = r"layers\[1\].1 is in training mode, as it is no registered module: call its eval\(\)"
    with pytest.raises(DecompositionError, match=message):
        decompose(model, ROWS)


def test_a_compiled_part_is_taken_out_of_its_wrapper():
    model = seeded(Model)
    model.blocks[0] = torch.compile(model.blocks[0], backend="eager")
    net = decompose(model, ROWS)
    assert net.names == ("blocks.0", "blocks.1", "blocks.2")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_part_that_torchscript_hides_is_named():
    model = seeded(Model)
    model.blocks[1] = torch.jit.trace(model.blocks[1], torch.zeros(1, 4))
    assert decompose(model, ROWS).uncut == ("blocks.1 (compiled by TorchScript)",)
    model.blocks = nn.Sequential(model.blocks[1])
    with pytest.raises(DecompositionError, match=r"TorchScript has compiled blocks.0 of Model"):
        decompose(model, ROWS)


def test_a_hook_on_a_compiled_wrapper_is_kept():
    model = torch.compile(seeded(Model), backend="eager")
    model.register_forward_hook(lambda _, args, out: out * 2)
    net = decompose(model, ROWS)
    torch.testing.assert_close(net(ROWS), model(ROWS))
    torch.testing.assert_close(net(ROWS), 2 * seeded(Model)(ROWS))


class Halved(Model):
    def body(self, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.blocks(x).float()


class Exact(Model):
    def body(self, x):
        with torch.autocast("cpu", enabled=False):
            return self.blocks(x).float()


def test_autocast_within_a_model_is_named():
    with pytest.raises(DecompositionError, match=r"computes under autocast \(torch.bfloat16\) in"):
        decompose(seeded(Halved), ROWS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert len(decompose(seeded(Exact), ROWS)) == 3


class Nothing(Model):
    def build(self):
        super().build()
        self.idle = nn.Identity()

    def body(self, x):
        self.idle(None)
        return self.blocks(x)


def test_a_layer_that_gives_nothing():
    assert len(decompose(seeded(Nothing), ROWS)) == 3


class Rounding(nn.Module):
    """Gives other logits for a row when another one is beside it, up to a given precision."""

    def __init__(self, *types):
        super().__init__()
        self.types, self.head = types, nn.Linear(6, CLASSES)

    def forward(self, x):
        return self.head(x) * (1.01 if len(x) > 1 and x.dtype in self.types else 1)


def test_rounding_is_ruled_out_before_rows_are_said_to_influence_each_other():
    rounding = Rounding(torch.float32).eval()
    alone = check_independence(rounding, ROWS, rounding(ROWS))
    assert torch.equal(alone, rounding(ROWS[:1]))
    mixing = Rounding(torch.float32, torch.float64).eval()
    with pytest.raises(DecompositionError, match="gives other logits for an input when another"):
        check_independence(mixing, ROWS, mixing(ROWS))


class Counting(Model):
    """Counts its calls, and tells."""

    calls = 0

    def body(self, x):
        self.calls += 1
        return self.blocks(x) * self.calls


class Averaging(Model):
    """Follows the mean of what it is given, in evaluation mode too."""

    def build(self):
        super().build()
        self.register_buffer("mean", torch.zeros(4))

    def body(self, x):
        self.mean.lerp_(x.mean(0).detach(), 0.1)
        return self.blocks(x - self.mean)


class Skipping(Model):
    """Leaves out a block now and then, by a generator that torch knows nothing of."""

    def body(self, x):
        for block in self.blocks:
            x = block(x) if random.random() < 0.9 else x
        return x


class Noisy(Model):
    def body(self, x):
        return self.blocks(x) + torch.randn_like(x)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (Counting, "it keeps something from one run to the next"),
        (Averaging, "it keeps something from one run to the next"),
        (Noisy, "it is random"),
    ],
)
def test_what_differs_from_run_to_run_is_told_from_chance(make, reason):
    with pytest.raises(DecompositionError, match=f"when it runs again: {reason}"):
        decompose(seeded(make), ROWS)


@pytest.mark.parametrize("seed", range(6))
def test_rare_chance_is_found_where_something_else_would_be_blamed(seed):
    kept = random.getstate()
    random.seed(seed)
    try:
        decompose(seeded(Skipping), ROWS)
    except DecompositionError as error:
        assert "when it runs again: it is random" in str(error)  # or it is lucky
    finally:
        random.setstate(kept)


class InPairs(Model):
    """Reads two rows as one."""

    def body(self, x):
        return self.blocks(x.view(-1, 2, 4).flip(1).flatten(0, 1))


def test_rows_that_cannot_stand_alone_are_told_from_wrong_shapes():
    with pytest.raises(DecompositionError, match=r"takes 4 rows and not one alone \(shape"):
        decompose(seeded(InPairs), ROWS)


class Sparse(Model):
    """The weights of its layers are sparse matrices by rows."""

    def build(self):
        super().build()
        for block in self.blocks:
            kept = block.linear.weight.detach().relu().to_sparse_csr()
            block.linear.weight = nn.Parameter(kept, requires_grad=False)


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
def test_sparse_weights():
    model = seeded(Sparse)
    net = decompose(model, ROWS)
    assert len(net) == 3
    torch.testing.assert_close(net(ROWS[:3]), model(ROWS[:3]))


class PerRow(Model):
    """Multiplies by the number of rows and divides by it again."""

    def body(self, x):
        for block in self.blocks:
            x = x + torch.tanh(block.linear(x)) * len(x) / x.shape[0]
        return x


def test_numbers_that_follow_the_rows_are_no_fixed_factors():
    model = seeded(PerRow)
    net = decompose(model, ROWS)
    assert len(net) == 3
    torch.testing.assert_close(net(ROWS[:3]), model(ROWS[:3]))


class Drawn(Model):
    """Adds numbers that are drawn from a seed each time."""

    def body(self, x):
        for seed, block in enumerate(self.blocks):
            with torch.random.fork_rng():
                torch.manual_seed(seed)
                x = block(x) + torch.randn(4)
        return x


class Divided(Model):
    """Takes three rows at a time."""

    def body(self, x):
        return torch.cat([self.blocks(part) for part in x.split(3)])


class OfSeveralTypes(Model):
    """One of the layers has weights in double precision."""

    def build(self):
        super().build()
        self.blocks[1].linear.double()

    def body(self, x):
        for block in self.blocks:
            x = x + block.linear(x.to(block.linear.weight.dtype)).tanh().float()
        return x


@pytest.mark.parametrize("make", [Drawn, OfSeveralTypes])
def test_lesioned_networks_compute_as_the_model_does(make):
    model = seeded(make)
    net = decompose(model, ROWS)
    torch.testing.assert_close(net(ROWS[:3]), model(ROWS[:3]))
    with torch.no_grad():
        lesioned = net.lesioned(Delete((2,)))(ROWS)
        model.blocks[1].linear.weight.zero_()
        model.blocks[1].linear.bias.zero_()
    torch.testing.assert_close(lesioned, model(ROWS))


def test_a_batch_that_a_model_divides_is_said():
    with pytest.raises(DecompositionError, match="other operations for 4 rows than for three"):
        decompose(seeded(Divided), ROWS)


class Asserting(Model):
    def body(self, x):
        for block in self.blocks:
            assert not torch.isnan(x).any()
            x = block(x)
        return x if x.abs().max() < 1e4 else x / 2


class Masked(Model):
    def body(self, x):
        mask = x[:, 0] > -1e3
        x = self.blocks[0](x)
        return self.blocks[1](x) if mask.all() else self.blocks[1](x * mask[:, None])


@pytest.mark.parametrize(("make", "bad"), [(Asserting, 1e6), (Masked, -1e6)])
def test_a_decision_on_the_data_is_checked_on_each_batch(make, bad):
    model = seeded(make)
    net = decompose(model, ROWS)
    torch.testing.assert_close(net(ROWS * 2), model(ROWS * 2))
    other = ROWS.clone()
    other[0] = bad * torch.sign(model.stem.weight[0])
    message = r"decides on the data \(test_decomposition_original.py, line \d+\): \w+ for the exam"
    with pytest.raises(EvaluationError, match=message):
        net(other)


def test_a_guard_is_kept_by_files_and_left_out_by_exports(tmp_path):
    model = seeded(Asserting)
    net = decompose(model, ROWS)
    torch.save(net, tmp_path / "net.pt")
    again = torch.load(tmp_path / "net.pt", weights_only=False)
    torch.testing.assert_close(again(ROWS), model(ROWS))
    with pytest.raises(EvaluationError, match="decides on the data"):
        again(ROWS * float("nan"))
    bare = torch.export.export(net, (ROWS,), strict=False).module()
    torch.testing.assert_close(bare(ROWS), model(ROWS))


class Deciding(Model):
    def forward(self, x):
        return super().forward(x if x[0, 0] > 0 else x * 2)


def test_a_decision_that_differs_is_refused_with_its_line():
    rows = ROWS.clone()
    rows[:, 0], rows[:, -1] = 1, -1
    message = r"\(test_decomposition_original.py, line \d+\): True for two rows .* False for three"
    with pytest.raises(DecompositionError, match=message):
        decompose(seeded(Deciding), rows)


def test_the_model_of_a_hook_is_not_changed():
    model = seeded(Model)
    model.blocks[1].register_forward_hook(Shifting(model))
    before = copy.deepcopy(model.state_dict())
    net = decompose(model, ROWS)
    with torch.no_grad():
        for weight in net.parameters():
            weight.zero_()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_what_the_time_goes_into_is_logged(caplog):
    with caplog.at_level("DEBUG", logger="ensembles"):
        decompose(seeded(Model), ROWS)
    (line,) = caplog.messages
    assert line.startswith("Model taken apart in ") and "its forward pass takes" in line
    assert "recorded" in line and "verified" in line


def test_a_network_runs_as_seldom_as_the_checks_allow():
    """On the example, first and last row alone, and two and three rows that are recorded."""
    rows = []

    class Counted(Model):
        def body(self, x):
            rows.append(len(x))
            return super().body(x)

    net = decompose(seeded(Counted), ROWS)
    assert sorted(rows) == [1, 1, 2, 3, 4] and not net.other_gradient


class ThroughViews(Model):
    """Updates of entries, and of entries of entries."""

    def body(self, x):
        for block in self.blocks:
            made = block(x) * 1
            made[:, :2] += x[:, :2]
            made[:, 1:][:, 1] *= 2
            last = made[:, 3]
            made.mul_(0.5)
            last.add_(1)
            x = x + made
        return x


def test_updates_through_views_need_no_export(caplog):
    model = seeded(ThroughViews)
    with caplog.at_level("DEBUG", logger="ensembles"):
        net = decompose(model, ROWS)
    assert "exported" not in caplog.text and len(net) >= 3
    torch.testing.assert_close(net(ROWS), model(ROWS))
