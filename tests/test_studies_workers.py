"""Workers that share a folder: what they publish is whole, counted once, and survives them."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lesion_values import any_lesions
from study_tables import assert_same_tables
from untrained import save_untrained

import ensembles
from ensembles.analyses.path_options import PathOptions
from ensembles.errors import OutputError, UsageError
from ensembles.lesions import Choice, Delete
from ensembles.store import Merged, Store
from ensembles.studies import (
    Data,
    Measurement,
    Network,
    Study,
    Sweep,
    run,
    run_unit,
    status,
    take_in,
    written_unit,
)
from ensembles.studies.workers.holds import Holds, Pulse
from ensembles.studies.workers.intake import Intake
from ensembles.studies.workers.parts import Part, of_part, sizes_of
from ensembles.studies.workers.roll import workers_said
from ensembles.studies.workers.shared_files import put_once
from ensembles.studies.workers.work_folder import PartName, Task, WorkFolder, work_folder
from ensembles.studies.workers.worker import Worker

LOST = re.compile(r"was lost \(signal 9\); resnet20 on digits: .* is measured again")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the weights of an untrained network."""
    return save_untrained(tmp_path_factory.mktemp("study") / "a.pt").parent


@pytest.fixture
def study(place: Path, opened_once: None) -> Study:
    """A network with a few lesions and an analysis."""
    return Study(
        name="small work",
        models=(Network("resnet20", "a.pt"),),
        data=(Data("digits", limit=4),),
        lesions=(Sweep(Choice(blocks=(1, 2, 3))), Sweep(Choice(counts=4, trials=2))),
        analyses=(Measurement("paths", PathOptions(signs=0, images=2)),),
        folder=place,
    )


@pytest.fixture
def folder(tmp_path: Path) -> WorkFolder:
    """An empty work folder."""
    found = WorkFolder(tmp_path / "work")
    found.prepare()
    return found


def wishes(study: Study, **other: object) -> dict[str, object]:
    """What a driver writes."""
    return {
        "study": study.described(), "folder": str(study.folder), "device": "cpu",
        "batch_size": None, "check": False, "minutes": 5.0, "lease": 2.0,
        "tasks": [Task.key_of(unit.digest) for unit in study.units()], **other,
    }  # fmt: skip


def filled(folder: WorkFolder, study: Study, **other: object) -> None:
    """Put a study into a folder as a driver does."""
    for order, unit in enumerate(study.units()):
        key = Task.key_of(unit.digest)
        folder.put_task(Task(key, order, "one", unit.title, written_unit(unit)))
    folder.put_run("r", wishes(study, **other))


# Files


