"""The table of `benchmarks/gpu.py`, on tiny sizes and without a GPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

BENCHMARK = Path(__file__).parent.parent / "benchmarks" / "gpu.py"


def test_every_row_of_the_table_of_a_gpu_runs_on_a_processor(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCHMARK), "--tiny", "--device", "cpu", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "gpu.json").read_text())["rows"]
    text = (tmp_path / "gpu.md").read_text()
    assert "FAILED" not in text and "ended after" not in text
    assert [row["value"] for row in rows[:3]] == ["equal"] * 3
    for part in (
        "product of 256", "plain loop", "level order with graphs", "prefix engine", "drawn lesions",
        "training step", "path spectrum", "torchvision:resnet18",
    ):  # fmt: skip
        assert any(part in row["name"] and row["seconds"] for row in rows[3:]), part


def test_what_does_not_fit_the_time_is_left_out_and_said(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCHMARK), "--tiny", "--device", "cpu", "--budget", "0",
               "--rows", "peaks,equal", "--out", str(tmp_path)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    notes = [row["note"] for row in json.loads((tmp_path / "gpu.json").read_text())["rows"]]
    assert notes == ["left out: the time was over"] * 2
