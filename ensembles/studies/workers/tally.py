"""How far a study is that many workers measure, from their folder alone."""

from __future__ import annotations

import secrets
from collections.abc import Collection
from contextlib import suppress
from typing import Any, NamedTuple

from ensembles.studies.workers.shared_files import names_in
from ensembles.studies.workers.work_folder import PartName, WorkFolder, parts_of

__all__ = ["Heard", "Tally", "heard", "tally"]

_SILENT = 120.0  # seconds without a sign of life after which a worker does not count
_ENDED = ("ended", "lost")


class Heard(NamedTuple):
    """What a worker said last.

    Attributes:
        told: What it said.
        age: Seconds since then, by the clock of the folder's disk alone.
    """

    told: dict[str, Any]
    age: float

    @property
    def alive(self) -> bool:
        """Whether it works, as far as is known."""
        return self.told.get("state") not in _ENDED and self.age <= _SILENT

    @property
    def busy(self) -> bool:
        """Whether it has something in hand."""
        return self.alive and self.told.get("state") in ("opens", "measures")

    @property
    def rate(self) -> float:
        """Lesions a second since it began; 0 where nothing is known yet."""
        done, seconds = (
            sum(float(self.told.get(name) or 0) for name in names)
            for names in (("measured", "done"), ("seconds",))
        )
        return done / seconds if self.alive and seconds > 0 else 0.0


class Tally(NamedTuple):
    """How far a study is.

    Attributes:
        units: How many units there are, and of those
        done: are measured,
        running: are in some worker's hand,
        failed: cannot be measured.
        lesions: How many lesions (or tables) are measured.
        of: How many there are; what was not opened yet counts as the others do. 0 where nothing
            was opened.
        rate: Lesions a second of all workers that are alive.
    """

    units: int
    done: int
    running: int
    failed: int
    lesions: int
    of: int
    rate: float

    @property
    def said(self) -> str:
        """The units in words."""
        waiting = self.units - self.done - self.running - self.failed
        counts = ((self.running, "running"), (self.failed, "failed"), (waiting, "waiting"))
        others = [f"{number} {what}" for number, what in counts if number > 0]
        return ", ".join([f"{self.done} of {self.units} units done", *others])

    @property
    def left(self) -> float | None:
        """Seconds until all is measured; None where that is not known."""
        if self.done + self.failed == self.units:
            return 0.0
        return (self.of - self.lesions) / self.rate if self.rate and self.of else None


def heard(folder: WorkFolder) -> dict[str, Heard]:
    """What each worker said last, and when."""
    now = _now(folder)
    found = {}
    for name, told in folder.workers().items():
        with suppress(OSError):
            said = (folder / "workers" / f"{name}.json").stat().st_mtime
            found[name] = Heard(told, max(0.0, (now or said) - said))
    return found


def tally(
    folder: WorkFolder,
    tasks: Collection[str],
    settled: Collection[PartName],
    said: Collection[Heard] | None = None,
) -> Tally:
    """Count what is done of some tasks.

    Args:
        folder: The shared folder.
        tasks: The keys of the tasks.
        settled: Parts that are measured or have failed.
        said: What workers said last; by default as the folder says.
    """
    splits, failed = folder.splits(), {part.key for part in folder.failures()}
    workers = heard(folder).values() if said is None else said
    wanted, parts = set(tasks), set(settled)
    opened = [key for key in tasks if key in splits]
    sizes = [sum(splits[key]) for key in opened]
    usual = sum(sizes) / max(1, len(sizes))
    whole = {key for key in opened if parts.issuperset(parts_of(key, splits))}
    lesions = sum(
        splits[part.key][part.number - 1]
        for part in parts
        if part.key in wanted and part.key in splits and part.of == len(splits[part.key])
    )
    busy = [one for one in workers if one.busy and one.told.get("key") in wanted]
    lesions += sum(
        int(one.told.get("done") or 0) for one in busy if one.told.get("state") == "measures"
    )
    of = round(sum(sizes) + usual * (len(wanted) - len(sizes))) if sizes else 0
    return Tally(
        units=len(wanted),
        done=len(whole - failed),
        running=len({one.told["key"] for one in busy} - (whole | failed)),
        failed=len(failed & wanted),
        lesions=min(lesions, of),
        of=of,
        rate=sum(one.rate for one in workers),
    )


def _now(folder: WorkFolder) -> float | None:
    """The time by the clock of the folder's disk, which is not that of this machine.

    Where the folder takes no files, the time at which any worker spoke last.
    """
    trial = folder / "workers" / f".now.{secrets.token_hex(4)}"
    try:
        trial.touch()
        return trial.stat().st_mtime
    except OSError:
        with suppress(OSError, ValueError):
            return max(
                (folder / "workers" / name).stat().st_mtime for name in names_in(folder / "workers")
            )
        return None
    finally:
        with suppress(OSError):
            trial.unlink(missing_ok=True)
