"""One unit of a study is measured, wherever that is."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ensembles.errors import EnsemblesError, OutputError
from ensembles.progress import Progress
from ensembles.store import Store
from ensembles.studies.kept import How, Kept
from ensembles.studies.kept_lesions import KeptLesions
from ensembles.studies.kept_table import KeptTable
from ensembles.studies.records import Record, opened, read_record, write_record
from ensembles.studies.study import Study, Unit
from ensembles.studies.values import Sweep
from ensembles.studies.workers.parts import Part

if TYPE_CHECKING:
    from ensembles.checkpoints import Subject

__all__ = ["Networks", "UnitMissing", "UnitResult", "kept", "prepare_unit", "run_unit"]

_OF_A_UNIT = (
    EnsemblesError, RuntimeError, MemoryError, ValueError, TypeError, LookupError, ArithmeticError,
    AttributeError, AssertionError, ImportError, OSError,
)  # fmt: skip
"""What fails one unit and says nothing against the next: whatever a network, data or a package of
another hand may raise, but for an interruption and a store that cannot be written."""


@dataclass(frozen=True)
class UnitMissing:
    """What a store lacks of a unit.

    Attributes:
        missing: A key for each lesion, or for the table, that is missing; units of one network
            share some of their lesions, and their keys.
        by_lesion: Whether these are lesions.
        failed: Why the unit could not be opened; "" where it could.
        said: What there is to say of its images and labels, in lines.
    """

    missing: tuple[Hashable, ...] = ()
    by_lesion: bool = False
    failed: str = ""
    said: tuple[str, ...] = ()


@dataclass(frozen=True)
class UnitResult:
    """What came of measuring a unit.

    Attributes:
        measured: How many lesions, or tables, were measured now; what was there was not.
        summary: In a few words.
        failed: Why the unit could not be measured; "" where it could.
    """

    measured: int
    summary: str
    failed: str = ""


class Networks:
    """The latest opened network: units of one network follow each other.

    A file that changes while it is kept is not noticed, so that one of these serves one run.
    """

    def __init__(self) -> None:
        self._key: Hashable = None
        self._found: Subject | EnsemblesError | None = None
        self._checked: set[Hashable] = set()

    def open(self, unit: Unit, study: Study, device: str) -> Subject:
        """The network of a unit, on its data.

        Raises:
            EnsemblesError: As ``open_subject`` raises it.
        """
        key = unit.model, unit.data, study.folder, device
        if key != self._key or self._found is None:
            self._key, self._found = key, None
            try:
                self._found = _opened(unit, study, device)
            except EnsemblesError as error:
                self._found = error
        if isinstance(self._found, EnsemblesError):
            raise self._found
        return self._found

    def check(self, unit: Unit, study: Study, device: str) -> None:
        """Hold classes and the error of the intact network against data and card, once.

        Raises:
            DataError: If the data have fewer classes, and nobody says which.
            CheckpointError: If it is another.
        """
        from ensembles.checkpoints import check_classes, check_error  # noqa: PLC0415 (torch)

        key = unit.model, unit.data, study.folder
        if key not in self._checked:
            subject = self.open(unit, study, device)
            check_classes(subject.card, subject.data)
            check_error(subject.net, subject.card, subject.data, device=device)
            self._checked.add(key)


def prepare_unit(
    unit: Unit,
    store: Store | str | Path,
    *,
    study: Study,
    device: str = "auto",
    networks: Networks | None = None,
) -> UnitMissing:
    """Find out what a unit consists of and how much of it is missing, and remember it.

    Args:
        unit: The unit.
        store: Where its results are kept, or its path.
        study: The study that it belongs to.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        networks: Keeps the latest opened network from unit to unit.

    Raises:
        StoreError: If the store cannot be read or written.
    """
    networks, how = networks or Networks(), How(study, device)
    with opened(store, "a") as db:
        form = kept(unit)
        try:
            subject = networks.open(unit, study, device)
            prepared = form.prepare(subject, db, how)
        except _OF_A_UNIT as error:
            return UnitMissing(by_lesion=form.by_lesion, failed=_noted(error, unit, study, db))
        write_record(db, study, unit, prepared.record)
        said = [subject.labels]
        if unit.data.name is not None and Path(study.place(unit.data.name) or "").exists():
            said.append(subject.images)
        lines = tuple(f"{unit.model.title} on {unit.data.title}: {one}" for one in said if one)
        return UnitMissing(prepared.missing, form.by_lesion, said=lines)


def run_unit(
    unit: Unit,
    store: Store | str | Path,
    *,
    study: Study,
    device: str = "auto",
    batch_size: int | None = None,
    check: bool = True,
    progress: bool | Progress | None = None,
    tell: Callable[[str], None] | None = None,
    networks: Networks | None = None,
    part: Part | None = None,
    known: Collection[tuple[str, str]] = (),
) -> UnitResult:
    """Measure what a store lacks of a unit.

    The network is opened here, and what is measured lies in the store when the call returns. It may
    be called again at any time, by any process: what is there is not measured again. A unit that
    cannot be measured is noted in the store, and the result says why.

    Args:
        unit: The unit.
        store: Where results are kept, or its path.
        study: The study that it belongs to.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        batch_size: Rows at a time; by default as many as suit the device.
        check: Whether the intact network's error is held against its card's first.
        progress: Whether to show a bar, by default only on a terminal; or a function to tell.
        tell: Takes a line on what came of it.
        networks: Keeps the latest opened network for the next unit; whoever measures several units
            passes the same one to each.
        part: Which part of the lesions is measured; by default all. Other analyses have one part.
        known: Kind and text of lesions that need not be measured, since another store has them.

    Raises:
        UsageError: If there is no such device.
        StoreError: If the store cannot be read or written.
    """
    from ensembles.engine import choose_device  # noqa: PLC0415 (imports torch)

    choose_device(device)
    networks = networks or Networks()
    how = How(study, device, batch_size, progress, part, frozenset(known))
    with opened(store, "a") as db:
        try:
            result = _measured(unit, db, how, networks, check=check)
        except _OF_A_UNIT as error:
            reason = _noted(error, unit, study, db)
            result = UnitResult(0, f"failed: {reason}", reason)
    if tell is not None:
        tell(f"{unit.title}: {result.summary}")
    return result


def kept(unit: Unit) -> Kept:
    """How the results of a unit are kept."""
    return KeptLesions(unit) if isinstance(unit.analysis, Sweep) else KeptTable(unit)


def _measured(unit: Unit, store: Store, how: How, networks: Networks, *, check: bool) -> UnitResult:
    subject = networks.open(unit, how.study, how.device)
    if check:
        networks.check(unit, how.study, how.device)
    prepared = kept(unit).prepare(subject, store, how)
    write_record(store, how.study, unit, prepared.record)
    done = kept(unit).measure(subject, store, how)
    return UnitResult(done.measured, done.summary)


def _opened(unit: Unit, study: Study, device: str) -> Subject:
    from ensembles.checkpoints import open_subject  # noqa: PLC0415 (imports torch)
    from ensembles.checkpoints.own_network import placed_model, refuse_in_study  # noqa: PLC0415

    model, data, place = unit.model, unit.data, study.place
    refuse_in_study(model.name)
    subject = open_subject(
        placed_model(model.name, place), place(model.checkpoint),
        dataset=place(data.name), split=data.split, limit=data.limit,
        normalize=data.normalize, image_size=data.image_size, resize=data.resize, crop=data.crop,
        interpolation=data.interpolation, crop_mode=data.crop_mode, colours=data.colours,
        test_size=data.test_size, window=data.window, stride=data.stride, front=data.front,
        column=data.column, masked=data.masked, mask_seed=data.mask_seed,
        classes=place(data.classes), labels=place(data.labels),
        device=device, block_names=model.block_names, block_kinds=model.block_kinds,
        nested=model.nested, weights=model.weights, match=model.match,
        reference=place(data.reference), initial=place(model.initial), check=False, force=False,
    )  # fmt: skip
    return replace(subject, data=subject.data.taken(data.rows)) if data.rows else subject


def _noted(error: BaseException, unit: Unit, study: Study, store: Store) -> str:
    """Note why a unit could not be measured; a store that cannot be written ends all."""
    if isinstance(error, OutputError):
        raise error
    reason = _reason(error)
    known = read_record(store, study, unit) or Record()
    write_record(store, study, unit, replace(known, failed=reason))
    return reason


def _reason(error: BaseException) -> str:
    """A failure in a line; PyTorch tells memory that ran out, and much else, as RuntimeError."""
    from ensembles.engine.memory import is_oom  # noqa: PLC0415 (imports torch)

    if isinstance(error, EnsemblesError):
        return str(error)
    if is_oom(error, surely=True):
        return "memory ran out; take fewer images, or another device"
    return f"{type(error).__name__}: {' '.join(str(error).split()) or 'no reason given'}"
