"""Units whose results are kept as one table: every analysis but that of lesions."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, cast

from ensembles.analyses.kinds import ANALYSES, AnyAnalysis
from ensembles.studies.kept import Counts, Done, Found, How, Kept, Prepared
from ensembles.studies.records import Record
from ensembles.studies.values import Measurement

if TYPE_CHECKING:
    import pandas as pd

    from ensembles.checkpoints import Subject
    from ensembles.store import Store

__all__ = ["KeptTable"]


class KeptTable(Kept):
    """The table of an analysis."""

    by_lesion = False

    @property
    def measurement(self) -> Measurement:
        """The analysis with its options, the seed of the unit among them."""
        return cast("Measurement", self.unit.seeded)

    @property
    def analysis(self) -> AnyAnalysis:
        """The analysis."""
        return ANALYSES.get(self.measurement.name)

    @property
    def table(self) -> str:
        """See the base class."""
        return self.analysis.table(self.measurement.chosen)

    def prepare(self, subject: Subject, store: Store, how: How) -> Prepared:
        """See the base class."""
        from ensembles.analyses.base import Run  # noqa: PLC0415
        from ensembles.analyses.needed import digests  # noqa: PLC0415 (imports torch)
        from ensembles.store.description import describe  # noqa: PLC0415 (imports torch)
        from ensembles.tasks import task_of  # noqa: PLC0415 (imports torch)

        chosen = self.measurement.chosen
        self.analysis.check(subject.net, chosen)
        task = task_of(subject.net, self.measurement.task, subject.data)
        run = Run(task, **self._materials(subject, how))
        needed = digests(self.analysis, subject.net, subject.data, chosen, run)
        context, _ = describe(
            subject.net,
            subject.data,
            task=task,
            precision=self.analysis.precision(subject.net, chosen, self._precision),
            engine=self.analysis.engine(chosen),
            materials=needed["usual"] or needed["materials"],
        )
        known = store.analysis(context, self.measurement.name, chosen.determining)
        digest = context.key.digest
        return Prepared(Record(digest), () if known is not None else ((digest, self.unit.digest),))

    @property
    def _precision(self) -> str | None:
        """What is asked for; None where the analysis chooses by the network."""
        chooses = getattr(self.measurement.chosen, "precision", None) == "auto"
        return None if chooses else self.unit.precision

    def measure(self, subject: Subject, store: Store, how: How) -> Done:
        """See the base class."""
        from ensembles.analyses.analyze import analyze  # noqa: PLC0415 (imports torch)

        options = {
            name: one for name, one in vars(self.measurement.chosen).items() if name != "precision"
        }
        frame = analyze(
            subject.net,
            subject.data,
            self.measurement.name,
            store=store,
            task=self.measurement.task,
            **self._materials(subject, how),
            **{**self._where(how), "precision": self._precision},
            **self._told(subject, how),
            **options,
        )
        return Done(int(not frame.attrs["store"]["known"]), f"{len(frame)} rows")

    def counts(self, record: Record, found: Found) -> Counts:
        """See the base class."""
        return Counts(1, int(self.frame(record, found) is not None))

    def group(self, record: Record) -> Hashable:
        """A table by itself."""
        return self.unit.digest

    def frame(self, record: Record, found: Found) -> pd.DataFrame | None:
        """See the base class."""
        context = found.contexts.get(record.context)
        if context is None:
            return None
        chosen = self.measurement.chosen
        return found.store.analysis(context, self.measurement.name, chosen.determining)

    def labels(self, frame: pd.DataFrame) -> dict[str, Any]:
        """See the base class."""
        told = self.analysis.told(frame, self.measurement.chosen)
        if "precision" in told:
            return told
        done = frame.attrs.get("provenance", {}) if self._precision is None else {}
        return {**told, "precision": done.get("precision", self.unit.precision)}
