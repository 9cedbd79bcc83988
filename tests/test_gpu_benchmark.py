"""The table of `benchmarks/gpu.py`, on tiny sizes and without a GPU."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from calls import LoadProgram

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def gpu_table(load_program: LoadProgram) -> ModuleType:
    return load_program("gpu_table")


def notes_in(folder: Path) -> list[tuple[str, str]]:
    rows = json.loads((folder / "gpu.json").read_text())["rows"]
    return [(row["name"], row["note"]) for row in rows]


def test_every_row_of_the_table_of_a_gpu_runs_on_a_processor(
    load_program: LoadProgram, tmp_path: Path
) -> None:
    with torch.random.fork_rng():
        load_program("gpu").main(["--tiny", "--device", "cpu", "--here", "--out", str(tmp_path)])
    rows = json.loads((tmp_path / "gpu.json").read_text())["rows"]
    text = (tmp_path / "gpu.md").read_text()
    assert "FAILED" not in text and "ended after" not in text
    assert [row["value"] for row in rows[:3]] == ["equal"] * 3
    for part in (
        "product of 256", "plain loop", "level order with graphs", "prefix engine", "drawn lesions",
        "training step", "path spectrum", "exact recursion alone", "batches of 2",
        "torchvision:resnet18", "blocks as they are", "blocks compiled by",
    ):  # fmt: skip
        assert any(part in row["name"] and row["seconds"] for row in rows[3:]), part


def test_what_does_not_fit_the_time_is_left_out_and_said(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCHMARKS / "gpu.py"), "--tiny", "--device", "cpu",
               "--budget", "0", "--rows", "peaks,equal", "--out", str(tmp_path)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [note for _, note in notes_in(tmp_path)] == ["left out: the time was over"] * 2


def test_a_row_that_fails_or_hangs_costs_no_other(gpu_table: ModuleType, tmp_path: Path) -> None:
    def row(name: str) -> object:
        return gpu_table.Row(name, 1.0)

    def failing(_: str) -> object:
        raise RuntimeError("two\nlines | of")

    def hanging(_: str) -> object:
        try:
            time.sleep(60)
        except Exception:  # does not hear that the time is over
            return row("never")
        raise AssertionError

    def good() -> Iterator[object]:
        for name, run in (("a", row), ("b", failing), ("c", row)):
            yield gpu_table.Task(name, run)

    def unopened() -> Iterator[object]:
        raise OSError("no such network")
        yield

    def long() -> Iterator[object]:
        for name, run in (("d", row), ("e", hanging), ("f", row)):
            yield gpu_table.Task(name, run)

    asked = []
    table = gpu_table.Table("a machine", tmp_path)
    groups = {"good": (good, 9.0), "unopened": (unopened, 9.0), "long": (long, 1.2)}
    gpu_table.fill(table, groups, 60.0, lambda: asked.append(True))
    assert notes_in(tmp_path) == [
        ("a", ""), ("b", "FAILED: RuntimeError: two lines / of"), ("c", ""),
        ("unopened", "FAILED: OSError: no such network"), ("d", ""), ("long", "ended after 1 s"),
    ]  # fmt: skip
    assert len(asked) == 2
    assert json.loads((tmp_path / "gpu.json").read_text())["done"] == ["good", "unopened", "long"]
    assert (tmp_path / "gpu.md").read_text().startswith("a machine\n\n| what | median, s |")


FILLER = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from gpu_table import Row, Table, Task, fill
asked = sys.argv[sys.argv.index("--rows") + 1].split(",")
def tasks(name):
    yield Task(f"first of {name}", lambda one: Row(one))
    yield Task(f"second of {name}", lambda one: os._exit(7) if name == "dies" else Row(one))
def lost():
    raise RuntimeError("the device is lost")
groups = {name: ((lambda name=name: tasks(name)), 9.0) for name in asked}
fill(Table("a machine", Path(sys.argv[2])), groups, 30.0, lost)
"""


def test_a_process_that_dies_costs_the_rest_of_its_group(
    gpu_table: ModuleType, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", FILLER, str(BENCHMARKS), str(tmp_path)]
    rows = gpu_table.run_until_done(command, ["one", "dies", "three"], tmp_path, 60.0)
    assert [row.name for row in rows] == [
        "first of one", "second of one", "first of dies", "dies", "first of three",
        "second of three",
    ]  # fmt: skip
    assert notes_in(tmp_path)[3] == ("dies", "FAILED: the process ended with 7")
