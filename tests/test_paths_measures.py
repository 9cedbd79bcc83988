"""Random signs and drawn paths against all paths; parameters; underflow; the checks."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ensembles.analyses.path_frames import gradient_rows
from ensembles.decomposition import Decomposition, decompose
from ensembles.errors import PathError
from ensembles.models.projection import CifarProjectionResNet
from ensembles.models.resnet import CifarResNet
from ensembles.numerics import exact_mathematics
from ensembles.unravelling.length_rows import LOWEST, multiply_by_powers
from ensembles.unravelling.linearization import Linearizer
from ensembles.unravelling.measurement import (
    Batch,
    GradientMeasures,
    measure_gradients,
    measure_logits,
    with_batch_statistics,
)
from ensembles.unravelling.oracle import path_gradients
from ensembles.unravelling.path_counts import only_branch_learns
from ensembles.unravelling.path_draws import draw_paths
from ensembles.unravelling.path_weights import allocate, fit_guide
from ensembles.unravelling.places import Place
from ensembles.unravelling.random_signs import Signed, draws_of_images, sign_norms
from ensembles.unravelling.single_paths import generator as draws_of
from ensembles.unravelling.spectra import head_cotangent
from ensembles.unravelling.sum_checks import check_gradient

INPUT = Place("input")


def subject(
    model: nn.Module | None = None, dtype: torch.dtype = torch.float64, gain: float = 1.0
) -> tuple[Decomposition, Tensor, Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = model or CifarResNet(20)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.2)
                module.running_var.uniform_(0.7, 1.5)
                module.bias.data.normal_(0, 0.2)
                module.weight.data *= gain
        images = torch.randn(3, 3, 8, 8)
    net = decompose(model.to(dtype).eval(), images.to(dtype))
    return net, images.to(dtype), torch.tensor([1, 2, 3])


def logarithms(found: GradientMeasures) -> tuple[Tensor, Tensor, Tensor]:
    return found.coherent, found.signed.norms, found.drawn.norms


@pytest.fixture(scope="module")
def brute() -> tuple[tuple[Decomposition, Tensor, Tensor], Tensor, Tensor]:
    """A network, and the norms of all its paths: (paths, images), with their lengths."""
    net, images, labels = subject()
    cotangent, exponent = head_cotangent(net(images), labels)
    each = path_gradients(net, images, cotangent * torch.exp2(exponent)[:, None])
    norms = torch.stack([g.flatten(1).norm(dim=1) for g in each.values()])
    lengths = torch.tensor([sum(choice) for choice in each])
    return (net, images, labels), norms, lengths


def test_random_signs_find_the_sum_of_squares(brute) -> None:  # type: ignore[no-untyped-def]
    (net, images, labels), norms, lengths = brute
    measured, _ = measure_gradients(
        net, [(images, labels)], [INPUT], exact=False, signs=100, samples=0
    )
    signed = measured[INPUT].signed
    assert bool((signed.draws >= 80).all()) and 300 <= int(signed.draws.sum()) <= 321
    squares = torch.exp2(2 * signed.norms)
    for k in range(10):
        for image, expected in enumerate(norms[lengths == k].square().sum(0)):
            values = squares[k, signed.owners == image]
            error = values.std() / math.sqrt(len(values)) + 1e-9 * expected
            assert abs(float(values.mean() - expected)) <= 4 * float(error), (k, image)


def test_groups_that_exchange_branches_vary_less() -> None:
    """At equal cost, to the same mean square, where paths of a length agree in direction."""
    model = CifarResNet(20)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.abs_()
    net, images, labels = subject(model, gain=0.3)
    cotangent, exponent = head_cotangent(net(images[:1]), labels[:1])
    each = path_gradients(net, images[:1], cotangent * torch.exp2(exponent)[:, None])
    norms = torch.stack([g.flatten(1).norm(dim=1) for g in each.values()])
    lengths = torch.tensor([sum(choice) for choice in each])
    expected = torch.stack([norms[lengths == k].square().sum() for k in range(10)])
    spread = {}
    for size in (1, 8):
        found = sign_norms(
            Linearizer(net), [(images[:1], labels[:1])], [INPUT], torch.tensor([160]),
            largest=size, at_once=99,
        )  # fmt: skip
        squares = torch.exp2(2 * found[INPUT].norms)
        error = squares.std(1) / math.sqrt(squares.shape[1])
        assert bool(((squares.mean(1) - expected).abs() <= 4 * error + 1e-9 * expected).all())
        spread[size] = (error / expected)[2:8]
    assert float((spread[1] / spread[8]).square().median()) > 2


@pytest.fixture(scope="module")
def uneven() -> tuple[tuple[Decomposition, Batch], Tensor, Tensor]:
    """As `brute`, but the network is sure of two of the three images, and wrong on the other."""
    net, images, _ = subject()
    with torch.no_grad():
        for value in net.head.parameters():
            value.mul_(60)
    labels = net(images).argmax(1)
    labels[1] = (labels[1] + 1) % 10
    cotangent, exponent = head_cotangent(net(images), labels)
    each = path_gradients(net, images, cotangent * torch.exp2(exponent)[:, None])
    norms = torch.stack([g.flatten(1).norm(dim=1) for g in each.values()])
    return (net, (images, labels)), norms, torch.tensor([sum(choice) for choice in each])


def test_signs_go_to_the_images_that_carry_most_and_stay_unbiased(uneven) -> None:  # type: ignore[no-untyped-def]
    """Of 64 lengths and seeds, the standard errors tell the truth; they are smaller than even."""
    (net, batch), norms, lengths = uneven
    expected = np.array([norms[lengths == k].square().mean(0).sqrt().mean() for k in range(1, 9)])
    linearizer = Linearizer(net)

    def measured(signed: Signed) -> tuple[np.ndarray, np.ndarray]:
        rows = gradient_rows(net, INPUT, GradientMeasures(signed=signed), 0)[1:9]
        return tuple(np.array([r[n] for r in rows]) for n in ("gradient_rms", "gradient_rms_se"))

    gaps, gain = [], []
    for seed in range(8):
        found, _ = measure_gradients(
            net, [batch], [INPUT], exact=False, signs=80, samples=0, seed=seed
        )
        signed = found[INPUT].signed
        assert signed.draws[1] > 140 and signed.draws.min() >= 16
        assert 240 <= signed.draws.sum() <= 261
        rms, error = measured(signed)
        gaps.append((rms - expected) / error)
        if seed < 3:
            even = sign_norms(
                linearizer, [batch], [INPUT], torch.full((3,), 80), at_once=99, seed=seed
            )
            gain.append((measured(even[INPUT])[1] / error) ** 2)
    assert np.abs(gaps).max() < 4
    assert 0.6 < np.std(gaps) < 1.5
    assert abs(np.mean(gaps)) < 0.5
    assert np.median(gain) > 1.5


def test_draws_of_signs_are_divided_by_the_sum_of_all_paths() -> None:
    logs = torch.tensor([[4.0, 1.0, 1.0], [-torch.inf] * 3, [7.0, 4.0, 4.0]])
    assert draws_of_images([logs], 20).tolist() == [42, 9, 9]  # a fifth of 20, and of 48 left 0.8
    assert draws_of_images([logs - 1e6, logs], 20).tolist() == [42, 9, 9]
    assert draws_of_images([torch.zeros(2, 3)], 5).tolist() == [5, 5, 5]
    assert draws_of_images([torch.full((2, 3), -torch.inf)], 5).tolist() == [5, 5, 5]
    assert draws_of_images([logs], 2).tolist() == [2, 2, 2]


def by_image(net: Decomposition, batch: Batch, samples: int, weighted: bool) -> list[list[Tensor]]:
    """The weighted norms of drawn paths, for each length and image."""
    measured, _ = measure_gradients(
        net, [batch], [INPUT], exact=False, signs=0, samples=samples, weighted=weighted
    )
    drawn = measured[INPUT].drawn
    values = torch.exp2(drawn.norms) * drawn.weights.exp()
    return [
        [row[owners == i] for i in range(len(batch[1]))]
        for row, owners in zip(values, drawn.owners, strict=True)
    ]


@pytest.mark.parametrize("weighted", [False, True], ids=["uniform", "weighted"])
def test_drawn_paths_find_the_mean(brute, weighted: bool) -> None:  # type: ignore[no-untyped-def]
    (net, images, labels), norms, lengths = brute
    for k, each in enumerate(by_image(net, (images, labels), 300, weighted)):
        expected = norms[lengths == k].mean(0)
        assert sum(len(values) for values in each) == 300
        for image, values in enumerate(each):
            error = values.std() / math.sqrt(len(values)) + 1e-9 * expected[image]
            assert abs(float(values.mean() - expected[image])) <= 4 * float(error), (k, image)


def test_the_interval_of_drawn_paths_holds_the_mean(brute) -> None:  # type: ignore[no-untyped-def]
    """Of 48 lengths and seeds, nearly all standard errors and intervals tell the truth."""
    (net, images, labels), norms, lengths = brute
    expected = torch.stack([norms[lengths == k].mean() for k in range(1, 9)]).numpy()
    held, gaps = [], []
    for seed in range(6):
        measured, _ = measure_gradients(
            net, [(images, labels)], [INPUT], exact=False, signs=0, samples=60, weighted=True,
            seed=seed,
        )  # fmt: skip
        rows = gradient_rows(net, INPUT, measured[INPUT], seed)[1:9]
        mean, error, low, high = (
            np.array([row[name] for row in rows])
            for name in (
                "gradient_mean", "gradient_mean_se", "gradient_mean_low", "gradient_mean_high"
            )
        )  # fmt: skip
        held.append((low <= expected) & (expected <= high))
        gaps.append((mean - expected) / error)
    assert 0.8 <= np.mean(held) <= 1
    assert 0.6 < np.std(gaps) < 1.5


def test_weighted_draws_are_the_sharper_ones(brute) -> None:  # type: ignore[no-untyped-def]
    (net, images, labels), _, _ = brute
    spread = {
        weighted: torch.stack(
            [v.std() / v.mean() for v in by_image(net, (images, labels), 150, weighted)[4]]
        ).mean()
        for weighted in (False, True)
    }
    assert spread[True] < spread[False]


def test_images_that_carry_more_get_more_draws() -> None:
    shares = torch.tensor([[0.9, 0.06, 0.04], [0.2, 0.2, 0.6]], dtype=torch.float64)
    draws = allocate(shares, 300)
    assert draws.sum(1).tolist() == [300, 300]
    assert int(draws.min()) >= 20
    assert draws[0].tolist() == [236, 34, 30]
    assert allocate(shares, 6).tolist() == [[2, 2, 2], [2, 2, 2]]
    assert allocate(shares, 3).tolist() == [[1, 1, 1], [1, 1, 1]]


def test_a_guide_finds_factors_and_levels() -> None:
    generator = torch.Generator().manual_seed(1)
    lengths = torch.arange(7).repeat(40)
    taken, _ = draw_paths(6, lengths, None, generator)
    owners = torch.randint(0, 2, (280,), generator=generator)
    factors = torch.tensor([0.0, 1.0, -1.0, 0.5, -0.5, 0.0], dtype=torch.float64)
    norms = (taken * factors).sum(1) + 3.0 * owners - 0.4 * lengths * owners
    guide = fit_guide(taken, owners, norms / math.log(2), 2)
    assert torch.allclose(guide.factors.log(), factors, atol=0.02)
    ratio = guide.shares()[:, 1] / guide.shares()[:, 0]
    expected = torch.exp(3 - 0.4 * torch.arange(7, dtype=torch.float64))
    assert torch.allclose(ratio, expected, rtol=0.05)
    dead = fit_guide(taken, owners, torch.full((280,), -torch.inf), 2)
    assert torch.equal(dead.factors, torch.ones(6, dtype=torch.float64))


def test_drawn_sets_have_their_length_and_weights_average_to_one() -> None:
    generator = torch.Generator().manual_seed(0)
    weights = torch.tensor([0.1, 1.0, 3.0, 0.5, 2.0], dtype=torch.float64)
    taken, logs = draw_paths(5, torch.full((4000,), 2), weights, generator)
    assert bool((taken.sum(1) == 2).all())
    ratio = logs.exp()
    assert float(ratio.mean()) == pytest.approx(1, abs=4 * float(ratio.std()) / math.sqrt(4000))
    share = (taken * weights).sum(1)  # any statistic: its weighted mean is the uniform one
    expected = 2 / 5 * float(weights.sum())
    error = float((share * ratio).std()) / math.sqrt(4000)
    assert float((share * ratio).mean()) == pytest.approx(expected, abs=4 * error)
    mixed, none = draw_paths(5, torch.arange(6), None, generator)
    assert mixed.sum(1).tolist() == [0, 1, 2, 3, 4, 5] and not bool(none.any())


def test_gradients_at_blocks_and_parameters_agree_between_engines() -> None:
    net, images, labels = subject(CifarProjectionResNet(20))
    places = [Place("block", 1), Place("block", 5), Place("parameters", 4), Place("parameters", 5)]
    found = {}
    for engine in ("fast", "general"):
        found[engine], error = measure_gradients(
            net, [(images, labels)], places, exact=True, signs=4, samples=0, engine=engine
        )
        assert error < 1e-12
    for place in places:
        fast, general = found["fast"][place], found["general"][place]
        assert torch.allclose(fast.coherent, general.coherent, atol=1e-9)
        assert torch.allclose(fast.signed.norms, general.signed.norms, atol=1e-9)


def test_parameters_by_length_against_switched_branches() -> None:
    """Scale every later branch's backward pass by t: the gradient is a polynomial in t."""
    net, images, labels = subject()
    place = Place("parameters", 7)
    measured, _ = measure_gradients(
        net, [(images, labels)], [place], exact=True, signs=0, samples=0
    )
    assert torch.isneginf(measured[place].coherent[0]).all()
    cotangent, exponent = head_cotangent(net(images), labels)
    block = net.block(7)
    x = net.stem(images)
    for earlier in list(net)[:6]:
        x = earlier(x)
    parameters = {k: v.detach().requires_grad_() for k, v in block.named_parameters()}
    y = torch.func.functional_call(block, parameters, (x[:1],))
    keep = y
    for later in list(net)[7:]:
        keep = later.post(later.on_shortcut(keep) + later.on_branch(keep).detach())
    loss = (net.head(keep) * cotangent[:1]).sum()
    only = torch.autograd.grad(loss, list(parameters.values()))
    norm = torch.cat([g.flatten() for g in only]).norm().log2() + exponent[0]
    assert float(measured[place].coherent[1, 0]) == pytest.approx(float(norm), abs=1e-9)


