"""What every metric is: a frozen value whose numbers add over observations and over machines."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from ensembles.errors import UsageError

if TYPE_CHECKING:  # what was measured is read without torch
    from torch import Tensor

    from ensembles.metrics.answers import Answers

__all__ = ["Column", "Mean", "Metric", "State"]

State: TypeAlias = NDArray[np.float64]
"""What a metric keeps: float64, in which whole numbers up to 2^53 are exact."""


_ROUNDING = 1e-6
"""How far sums of rounded numbers may lie outside of what exact ones can be, a share."""


class Column(NamedTuple):
    """A column of a metric in a table.

    Attributes:
        name: Its heading.
        type: "integer", "number", "counts" (a list of integers, or of such lists) or "numbers" (a
            list of numbers).
        better: Whether more or less of it is better; None for neither.
        label: What an axis calls it, with its unit.
    """

    name: str
    type: Literal["integer", "number", "counts", "numbers"]
    better: Literal["more", "less"] | None
    label: str


@dataclass(frozen=True)
class Metric(ABC):
    """A measure of the answers of a network; a frozen value.

    What it keeps of the observations is a vector that adds: :meth:`update` adds a batch,
    :meth:`merge` another part of the data, and :meth:`row` turns the sum into columns. So the row
    of a data set is that of its halves merged, exactly where counts are kept.

    Attributes:
        name: As ``metrics=`` and ``--metrics`` take it.
        summary: One line for lists.
        columns: What it adds to a table.
        needs_intact: Whether it compares with the answers of the intact network.
        tasks: Names of the tasks that it has a meaning for; empty for all.
        span: The least and the most that an observation adds to any of the numbers that are kept;
            by default anything.
        counted: Whether the numbers that are kept are counts.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    columns: ClassVar[tuple[Column, ...]]
    needs_intact: ClassVar[bool] = False
    tasks: ClassVar[tuple[str, ...]] = ()
    span: ClassVar[tuple[float, float]] = (-math.inf, math.inf)
    counted: ClassVar[bool] = False

    @abstractmethod
    def size(self, classes: int) -> int:
        """How many numbers are kept, for answers over so many classes.

        Raises:
            UsageError: If the metric has no meaning for so many.
        """

    @abstractmethod
    def measure(self, answers: Answers) -> Tensor:
        """What some observations add: ``answers.wide``, (size,), on their device.

        Observations whose output is not finite (``answers.finite`` is False) must add nothing.
        Callers use :meth:`added`.
        """

    @abstractmethod
    def row(self, state: State, total: int) -> dict[str, Any]:
        """The columns, from what was kept.

        Args:
            state: What was kept.
            total: Of how many observations, those whose output was finite; 1 or more.
        """

    def suited(self, net: Any, data: Any) -> Metric:
        """The metric for a network and its data, where what it keeps depends on them; else itself.

        Args:
            net: The decomposition.
            data: What it is measured on.

        Raises:
            UsageError: If the metric has no meaning for them.
        """
        return self

    @property
    def bare(self) -> Metric:
        """The metric as it was before it was suited to a network and its data."""
        return self

    @final
    def zero(self, classes: int) -> State:
        """What is kept of no observation."""
        return np.zeros(self.size(classes))

    @final
    def added(self, answers: Answers) -> Tensor:
        """What some observations add, held against the size that the metric names.

        Raises:
            UsageError: If it is of another size.
        """
        found, expected = self.measure(answers), (self.size(answers.classes),)
        if tuple(found.shape) != expected:
            raise UsageError(
                f"metric '{self.name}' adds numbers of shape {tuple(found.shape)}, and its size "
                f"says {expected}; mend its measure or its size"
            )
        return found

    @final
    def update(self, state: State, answers: Answers) -> State:
        """What is kept after some more observations."""
        added: State = self.added(answers).cpu().double().numpy()
        return state + added

    @final
    def merge(self, state: State, other: State) -> State:
        """What is kept of two parts of the data."""
        return state + other

    def possible(
        self, states: State, finite: NDArray[np.int64], per_class: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Which of several states can have been kept: what a store holds is held against it.

        Args:
            states: (states, size).
            finite: Of how many observations each was kept, but for those whose output was not
                finite, (states,).
            per_class: Observations of each class in all, (classes,).

        Returns:
            (states,).
        """
        low, high = self.span
        fits: NDArray[np.bool_] = np.full(states.shape, fill_value=True)
        if self.counted:
            fits = np.asarray(states % 1 == 0)
        room = finite[:, None] * (1 + _ROUNDING) + _ROUNDING
        if low > -math.inf:
            fits &= np.asarray(states >= low * finite[:, None] - _ROUNDING * (1 + finite[:, None]))
        if high < math.inf:
            fits &= np.asarray(states <= high * room)
        found: NDArray[np.bool_] = np.asarray(fits.all(axis=1))
        return found

    def chance(self, classes: int) -> Mapping[str, float]:
        """Columns of a network for which all classes are equally likely, where known.

        Such a network guesses, each class as often as any other.
        """
        return {}

    @property
    def directions(self) -> dict[str, Literal["more", "less"] | None]:
        """Of each column, whether more or less of it is better; None for neither."""
        return {column.name: column.better for column in self.columns}


@dataclass(frozen=True)
class Mean(Metric):
    """A metric with one column: the mean over observations of a value of each.

    Kept: the sum of the values, so that a mean of ones and zeros is exact.
    """

    @abstractmethod
    def values(self, answers: Answers) -> Tensor:
        """The value of each observation, (N,)."""

    def size(self, classes: int) -> int:
        """One number."""
        return 1

    def measure(self, answers: Answers) -> Tensor:
        """Sum of the values, (1,)."""
        return answers.total(self.values(answers))

    def row(self, state: State, total: int) -> dict[str, Any]:
        """The mean."""
        return {self.columns[0].name: float(state[0]) / total}
