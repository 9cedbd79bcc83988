"""Sweeps that are killed, and sweeps that share a store: nothing is lost, nothing is done twice.

    python benchmarks/store_faults.py                            # 500 kills, 200 starts
    python benchmarks/store_faults.py --kills 20 --starts 3
    python benchmarks/store_faults.py --kills 0 --starts 0 --storm 60   # a minute of worse

A small network, some 30 lesions, units of at most four. *Kills*: a process that sweeps into a store
is killed (SIGKILL) at a random moment, also while it makes the store, and started again until it
gets to the end; every lesion that it had said to be stored must be there afterwards, and the
finished table must equal that of a sweep that nobody disturbed. *Starts*: two processes, then
eight, are started at once on a store that is not there yet; together they must measure every lesion
once. *Storm*: of eight processes that fill one store with 15,000 lesions one is killed and replaced
eight times a second (of two cores that are theirs alone; where others use them too, seconds last
longer); the store must fill, and hold in the end what a sweep alone gives. All are forks of a
process that has imported everything.
"""

from __future__ import annotations

import gc
import os
import random
import resource
import select
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from unittest import mock

import pandas as pd
import torch
from machine import describe, parser
from torch import Tensor, nn

import ensembles
from ensembles.decomposition import Decomposition
from ensembles.lesions import Lesion, intact, random_deletions, single_deletions
from ensembles.metrics import Outcome
from ensembles.store import Asked, Store, filler

Subject = tuple[Decomposition, list[tuple[Tensor, Tensor]], list[Lesion]]


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.norm(self.conv(x)).relu()


def subject(blocks: int = 5, width: int = 4) -> Subject:
    """A network of random weights, images of noise, and lesions."""
    torch.manual_seed(0)
    body = [Block(width) for _ in range(blocks)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 5)]
    model = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), *body, *head).eval()
    images, labels = torch.randn(24, 3, 8, 8) * 3, torch.randint(0, 5, (24,))
    drawn = random_deletions(blocks, range(2, blocks), 15, seed=0)
    lesions = [intact(), *single_deletions(blocks), *drawn]
    return ensembles.decompose(model, images), [(images, labels)], lesions


def sweep(subject: Subject, path: Path, pipe: int) -> pd.DataFrame:
    """Sweep into a store, and say on a pipe which lesions are in it, as soon as they are."""
    net, data, lesions = subject
    add = Asked.add

    def telling(asked: Asked, outcomes: Iterable[Outcome], run: int) -> int:
        outcomes = list(outcomes)
        added = add(asked, outcomes, run)
        for outcome in outcomes:
            os.write(pipe, f"{outcome.lesion.kind}:{outcome.lesion.text}\n".encode())
        return added

    with mock.patch.object(Asked, "add", telling), Store(path) as store:
        return ensembles.lesion(
            net, data, lesions, store=store, device="cpu", engine="direct", progress=False
        )