def alone(net: Decomposition, batch: Batch, index: int, choice: tuple[bool, ...]) -> list[Tensor]:
    """The parameters' gradient along one path, for each image: the other roads are detached."""
    found = []
    for image, label in zip(*batch, strict=True):
        x = net.stem(image[None])
        for earlier in list(net)[: index - 1]:
            x = earlier(x)
        x = x.detach()
        for block, branch in zip(list(net)[index - 1 :], choice, strict=True):
            around, along = block.on_shortcut(x), block.on_branch(x)
            x = around.detach() + along if branch else around + along.detach()
            x = x if block.post is None else block.post(x)
        loss = nn.functional.cross_entropy(net.head(x), label[None])
        parameters = list(net.block(index).parameters())
        grads = torch.autograd.grad(loss, parameters, materialize_grads=True)
        found.append(torch.cat([g.flatten() for g in grads]).norm())
    return found


@pytest.mark.parametrize(
    ("model", "index"),
    [(CifarResNet, 6), (CifarResNet, 9), (CifarProjectionResNet, 7), (CifarProjectionResNet, 9)],
)
def test_single_paths_to_parameters(model: type[nn.Module], index: int) -> None:
    """Measures of drawn paths against all of them; a projection's parameters are there too."""
    net, images, labels = subject(model(20))
    net.requires_grad_()
    place, batch = Place("parameters", index), (images[:2], labels[:2])
    choices = list(itertools.product([False, True], repeat=10 - index))
    if only_branch_learns(net, index):
        choices = [choice for choice in choices if choice[0]]
    norms = torch.stack([torch.stack(alone(net, batch, index, c)) for c in choices]).detach()
    lengths = torch.tensor([sum(choice) for choice in choices])
    found, _ = measure_gradients(
        net, [batch], [place], exact=True, signs=60, samples=60, weighted=index == 7
    )
    rows = gradient_rows(net, place, found[place], 0)
    for row in rows:
        here = norms[lengths == row["length"]]
        assert row["paths"] == len(here)
        if not len(here):
            assert row["gradient_mean"] == row["gradient_coherent"] == 0
            continue
        expected = {"mean": here.mean(), "rms": here.square().mean(0).sqrt().mean()}
        for name, value in expected.items():
            error = 4 * row[f"gradient_{name}_se"] + 1e-9 * float(value)
            assert row[f"gradient_{name}"] == pytest.approx(float(value), abs=error), name


