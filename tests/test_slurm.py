"""A study on a real Slurm cluster, as `.ci/slurm` starts one on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from study_tables import assert_same_tables
from untrained import save_untrained

from ensembles.lesions import Choice
from ensembles.studies import Data, Network, Study, Sweep, run
from ensembles.studies.workers.roll import workers_said
from ensembles.studies.workers.slurm_queue import largest_array
from ensembles.studies.workers.work_folder import WorkFolder, work_folder

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(
        "ENSEMBLES_SLURM" not in os.environ, reason="no Slurm cluster; `.ci/slurm` starts one"
    ),
]


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """A network whose lesions take some seconds."""
    save_untrained(tmp_path / "a.pt")
    return Study(
        name="on slurm",
        models=(Network("resnet20", "a.pt"),),
        data=(Data("digits", limit=16),),
        lesions=(Sweep(), Sweep(Choice(counts=3, trials=20))),
        folder=tmp_path,
    )


def slurmed(
    study: Study,
    tmp_path: Path,
    disturb: Callable[[WorkFolder], bool] | None = None,
    workers: int = 2,
) -> list[str]:
    """Run the study on some workers, disturb them once, and compare with one process."""
    store, lines = tmp_path / "slurm.db", list[str]()
    folder, done = work_folder(study, store), threading.Event()

    def watch() -> None:
        while disturb is not None and not done.wait(0.1):
            if disturb(folder):
                return

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        run(
            study, store, "slurm", device="cpu", check=False, tell=lines.append,
            workers=workers, threads=1, time=5, lease=5.0, minutes=0.001,
        )  # fmt: skip
    finally:
        done.set()
        thread.join()
    assert folder.failures() == {}
    run(study, tmp_path / "here.db", check=False)
    assert_same_tables(study, tmp_path / "here.db", store)
    return lines


def working(folder: WorkFolder) -> list[dict]:
    return [told for told in folder.workers().values() if told.get("state") == "measures"]


def test_the_export_is_that_of_one_process(study: Study, tmp_path: Path) -> None:
    lines = slurmed(study, tmp_path)
    assert "2 workers submitted to Slurm as job " in lines[1]
    said = workers_said(work_folder(study, tmp_path / "slurm.db"))
    assert any(line.startswith("slurm jobs: ") for line in said)


def test_more_workers_than_an_array_may_have_are_several_arrays(
    study: Study, tmp_path: Path
) -> None:
    most = largest_array()
    if most > 9:
        pytest.skip(f"an array may have {most} tasks here, too many to go beyond")
    lines = slurmed(study, tmp_path, workers=2 * most + 1)
    folder = work_folder(study, tmp_path / "slurm.db")
    tasks = Counter(job.partition("_")[0] for job in folder.jobs())
    assert list(tasks.values()) == [most, most, 1]
    assert f"{2 * most + 1} workers submitted to Slurm as job {', '.join(tasks)};" in lines[1]
    busy = {name for name, told in folder.workers().items() if told["parts"]}
    arrays = {(int(name.rpartition("-")[2]) - 1) // most for name in busy}
    assert len(arrays) > 1, f"only {busy} measured anything"


def test_a_task_that_is_killed_costs_nothing(study: Study, tmp_path: Path) -> None:
    killed: list[int] = []

    def kill_one(folder: WorkFolder) -> bool:
        if len(working(folder)) < 2:
            return False
        os.kill(working(folder)[0]["pid"], signal.SIGKILL)
        killed.append(1)
        return True

    slurmed(study, tmp_path, kill_one)
    assert killed


@pytest.mark.parametrize("how", ["requeue", "USR2"])
def test_a_job_that_is_queued_again_goes_on(study: Study, tmp_path: Path, how: str) -> None:
    again: list[str] = []

    def requeue(folder: WorkFolder) -> bool:
        if len(working(folder)) < 2:
            return False
        job = folder.jobs()[0]
        command = ["scontrol", "requeue"] if how == "requeue" else ["scancel", "--signal=USR2"]
        subprocess.run([*command, job], check=True, capture_output=True)
        again.append(job)
        return True

    slurmed(study, tmp_path, requeue)
    assert again
    if how == "USR2":  # what submitit sends before a time limit
        logs = (work_folder(study, tmp_path / "slurm.db") / "logs").glob("*.out")
        assert any("Requeued job" in log.read_text(encoding="utf-8") for log in logs)


def test_a_dry_run_prints_the_script(study: Study, tmp_path: Path, capsys) -> None:
    began = time.monotonic()
    run(study, tmp_path / "x.db", "slurm", workers=3, partition="all", time=30, dry_run=True)
    out = capsys.readouterr().out
    for line in ("--array=0-2%3", "--partition=all", "--time=30", "--signal=USR2@90"):
        assert f"#SBATCH {line}\n" in out
    assert time.monotonic() - began < 20 and not (tmp_path / "x.work").exists()
