"""A sweep of lesions over data: batches in, counts out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence, Sized
from concurrent.futures import Executor
from typing import Any

import torch
from torch.utils.data import Dataset

from ensembles.cores import shared_out, side_by_side
from ensembles.decomposition import Decomposition
from ensembles.decomposition.inputs import placed, rows_of, take
from ensembles.engine.devices import (
    choose_device,
    compute_dtype,
    sweep_batch_size,
)
from ensembles.engine.direct import Direct
from ensembles.engine.level import LevelOrder
from ensembles.engine.materials import Materials
from ensembles.engine.memory import Halver, each_alone, twice
from ensembles.engine.names import ENGINES
from ensembles.engine.parts import steps_of
from ensembles.engine.shared import SharedPrefixes
from ensembles.engine.sums import Sums
from ensembles.engine.sweep import Sweep
from ensembles.engine.weight_types import one_type_for_all
from ensembles.errors import DataError, EvaluationError, UsageError, nearest
from ensembles.lesions import Lesion
from ensembles.lesions.steps import Beside, intact_program
from ensembles.lesions.structure import Structure
from ensembles.metrics import Metric, Outcome, read, require
from ensembles.metrics.answers import Answers
from ensembles.numerics import exact_attention, exact_mathematics
from ensembles.progress import Progress
from ensembles.tasks import Batch, Task, task_of
from ensembles.tasks.tokens import Tokens

__all__ = [
    "check_lesions",
    "choose_engine",
    "evaluate",
    "evaluate_each",
    "in_rows",
]

_LARGEST_BATCH = 2**31 - 1
_MANY = 1 << 22

Data = Dataset[Any] | Iterable[Any]


def evaluate(
    net: Decomposition,
    data: Data,
    lesions: Iterable[Lesion],
    *,
    task: Task | str | None = None,
    metrics: str | Metric | Iterable[str | Metric] = ("top1", "loss"),
    batch_size: int | None = None,
    device: str | torch.device = "auto",
    precision: str = "fp32",
    engine: str = "shared",
    predictions: bool = False,
    materials: Materials | None = None,
    progress: Progress | None = None,
    told: dict[str, str] | None = None,
) -> list[Outcome]:
    """Run every lesion over every observation once, in a fixed order.

    Args:
        net: The decomposition; left as it is.
        data: One of our data sets, a torch `Dataset` of (input, target), or an iterable of batches.
        lesions: The lesions; their order is that of the result.
        task: What is asked of the network; by default what suits its shapes.
        metrics: What is measured, all in one pass: names, or metrics themselves. Those that compare
            with the intact network run it once more for each batch.
        batch_size: Rows at a time; by default as many as suit the device. On the processor its
            threads divide them. Halved whenever memory runs out, with nothing lost or counted
            twice.
        device: "auto", "cpu", "cuda", "cuda:1", "mps".
        precision: "fp32", "tf32" (CUDA) or "bf16".
        engine: "prefix" and "level" run each common prefix of the lesions once, on folded parts,
            depth first or level by level; "shared" is the one that suits the device; "direct" runs
            each lesion whole, as their oracle.
        predictions: Whether the predicted class of each observation is kept too.
        materials: Reference data and other networks, for lesions that need some; by default
            reference data is another split of the same data set.
        progress: Called with (work done, all work or 0 if unknown), in lesions times rows.
        told: Gets, by name, how the lesions were run.

    Returns:
        One outcome for each lesion: observations, those whose logits are not finite, and what each
        metric keeps.

    Raises:
        LesionError: If a lesion does not fit the network, or what it needs is missing.
        UsageError: If an argument has no meaning, or the network fails with weights of one type.
        DataError: If inputs or targets do not fit the network, or there are none.
        OutOfMemoryError: If memory runs out for a single row, or for the network itself.
        EvaluationError: If the intact network's logits are not finite.
    """
    sweep = list(lesions)
    asked, measured = task_of(net, task, data), read(metrics)
    require(measured, asked, net.num_classes)
    measured = tuple(metric.suited(net, data) for metric in measured)
    place = choose_device(device)
    dtype = compute_dtype(precision, place)
    kind = choose_engine(engine, place)
    threads = torch.get_num_threads() if place.type == "cpu" else 1
    size = batch_size if batch_size is not None else sweep_batch_size(net, place) * threads
    if not 1 <= size <= _LARGEST_BATCH:
        expected = "1 or more" if size < 1 else f"at most {_LARGEST_BATCH}"
        raise UsageError(f"batch size {size}; expected {expected}")
    supplied = materials or Materials(net, task=asked, data=data, device=place)
    twice(lambda: check_lesions(net, sweep, supplied), place, "reading the reference data")
    compared = any(metric.needs_intact for metric in measured)

    with torch.no_grad(), exact_mathematics("fp32"), exact_attention():
        runner = twice(
            lambda: Sweep(
                net, sweep, supplied, engine=kind, device=place, dtype=dtype, compared=compared
            ),
            place,
            "the network itself",
        )

    if isinstance(asked, Tokens) and place.type == "cpu" and _many_logits(net):
        runner.answer_later()

    def counted(size: int) -> list[Outcome]:
        sums = Sums(len(sweep), measured, net.num_classes, place, predictions=predictions)
        total = len(sweep) * _known_rows(data)
        count = threads if runner.side_by_side else 1
        with exact_mathematics(precision), exact_attention(), side_by_side(count) as pool:
            counter = _Counter(net, asked, runner, sums, pool=pool, threads=count)
            for batch in asked.batches(data, size):
                counter.add(batch)
                if progress is not None:
                    progress(counter.rows * len(sweep), total)
        if counter.rows == 0:
            raise DataError("the data set holds no observation; expected one or more")
        if told is not None:
            told.update(runner.told)
        return sums.outcomes(sweep)

    sizes = iter((size, max(size // 2, 1)))
    with one_type_for_all(net):
        if isinstance(data, Iterator):
            return counted(size)
        return twice(lambda: counted(next(sizes)), place, "reading the data")


def evaluate_each(
    net: Decomposition, data: Data, lesions: Sequence[Lesion], **options: Any
) -> tuple[list[Outcome], dict[Lesion, str]]:
    """Run lesions as `evaluate` does; where memory does not suffice, in halves down to one lesion.

    Args:
        net: As for `evaluate`.
        data: As for `evaluate`.
        lesions: As for `evaluate`.
        options: As for `evaluate`.

    Returns:
        The outcomes of those that could be run, in their order, and why each of the others could
        not.

    Raises:
        OutOfMemoryError: If memory does not even suffice for the intact network, or runs out on
            data that can be read only once.
    """
    whole = intact_program(len(net))

    def run(some: Sequence[Lesion]) -> list[Outcome]:
        return evaluate(net, data, some, **options)

    def vital(some: Sequence[Lesion]) -> bool:
        alone = len(some) == 1 and some[0].recalibration is None
        return isinstance(data, Iterator) or (alone and some[0].program(len(net)) == whole)

    return each_alone(run, lesions, vital)


def choose_engine(name: str, device: torch.device) -> type[Direct] | type[SharedPrefixes]:
    """Find the engine of a name.

    Args:
        name: "shared" (the one of the next two that suits the device), "prefix", "level" or
            "direct".
        device: Where it runs.

    Raises:
        UsageError: If there is none.
    """
    engines: dict[str, type[Direct] | type[SharedPrefixes]] = {
        "shared": LevelOrder if device.type == "cuda" else SharedPrefixes,
        "prefix": SharedPrefixes,
        "level": LevelOrder,
        "direct": Direct,
    }
    if name not in engines:
        expected = f"{', '.join(ENGINES[:-1])} or {ENGINES[-1]}"
        raise UsageError(f"engine '{name}'; expected {expected}" + nearest(name, ENGINES))
    return engines[name]


def check_lesions(
    net: Decomposition, lesions: Iterable[Lesion], materials: Materials | None = None
) -> None:
    """Hold lesions against a network before anything runs.

    Args:
        net: The network.
        lesions: The lesions.
        materials: Where what they need comes from; None to leave that unchecked.

    Raises:
        LesionError: Naming the block that does not exist or cannot be treated so, or what is
            missing.
    """
    sweep, structure = list(lesions), Structure.of(net)
    for lesion in sweep:
        lesion.require(structure)
    for step in steps_of(lesion.program(len(net)) for lesion in sweep).values():
        if isinstance(step, Beside):
            first, *others = [net.block(part.block) for part in step.parts]
            first.beside(others, step.mean)
    if materials is not None:
        materials.check(materials.needed(sweep))


def _many_logits(net: Decomposition) -> bool:
    """Whether the logits of a window are more than memory is taken for again and again at ease."""
    return math.prod(net.output_shape) >= _MANY


def _known_rows(data: Data) -> int:
    return len(data) if isinstance(data, Dataset) and isinstance(data, Sized) else 0


class _Counter:
    """Counts what comes out, a batch at a time; a batch that fails for memory is halved."""

    def __init__(
        self,
        net: Decomposition,
        task: Task,
        runner: Sweep,
        sums: Sums,
        *,
        pool: Executor,
        threads: int,
    ) -> None:
        self.net, self.task, self.runner, self.sums = net, task, runner, sums
        self.rows, self.device = 0, runner.device
        self._halver, self._pool, self._threads = Halver(self.device), pool, threads

    def add(self, batch: Batch) -> None:
        """Run the sweep on a batch and count; the counts change only when all of it succeeded."""
        batch = self.task.fitted(self.net, batch)
        self.task.check(self.net, batch)
        rows = rows_of(batch.inputs)
        if self.net.sizes is not None:
            self.net.sizes.require(batch.inputs, self.device)
        self._halver.each(rows, lambda part: self._count(batch, part))
        self.rows += rows

    def _count(self, batch: Batch, part: slice) -> None:
        """Count some rows of a batch, each thread a share of them."""
        count = min(self._threads, part.stop - part.start)
        if count == 1:
            found = [self._run(batch, part)]
        else:
            shares = shared_out(part, count)
            found = list(self._pool.map(lambda share: self._run(batch, share), shares))
        self._check_intact(found)
        self.sums.add(*found)

    @torch.inference_mode()  # of each thread
    def _run(self, batch: Batch, part: slice) -> Sums:
        """The sums over some rows of a batch."""
        runner, parts = self.runner, self.task.parts
        inputs = placed(take(batch.inputs, part), self.device, runner.dtype)
        targets = batch.targets[part].to(self.device, non_blocking=True)
        sums = self.sums.blank()
        whole = runner.intact(inputs) if runner.compared else None
        intact = None if whole is None else list(parts(whole, targets))
        start = batch.start + part.start
        for lesion, output in runner.run(inputs, start, whole):
            sums.count(lesion, in_rows(parts(output, targets, intact), start))
        return sums

    def _check_intact(self, found: Sequence[Sums]) -> None:
        unchanged = sorted(self.runner.unchanged)
        if not unchanged:
            return
        bad = int(torch.stack([sums.nonfinite[unchanged] for sums in found]).sum(0).max())
        if bad:
            observations = sum(sums.observations for sums in found)
            raise EvaluationError(
                f"the intact network gives logits that are not finite for {bad} of "
                f"{observations} {self.task.observation}s; check the normalisation and the "
                "weights, or use --precision fp32"
            )


def in_rows(parts: Iterable[Answers], start: int) -> Iterator[Answers]:
    """Tell answers with which row of the data they begin."""
    for part in parts:
        part.start = start
        yield part