def test_powers_beyond_the_range_of_single_precision_are_taken_in_steps() -> None:
    powers = torch.tensor([[180.0], [-190.0], [-1000.0], [0.0], [LOWEST]], dtype=torch.float64)
    data = torch.tensor([2.0**-100, 2.0**100, 1.0, 3.0, 5.0]).view(5, 1, 1)
    wide = data.double()
    multiply_by_powers(data, powers)
    assert data.flatten().tolist() == [2.0**80, 2.0**-90, 0.0, 3.0, 0.0]
    multiply_by_powers(wide, powers)
    assert wide.flatten().tolist() == [2.0**80, 2.0**-90, 2.0**-1000, 3.0, 0.0]


def test_every_image_stream_and_seed_has_draws_of_its_own() -> None:
    wanted = [
        (seed, stream, image) for seed in range(3) for stream in range(4) for image in range(5)
    ]
    drawn = [float(torch.rand((), generator=draws_of(*one), dtype=torch.float64)) for one in wanted]
    again = [float(torch.rand((), generator=draws_of(*one), dtype=torch.float64)) for one in wanted]
    assert drawn == again
    assert len(set(drawn)) == len(wanted)


def test_tiny_gains_do_not_underflow() -> None:
    """Branches that carry 1e-6 each: nine of them are far below the smallest fp32."""
    net, images, labels = subject(gain=1e-6, dtype=torch.float32)
    single, _ = measure_gradients(net, [(images, labels)], [INPUT], exact=True, signs=2, samples=3)
    wide = net.double()
    double, _ = measure_gradients(
        wide, [(images.double(), labels)], [INPUT], exact=True, signs=2, samples=3
    )
    assert float(single[INPUT].coherent[9].max()) < -149
    for a, b in zip(logarithms(single[INPUT]), logarithms(double[INPUT]), strict=True):
        assert torch.isfinite(a).all()
        assert torch.allclose(a.double(), b, atol=1e-3)


