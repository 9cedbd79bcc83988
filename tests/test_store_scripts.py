"""The long trials of the store in benchmarks/, each in a short form."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
MB = r"[0-9]+ MB"

pytestmark = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs Linux")


def lines_of(script: str, *options: str) -> list[str]:
    """What a trial that succeeds prints, but for the line about the machine."""
    command = [sys.executable, str(BENCHMARKS / script), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()[1:]


def test_kills_lose_nothing_and_processes_that_start_at_once_share_the_work() -> None:
    killed, two, eight = lines_of("store_faults.py", "--kills", "8", "--starts", "1")
    assert killed.startswith("8 kills over")
    assert "0 stored lesions lost, every finished table equal to the undisturbed one" in killed
    assert two.startswith("2 processes started at once, 1 times")
    assert eight.startswith("8 processes started at once, 1 times")


def test_memory_that_runs_out_at_any_operation_changes_no_count() -> None:
    found = lines_of("store_memory.py", "--every", "79")
    for once, always in (found[:2], found[2:4]):
        assert once.endswith("operations failed in turn, all counts the same")
        assert "15 lesions measured and one failed alone: memory ran out on cpu" in always
    assert [line.split(":")[0] for line in found[:4:2]] == ["shared", "direct"]


@pytest.mark.slow
def test_full_disks_limits_and_protected_folders_cost_nothing_that_was_there() -> None:
    found = lines_of("store_disks.py", "--most", "0", "--only", "sweep", "merge", "export")
    refused = "3 commands, 0 did their work, 3 were refused by name; no old data lost"
    places = ["disk of 8 MB", "limit on the size of files", "/dev/full", "read-only folder",
              "read-only disk"]  # fmt: skip
    assert [line.split(":")[0] for line in found] == places
    assert found[1].startswith(f"{places[1]}: {refused}")
    assert found[2] == "/dev/full: 3 commands, all refused by name"
    assert found[3].startswith("read-only folder: 3 commands, all refused by name")
    for disk in (found[0], found[4]):
        assert "by name" in disk or disk.endswith("no right to mount one")


def test_small_changes_are_never_a_hit_and_the_same_weights_always_are() -> None:
    [found] = lines_of("store_keys.py", "--models", "resnet20", "--every", "25")
    assert re.fullmatch(
        r"resnet20: \d+ changes never a hit, \d+ other ways to the same .* one", found
    )


def test_memory_stays_flat_and_the_intact_network_counts_the_same_at_the_end() -> None:
    options = ["--rows", "0", "--lesions", "120", "--unit", "8"]
    [found] = lines_of("store_size.py", *options)
    assert re.search(f"{MB} resident after a tenth, {MB} at the end; intact network", found)


@pytest.mark.slow
def test_many_rows_are_looked_at_resumed_and_exported() -> None:
    found = lines_of("store_size.py", "--rows", "400", "--lesions", "0")
    steps = ["400 rows", "status", "resume", "known outcomes", "export to CSV"]
    assert [line.split(":")[0] for line in found] == steps


@pytest.mark.slow
def test_a_large_study_is_looked_at_resumed_and_exported() -> None:
    found = lines_of("study_speed.py", "--rows", "400")
    steps = ["status", "what is missing", "export csv", "export parquet", "export json"]
    assert [line[:16].strip() for line in found] == steps
