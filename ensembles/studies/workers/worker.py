"""One worker: holds a part of a unit, measures it, publishes it, and takes the next one.

    python -m ensembles.studies.workers.worker FOLDER RUN WORKER [--device D] [--parent PID]

Any executor starts it, on any machine that sees the folder.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ensembles.errors import EnsemblesError, OutputError
from ensembles.store import Store
from ensembles.studies.workers.holds import Hold, Holds, Pulse
from ensembles.studies.workers.part_runner import PartRunner
from ensembles.studies.workers.work_folder import PartName, Task, WorkFolder

__all__ = ["Worker", "work"]

_BEAT = 2.0  # seconds between two signs of life
_WAIT = 1.0  # seconds between two looks at what others do
_ATTEMPTS = 3  # workers that may be lost over a part before it counts as failed


@dataclass
class Worker:
    """A worker.

    Attributes:
        folder: The shared folder.
        run: Which driver's wishes it follows.
        name: Its own name, which no other worker has.
        device: Where it computes; by default as the driver says.
        parent: Process without which it ends.
        told: What it says of itself.
    """

    folder: WorkFolder
    run: str
    name: str
    device: str | None = None
    parent: int | None = None
    told: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        found = self.folder.run(self.run)
        if found is None:
            raise OutputError(
                f"work folder {self.folder.root}: no run {self.run} in it; start the study again"
            )
        self.wishes = found
        self.runner = PartRunner.of(found, self.device)
        self.device = self.runner.device
        self.holds = Holds(self.folder, self.name, Pulse(self.folder, float(found["lease"])))
        self.told |= {
            "beat": 0, "state": "starts", "host": platform.node(), "pid": os.getpid(),
            "device": self.device, "task": "", "done": 0, "total": 0, "measured": 0,
        }  # fmt: skip
        self._began = time.monotonic()
        self._beats = threading.Lock()
        self._group = ""
        self._at_work: tuple[PartName, Path] | None = None

    def work(self) -> None:
        """Work until every part is measured or has failed.

        Raises:
            OutputError: If the folder or the store of this worker cannot be written.
            KeyboardInterrupt: If it is told to end; what it has measured is published first.
        """
        ended = threading.Event()
        thread = threading.Thread(target=self._keep_beating, args=(ended,), daemon=True)
        self._beat()
        thread.start()
        try:
            while (left := self._left()) != []:
                if not any(self._try(task) for task in left):
                    self.told |= {"state": "waits", "task": "", "done": 0, "total": 0}
                    time.sleep(_WAIT)
        finally:
            ended.set()
            thread.join(_BEAT)
            self.told |= {"state": "ended", "task": "", "done": 0, "total": 0}
            with suppress(OSError, OutputError):
                self._beat()

    # What is next

    def _left(self) -> list[Task]:
        """The tasks of which something is left to do, in the order in which to try them.

        First those of the network that is open, then those of networks that nobody has open, then
        the others.
        """
        tasks, splits, settled = self.folder.tasks(), self.folder.splits(), self._settled()
        tasks = {key: task for key, task in tasks.items() if key in self.wishes["tasks"]}
        left = [
            task
            for task in tasks.values()
            if task.key not in splits or any(p not in settled for p in parts_of(task.key, splits))
        ]
        if not left:
            return []
        held = {name.partition(".")[0] for name in self.holds.all()}
        busy = {task.group for task in tasks.values() if task.key in held}
        return sorted(left, key=lambda one: (one.group != self._group, one.group in busy))

    def _settled(self) -> set[PartName]:
        found = {result.part for result in self.folder.results(whole=True)}
        return found | set(self.folder.failures())

    def _try(self, task: Task) -> bool:
        """Do something of a task; whether there was something to do."""
        sizes = self.folder.splits().get(task.key)
        if sizes is None:
            hold = self.holds.take(f"{task.key}.opening")
            if hold is None:
                return False
            try:
                if not self._lost(hold, PartName(task.key, 1, 1)):
                    self._open(task)
            finally:
                self.holds.release(hold)
            return True
        for part in parts_of(task.key, {task.key: sizes}):
            if part in self._settled():
                continue
            hold = self.holds.take(str(part))
            if hold is not None:
                try:
                    if part not in self._settled() and not self._lost(hold, part):
                        self._measure(task, part, sizes[part.number - 1])
                finally:
                    self.holds.release(hold)
                return True
        return False

    def _lost(self, hold: Hold, part: PartName) -> bool:
        """Whether a part has cost so many workers that it counts as failed."""
        if hold.attempt <= _ATTEMPTS:
            return False
        reason = (
            f"{_ATTEMPTS} workers were lost while they measured it; look at their logs in "
            f"{self.folder / 'logs'} (memory may have run out)"
        )
        self._fail(part, reason)
        return True

    # One task

    def _open(self, task: Task) -> None:
        """Open a network for the first time, and split the unit."""
        self._now(task, "opens", 0, 0)
        found = self.runner.open(task)
        if isinstance(found, str):
            self._fail(PartName(task.key, 1, 1), found)
        else:
            self.folder.put_split(task.key, found)

    def _measure(self, task: Task, part: PartName, size: int) -> None:
        self._now(task, "measures", 0, size)
        self._group = task.group
        with tempfile.TemporaryDirectory(prefix="ensembles-") as place:
            self._at_work = (part, Path(place) / "part.db")
            self._go_on_from(*self._at_work)
            try:
                result = self.runner.measure(
                    task, part, self._at_work[1],
                    lambda done, total: self._now(task, "measures", done, total),
                )  # fmt: skip
            except BaseException:
                self.publish_begun()
                raise
            finally:
                self._at_work = None
            if result.failed:
                self._fail(part, result.failed)
                return
            self.folder.publish(part, Path(place) / "part.db", whole=True)
        self.told["measured"] += result.measured

    def publish_begun(self) -> None:
        """Publish what there is of the part in hand, for whoever takes it over."""
        if self._at_work is None:
            return
        part, path = self._at_work
        with tempfile.TemporaryDirectory(prefix="ensembles-") as place:
            copy = Path(place) / "begun.db"
            with suppress(OSError, EnsemblesError):
                with Store(copy) as store:
                    store.merge(path)
                self.folder.publish(part, copy, whole=False)

    def _go_on_from(self, part: PartName, path: Path) -> None:
        """Begin with what an interrupted worker has published of a part."""
        with Store(path) as store:
            for result in self.folder.results(whole=False):
                if result.part == part and result.is_sound():
                    with suppress(EnsemblesError):
                        store.merge(result.path)

    def _fail(self, part: PartName, reason: str) -> None:
        self.folder.put_split(part.key, (1,))
        self.folder.fail(part, reason, self.name)

    # Signs of life

    def _now(self, task: Task, state: str, done: int, total: int) -> None:
        self.told |= {"state": state, "task": task.title, "done": done, "total": total}

    def _beat(self) -> None:
        with self._beats:
            self.told |= {
                "beat": self.told["beat"] + 1, "seconds": round(time.monotonic() - self._began, 1)
            }  # fmt: skip
            self.folder.beat(self.name, dict(self.told))

    def _keep_beating(self, ended: threading.Event) -> None:
        while not ended.wait(_BEAT):
            with suppress(OSError, OutputError):
                self._beat()
            if self.parent is not None and os.getppid() != self.parent:
                os.kill(os.getpid(), signal.SIGTERM)
                return


def parts_of(key: str, splits: dict[str, tuple[int, ...]]) -> list[PartName]:
    """The parts of a task that was opened."""
    of = len(splits[key])
    return [PartName(key, number, of) for number in range(1, of + 1)]


def work(
    folder: str | Path, run: str, name: str, device: str | None = None, parent: int | None = None
) -> int:
    """Work until nothing is left, as the process that this is.

    Returns:
        The exit status: 0 done, 1 the folder or a disk cannot be written, 130 interrupted.
    """

    def end(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    try:
        Worker(WorkFolder(folder), run, name, device, parent).work()
    except KeyboardInterrupt:
        return 130
    except EnsemblesError as error:
        print(f"worker {name}: {error}", file=sys.stderr)
        return 1
    return 0


def main() -> int:
    """Read the arguments and work."""
    reader = argparse.ArgumentParser(prog="worker", description="Measure parts of a study.")
    reader.add_argument("folder")
    reader.add_argument("run")
    reader.add_argument("name")
    reader.add_argument("--device")
    reader.add_argument("--parent", type=int)
    given = reader.parse_args()
    return work(given.folder, given.run, given.name, given.device, given.parent)


if __name__ == "__main__":
    sys.exit(main())