def test_logit_lengths_do_not_underflow() -> None:
    net, images, labels = subject(gain=1e-6, dtype=torch.float32)
    for block in net:
        for module in block.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.zero_()
                module.bias.data.zero_()
    found, _ = measure_logits(net, [(images, labels)])
    assert torch.isfinite(found.log2_norms).all()
    assert float(found.log2_norms[9].max()) < -149


def test_an_image_that_the_network_is_sure_of_has_a_gradient() -> None:
    logits = torch.tensor([[200.0, 0.0, -3.0]])
    cotangent, exponent = head_cotangent(logits, torch.tensor([0]))
    assert float(cotangent.abs().max()) >= 1
    assert float(exponent[0]) == pytest.approx(-200 / math.log(2), abs=1)
    _, exponent = head_cotangent(logits * 1e6, torch.tensor([0]))
    assert float(exponent[0]) == pytest.approx(-2e8 / math.log(2), rel=1e-6)


def test_the_derivative_of_the_loss_is_autograds() -> None:
    logits = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    loss = nn.functional.cross_entropy(logits, labels, reduction="sum")
    (expected,) = torch.autograd.grad(loss, logits)
    cotangent, exponent = head_cotangent(logits.detach(), labels)
    assert torch.allclose(cotangent * torch.exp2(exponent)[:, None], expected, rtol=1e-12)


