"""How fast the exact path analysis is, beside folded forward passes and the published protocol.

    python benchmarks/paths_speed.py

Four tables: (1) the exact spectrum of a 54-block CIFAR ResNet, in both directions, over (n + 1) / 2
folded forward passes of the same images; (2) the time that the published protocol, run plainly,
needs for the same standard error; (3) how the cost grows with the number of blocks; (4) time and
memory for 600 blocks. All ratios are taken within rounds, contestants in turn.
"""

from __future__ import annotations

import copy
import math
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from machine import describe, parser, seconds, spread
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ensembles.data import dataset
from ensembles.decomposition import Decomposition, decompose
from ensembles.models.resnet import CifarResNet
from ensembles.unravelling.places import Place
from ensembles.unravelling.running import GradientMeasures, measure_gradients, measure_logits

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


def exact_against_forward(rounds: int, blocks: int = 54, count: int = 32) -> list[str]:
    model = network(2 * blocks + 2)
    fast = folded(model)
    images, labels = torch.randn(count, 3, 32, 32), torch.arange(count) % 10
    last = images.contiguous(memory_format=torch.channels_last)
    net = decompose(model, images[:2])
    unit = (len(net) + 1) / 2
    times: dict[str, list[float]] = {"forward": [], "gradient": [], "logits": []}
    for _ in range(rounds):
        with torch.inference_mode():
            fast(last)
            passes = [seconds(lambda: fast(last)) for _ in range(7)]
        times["forward"].append(statistics.median(passes))
        times["gradient"].append(seconds(lambda: gradient(net, images, labels)))
        times["logits"].append(seconds(lambda: logits(net, images, labels)))
    lines = [f"  folded forward pass: {spread(times['forward'])}"]
    for name in ("gradient", "logits"):
        ratio = [a / b / unit for a, b in zip(times[name], times["forward"], strict=True)]
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
    count: int, draws: int, model: nn.Module, signs: int = 16, samples: int = 32
) -> list[str]:
    """Time of the plain protocol over ours, at equal standard error of the mean over images."""
    images, labels = next(dataset("digits", normalize="digits").limited(count).batches(count))
    net = decompose(model, images[:2])
    n = len(net)
    generator = torch.Generator().manual_seed(1)
    lengths = sorted({round(n * share) for share in (0.1, 0.2, 0.3, 0.5, 0.7, 0.9)})

    def path(length: int) -> list[bool]:
        chosen = set(torch.randperm(n, generator=generator)[:length].tolist())
        return [i in chosen for i in range(n)]

    each = statistics.median(
        seconds(lambda: plain_norms(net, images, labels, path(n // 2))) for _ in range(15)
    )
    # Plain float32 loses the long paths, so their spread is taken in float64.
    wide, large = copy.deepcopy(net).double(), images.double()
    plain = {
        length: torch.stack([plain_norms(wide, large, labels, path(length)) for _ in range(draws)])
        for length in lengths
    }
    lost = [
        length
        for length in lengths
        if not bool(plain_norms(net, images, labels, path(length)).any())
    ]
    batch = [(images, labels)]
    found: dict[str, Tensor] = {}

    def with_signs() -> None:
        measured, _ = measure_gradients(net, batch, [INPUT], exact=False, signs=signs, samples=0)
        found["signs"] = torch.exp2(2 * measured[INPUT].signed)

    def with_draws() -> None:
        measured, _ = measure_gradients(
            net, batch, [INPUT], exact=False, signs=0, samples=samples * count, weighted=True
        )
        part = measured[INPUT]
        found["mean"] = torch.exp2(part.sampled) * part.weights.exp()

    ours = {"signs": seconds(with_signs), "mean": seconds(with_draws)}
    whole = 1000 * (n + 1) * each
    lines = [
        f"  network of {n} blocks, {count} images; one plain measurement takes {each:.2f} s, "
        f"the protocol (1,000 draws, {n + 1} lengths) {whole / 3600:.1f} h",
        f"  ours: {signs} draws of signs {ours['signs']:.1f} s, {samples} weighted draws an image "
        f"and length {ours['mean']:.1f} s (both for all lengths)",
        "  length  ratio for the RMS  ratio for the mean   (time at equal standard error)",
    ]
    both: dict[str, list[float]] = {"rms": [], "mean": []}
    for length in lengths:
        squares = plain[length].square()
        rms = (
            _share(squares, 1000) ** 2
            * whole
            / (_share_of(found["signs"][length]) ** 2 * ours["signs"])
        )
        mean = _share(plain[length], 1000) ** 2 * whole
        mean /= _share_of(found["mean"][length]) ** 2 * ours["mean"]
        both["rms"].append(rms)
        both["mean"].append(mean)
        lines.append(f"  {length:6d}  {rms:17.0f}  {mean:18.0f}")
    lines.append(f"  lengths of which plain float32 finds nothing at all: {lost or 'none'}")
    for name, values in both.items():
        lines.append(f"  {name}: median {statistics.median(values):.0f}, least {min(values):.0f}")
    return lines


def _share(values: Tensor, draws: int) -> float:
    """Relative standard error of the mean over images, for paths that all images share."""
    means = values.mean(1)
    return float(means.std() / means.mean() / math.sqrt(draws))


def _share_of(values: Tensor) -> float:
    """Relative standard error of the mean over images, for draws of each image's own."""
    draws, images = values.shape
    error = (values.var(0) / draws).sum().sqrt() / images
    return float(error / values.mean())


def growth(rounds: int) -> list[str]:
    times = {}
    for blocks in (9, 18, 27, 54):
        model = network(2 * blocks + 2)
        images, labels = torch.randn(16, 3, 32, 32), torch.arange(16) % 10
        net = decompose(model, images[:2])
        work: Callable[[], None] = lambda net=net, i=images, j=labels: gradient(net, i, j)  # noqa: E731
        work()
        times[blocks] = statistics.median(seconds(work) for _ in range(rounds))
    x = [math.log(blocks) for blocks in times]
    slope = statistics.linear_regression(x, [math.log(t) for t in times.values()]).slope
    listed = ", ".join(f"{blocks}: {t:.2f} s" for blocks, t in times.items())
    return [f"  {listed}; time grows as n^{slope:.2f}"]


def deep() -> None:
    """600 blocks, 4 images, both directions: printed with the process's greatest memory."""
    model = network(1202)
    images, labels = torch.randn(4, 3, 32, 32), torch.arange(4)
    net = decompose(model, images[:2])
    batch = [(images, labels)]
    found: list[tuple[dict[Place, GradientMeasures], float]] = []
    back = seconds(
        lambda: found.append(measure_gradients(net, batch, [INPUT], exact=True, signs=0, samples=0))
    )
    ahead = seconds(lambda: logits(net, images, labels))
    measures, error = found[0]
    norms = measures[INPUT].coherent
    assert norms is not None
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
    options.add_argument(
        "--weights", type=Path, default=_WEIGHTS, help="a CIFAR ResNet trained on the digits"
    )
    options.add_argument("--depth", type=int, default=110, help="its depth")
    options.add_argument("--images", type=int, default=8, help="images of the protocol")
    options.add_argument("--draws", type=int, default=30, help="plain measurements of a length")
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    print(describe())
    if given.only in (None, "forward"):
        print("(1) exact spectra, 54 blocks, 32 images")
        print("\n".join(exact_against_forward(given.rounds)))
    if given.only in (None, "protocol"):
        print("(2) the published protocol, run plainly, at equal standard error")
        model = network(given.depth, given.weights)
        lines = against_protocol(given.images, given.draws, model)
        print("\n".join(lines))
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
