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
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ensembles.errors import EnsemblesError, OutputError, StoreError
from ensembles.store import Store
from ensembles.studies.workers.holds import Hold, Holds, Pulse
from ensembles.studies.workers.part_runner import PartRunner
from ensembles.studies.workers.scratch_folder import scratch_folder, sweep
from ensembles.studies.workers.work_folder import PartName, Task, WorkFolder, parts_of

__all__ = ["Worker", "work"]

_BEAT = 2.0  # seconds between two signs of life
_WAIT = 1.0  # seconds between two looks at what others do
_LATE = 120.0  # seconds after which a network disk shows what was written before
_BUSY = ("opens", "measures")
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
        found = self._seen_run()
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
            "parts": 0,
        }  # fmt: skip
        self._began = self._unseen_since = time.monotonic()
        self._beats = threading.Lock()
        self._group = ""
        self._at_work: tuple[PartName, Path] | None = None

    def _seen_run(self) -> dict[str, Any] | None:
        """What the driver wrote, which a network disk may show late."""
        end = time.monotonic() + (_LATE if self.folder.exists else 0)
        while (found := self.folder.run(self.run)) is None and time.monotonic() < end:
            time.sleep(_WAIT)
        return found

    def work(self) -> None:
        """Work until every part is measured or has failed.

        Raises:
            OutputError: If the folder or the disk of this machine cannot be written; it names the
                unit that was in hand, if any was.
            KeyboardInterrupt: If it is told to end; what it has measured is published first.
        """
        ended = threading.Event()
        thread = threading.Thread(target=self._keep_beating, args=(ended,), daemon=True)
        self._beat()
        thread.start()
        sweep()
        try:
            while (left := self._left()) is not None:
                if not any(self._try(task) for task in left):
                    self.told |= {"state": "waits", "task": "", "done": 0, "total": 0}
                    time.sleep(_WAIT)
        except EnsemblesError as error:
            self.told["reason"] = str(error)
            raise
        else:
            self.told["task"] = ""
        finally:
            ended.set()
            thread.join(_BEAT)
            self.told |= {"state": "ended", "done": 0, "total": 0}
            with suppress(OSError, OutputError):
                self._beat()

    # What is next

    def _left(self) -> list[Task] | None:
        """The tasks of which something is left to do, in the order in which to try them.

        First those of the network that is open, then those of networks that nobody has open, then
        the others. None where nothing is left; a disk may show tasks late, so that those which the
        driver named and which are not to be seen are waited for.
        """
        seen, splits, settled = self.folder.tasks(), self.folder.splits(), self._settled()
        tasks = [seen[key] for key in self.wishes["tasks"] if key in seen]
        if len(tasks) == len(self.wishes["tasks"]):
            self._unseen_since = time.monotonic()
        elif time.monotonic() - self._unseen_since > _LATE:
            raise OutputError(
                f"work folder {self.folder.root}: {len(self.wishes['tasks']) - len(tasks)} of its "
                f"tasks are not to be seen after {_LATE:.0f} s; start the study again"
            )
        left = [
            task
            for task in tasks
            if task.key not in splits or any(p not in settled for p in parts_of(task.key, splits))
        ]
        if not left:
            return None if len(tasks) == len(self.wishes["tasks"]) else []
        said = [one for one in self.folder.workers().values() if one.get("state") in _BUSY]
        busy = {seen[one["key"]].group for one in said if one.get("key") in seen}
        return sorted(left, key=lambda one: (one.group != self._group, one.group in busy))

    def _settled(self) -> set[PartName]:
        found = {result.part for result in self.folder.results(whole=True)}
        return found | set(self.folder.failures())

    def _try(self, task: Task) -> bool:
        """Do something of a task; whether there was something to do."""
        sizes = self.folder.split(task.key)
        if sizes is None:
            first = PartName(task.key, 1, 1)
            return self._holding(f"{task.key}.opening", task, first, lambda: self._open(task))
        settled = self._settled()
        for part in parts_of(task.key, {task.key: sizes}):
            size = sizes[part.number - 1]
            if part not in settled and self._holding(
                str(part), task, part, partial(self._measure, task, part, size)
            ):
                return True
        return False

    def _holding(self, name: str, task: Task, part: PartName, work: Callable[[], None]) -> bool:
        """Do something while holding it; False where another worker has it.

        The hold stays when it is done: a network disk may show others the result much later, and
        they would measure it again.
        """
        hold = self.holds.take(name)
        if hold is None:
            return False
        try:
            if part not in self._settled() and not self._lost(hold, part):
                work()
        except BaseException as error:
            self.holds.release(hold)
            if isinstance(error, OutputError):
                raise OutputError(f"{task.title}: {error}") from error
            raise
        return True

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
            self._patiently(lambda: self.folder.put_split(task.key, found))

    def _measure(self, task: Task, part: PartName, size: int) -> None:
        self._now(task, "measures", 0, size)
        self._group = task.group
        with scratch_folder() as place:
            path = place / "part.db"
            self._at_work = part, path
            self._go_on_from(part, path)
            try:
                result = self.runner.measure(
                    task, part, path,
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
            self._patiently(lambda: self.folder.publish(part, path, whole=True))
        self.told["measured"] += size
        self.told["parts"] += 1

    def publish_begun(self) -> None:
        """Publish what there is of the part in hand, for whoever takes it over."""
        if self._at_work is None:
            return
        part, path = self._at_work
        with suppress(OSError, EnsemblesError), scratch_folder() as place:
            copy = place / "begun.db"
            with Store(copy) as store:
                store.merge(path)
            self.folder.publish(part, copy, whole=False)

    def _go_on_from(self, part: PartName, path: Path) -> None:
        """Begin with what an interrupted worker has published of a part."""
        begun = [one for one in self.folder.results(whole=False) if one.part == part]
        with Store(path) as store:
            for result in begun:
                with scratch_folder() as place, suppress(StoreError):
                    fetched = result.fetch(place)
                    if fetched is not None:
                        store.merge(fetched)

    def _fail(self, part: PartName, reason: str) -> None:
        self._patiently(lambda: self.folder.put_split(part.key, (1,)))
        self._patiently(lambda: self.folder.fail(part, reason, self.name))

    def _patiently(self, write: Callable[[], object]) -> None:
        """Write into the folder; while it takes no files, wait for as long as a lease lasts."""
        end, wait = time.monotonic() + float(self.wishes["lease"]), 0.25
        while True:
            try:
                write()
            except OutputError as error:
                if time.monotonic() + wait > end:
                    raise
                self.told |= {"state": "waits", "reason": f"{self.told['task']}: {error}"}
                time.sleep(wait)
                wait = min(2 * wait, _BEAT)
            else:
                self.told.pop("reason", None)
                return

    # Signs of life

    def _now(self, task: Task, state: str, done: int, total: int) -> None:
        begins = self.told["state"] != state or self.told["task"] != task.title
        self.told |= {
            "state": state, "task": task.title, "key": task.key, "done": done, "total": total,
        }  # fmt: skip
        if begins:
            with suppress(OSError, OutputError):
                self._beat()

    def _beat(self) -> None:
        with self._beats:
            self.told |= {
                "beat": self.told["beat"] + 1, "seconds": round(time.monotonic() - self._began, 1)
            }  # fmt: skip
            self.folder.beat(self.name, dict(self.told))

    def _keep_beating(self, ended: threading.Event) -> None:
        pause = min(_BEAT, float(self.wishes["lease"]) / 5)
        while not ended.wait(pause):
            with suppress(OSError, OutputError):
                self._beat()
            if self.parent is not None and os.getppid() != self.parent:
                os.kill(os.getpid(), signal.SIGTERM)
                return


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
