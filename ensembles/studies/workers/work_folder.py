"""What lies in the folder that drivers and workers of a study share."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ensembles.files import atomic, refusals
from ensembles.studies.workers.shared_files import (
    names_in,
    put_json,
    put_once,
    read_json,
    writable,
)

if TYPE_CHECKING:
    from ensembles.store import Store
    from ensembles.studies.study import Study

__all__ = [
    "PartName", "Result", "Task", "WorkFolder", "file_digest", "parts_of", "work_folder",
]  # fmt: skip

_FOLDERS = (
    "runs", "jobs", "tasks", "splits", "holds", "results", "partial", "failures", "workers",
    "logs",
)  # fmt: skip
_PART = re.compile(r"([0-9a-f]{24})\.([0-9]{1,6})of([0-9]{1,6})")
_RESULT = re.compile(_PART.pattern + r"\.([0-9a-f]{16})\.db")
_KEY, _DIGITS = 24, 16


class PartName(NamedTuple):
    """A part of a task.

    Attributes:
        key: Of the task.
        number: From 1.
        of: How many parts the task has.
    """

    key: str
    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.key}.{self.number}of{self.of}"

    @classmethod
    def parsed(cls, text: str) -> PartName | None:
        """A part from its text; None where it is none."""
        found = _PART.fullmatch(text)
        return None if found is None else cls(found[1], int(found[2]), int(found[3]))


class Result(NamedTuple):
    """A store that a worker has published.

    Attributes:
        path: The file.
        part: What it holds, or some of it.
        digest: First digits of the sha256 of the file, in hexadecimal.
        whole: Whether it holds all of the part.
    """

    path: Path
    part: PartName
    digest: str
    whole: bool

    def fetch(self, place: Path) -> Path | None:
        """Copy the file to the disk of this machine, where SQLite may open it.

        Returns:
            The copy; None where it has not the bytes that its worker published.

        Raises:
            OutputError: If the place takes no files.
        """
        try:
            content = self.path.read_bytes()
        except OSError:
            return None
        if hashlib.sha256(content).hexdigest()[:_DIGITS] != self.digest:
            return None
        copy = place / "fetched.db"
        with refusals(str(copy)):
            copy.write_bytes(content)
        return copy


@dataclass(frozen=True)
class Task:
    """A unit to be measured.

    Attributes:
        key: First digits of the unit's digest.
        order: Its place in the study.
        group: Units of one group share a network and its data, which a worker opens once.
        title: The unit in a line.
        unit: As `ensembles.studies.written` writes it.
        known: Kind and text of lesions that the main store has already.
    """

    key: str
    order: int
    group: str
    title: str
    unit: Mapping[str, Any]
    known: tuple[tuple[str, str], ...] = ()

    @classmethod
    def key_of(cls, digest: str) -> str:
        """The key of a unit's task."""
        return digest[:_KEY]


