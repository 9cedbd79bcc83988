"""The analysis over a data set: batches that fit in memory, checked, put together."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ensembles.decomposition import Decomposition
from ensembles.errors import PathError
from ensembles.unravelling.checking import check_logits
from ensembles.unravelling.gradients import GradientSource, coherent, sampled, signed
from ensembles.unravelling.guiding import branch_factors
from ensembles.unravelling.linearized import Engine, Linearizer
from ensembles.unravelling.parallel import in_parallel, workers
from ensembles.unravelling.places import Place
from ensembles.unravelling.sampling import draw_paths
from ensembles.unravelling.spectra import forward

__all__ = [
    "Batch", "GradientMeasures", "LogitMeasures", "batch_size", "measure_gradients",
    "measure_logits", "prepared", "with_batch_statistics",
]  # fmt: skip

Batch = tuple[Tensor, Tensor]
_PILOT = 64
_DTYPES = {"fp32": torch.float32, "fp64": torch.float64}


@dataclass
class GradientMeasures:
    """What was measured at one place; norms are base-2 logarithms of L2 norms, float64.

    Attributes:
        coherent: Of the sum over all paths of each length, (lengths, images).
        signed: Of sums with random signs, (lengths, draws, images).
        sampled: Of single paths, by length (lengths, draws, images).
        weights: Natural logarithm of each draw's uniform probability over its own, as `sampled`.
    """

    coherent: Tensor | None = None
    signed: Tensor | None = None
    sampled: Tensor | None = None
    weights: Tensor | None = None

    def joined(self, other: GradientMeasures) -> GradientMeasures:
        """The measures of more images."""
        return GradientMeasures(
            *(
                b if a is None else a if b is None else torch.cat([a, b], -1)
                for a, b in (
                    (self.coherent, other.coherent),
                    (self.signed, other.signed),
                    (self.sampled, other.sampled),
                    (self.weights, other.weights),
                )
            )
        )


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
) -> tuple[dict[Place, GradientMeasures], float]:
    """Measure the gradient spectrum by up to three measures.

    Args:
        net: The network, on the device and in the type of the images.
        batches: Images and labels.
        places: Where the gradient is taken.
        exact: Whether to sum all paths of each length.
        signs: Draws of random signs; 0 for none.
        samples: Single paths of each length, over all images; 0 for none.
        weighted: Draw single paths in proportion to what their branches are found to carry, and
            correct for it, instead of uniformly as published.
        memory: Bytes that may be used for rows.
        engine: See `Linearizer`.
        seed: Of the random draws.
        report: Told of progress in images.

    Returns:
        The measures by place, and the greatest relative error of the sum over lengths.

    Raises:
        PathError: If the lengths do not add up to autograd's gradient.
    """
    linearizer = Linearizer(net, engine)
    count = sum(len(labels) for _, labels in batches)
    draws = -(-samples // count)
    share = memory / workers(batches)

    def work(start: int, images: Tensor, labels: Tensor) -> _Measured:
        _check_labels(labels, net.num_classes)
        source = GradientSource.of(net, linearizer.at(images), labels)
        found = {place: GradientMeasures() for place in places}
        error = 0.0
        if exact:
            norms, error = coherent(source, places)
            for place in places:
                found[place].coherent = norms[place].cpu()
        if signs:
            drawn = _signs(source, signs, seed, start)
            for place, value in _signed(source, places, drawn, share).items():
                found[place].signed = value.cpu()
        if samples:
            for place in places:
                found[place].sampled, found[place].weights = _sampled(
                    source, place, draws, weighted, (seed, start)
                )
        return found, error

    done = in_parallel(work, batches, report)
    found = {place: GradientMeasures() for place in places}
    for part, _ in done:
        found = {place: found[place].joined(part[place]) for place in places}
    return found, max(error for _, error in done)


_Measured = tuple[dict[Place, GradientMeasures], float]


def _generator(seed: int, stream: int, image: int) -> torch.Generator:
    """A source of randomness for one image, whatever batch it is in."""
    return torch.Generator().manual_seed((seed * 4 + stream) * 1_000_003 + image)


def _signs(source: GradientSource, draws: int, seed: int, start: int) -> Tensor:
    """Random signs of the branches, (choices, draws, images)."""
    images, shape = source.linear.images, (source.linear.choices, draws)
    each = [
        torch.randint(0, 2, shape, generator=_generator(seed, 1, start + image))
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


def _sampled(
    source: GradientSource, place: Place, draws: int, weighted: bool, seed: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Single paths of every length: norms and weights (lengths, draws, images)."""
    weights = None
    if weighted:
        images = len(source.linear.images)
        pilot, _ = _drawn(source, place, -(-_PILOT // images), None, (seed[0], 3, seed[1]))
        weights = branch_factors(pilot, _norms(source, place, pilot))
    taken, chances = _drawn(source, place, draws, weights, (seed[0], 2, seed[1]))
    return _norms(source, place, taken), chances


def _drawn(
    source: GradientSource,
    place: Place,
    draws: int,
    weights: Tensor | None,
    seed: tuple[int, int, int],
) -> tuple[Tensor, Tensor]:
    """Choices (lengths, draws, images, later blocks), and the logarithms of their weights."""
    later = sum(b.branch is not None for b in source.linear.blocks if b.index >= place.block)
    taken, logs = [], []
    for image in range(len(source.linear.images)):
        generator = _generator(seed[0], seed[1], seed[2] + image)
        parts = [
            draw_paths(later, length, weights, (draws,), generator) for length in range(later + 1)
        ]
        taken.append(torch.stack([choice for choice, _ in parts]))
        logs.append(torch.stack([log for _, log in parts]))
    return torch.stack(taken, 2), torch.stack(logs, 2)


def _norms(source: GradientSource, place: Place, taken: Tensor) -> Tensor:
    """Base-2 logarithms of the norms of single paths, (lengths, draws, images)."""
    flat = taken.flatten(0, 1)
    earlier = source.linear.choices - flat.shape[-1]
    flat = torch.cat([flat.new_zeros(*flat.shape[:2], earlier), flat], -1)
    return torch.unflatten(sampled(source, place, flat).cpu(), 0, taken.shape[:2])


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
