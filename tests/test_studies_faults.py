"""What may go wrong between a driver, its workers and their folder costs time and nothing else."""

from __future__ import annotations

import errno
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
from study_tables import assert_same_tables
from untrained import save_untrained

from ensembles.errors import EnsemblesError, OutputError
from ensembles.lesions import Choice
from ensembles.studies import (
    EXECUTORS,
    Data,
    Network,
    Setting,
    Study,
    Sweep,
    run,
    run_unit,
    status,
)
from ensembles.studies.workers import holds, scratch_folder, shared_files, work_folder
from ensembles.studies.workers.driver import Driver, WorkerOptions
from ensembles.studies.workers.part_runner import PartRunner
from ensembles.studies.workers.parts import Part
from ensembles.studies.workers.roll import workers_said
from ensembles.studies.workers.work_folder import PartName, Task, WorkFolder
from ensembles.studies.workers.worker import Worker

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
READ_ONLY = OSError(errno.EROFS, os.strerror(errno.EROFS))


@dataclass
class Threads:
    """The workers of the executor below."""

    threads: list[threading.Thread] = field(default_factory=list)

    def tend(self, tell: Callable[[str], None]) -> bool:
        return any(thread.is_alive() for thread in self.threads)

    def stop(self) -> None:
        for thread in self.threads:
            thread.join()


class InThreads(Driver):
    """Workers that are threads of this process, so that faults can be put in their way."""

    name, summary, options = "threads", "threads of this process", WorkerOptions

    def crew(
        self, folder: WorkFolder, run: str, tasks: int, setting: Setting, tell: object
    ) -> Threads:
        def work(name: str) -> None:
            with suppress(EnsemblesError):  # which it tells in the folder, as far as it can
                Worker(WorkFolder(folder.root), run, name).work()

        names = [f"{run}-{number}" for number in (1, 2)]
        found = [threading.Thread(target=work, args=(name,), name=name) for name in names]
        for thread in found:
            thread.start()
        return Threads(found)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch, opened_once: None) -> Iterator[None]:
    """An executor of threads, which do not sleep long; even small units are split."""
    EXECUTORS.register("threads", InThreads())
    for name, seconds in (("worker._WAIT", 0.05), ("worker._BEAT", 0.2), ("driver._LOOK", 0.05)):
        monkeypatch.setattr(f"ensembles.studies.workers.{name}", seconds)
    monkeypatch.setattr("ensembles.studies.workers.part_runner._SMALL", 0)
    yield
    EXECUTORS.forget("threads")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Two networks with a few lesions, and one whose weights are not there."""
    place = tmp_path_factory.mktemp("faults")
    for seed, name in enumerate(("a.pt", "b.pt")):
        save_untrained(place / name, seed)
    return Study(
        name="faults",
        models=tuple(Network("resnet20", f"{name}.pt", name) for name in ("a", "b", "none")),
        data=(Data("digits", limit=2),),
        lesions=(Sweep(Choice(blocks=(1, 2))),),
        folder=place,
    )


@pytest.fixture(scope="module")
def expected(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process measures."""
    store = tmp_path_factory.mktemp("plain") / "here.db"
    run(study, store, check=False)
    return store


Measure = Callable[..., list[str]]


@pytest.fixture
def measured(study: Study, expected: Path, tmp_path: Path) -> Measure:
    """Have threads measure the study, and compare with one process."""

    def measure(**options: object) -> list[str]:
        lines: list[str] = []
        store = tmp_path / "x.db"
        chosen = {"device": "cpu", "check": False, "minutes": 1e-9, "lease": 2.0, **options}
        run(study, store, "threads", tell=lines.append, **chosen)
        assert_same_tables(study, expected, store)
        found = status(study, store)
        assert list(found["state"]) == ["done", "done", "failed"]
        assert "none.pt" in found["reason"][2]
        missing = [line for line in lines if line.startswith(f"{study.units()[2].title}: failed:")]
        assert len(missing) == 1 and "none.pt" in missing[0]
        return lines

    return measure


def test_a_file_that_is_missing_fails_its_unit_alone(measured: Measure) -> None:
    lines = measured()
    assert len([line for line in lines if line.endswith(": measured")]) == 2


def test_a_store_that_was_lost_is_filled_again(
    study: Study, measured: Measure, tmp_path: Path
) -> None:
    """The folder holds only what the store lacked when workers measured."""
    store = tmp_path / "x.db"
    run_unit(study.units()[0], store, study=study, check=False, part=Part(1, 2))
    measured()
    for file in tmp_path.glob("x.db*"):
        file.unlink()
    measured()


def test_two_drivers_at_once(study: Study, measured: Measure, tmp_path: Path) -> None:
    other = threading.Thread(
        target=run, args=(study, tmp_path / "x.db", "threads"),
        kwargs={"device": "cpu", "check": False, "minutes": 1e-9},
    )  # fmt: skip
    other.start()
    measured()
    other.join()
    measured()  # what both have left


