"""What lesions need beside the network: reference data, and other networks of its architecture."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from ensembles.decomposition import Decomposition, walk
from ensembles.decomposition.inputs import Inputs, placed, rows_of, take
from ensembles.engine.counterparts import counterpart, values_digest, weights_digest
from ensembles.engine.devices import default_batch_size, home_of, movable_copy
from ensembles.engine.memory import Halver
from ensembles.engine.reference_data import ReferenceData
from ensembles.errors import LesionError, nearest
from ensembles.lesions import Lesion, Structure
from ensembles.lesions.needs import Initial, Need, Reference, Source
from ensembles.numerics import exact_attention, tf32
from ensembles.tasks import Batch, Task, task_of

__all__ = ["Materials", "Sources", "digest_of_given", "digest_of_usual"]

Sources: TypeAlias = Mapping[str, nn.Module] | Callable[[str], nn.Module]
"""Trained networks by name, as models or decompositions, or what opens one."""

_EXAMPLES = 16
_MOST_ROWS = 1000


class Materials:
    """What some lesions need of a network's surroundings; each thing is made when it is needed.

    Args:
        net: The network that is lesioned.
        task: What is asked of it; by default what suits its shapes.
        data: What it is evaluated on; where nothing else is named, reference data is another split
            of the same data set.
        reference: Data of any kind to measure means and statistics on.
        initial: The network as it was before training, as a model or a decomposition.
        sources: Other trained networks of the same architecture by name, or a function that opens
            the network of a name.
        device: Where means are measured; by default where the network lies.
    """

    def __init__(
        self,
        net: Decomposition,
        *,
        task: Task | None = None,
        data: Any = None,
        reference: Any = None,
        initial: nn.Module | None = None,
        sources: Sources | None = None,
        device: torch.device | None = None,
    ) -> None:
        self.net, self.data, self.device = net, data, device
        self._task = task
        self._reference, self._initial, self._sources = reference, initial, sources
        self._data: dict[str, ReferenceData] = {}
        self._means: dict[Reference, tuple[Tensor, ...]] = {}
        self._others: dict[Initial | Source, Decomposition] = {}
        self._origin: Materials | None = None

    @cached_property
    def task(self) -> Task:
        """What is asked of the network; a deletion needs none, so that any network can have one.

        Raises:
            UsageError: If no task suits its shapes.
        """
        return task_of(self.net, data=self.data) if self._task is None else self._task

    def around(self, net: Decomposition) -> Materials:
        """The same materials for a copy of the network that may be moved and rounded.

        They hold copies of the other networks, so that these may be too.
        """
        twin = copy.copy(self)
        twin.net, twin._others, twin._origin = net, {}, self
        return twin

    def needed(self, lesions: Iterable[Lesion]) -> tuple[Need, ...]:
        """What lesions need on this network, each thing once."""
        structure = Structure.of(self.net)
        found = dict.fromkeys(need for lesion in lesions for need in lesion.needs_on(structure))
        return tuple(found)

    def check(self, needs: Iterable[Need]) -> None:
        """Refuse, before anything runs, what cannot be had.

        Raises:
            LesionError: Saying what is missing, or does not fit, and how to name it.
        """
        for need in dict.fromkeys(needs):
            if isinstance(need, Reference):
                self._of(need.split).require(need.size)
            else:
                self.other(need)

    def batches(self, need: Reference, batch_size: int) -> Iterator[Batch]:
        """Reference observations, evenly spread over the data, in batches.

        Args:
            need: How many, and of which split.
            batch_size: How many at a time.

        Raises:
            LesionError: If there are none, or too few.
        """
        for batch in self._of(need.split).batches(need.size, batch_size):
            fit = self.task.fitted(self.net, batch)
            self.task.check(self.net, fit)
            yield fit

    def means(self, need: Reference) -> tuple[Tensor, ...]:
        """The mean over reference observations of what each block's branch gives.

        Args:
            need: How many observations, and of which split.

        Returns:
            For each block a tensor of the shape that its branch gives for one row, on the network's
            device and in its type; added in float64.
        """
        if self._origin is not None:
            return self._origin.means(need)
        if need not in self._means:
            self._means[need] = self._measured_means(need)
        return self._means[need]

    def other(self, need: Initial | Source) -> Decomposition:
        """Another network of the same architecture, taken apart.

        Raises:
            LesionError: If it was not given, or has another architecture.
        """
        if need not in self._others:
            known = None if self._origin is None else self._origin.other(need)
            if known is None:
                self._others[need] = self._opened(need)
            else:  # in the type of the network, so that folding rounds both alike
                self._others[need] = movable_copy(known).to(dtype=home_of(self.net)[1])
        return self._others[need]

    def digest(self, needs: Iterable[Need]) -> str:
        """sha256 (hexadecimal) of all that is used; "" where nothing is needed."""
        distinct = sorted(dict.fromkeys(needs), key=repr)
        if not distinct:
            return ""
        content = hashlib.sha256()
        for need in distinct:
            if isinstance(need, Reference):
                of_it = self._of(need.split).digest(need.size)
                line = f"reference {need.size} {of_it}"
            else:
                line = f"network {weights_digest(self.other(need))}"
            content.update(f"{line}\n".encode())
        return content.hexdigest()

    def _of(self, split: str) -> ReferenceData:
        if split not in self._data:
            self._data[split] = ReferenceData.opened(self._reference, self.data, split, self.task)
        return self._data[split]

    def _measured_means(self, need: Reference) -> tuple[Tensor, ...]:
        """One pass over the reference observations; a batch that fails for memory is halved."""
        here, dtype = home_of(self.net)
        net, device = self.net, self.device or here
        if device != here:
            net = movable_copy(net).to(device)
        means = _BranchMeans(net)
        halver, size = Halver(device), default_batch_size(net, device)
        with torch.no_grad(), exact_attention(), tf32(False):
            for batch in self.batches(need, size):
                halver.each(
                    rows_of(batch.inputs),
                    lambda part, batch=batch: means.add(  # type: ignore[misc]
                        placed(take(batch.inputs, part), device, dtype)
                    ),
                )
        return tuple(mean.to(here, dtype) for mean in means.values())

    def _opened(self, need: Initial | Source) -> Decomposition:
        if isinstance(need, Initial):
            if self._initial is None:
                raise LesionError(
                    "the weights as they were before training are needed: give initial= a model "
                    "with them, or --initial FILE, as `ensembles train --init` writes it"
                )
            return counterpart(self.net, self._initial, self._example, "the initial network")
        what = f"the network '{need.name}'"
        if self._sources is None:
            raise LesionError(f"{what} is needed; name it in sources=, as a model, by that name")
        if callable(self._sources):
            found = self._sources(need.name)
        elif need.name in self._sources:
            found = self._sources[need.name]
        else:
            known = ", ".join(self._sources) or "none"
            raise LesionError(
                f"{what} is needed; sources= has {known}{nearest(need.name, self._sources)}"
            )
        return counterpart(self.net, found, self._example, what)

    @cached_property
    def _example(self) -> Inputs | None:
        """Some inputs to take a model apart by."""
        for data in (self._reference, self.data):
            if data is not None and not isinstance(data, Iterator):
                batch = self.task.fitted(self.net, next(self.task.batches(data, _EXAMPLES)))
                self.task.check(self.net, batch)
                return batch.inputs
        return None


def digest_of_given(
    task: Task,
    reference: Any = None,
    initial: nn.Module | None = None,
    sources: Sources | None = None,
) -> str:
    """sha256 (hexadecimal) of what a user gives beside a network and data; "" of nothing.

    Of reference data as many rows count as a thousand, evenly spread. A function that opens
    networks says nothing of them.

    Args:
        task: How data are read.
        reference: As for `Materials`.
        initial: As for `Materials`.
        sources: As for `Materials`.
    """
    lines = []
    if reference is not None:
        rows = ReferenceData(reference, task, "the reference data")
        lines.append(f"reference {rows.rows} {rows.digest(min(rows.rows, _MOST_ROWS))}")
    if initial is not None:
        lines.append(f"initial {values_digest(initial)}")
    if sources is not None and not callable(sources):
        lines += [f"source {name} {values_digest(sources[name])}" for name in sorted(sources)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest() if lines else ""


def digest_of_usual(task: Task, data: Any, needs: Iterable[Need]) -> str:
    """sha256 (hexadecimal) of reference data that nobody gave: other splits of the data set.

    Args:
        task: How data are read.
        data: What is evaluated.
        needs: What is needed; reference data alone are looked at.

    Returns:
        "" where none are needed, or there is no such split.
    """
    lines = []
    for need in sorted(dict.fromkeys(needs), key=repr):
        if isinstance(need, Reference):
            try:
                rows = ReferenceData.opened(None, data, need.split, task)
            except LesionError:
                continue
            size = min(need.size, rows.rows)
            lines.append(f"usual {size} {rows.digest(size)}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest() if lines else ""


class _BranchMeans:
    """Sums over rows, in double precision, of what the branch of each block gives."""

    def __init__(self, net: Decomposition) -> None:
        self.net = net
        self.rows = 0
        self.sums: list[Tensor] = []

    def add(self, inputs: Inputs) -> None:
        """Add some rows: all of them or, should memory run out, none."""
        if not self.sums:
            self._require_rows(inputs)
        found = [_sum_of_rows(value) for value in self._branches(inputs)]
        if self.sums:
            found = [total + further for total, further in zip(self.sums, found, strict=True)]
        self.sums, self.rows = found, self.rows + rows_of(inputs)

    def values(self) -> list[Tensor]:
        """The means."""
        return [total / self.rows for total in self.sums]

    def _branches(self, inputs: Inputs) -> Iterator[Tensor]:
        for block, x, _ in walk(self.net, inputs):
            yield block.branch(x if block.pre is None else block.pre(x))

    def _require_rows(self, inputs: Inputs) -> None:
        """Refuse a branch that keeps the rows of its inputs elsewhere than in dimension 0."""
        for count in (2, 3):
            some = torch.arange(count) % rows_of(inputs)
            for block, value in zip(self.net, self._branches(take(inputs, some)), strict=True):
                if len(value) != count:
                    raise LesionError(
                        f"the mean of {block.label}: its branch gives a tensor of shape "
                        f"{tuple(value.shape)} for {count} rows, and a mean by position needs the "
                        "rows in dimension 0"
                    )


def _sum_of_rows(value: Tensor) -> Tensor:
    if value.device.type == "mps":  # which has no double precision
        value = value.cpu()
    return value.double().sum(0)