def test_a_sum_that_misses_autograd_is_an_error() -> None:
    data = torch.ones(3, 2, 4)
    zero = torch.zeros(3, 2, dtype=torch.float64)
    with pytest.raises(PathError, match=r"gradients at input of all paths do not add up .* fp64"):
        check_gradient(data, zero, zero, torch.full((2, 4), 3.1), INPUT)
    assert check_gradient(data, zero, zero, torch.full((2, 4), 3.0), INPUT) == 0


def test_batch_statistics_are_those_of_the_images() -> None:
    net, images, labels = subject()
    twin = with_batch_statistics(net, images)
    first = next(m for m in twin.modules() if isinstance(m, nn.BatchNorm2d))
    conv = next(m for m in net.modules() if isinstance(m, nn.Conv2d))
    expected = conv(images)
    assert torch.allclose(first.running_mean, expected.mean((0, 2, 3)))
    assert torch.allclose(first.running_var, expected.var((0, 2, 3), unbiased=False))
    original = next(m for m in net.modules() if isinstance(m, nn.BatchNorm2d))
    assert not torch.allclose(original.running_mean, first.running_mean)
    _, error = measure_gradients(twin, [(images, labels)], [INPUT], exact=True, signs=0, samples=0)
    assert error < 1e-12


class Rounded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + (self.conv(x) > 0).to(x.dtype)