def test_of_many_writers_one_puts_a_file(tmp_path: Path) -> None:
    wrote: list[int] = []
    start = threading.Barrier(8)

    def put(number: int) -> None:
        start.wait()
        if put_once(tmp_path / "x", str(number).encode()):
            wrote.append(number)

    threads = [threading.Thread(target=put, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wrote) == 1 and (tmp_path / "x").read_bytes() == str(wrote[0]).encode()
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("make", [lambda p: p.write_text("x"), lambda p: p.symlink_to("/proc")])
def test_a_folder_that_takes_no_files_is_told(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "work")
    with pytest.raises(OutputError, match=r"^work folder .*: cannot be written \(.*; free space"):
        WorkFolder(tmp_path / "work").prepare()


# Parts


@given(st.integers(0, 300), st.floats(0, 1e4), st.floats(0.01, 100))
def test_sizes_add_up(lesions: int, seconds: float, minutes: float) -> None:
    sizes = sizes_of(lesions, seconds, minutes)
    assert sum(sizes) == lesions and len(sizes) >= 1
    if lesions:
        assert min(sizes) >= 1 and max(sizes) - min(sizes) <= 1
        assert max(sizes) == 1 or (max(sizes) - 1) * seconds <= 60 * minutes


@pytest.mark.parametrize(
    ("lesions", "least", "parts"), [(100, 1, 1), (100, 4, 4), (100, 60, 6), (15, 4, 1), (0, 4, 1)]
)
def test_few_units_have_parts_for_all_workers(lesions: int, least: int, parts: int) -> None:
    assert len(sizes_of(lesions, 0.01, 5, least)) == parts


@given(st.lists(any_lesions(12), max_size=12, unique_by=str), st.integers(1, 5))
def test_parts_hold_every_lesion_once(lesions: list, of: int) -> None:
    lesions = [one for one in lesions if _runs(one)]
    parts = [of_part(lesions, 12, Part(number, of)) for number in range(1, of + 1)]
    together = [str(one) for part in parts for one in part]
    assert sorted(together) == sorted(map(str, lesions))
    sizes = [len(lesions) * k // of - len(lesions) * (k - 1) // of for k in range(1, of + 1)]
    assert [len(part) for part in parts] == sizes


def _runs(lesion: object) -> bool:
    try:
        lesion.program(12)  # type: ignore[attr-defined]
    except ensembles.errors.LesionError:
        return False
    return True


def test_lesions_that_begin_alike_come_into_one_part() -> None:
    late = [Delete((block,)) for block in (9, 10, 11, 12)]
    early = [Delete((1, block)) for block in (9, 10, 11, 12)]
    mixed = [one for pair in zip(late, early, strict=True) for one in pair]
    parts = [of_part(mixed, 12, Part(number, 2)) for number in (1, 2)]
    assert {frozenset(part) for part in parts} == {frozenset(late), frozenset(early)}


# Who holds what


def test_a_hold_is_taken_over_from_a_worker_whose_beats_stop(folder: WorkFolder) -> None:
    now = [1000.0]
    mine = Holds(folder, "mine", Pulse(folder, 10, lambda: now[0]))
    theirs = Holds(folder, "theirs", Pulse(folder, 10, lambda: now[0]))
    folder.beat("theirs", {"beat": 1, "state": "measures"})
    held = theirs.take("p")
    assert held is not None and mine.take("p") is None
    now[0] += 9
    assert mine.take("p") is None
    folder.beat("theirs", {"beat": 2, "state": "measures"})
    now[0] += 9
    assert mine.take("p") is None  # it counted on meanwhile
    now[0] += 11
    taken = mine.take("p")
    assert taken is not None and (taken.worker, taken.attempt) == ("mine", 2)
    theirs.release(held)  # which is no longer its own
    assert mine.all() == {"p": taken}
    mine.release(taken)
    assert mine.all() == {}


def test_a_worker_that_was_lost_holds_nothing(folder: WorkFolder) -> None:
    pulse = Pulse(folder, 1e9)
    folder.beat("a", {"beat": 5, "state": "measures"})
    assert Holds(folder, "a", pulse).take("p") is not None
    assert Holds(folder, "b", pulse).take("p") is None
    folder.beat("a", {"beat": -1, "state": "lost"})
    assert Holds(folder, "b", pulse).take("p") is not None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"worker": 1}', "\x00\xff"])
def test_a_damaged_hold_is_taken_over_in_the_end(folder: WorkFolder, content: str) -> None:
    (folder / "holds" / "p").write_text(content)
    now = [0.0]
    holds = Holds(folder, "a", Pulse(folder, 10, lambda: now[0]))
    assert holds.take("p") is None
    now[0] += 11
    assert holds.take("p") is not None


# A worker


def test_one_worker_measures_what_one_process_does(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ensembles.studies.workers.part_runner._SMALL", 0)
    run(study, tmp_path / "here.db", check=False)
    store = tmp_path / "there.db"
    folder = work_folder(study, store)
    folder.prepare()
    filled(folder, study, minutes=1e-9)  # as many parts as lesions
    Worker(folder, "r", "w").work()
    assert max(map(len, folder.splits().values())) == 4
    for _ in range(2):  # taken twice, there once
        take_in(study, store)
        assert_same_tables(study, tmp_path / "here.db", store)
    assert (status(study, store)["state"] == "done").all()
    assert list(folder.results(whole=False)) == [] and folder.failures() == {}
    assert {hold.worker for hold in Holds(folder, "x", Pulse(folder, 1)).all().values()} == {"w"}
    (whole, line, last) = workers_said(folder)
    assert whole == "3 of 3 units done; 8 of 8 lesions"
    assert line.startswith("worker w on ") and line.endswith(": ended, 8 lesions measured")
    assert last == f"logs in {folder / 'logs'}"
    assert not any(store.parent.glob("*.part"))


def test_a_unit_that_cannot_be_opened_fails_alone(study: Study, tmp_path: Path) -> None:
    lost = Study(
        "lost", (*study.models, Network("resnet20", "none.pt", "lost")), study.data,
        study.lesions[:1], folder=study.folder,
    )  # fmt: skip
    folder = work_folder(lost, tmp_path / "x.db")
    folder.prepare()
    filled(folder, lost)
    Worker(folder, "r", "w").work()
    lines: list[str] = []
    take_in(lost, tmp_path / "x.db", lines.append)
    found = status(lost, tmp_path / "x.db")
    assert list(found["state"]) == ["done", "failed"]
    assert "none.pt" in found["reason"][1]
    assert lines == [f"{lost.units()[1].title}: failed: {found['reason'][1]}"]


def test_a_part_that_costs_workers_fails_in_the_end(study: Study, folder: WorkFolder) -> None:
    filled(folder, study)
    [key, *_] = folder.tasks()
    folder.beat("gone", {"beat": 1, "state": "lost"})
    (folder / "holds" / f"{key}.opening").write_text('{"worker": "gone", "attempt": 3}')
    Worker(folder, "r", "w").work()
    [(part, reason)] = folder.failures().items()
    assert part.key == key and reason.startswith("3 workers were lost while they measured it")


def test_what_an_interrupted_worker_measured_is_not_measured_again(
    study: Study, folder: WorkFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ensembles.studies.workers import part_runner as module

    filled(folder, study)
    measured: list[int] = []

    def ends(unit: object, store: Path, **how: object) -> object:
        run_unit(unit, store, **{**how, "part": Part(1, 4)})  # some of it, then SIGTERM
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "run_unit", ends)
    with pytest.raises(KeyboardInterrupt):
        Worker(folder, "r", "a").work()
    [partial] = folder.results(whole=False)
    assert not folder.results(whole=True)

    def counts(unit: object, store: Path, **how: object) -> object:
        result = run_unit(unit, store, **how)
        measured.append(result.measured)
        return result

    monkeypatch.setattr(module, "run_unit", counts)
    Worker(folder, "r", "b").work()
    with Store(partial.path, mode="r") as store:
        [context] = store.contexts()
        before = len(store.states(context))
    assert before and measured[0] == 4 - before


# What is taken in


@pytest.fixture
def published(study: Study, folder: WorkFolder, tmp_path: Path) -> Callable[[], Intake]:
    """A folder with the result of one unit, and a main store that takes from it."""
    unit = study.units()[0]
    run_unit(unit, tmp_path / "w.db", study=study, check=False)
    part = PartName(Task.key_of(unit.digest), 1, 1)
    folder.put_split(part.key, (4,))
    folder.publish(part, tmp_path / "w.db", whole=True)
    lines: list[str] = []

    def intake() -> Intake:
        now = itertools.count(0, 10)
        found = Intake(
            study, Store(tmp_path / "main.db"), folder, lines.append, 60, lambda: next(now)
        )
        found.lines = lines  # type: ignore[attr-defined]
        return found

    return intake


def test_a_file_is_taken_once_and_by_every_store(published: Callable[[], Intake]) -> None:
    intake = published()
    assert [intake.take(), intake.take()] == [1, 0]
    assert published().take() == 0  # by another process
    assert intake.lines == []


@pytest.mark.parametrize("keep", [0, 0.5, 0.99])
def test_a_file_that_is_not_whole_is_waited_for_and_then_set_aside(
    published: Callable[[], Intake], folder: WorkFolder, keep: float
) -> None:
    intake = published()
    [result] = folder.results()
    whole = result.path.read_bytes()
    result.path.write_bytes(whole[: int(keep * len(whole))])
    assert [intake.take() for _ in range(3)] == [0, 0, 0] and intake.waits
    assert intake.settled == frozenset()
    result.path.write_bytes(whole)  # it was late
    assert intake.take() == 1 and intake.lines == [] and not intake.waits
    assert intake.settled == {result.part}
    other = published()
    other.store.keep_note(f"taken {result.path.name}", None)
    result.path.write_bytes(whole[:100])
    assert [other.take() for _ in range(9)] == [0] * 9 and other.set_aside == 1
    [line] = other.lines
    assert "is damaged and was set aside; its part is measured again" in line
    assert folder.results() == []


def test_a_difference_is_told(
    study: Study, published: Callable[[], Intake], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Store, "merge", lambda *_: Merged(added=1, known=0, different=3))
    intake = published()
    intake.take()
    assert intake.lines == [
        f"{study.units()[0].title}: 3 results differ from those that were there, which are kept: "
        "the machines round otherwise"
    ]


# The pool of one machine


def test_a_pool_measures_what_one_process_does_though_a_worker_is_killed(
    study: Study, tmp_path: Path
) -> None:
    lines, killed = list[str](), list[int]()
    run(study, tmp_path / "here.db", check=False)
    folder = work_folder(study, tmp_path / "pool.db")

    def kill() -> None:
        end = time.monotonic() + 60
        while not killed and time.monotonic() < end:
            for told in folder.workers().values():
                if told.get("state") in ("opens", "measures"):
                    os.kill(told["pid"], signal.SIGKILL)
                    killed.append(told["pid"])
                    break
            time.sleep(0.05)

    thread = threading.Thread(target=kill)
    thread.start()
    found = run(
        study, tmp_path / "pool.db", "local", device="cpu", check=False, workers=2, threads=1,
        tell=lines.append,
    )  # fmt: skip
    thread.join()
    assert (found["state"] == "done").all()
    assert_same_tables(study, tmp_path / "here.db", tmp_path / "pool.db")
    assert lines[0] == "study small work: 3 units, 0 of them complete"
    assert lines[1].startswith("2 workers on this machine, each with 1 thread; their logs are in")
    [lost] = [line for line in lines[2:] if line.startswith("worker")]
    assert killed and LOST.search(lost)
    measured = [line for line in lines[2:] if line != lost]
    assert sorted(line.split()[0] for line in measured) == ["1/3", "2/3", "3/3"]
    again: list[str] = []
    run(study, tmp_path / "pool.db", "local", workers=2, tell=again.append)
    assert again == ["study small work: 3 units, 3 of them complete"]


def test_what_a_pool_refuses(study: Study, tmp_path: Path) -> None:
    for options, message in [
        ({"workers": 0}, "workers 0; expected 1 to 10,000"),
        ({"minutes": 0.0}, "minutes 0.0; expected more than 0"),
        ({"lease": 0.5}, "lease 0.5; expected 1 second or more"),
        ({"threads": 0}, "threads 0; expected 1 to 1024"),
        ({"gpus": 999}, "gpus 999; this machine has "),
        ({"partition": "x"}, "executor 'local' has no option 'partition'"),
    ]:
        with pytest.raises(UsageError) as error:
            run(study, tmp_path / "x.db", "local", **options)
        assert str(error.value).startswith(message)


def test_workers_that_cannot_start_are_told(study: Study, tmp_path: Path) -> None:
    folder = tmp_path / "none"
    done = subprocess.run(
        [sys.executable, "-m", "ensembles.studies.workers.worker", str(folder), "r", "w"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == (
        f"worker w: work folder {folder}: no run r in it; start the study again\n"
    )
