"""Units whose results are kept lesion by lesion."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from ensembles.lesions import Lesion, parse_lesion, read_plan
from ensembles.studies.kept import Counts, Done, Found, How, Kept, Prepared
from ensembles.studies.records import Record, Wanted
from ensembles.studies.values import Sweep
from ensembles.studies.workers.parts import of_part

if TYPE_CHECKING:
    import pandas as pd

    from ensembles.checkpoints import Subject
    from ensembles.store import Store

__all__ = ["KeptLesions"]


class KeptLesions(Kept):
    """The lesions of a sweep; those that several units share are kept once."""

    by_lesion = True
    table = "lesions"

    @property
    def sweep(self) -> Sweep:
        """The sweep, with the seed of the unit."""
        return cast("Sweep", self.unit.seeded)

    def prepare(self, subject: Subject, store: Store, how: How) -> Prepared:
        """See the base class."""
        from ensembles.analyses.lesion_sweep import LesionSweep, Surroundings  # noqa: PLC0415

        lesions = self._lesions(subject, how)
        sweep = LesionSweep.prepared(
            subject.net,
            subject.data,
            lesions,
            surroundings=Surroundings(**self._materials(subject, how)),
            engine="shared",
            **self._asked,
            **self._where(how),
        )
        sweep.check()
        context, _ = sweep.described({"model": self.unit.model.title})
        missing = store.missing(
            context,
            lesions,
            metrics=sweep.metrics,
            materials=sweep.digests,
            predictions=self.unit.predictions,
        )
        digest = context.key.digest
        record = Record.of_lesions(digest, lesions, sweep.digests)
        return Prepared(record, tuple((digest, one) for one in missing))

    def measure(self, subject: Subject, store: Store, how: How) -> Done:
        """See the base class."""
        from ensembles.analyses.members.lesion import lesion  # noqa: PLC0415 (imports torch)

        frame = lesion(
            subject.net,
            subject.data,
            self._due(subject, how),
            store=store,
            **self._asked,
            **self._materials(subject, how),
            **self._where(how),
            **self._told(subject, how),
        )
        measured, failed = frame.attrs["store"]["measured"], frame.attrs.get("failed", [])
        lost = f", {len(failed)} failed ({failed[0]['reason']})" if failed else ""
        return Done(measured, f"{len(frame)} lesions, {measured} of them measured now{lost}")

    def counts(self, record: Record, found: Found) -> Counts:
        """See the base class."""
        names = [(one.kind, one.text, one.material) for one in record.lesions]
        done, reasons = self._complete(record, found), _failures(record, found)
        lost = [name for name in names if name in reasons]
        return Counts(
            len(names),
            sum(name in done for name in names),
            len(lost),
            reasons[lost[0]] if lost else "",
        )

    def known(self, record: Record, found: Found) -> tuple[tuple[str, str], ...]:
        """See the base class."""
        return tuple((kind, text) for kind, text, _ in sorted(self._complete(record, found)))

    def group(self, record: Record) -> Hashable:
        """One table for all lesions of a network on data under the same metrics."""
        return record.context, self.sweep.metrics

    def own(self, record: Record) -> Record:
        """The record with the seed of the unit wherever it names none."""
        seed = self.unit.seed
        lesions = (
            one if one.trial is None or one.seed is not None else one._replace(seed=seed)
            for one in record.lesions
        )
        return replace(record, lesions=tuple(lesions))

    def frame(self, record: Record, found: Found) -> pd.DataFrame | None:
        """See the base class."""
        context = found.contexts.get(record.context)
        if context is None:
            return None
        lesions = [(_lesion(one), one.material) for one in record.lesions]
        frame = found.store.frame(
            context,
            [one for one, _ in lesions],
            metrics=self.sweep.metrics,
            materials={one: material for one, material in lesions if material},
        )
        return None if frame.empty else frame

    def labels(self, frame: pd.DataFrame) -> dict[str, Any]:
        """See the base class."""
        return {"precision": self.unit.precision}

    @property
    def _asked(self) -> dict[str, Any]:
        return {
            "metrics": self.sweep.metrics,
            "task": self.sweep.task,
            "predictions": self.unit.predictions,
        }

    def _lesions(self, subject: Subject, how: How) -> list[Lesion]:
        plan, choice = how.study.place(self.sweep.plan), self.sweep.choice
        if plan is not None:
            choice = replace(choice, plan=tuple(read_plan(plan)))
        return subject.lesions(choice)

    def _due(self, subject: Subject, how: How) -> list[Lesion]:
        """The lesions that are to be measured here."""
        lesions = self._lesions(subject, how)
        if how.part is not None:
            lesions = of_part(lesions, len(subject.net), how.part)
        return [one for one in lesions if one.needs or (one.kind, one.text) not in how.known]

    def _complete(self, record: Record, found: Found) -> set[tuple[str, str, str]]:
        """Names of the lesions that are there under all metrics."""
        key = record.context, self.sweep.metrics, self.unit.predictions
        if key not in found.read:
            context = found.contexts.get(record.context)
            found.read[key] = set() if context is None else found.store.complete(
                context, metrics=self.sweep.metrics, predictions=self.unit.predictions
            )  # fmt: skip
        return cast("set[tuple[str, str, str]]", found.read[key])


def _failures(record: Record, found: Found) -> dict[tuple[str, str, str], str]:
    """Why lesions could not be measured, by name."""
    key = record.context, "failures"
    if key not in found.read:
        context = found.contexts.get(record.context)
        found.read[key] = {} if context is None else found.store.reasons(context)
    return cast("dict[tuple[str, str, str], str]", found.read[key])


def _lesion(wanted: Wanted) -> Lesion:
    draw = None if wanted.trial is None else (wanted.trial, wanted.seed or 0)
    return parse_lesion(wanted.kind, wanted.text, draw)
