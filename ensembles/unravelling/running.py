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
from ensembles.unravelling.checking import check_logits
from ensembles.unravelling.drawing import Drawn, draw_norms, generator
from ensembles.unravelling.gradients import GradientSource, coherent, signed
from ensembles.unravelling.linearized import Engine, Linearizer
from ensembles.unravelling.parallel import in_parallel, workers
from ensembles.unravelling.places import Place
from ensembles.unravelling.spectra import forward

__all__ = [
    "Batch", "GradientMeasures", "LogitMeasures", "batch_size", "measure_gradients",
    "measure_logits", "prepared", "with_batch_statistics",
]  # fmt: skip

Batch = tuple[Tensor, Tensor]
_Report = Callable[[int, int], None]
_Sums = tuple[dict[Place, Tensor], dict[Place, Tensor], float]
_DTYPES = {"fp32": torch.float32, "fp64": torch.float64}


@dataclass
class GradientMeasures:
    """What was measured at one place; norms are base-2 logarithms of L2 norms, float64.

    Attributes:
        coherent: Of the sum over all paths of each length, (lengths, images).
        signed: Of sums with random signs, (lengths, draws, images).
        drawn: Of single paths.
    """

    coherent: Tensor | None = None
    signed: Tensor | None = None
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
    if all(t.device == device and t.dtype == dtype for t in tensors):
        return net
    return copy.deepcopy(net).to(device=device, dtype=dtype)


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
    rows = 2 * (sum(block.has_shortcut for block in net) + 1) * max(numbers)
    kept = 6 * sum(numbers)
    return max(1, int(memory // (size * (rows * draws + kept))))


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
        exact: Whether to sum all paths of each length.
        signs: Draws of random signs; 0 for none.
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
    linearizer = Linearizer(net, engine)
    count = sum(len(labels) for _, labels in batches)
    for _, labels in batches:
        _check_labels(labels, net.num_classes)
    found = {place: GradientMeasures() for place in places}
    stages = _stages(report, (exact or signs > 0) + (len(places) if samples else 0))
    error = None
    if exact or signs:
        error = _sum_up(
            linearizer, batches, found,
            exact=exact, signs=signs, memory=memory, seed=seed, report=next(stages),
        )  # fmt: skip
    if samples:
        for place in places:
            found[place].drawn = draw_norms(
                linearizer, batches, place, -(-samples // count),
                weighted=weighted, seed=seed, report=next(stages),
            )  # fmt: skip
    return found, error


def _sum_up(
    linearizer: Linearizer,
    batches: Sequence[Batch],
    found: dict[Place, GradientMeasures],
    *,
    exact: bool,
    signs: int,
    memory: float,
    seed: int,
    report: _Report | None,
) -> float | None:
    """Measure the sums of all paths, as they are and with random signs; the error of the first."""
    share = memory / workers(batches)

    def work(start: int, images: Tensor, labels: Tensor) -> _Sums:
        source = GradientSource.of(linearizer.net, linearizer.at(images), labels)
        sums, worst = coherent(source, found) if exact else ({}, 0.0)
        drawn = _signs(source, signs, seed, start)
        return sums, _signed(source, found, drawn, share) if signs else {}, worst

    sums, squares, errors = zip(*in_parallel(work, batches, report), strict=True)
    for place, measures in found.items():
        if exact:
            measures.coherent = torch.cat([part[place].cpu() for part in sums], -1)
        if signs:
            measures.signed = torch.cat([part[place].cpu() for part in squares], -1)
    return max(errors) if exact else None


def _stages(report: _Report | None, count: int) -> Iterator[_Report | None]:
    """One report of progress for each stage, as if all were one."""
    for stage in range(count):
        yield None if report is None else partial(_part, report, stage, count)


def _part(report: _Report, stage: int, stages: int, done: int, total: int) -> None:
    report((stage * total + done) // stages, total)


def _signs(source: GradientSource, draws: int, seed: int, start: int) -> Tensor:
    """Random signs of the branches, (choices, draws, images)."""
    images, shape = source.linear.images, (source.linear.choices, draws)
    each = [
        torch.randint(0, 2, shape, generator=generator(seed, 1, start + image))
        for image in range(len(images))
    ]
    return (torch.stack(each, -1) * 2 - 1).to(images.device, images.dtype)


def _check_labels(labels: Tensor, classes: int) -> None:
    if int(labels.max()) >= classes:
        raise PathError(
            f"an image has label {int(labels.max())}, the network {classes} classes; "
            "expected labels below that"
        )


def _signed(
    source: GradientSource, places: Collection[Place], signs: Tensor, memory: float
) -> dict[Place, Tensor]:
    """Random signs, as many draws at once as memory allows."""
    at_once = _draws_at_once(source, memory)
    parts = [signed(source, places, part) for part in torch.split(signs, at_once, 1)]
    return {place: torch.cat([part[place] for part in parts], 1) for place in places}


def _draws_at_once(source: GradientSource, memory: float) -> int:
    net, images = source.net, source.linear.images
    precision = "fp64" if images.dtype == torch.float64 else "fp32"
    pairs = batch_size(net, memory, precision)
    return max(1, pairs // len(images))


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
