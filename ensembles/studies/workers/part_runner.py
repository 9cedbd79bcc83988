"""Parts of units are opened and measured, whoever asks for it."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensembles.progress import Progress
from ensembles.studies.toml import study_of, unit_of
from ensembles.studies.units import Networks, UnitResult, prepare_unit, run_unit
from ensembles.studies.workers.parts import Part, sizes_of
from ensembles.studies.workers.scratch_folder import scratch_folder
from ensembles.studies.workers.work_folder import PartName, Task

if TYPE_CHECKING:
    from ensembles.studies.study import Study, Unit

__all__ = ["PartRunner"]

_SMALL = 8  # lesions that are never split


@dataclass
class PartRunner:
    """Measures parts as a driver wishes; keeps the network that it opened last.

    Attributes:
        study: The study.
        wishes: What the driver wrote.
        device: Where to compute.
        networks: Keeps the open network.
    """

    study: Study
    wishes: Mapping[str, Any]
    device: str
    networks: Networks = field(default_factory=Networks)

    @classmethod
    def of(cls, wishes: Mapping[str, Any], device: str | None = None) -> PartRunner:
        """A runner from what a driver wrote.

        Args:
            wishes: The study and how it is measured.
            device: Where to compute; by default as the driver says.
        """
        place = wishes["folder"]
        study = study_of(wishes["study"], folder=Path(place) if place else None)
        return cls(study, wishes, device or str(wishes["device"]))

    def open(self, task: Task) -> tuple[int, ...] | str:
        """Open the network of a task.

        Returns:
            How many lesions each part of it takes; or why it cannot be opened.
        """
        unit = unit_of(task.unit)
        with scratch_folder() as place:
            found = prepare_unit(
                unit, place / "part.db", study=self.study, device=self.device,
                networks=self.networks,
            )  # fmt: skip
        if found.failed:
            return found.failed
        lesions = len(found.missing) if found.by_lesion else 1
        left = max(0, lesions - len(task.known))
        seconds = self._seconds(unit) if found.by_lesion and left > _SMALL else 0.0
        share = left / lesions if lesions else 1.0
        # Where there are few units, each gets parts enough for all workers to end together.
        hands, tasks = int(self.wishes.get("workers", 1)), len(self.wishes["tasks"])
        least = math.ceil(2 * hands / tasks) if found.by_lesion and hands > 1 else 1
        return sizes_of(lesions, seconds * share, float(self.wishes["minutes"]), least)

    def measure(
        self, task: Task, part: PartName, path: Path, progress: bool | Progress | None = False
    ) -> UnitResult:
        """Measure what a store lacks of a part.

        Args:
            task: The task.
            part: The part of it.
            path: The store, of this runner alone.
            progress: Whether to show a bar, or a function to tell.
        """
        return run_unit(
            unit_of(task.unit), path, study=self.study, device=self.device,
            batch_size=self.wishes["batch_size"], check=bool(self.wishes["check"]),
            progress=progress, networks=self.networks, part=Part(part.number, part.of),
            known=frozenset(task.known),
        )  # fmt: skip

    def _seconds(self, unit: Unit) -> float:
        """About how long one lesion takes: half of what is before it is shared with others."""
        from ensembles.engine import evaluate  # noqa: PLC0415 (imports torch)
        from ensembles.lesions import Intact  # noqa: PLC0415
        from ensembles.tasks import task_of  # noqa: PLC0415

        subject = self.networks.open(unit, self.study, self.device)
        task = task_of(subject.net, getattr(unit.analysis, "task", None), subject.data)
        batch = next(iter(task.batches(subject.data, int(self.wishes["batch_size"] or 64))))
        took = 0.0
        for _ in range(2):  # the first one warms up
            began = time.perf_counter()
            evaluate(
                subject.net, [(batch.inputs, batch.targets)], [Intact()], task=task,
                device=self.device, precision=unit.precision,
            )  # fmt: skip
            took = time.perf_counter() - began
        return 0.5 * took * len(subject.data) / len(batch.targets)
