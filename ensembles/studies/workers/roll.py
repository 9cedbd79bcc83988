"""Who is at work on a study, in lines for a terminal."""

from __future__ import annotations

from collections import Counter

from ensembles.studies.workers.slurm_queue import job_states
from ensembles.studies.workers.tally import Heard, Tally, heard, tally
from ensembles.studies.workers.work_folder import WorkFolder

__all__ = ["running", "workers_said"]

_RECENT = 3600.0  # seconds for which a worker that has ended is still told


def workers_said(folder: WorkFolder) -> list[str]:
    """How far all workers are and what each of them does, from the folder alone."""
    workers = heard(folder)
    settled = {result.part for result in folder.results(whole=True)} | set(folder.failures())
    lines = []
    if folder.tasks():
        lines.append(_said(tally(folder, list(folder.tasks()), settled, workers.values())))
    for name, one in workers.items():
        if one.alive or one.age <= _RECENT:
            lines.append(f"worker {name} on {one.told.get('host', '?')}: {_doing(one)}")
    lines += _jobs_said(folder)
    return [*lines, f"logs in {folder / 'logs'}"] if lines else []


def running(folder: WorkFolder) -> set[str]:
    """The keys of the tasks that are in a worker's hand."""
    return {str(one.told.get("key")) for one in heard(folder).values() if one.busy}


def _said(found: Tally) -> str:
    """The whole study in a line."""
    line = found.said + (f"; {found.lesions} of {found.of} lesions" if found.of else "")
    if found.rate and found.left:
        line += f", {_paced(found.rate)}, about {_lasting(found.left)} left"
    return line


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


def _doing(one: Heard) -> str:
    told, state = one.told, str(one.told.get("state", "?"))
    line = state
    if state in ("opens", "measures", "lost") and told.get("task"):
        line += f"{' over' if state == 'lost' else ''} {told['task']}"
    if state == "measures":
        line += f" ({int(told.get('done') or 0)} of {int(told.get('total') or 0)})"
    if told.get("measured") or one.rate:
        line += f", {int(told.get('measured') or 0)} lesions measured"
    if one.rate:
        line += f", {_paced(one.rate)}"
    if told.get("reason"):
        line += f": {told['reason']}"
    if state in ("ended", "lost"):
        return line
    return f"{line}, last heard {_lasting(one.age)} ago{'' if one.alive else ', given up'}"


def _paced(rate: float) -> str:
    """A rate in lesions a second, or a minute where there are few."""
    return f"{rate:.1f} a second" if rate >= 1 else f"{60 * rate:.1f} a minute"


def _lasting(seconds: float) -> str:
    """A time in the unit that suits it."""
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
