"""What every executor does that has workers: tasks out, results in, one bar over all of it."""

from __future__ import annotations

import secrets
import time
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Protocol

from ensembles.analyses.base import Options, option
from ensembles.errors import EvaluationError, OutputError, UsageError
from ensembles.progress import Progress, bar
from ensembles.studies.executors import Executor, Setting, Tell
from ensembles.studies.kept import Found
from ensembles.studies.records import read_record
from ensembles.studies.units import kept
from ensembles.studies.workers.holds import Pulse
from ensembles.studies.workers.intake import Intake
from ensembles.studies.workers.tally import Tally, tally
from ensembles.studies.workers.work_folder import Task, WorkFolder, parts_of, work_folder
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

    workers: int | None = option(
        "How many workers; by default one a GPU, or one a core; on Slurm one a unit, 16 at most.",
        None,
    )
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

    def hands(self, tasks: int, setting: Setting) -> int:
        """How many workers there will be, as far as is known before they are started."""
        options = setting.options
        assert isinstance(options, WorkerOptions)
        return options.workers or min(tasks, 16)

    def rehearsed(self, setting: Setting) -> bool:
        """Whether it was only to be said what would be started, and was."""
        return False

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
        if self.rehearsed(setting):
            return
        options = setting.options
        assert isinstance(options, WorkerOptions)
        folder = work_folder(setting.study, store, options.folder)
        folder.prepare()
        intake = Intake(setting.study, store, folder, tell, options.lease)
        intake.forget_failures()
        intake.remember_place()
        intake.take()
        tasks = self._tasks(units, store, setting)
        intake.measure_again(tasks)
        for task in tasks.values():
            folder.put_task(task)
        tell(
            f"study {setting.study.name}: {len(units)} units, {len(units) - len(tasks)} of them "
            "complete"
        )
        if not tasks:
            return
        run = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
        hands = self.hands(len(tasks), setting)
        folder.put_run(run, {**_wishes(setting, options, tasks), "workers": hands})
        watch = _Watch(
            run, tasks, intake, options, lambda left: self.crew(folder, run, left, setting, tell)
        )
        try:
            with bar(watch.title, " lesions", shown=progress) as report:
                watch.until_done(report)
        except KeyboardInterrupt:
            if self.outlives:
                tell("the workers go on; the same command takes in what they measure")
            else:
                watch.stop()
            raise
        except BaseException:
            watch.stop()
            raise
        else:
            watch.stop()
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


@dataclass
class _Watch:
    """A driver's eye on its workers, until every unit is measured or has failed."""

    run: str
    tasks: Mapping[str, Task]
    intake: Intake
    options: WorkerOptions
    hire: Callable[[int], Crew]
    crew: Crew | None = None
    told: set[str] = field(default_factory=set)
    heard: dict[str, str] = field(default_factory=dict)
    tally: Tally | None = None

    def until_done(self, report: Progress) -> None:
        """Take in what workers publish until nothing is left."""
        self.crew = self.hire(len(self.tasks))
        others, aside = Pulse(self.intake.folder, self.options.lease), 0
        while self._look(report):
            if not self.crew.tend(self.intake.tell):
                self._listen()
                if self.intake.set_aside > aside:
                    aside = self.intake.set_aside
                    self.crew = self.hire(len(self.tasks) - len(self.told))
                elif not self.intake.waits and not self._others_work(others):
                    if self._look(report):
                        self._give_up()
                    return
            time.sleep(_LOOK)

    def title(self) -> str:
        """What the bar says before it."""
        name = f"study {self.intake.study.name}"
        if self.tally is None:
            return name
        failed = f", {self.tally.failed} failed" if self.tally.failed else ""
        return f"{name} {self.tally.done}/{self.tally.units} units{failed}"

    def stop(self) -> None:
        """End the workers."""
        if self.crew is not None:
            self.crew.stop()

    def _look(self, report: Progress) -> bool:
        """Take in what is new; whether anything is left."""
        self.intake.take()
        self._listen()
        folder, tasks = self.intake.folder, self.tasks
        failed, splits = folder.failures(), folder.splits()
        settled = self.intake.settled | set(failed)
        self.tally = tally(folder, tasks, settled)
        report(self.tally.lesions, self.tally.of)
        for key, task in tasks.items():
            if key in self.told or key not in splits:
                continue
            if settled.issuperset(parts_of(key, splits)):
                self.told.add(key)
                if not any(part.key == key for part in failed):
                    self.intake.tell(f"{len(self.told)}/{len(tasks)} {task.title}: measured")
        return len(self.told) < len(tasks)

    def _listen(self) -> None:
        """Tell why workers have ended."""
        for name, told in self.intake.folder.workers().items():
            line = f"worker {name} on {told.get('host', '?')}: {told.get('reason')}"
            if told.get("reason") and name.startswith(self.run) and self.heard.get(name) != line:
                self.heard[name] = line
                self.intake.tell(line)

    def _others_work(self, pulse: Pulse) -> bool:
        """Whether workers of another driver are alive, who may do what is left."""
        names = [
            name
            for name, told in self.intake.folder.workers().items()
            if not name.startswith(self.run) and told.get("state") not in ("ended", "lost")
        ]
        return len([name for name in names if pulse.gone(name)]) < len(names)

    def _give_up(self) -> None:
        left = [task.title for key, task in self.tasks.items() if key not in self.told]
        said = (
            f"study {self.intake.study.name}: all workers have ended, and {len(left)} of "
            f"{len(self.tasks)} units are left, the first of them {left[0]}"
        )
        if self.heard:
            raise EvaluationError(f"{said}; {list(self.heard.values())[-1]}")
        try:
            self.intake.folder.prepare()
        except OutputError as error:
            raise OutputError(f"{said}: {error}") from error
        logs = self.intake.folder / "logs"
        raise EvaluationError(f"{said}; their logs are in {logs}; run the study again")


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
