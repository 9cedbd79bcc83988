"""The executor of one machine: a pool of processes, one a GPU or one a share of the cores."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import IO, ClassVar

from ensembles.analyses.base import option
from ensembles.errors import OutputError, UsageError
from ensembles.studies.executors import Setting, Tell
from ensembles.studies.workers.driver import Crew, Driver, WorkerOptions
from ensembles.studies.workers.work_folder import WorkFolder

__all__ = ["MEMBER", "Local", "LocalOptions"]

_CARD = re.compile(r"cuda:(\d{1,4})")
_RESTARTS = 3  # of each worker, in a row and without a part measured
_GRACE = 20.0  # seconds in which a worker publishes what it has, before it is killed


@dataclass(frozen=True)
class LocalOptions(WorkerOptions):
    """How many processes there are, and what each has.

    Attributes:
        gpus: How many GPUs are used.
        threads: Threads of each process.
    """

    gpus: int | None = option("How many GPUs, a worker for each; by default all there are.", None)
    threads: int | None = option("Threads of each worker; by default its share of the cores.", None)

    def check(self) -> None:
        """Refuse numbers that have no meaning.

        Raises:
            UsageError: Naming the option.
        """
        super().check()
        if self.gpus is not None and self.gpus < 0:
            raise UsageError(f"gpus {self.gpus}; expected 0 or more")
        if self.threads is not None and not 1 <= self.threads <= 1024:
            raise UsageError(f"threads {self.threads}; expected 1 to 1024")


class Local(Driver):
    """A pool of processes on this machine.

    With GPUs, each process sees one of them; without, the processes share the cores, and each has
    as many threads as its share.
    """

    name: ClassVar[str] = "local"
    summary: ClassVar[str] = "a pool of processes here, one a GPU or a share of the cores"
    options = LocalOptions

    def hands(self, tasks: int, setting: Setting) -> int:
        """One a GPU, or one a core."""
        options = setting.options
        assert isinstance(options, LocalOptions)
        return len(_places(options, setting.device))

    def crew(self, folder: WorkFolder, run: str, tasks: int, setting: Setting, tell: Tell) -> Crew:
        """Start the processes."""
        options = setting.options
        assert isinstance(options, LocalOptions)
        places = _places(options, setting.device)
        cores = _cores()
        threads = options.threads or max(1, cores // len(places))
        tell(
            f"{len(places)} workers on this machine, each with {threads} "
            f"thread{'s' if threads > 1 else ''}; their logs are in {folder / 'logs'}"
        )
        workers = [
            _Process(folder, run, f"{run}-{number}", device, gpu, threads)
            for number, (device, gpu) in enumerate(places, start=1)
        ]
        for worker in workers:
            worker.start()
        return _Pool(folder, workers)


def _places(options: LocalOptions, device: str) -> list[tuple[str, int | None]]:
    """Device of each worker, and which GPU it sees."""
    cards = _cards(options, device)
    if cards:
        return [("cuda", cards[k % len(cards)]) for k in range(options.workers or len(cards))]
    usual = 1 if device == "mps" else _cores()
    return [("cpu" if device == "auto" else device, None)] * (options.workers or usual)


def _cards(options: LocalOptions, device: str) -> list[int]:
    """The numbers of the GPUs that workers are spread over."""
    gpus, chosen = options.gpus, _CARD.fullmatch(device)
    cuda = device == "cuda" or chosen is not None
    if gpus is not None and not {"auto": True, "cuda": gpus > 0}.get(device, not (gpus or chosen)):
        raise UsageError(f"gpus {gpus} and device '{device}'; leave one of them out")
    if not cuda and device != "auto":
        return []
    import torch  # noqa: PLC0415

    there = torch.cuda.device_count()
    wanted = there if gpus is None else gpus
    if wanted > there:
        raise UsageError(f"gpus {wanted}; this machine has {there}")
    cards = [int(chosen[1])] if chosen else list(range(wanted))
    if cuda and (not cards or cards[-1] >= there):
        raise UsageError(f"device '{device}'; this machine has {there} GPUs that torch can use")
    return cards


def _cores() -> int:
    """Cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


@dataclass
class _Process:
    """One worker's process."""

    folder: WorkFolder
    run: str
    name: str
    device: str
    gpu: int | None
    threads: int
    starts: int = 0
    in_vain: int = 0
    process: subprocess.Popen[bytes] | None = None
    log: IO[bytes] | None = field(default=None, repr=False)

    def start(self) -> None:
        """Start it, under a name that no earlier process had."""
        self.starts += 1
        environment = os.environ | {
            name: str(self.threads)
            for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        }
        if self.gpu is not None:
            given = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
            visible = [one.strip() for one in given if one.strip()]
            environment["CUDA_VISIBLE_DEVICES"] = visible[self.gpu] if visible else str(self.gpu)
        self.log = (self.folder / "logs" / f"{self.own_name}.log").open("ab")
        self.process = subprocess.Popen(
            [
                sys.executable, "-m", "ensembles.studies.workers.worker", str(self.folder.root),
                self.run, self.own_name, "--device", self.device, "--parent", str(os.getpid()),
            ],
            env=environment, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
            start_new_session=True,
        )  # fmt: skip

    @property
    def own_name(self) -> str:
        """The worker's name."""
        return self.name if self.starts < 2 else f"{self.name}-{self.starts}"

    def ended(self) -> int | None:
        """Its exit status, once it has ended."""
        return None if self.process is None else self.process.poll()

    def close(self) -> None:
        """Let go of its log."""
        if self.log is not None:
            self.log.close()


@dataclass
class _Pool:
    """The processes of a study."""

    folder: WorkFolder
    workers: list[_Process]

    def tend(self, tell: Tell) -> bool:
        """Start anew what was lost; whether any is at work."""
        for worker in list(self.workers):
            code = worker.ended()
            if code is None:
                continue
            worker.close()
            self.workers.remove(worker)
            if code == 0:
                continue
            said = self.folder.workers().get(worker.own_name, {})
            with contextlib.suppress(OSError, OutputError):
                self.folder.beat(worker.own_name, {**said, "beat": -1, "state": "lost"})
            why = f"signal {-code}" if code < 0 else f"exit status {code}"
            part = said.get("task") or "what it held"
            tell(f"worker {worker.own_name} was lost ({why}); {part} is measured again")
            worker.in_vain = 0 if said.get("parts") else worker.in_vain + 1
            if worker.in_vain <= _RESTARTS:
                worker.start()
                self.workers.append(worker)
        return bool(self.workers)

    def stop(self) -> None:
        """End all processes, in order where they can."""
        for worker in self.workers:
            if worker.ended() is None and worker.process is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker.process.pid, signal.SIGTERM)
        end = time.monotonic() + _GRACE
        for worker in self.workers:
            assert worker.process is not None
            try:
                worker.process.wait(max(0.1, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
            worker.close()


MEMBER = Local()
