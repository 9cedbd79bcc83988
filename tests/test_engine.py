"""The shared-prefix engine against the direct one, and what both refuse."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import build, decomposable, images_for, random_networks
from torch import nn

from ensembles.decomposition import decompose
from ensembles.engine import Materials, count_correct, evaluate
from ensembles.engine.direct import Direct
from ensembles.engine.evaluation import choose_engine
from ensembles.engine.level import LevelOrder
from ensembles.engine.shared import SharedPrefixes
from ensembles.engine.sweep import Sweep
from ensembles.errors import DataError, EvaluationError, LesionError, UsageError
from ensembles.lesions import (
    Delete,
    Duplicate,
    Reorder,
    Structure,
    intact,
    random_deletions,
    random_duplications,
    random_swaps,
    single_deletions,
)
from ensembles.lesions.steps import Bypass
from ensembles.numerics import exact_mathematics


def sweep_of(net, seed=0):
    """Lesions of every kind that a network takes."""
    n = len(net)
    fixed = [b.index for b in net if not b.deletable]
    uneven = [b.index for b in net if b.in_shape != b.out_shape]
    sweep = [intact(), *single_deletions(n, fixed)]
    if n - len(fixed) >= 2:
        sweep += random_deletions(n, [2], 3, seed, fixed)
    if len(uneven) < n:
        sweep += random_duplications(n, [1], 2, seed, uneven)
    groups = Structure.of(net).stages
    if groups:
        sweep += random_swaps(groups, [1, 2], 2, seed)
    return sweep


def counts(outcomes):
    return [(o.lesion, o.correct, o.total, o.nonfinite) for o in outcomes]


@settings(max_examples=20, deadline=None)
@given(random_networks(), st.integers(1, 12), st.integers(0, 3))
def test_both_engines_count_the_same(model, batch_size, seed):
    images, labels = images_for(model, 11, seed)
    net = decompose(model, images[:2])
    sweep = sweep_of(net, seed)
    data = [(images, labels)]
    slow = evaluate(net, data, sweep, engine="direct", device="cpu")
    for engine in ("prefix", "level"):
        fast = evaluate(net, data, sweep, batch_size=batch_size, engine=engine, device="cpu")
        assert counts(fast) == counts(slow)
        for ours, oracle in zip(fast, slow, strict=True):
            assert ours.loss_sum == pytest.approx(oracle.loss_sum, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("batch_size", [1, 2, 5, 11])
def test_of_exactly_tied_logits_the_first_class_counts_everywhere(batch_size):
    model = decomposable()
    head = [one for one in model.modules() if isinstance(one, nn.Linear)][-1]
    nn.init.zeros_(head.weight)
    head.bias.data = torch.tensor([0.0, 1.0, 0.0, 1.0, 1.0])  # 1, 3 and 4 are tied
    images, labels = images_for(model, 11, 1)
    net, data = decompose(model, images[:2]), [(images, labels)]
    ones = int((labels == 1).sum())
    assert count_correct(model, data, batch_size) == (ones, 11)
    for engine in ("prefix", "level", "direct"):
        found = evaluate(
            net, data, sweep_of(net), engine=engine, batch_size=batch_size, device="cpu",
            metrics=["top1", "top5", "classes", "confusion"], predictions=True,
        )  # fmt: skip
        assert {one.correct for one in found} == {ones}
        assert {tuple(one.predictions) for one in found} == {(1,) * 11}
        assert {one.row(["top5"])["top5"] for one in found} == {1.0}
        assert {one.class_correct[1] for one in found} == {ones}


@settings(max_examples=15, deadline=None)
@given(random_networks(), st.integers(0, 3))
def test_both_engines_give_the_same_logits(model, seed):
    images, _ = images_for(model, 5, seed)
    net = decompose(model, images).double()  # folded weights are rounded once, to this type
    sweep = sweep_of(net, seed)
    cpu = torch.device("cpu")
    programs = [lesion.program(len(net)) for lesion in sweep]
    engines = [
        kind(copy.deepcopy(net), programs, Materials(net), cpu, torch.float64)
        for kind in (SharedPrefixes, LevelOrder)
    ]
    with torch.inference_mode():
        fast, by_level = (dict(engine.run(images.double())) for engine in engines)
        for i, program in enumerate(programs):
            x = net.stem(images.double())
            for position, steps in enumerate(program, 1):
                block = net.block(position)
                x = x if block.before is None else block.before(x)
                for step in steps:
                    block = net.block(step.block)
                    x = block.deleted(x) if isinstance(step, Bypass) else block(x)
            torch.testing.assert_close(fast[i], net.head(x), rtol=1e-6, atol=1e-8)
            torch.testing.assert_close(by_level[i], net.head(x), rtol=1e-6, atol=1e-8)


def test_the_users_model_and_decomposition_are_left_alone():
    model = decomposable().train()
    fired = []
    model.register_forward_hook(lambda *_: fired.append(1))
    before = copy.deepcopy(model.state_dict())
    images, labels = images_for(model, 6)
    net = decompose(model, images)
    assert (
        len(fired) <= 5
    )  # it is run as it is, to be compared; with hooks a row more, and recorded
    fired.clear()
    state = copy.deepcopy(net.state_dict())
    evaluate(net, [(images, labels)], sweep_of(net), precision="bf16", device="cpu")
    with pytest.raises(LesionError):
        evaluate(net, [(images, labels)], [Delete((99,))], device="cpu")
    assert model.training and not fired
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, state[name])


def test_a_lesion_whose_logits_are_not_finite_is_recorded_as_such():
    class Explodes(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
            nn.init.constant_(self.a.weight, -1.0)
            nn.init.constant_(self.a.bias, 0.0)
            self.head = nn.Linear(4, 3)

        def forward(self, x):
            x = x.flatten(1)
            x = x + self.a(x.abs())
            x = x + self.b(x)
            return self.head(torch.log(-x.sum(1, keepdim=True)) + x)

    images = torch.rand(8, 1, 2, 2, generator=torch.Generator().manual_seed(1)) + 0.1
    labels = torch.arange(8) % 3
    model = Explodes()
    with torch.no_grad():
        model.b.weight.zero_()
        model.b.bias.zero_()
    net = decompose(model, images)
    outcomes = evaluate(net, [(images, labels)], [intact(), *single_deletions(2)], device="cpu")
    assert [o.nonfinite for o in outcomes] == [0, 8, 0]
    assert outcomes[1].correct == 0 and outcomes[1].error != outcomes[1].error


def test_intact_logits_that_are_not_finite_are_refused():
    model = decomposable()
    images, labels = images_for(model, 4)
    net = decompose(model, images)
    images[2] = float("inf")
    with pytest.raises(
        EvaluationError, match=r"the intact network .* not finite for 1 of 4 images"
    ):
        evaluate(net, [(images, labels)], [intact()], device="cpu")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "fp16"}, "precision 'fp16'; expected fp32, tf32, bf16"),
        ({"precision": "tf32", "device": "cpu"}, "tf32' needs a CUDA device, found cpu"),
        (
            {"engine": "dirct"},
            "engine 'dirct'; expected shared, prefix, level or direct; did you mean direct",
        ),
        ({"device": "gpu"}, "device 'gpu'; expected auto, cpu, cuda, cuda:0 or mps"),
        ({"device": "cuda:99"}, "device 'cuda:99' is not there"),
        ({"device": f"cuda:{'9' * 5000}"}, "; expected auto, cpu, cuda, cuda:0 or mps"),
        ({"device": "cuda:\u00b2"}, "device 'cuda:\u00b2'; expected auto, cpu, cuda, cuda:0"),
        ({"batch_size": 0}, "batch size 0; expected 1 or more"),
        ({"batch_size": 10**30}, f"batch size {10**30}; expected at most {2**31 - 1}"),
    ],
)
def test_options_without_meaning_are_refused(options, message):
    model = decomposable()
    images, labels = images_for(model, 2)
    net = decompose(model, images)
    with pytest.raises(UsageError, match=message):
        evaluate(net, [(images, labels)], [intact()], **options)


@pytest.mark.parametrize(
    ("lesion", "message"),
    [
        (Delete((7,)), r"block 7: the network has blocks 1 to 4"),
        (Duplicate((3,)), r"duplicate of block 3.*cannot run twice"),
        (Reorder(((1, 3),)), r"swap 1-3: block 3 is a transition"),
    ],
)
def test_lesions_that_do_not_fit_are_refused(lesion, message):
    model = decomposable()
    images, labels = images_for(model, 2)
    net = decompose(model, images)
    with pytest.raises(LesionError, match=message):
        evaluate(net, [(images, labels)], [lesion], device="cpu")


def test_data_that_do_not_fit_are_refused():
    model = decomposable()
    images, labels = images_for(model, 4)
    net = decompose(model, images)
    with pytest.raises(DataError, match=r"the images have shape \(3, 8, 9\); .* taken apart for"):
        evaluate(net, [(torch.zeros(2, 3, 8, 9), labels[:2])], [intact()], device="cpu")
    with pytest.raises(DataError, match=r"the data have a label 12, the network 5 classes"):
        evaluate(net, [(images, labels + 12 - labels.max())], [intact()], device="cpu")
    with pytest.raises(DataError, match=r"no image"):
        evaluate(net, [], [intact()], device="cpu")


def test_tf32_is_allowed_only_while_asked_for():
    flags = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [flag.allow_tf32 for flag in flags]
    with pytest.raises(ZeroDivisionError), exact_mathematics("tf32"):
        assert [flag.allow_tf32 for flag in flags] == [True, True]
        1 / 0  # noqa: B018
    with exact_mathematics("fp32"):
        assert [flag.allow_tf32 for flag in flags] == [False, False]
    assert [flag.allow_tf32 for flag in flags] == before


def test_progress_ends_at_all_work():
    model = decomposable()
    images, labels = images_for(model, 7)
    net = decompose(model, images)
    told = []
    data = torch.utils.data.TensorDataset(images, labels)
    sweep = [intact(), *single_deletions(len(net))]
    evaluate(net, data, sweep, batch_size=3, device="cpu", progress=lambda *x: told.append(x))
    assert told[-1] == (7 * len(sweep), 7 * len(sweep))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_counts_what_the_cpu_counts():
    model = decomposable()
    images, labels = images_for(model, 64)
    net = decompose(model, images)
    sweep = sweep_of(net)
    cpu = counts(evaluate(net, [(images, labels)], sweep, device="cpu"))
    assert counts(evaluate(net, [(images, labels)], sweep, device="cuda")) == cpu


@pytest.mark.parametrize("engine", ["prefix", "level", "direct"])
def test_a_sweep_leaves_the_network_as_it_was(engine: str) -> None:
    """Its mode, and the type, the layout and the values of its tensors; no layer is shared."""
    model = build([("post", 6, 1), ("pre", 6, 1), ("post", 8, 2)])
    images, labels = images_for(model, 4)
    net = decompose(model, images).train()
    before = {name: (one, one.clone(), one.stride()) for name, one in net.state_dict().items()}
    sweep = [intact(), *single_deletions(len(net))]
    found = evaluate(net, [(images, labels)], sweep, engine=engine, device="cpu", precision="bf16")
    assert all(outcome.total == 4 for outcome in found)
    assert all(module.training for module in net.modules())
    for name, value in net.state_dict().items():
        one, copied, stride = before[name]
        assert value.data_ptr() == one.data_ptr() and value.dtype == copied.dtype
        assert torch.equal(value, copied) and value.stride() == stride
    held = {id(one) for one in (*net.parameters(), *net.buffers())}
    runner = Sweep(net, sweep, Materials(net), engine=choose_engine(engine, torch.device("cpu")),
                   device=torch.device("cpu"), dtype=torch.float32)  # fmt: skip
    for module in runner._engine.modules:
        assert not held & {id(one) for one in (*module.parameters(), *module.buffers())}


class _UsedTwice(nn.Module):
    """A convolution whose output a normalisation reads, and a gate beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)

    def forward(self, x):
        y = self.conv(x)
        return x + self.norm(y) * torch.sigmoid(y)


def test_a_convolution_that_others_read_too_is_not_folded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        blocks = [_UsedTwice() for _ in range(3)]
        model = nn.Sequential(nn.Conv2d(3, 4, 1), *blocks, nn.Flatten(), nn.Linear(4 * 64, 5))
        for block in blocks:
            block.norm.running_mean.uniform_(1, 2)
            block.norm.running_var.uniform_(2, 3)
        images = torch.randn(4, 3, 8, 8)
    net = decompose(model.eval(), images)
    assert len(net) == 3
    programs = [lesion.program(3) for lesion in (intact(), Delete((2,)))]
    device = torch.device("cpu")
    with torch.no_grad():
        fast = SharedPrefixes(net, programs, Materials(net), device, torch.float32)
        outputs = dict(fast.run(images))
        torch.testing.assert_close(outputs[0], model(images), rtol=1e-4, atol=1e-4)
        slow = dict(Direct(net, programs, Materials(net), device, torch.float32).run(images))
        torch.testing.assert_close(outputs[1], slow[1], rtol=1e-4, atol=1e-4)
