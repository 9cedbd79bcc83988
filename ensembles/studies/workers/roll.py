"""Who is at work on a study, in lines for a terminal."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from ensembles.studies.workers.shared_files import names_in
from ensembles.studies.workers.slurm_queue import job_states
from ensembles.studies.workers.work_folder import WorkFolder

__all__ = ["workers_said"]

_RECENT = 3600.0  # seconds for which a worker that has ended is still told


def workers_said(folder: WorkFolder) -> list[str]:
    """What each worker does, and how far all are, from the folder alone.

    Ages are by the clock of this machine against that of the folder's disk.
    """
    lines = []
    for name, told in folder.workers().items():
        age = _age(folder, name)
        if told.get("state") in ("ended", "lost") and age > _RECENT:
            continue
        lines.append(f"worker {name} on {told.get('host', '?')}: {_doing(told)}{_heard(told, age)}")
    lines += _jobs_said(folder)
    parts = sum(len(sizes) for sizes in folder.splits().values())
    done = len({result.part for result in folder.results(whole=True)})
    unopened = len(folder.tasks()) - len(folder.splits())
    if lines:
        failed, held = len(folder.failures()), len(names_in(folder / "holds"))
        lines.append(
            f"{done} of {parts} parts done, {held} held, {failed} failed, {max(0, unopened)} units "
            f"not opened yet; logs in {folder / 'logs'}"
        )
    return lines


def _jobs_said(folder: WorkFolder) -> list[str]:
    """The states of the jobs of a cluster."""
    jobs = folder.jobs()
    if not jobs:
        return []
    states = job_states(jobs)
    if states is None:
        return [f"slurm does not answer here; {len(jobs)} jobs were submitted"]
    counts = Counter(states.values())
    said = [f"{number} {state.lower()}" for state, number in sorted(counts.items())]
    gone = len(jobs) - len(states)
    return ["slurm jobs: " + ", ".join([*said, *([f"{gone} ended"] if gone else [])])]


def _doing(told: dict[str, Any]) -> str:
    state = str(told.get("state", "?"))
    if state not in ("opens", "measures"):
        return state
    done, total, seconds = (float(told.get(name) or 0) for name in ("done", "total", "seconds"))
    rate = f", {told.get('measured')} measured in {seconds:.0f} s" if told.get("measured") else ""
    return f"{state} {told.get('task')} ({done:.0f} of {total:.0f}){rate}"


def _heard(told: dict[str, Any], age: float) -> str:
    return "" if told.get("state") in ("ended", "lost") else f", last heard {max(0, age):.0f} s ago"


def _age(folder: WorkFolder, name: str) -> float:
    try:
        return time.time() - (folder / "workers" / f"{name}.json").stat().st_mtime
    except OSError:
        return 0.0
