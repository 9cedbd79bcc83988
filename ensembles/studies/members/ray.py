"""The executor of a Ray cluster: actors measure, and the driver alone writes."""

from __future__ import annotations

import platform
import tempfile
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from ensembles.analyses.base import option
from ensembles.distribution import install
from ensembles.errors import EvaluationError, UsageError
from ensembles.studies.executors import Setting, Tell
from ensembles.studies.workers.driver import Crew, Driver, WorkerOptions
from ensembles.studies.workers.part_runner import PartRunner
from ensembles.studies.workers.work_folder import PartName, Task, WorkFolder, parts_of

if TYPE_CHECKING:
    from ensembles.studies.units import UnitResult

__all__ = ["MEMBER", "PartActor", "Ray", "RayOptions"]

_RETRIES = 3  # times that Ray has a part measured again whose node was lost
_ATTEMPTS = 3  # actors that may be lost over a part before it counts as failed


@dataclass(frozen=True)
class RayOptions(WorkerOptions):
    """What each actor is given by Ray.

    Attributes:
        gpus: GPUs of each worker, a fraction too.
        threads: Cores of each worker.
        address: Of a running cluster.
    """

    gpus: float | None = option("GPUs of each worker, such as 0.5; by default a whole one.", None)
    threads: int | None = option("Cores of each worker; by default 1.", None)
    address: str | None = option(
        "Address of a running cluster, or auto; by default one is started here.", None
    )

    def check(self) -> None:
        """Refuse numbers that have no meaning.

        Raises:
            UsageError: Naming the option.
        """
        super().check()
        if self.gpus is not None and not 0 <= self.gpus <= 64:
            raise UsageError(f"gpus {self.gpus}; expected 0 to 64")
        if self.threads is not None and not 1 <= self.threads <= 1024:
            raise UsageError(f"threads {self.threads}; expected 1 to 1024")


class PartActor:
    """Opens and measures parts on a node of the cluster, and sends back what it measured.

    Args:
        wishes: The study and how it is measured.
        device: Where to compute.
    """

    def __init__(self, wishes: Mapping[str, Any], device: str) -> None:
        self._runner = PartRunner.of(wishes, device)

    def open(self, task: Task) -> tuple[int, ...] | str:
        """How many lesions each part of a task takes; or why it cannot be opened."""
        return self._runner.open(task)

    def measure(self, task: Task, part: PartName) -> tuple[bytes, UnitResult, str]:
        """The store with what was measured of a part, what came of it, and on which node."""
        with tempfile.TemporaryDirectory(prefix="ensembles-") as place:
            path = Path(place) / "part.db"
            result = self._runner.measure(task, part, path)
            return path.read_bytes() if path.exists() else b"", result, platform.node()


class Ray(Driver):
    """Actors of a Ray cluster; restarts and retries are Ray's.

    Joins a running cluster where an address is given, or starts one on this machine. What actors
    measure travels through Ray, so that no folder need be shared.
    """

    name: ClassVar[str] = "ray"
    summary: ClassVar[str] = "actors of a Ray cluster, running or started here (extra ray)"
    options = RayOptions

    def crew(self, folder: WorkFolder, run: str, tasks: int, setting: Setting, tell: Tell) -> Crew:
        """Start the actors."""
        options = setting.options
        assert isinstance(options, RayOptions)
        try:
            import ray  # noqa: PLC0415
        except ImportError as error:
            raise UsageError(
                f"executor 'ray' needs Ray, which is not installed; {install('ray')}"
            ) from error
        own = not ray.is_initialized()
        if own:
            try:
                ray.init(options.address, include_dashboard=False, log_to_driver=False)
            except (ConnectionError, RuntimeError, ValueError) as error:
                reason = " ".join(str(error).split()) or type(error).__name__
                raise EvaluationError(f"ray: no cluster at {options.address}: {reason}") from error
        there = ray.cluster_resources()
        gpus, device = _gpus(options, setting.device, there)
        cores = options.threads or 1
        fit = int(there.get("GPU", 0) / gpus) if gpus else int(there.get("CPU", 1) / cores)
        number = options.workers or max(1, fit)
        told = folder.run(run)
        assert told is not None
        actor = ray.remote(PartActor).options(
            num_cpus=cores, num_gpus=gpus, max_restarts=-1, max_task_retries=_RETRIES
        )
        actors = [actor.remote(told, device) for _ in range(number)]
        tell(f"{number} actors on a Ray cluster of {len(ray.nodes())} nodes")
        return _Actors(folder, told["tasks"], actors, own, run, options.lease)


def _gpus(options: RayOptions, device: str, there: Mapping[str, float]) -> tuple[float, str]:
    """GPUs of each actor, and the device that it computes on."""
    if device not in ("auto", "cuda", "cpu"):
        raise UsageError(f"device '{device}'; expected auto, cuda or cpu, as Ray places workers")
    gpus = options.gpus
    if gpus is None:
        gpus = 1.0 if device == "cuda" or (device == "auto" and there.get("GPU")) else 0.0
    if gpus and not there.get("GPU"):
        raise UsageError(f"gpus {gpus:g}; the Ray cluster has none")
    return gpus, "cuda" if gpus else "cpu"


@dataclass(frozen=True)
class _Job:
    """A task to be opened, or a part to be measured; tasks are alike whose keys are."""

    task: Task
    part: PartName | None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Job) and self._name == other._name

    def __hash__(self) -> int:
        return hash(self._name)

    @property
    def _name(self) -> tuple[str, PartName | None]:
        return self.task.key, self.part


