"""What a network takes and gives: batches of inputs, targets, and what one observation is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor

    from ensembles.decomposition import Decomposition
    from ensembles.metrics.answers import Answers

__all__ = ["Batch", "Inputs", "Task", "numbered"]

Inputs: TypeAlias = "Tensor | tuple[Tensor, ...] | dict[str, Tensor]"
"""What a network takes, as ``ensembles.data.rows.Inputs``, named without torch."""


class Batch(NamedTuple):
    """Some rows of a data set (images, windows of a text), in its order.

    Attributes:
        inputs: What the network takes.
        targets: What it should give, the rows in dimension 0.
        start: Number of the first row in the data set.
    """

    inputs: Inputs
    targets: Tensor
    start: int


@dataclass(frozen=True)
class Task(ABC):
    """What is asked of a network; a frozen value.

    Attributes:
        name: As ``task=`` and ``--task`` take it.
        summary: One line for lists.
        observation: What one observation is called, such as "image" or "token".
        shapes: What a network of the task takes and gives, for messages.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    observation: ClassVar[str]
    shapes: ClassVar[str]

    @abstractmethod
    def suits(self, net: Decomposition) -> bool:
        """Whether a network takes and gives what this task has, by its shapes."""

    @abstractmethod
    def batches(self, data: Any, batch_size: int) -> Iterator[Batch]:
        """Read data as batches of rows, each row once, in the order of the data.

        Args:
            data: One of our data sets, a torch ``Dataset`` of (input, target), or an iterable of
                batches; an item is a pair, or a mapping with the usual names.
            batch_size: Rows at a time; the last batch may be smaller.

        Raises:
            DataError: If an item is something else, or there are none.
        """

    def fitted(self, net: Decomposition, batch: Batch) -> Batch:
        """A batch in the form that a network takes; as it is where there is but one form.

        Raises:
            DataError: If it cannot be brought into that form.
        """
        return batch

    @abstractmethod
    def check(self, net: Decomposition, batch: Batch) -> None:
        """Hold a batch against a network.

        Raises:
            DataError: If inputs or targets do not fit it; the message says what would.
        """

    @abstractmethod
    def answers(
        self, output: Tensor, targets: Tensor, intact: Tensor | Answers | None = None
    ) -> Answers:
        """The network's output as answers to observations.

        Args:
            output: What the network gave, the rows in dimension 0.
            targets: As the batch holds them.
            intact: What the intact network gave; or the answers made of it, so that what they hold
                is computed once for all lesions of a batch.
        """

    def parts(
        self, output: Tensor, targets: Tensor, intact: Sequence[Answers] | None = None
    ) -> Iterator[Answers]:
        """The answers in parts that are small enough to be measured one after the other.

        Args:
            output: What the network gave, the rows in dimension 0.
            targets: As the batch holds them.
            intact: The parts of the intact network's answers; None where no metric compares.
        """
        yield self.answers(output, targets, None if intact is None else intact[0])

    @abstractmethod
    def observations(self, batch: Batch) -> int:
        """How many observations the rows of a batch hold."""

    def labels(self, data: Iterable[Batch]) -> list[int]:
        """Class of every observation, in order."""
        return [label for batch in data for label in batch.targets.flatten().tolist()]


def numbered(pairs: Iterator[tuple[Inputs, Tensor]]) -> Iterator[Batch]:
    """Pairs of inputs and targets as batches that know where they start in the data."""
    start = 0
    for inputs, targets in pairs:
        yield Batch(inputs, targets, start)
        start += len(targets)
