"""What is missing in a store is measured, unit by unit, beside other processes that do the same."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from ensembles.errors import StoreError
from ensembles.lesions import Intact, Lesion
from ensembles.lesions.steps import keys_of
from ensembles.metrics import Outcome
from ensembles.progress import Progress
from ensembles.store.asked import Asked

__all__ = ["Filled", "Pace", "fill"]

Measure = Callable[[Sequence[Lesion], Progress], tuple[list[Outcome], dict[Lesion, str]]]
"""Measures lesions; returns outcomes, and why the others could not be measured."""

_PAUSE = 0.2


@dataclass
class Filled:
    """What was done.

    Attributes:
        measured: How many lesions were measured by this process.
        failed: Why the others could not be.
    """

    measured: int = 0
    failed: dict[Lesion, str] = field(default_factory=dict)

    def add(
        self, asked: Asked, outcomes: list[Outcome], failed: dict[Lesion, str], run: int
    ) -> None:
        """Put what came of a unit into the store."""
        asked.add(outcomes, run)
        asked.fail(failed, run)
        self.measured += len(outcomes)
        self.failed |= failed


@dataclass
class Pace:
    """How many lesions make a unit: a minute's work, or ten times what reading the data costs.

    Attributes:
        seconds: How long a unit should take.
        most: The largest unit.
        times: Size and duration of the latest units.
        rough: Whether processes have died here: then the first unit holds one lesion, and each the
            double of the one before it at most, so that a short life stores something.
    """

    seconds: float = 60.0
    most: int = 256
    times: list[tuple[int, float]] = field(default_factory=list)
    rough: bool = False

    @contextmanager
    def timed(self, lesions: int) -> Iterator[None]:
        """Note how long the body takes, which measures a unit."""
        started = time.monotonic()
        yield
        self.times = [*self.times[-1:], (lesions, time.monotonic() - started)]

    def size(self) -> int:
        """How many lesions the next unit should hold: a few, until it is known what they cost."""
        if not self.times:
            return min(1 if self.rough else 8, self.most)
        return min(self._wanted(), 2 * max(self.times)[0]) if self.rough else self._wanted()

    def _wanted(self) -> int:
        (first, before), (last, after) = self.times[0], self.times[-1]
        each = (after - before) / (last - first) if first != last else after / last
        if each <= 0:
            each = after / last
        start = max(after - each * last, 0.0)
        return int(min(max(max(self.seconds, 10 * start) / max(each, 1e-6), 1), self.most))


def fill(
    asked: Asked,
    measure: Measure,
    *,
    begin: Callable[[], int],
    report: Progress,
    pace: Pace | None = None,
    wait: bool = True,
) -> Filled:
    """Measure the lesions that a store lacks.

    Each unit is stored in one transaction when it is whole. A process that dies loses its unit; one
    that is interrupted discards it. Lesions that another process is measuring are waited for, and
    taken over should it die.

    Args:
        asked: What was asked of the store.
        measure: Measures a unit, under the metrics `asked.measures`.
        begin: Gives the number of the run, which it enters the first time: when the first unit is
            measured, so that it can tell how.
        report: Called with the work done and all of it, in lesions times rows of data.
        pace: How large units are.
        wait: Whether to wait for lesions that another process is measuring; else they are left.

    Returns:
        What was measured and what could not be.
    """
    filled, n = Filled(), len(asked.context.key.blocks)
    waiting = sorted(asked.missing, key=lambda one: _place(one, n))
    if not waiting:
        return filled
    pace, rows, run = pace or Pace(), asked.context.key.images, cache(begin)
    pace.rough = pace.rough or asked.deserted > 0
    total, taken = len(waiting) * rows, list[Lesion]()
    with asked.holding():
        try:
            while waiting or (taken and wait):
                if not waiting:
                    waiting, taken = taken, []
                    time.sleep(_PAUSE)
                share = max(len(waiting) // 4, 1) if taken else len(waiting)
                size = min(pace.size(), share)
                unit, waiting = waiting[:size], waiting[size:]
                claimed = asked.claim(unit)
                taken += claimed.taken
                if mine := claimed.mine:
                    done = total - (len(mine) + len(waiting) + len(taken)) * rows
                    with pace.timed(len(mine)):
                        found = measure(mine, _after(report, done, total))
                    filled.add(asked, *found, run())
        finally:
            with suppress(StoreError):
                asked.release()
    return filled


def _after(report: Progress, done: int, total: int) -> Progress:
    """Report a unit's progress as that of the whole, of which some is done before it."""
    return lambda now, _: report(done + now, total)


def _place(lesion: Lesion, n: int) -> tuple[Any, ...]:
    """The intact network first, then lesions that begin alike beside each other.

    Recalibrated ones come last: they share nothing after the first BatchNorm.
    """
    again = lesion.recalibration
    alike = keys_of(lesion.program(n))
    return not isinstance(lesion, Intact), again is not None, repr(again), alike
