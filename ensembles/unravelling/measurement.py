"""The analysis over a data set: batches that fit in memory, checked, put together."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from ensembles.decomposition import Decomposition
from ensembles.errors import PathError
from ensembles.numerics import tf32
from ensembles.unravelling.cores import in_parallel, workers
from ensembles.unravelling.gradients import Coherent, GradientSource, coherent
from ensembles.unravelling.linearization import Engine, Linearizer
from ensembles.unravelling.places import Place
from ensembles.unravelling.random_signs import Signed, draws_of_images, sign_norms
from ensembles.unravelling.single_paths import Drawn, draw_norms
from ensembles.unravelling.spectra import forward
from ensembles.unravelling.sum_checks import check_logits
from ensembles.unravelling.token_streams import widened

__all__ = [
    "Batch", "GradientMeasures", "LogitMeasures", "batch_size", "measure_gradients",
    "measure_logits", "prepared", "with_batch_statistics",
]  # fmt: skip

Batch = tuple[Tensor, Tensor]
_Report = Callable[[int, int], None]
_DTYPES = {"fp32": torch.float32, "fp64": torch.float64}


@dataclass
class GradientMeasures:
    """What was measured at one place; norms are base-2 logarithms of L2 norms, float64.

    Attributes:
        coherent: Of the sum over all paths of each length, (lengths, images).
        cancellation: The sum over lengths of the norms over the norm of their sum, (images,).
        signed: Of sums with random signs.
        drawn: Of single paths.
    """

    coherent: Tensor | None = None
    cancellation: Tensor | None = None
    signed: Signed | None = None
    drawn: Drawn | None = None


@dataclass
class LogitMeasures:
    """The logits by length.

    Attributes:
        parts: What each length adds, (lengths, images, classes), float64.
        log2_norms: Base-2 logarithm of its L2 norm, (lengths, images).
        constant: What belongs to no path, (images, classes).
        labels: (images,).
        logits: The network's own, (images, classes).
    """

    parts: Tensor
    log2_norms: Tensor
    constant: Tensor
    labels: Tensor
    logits: Tensor


def prepared(net: Decomposition, device: torch.device, precision: str) -> Decomposition:
    """A copy of a network on a device and in a precision; the network itself where it fits."""
    dtype = _DTYPES[precision]
    tensors = [*net.parameters(), *(b for b in net.buffers() if b.is_floating_point())]
    if all(t.device == device and t.dtype == dtype for t in tensors) and dtype != torch.float64:
        return net
    twin = copy.deepcopy(net).to(device=device, dtype=dtype)
    return widened(twin) if dtype == torch.float64 else twin


@tf32(False)
def with_batch_statistics(net: Decomposition, images: Tensor) -> Decomposition:
    """A copy whose BatchNorm layers normalise by the statistics of these images.

    The statistics are then constants: an image's paths do not lead through the other images.

    Args:
        net: The network.
        images: All images of the analysis, in one batch.

    Raises:
        PathError: If the network has no BatchNorm layer.
    """
    twin = copy.deepcopy(net)
    norms = [m for m in twin.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        raise PathError(
            f"{net.model_name} has no BatchNorm layer, so there are no batch statistics; "
            "expected statistics running"
        )

    def take(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        (x,) = inputs
        assert isinstance(module, nn.modules.batchnorm._BatchNorm)
        dims = [d for d in range(x.ndim) if d != 1]
        module.running_mean = x.mean(dims)
        module.running_var = x.var(dims, unbiased=False)

    handles = [module.register_forward_pre_hook(take) for module in norms]
    try:
        with torch.no_grad():
            twin(images)
    finally:
        for handle in handles:
            handle.remove()
    return twin


def batch_size(net: Decomposition, memory: float, precision: str, draws: int = 1) -> int:
    """How many images fit in a budget of memory, each with all its path lengths.

    Args:
        net: The network.
        memory: Bytes.
        precision: "fp32" or "fp64".
        draws: How often every image is there at once.
    """
    size = _DTYPES[precision].itemsize
    shapes = [shape for block in net for shape in (block.in_shape, block.out_shape)]
    numbers = [torch.Size(shape).numel() for shape in (*shapes, net.input_shape)]
    numbers = [4 * max(numbers)] if net.is_nested else numbers  # several are alive at once
    rows = 2 * (sum(block.has_shortcut for block in net) + 1) * max(numbers)
    kept = 6 * sum(numbers)
    return max(1, int(memory // (size * (rows * draws + kept))))


@tf32(False)
def measure_gradients(
    net: Decomposition,
    batches: Sequence[Batch],
    places: Collection[Place],
    *,
    exact: bool,
    signs: int,
    samples: int,
    weighted: bool = False,
    memory: float = 2e9,
    engine: Engine = "fast",
    seed: int = 0,
    report: Callable[[int, int], None] | None = None,
) -> tuple[dict[Place, GradientMeasures], float | None]:
    """Measure the gradient spectrum by up to three measures.

    Args:
        net: The network, on the device and in the type of the images.
        batches: Images and labels.
        places: Where the gradient is taken.
        exact: Whether to tell the sum of all paths of each length.
        signs: Draws of random signs, for each image on average: images get them in proportion to
            the sum of their paths; 0 for none.
        samples: Single paths of each length, over all images; 0 for none.
        weighted: Draw single paths in proportion to what their branches and images are found to
            carry, and correct for it, instead of uniformly as published.
        memory: Bytes that may be used for rows.
        engine: See `Linearizer`.
        seed: Of the random draws.
        report: Told of progress in images.

    Returns:
        The measures by place, and the greatest relative error of the sum over lengths; None where
        nothing was summed.

    Raises:
        PathError: If the lengths do not add up to autograd's gradient.
    """
    if net.num_classes == 1:
        raise PathError(
            f"{net.model_name} gives one logit, whose cross-entropy is nought whatever it is, and "
            "so its gradient; expected two classes or more, or paths of logits"
        )
    if net.other_weights and any(place.is_learned for place in places):
        raise PathError(net.other_weights)
    linearizer = Linearizer(net, engine)
    count = sum(len(labels) for _, labels in batches)
    for _, labels in batches:
        _check_labels(labels, net.num_classes)
    found = {place: GradientMeasures() for place in places}
    each = -(-samples // count)
    stages = _stages(report, [1, signs, *[each] * len(places)])
    error = None
    if exact or signs:
        sums, cancelling, error = _sum_up(linearizer, batches, places, next(stages))
        for place, measures in found.items():
            measures.coherent = sums[place] if exact else None
            measures.cancellation = cancelling.get(place) if exact else None
    if signs:
        drawn = sign_norms(
            linearizer, batches, places, draws_of_images(sums.values(), signs),
            at_once=_draws_at_once(net, batches, memory), seed=seed, report=next(stages),
        )  # fmt: skip
        for place, measures in found.items():
            measures.signed = drawn[place]
    if samples:
        for place in places:
            found[place].drawn = draw_norms(
                linearizer, batches, place, each,
                weighted=weighted, seed=seed, report=next(stages),
            )  # fmt: skip
    return found, error if exact else None


def _sum_up(
    linearizer: Linearizer,
    batches: Sequence[Batch],
    places: Collection[Place],
    report: _Report | None,
) -> Coherent:
    """The sums of all paths of each length at each place, of all images."""

    def work(_start: int, images: Tensor, labels: Tensor) -> Coherent:
        return coherent(GradientSource.of(linearizer.net, linearizer.at(images), labels), places)

    parts = in_parallel(work, batches, report)
    norms = {place: torch.cat([one.norms[place].cpu() for one in parts], -1) for place in places}
    cancelling = {
        place: torch.cat([one.cancellation[place].cpu() for one in parts])
        for place in parts[0].cancellation
    }
    return Coherent(norms, cancelling, max(one.error for one in parts))


def _stages(report: _Report | None, costs: Sequence[float]) -> Iterator[_Report | None]:
    """One report of progress for each stage that costs something, as if all were one."""
    whole, before = sum(costs), 0.0
    for cost in costs:
        if cost:
            yield None if report is None else partial(_part, report, before / whole, cost / whole)
        before += cost


def _part(report: _Report, before: float, share: float, done: int, total: int) -> None:
    report(int((before + share * done / total) * total + 1e-9), total)


def _check_labels(labels: Tensor, classes: int) -> None:
    if int(labels.max()) >= classes:
        raise PathError(
            f"an image has label {int(labels.max())}, the network {classes} classes; "
            "expected labels below that"
        )


def _draws_at_once(net: Decomposition, batches: Sequence[Batch], memory: float) -> int:
    precision = "fp64" if batches[0][0].dtype == torch.float64 else "fp32"
    return batch_size(net, memory / workers(batches), precision)


@tf32(False)
def measure_logits(
    net: Decomposition,
    batches: Sequence[Batch],
    *,
    engine: Engine = "fast",
    report: Callable[[int, int], None] | None = None,
) -> tuple[LogitMeasures, float]:
    """Measure what each path length adds to the logits; see `measure_gradients`.

    Raises:
        PathError: If the lengths do not add up to the network's logits.
    """
    linearizer = Linearizer(net, engine)

    def work(_start: int, images: Tensor, labels: Tensor) -> tuple[list[Tensor], float]:
        _check_labels(labels, net.num_classes)
        with torch.no_grad():
            spectrum = forward(linearizer.at(images))
            logits = net(images)
        error = check_logits(spectrum, logits)
        norms, constant = spectrum.log2_norms, spectrum.constant
        return [spectrum.parts, norms, constant, labels, logits], error

    done = in_parallel(work, batches, report)
    columns = [list(column) for column in zip(*(part for part, _ in done), strict=True)]
    along = (1, 1, 0, 0, 0)  # the dimension of the images
    joined = [torch.cat(part, dim).cpu() for part, dim in zip(columns, along, strict=True)]
    return LogitMeasures(*joined), max(error for _, error in done)
