"""How long a study of 100,000 lesions takes to look at, to resume and to export.

    python benchmarks/study_speed.py [--rows 100000]

The store is filled with made-up counts; each call runs in a process of its own, and its start and
imports are counted.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from machine import describe, parser

from ensembles.lesions import intact, random_deletions
from ensembles.metrics import Outcome
from ensembles.store import Context, Key, Store
from ensembles.store.blobs import encode_labels
from ensembles.studies import read_study
from ensembles.studies.records import Record, write_record

BLOCKS, CLASSES, IMAGES, CHUNK = 54, 10, 1000, 5000
STUDY = """
[[models]]
name = "resnet110"

[[data]]
name = "digits"

[[lesions]]
count = "10-19"
trials = {trials}
"""
CALLS = {
    "status": "from ensembles.studies import read_study, status\n"
    "assert status(read_study({study!r}), {store!r})['done'].sum() == {rows} + 1",
    "what is missing": "from ensembles.store import Store\n"
    "from ensembles.lesions import random_deletions\n"
    "store = Store({store!r})\n"
    "assert not store.missing(store.contexts()[0], random_deletions(54, range(10, 20), {trials}))",
    "export": "from ensembles.studies import read_study, export\n"
    "export(read_study({study!r}), {store!r}, {out!r})",
}


def fill(folder: Path, rows: int) -> dict[str, object]:
    """Make a study and a store that holds all of it."""
    study, store = folder / "study.toml", folder / "study.db"
    study.write_text(STUDY.format(trials=rows // 10), encoding="utf-8")
    lesions = [intact(), *random_deletions(BLOCKS, range(10, 20), rows // 10)]
    names = tuple((f"block{i}", "residual") for i in range(1, BLOCKS + 1))
    key = Key("w", "a", names, "d", "test", IMAGES, (1, 32, 32), "[[0], [1]]", "fp32", "shared", 1)
    about = {"model": "resnet110", "dataset": "digits", "num_classes": CLASSES, "classes": None}
    context = Context(key, {**about, "transitions": [], "adapted": {}}, encode_labels([0] * IMAGES))
    states = {"top1": np.array([900.0]), "loss": np.array([100.0])}
    with Store(store) as db:
        asked = db.ask(context, lesions)
        run = db.begin({"command": "made up"})
        for start in range(0, len(asked.lesions), CHUNK):
            part = asked.lesions[start : start + CHUNK]
            asked.add([Outcome(one, IMAGES, 0, states) for one in part], run)
        read = read_study(study)
        write_record(db, read, read.units()[0], Record.of_lesions(key.digest, lesions))
    return {"study": str(study), "store": str(store), "rows": rows, "trials": rows // 10}


def main() -> None:
    """Fill a store and time the calls."""
    options = parser(__doc__ or "")
    options.add_argument("--rows", type=int, default=100_000)
    rows = options.parse_args().rows
    print(describe())
    with tempfile.TemporaryDirectory() as place:
        values = fill(Path(place), rows)
        for name, code in CALLS.items():
            for ending in ("csv", "parquet", "json") if name == "export" else ("",):
                values["out"] = str(Path(place) / f"x.{ending}")
                started, before = time.perf_counter(), os.times()
                subprocess.run([sys.executable, "-c", code.format(**values)], check=True)
                after, taken = os.times(), time.perf_counter() - started
                used = sum(after[2:4]) - sum(before[2:4])
                print(f"{name + ' ' + ending:<16}{taken:6.2f} s, {used:6.2f} s of processor time")


if __name__ == "__main__":
    main()
