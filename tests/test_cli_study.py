"""`ensembles study`, as a person and a script meet it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from calls import called

from ensembles.tables import read_frame

STUDY = """
[[models]]
name = "resnet20"
checkpoint = "a.pt"

[[data]]
name = "digits"
limit = 6

[[lesions]]
blocks = "1-3"

[[lesions]]
count = 4
trials = 2
"""


@pytest.fixture
def file(tmp_path: Path, weights: str) -> Path:
    """A study and the weights beside it."""
    shutil.copy(weights, tmp_path / "a.pt")
    path = tmp_path / "small.toml"
    path.write_text(STUDY, encoding="utf-8")
    return path


@pytest.fixture
def call(capsys):
    """Run the command line; returns exit status, standard output and standard error."""

    return partial(called, capsys, "study")


def test_help_names_the_four_commands(call):
    code, out, _ = call("--help")
    assert code == 0
    for name in ("run", "status", "export", "merge"):
        assert f"\n  {name} " in out


def test_run_status_export_and_merge(call, file, tmp_path):
    code, out, err = call("run", file)
    assert code == 0
    assert err.splitlines()[0].startswith("study small: 2 units, 0 of them complete; 6 lesions")
    assert out.splitlines()[0].split() == [
        "model", "data", "analysis", "seed", "done", "total", "failed", "state",
    ]  # fmt: skip
    assert out.splitlines()[1].split() == [
        "resnet20", "digits", "delete", "1", "of", "1-3", "4", "4", "0", "done",
    ]  # fmt: skip
    assert (tmp_path / "small.db").is_file()
    again = call("run", file)
    assert again[0] == 0 and again[1] == out and "2 of them complete" in again[2]
    assert call("status", file) == (0, out, "")
    rows = json.loads(call("status", file, "--json")[1])["rows"]
    assert [row["done"] for row in rows] == [4, 3]
    code, shown, err = call("export", file, "--out", tmp_path / "x.csv")
    assert (code, shown, err) == (0, "", f"wrote {tmp_path / 'x-lesions.csv'}\n")
    assert len(read_frame(tmp_path / "x-lesions.csv")) == 6
    call("export", file, "--out", tmp_path / "y.json", "--table", "lesions")
    assert len(read_frame(tmp_path / "y.json")) == 6
    whole = tmp_path / "all.db"
    assert call("merge", whole, tmp_path / "small.db") == (
        0, "", f"{whole}: 6 results added, 0 there already\n",
    )  # fmt: skip
    assert call("status", file, "--store", whole)[1] == out


def test_status_of_workers_for_whoever_may_only_read(call, file, monkeypatch):
    from ensembles.errors import StoreError
    from ensembles.studies import read_study
    from ensembles.studies.workers import intake
    from ensembles.studies.workers.work_folder import Task, work_folder
    from ensembles.studies.written import written_unit

    def refused(*_: object) -> None:
        raise StoreError("store figures.db: cannot be written (it is read-only)")

    study = read_study(file)
    unit = study.units()[0]
    folder = work_folder(study, file.with_suffix(".db"))
    folder.prepare()
    key = Task.key_of(unit.digest)
    folder.put_task(Task(key, 0, "one", unit.title, written_unit(unit)))
    folder.put_split(key, (2, 2))
    folder.beat("w", {"state": "measures", "key": key, "host": "n1", "task": unit.title,
                      "done": 1, "total": 2, "seconds": 10})  # fmt: skip
    monkeypatch.setattr(intake, "take_in", refused)
    code, out, err = call("status", file)
    assert code == 0 and err.startswith("store figures.db: cannot be written (it is read-only); ")
    lines = out.splitlines()
    assert lines[1].endswith("running")
    assert (
        lines[-3] == "0 of 1 units done, 1 running; 1 of 4 lesions, 6.0 a minute, about 30 s left"
    )
    assert lines[-2] == (
        f"worker w on n1: measures {unit.title} (1 of 2), 0 lesions measured, 6.0 a minute, last "
        "heard 0 s ago"
    )
    assert lines[-1] == f"logs in {folder / 'logs'}"


def test_a_failed_unit_gives_status_1_and_the_others_are_measured(call, file):
    file.write_text(STUDY + '\n[[lesions]]\nblocks = "12"\n', encoding="utf-8")
    code, out, err = call("run", file)
    assert code == 1
    assert [line.split()[-1] for line in out.splitlines()[1:4]] == ["done", "done", "failed"]
    assert out.splitlines()[4] == "failed: block 12: the network has blocks 1 to 9"
    assert err.splitlines()[-1] == (
        "ensembles: 1 of 3 units failed, the first of them resnet20 on digits, delete 1 of 12: "
        "block 12: the network has blocks 1 to 9"
    )


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["run", "none.toml"], 2, "study none.toml: cannot be read (No such file or directory)"),
        (["rum", "small.toml"], 2, "rum"),
        (["export", "{file}", "--out", "x.csv"], 1, "small.db: there is no such file"),
        (
            ["run", "{file}", "--on", "heer"],
            2,
            "executor 'heer' is unknown; expected here",
        ),
        (["run", "{file}", "--device", "gpu"], 2, "device 'gpu'; expected auto, cpu"),
        (["run", "{file}", "--store", "/no/such/folder/x.db"], 1, "/no/such/folder"),
        (["export", "{file}", "--out", "x.xlsx"], 2, ".xlsx"),
        (["export", "{file}"], 2, "--out"),
        (["merge", "{file}"], 2, "SOURCES"),
        (["merge", "{file}.db", "none.db"], 1, "none.db: there is no such file"),
    ],
)
def test_bad_input_gets_one_line_and_a_status(call, file, arguments, status, message):
    code, out, err = call(*(one.replace("{file}", str(file)) for one in arguments))
    assert (code, out) == (status, "")
    assert err.startswith("ensembles: ") and err.count("\n") == 1
    assert message in err


SLOW = """
import sys, time
from ensembles.cli import main
from ensembles.engine.shared import SharedPrefixes

run, calls = SharedPrefixes.run, []

def slow(self, images):
    calls.append(1)
    if len(calls) == 2:
        print("waiting", file=sys.stderr, flush=True)
        time.sleep(60)
    return run(self, images)

SharedPrefixes.run = slow
main(sys.argv[1:])
"""


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
def test_an_interrupted_run_ends_with_130_and_is_continued(call, file):
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, "study", "run", str(file)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert "waiting\n" in iter(process.stderr.readline, "")
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (130, "")
    assert err.splitlines()[-1].startswith("interrupted; what was measured is in ")
    assert "and the same command goes on: " in err
    code, out, _ = call("status", file)
    assert out.splitlines()[2].split()[-1] == "part"
    code, out, _ = call("run", file)
    assert code == 0 and [line.split()[-1] for line in out.splitlines()[1:]] == ["done", "done"]


def test_processes_share_a_study(file):
    code = "import sys; from ensembles.cli import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", code, "study", "run", str(file)]
    several = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    ended = [(*process.communicate(timeout=280), process.returncode) for process in several]
    assert [code for *_, code in ended] == [0, 0], ended
    assert ended[0][0] == ended[1][0]
