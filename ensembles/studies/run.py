"""A study is run: what its store lacks is measured, unit by unit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ensembles.errors import EnsemblesError, OutputError
from ensembles.progress import Progress, bar
from ensembles.store import Store
from ensembles.studies.registry import Record, keep_study, opened, read_record, write_record
from ensembles.studies.status import status
from ensembles.studies.values import Study, Sweep, Unit

if TYPE_CHECKING:
    from ensembles.checkpoints import Subject

__all__ = ["run"]

_OF_A_UNIT = (EnsemblesError, RuntimeError, MemoryError)
"""What fails one unit and says nothing against the next."""


def run(
    study: Study,
    store: Store | str | Path,
    *,
    device: str = "auto",
    batch_size: int | None = None,
    check: bool = True,
    progress: bool | Progress | None = None,
    tell: Callable[[str], None] | None = None,
) -> pd.DataFrame:
    """Measure what a store lacks of a study.

    First every network is opened once on its data, so that a wrong name or a missing file is told
    at the start and it is known how much there is to do. Then the units are measured in their
    order. What is measured is in the store for good: a run that was interrupted is continued by the
    same call, on this machine or, with the store, on another; several processes share the work.

    A unit that cannot be measured is told and left out, and the others go on.

    Args:
        study: What to measure.
        store: Where results are kept, or its path.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        batch_size: Images at a time; by default as many as suit the device.
        check: Whether each intact network's error is held against its card's before it is used.
        progress: Whether to show a bar over all that is missing; by default only on a terminal. Or
            a function that is told instead.
        tell: Called with a line for each unit that was measured or failed.

    Returns:
        As `status`.

    Raises:
        UsageError: If there is no such device.
        StoreError: If the store cannot be read or written.
    """
    from ensembles.engine import choose_device  # noqa: PLC0415 (imports torch)

    choose_device(device)
    with opened(store, "a") as db:
        keep_study(db, study)
        work = _Work(study, db, device, batch_size, check, tell or (lambda _line: None))
        work.prepare()
        work.measure(progress)
        return status(study, db)


@dataclass
class _Work:
    """One process's share of a study."""

    study: Study
    store: Store
    device: str
    batch_size: int | None
    check: bool
    tell: Callable[[str], None]
    missing: dict[Unit, int] = field(default_factory=dict)
    _open: tuple[Any, Subject | EnsemblesError] | None = None
    _checked: set[Any] = field(default_factory=set)
    _counted: set[Any] = field(default_factory=set)

    def prepare(self) -> None:
        """Find out of every unit what it consists of and how much of it is missing."""
        units = self.study.units()
        for unit in units:
            with _Failing(self, unit):
                self.missing[unit] = self._prepared(unit)
        lesions = sum(n for unit, n in self.missing.items() if isinstance(unit.task, Sweep))
        analyses = sum(self.missing.values()) - lesions
        self.tell(
            f"study {self.study.name}: {len(units)} units, "
            f"{sum(not n for n in self.missing.values())} of them complete; {lesions} lesions and "
            f"{analyses} path analyses to measure"
        )

    def measure(self, progress: bool | Progress | None) -> None:
        """Measure what is missing."""
        wanted = {unit: number for unit, number in self.missing.items() if number}
        total, done = sum(wanted.values()), 0
        with bar(f"study {self.study.name}", " lesions", shown=progress) as report:
            report(0, total)
            for place, (unit, number) in enumerate(wanted.items(), start=1):

                def told(now: int, of: int, done: int = done, number: int = number) -> None:
                    report(done + (number * now // of if of else 0), total)

                with _Failing(self, unit):
                    self.tell(f"{place}/{len(wanted)} {unit.title}: {self._measured(unit, told)}")
                done += number
                report(done, total)

    def _prepared(self, unit: Unit) -> int:
        from ensembles.store.description import describe  # noqa: PLC0415 (imports torch)

        subject = self._subject(unit)
        engine = "shared" if isinstance(unit.task, Sweep) else unit.options.engine
        context, _ = describe(subject.net, subject.data, precision=unit.precision, engine=engine)
        if isinstance(unit.task, Sweep):
            lesions = subject.lesions(self._choice(unit))
            self._keep(unit, Record.of_lesions(context.key.digest, lesions))
            missing = self.store.missing(context, lesions, predictions=unit.predictions)
            new = {(context.key.digest, one) for one in missing} - self._counted
            self._counted |= new
            return len(new)
        self._keep(unit, Record(context.key.digest))
        return int(self.store.analysis(context, "paths", unit.options.determining) is None)

    def _measured(self, unit: Unit, report: Progress) -> str:
        """Measure a unit; what came of it in a few words."""
        subject = self._subject(unit)
        self._hold_against_card(unit, subject)
        common: dict[str, Any] = {
            "device": self.device,
            "model": unit.model.title,
            "store": self.store,
            "progress": report,
            "about": {"checkpoint": subject.card.name, "study": self.study.name},
        }
        if isinstance(unit.task, Sweep):
            return self._swept(unit, subject, common)
        return self._analysed(unit, subject, common)

    def _swept(self, unit: Unit, subject: Subject, common: dict[str, Any]) -> str:
        from ensembles.analyses.lesion import lesion  # noqa: PLC0415 (imports torch)

        lesions = subject.lesions(self._choice(unit))
        frame = lesion(
            subject.net, subject.data, lesions,
            batch_size=self.batch_size, precision=unit.precision, predictions=unit.predictions,
            **common,
        )  # fmt: skip
        found, failed = frame.attrs["store"], frame.attrs.get("failed", [])
        self._keep(unit, Record.of_lesions(found["context"], lesions))
        lost = f", {len(failed)} failed ({failed[0]['reason']})" if failed else ""
        return f"{len(frame)} lesions, {found['measured']} of them measured now{lost}"

    def _analysed(self, unit: Unit, subject: Subject, common: dict[str, Any]) -> str:
        from ensembles.analyses.paths import paths  # noqa: PLC0415 (imports torch)

        frame = paths(subject.net, subject.data, **vars(unit.options), **common)
        return f"{len(frame)} rows"

    def _hold_against_card(self, unit: Unit, subject: Subject) -> None:
        from ensembles.checkpoints import check_error  # noqa: PLC0415 (imports torch)

        if self.check and (unit.model, unit.data) not in self._checked:
            check_error(subject.net, subject.card, subject.data, device=self.device)
            self._checked.add((unit.model, unit.data))

    def _subject(self, unit: Unit) -> Subject:
        """The network and the images of a unit; the latest ones are kept open."""
        key = (unit.model, unit.data)
        if self._open is None or self._open[0] != key:
            self._open = None
            try:
                self._open = key, self._opened(unit)
            except EnsemblesError as error:
                self._open = key, error
        found = self._open[1]
        if isinstance(found, EnsemblesError):
            raise found
        return found

    def _opened(self, unit: Unit) -> Subject:
        from ensembles.checkpoints import open_subject  # noqa: PLC0415 (imports torch)

        model, data, place = unit.model, unit.data, self.study.place
        return open_subject(
            model.name, place(model.checkpoint),
            dataset=place(data.name), split=data.split, limit=data.limit,
            normalize=data.normalize, image_size=data.image_size, device=self.device,
            block_names=model.block_names, block_kinds=model.block_kinds, check=False,
        )  # fmt: skip

    def _choice(self, unit: Unit) -> Any:
        return replace(unit.choice, plan=self.study.place(unit.choice.plan))

    def _keep(self, unit: Unit, record: Record) -> None:
        write_record(self.store, self.study, unit, record)


class _Failing:
    """A unit that cannot be measured is noted and told; a store that cannot be written ends all."""

    def __init__(self, work: _Work, unit: Unit) -> None:
        self._work, self._unit = work, unit

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        """Note what went wrong."""
        if not isinstance(error, _OF_A_UNIT) or isinstance(error, OutputError):
            return False
        work, unit, reason = self._work, self._unit, _reason(error)
        known = read_record(work.store, work.study, unit) or Record()
        write_record(work.store, work.study, unit, replace(known, failed=reason))
        work.tell(f"{unit.title}: failed: {reason}")
        return True


def _reason(error: BaseException) -> str:
    """A failure in a line; PyTorch tells memory that ran out, and much else, as RuntimeError."""
    from ensembles.engine.devices import is_oom  # noqa: PLC0415 (imports torch)

    if isinstance(error, EnsemblesError):
        return str(error)
    if is_oom(error):
        return "memory ran out; take fewer images, or another device"
    return f"{type(error).__name__}: {' '.join(str(error).split()) or 'no reason given'}"