def test_a_folder_that_shows_files_late(measured: Measure, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a network disk whose attributes are cached: each sees at once what it wrote itself."""
    names, read, link, move = shared_files.names_in, shared_files.read_json, os.link, os.replace
    wrote: dict[str, tuple[int, float]] = {}
    tries: list[str] = []

    def write(how: Callable[..., None], old: object, new: object) -> None:
        wrote.setdefault(str(new), (threading.get_ident(), time.monotonic()))
        how(old, new)

    def is_late(path: Path) -> bool:
        by, at = wrote.get(str(path), (0, 0.0))
        return by not in (0, threading.get_ident()) and time.monotonic() - at < 0.5

    def late_names(folder: Path) -> list[str]:
        return [name for name in names(folder) if not is_late(folder / name)]

    def late_json(path: Path) -> object:
        return None if is_late(path) else read(path)

    def counted(self: PartRunner, task: Task, part: PartName, *more: object) -> object:
        tries.append(str(part))
        return measure(self, task, part, *more)

    measure = PartRunner.measure
    monkeypatch.setattr(PartRunner, "measure", counted)
    monkeypatch.setattr(os, "link", partial(write, link))
    monkeypatch.setattr(os, "replace", partial(write, move))
    for module in (work_folder, holds):
        monkeypatch.setattr(module, "names_in", late_names)
        monkeypatch.setattr(module, "read_json", late_json)
    measured()
    assert len(tries) == len(set(tries)) == 6  # nothing twice because it was seen late


def test_a_file_that_was_changed_is_measured_again(
    study: Study, measured: Measure, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish, cut = WorkFolder.publish, list[Path]()

    def damaged(self: WorkFolder, part: object, store: Path, *, whole: bool) -> Path:
        path = publish(self, part, store, whole=whole)
        if not cut:
            cut.append(path)
            content = path.read_bytes()
            path.write_bytes(content[:5000] + b"?" + content[5001:])
        return path

    monkeypatch.setattr(WorkFolder, "publish", damaged)
    lines = measured(lease=1.0)
    [line] = [line for line in lines if "is damaged" in line]
    assert line.startswith(tuple(unit.title for unit in study.units())) and str(cut[0]) in line


def test_a_folder_that_takes_no_files_for_a_while(
    measured: Measure, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, calls = work_folder.shutil.copyfile, list[object]()

    def refused(*arguments: object) -> object:
        calls.append(arguments)
        if len(calls) <= 2:
            raise FULL
        return copy(*arguments)

    monkeypatch.setattr(work_folder.shutil, "copyfile", refused)
    lines = [line for line in measured() if line.startswith("worker ")]
    assert len(calls) > 2 and all(f"cannot be written ({FULL.strerror})" in x for x in lines)


def test_a_folder_that_takes_no_files_any_more(
    study: Study, measured: Measure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers and driver end with a line that names a unit; the next run goes on."""
    from ensembles.studies.workers import shared_files as module

    def refused(*_: object, **__: object) -> object:
        raise READ_ONLY

    with monkeypatch.context() as patched:
        put = WorkFolder.put_run

        def put_run(self: WorkFolder, *arguments: object) -> None:
            put(self, *arguments)
            patched.setattr(work_folder, "atomic", refused)
            patched.setattr(module, "atomic", refused)
            patched.setattr(holds, "put_once", lambda *_: True)

        patched.setattr(WorkFolder, "put_run", put_run)
        with pytest.raises(OutputError) as error:
            measured(lease=1.0)
    first = study.units()[0].title
    assert f"3 of 3 units are left, the first of them {first}: work folder" in str(error.value)
    assert "cannot be written (Read-only file system)" in str(error.value)
    measured()


def test_a_machine_whose_disk_is_full(
    study: Study, measured: Measure, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = tempfile.mkdtemp

    def full(*arguments: object, **options: object) -> str:
        if threading.current_thread().name.endswith("-1"):
            raise FULL
        return make(*arguments, **options)

    monkeypatch.setattr(tempfile, "mkdtemp", full)
    lines = measured()
    [line] = [line for line in lines if line.startswith("worker ")]
    assert any(f": {unit.title}: disk of this machine, " in line for unit in study.units())
    assert "cannot be written (No space left on device); free space, or set TMPDIR" in line


def test_a_clock_that_is_off(
    study: Study, measured: Measure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one worker, and of the disk against the machine that asks for the status."""
    clock, publish = time.time, WorkFolder.publish

    def off() -> float:
        return clock() + 3600 * threading.current_thread().name.endswith("-1")

    def shifted(self: WorkFolder, *arguments: object, **options: object) -> Path:
        path = publish(self, *arguments, **options)
        os.utime(path, (off(), off()))
        return path

    monkeypatch.setattr(time, "time", off)
    monkeypatch.setattr(WorkFolder, "publish", shifted)
    measured()
    folder = work_folder.work_folder(study, tmp_path / "x.db")
    monkeypatch.setattr(time, "time", lambda: clock() + 3600)
    folder.beat("w", {"state": "measures", "host": "n1", "task": "t", "done": 1, "total": 2})
    [line] = [line for line in workers_said(folder) if line.startswith("worker w")]
    assert line == "worker w on n1: measures t (1 of 2), last heard 0 s ago"


def test_what_killed_processes_left_on_the_disk_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with scratch_folder.scratch_folder() as mine:
        dead = tmp_path / "ensembles-part-dead"
        dead.mkdir()
        (dead / "lock").touch()  # nobody holds it
        (tmp_path / "ensembles-part-new").mkdir()  # not held yet
        (tmp_path / "other").mkdir()
        assert scratch_folder.sweep() == 1
        assert {path.name for path in tmp_path.iterdir()} == {
            mine.name, "ensembles-part-new", "other",
        }  # fmt: skip
    assert not mine.exists()
