"""What every executor does that has workers: tasks out, results in, one bar over all of it."""

from __future__ import annotations

import secrets
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

from ensembles.analyses.base import Options, option
from ensembles.errors import EvaluationError, UsageError
from ensembles.progress import Progress, bar
from ensembles.studies.executors import Executor, Setting, Tell
from ensembles.studies.kept import Found
from ensembles.studies.records import read_record
from ensembles.studies.units import kept
from ensembles.studies.workers.intake import Intake
from ensembles.studies.workers.work_folder import PartName, Task, WorkFolder, work_folder
from ensembles.studies.workers.worker import parts_of
from ensembles.studies.written import written_study, written_unit

if TYPE_CHECKING:
    from ensembles.store import Store
    from ensembles.studies.study import Unit

__all__ = ["Crew", "Driver", "WorkerOptions"]

_LOOK = 0.5  # seconds between two looks at the folder


@dataclass(frozen=True)
class WorkerOptions(Options):
    """What every executor with workers takes.

    Attributes:
        workers: How many.
        minutes: How long a part of a large unit is to take.
        lease: Seconds without a sign of life after which a worker counts as gone.
        folder: Where workers and driver meet.
    """

    workers: int | None = option("How many workers; by default one a GPU, or one a core.", None)
    minutes: float = option(
        "Minutes that a part of a large unit takes, and that are lost with a worker.", 5.0
    )
    lease: float = option("Seconds without a sign of life after which a worker is given up.", 60.0)
    folder: str | None = option(
        "Folder that driver and workers share; by default beside the store.", None
    )

    def check(self) -> None:
        """Refuse numbers that have no meaning.

        Raises:
            UsageError: Naming the option.
        """
        super().check()
        if self.workers is not None and not 1 <= self.workers <= 10_000:
            raise UsageError(f"workers {self.workers}; expected 1 to 10,000")
        if not self.minutes > 0:
            raise UsageError(f"minutes {self.minutes}; expected more than 0")
        if not self.lease >= 1:
            raise UsageError(f"lease {self.lease}; expected 1 second or more")


class Crew(Protocol):
    """The workers that a driver has started."""

    def tend(self, tell: Tell) -> bool:
        """See after them: whether any is, or will be, at work."""

    def stop(self) -> None:
        """Have them end, those that still work too."""


class Driver(Executor):
    """An executor whose workers meet in a folder; a member says how they are started."""

    options: type[Options] = WorkerOptions
    outlives: ClassVar[bool] = False
    """Whether its workers go on when the driver is interrupted."""

    @abstractmethod
    def crew(self, folder: WorkFolder, run: str, tasks: int, setting: Setting, tell: Tell) -> Crew:
        """Start workers.

        Args:
            folder: The shared folder.
            run: The name of this driver's wishes in it.
            tasks: How many units there are to measure.
            setting: How they are measured.
            tell: Takes a line on what was started.
        """

    def run(
        self,
        units: Sequence[Unit],
        store: Store,
        setting: Setting,
        progress: bool | Progress | None,
        tell: Tell,
    ) -> None:
        """See the base class.

        Raises:
            EvaluationError: If workers end, or cannot be started, with work left.
        """
        options = setting.options
        assert isinstance(options, WorkerOptions)
        folder = work_folder(setting.study, store, options.folder)
        folder.prepare()
        intake = Intake(setting.study, store, folder, tell)
        intake.forget_failures()
        intake.remember_place()
        intake.take()
        tasks = self._tasks(units, store, setting)
        for task in tasks.values():
            folder.put_task(task)
        tell(
            f"study {setting.study.name}: {len(units)} units, {len(units) - len(tasks)} of them "
            "complete"
        )
        if not tasks:
            return
        run = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
        folder.put_run(run, _wishes(setting, options, tasks))
        crew = self.crew(folder, run, len(tasks), setting, tell)
        try:
            with bar(f"study {setting.study.name}", " lesions", shown=progress) as report:
                self._follow(tasks, intake, crew, report)
        except KeyboardInterrupt:
            if self.outlives:
                tell("the workers go on; the same command takes in what they measure")
            else:
                crew.stop()
            raise
        except BaseException:
            crew.stop()
            raise
        else:
            crew.stop()
        finally:
            with suppress(Exception):
                intake.take()

    def _tasks(self, units: Sequence[Unit], store: Store, setting: Setting) -> dict[str, Task]:
        """A task for each unit that is not complete."""
        found, tasks = Found.of(store), {}
        for order, unit in enumerate(units):
            record, form = read_record(store, setting.study, unit), kept(unit)
            there = record is not None and bool(record.context)
            counted = form.counts(record, found) if record is not None and there else None
            if counted is None or counted.done < counted.total:
                key = Task.key_of(unit.digest)
                group = f"{unit.model} on {unit.data}"
                known = form.known(record, found) if record is not None and there else ()
                tasks[key] = Task(key, order, group, unit.title, written_unit(unit), known)
        return tasks

    @staticmethod
    def _follow(tasks: Mapping[str, Task], intake: Intake, crew: Crew, report: Progress) -> None:
        """Take in what workers publish until nothing is left."""
        folder, told = intake.folder, set[str]()
        while True:
            intake.take()
            failed = folder.failures()
            settled = {result.part for result in folder.results(whole=True)} | set(failed)
            splits = folder.splits()
            report(*_progress(folder, tasks, splits, settled))
            for key, task in tasks.items():
                if key not in told and key in splits and settled.issuperset(parts_of(key, splits)):
                    told.add(key)
                    if not any(part.key == key for part in failed):
                        intake.tell(f"{len(told)}/{len(tasks)} {task.title}: measured")
            if len(told) == len(tasks):
                return
            if not crew.tend(intake.tell):
                raise EvaluationError(
                    f"study {intake.study.name}: all workers have ended, and "
                    f"{len(tasks) - len(told)} of {len(tasks)} units are left; their logs are in "
                    f"{folder / 'logs'}; run the study again"
                )
            time.sleep(_LOOK)


def _wishes(
    setting: Setting, options: WorkerOptions, tasks: Mapping[str, Task]
) -> dict[str, object]:
    place = setting.study.folder
    return {
        "study": written_study(setting.study),
        "folder": None if place is None else str(place.resolve()),
        "device": setting.device,
        "batch_size": setting.batch_size,
        "check": setting.check,
        "minutes": options.minutes,
        "lease": options.lease,
        "tasks": list(tasks),
    }


def _progress(
    folder: WorkFolder,
    tasks: Mapping[str, Task],
    splits: Mapping[str, tuple[int, ...]],
    settled: set[PartName],
) -> tuple[int, int]:
    """Lesions that are done and lesions in all; what was not opened yet counts as the others do."""
    sizes = [sum(splits[key]) for key in tasks if key in splits]
    usual = sum(sizes) / len(sizes) if sizes else 1.0
    total = sum(sizes) + usual * (len(tasks) - len(sizes))
    done = sum(
        splits[part.key][part.number - 1]
        for part in settled
        if part.key in tasks and part.key in splits and part.of == len(splits[part.key])
    )
    running = sum(
        int(told.get("done") or 0)
        for told in folder.workers().values()
        if told.get("state") == "measures"
    )
    return min(done + running, round(total)), round(total)
