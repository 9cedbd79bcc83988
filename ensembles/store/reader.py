"""What a store tells: networks, outcomes, tables, summaries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ensembles.store import analyses, contexts, failures, notes, predictions, runs
from ensembles.store.connection import Connection
from ensembles.store.kept_metrics import USUAL, in_order, names_of
from ensembles.store.key import Context
from ensembles.store.lesions import Name, Names, lesions_of, matched
from ensembles.store.states import State, complete_in, states_by_lesion
from ensembles.store.summary import summarise

if TYPE_CHECKING:  # what is told about a store needs neither pandas nor numpy
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from ensembles.lesions import Lesion
    from ensembles.metrics import Metric, Outcome

__all__ = ["Reader"]


class Reader:
    """The questions that a store answers.

    Attributes:
        connection: To the store's file.
    """

    connection: Connection

    def contexts(self) -> list[Context]:
        """The networks and data that there are results of, in the order in which they came."""
        return list(contexts.all_contexts(self.connection).values())

    def outcomes(
        self,
        context: Context,
        lesions: Iterable[Lesion] | None = None,
        *,
        metrics: str | Metric | Iterable[str | Metric] | None = None,
        materials: Mapping[Lesion, str] | None = None,
    ) -> dict[Lesion, Outcome]:
        """What is known of lesions.

        Args:
            context: The network and the data.
            lesions: Which ones; by default all.
            metrics: Metrics, or their names; a lesion that lacks one of them is left out. By
                default all that there are of each lesion.
            materials: Digest of what lesions need beside the network; of one that is not in it,
                the result that came last, whatever it was measured with.

        Returns:
            The outcome of each lesion that was measured, by the lesion without its draw.
        """
        from ensembles.store.numbers import Observed  # noqa: PLC0415 (numpy)
        from ensembles.store.outcomes import outcome_of  # noqa: PLC0415 (numpy)

        names = None if metrics is None else names_of(metrics)
        number = contexts.number_of(self.connection, context)
        states = states_by_lesion(self.connection, number, names)
        wanted = 1 if names is None else len(names)
        there = {row for row, kept in states.items() if len(kept) >= wanted}
        rows = self._rows(number, lesions, materials, there)
        order = (
            in_order(name for kept in states.values() for name in kept) if names is None else names
        )
        chosen = {row: states[row] for row in rows.values()}
        numbers = self.connection.guarded(Observed(context).numbers, chosen)
        return {
            one.bare(): outcome_of(one.bare(), states[row], numbers[row], order)
            for one, row in rows.items()
        }

    def complete(
        self,
        context: Context,
        *,
        metrics: str | Metric | Iterable[str | Metric] = USUAL,
        predictions: bool = False,
    ) -> set[Name]:
        """Names of the lesions that are complete; no lesion is read for it.

        Args:
            context: The network and the data.
            metrics: Metrics, or their names; a lesion that lacks one of them is left out.
            predictions: Whether one whose predictions were not kept is left out too.

        Returns:
            Kind, text and material of each.
        """
        number = contexts.number_of(self.connection, context)
        done = complete_in(self.connection, number, names_of(metrics), predictions)
        return {name for name, row in lesions_of(self.connection, number).items() if row in done}

    def states(self, context: Context) -> dict[Name, dict[str, State]]:
        """What each metric kept of each lesion, as it is kept; no lesion is read for it.

        Args:
            context: The network and the data.
        """
        number = contexts.number_of(self.connection, context)
        states = states_by_lesion(self.connection, number)
        names = lesions_of(self.connection, number)
        return {name: states[row] for name, row in names.items() if row in states}

    def missing(
        self,
        context: Context,
        lesions: Iterable[Lesion],
        *,
        metrics: str | Metric | Iterable[str | Metric] = USUAL,
        materials: Mapping[Lesion, str] | None = None,
        predictions: bool = False,
    ) -> list[Lesion]:
        """Which of some lesions are not complete, each once and by itself.

        Args:
            context: The network and the data.
            lesions: The lesions.
            metrics: Metrics, or their names; all of them are wanted of every lesion.
            materials: As for `outcomes`.
            predictions: Whether the predicted class of each observation is wanted too.
        """
        names, number = names_of(metrics), contexts.number_of(self.connection, context)
        done = complete_in(self.connection, number, names, predictions)
        each = dict.fromkeys(lesions)
        there = self._rows(number, each, materials, done)
        return [one.bare() for one in each if one not in there]

    def failures(self, context: Context) -> dict[Lesion, str]:
        """The lesions that could not be measured, and why; the next run tries them again."""
        read = Names()
        found = (
            (read.lesion(name.kind, name.text), why) for name, why in self.reasons(context).items()
        )
        return {one: why for one, why in found if one is not None}

    def reasons(self, context: Context) -> dict[Name, str]:
        """Why lesions could not be measured, by their names; no lesion is read for it."""
        number = contexts.number_of(self.connection, context)
        return failures.failures_of(self.connection, number)

    def labels(self, context: Context) -> NDArray[np.int32]:
        """Class number of each observation, in order."""
        from ensembles.store.numbers import Observed  # noqa: PLC0415 (numpy)

        return self.connection.guarded(lambda: Observed(context).labels)

    def predictions(
        self,
        context: Context,
        lesions: Iterable[Lesion] | None = None,
        *,
        materials: Mapping[Lesion, str] | None = None,
    ) -> dict[Lesion, NDArray[np.int32]]:
        """The predicted class of each observation, where predictions were kept.

        Args:
            context: The network and the data.
            lesions: Which ones; by default all.
            materials: As for `outcomes`.

        Returns:
            By the lesion without its draw, class numbers (observations,); -1 where the output was
            not finite.
        """
        from ensembles.store.blobs import decode_predictions  # noqa: PLC0415 (numpy)

        number = contexts.number_of(self.connection, context)
        rows = predictions.predictions_of(self.connection, number)
        kept = {lesion: classes for lesion, _, classes in rows}
        labels, classes = self.labels(context), context.classes
        return {
            one.bare(): self.connection.guarded(decode_predictions, kept[row], labels, classes)
            for one, row in self._rows(number, lesions, materials, set(kept)).items()
        }

    def frame(
        self,
        context: Context,
        lesions: Iterable[Lesion] | None = None,
        *,
        metrics: str | Metric | Iterable[str | Metric] | None = None,
        materials: Mapping[Lesion, str] | None = None,
    ) -> pd.DataFrame:
        """The results of a network as a tidy table.

        Args:
            context: The network and the data.
            lesions: Which ones, in which order, each under its own trial and seed; by default all
                that were ever asked for, in a fixed order, and each as often as it was measured
                with other materials (distinguished by a column `material`).
            metrics: As for `outcomes`; by default `top1` and `loss`, and every other metric that
                gives numbers (not lists of them) and was measured of all these lesions.
            materials: As for `outcomes`.

        Returns:
            The table that `ensembles.lesion` returns, of the lesions that were measured.
        """
        from ensembles.store.frames import lesion_table  # noqa: PLC0415 (pandas)

        return lesion_table(self.connection, context, lesions, metrics, materials)

    def class_frame(
        self,
        context: Context,
        lesions: Iterable[Lesion] | None = None,
        *,
        materials: Mapping[Lesion, str] | None = None,
    ) -> pd.DataFrame:
        """The results of a network, class by class.

        Args:
            context: The network and the data.
            lesions: As for `frame`.
            materials: As for `outcomes`.

        Returns:
            One row for each lesion and class: `lesion`, `count`, `blocks`, `trial`, `seed`,
            `class`, `correct`, `total`.
        """
        from ensembles.store.frames import class_table  # noqa: PLC0415 (pandas)

        return class_table(self.connection, context, lesions, materials)

    def provenance(self, context: Context) -> list[dict[str, Any]]:
        """How the rows of a network were made: one entry for each run that added some."""
        return runs.runs_of(self.connection, contexts.number_of(self.connection, context))

    def summary(self) -> list[dict[str, Any]]:
        """How much there is of each network.

        Returns:
            One entry for each context: `digest`, `model`, `checkpoint`, `dataset`, `split`,
            `images`, `normalization`, `precision`, `engine`, `task`; names of the `metrics` that
            are there; how many lesions were asked for (`asked`), `measured`, `failed`, are being
            measured (`claimed`), gave outputs that are not finite (`nonfinite`), keep their
            `predictions`; and how many `analyses` there are.
        """
        return summarise(self.connection)

    def analysis(
        self, context: Context, name: str, options: Mapping[str, Any]
    ) -> pd.DataFrame | None:
        """The table of an analysis as it was kept, or None where it was not made.

        Args:
            context: The network and the data.
            name: Name of the analysis, such as `paths`.
            options: What else determines it.
        """
        found = self._analyses(context, name, options)
        return found[0] if found else None

    def analyses(self, context: Context, name: str | None = None) -> list[pd.DataFrame]:
        """All analyses of a network, as they were kept, in the order in which they came.

        Args:
            context: The network and the data.
            name: Name of the analysis; by default any. `attrs["analysis"]` tells it of each.
        """
        return self._analyses(context, name, None)

    def note(self, name: str) -> Any:
        """A JSON value that was kept under a name, or None."""
        return notes.read_note(self.connection, name)

    def notes(self) -> Iterator[tuple[str, Any]]:
        """All names and values that were kept."""
        return iter(notes.all_notes(self.connection))

    def _analyses(
        self, context: Context, name: str | None, options: Mapping[str, Any] | None
    ) -> list[pd.DataFrame]:
        from ensembles.store.analysis_frames import frame_of  # noqa: PLC0415 (pandas)

        number = contexts.number_of(self.connection, context)
        found = analyses.analyses_of(self.connection, number, name, options)
        return [self.connection.guarded(frame_of, one) for one in found]

    def _rows(
        self,
        context: int,
        lesions: Iterable[Lesion] | None,
        materials: Mapping[Lesion, str] | None,
        there: set[int],
    ) -> dict[Lesion, int]:
        """Numbers of lesions, of those that are there: of some lesions, or of all."""
        names = {
            name: row for name, row in lesions_of(self.connection, context).items() if row in there
        }
        if lesions is None:
            read = Names()
            each = dict.fromkeys((name.kind, name.text) for name in names)
            lesions = [one for name in each if (one := read.lesion(*name)) is not None]
        return matched(names, lesions, materials)