def forked(work: Callable[[int], object]) -> tuple[int, int]:
    """Do work in a process of its own; returns its number and the end of a pipe from it."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child:
        os.close(theirs)
        return child, ours
    try:
        os.close(ours)
        work(theirs)
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
        os._exit(1)
    os._exit(0)


def said(pipe: int) -> list[str]:
    """All lines that came through a pipe."""
    with os.fdopen(pipe) as opened:
        return opened.read().split("\n")[:-1]


def table(path: Path) -> pd.DataFrame:
    with Store(path, mode="r") as store:
        [context] = store.contexts()
        return store.frame(context)


def held(path: Path) -> set[str]:
    """The lesions that a store holds."""
    if not path.exists():
        return set()
    with Store(path) as store:
        return {f"{x.kind}:{x.text}" for c in store.contexts() for x in store.outcomes(c)}


def kills(subject: Subject, folder: Path, number: int, seed: int) -> str:
    """Kill sweeps at random moments."""
    draw, done, stores, while_made, lost = random.Random(seed), 0, 0, 0, 0
    began = time.perf_counter()
    child, pipe = forked(lambda pipe: sweep(subject, folder / "whole.db", pipe))
    expected_lines = said(pipe)
    assert os.waitpid(child, 0)[1] == 0, "the undisturbed sweep failed"
    took = time.perf_counter() - began
    expected = table(folder / "whole.db")
    while done < number:
        path, told, ended = folder / f"{stores}.db", set[str](), False
        stores += 1
        while not ended:
            child, pipe = forked(lambda pipe, path=path: sweep(subject, path, pipe))
            early = draw.random() < 0.3
            moment = draw.uniform(0, 0.1 if early else 0.8) * took
            ended = done >= number or waited(child, moment)
            if not ended:
                while_made += not path.exists() or path.stat().st_size == 0
                os.kill(child, signal.SIGKILL)
                done += 1
            elif done >= number:
                wait_for(child)
            told.update(said(pipe))
            if draw.random() < 0.5:
                missing = told - held(path)
                lost += len(missing)
                assert not missing, f"{path}: lost {sorted(missing)}"
        assert told <= held(path), f"{path}: lost {sorted(told - held(path))}"
        pd.testing.assert_frame_equal(table(path), expected)
        left = sorted(x.name for x in folder.glob(f"{path.name}*"))
        assert left == [path.name], f"left behind: {left}"
    return (
        f"{done} kills over {stores} stores of {len(expected_lines)} lesions ({while_made} before "
        f"the file had a byte): {lost} stored lesions lost, every finished table equal to the "
        "undisturbed one"
    )


def waited(child: int, seconds: float) -> bool:
    """Whether a process ends in time; it must then have ended well."""
    number = os.pidfd_open(child)
    try:
        ended = bool(select.select([number], [], [], seconds)[0])
    finally:
        os.close(number)
    if ended:
        wait_for(child)
    return ended


def wait_for(child: int) -> None:
    _, status = os.waitpid(child, 0)
    assert status == 0, f"a sweep ended with {os.waitstatus_to_exitcode(status)}"


def starts(subject: Subject, folder: Path, processes: int, number: int) -> str:
    """Start several sweeps at once on a new store."""
    _, _, lesions = subject
    distinct = {f"{one.kind}:{one.text}" for one in lesions}
    expected = None
    shared = 0
    for turn in range(number):
        path = folder / f"{processes}-{turn}.db"
        at = time.time() + 0.02 * processes
        running = list(at_once(subject, path, processes, at))
        each = []
        for child, pipe in running:
            each.append(said(pipe))
            wait_for(child)
        lines = [line for some in each for line in some]
        assert sorted(lines) == sorted(distinct), f"{path}: {len(lines)} of {len(distinct)} points"
        found = table(path)
        expected = found if expected is None else expected
        pd.testing.assert_frame_equal(found, expected)
        shared += sum(bool(some) for some in each) > 1
        path.unlink()
    return (
        f"{processes} processes started at once, {number} times: each of {len(distinct)} points "
        f"measured once, in {shared} of them by more than one process, no error"
    )


def at_once(subject: Subject, path: Path, processes: int, at: float) -> Iterator[tuple[int, int]]:
    def work(pipe: int) -> None:
        time.sleep(max(0.0, at - time.time()))
        sweep(subject, path, pipe)

    for _ in range(processes):
        yield forked(work)


def storm(folder: Path, seconds: float, number: int, rate: float = 8.0, writers: int = 8) -> str:
    """Kill one of several writers again and again.

    The second is one of a machine whose two cores are the writers' own: their processor time
    counts, so that a machine that others use too kills as seldom as it lets them run.
    """
    net, data, _ = subject(blocks=20)
    lesions = [intact(), *random_deletions(20, range(2, 12), number // 10, seed=0)]
    subject_ = net, data, lesions
    path, draw, done, grown = folder / "storm.db", random.Random(0), 0, []
    nobody = os.open(os.devnull, os.O_WRONLY)

    usual = os.getpriority(os.PRIO_PROCESS, 0)

    def written() -> None:
        os.setpriority(os.PRIO_PROCESS, 0, usual)
        sweep(subject_, path, nobody)

    def writer() -> int:
        child, pipe = forked(lambda _: written())
        os.close(pipe)
        return child

    sweep((net, data, lesions[:20]), folder / "first.db", nobody)  # all that is imported late
    gc.freeze()  # so that a fork copies no pages of what is there already
    with suppress(OSError):  # only root may: else writers without end keep the killer waiting
        os.setpriority(os.PRIO_PROCESS, 0, usual - 10)
    running, dead = [writer() for _ in range(writers)], list[int]()
    began, spent = time.monotonic(), cpu_seconds([])
    while (past := (cpu_seconds([*running, *dead]) - spent) / CORES) < seconds:
        if done / rate > past:
            time.sleep(0.005)
            continue
        place = draw.randrange(writers)
        os.kill(running[place], signal.SIGKILL)
        dead.append(running[place])
        running[place] = writer()
        done += 1
        # The memory of the dead is given back meanwhile.
        dead = [child for child in dead if not os.waitpid(child, os.WNOHANG)[0]]
        if past > (len(grown) + 1) * seconds / 6:
            grown.append(counted(path))
    took = time.monotonic() - began
    os.setpriority(os.PRIO_PROCESS, 0, usual)
    for child in running:
        os.kill(child, signal.SIGKILL)
    for child in (*running, *dead):
        os.waitpid(child, 0)
    reached = len(held(path))
    assert reached, f"{writers} writers stored nothing in {seconds:.0f} s"
    sweep(subject_, path, nobody)
    sweep(subject_, folder / "calm.db", nobody)
    pd.testing.assert_frame_equal(table(path), table(folder / "calm.db"))
    return (
        f"{done} kills of {writers} writers in {past:.0f} s of {CORES} cores "
        f"({done / past:.1f} a second; {took:.0f} s by the clock of a machine that others use): "
        f"{reached} of {len(set(lesions))} lesions stored by then (on the way {grown}), the "
        "finished table equal to an undisturbed sweep's"
    )


CORES = 2


def cpu_seconds(running: list[int]) -> float:
    """Processor time of all processes that were waited for, and of some that run."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = used.ru_utime + used.ru_stime
    for child in running:
        with suppress(OSError):
            fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
            total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def counted(path: Path) -> int:
    """How many lesions have something stored, by a look that stops no kill for long."""
    if not path.exists():
        return 0
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=1)) as raw:
        try:
            return int(raw.execute("SELECT count(DISTINCT lesion) FROM states").fetchone()[0])
        except sqlite3.OperationalError:  # it is being made, or written to
            return 0


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--kills", type=int, default=500)
    options.add_argument("--starts", type=int, default=200)
    options.add_argument("--processes", type=int, nargs="*", default=[2, 8])
    options.add_argument("--storm", type=float, default=0, help="seconds of it")
    options.add_argument("--lesions", type=int, default=15_000, help="of the storm")
    options.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    options.add_argument("--folder", type=Path, help="where to make stores; by default /tmp")
    chosen = options.parse_args()
    torch.set_num_threads(1)
    print(describe())
    if chosen.storm:
        with tempfile.TemporaryDirectory(dir=chosen.folder) as name:
            print(storm(Path(name), chosen.storm, chosen.lesions), flush=True)
    filler.Pace = Small
    made = subject()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as name:
        if chosen.kills:
            print(kills(made, Path(name), chosen.kills, chosen.seed), flush=True)
        for processes in chosen.processes if chosen.starts else ():
            print(starts(made, Path(name), processes, chosen.starts), flush=True)


class Small(filler.Pace):
    """Units of at most four lesions."""

    def size(self) -> int:
        return 4


if __name__ == "__main__":
    try:
        main()
    except AssertionError as error:
        sys.exit(f"failed: {error}")