class _InHand(NamedTuple):
    """What an actor does, and since when."""

    job: _Job
    number: int
    since: float


@dataclass
class _Actors:
    """The actors of a study, and what each has in hand."""

    folder: WorkFolder
    wanted: list[str]
    actors: list[Any]
    own: bool
    run: str
    lease: float
    began: float = field(default_factory=time.monotonic)
    queue: deque[_Job] = field(default_factory=deque)
    running: dict[Any, _InHand] = field(default_factory=dict)
    settled: set[_Job] = field(default_factory=set)
    lost: Counter[_Job] = field(default_factory=Counter)
    groups: dict[int, str] = field(default_factory=dict)
    told: dict[int, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        tasks, splits = self.folder.tasks(), self.folder.splits()
        settled = {result.part for result in self.folder.results(whole=True)}
        for key in self.wanted:
            if key not in splits:
                self.queue.append(_Job(tasks[key], None))
            else:
                left = [part for part in parts_of(key, splits) if part not in settled]
                self.queue.extend(_Job(tasks[key], part) for part in left)

    def tend(self, tell: Tell) -> bool:
        """Give every idle actor something, and take what others have measured."""
        import ray  # noqa: PLC0415

        idle = set(range(len(self.actors))) - {one.number for one in self.running.values()}
        for number in sorted(idle):
            job = self._next(number)
            if job is not None:
                self._give(number, job)
        if self.running:
            ready, _ = ray.wait(list(self.running), num_returns=len(self.running), timeout=0.1)
            for reference in ready:
                self._take(reference, tell)
        return bool(self.running or self.queue)

    def _next(self, number: int) -> _Job | None:
        """What an idle actor does: something of the network that it has open, if there is some.

        Where nothing is left it takes what another actor has had in hand for long: that one may
        wait for a node that never comes.
        """
        if self.queue:
            own = self.groups.get(number)
            job = next((one for one in self.queue if one.task.group == own), self.queue[0])
            self.queue.remove(job)
            return job
        twice = Counter(one.job for one in self.running.values())
        old = time.monotonic() - self.lease
        late = (one for one in self.running.values() if one.since < old and twice[one.job] < 2)
        first = min(late, key=lambda one: one.since, default=None)
        return None if first is None else first.job

    def _give(self, number: int, job: _Job) -> None:
        self.groups[number] = job.task.group
        actor = self.actors[number]
        if job.part is None:
            reference = actor.open.remote(job.task)
        else:
            reference = actor.measure.remote(job.task, job.part)
        self.running[reference] = _InHand(job, number, time.monotonic())
        self._say(number, "opens" if job.part is None else "measures", job.task)

    def _take(self, reference: Any, tell: Tell) -> None:
        import ray  # noqa: PLC0415

        job, number, _ = self.running.pop(reference)
        if job in self.settled:
            return
        try:
            found = ray.get(reference)
        except ray.exceptions.RayActorError:
            self._lost(job)
        except ray.exceptions.RayTaskError as error:
            cause = getattr(error, "cause", error)
            self._fail(job, f"{type(cause).__name__}: {' '.join(str(cause).split())}")
        else:
            self.settled.add(job)
            self._keep(job, number, found)
        self._say(number, "waits")

    def _lost(self, job: _Job) -> None:
        """Have another actor do what an actor could not that Ray has not brought back."""
        self.lost[job] += 1
        if any(one.job == job for one in self.running.values()):
            return
        if self.lost[job] < _ATTEMPTS:
            self.queue.append(job)
            return
        self._fail(
            job,
            f"{_ATTEMPTS} actors were lost while they measured it; memory may have run out on "
            "their nodes",
        )

    def _keep(self, job: _Job, number: int, found: Any) -> None:
        if job.part is None:
            if isinstance(found, str):
                self._fail(job, found)
                return
            sizes = self.folder.put_split(job.task.key, found)
            parts = parts_of(job.task.key, {job.task.key: sizes})
            self.queue.extendleft(_Job(job.task, part) for part in reversed(parts))
            return
        content, result, node = found
        self.told.setdefault(number, {})["host"] = node
        if result.failed:
            self._fail(job, result.failed)
            return
        with tempfile.TemporaryDirectory(prefix="ensembles-") as place:
            path = Path(place) / "part.db"
            path.write_bytes(content)
            self.folder.publish(job.part, path, whole=True)
        told = self.told[number]
        size = (self.folder.split(job.task.key) or (0,))[job.part.number - 1]
        told["measured"] = told.get("measured", 0) + size

    def _fail(self, job: _Job, reason: str) -> None:
        self.settled.add(job)
        part = job.part or PartName(job.task.key, 1, 1)
        if job.part is None:
            self.folder.put_split(part.key, (1,))
        self.folder.fail(part, reason, "ray")

    def _say(self, number: int, state: str, task: Task | None = None) -> None:
        told = self.told.setdefault(number, {"host": "ray", "beat": 0, "measured": 0})
        told |= {
            "state": state, "task": task.title if task else "", "key": task.key if task else "",
            "beat": told.get("beat", 0) + 1, "seconds": round(time.monotonic() - self.began, 1),
        }  # fmt: skip
        self.folder.beat(f"{self.run}-{number + 1}", told)

    def stop(self) -> None:
        """End the actors, and the cluster if it was started here."""
        import ray  # noqa: PLC0415

        for number, actor in enumerate(self.actors):
            ray.kill(actor, no_restart=True)
            self._say(number, "ended")
        if self.own:
            ray.shutdown()


MEMBER = Ray()
