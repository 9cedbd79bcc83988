"""A sweep of lesions over a data set: batches in, counts out."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from typing import Any, Literal, TypeVar, get_args

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ensembles.data import batches
from ensembles.decomposition import Decomposition
from ensembles.engine.devices import choose_device, compute_dtype, is_oom
from ensembles.engine.engines import Direct, Engine, SharedPrefixes
from ensembles.engine.outcome import Outcome
from ensembles.engine.tally import Details, Tally
from ensembles.errors import (
    DataError,
    EvaluationError,
    OutOfMemoryError,
    UsageError,
    nearest,
)
from ensembles.lesions import Lesion, Structure
from ensembles.numerics import exact_attention, exact_mathematics
from ensembles.progress import Progress

__all__ = ["EngineName", "check_lesions", "choose_engine", "default_batch_size", "evaluate"]

EngineName = Literal["shared", "direct"]
_T = TypeVar("_T")
_ACTIVATION_BYTES = {"cpu": 4 << 20, "cuda": 512 << 20, "mps": 128 << 20}


def evaluate(
    net: Decomposition,
    data: Dataset[Any] | Iterable[Any],
    lesions: Iterable[Lesion],
    *,
    batch_size: int | None = None,
    device: str | torch.device = "auto",
    precision: str = "fp32",
    engine: str = "shared",
    details: Details = "none",
    progress: Progress | None = None,
) -> list[Outcome]:
    """Run every lesion over every image once, in a fixed order.

    Args:
        net: The decomposition; left as it is.
        data: One of our data sets, a torch `Dataset` of (image, label), or an iterable of batches.
        lesions: The lesions; their order is that of the result.
        batch_size: Images at a time; by default as many as suit the device. Halved whenever memory
            runs out, with nothing lost or counted twice.
        device: "auto", "cpu", "cuda", "cuda:1", "mps".
        precision: "fp32", "tf32" (CUDA) or "bf16".
        engine: "shared" runs each common prefix of the lesions once, on folded parts; "direct" runs
            each lesion whole, as its oracle.
        details: "classes" also counts the correct images of each class; "predictions" keeps the
            predicted class of each image too.
        progress: Called with (work done, all work or 0 if unknown), in lesions times images.

    Returns:
        One outcome for each lesion: images classified correctly, images, summed cross-entropy
        (nats), and images whose logits are not finite.

    Raises:
        LesionError: If a lesion does not fit the network.
        UsageError: If an argument has no meaning.
        DataError: If the images or labels do not fit the network, or there are none.
        OutOfMemoryError: If memory runs out for a single image, or for the network itself.
        EvaluationError: If the intact network's logits are not finite.
    """
    sweep = list(lesions)
    check_lesions(net, sweep)
    place = choose_device(device)
    dtype = compute_dtype(precision, place)
    make = choose_engine(engine)
    size = batch_size if batch_size is not None else default_batch_size(net, place)
    if size < 1:
        raise UsageError(f"batch size {size}; expected 1 or more")
    runner = _twice(lambda: make(_private(net), sweep, place, dtype), place, "the network itself")

    def counted(size: int) -> list[Outcome]:
        counter = _Counter(runner, sweep, net, place, details)
        images_known = len(data) if isinstance(data, Dataset) and isinstance(data, Sized) else 0
        total = len(sweep) * images_known
        with torch.inference_mode(), exact_mathematics(precision), exact_attention():
            for images, labels in batches(data, size):
                counter.add(images, labels)
                if progress is not None:
                    progress(counter.total * len(sweep), total)
        if counter.total == 0:
            raise DataError("the data set holds no image; expected one or more")
        return counter.outcomes()

    if isinstance(data, Iterator):
        return counted(size)
    sizes = iter((size, max(size // 2, 1)))
    return _twice(lambda: counted(next(sizes)), place, "reading the images")


def _twice(work: Callable[[], _T], device: torch.device, what: str) -> _T:
    """Do something once more, with the cache emptied, where memory runs out."""
    for last in (False, True):
        try:
            return work()
        except (RuntimeError, MemoryError) as error:
            if not is_oom(error):
                raise
            if last:
                raise OutOfMemoryError(
                    f"memory ran out on {device} for {what}; free some, or use another device"
                ) from error
        _empty_cache(device)
    raise AssertionError("the second time returns or raises")


def _empty_cache(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _private(net: Decomposition) -> Decomposition:
    """A copy that can be moved and rounded; the graph of the whole network is not needed."""
    return copy.deepcopy(net, {id(net.traced): None})


def choose_engine(name: str) -> type[Direct] | type[SharedPrefixes]:
    """Find the engine of a name.

    Raises:
        UsageError: If there is none.
    """
    engines: dict[str, type[Direct] | type[SharedPrefixes]] = {
        "shared": SharedPrefixes,
        "direct": Direct,
    }
    if name not in engines:
        names = get_args(EngineName)
        raise UsageError(f"engine '{name}'; expected {' or '.join(names)}" + nearest(name, names))
    return engines[name]


def check_lesions(net: Decomposition, lesions: Sequence[Lesion]) -> None:
    """Hold lesions against a network before anything runs.

    Raises:
        LesionError: Naming the block that does not exist, or cannot be deleted, moved or repeated.
    """
    structure = Structure.of(net)
    for lesion in lesions:
        lesion.require(structure)


def default_batch_size(net: Decomposition, device: torch.device) -> int:
    """As many images as keep the widest activation between blocks to some megabytes."""
    widest = max(_numel(shape) for block in net for shape in (block.in_shape, block.out_shape))
    size = _ACTIVATION_BYTES.get(device.type, 4 << 20) // (4 * widest)
    return int(min(max(size, 1), 2000))


def _numel(shape: tuple[int, ...]) -> int:
    return int(torch.Size(shape).numel())


class _Counter:
    """Counts what comes out, a batch at a time; a batch that fails for memory is halved."""

    def __init__(
        self,
        runner: Engine,
        sweep: Sequence[Lesion],
        net: Decomposition,
        device: torch.device,
        details: Details,
    ) -> None:
        self.runner, self.sweep, self.device = runner, sweep, device
        self.shape, self.classes = net.input_shape, net.num_classes
        self.tally = Tally(len(sweep), self.classes, details, device)
        self.intact = [i for i, lesion in enumerate(sweep) if lesion.kind == "none"]
        self.total = 0
        self.largest: int | None = None

    def add(self, images: Tensor, labels: Tensor) -> None:
        """Run the sweep on a batch and count; the counts change only when all of it succeeded."""
        self._check(images)
        step = min(self.largest or len(images), len(images))
        done, again = 0, False
        while done < len(images):
            part = slice(done, done + step)
            try:
                tally = self._run(images[part], labels[part])
                self._check_intact(tally, len(images[part]))
                self.tally.add(tally)
            except (RuntimeError, MemoryError) as error:
                if not is_oom(error):
                    raise
                if step == 1 and again:
                    raise OutOfMemoryError(
                        f"memory ran out on {self.device} for a single image; "
                        "use another device or --precision bf16"
                    ) from error
                again = step == 1  # once more with the cache emptied
                step = self.largest = max(step // 2, 1)
            else:
                done += len(images[part])
                self.total += len(images[part])
                continue
            _empty_cache(self.device)

    def _check(self, images: Tensor) -> None:
        if tuple(images.shape[1:]) != self.shape:
            raise DataError(
                f"the images have shape {tuple(images.shape[1:])}; the network was taken apart for "
                f"{self.shape}: resize the images, or decompose with such images"
            )

    def _run(self, images: Tensor, labels: Tensor) -> Tally:
        _check_labels(labels, self.classes)
        images = images.to(self.device, non_blocking=True)
        labels = labels.to(self.device, non_blocking=True)
        tally = self.tally.blank(len(images))
        for lesion, logits in self.runner.run(images):
            tally.count(lesion, logits.float(), labels)
        return tally

    def _check_intact(self, tally: Tally, images: int) -> None:
        bad = int(tally.sums[self.intact, 2].max()) if self.intact else 0
        if bad:
            raise EvaluationError(
                f"the intact network gives logits that are not finite for {bad} of {images} "
                "images; check the normalisation and the weights, or use --precision fp32"
            )

    def outcomes(self) -> list[Outcome]:
        """The counts as outcomes, in the order of the sweep."""
        return self.tally.outcomes(self.sweep, self.total)


def _check_labels(labels: Tensor, classes: int) -> None:
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise DataError(
            f"the data have a label {high if high >= classes else low}, the network {classes} "
            f"classes (0 to {classes - 1}); load a network with as many classes as the data"
        )