class WorkFolder:
    """The folder.

    Every file in it appears whole, under its last name, and is never changed but for the beats of
    workers. What is measured stays in it until the folder is removed by hand.

    Args:
        root: Its path.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self._tasks: dict[str, Task] = {}
        self._splits: dict[str, tuple[int, ...]] = {}
        self._results: dict[str, Result] = {}

    def __truediv__(self, name: str) -> Path:
        return self.root / name

    def prepare(self) -> None:
        """Make it.

        Raises:
            OutputError: If it takes no files.
        """
        with writable(self.root):
            for name in _FOLDERS:
                (self.root / name).mkdir(parents=True, exist_ok=True)
            with atomic(self.root / "runs" / "trial", keep=False) as scratch:
                scratch.write_bytes(b" " * 4096)

    @property
    def exists(self) -> bool:
        """Whether anybody has worked through it."""
        return (self.root / "results").is_dir()

    # What there is to do

    def put_run(self, run: str, told: Mapping[str, Any]) -> None:
        """Write how a driver wants units measured."""
        with writable(self.root):
            put_json(self.root / "runs" / f"{run}.json", told)

    def run(self, run: str) -> dict[str, Any] | None:
        """How a driver wants units measured; None where it is not to be seen."""
        found = read_json(self.root / "runs" / f"{run}.json")
        return found if isinstance(found, dict) else None

    def put_jobs(self, run: str, jobs: Sequence[str]) -> None:
        """Write which jobs of a cluster work for a driver."""
        with writable(self.root):
            put_json(self.root / "jobs" / f"{run}.json", list(jobs))

    def jobs(self) -> list[str]:
        """The jobs of all drivers, the latest last."""
        found = []
        for name in names_in(self.root / "jobs"):
            told = read_json(self.root / "jobs" / name)
            found += [str(job) for job in told] if isinstance(told, list) else []
        return found

    def put_task(self, task: Task) -> None:
        """Write a task, in place of an older form of it."""
        with writable(self.root):
            put_json(
                self.root / "tasks" / f"{task.key}.json",
                {**vars(task), "known": [list(one) for one in task.known]},
            )

    def tasks(self) -> dict[str, Task]:
        """All tasks by key, in the order of the study."""
        for name in names_in(self.root / "tasks"):
            key = name.removesuffix(".json")
            if key not in self._tasks:
                told = read_json(self.root / "tasks" / name)
                if isinstance(told, dict):
                    known = tuple((kind, text) for kind, text in told["known"])
                    self._tasks[key] = Task(**{**told, "known": known})
        return dict(sorted(self._tasks.items(), key=lambda item: item[1].order))

    def put_split(self, key: str, sizes: Sequence[int]) -> tuple[int, ...]:
        """Say how many lesions each part of a task has; the first to say so is right."""
        content = f"[{', '.join(map(str, sizes))}]".encode()
        with writable(self.root):
            put_once(self.root / "splits" / f"{key}.json", content)
        found = self.split(key)
        return tuple(sizes) if found is None else found

    def split(self, key: str) -> tuple[int, ...] | None:
        """How many lesions each part of a task has; None where it was not opened yet."""
        if key not in self._splits:
            sizes = read_json(self.root / "splits" / f"{key}.json")
            if isinstance(sizes, list) and sizes:
                self._splits[key] = tuple(int(size) for size in sizes)
        return self._splits.get(key)

    def splits(self) -> dict[str, tuple[int, ...]]:
        """Of each task that was opened, how many lesions each part has."""
        for name in names_in(self.root / "splits"):
            self.split(name.removesuffix(".json"))
        return dict(self._splits)

    # What came of it

    def publish(self, part: PartName, store: Path, *, whole: bool) -> Path:
        """Copy a store, whose connection is closed, to where drivers take it from."""
        place = "results" if whole else "partial"
        target = self.root / place / f"{part}.{file_digest(store)}.db"
        with writable(self.root), atomic(target) as scratch:
            shutil.copyfile(store, scratch)
        return target

    def results(self, *, whole: bool | None = None) -> list[Result]:
        """The stores that were published, in the order of their names."""
        found = []
        for place in ("results", "partial"):
            if whole in (None, place == "results"):
                for name in names_in(self.root / place):
                    known = self._results.get(f"{place}/{name}") or self._result(place, name)
                    found += [known] if known else []
        return found

    def _result(self, place: str, name: str) -> Result | None:
        match = _RESULT.fullmatch(name)
        if match is None:
            return None
        part = PartName(match[1], int(match[2]), int(match[3]))
        result = Result(self.root / place / name, part, match[4], place == "results")
        return self._results.setdefault(f"{place}/{name}", result)

    def set_aside(self, result: Result) -> None:
        """Take a damaged file out of the way, so that its part is measured again."""
        result.path.rename(result.path.with_name(f".broken-{result.path.name}"))
        (self.root / "holds" / str(result.part)).unlink(missing_ok=True)

    def fail(self, part: PartName, reason: str, worker: str) -> None:
        """Say why a part cannot be measured."""
        with writable(self.root):
            told = {"reason": reason, "worker": worker}
            put_json(self.root / "failures" / f"{part}.json", told)

    def failures(self) -> dict[PartName, str]:
        """Why parts cannot be measured."""
        found = {}
        for name in names_in(self.root / "failures"):
            part = PartName.parsed(name.removesuffix(".json"))
            told = read_json(self.root / "failures" / name)
            if part is not None and isinstance(told, dict):
                found[part] = str(told.get("reason", ""))
        return found

    def forget_failures(self) -> None:
        """Let all that failed be tried again; what could not be opened may be split anew."""
        there = {result.part.key for result in self.results(whole=True)}
        with writable(self.root):
            for name in names_in(self.root / "failures"):
                part = PartName.parsed(name.removesuffix(".json"))
                if part is not None and part.key not in there:
                    (self.root / "splits" / f"{part.key}.json").unlink(missing_ok=True)
                    self._splits.pop(part.key, None)
                if part is not None:
                    for held in (str(part), f"{part.key}.opening"):
                        (self.root / "holds" / held).unlink(missing_ok=True)
                (self.root / "failures" / name).unlink(missing_ok=True)

    def open_anew(self, key: str) -> None:
        """Let a task be split and measured again, whose results do not hold all that is wanted."""
        with writable(self.root):
            for result in self.results(whole=True):
                if result.part.key == key:
                    result.path.unlink(missing_ok=True)
            for name in names_in(self.root / "holds"):
                if name.startswith(f"{key}."):
                    (self.root / "holds" / name).unlink(missing_ok=True)
            (self.root / "splits" / f"{key}.json").unlink(missing_ok=True)
        self._splits.pop(key, None)

    # Who is at work

    def beat(self, worker: str, told: Mapping[str, Any]) -> None:
        """Say what a worker does."""
        with writable(self.root):
            put_json(self.root / "workers" / f"{worker}.json", told)

    def workers(self) -> dict[str, dict[str, Any]]:
        """What each worker does, as it said last."""
        found = {}
        for name in names_in(self.root / "workers"):
            told = read_json(self.root / "workers" / name)
            if isinstance(told, dict):
                found[name.removesuffix(".json")] = told
        return found


def work_folder(study: Study, store: Store | str | Path, folder: str | None = None) -> WorkFolder:
    """The folder through which workers measure a study into a store.

    Args:
        study: The study.
        store: The store, or its path.
        folder: Another place than beside the store.
    """
    path = Path(store) if isinstance(store, (str, Path)) else store.path
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", study.name)[:40]
    own = f"{name}-{hashlib.sha256(study.name.encode()).hexdigest()[:8]}"
    return WorkFolder(Path(folder) / own if folder else path.with_suffix(".work") / own)


def parts_of(key: str, splits: Mapping[str, tuple[int, ...]]) -> list[PartName]:
    """The parts of a task that was opened."""
    of = len(splits[key])
    return [PartName(key, number, of) for number in range(1, of + 1)]


def file_digest(path: Path) -> str:
    """First digits of the sha256 of a file, in hexadecimal."""
    content = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(2**20):
            content.update(piece)
    return content.hexdigest()[:_DIGITS]
