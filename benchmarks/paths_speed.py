"""How fast the exact path analysis is, beside folded forward passes and the published protocol.

    python benchmarks/paths_speed.py                          # all four tables, in some ten minutes
    python benchmarks/paths_speed.py --only protocol --depth 44 --weights resnet44-014dd654.th \
        --data cifar10-jpeg --normalize imagenet

Four tables: (1) the exact spectrum of a 54-block CIFAR ResNet, in both directions, over (n + 1) / 2
folded forward passes of the same images; (2) the time that the published protocol, run plainly,
needs for the same standard error; (3) how the cost grows with the number of blocks; (4) time and
memory for 600 blocks. Contestants take turns within a round, and ratios are of one round. With one
thread times are CPU seconds, which other work on the machine hardly touches; with more they are
those of the clock.
"""

from __future__ import annotations

import copy
import math
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from machine import describe, parser, seconds, spread
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ensembles.analyses.path_frames import gradient_rows
from ensembles.data import dataset
from ensembles.decomposition import Decomposition, decompose
from ensembles.models.resnet import CifarResNet
from ensembles.numerics import differentiable
from ensembles.unravelling.gradients import GradientSource, sampled
from ensembles.unravelling.linearization import Linearizer
from ensembles.unravelling.measurement import (
    Batch,
    GradientMeasures,
    measure_gradients,
    measure_logits,
)
from ensembles.unravelling.path_draws import draw_paths
from ensembles.unravelling.places import Place
from ensembles.unravelling.single_paths import pilot_guide

INPUT = Place("input")
_WEIGHTS = Path(__file__).parents[1] / "checkpoints" / "weights" / "resnet110-digits.safetensors"


def network(depth: int, weights: Path | None = None) -> nn.Module:
    """A CIFAR ResNet; without weights its branches are made weak, as training leaves them."""
    torch.manual_seed(0)
    model = CifarResNet(depth)
    if weights is not None and weights.suffix == ".safetensors":
        model.load_state_dict(load_file(weights))
    elif weights is not None:
        state = torch.load(weights, map_location="cpu", weights_only=True)
        state = state.get("state_dict", state)
        model.load_state_dict({k.removeprefix("module."): v for k, v in state.items()})
    else:
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_var.uniform_(0.8, 1.2)
            if hasattr(module, "bn2"):
                module.bn2.weight.data *= 0.3
    return model.eval()


def folded(model: nn.Module) -> nn.Module:
    """The model with BatchNorm folded, in channels-last layout."""
    twin = copy.deepcopy(model)
    for module in twin.modules():
        for conv, norm in (("conv1", "bn1"), ("conv2", "bn2")):
            if hasattr(module, conv):
                fused = fuse_conv_bn_eval(getattr(module, conv), getattr(module, norm))
                setattr(module, conv, fused)
                setattr(module, norm, nn.Identity())
    return twin.to(memory_format=torch.channels_last)


def gradient(net: Decomposition, images: Tensor, labels: Tensor) -> None:
    """The whole exact gradient spectrum, with its check against autograd."""
    measure_gradients(net, [(images, labels)], [INPUT], exact=True, signs=0, samples=0)


def logits(net: Decomposition, images: Tensor, labels: Tensor) -> None:
    """The whole exact logit spectrum, with its check against the network's logits."""
    measure_logits(net, [(images, labels)])


def timed(work: Callable[[], object]) -> float:
    """Seconds: of the CPU for one thread, of the clock for several."""
    if torch.get_num_threads() > 1:
        return seconds(work)
    start = time.process_time()
    work()
    return time.process_time() - start


def exact_against_forward(rounds: int, blocks: int = 54, count: int = 32) -> list[str]:
    model = network(2 * blocks + 2)
    fast = folded(model)
    images, labels = torch.randn(count, 3, 32, 32), torch.arange(count) % 10
    last = images.contiguous(memory_format=torch.channels_last)
    net = decompose(model, images[:2])
    unit = (len(net) + 1) / 2

    def passes() -> list[float]:
        with torch.inference_mode():
            fast(last)
            return [timed(lambda: fast(last)) for _ in range(5)]

    times: dict[str, list[float]] = {"forward": [], "gradient": [], "logits": []}
    ratios: dict[str, list[float]] = {"gradient": [], "logits": []}
    for _ in range(rounds):
        around = passes()
        for name, work in (("gradient", gradient), ("logits", logits)):
            before = around
            times[name].append(timed(partial(work, net, images, labels)))
            around = passes()
            one = statistics.median(before + around)
            times["forward"].append(one)
            ratios[name].append(times[name][-1] / one / unit)
    lines = [f"  folded forward pass: {spread(times['forward'])}"]
    for name, ratio in ratios.items():
        lines.append(
            f"  exact {name} spectrum: {spread(times[name])} = "
            f"{statistics.median(ratio):.2f} x (n+1)/2 folded forward passes "
            f"({min(ratio):.2f} to {max(ratio):.2f})"
        )
    return lines


