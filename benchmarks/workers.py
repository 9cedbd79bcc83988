"""What a folder of results carries, and what a pool of workers costs.

    python benchmarks/workers.py                 # all three
    python benchmarks/workers.py --only intake --files 2000
    python benchmarks/workers.py --only folder --names 100000
    python benchmarks/workers.py --only pool --minutes 5

intake: stores of ten lesions each are published into a work folder and taken into one main store;
what is told is files a second, the size of a file, and what it takes in the main store once it is
taken in.

folder: a work folder with so many results, tasks and splits that were taken in; what is told is the
first look of a driver and of a worker at it, and the next ones.

pool: a study is measured by two plain processes that share one store, and by the executor `local`
with two workers, in turns; what is told is the ratio of their times, and of the processor time of
all processes, for a machine that others use, too.
"""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from machine import describe, parser, spread

import ensembles
from ensembles.lesions import Choice, Delete
from ensembles.store import Store
from ensembles.studies import Data, Network, Study, Sweep, run, run_unit, tables
from ensembles.studies.workers.intake import Intake
from ensembles.studies.workers.work_folder import PartName, Task, work_folder

PLAIN = """
import sys, torch
from ensembles.studies import read_study, run
torch.set_num_threads(1)
run(read_study(sys.argv[1]), sys.argv[2], check=False, device="cpu", progress=False)
"""


def small(folder: Path) -> Study:
    """A study whose network costs nothing to speak of."""
    torch.manual_seed(0)
    torch.save(ensembles.create_model("resnet20").state_dict(), folder / "a.pt")
    lesions = tuple(Delete((block,)) for block in range(1, 10))
    return Study(
        "intake", (Network("resnet20", "a.pt"),), (Data("digits", limit=2),),
        (Sweep(Choice(plan=lesions)),), folder=folder,
    )  # fmt: skip


def intake(files: int) -> None:
    """Publish so many stores, and take them in."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        study = small(place)
        [unit] = study.units()
        run_unit(unit, place / "one.db", study=study, check=False, device="cpu")
        folder = work_folder(study, place / "main.db")
        folder.prepare()
        key, began = Task.key_of(unit.digest), time.perf_counter()
        for number in range(1, files + 1):
            copy = place / "copy.db"
            shutil.copyfile(place / "one.db", copy)
            with Store(copy) as store:
                store.keep_note("number", number)
            folder.publish(PartName(key, number, files), copy, whole=True)
        published = time.perf_counter() - began
        with Store(place / "main.db") as store:
            taker = Intake(study, store, folder, print)
            began = time.perf_counter()
            taken = taker.take()
            took = time.perf_counter() - began
            began = time.perf_counter()
            taker.take()
            again = time.perf_counter() - began
        assert taken == files
        stored = (place / "main.db").stat().st_size / files
        print(f"main store  {stored:.0f} bytes a file taken in, whose lesions it has already")
        size = sum(path.stat().st_size for path in folder.root.rglob("*.db"))
        print(f"published   {files / published:.0f} files a second")
        print(f"taken in    {files / took:.0f} files a second")
        print(f"a look at {files} files of which none is new   {1000 * again:.0f} ms")
        print(f"a file      {size / files / 1024:.0f} KB")


def folder(names: int) -> None:
    """Look at a folder of so many results, tasks and splits."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        shared = work_folder(small(place), place / "main.db")
        shared.prepare()
        for number in range(names):
            key = f"{number:024x}"
            (shared / "results" / f"{key}.1of1.{number:016x}.db").touch()
            (shared / "splits" / f"{key}.json").write_bytes(b"[10]")
        for turn in ("first look", "next look"):
            began = time.perf_counter()
            found = len(shared.results(whole=True))
            listed = time.perf_counter() - began
            splits = len(shared.splits())
            both = time.perf_counter() - began
            assert found == splits == names
            print(f"{turn} at {names} results {listed:.2f} s, and their splits {both:.2f} s")


def pool(minutes: float, rounds: int) -> None:
    """Two plain processes on one store against the executor, in turns."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        limit = min(359, max(8, round(179 * minutes)))
        trials = max(100, round(65 * minutes))
        text = f'[[models]]\nname = "resnet110"\n[[data]]\nname = "digits"\nlimit = {limit}\n'
        text += f"[[lesions]]\n[[lesions]]\ncount = 5\ntrials = {trials}\n"
        file = place / "study.toml"
        file.write_text(text, encoding="utf-8")
        study = ensembles.studies.read_study(file)
        times: dict[str, list[float]] = {"two processes": [], "local pool": []}
        processor: dict[str, list[float]] = {"two processes": [], "local pool": []}
        for turn in range(rounds):
            for what, taken in times.items():
                store = place / f"{turn}-{what.replace(' ', '-')}.db"
                began, used = time.perf_counter(), processor_seconds()
                if what == "local pool":
                    run(study, store, "local", device="cpu", check=False, progress=False,
                        workers=2, threads=1)  # fmt: skip
                else:
                    command = [sys.executable, "-c", PLAIN, str(file), str(store)]
                    both = [subprocess.Popen(command) for _ in range(2)]
                    assert all(process.wait() == 0 for process in both)
                taken.append(time.perf_counter() - began)
                processor[what].append(processor_seconds() - used)
                assert len(tables(study, store)["lesions"]) == 55 + trials
        for what, taken in times.items():
            print(f"{what:15}{spread(taken)}, of processors {spread(processor[what])}")
        for what, each in (("time", times), ("processor time", processor)):
            pool, plain = each["local pool"], each["two processes"]
            print(f"pool over processes, {what}   {', '.join(ratioed(pool, plain))}")


def processor_seconds() -> float:
    """What this process and those that it waited for have used of the processors."""
    used = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def ratioed(pool: list[float], plain: list[float]) -> list[str]:
    """The ratio of each round, with the difference in seconds."""
    return [f"{a / b:.3f} ({a - b:+.1f} s)" for a, b in zip(pool, plain, strict=True)]


def main() -> None:
    """Run what was asked for."""
    options = parser(__doc__ or "")
    options.add_argument("--only", choices=("intake", "folder", "pool"))
    options.add_argument("--names", type=int, default=100_000)
    options.add_argument("--files", type=int, default=1000)
    options.add_argument("--minutes", type=float, default=5.0, help="about, of the study")
    chosen = options.parse_args()
    print(describe())
    if chosen.only in (None, "intake"):
        intake(chosen.files)
    if chosen.only in (None, "folder"):
        folder(chosen.names)
    if chosen.only in (None, "pool"):
        pool(chosen.minutes, chosen.rounds)


if __name__ == "__main__":
    main()
