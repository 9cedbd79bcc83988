"""Outcomes as rows of several tables: states, predictions, failures and claims."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from ensembles.errors import StoreError
from ensembles.metrics import Outcome
from ensembles.store.blobs import decode_labels, encode_predictions, encode_state
from ensembles.store.claims import drop_claim
from ensembles.store.failures import drop_failure
from ensembles.store.key import Context
from ensembles.store.predictions import has_predictions, keep_predictions
from ensembles.store.states import State, keep_state, states_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ensembles.lesions import Lesion

__all__ = ["Measured", "Verdict", "keep_measured", "measured", "outcome_of"]


class Measured(NamedTuple):
    """What was measured of one lesion, as rows.

    Attributes:
        states: What each metric kept.
        predictions: Number of a run, and the predicted classes, compressed; None where not kept.
    """

    states: Mapping[str, State]
    predictions: tuple[int, bytes] | None = None

    @property
    def size(self) -> int:
        """About how many bytes the rows take."""
        blobs = sum(len(state.content) for state in self.states.values())
        predicted = 0 if self.predictions is None else len(self.predictions[1])
        return 200 + 100 * len(self.states) + blobs + predicted


class Verdict(Enum):
    """What a store had of a lesion that was measured.

    Attributes:
        NEW: It lacked the lesion, or a metric that now came.
        KNOWN: The same counts.
        DIFFERENT: Other counts.
    """

    NEW = "new"
    KNOWN = "known"
    DIFFERENT = "different"


def measured(outcome: Outcome, context: Context, run: int) -> Measured:
    """An outcome as rows.

    Raises:
        StoreError: If there are not as many predictions as observations.
    """
    states = {
        name: State(run, outcome.total, outcome.nonfinite, encode_state(state))
        for name, state in outcome.states.items()
    }
    if outcome.predictions is None:
        return Measured(states)
    labels = decode_labels(context.labels)
    if len(outcome.predictions) != len(labels):
        raise StoreError(
            f"{len(outcome.predictions)} predictions of {outcome.lesion.kind} "
            f"{outcome.lesion.text}; the data have {len(labels)} observations"
        )
    content = encode_predictions(outcome.predictions, labels, context.classes)
    return Measured(states, (run, content))


def keep_measured(raw: sqlite3.Connection, lesion: int, found: Measured) -> Verdict:
    """Keep what a store lacks of a lesion, and lift its claim and its failure.

    What is there stays as it is, unless predictions come that are not there: with them come the
    counts of their run, so that both fit together.

    Args:
        raw: In a transaction.
        lesion: Number of the lesion.
        found: What was measured.
    """
    there = states_of(raw, lesion)
    replaced = None
    if found.predictions is not None and not has_predictions(raw, lesion):
        replaced, classes = found.predictions
        keep_predictions(raw, lesion, replaced, classes)
    for metric, state in found.states.items():
        if metric not in there or state.run == replaced:
            keep_state(raw, lesion, metric, state)
    drop_failure(raw, lesion)
    drop_claim(raw, lesion)
    common = found.states.keys() & there.keys()
    if any(found.states[metric].differs(there[metric]) for metric in common):
        return Verdict.DIFFERENT
    return Verdict.KNOWN if len(common) == len(found.states) else Verdict.NEW


def outcome_of(
    lesion: Lesion,
    states: Mapping[str, State],
    numbers: Mapping[str, NDArray[np.float64]],
    names: Iterable[str],
) -> Outcome:
    """Rows as the outcome of a lesion; of several runs the greatest number that was not finite.

    Args:
        lesion: The lesion.
        states: What metrics kept, by their names.
        numbers: The same, decoded.
        names: Which of them, as far as they are there, in which order.
    """
    chosen = [name for name in names if name in states]
    kept = numbers if len(chosen) == len(numbers) else {name: numbers[name] for name in chosen}
    of = [states[name] for name in chosen]
    return Outcome.of_kept(lesion, of[0].total, max([one.nonfinite for one in of]), kept)