def test_a_block_that_is_not_differentiable_is_named() -> None:
    model = nn.Sequential(Rounded(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    images = torch.randn(2, 3, 4, 4)
    net = decompose(model.eval(), images)
    with pytest.raises(PathError, match=r"block 1 .* is not differentiable"):
        measure_gradients(
            net, [(images, torch.tensor([0, 1]))], [INPUT], exact=True, signs=0, samples=0
        )


def test_results_do_not_depend_on_threads_or_batches() -> None:
    net, images, labels = subject()
    found = []
    for threads, cut in ((1, 3), (2, 3), (1, 1)):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            batches = [(images[i : i + cut], labels[i : i + cut]) for i in range(0, 3, cut)]
            measured, _ = measure_gradients(
                net, batches, [INPUT], exact=True, signs=3, samples=6, weighted=True
            )
            assert torch.get_num_threads() == threads
        finally:
            torch.set_num_threads(before)
        found.append(measured[INPUT])
    for other in found[1:]:
        for a, b in zip(logarithms(found[0]), logarithms(other), strict=True):
            assert torch.allclose(a, b, atol=1e-9)


def test_tf32_is_kept_out_while_paths_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    net, images, labels = subject()
    flags = torch.backends.cuda.matmul, torch.backends.cudnn
    seen = []
    linearize = Linearizer.at

    def watched(self: Linearizer, x: Tensor) -> object:
        seen.append([flag.allow_tf32 for flag in flags])
        return linearize(self, x)

    monkeypatch.setattr(Linearizer, "at", watched)
    with exact_mathematics("tf32"):
        measure_gradients(net, [(images, labels)], [INPUT], exact=True, signs=2, samples=3)
        measure_logits(net, [(images, labels)])
        assert [flag.allow_tf32 for flag in flags] == [True, True]
    assert len(seen) >= 3
    assert not any(map(any, seen))
