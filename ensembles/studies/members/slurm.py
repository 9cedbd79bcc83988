"""The executor of a Slurm cluster: one array job, by submitit, whose tasks are workers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from ensembles.analyses.base import option
from ensembles.distribution import install
from ensembles.errors import EvaluationError, UsageError
from ensembles.printable import printable
from ensembles.studies.executors import Setting, Tell
from ensembles.studies.workers.driver import Crew, Driver, WorkerOptions
from ensembles.studies.workers.slurm_queue import cancel, job_states, largest_array
from ensembles.studies.workers.work_folder import WorkFolder
from ensembles.studies.workers.worker import Worker

__all__ = ["MEMBER", "Slurm", "SlurmOptions", "SlurmWorker"]

_NAMES = re.compile(r"[A-Za-z0-9._,-]+", re.ASCII)
_WARNING = 90  # seconds before the end of a job in which a worker publishes what it has
_PATIENCE = 5  # times that squeue may fail before the jobs count as gone


@dataclass(frozen=True)
class SlurmOptions(WorkerOptions):
    """What each worker is given by Slurm.

    Attributes:
        gpus: GPUs of each worker.
        threads: Cores of each worker.
        memory: Memory of each worker in GB.
        time: Minutes after which a job ends and queues again.
        partition: Partition of the cluster.
        account: Account that is charged.
        dry_run: Print the script and submit nothing.
    """

    gpus: int | None = option("GPUs of each worker; none by default.", None)
    threads: int | None = option("Cores of each worker.", None)
    memory: float | None = option("Memory of each worker in GB; by default Slurm's.", None)
    time: int = option("Minutes of a job; after them it queues again and goes on.", 60)
    partition: str | None = option("Partition; by default Slurm's.", None)
    account: str | None = option("Account that is charged; by default Slurm's.", None)
    dry_run: bool = option("Print the script and submit nothing.", False)

    def check(self) -> None:
        """Refuse numbers and names that have no meaning.

        Raises:
            UsageError: Naming the option.
        """
        super().check()
        for name, least in (("gpus", 0), ("threads", 1), ("time", 2)):
            value = getattr(self, name)
            if value is not None and not least <= value <= 10**6:
                raise UsageError(f"{name} {value}; expected {least} or more")
        if self.memory is not None and not 0 < self.memory <= 10**5:
            raise UsageError(f"memory {self.memory}; expected GB, more than 0")
        for what, given in (("partition", self.partition), ("account", self.account)):
            # In the script, a line of its own would be run by the shell.
            if given is not None and _NAMES.fullmatch(given) is None:
                raise UsageError(f"{what} {given!r}; expected names of letters, digits and -_.,")


@dataclass
class SlurmWorker:
    """What each task of the array runs; submitit carries it to the node as a pickle.

    Attributes:
        folder: The shared folder.
        run: Which driver's wishes it follows.
        starts: How often the task was queued.
        worker: The worker, once it is at work.
    """

    folder: str
    run: str
    starts: int = 1
    worker: Worker | None = field(default=None, repr=False)

    def __call__(self, name: str) -> None:
        """Work until nothing is left."""
        own = name if self.starts < 2 else f"{name}-{self.starts}"
        self.worker = Worker(WorkFolder(self.folder), self.run, own)
        self.worker.work()

    def checkpoint(self, name: str) -> Any:
        """Queue again, with what was measured kept: the job is preempted, or its time is over."""
        from submitit.helpers import DelayedSubmission  # noqa: PLC0415

        if self.worker is not None:
            self.worker.publish_begun()
        return DelayedSubmission(SlurmWorker(self.folder, self.run, self.starts + 1), name)


class Slurm(Driver):
    """One array job whose tasks are workers; the driver waits and takes results in.

    An interrupted driver leaves the jobs at work, and the same command goes on.
    """

    name: ClassVar[str] = "slurm"
    summary: ClassVar[str] = "an array job of a Slurm cluster, by submitit (extra slurm)"
    options = SlurmOptions
    outlives = True

    def rehearsed(self, setting: Setting) -> bool:
        """Print the script alone, where that is asked for."""
        options = setting.options
        assert isinstance(options, SlurmOptions)
        if options.dry_run:
            print(printable(self.script(options, setting.study.name)))
        return options.dry_run

    def script(self, options: SlurmOptions, study: str) -> str:
        """The script that is submitted, but for the folder and the number of the job."""
        executor = _executor(Path("LOGS"), options, study, options.workers or 1)
        executor.parameters["map_count"] = options.workers or 1
        text: str = executor._make_submission_file_text(executor._submitit_command_str, "script")
        return text

    def crew(self, folder: WorkFolder, run: str, tasks: int, setting: Setting, tell: Tell) -> Crew:
        """Submit the array."""
        options = setting.options
        assert isinstance(options, SlurmOptions)
        workers = self.hands(tasks, setting)
        most, jobs = largest_array(), list[str]()
        for first in range(0, workers, most):
            count = min(most, workers - first)
            executor = _executor(folder / "logs", options, setting.study.name, count)
            worker = SlurmWorker(str(folder.root.resolve()), run)
            names = [f"{run}-{first + number}" for number in range(1, count + 1)]
            try:
                found = executor.map_array(worker, names)
            except Exception as error:
                if jobs:
                    cancel(jobs)
                reason = " ".join(str(error).split()) or type(error).__name__
                raise EvaluationError(f"slurm: the job was not taken: {reason}") from error
            jobs += [job.job_id for job in found]
        folder.put_jobs(run, jobs)
        arrays = ", ".join(dict.fromkeys(job.partition("_")[0] for job in jobs))
        tell(
            f"{workers} workers submitted to Slurm as job {arrays}; their logs are in "
            f"{folder / 'logs'}; scancel ends them"
        )
        return _Jobs(jobs)


def _executor(logs: Path, options: SlurmOptions, study: str, count: int) -> Any:
    """Submitit's executor with the options that were given."""
    try:
        from submitit.slurm.slurm import SlurmExecutor  # noqa: PLC0415
    except ImportError as error:
        raise UsageError(
            f"executor 'slurm' needs submitit, which is not installed; {install('slurm')}"
        ) from error
    executor = SlurmExecutor(folder=logs, max_num_timeout=1000)
    given = {
        "job_name": _job_name(study),
        "time": options.time,
        "partition": options.partition,
        "account": options.account,
        "cpus_per_task": options.threads,
        "gpus_per_node": options.gpus or None,
        "mem": None if options.memory is None else f"{round(options.memory * 1024)}M",
        "signal_delay_s": min(_WARNING, 60 * options.time // 2),
        "array_parallelism": count,
    }
    executor.update_parameters(**{name: one for name, one in given.items() if one is not None})
    return executor


def _job_name(study: str) -> str:
    """A name of the study that no shell takes for anything else."""
    return "ensembles-" + re.sub(r"[^A-Za-z0-9._-]+", "-", study)[:50]


@dataclass
class _Jobs:
    """The tasks of the array."""

    jobs: Sequence[str]
    silent: int = 0

    def tend(self, tell: Tell) -> bool:
        """Whether any of them waits or runs."""
        states = job_states(self.jobs)
        if states is None:
            self.silent += 1
            return self.silent <= _PATIENCE
        self.silent = 0
        return any(state != "COMPLETED" for state in states.values())

    def stop(self) -> None:
        """Cancel what is left of them."""
        if job_states(self.jobs):
            cancel(self.jobs)


MEMBER = Slurm()