def plain_norms(net: Decomposition, images: Tensor, labels: Tensor, taken: list[bool]) -> Tensor:
    """One measurement of the published protocol: a forward pass, a backward pass along one path.

    Values flow through both roads of every block, gradients through one.
    """
    probe = images.clone().requires_grad_()
    x = net.stem(probe)
    for block, branch in zip(net, taken, strict=True):
        x = x if block.before is None else block.before(x)
        x = x if block.pre is None else block.pre(x)
        around, along = block.on_shortcut(x), block.on_branch(x)
        x = around.detach() + along if branch else around + along.detach()
        x = x if block.post is None else block.post(x)
    loss = nn.functional.cross_entropy(net.head(x), labels, reduction="sum")
    (found,) = torch.autograd.grad(loss, probe)
    return found.flatten(1).norm(dim=1)


def against_protocol(
    net: Decomposition, batch: Batch, draws: int, signs: int, samples: int
) -> list[str]:
    """Time of the plain protocol over ours, at equal standard error of the mean over images."""
    images, labels = batch
    n, count = len(net), len(labels)
    lengths = sorted({round(n * share) for share in (0.1, 0.2, 0.3, 0.5, 0.7, 0.9)})
    random = torch.Generator().manual_seed(1)

    def path(length: int) -> list[bool]:
        chosen = set(torch.randperm(n, generator=random)[:length].tolist())
        return [i in chosen for i in range(n)]

    wide = (copy.deepcopy(net).double(), images.double(), labels)
    plain: dict[str, list[float]] = {"fp32": [], "fp64": []}

    def turn() -> None:
        for name, subject in {"fp32": (net, images, labels), "fp64": wide}.items():
            work = partial(plain_norms, *subject)
            plain[name] += [timed(partial(work, path(n // 2))) for _ in range(4)]

    found: list[GradientMeasures] = []

    def ours(**options: Any) -> float:
        def work() -> None:
            measured, _ = measure_gradients(net, [batch], [INPUT], exact=False, **options)
            found.append(measured[INPUT])

        took = timed(work)
        turn()
        return took

    turn()
    by_signs = ours(signs=signs, samples=0)
    by_draws = ours(signs=0, samples=samples * count, weighted=True)
    frame = pd.DataFrame(
        gradient_rows(net, INPUT, GradientMeasures(signed=found[0].signed, drawn=found[1].drawn), 0)
    )
    lost = [k for k in lengths if not bool(plain_norms(net, images, labels, path(k)).any())]
    each = {name: statistics.median(times) for name, times in plain.items()}
    lines = [
        f"  network of {n} blocks, {count} images; one plain measurement takes "
        f"{spread(plain['fp32'])}, in fp64 {each['fp64']:.2f} s; the protocol (1,000 draws, "
        f"{n + 1} lengths) {1000 * (n + 1) * each['fp32'] / 3600:.1f} h",
        f"  ours: {signs} draws of signs an image {by_signs:.1f} s, {samples} weighted draws an "
        f"image and length {by_draws:.1f} s (both for all lengths)",
        "  length  CV of a plain draw  ratio for the RMS  ratio for the mean",
    ]
    factors = pilot_guide(Linearizer(net), [batch], INPUT).factors
    ratios: dict[str, list[float]] = {"RMS": [], "mean": []}
    for length in lengths:
        of_mean, of_rms = plain_variances(net, batch, length, draws, factors)
        whole = (n + 1) * each["fp64" if length in lost else "fp32"]  # for one draw of each length
        row = frame.iloc[length]
        for name, variance, mine, took in (
            ("RMS", of_rms, row["gradient_rms_se"] / row["gradient_rms"], by_signs),
            ("mean", of_mean, row["gradient_mean_se"] / row["gradient_mean"], by_draws),
        ):
            ratios[name].append(variance * whole / (mine**2 * took))
        lines.append(
            f"  {length:6d}  {math.sqrt(of_mean):18.1f}  {ratios['RMS'][-1]:17.0f}  "
            f"{ratios['mean'][-1]:18.0f}" + ("  (plain in fp64)" if length in lost else "")
        )
    lines.append(f"  lengths of which plain fp32 finds nothing at all: {lost or 'none'}")
    for name, values in ratios.items():
        lines.append(
            f"  {name}: median {statistics.median(values):.0f}, {min(values):.0f} to "
            f"{max(values):.0f} (time at equal standard error)"
        )
    return lines


def plain_variances(
    net: Decomposition, batch: Batch, length: int, draws: int, factors: Tensor
) -> tuple[float, float]:
    """Squared relative error of one plain draw: of the mean norm, and of the RMS norm.

    A plain draw is one path for all images. Few uniform draws would miss the tail, and with it most
    of their own variance; so paths are drawn in proportion to the second power of what their
    branches carry (to the fourth for the RMS), and weighted. What these miss too would raise it.
    """
    with differentiable():
        source = GradientSource.of(net, Linearizer(net).at(batch[0]), batch[1])
        n, count = len(net), len(batch[1])
        moments = []
        for power in (2, 4):
            random = torch.Generator().manual_seed(length)
            taken, logs = draw_paths(n, torch.full((draws,), length), factors**power, random)
            norms = sampled(source, INPUT, taken[:, None].expand(-1, count, -1)).cpu()
            values = torch.exp2(norms - norms.max())
            weights = torch.softmax(logs, 0)  # weights that add up to 1
            if power == 4:  # the mean over images of each RMS norm, to first order
                rms = (weights @ values.square()).sqrt()
                values = values.square() / rms
            each = values.mean(1)
            moments.append(float(weights @ each.square() / (weights @ each) ** 2 - 1))
    return moments[0], moments[1] / 4


def growth(rounds: int) -> list[str]:
    subjects = {}
    for blocks in (9, 18, 27, 54):
        model = network(2 * blocks + 2)
        images, labels = torch.randn(16, 3, 32, 32), torch.arange(16) % 10
        subjects[blocks] = (decompose(model, images[:2]), images, labels)
        gradient(*subjects[blocks])
    times: dict[int, list[float]] = {blocks: [] for blocks in subjects}
    slopes = []
    x = [math.log(blocks) for blocks in subjects]
    for _ in range(rounds):
        for blocks, subject in subjects.items():
            times[blocks].append(timed(partial(gradient, *subject)))
        last = [math.log(found[-1]) for found in times.values()]
        slopes.append(statistics.linear_regression(x, last).slope)
    listed = ", ".join(f"{blocks}: {statistics.median(t):.2f} s" for blocks, t in times.items())
    return [
        f"  {listed}; time grows as n^{statistics.median(slopes):.2f} "
        f"({min(slopes):.2f} to {max(slopes):.2f})"
    ]


def deep() -> None:
    """600 blocks, 4 images, both directions: printed with the process's greatest memory."""
    model = network(1202)
    images, labels = torch.randn(4, 3, 32, 32), torch.arange(4)
    net = decompose(model, images[:2])
    batch = [(images, labels)]
    found: list[tuple[dict[Place, GradientMeasures], float | None]] = []
    back = timed(
        lambda: found.append(measure_gradients(net, batch, [INPUT], exact=True, signs=0, samples=0))
    )
    ahead = timed(lambda: logits(net, images, labels))
    measures, error = found[0]
    norms = measures[INPUT].coherent
    assert norms is not None and error is not None
    finite = norms[torch.isfinite(norms)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    low, high = float(finite.min()), float(finite.max())
    print(
        f"  resnet1202, 4 images: gradient {back:.0f} s, logits {ahead:.0f} s, greatest memory "
        f"{peak:.1f} GiB; norms from 2^{low:.0f} to 2^{high:.0f}; of {norms.numel()}, "
        f"{int(torch.isneginf(norms).sum())} are nought, as every road of that length meets a dead "
        f"ReLU; the sum differs by {error:.1e}"
    )


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--only", choices=["forward", "protocol", "growth", "deep"])
    options.add_argument("--weights", type=Path, default=_WEIGHTS, help="of a CIFAR ResNet")
    options.add_argument("--depth", type=int, default=110, help="its depth")
    options.add_argument("--data", default="digits", help="images of the protocol: name or folder")
    options.add_argument("--normalize", default="digits", help="how they are normalised")
    options.add_argument("--images", type=int, default=8, help="how many of them")
    options.add_argument("--draws", type=int, default=100, help="of paths, for the plain variance")
    options.add_argument("--signs", type=int, default=16, help="draws of signs for each image")
    options.add_argument("--samples", type=int, default=64, help="weighted draws for each image")
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    print(describe())
    if given.only in (None, "forward"):
        print("(1) exact spectra, 54 blocks, 32 images")
        print("\n".join(exact_against_forward(given.rounds)))
    if given.only in (None, "protocol"):
        print("(2) the published protocol, run plainly, at equal standard error")
        data = dataset(given.data, split="test", normalize=given.normalize)
        batch = next(data.limited(given.images).batches(given.images))
        net = decompose(network(given.depth, given.weights), batch[0][:2])
        print("\n".join(against_protocol(net, batch, given.draws, given.signs, given.samples)))
    if given.only in (None, "growth"):
        print("(3) growth")
        print("\n".join(growth(given.rounds)))
    if given.only == "deep":
        deep()
    elif given.only is None:
        print("(4) 600 blocks", flush=True)
        command = [sys.executable, __file__, "--only", "deep", "--threads", str(given.threads)]
        print(
            subprocess.run(command, check=True, capture_output=True, text=True).stdout.partition(
                "\n"
            )[2]
        )


if __name__ == "__main__":
    main()
