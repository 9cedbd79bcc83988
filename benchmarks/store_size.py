"""Large stores and long sweeps: how fast they answer, and that memory stays flat.

    python benchmarks/store_size.py                                # 100,000 rows, 5,000 lesions
    python benchmarks/store_size.py --rows 10000 --lesions 500

*Rows*: a store of random deletions and reorderings of 54 blocks, made without a network. Timed,
each with the opening of the store and in a process of its own: the summary (what a status shows),
resuming (which of all lesions are missing), the outcomes as values, and export to CSV.
*Lesions*: a sweep of a small network into a store, in units; resident memory after a tenth of it
and at its end, which must be the same within 32 MB; then the intact network is measured once more
and must count the same.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from machine import describe, parser, seconds
from store_faults import subject

import ensembles
from ensembles.engine import evaluate
from ensembles.lesions import Lesion, intact, random_deletions, random_swaps
from ensembles.metrics import Outcome
from ensembles.store import Asked, Context, Key, Store, filler
from ensembles.store.blobs import encode_labels

BLOCKS = 54
GROWTH = 32
"""MB that memory may grow by between a tenth of a sweep and its end; one lesion's activations of a
unit, kept for each lesion, would be more than that."""


def wanted(rows: int) -> list[Lesion]:
    """The intact network, random deletions, and as many random reorderings."""
    trials = max(rows // 40, 1)
    counts = range(1, 21)
    deleted = random_deletions(BLOCKS, counts, trials)
    moved = random_swaps([range(1, BLOCKS + 1)], counts, trials)
    return [intact(), *deleted, *moved]


def context() -> Context:
    """A network that there is not."""
    blocks = tuple((f"layer.{i}", "residual") for i in range(1, BLOCKS + 1))
    key = Key("w", "a", blocks, "d", "test", 100, (3, 32, 32), "none", "fp32", "shared", 1)
    about = {"model": "none", "dataset": "none", "classes": None, "num_classes": 10,
             "transitions": [19, 37], "adapted": {}}  # fmt: skip
    return Context(key, about, encode_labels([i % 10 for i in range(100)]))


def make(path: Path, rows: int) -> None:
    """Fill a store without measuring anything."""
    with Store(path) as store:
        lesions = wanted(rows)
        outcomes = [
            Outcome(one, 100, 0, {name: np.array(state) for name, state in states(i).items()})
            for i, one in enumerate(lesions)
        ]
        asked = store.ask(context(), lesions)
        asked.add(outcomes, store.begin({"command": "benchmark"}))


def states(i: int) -> dict[str, list[float]]:
    """What metrics would have kept of the i-th lesion."""
    right = [(i + c) % 11 for c in range(10)]
    return {"top1": [sum(right)], "loss": [i / 7], "classes": [*right, *[10] * 10]}


def status(store: Store, rows: int) -> None:
    store.summary()


def resume(store: Store, rows: int) -> None:
    assert store.missing(context(), DRAWN) == store.ask(context(), DRAWN).missing == []


def known(store: Store, rows: int) -> None:
    assert len(store.outcomes(context())) > 0


def export(store: Store, rows: int) -> None:
    from ensembles.tables import write_frame

    frame = store.frame(context())
    write_frame(frame, store.path.with_suffix(".csv"))
    assert len(frame) >= rows - 40


DRAWN: list[Lesion] = []
"""What is to be resumed; drawn before the clock starts."""

STEPS: dict[str, Callable[[Store, int], None]] = {
    "status": status, "resume": resume, "known outcomes": known, "export to CSV": export,
}  # fmt: skip


def timed(path: Path, rows: int, step: str) -> None:
    """One step in this process: with the opening of the store, and without the imports."""
    DRAWN.extend(wanted(rows) if step == "resume" else ())

    def work() -> None:
        with Store(path, mode="a" if step == "resume" else "r") as store:
            STEPS[step](store, rows)

    before = time.process_time()
    took = seconds(work)
    print(f"{step}: {took:.2f} s, {time.process_time() - before:.2f} s of them computing")


def large(rows: int, folder: Path) -> None:
    path = folder / "large.db"
    took = seconds(lambda: make(path, rows))
    print(f"{rows} rows: made in {took:.1f} s, {path.stat().st_size / 1e6:.0f} MB")
    for step in STEPS:
        command = [sys.executable, __file__, "--rows", str(rows), "--step", step, str(path)]
        subprocess.run(command, check=True)


def resident() -> float:
    """Memory of this process now, in MB."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def long(lesions: int, folder: Path) -> None:
    net, data, _ = subject(blocks=20, width=4)
    sweep = [intact(), *random_deletions(20, range(2, 12), lesions // 10)]
    seen: list[tuple[int, float]] = []

    add = Asked.add

    def watched(asked: Asked, outcomes: Iterable[Outcome], run: int) -> int:
        outcomes = list(outcomes)
        added = add(asked, outcomes, run)
        seen.append((len(outcomes) + (seen[-1][0] if seen else 0), resident()))
        return added

    begun = time.perf_counter()
    with mock.patch.object(Asked, "add", watched), Store(folder / "long.db") as store:
        frame = ensembles.lesion(net, data, sweep, store=store, device="cpu", progress=False)
    took = time.perf_counter() - begun
    [again] = evaluate(net, data, [intact()], device="cpu")
    first = frame.iloc[0]
    assert (first["correct"], first["total"]) == (again.correct, again.total)
    assert first["loss"] == again.loss
    early = next(memory for done, memory in seen if done >= len(sweep) // 10)
    grown = seen[-1][1] - early
    assert grown < GROWTH, f"memory grew by {grown:.0f} MB from a tenth of the sweep to its end"
    print(
        f"{len(sweep) - 1} lesions in {len(seen)} units, {took:.0f} s: {early:.0f} MB resident "
        f"after a tenth, {seen[-1][1]:.0f} MB at the end; intact network {again.correct} of "
        f"{again.total} at the end as at the beginning"
    )


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--rows", type=int, default=100_000)
    options.add_argument("--lesions", type=int, default=5000)
    options.add_argument("--unit", type=int, default=128, help="lesions in a unit at most")
    options.add_argument("--step", nargs=2, metavar=("NAME", "STORE"), help="one step, in here")
    chosen = options.parse_args()
    torch.set_num_threads(1)
    if chosen.step:
        timed(Path(chosen.step[1]), chosen.rows, chosen.step[0])
        return
    print(describe())
    filler.Pace = lambda: pace(chosen.unit)  # type: ignore[assignment,misc]
    with tempfile.TemporaryDirectory() as folder:
        if chosen.rows:
            large(chosen.rows, Path(folder))
        if chosen.lesions:
            long(chosen.lesions, Path(folder))


_Pace = filler.Pace


def pace(most: int) -> filler.Pace:
    return _Pace(most=most)


if __name__ == "__main__":
    try:
        main()
    except AssertionError as error:
        sys.exit(f"failed: {error}")
