"""Workers that are killed at random moments, and disks that are full: nothing is lost.

    python benchmarks/worker_faults.py                   # 100 kills, and the disks
    python benchmarks/worker_faults.py --kills 4 --only kills

kills: two workers measure a study of small units, each is killed (SIGKILL) at a random moment of
its life and another one takes its place, until so many were killed. Half of the deaths are told to
the others at once, half only by the silence of the dead one. A study that is done before is begun
anew in another store; one of which parts cost three workers is run again, as its error says.

disks (as root, on Linux): the shared folder is full, or is remounted read-only in mid-study, or the
disk of the machine is full; afterwards there is room again, and the study is run once more.

Each time the exported tables must be those of one process, cell by cell, and no lesion may be there
twice. What was seen is told; the exit status is 1 where anything differs.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import torch
from machine import describe, parser
from pandas.testing import assert_frame_equal

import ensembles
from ensembles.errors import EnsemblesError
from ensembles.lesions import Choice
from ensembles.studies import EXECUTORS, Data, Network, Setting, Study, Sweep, run, tables
from ensembles.studies.workers import part_runner
from ensembles.studies.workers.driver import Driver, WorkerOptions
from ensembles.studies.workers.work_folder import WorkFolder, work_folder
from ensembles.studies.workers.worker import work

WORKERS = 2
LONGEST = 1.5  # seconds that a worker lives


@dataclass
class Killer:
    """Decides when a worker dies."""

    left: int
    chance: random.Random
    seen: Counter[str] = field(default_factory=Counter)

    def moment(self) -> float | None:
        """Seconds until a new worker is killed; None where it lives."""
        return self.chance.uniform(0, LONGEST) if self.left > 0 else None


@dataclass
class Forked:
    """Workers that are forks of this process, so that they begin at once."""

    folder: WorkFolder
    run: str
    killer: Killer
    started: int = 0
    alive: dict[int, tuple[str, float | None]] = field(default_factory=dict)

    def start(self) -> None:
        """Fork a worker, and decide when it dies."""
        self.started += 1
        name = f"{self.run}-{self.started}"
        process = os.fork()
        if not process:
            silence = os.open(os.devnull, os.O_WRONLY)  # an open log keeps a disk writable
            os.dup2(silence, 1)
            os.dup2(silence, 2)
            os._exit(work(self.folder.root, self.run, name))
        moment = self.killer.moment()
        self.alive[process] = name, None if moment is None else time.monotonic() + moment

    def tend(self, tell: Callable[[str], None]) -> bool:
        """Kill whose time has come, and put others in the place of the dead."""
        end = time.monotonic() + 0.3
        while time.monotonic() < end and self.alive:
            for process, (name, moment) in list(self.alive.items()):
                if moment is not None and time.monotonic() > moment and self.killer.left > 0:
                    os.kill(process, signal.SIGKILL)
                found, status = os.waitpid(process, os.WNOHANG)
                if found:
                    del self.alive[process]
                    if os.WIFSIGNALED(status):
                        self._lost(name)
            time.sleep(0.005)
        return bool(self.alive)

    def _lost(self, name: str) -> None:
        said = self.folder.workers().get(name, {})
        self.killer.left -= 1
        self.killer.seen[str(said.get("state", "starts"))] += 1
        if self.killer.chance.random() < 0.5:
            self.folder.beat(name, {**said, "state": "lost"})
        self.start()

    def stop(self) -> None:
        """End those that are left."""
        for process in self.alive:
            with suppress(OSError):
                os.kill(process, signal.SIGTERM)
                os.waitpid(process, 0)


class Forks(Driver):
    """An executor of forked workers, which a killer is after."""

    name, summary, options = "forks", "forks of this process", WorkerOptions

    def __init__(self) -> None:
        self.killer = Killer(0, random.Random(0))

    def crew(
        self, folder: WorkFolder, run: str, tasks: int, setting: Setting, tell: object
    ) -> Forked:
        """Fork the workers."""
        found = Forked(folder, run, self.killer)
        for _ in range(WORKERS):
            found.start()
        return found


def small(folder: Path, networks: int) -> Study:
    """A study of many small parts."""
    for number in range(networks):
        torch.manual_seed(number)
        torch.save(ensembles.create_model("resnet20").state_dict(), folder / f"{number}.pt")
    return Study(
        "faults", tuple(Network("resnet20", f"{one}.pt", f"net {one}") for one in range(networks)),
        (Data("digits", limit=2),),
        (Sweep(Choice(blocks=(1, 2, 3))), Sweep(Choice(counts=3, trials=6))), folder=folder,
    )  # fmt: skip


def differences(study: Study, store: Path, expected: Path) -> None:
    """Compare what was exported, cell by cell.

    Raises:
        AssertionError: If anything differs, or is there twice.
    """
    here, there = tables(study, expected), tables(study, store)
    assert list(here) == list(there)
    for name, table in here.items():
        table.attrs, there[name].attrs = {}, {}
        assert_frame_equal(table, there[name])
        assert not there[name].duplicated().any()


def again(study: Study, store: Path, told: list[str], **options: object) -> int:
    """Run a study until it is done; how many runs that took."""
    for runs in range(1, 30):
        with suppress(EnsemblesError):
            found = run(
                study, store, "forks", device="cpu", check=False, progress=False, minutes=1e-9,
                lease=1.0, tell=told.append, **options,
            )  # fmt: skip
            if (found["state"] == "done").all():
                return runs
    raise AssertionError(f"the study is not done after {runs} runs: {told[-3:]}")


def kills(place: Path, study: Study, expected: Path, number: int, seed: int) -> None:
    """Kill workers at random moments."""
    killer = Killer(number, random.Random(seed))
    EXECUTORS.get("forks").killer = killer  # type: ignore[attr-defined]
    studies = runs = files = 0
    told: list[str] = []
    while killer.left > 0:
        studies += 1
        store = place / f"killed-{studies}.db"
        runs += again(study, store, told)
        differences(study, store, expected)
        results = work_folder(study, store).results(whole=True)
        files += len(results) - len({result.part for result in results})
    failures = [line for line in told if ": failed: " in line]
    titles = tuple(f"{unit.title}: failed: " for unit in study.units())
    assert all(line.startswith(titles) for line in failures), failures
    seen = ", ".join(f"{count} while it {state}" for state, count in sorted(killer.seen.items()))
    print(f"{killer.seen.total()} workers killed ({seen})")
    print(
        f"{studies} studies of {len(study.units())} units in {runs} runs; {len(failures)} failures "
        f"told with the unit's name; {files} parts measured twice, each lesion there once"
    )
    print("exports equal to one process's")


@contextmanager
def mounted(place: Path, size: str) -> Iterator[Path]:
    """A disk in memory."""
    place.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "ensembles", str(place)], check=True
    )
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def disks(place: Path, study: Study, expected: Path) -> None:
    """Fill the shared folder, make it read-only, and fill the machine's own disk."""
    EXECUTORS.get("forks").killer = Killer(0, random.Random(0))  # type: ignore[attr-defined]
    told: list[str] = []

    def refused(store: Path, **options: object) -> str:
        try:
            run(
                study, store, "forks", device="cpu", check=False, progress=False, minutes=1e-9,
                lease=1.0, tell=told.append, **options,
            )  # fmt: skip
        except EnsemblesError as error:
            return str(error)
        raise AssertionError("it was to be refused")

    with mounted(place / "full", "600k") as disk:
        message = refused(place / "full.db", folder=str(disk))
        print(f"full shared folder: {message}")
        assert "No space left" in message and any(one.title in message for one in study.units())
        subprocess.run(["mount", "-o", "remount,size=100m", str(disk)], check=True)
        again(study, place / "full.db", told, folder=str(disk))
        differences(study, place / "full.db", expected)
    with mounted(place / "protected", "100m") as disk:

        def protect(line: str) -> None:
            told.append(line)
            command = ["mount", "-o", "remount,ro", str(disk)]
            while ": measured" in line:
                if not subprocess.run(command, check=False, capture_output=True).returncode:
                    return
                time.sleep(0.01)  # a worker is writing

        try:
            run(
                study, place / "ro.db", "forks", device="cpu", check=False, progress=False,
                minutes=1e-9, lease=1.0, tell=protect, folder=str(disk),
            )  # fmt: skip
        except EnsemblesError as error:
            print(f"read-only shared folder: {error}")
            assert "Read-only file system" in str(error)
        else:
            raise AssertionError("it was to be refused")
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        again(study, place / "ro.db", told, folder=str(disk))
        differences(study, place / "ro.db", expected)
    with mounted(place / "node", "8k") as disk:
        tempfile.tempdir = str(disk)
        message = refused(place / "node.db")
        tempfile.tempdir = None
        print(f"full disk of the machine: {message}")
        assert "No space left on device" in message or "the disk is full" in message
        again(study, place / "node.db", told)
        differences(study, place / "node.db", expected)
    print("exports equal to one process's after there was room again")


def main() -> int:
    """Run what was asked for."""
    options = parser(__doc__ or "")
    options.add_argument("--only", choices=("kills", "disks"))
    options.add_argument("--kills", type=int, default=100)
    options.add_argument("--networks", type=int, default=6)
    options.add_argument("--seed", type=int, default=0)
    chosen = options.parse_args()
    torch.set_num_threads(1)  # forks of a process with threads do not end well
    print(describe())
    EXECUTORS.register("forks", Forks())
    part_runner._SMALL = 0
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        study = small(place, chosen.networks)
        run(study, place / "expected.db", check=False, progress=False, device="cpu")
        if chosen.only in (None, "kills"):
            kills(place, study, place / "expected.db", chosen.kills, chosen.seed)
        if chosen.only in (None, "disks"):
            disks(place, study, place / "expected.db")
    return 0


if __name__ == "__main__":
    sys.exit(main())
