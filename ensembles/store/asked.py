"""Lesions that were asked of a store: what is missing, who measures it, and what came of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ensembles.errors import UsageError
from ensembles.store import claims, failures
from ensembles.store.connection import Connection
from ensembles.store.contexts import number_of
from ensembles.store.kept_metrics import measured_with
from ensembles.store.key import Context
from ensembles.store.lease import renewed
from ensembles.store.lesions import FEW
from ensembles.store.states import complete, complete_in

if TYPE_CHECKING:
    from ensembles.lesions import Lesion
    from ensembles.metrics import Outcome

__all__ = ["Asked", "Claimed"]


_BRIEF = 2.0
"""Seconds that the end of a process waits for others; its claims count no more without it."""


@dataclass(frozen=True)
class Claimed:
    """What became of a wish to measure lesions.

    Attributes:
        mine: Lesions that nobody else will measure now.
        taken: Lesions that another process is measuring.
    """

    mine: tuple[Lesion, ...]
    taken: tuple[Lesion, ...]


class Asked:
    """What a program asked of a store: lesions of one network on data, under some metrics.

    A lesion is complete when all metrics that were asked for are there, and its predictions where
    these were asked for.

    Args:
        connection: To the store.
        context: The network and the data.
        rows: Number of each lesion in the store.
        metrics: Names of the metrics that were asked for.
        predictions: Whether predictions were asked for.
        owner: Who claims, as `claims.new_owner` names it.

    Attributes:
        context: See above.
        metrics: See above.
        predictions: See above.
        different: Lesions that came out with other counts than those that were there, which stay.
    """

    def __init__(
        self,
        connection: Connection,
        context: Context,
        rows: Mapping[Lesion, int],
        *,
        metrics: tuple[str, ...],
        predictions: bool,
        owner: str,
    ) -> None:
        self.context, self.metrics, self.predictions = context, metrics, predictions
        self.different: set[Lesion] = set()
        self._connection, self._rows, self._owner = connection, rows, owner
        self._claimed: set[int] = set()
        self._watch = claims.Watch()

    @property
    def lesions(self) -> tuple[Lesion, ...]:
        """The lesions, each once and by itself, in the order in which they were asked for."""
        return tuple(one.bare() for one in self._rows)

    @property
    def missing(self) -> list[Lesion]:
        """Those that are not complete now, by themselves and in their order."""
        number = number_of(self._connection, self.context)
        few = self._rows.values() if len(self._rows) <= FEW else None
        done = complete_in(self._connection, number, self.metrics, self.predictions, few)
        return [one.bare() for one, row in self._rows.items() if row not in done]

    @property
    def measures(self) -> tuple[str, ...]:
        """Names of the metrics to measure: those asked for, and those that a store always keeps."""
        return measured_with(self.metrics, self.context)

    def claim(self, lesions: Sequence[Lesion]) -> Claimed:
        """Claim lesions, so that no other process measures them now.

        Args:
            lesions: Some of those that were asked for.

        Returns:
            Those that are claimed, and those that another process has claimed; what is in neither
            is complete meanwhile.

        Raises:
            UsageError: If one was not asked for.
        """
        condition, arguments = complete(self.metrics, self.predictions)
        done = f"SELECT 1 FROM lesions WHERE id = ? AND {condition}"
        numbers = [(one.bare(), self._row(one)) for one in lesions]
        mine, taken = [], []
        with self._connection.transaction() as raw:
            for one, row in numbers:
                if raw.execute(done, (row, *arguments)).fetchone():
                    continue
                if claims.try_claim(raw, row, self._owner, self._watch):
                    mine.append(one)
                    self._claimed.add(row)
                else:
                    taken.append(one)
        return Claimed(tuple(mine), tuple(taken))

    @property
    def deserted(self) -> int:
        """How many lesions of the network are claimed by processes that live no more."""
        return claims.deserted(self._connection, number_of(self._connection, self.context))

    def release(self) -> None:
        """Let go of what was claimed and not added; others are not waited for long."""
        if self._claimed:
            with self._connection.transaction(patience=_BRIEF) as raw:
                claims.release(raw, self._claimed, self._owner)
            self._claimed.clear()

    def holding(self) -> AbstractContextManager[None]:
        """Keep the claims alive for as long as a body runs."""
        return renewed(self._connection.path, self._owner)

    def add(self, outcomes: Iterable[Outcome], run: int) -> int:
        """Add what was measured: all of it or, if the disk is full, nothing.

        Args:
            outcomes: What came of lesions that were asked for.
            run: The number of the run.

        Returns:
            How many lesions were not there before, or lacked a metric that now came. What was
            there stays, unless predictions come with the new counts only.

        Raises:
            UsageError: If a lesion was not asked for.
        """
        from ensembles.store.outcomes import Verdict, keep_measured, measured  # noqa: PLC0415

        given = list(outcomes)
        rows = [self._row(outcome.lesion) for outcome in given]
        found = [measured(outcome, self.context, run) for outcome in given]
        with self._connection.transaction(sum(one.size for one in found)) as raw:
            verdicts = [keep_measured(raw, *pair) for pair in zip(rows, found, strict=True)]
        self._claimed.difference_update(rows)
        self.different.update(
            outcome.lesion.bare()
            for outcome, verdict in zip(given, verdicts, strict=True)
            if verdict is Verdict.DIFFERENT
        )
        return verdicts.count(Verdict.NEW)

    def fail(self, reasons: Mapping[Lesion, str], run: int) -> None:
        """Note lesions that could not be measured, and why.

        Args:
            reasons: For each lesion, a line.
            run: The number of the run.

        Raises:
            UsageError: If a lesion was not asked for.
        """
        rows = {self._row(one): reason for one, reason in reasons.items()}
        if not rows:
            return
        with self._connection.transaction() as raw:
            for row, reason in rows.items():
                failures.keep_failure(raw, row, run, reason)
                claims.drop_claim(raw, row)
        self._claimed.difference_update(rows)

    def _row(self, lesion: Lesion) -> int:
        if lesion not in self._rows:
            raise UsageError(
                f"{lesion.kind} {lesion.text}".rstrip() + " was not asked of the store; ask for it "
                "first"
            )
        return self._rows[lesion]
