"""What Slurm says of its jobs."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence

from ensembles.errors import EvaluationError

__all__ = ["cancel", "job_states", "largest_array"]

_LARGEST = re.compile(r"^(?:MaxArraySize|SchedulerParameters.*\bmax_array_tasks) *= *(\d+)", re.M)
_USUAL = 1000  # tasks of an array where Slurm does not say how many it allows


def largest_array() -> int:
    """How many tasks an array may have.

    Raises:
        EvaluationError: If Slurm does not answer.
    """
    try:
        done = subprocess.run(
            ["scontrol", "show", "config"], capture_output=True, text=True, timeout=60, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise EvaluationError(
            "slurm: scontrol does not answer; run the study on a machine of the cluster"
        ) from error
    said = _LARGEST.findall(done.stdout)
    return max(1, min(map(int, said))) if said else _USUAL


def job_states(jobs: Sequence[str]) -> dict[str, str] | None:
    """State of each job that Slurm still knows, by its number; None where it does not answer."""
    arrays = ",".join(dict.fromkeys(job.partition("_")[0] for job in jobs))
    try:
        done = subprocess.run(
            ["squeue", "--noheader", "--array", "--jobs", arrays, "--format", "%i %T"],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    if done.returncode:
        return {} if "Invalid job id" in done.stderr else None
    pairs = (line.split(maxsplit=1) for line in done.stdout.splitlines() if line.strip())
    return {pair[0]: pair[-1].strip() for pair in pairs if pair[0] in jobs}


def cancel(jobs: Sequence[str]) -> None:
    """Have Slurm end jobs, if it answers."""
    arrays = dict.fromkeys(job.partition("_")[0] for job in jobs)
    subprocess.run(["scancel", *arrays], capture_output=True, timeout=60, check=False)
