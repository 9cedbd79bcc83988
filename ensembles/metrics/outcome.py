"""What came of running one lesion over the data, as counts and sums."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ensembles.errors import UsageError
from ensembles.metrics.base import Metric, State
from ensembles.metrics.known_metrics import read

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ensembles.lesions import Lesion

__all__ = ["Outcome"]


def _integers(values: Any) -> Any:
    """Integers in lists, as deep as they come."""
    return int(values) if np.ndim(values) == 0 else [_integers(value) for value in values]


_READERS: Mapping[str, Callable[[Any], Any]] = {
    "integer": int,
    "number": float,
    "counts": _integers,
    "numbers": lambda values: [float(value) for value in values],
}


@dataclass(frozen=True, eq=False)
class Outcome:
    """Counts and sums over all observations for one lesion.

    Attributes:
        lesion: The lesion that was run.
        total: Observations seen.
        nonfinite: Observations whose logits were not all finite; they count as wrong.
        states: What each metric kept of the observations, by the metric's name.
        predictions: Class of the largest logit of each observation, -1 where logits were not
            finite, (observations,); None where not asked for.
    """

    lesion: Lesion
    total: int
    nonfinite: int
    states: Mapping[str, State]
    predictions: NDArray[np.int32] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not all(type(s) is np.ndarray and s.dtype == np.float64 for s in self.states.values()):
            kept = {name: np.asarray(state, np.float64) for name, state in self.states.items()}
            object.__setattr__(self, "states", kept)

    @classmethod
    def of_kept(
        cls, lesion: Lesion, total: int, nonfinite: int, states: Mapping[str, State]
    ) -> Outcome:
        """The outcome of states that are known to be float64, such as a store decodes."""
        found: Outcome = object.__new__(cls)
        kept = {"total": total, "nonfinite": nonfinite, "states": states, "predictions": None}
        found.__dict__.update(kept, lesion=lesion)
        return found

    def __eq__(self, other: object) -> bool:
        """Whether lesion, counts and sums are the same; predictions are not compared."""
        if not isinstance(other, Outcome):
            return NotImplemented
        counted = (self.lesion, self.total, self.nonfinite, self.states.keys())
        return counted == (other.lesion, other.total, other.nonfinite, other.states.keys()) and all(
            np.array_equal(state, other.states[name], equal_nan=True)
            for name, state in self.states.items()
        )

    def __hash__(self) -> int:
        return hash((self.lesion, self.total, self.nonfinite))

    @property
    def correct(self) -> int:
        """Observations whose largest logit is that of their label."""
        return int(self._state("top1")[0])

    @property
    def error(self) -> float:
        """Share of the observations that are misclassified; NaN where logits were not finite."""
        return self._share(self.total - self.correct)

    @property
    def loss_sum(self) -> float:
        """Sum over observations of the cross-entropy, in nats."""
        return float(self._state("loss")[0])

    @property
    def loss(self) -> float:
        """Mean cross-entropy in nats; NaN where logits were not finite."""
        return self._share(self.loss_sum)

    @property
    def class_correct(self) -> tuple[int, ...] | None:
        """Of the correct observations, how many are of each class; None where not asked for."""
        if "classes" not in self.states:
            return None
        state = self.states["classes"]
        return tuple(int(count) for count in state[: len(state) // 2])

    def merge(self, other: Outcome) -> Outcome:
        """The outcome over two parts of the data, this one first.

        Args:
            other: Of the same lesion, with the same metrics.

        Raises:
            UsageError: If lesion or metrics differ.
        """
        if (self.lesion, self.states.keys()) != (other.lesion, other.states.keys()):
            raise UsageError(
                f"outcomes of {self._about} and of {other._about} cannot be merged; expected one "
                "lesion and the same metrics"
            )
        joined = None
        if self.predictions is not None and other.predictions is not None:
            joined = np.concatenate([self.predictions, other.predictions])
        states = {name: state + other.states[name] for name, state in self.states.items()}
        return Outcome(
            self.lesion, self.total + other.total, self.nonfinite + other.nonfinite, states, joined
        )

    def row(self, metrics: str | Metric | Iterable[str | Metric] | None = None) -> dict[str, Any]:
        """The columns of some metrics.

        Args:
            metrics: Metrics, or their names; by default all that were measured.

        Returns:
            The value of each column: an integer, a number (NaN where logits were not finite, or
            nothing was seen), or lists of integers.

        Raises:
            UsageError: If a metric was not measured.
        """
        return self.row_of(read(list(self.states) if metrics is None else metrics))

    def row_of(self, metrics: Iterable[Metric]) -> dict[str, Any]:
        """As :meth:`row`, of metrics that were read before, as for every row of a table.

        Args:
            metrics: Metrics of different names, as ``ensembles.metrics.read`` gives them.
        """
        found: dict[str, Any] = {}
        finite, unknown = max(self.total - self.nonfinite, 1), self.nonfinite or not self.total
        for metric in metrics:
            row = metric.row(self._state(metric.name), finite)
            for column in metric.columns:
                if column.name not in row:
                    raise UsageError(
                        f"metric '{metric.name}' announces a column '{column.name}', but its row "
                        f"has only {', '.join(row) or 'nothing'}"
                    )
                number = column.type == "number"
                value = math.nan if number and unknown else row[column.name]
                found[column.name] = _READERS[column.type](value)
        return found

    @property
    def _about(self) -> str:
        measured = ", ".join(self.states) or "nothing"
        return f"{self.lesion.kind} {self.lesion.text} ({measured})"

    def _state(self, name: str) -> State:
        if name not in self.states:
            raise UsageError(
                f"metric '{name}' was not measured, only {', '.join(self.states) or 'nothing'}; "
                "name it among the metrics"
            )
        return self.states[name]

    def _share(self, amount: float) -> float:
        return math.nan if self.nonfinite or not self.total else amount / self.total
