"""What `ensembles.lesion` does: lesions are measured, or taken from a store, and laid out."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ensembles.analyses.about import about_data, doubt_places, name_of
from ensembles.engine import (
    Materials,
    check_lesions,
    choose_device,
    evaluate_each,
    sweep_batch_size,
)
from ensembles.engine.devices import compute_dtype
from ensembles.engine.evaluation import choose_engine
from ensembles.engine.names import kept_engine
from ensembles.lesions import Delete, Intact, Lesion
from ensembles.metrics import Metric, Outcome, read, require
from ensembles.progress import Progress, bar
from ensembles.store import Store
from ensembles.store.description import describe
from ensembles.store.filler import Filled, Pace, fill
from ensembles.store.lesions import FEW
from ensembles.tables.provenance import provenance
from ensembles.tasks import Task, task_of

if TYPE_CHECKING:
    import pandas as pd

    from ensembles.decomposition import Decomposition
    from ensembles.lesions.needs import Need
    from ensembles.store import Context
    from ensembles.store.asked import Asked

__all__ = ["LesionSweep", "Surroundings"]

_ALWAYS = ("top1", "loss")
_MANY = 4 * FEW
"""More lesions than that take longer to look at than a short life of a process may last."""

_IDLE = 4
"""So many times nothing was missing of some lesions: nearly all are there."""


@dataclass(frozen=True)
class Surroundings:
    """What lesions may need beside the network; see :class:`ensembles.engine.Materials`.

    Attributes:
        reference: Data for means and statistics.
        initial: The network before training.
        sources: Other trained networks by name.
    """

    reference: Any = None
    initial: Any = None
    sources: Any = None


@dataclass(frozen=True)
class LesionSweep:
    """What is run, and how.

    Attributes:
        net: The network.
        data: What it is evaluated on.
        wanted: The lesions, the intact network among them.
        metrics: What is measured.
        task: What is asked of the network.
        materials: What some lesions need.
        batch_size: Rows at a time.
        device: Where.
        precision: Precision of the computation.
        engine: Which engine computes.
        predictions: Whether the predicted class of each observation is kept.
        told: How lesions were run, for the provenance.
    """

    net: Decomposition
    data: Any
    wanted: list[Lesion]
    metrics: tuple[Metric, ...]
    task: Task
    materials: Materials
    batch_size: int
    device: torch.device
    precision: str
    engine: str
    predictions: bool
    told: dict[str, str] = field(default_factory=dict)

    @classmethod
    def prepared(
        cls,
        net: Decomposition,
        data: Any,
        lesions: Iterable[Lesion] | None,
        *,
        task: Task | str | None,
        metrics: str | Metric | Iterable[str | Metric],
        surroundings: Surroundings,
        batch_size: int | None,
        device: str | torch.device,
        precision: str,
        engine: str,
        predictions: bool,
    ) -> LesionSweep:
        """A sweep whose arguments have a meaning together; as for :func:`ensembles.lesion`."""
        asked, place = task_of(net, task, data), choose_device(device)
        measured = _with_usual(read(metrics), asked)
        require(measured, asked, net.num_classes)
        doubt_places(net, data)
        for metric in measured:
            metric.suited(net, data)
        told = {"engine": choose_engine(engine, place).name}
        compute_dtype(precision, place)
        named = range(1, len(net) + 1)
        single: list[Lesion] = [Delete((block,)) for block in named]
        wanted = single if lesions is None else list(lesions)
        if not any(one == Intact() for one in wanted):
            wanted = [Intact(), *wanted]
        materials = Materials(net, task=asked, data=data, device=place, **vars(surroundings))
        return cls(
            net=net,
            data=data,
            wanted=wanted,
            metrics=measured,
            task=asked,
            materials=materials,
            batch_size=sweep_batch_size(net, place) if batch_size is None else batch_size,
            device=place,
            precision=precision,
            engine=engine,
            predictions=predictions,
            told=told,
        )

    def frame(
        self,
        model: str,
        about: dict[str, Any],
        store: Store | str | Path | None,
        progress: bool | Progress | None,
    ) -> pd.DataFrame:
        """Measure, and lay out."""
        made = self._provenance(model, about)
        with bar(f"lesions of {model}", f" {self.task.observation}s", shown=progress) as report:
            if store is None:
                outcomes, failed = self.measured(self.wanted, report)
                extra: dict[str, object] = {}
            else:
                named = {"model": model, **about}
                with Store(store) if isinstance(store, (str, Path)) else nullcontext(store) as it:
                    outcomes, failed, extra = self._from_store(it, made, named, report)
        from ensembles.tables.frames import lesion_frame  # noqa: PLC0415 (pandas)

        made |= self.told
        frame = lesion_frame(
            outcomes,
            names=self.net.names,
            metrics=self.metrics,
            stand_ins={block.index: block.adaptation for block in self.net if block.adaptation},
            transitions=self.net.transitions,
            classes=self.net.num_classes,
            task=self.task,
            model=model,
            dataset=name_of(self.data),
            provenance=made,
        )
        frame.attrs |= {"analysis": "lesion", **extra}
        if failed:
            frame.attrs["failed"] = [
                {"lesion": one.kind, "blocks": one.text, "reason": why}
                for one, why in failed.items()
            ]
        return frame

    def check(self) -> None:
        """Hold the lesions against the network, and what they need against what is there.

        Raises:
            LesionError: If one does not fit, or what it needs is missing.
        """
        check_lesions(self.net, self.wanted, self.materials)

    def described(self, about: Mapping[str, Any]) -> tuple[Context, Any]:
        """What a store keeps the results under, and the data to read.

        Args:
            about: What is said of the network, its name as `model` at least.
        """
        return describe(
            self.net, self.data, task=self.task, precision=self.precision,
            engine=kept_engine(self.engine), about=about,
        )  # fmt: skip

    @cached_property
    def digests(self) -> dict[Lesion, str]:
        """A digest of what each lesion needs beside the network, of those that need something."""
        known: dict[tuple[Need, ...], str] = {}
        found: dict[Lesion, str] = {}
        for one in self.wanted:
            if one.needs:
                needed = self.materials.needed([one])
                if needed not in known:
                    known[needed] = self.materials.digest(needed)
                found[one] = known[needed]
        return found

    def measured(
        self, lesions: Sequence[Lesion], report: Progress, *, data: Any = None, **how: Any
    ) -> tuple[list[Outcome], dict[Lesion, str]]:
        """Run lesions; those that memory does not suffice for come with the reason."""
        return evaluate_each(
            self.net,
            self.data if data is None else data,
            lesions,
            task=self.task,
            metrics=how.pop("metrics", self.metrics),
            batch_size=self.batch_size,
            device=self.device,
            precision=self.precision,
            engine=self.engine,
            materials=self.materials,
            progress=report,
            told=self.told,
            **how,
        )

    def _provenance(self, model: str, about: dict[str, Any]) -> dict[str, Any]:
        details = {
            "model": model,
            "task": self.task.name,
            **self.told,
            "batch_size": self.batch_size,
            **about_data(self.data),
            **about,
        }
        return provenance(
            device=str(self.device),
            precision=self.precision,
            threads=torch.get_num_threads(),
            details=details,
        )

    def _from_store(
        self, store: Store, made: dict[str, Any], about: dict[str, Any], report: Progress
    ) -> tuple[list[Outcome], dict[Lesion, str], dict[str, object]]:
        """Measure what the store lacks, then take everything from it."""
        if len(self.wanted) <= _MANY:
            self.check()
        context, data = self.described(about)
        if len(self.wanted) > _MANY:
            self._check_once(store, context)
        begin = cache(lambda: store.begin(made | self.told))

        def filled(asked: Asked, report: Progress, **how: Any) -> Filled:
            return fill(
                asked,
                lambda unit, progress: self.measured(
                    unit, progress, data=data, metrics=asked.measures, predictions=self.predictions
                ),
                begin=begin,
                report=report,
                **how,
            )

        measured = self._few_at_first(store, context, filled)
        rest = filled(self._asked(store, context), report)
        measured += rest.measured
        known = store.outcomes(context, self.wanted, metrics=self.metrics, materials=self.digests)
        outcomes = [
            replace(known[one.bare()], lesion=one) for one in self.wanted if one.bare() in known
        ]
        extra: dict[str, object] = {
            "store": {
                "path": str(store.path),
                "context": context.key.digest,
                "measured": measured,
                "known": len(known) - measured,
            },
            "runs": store.provenance(context),
        }
        return outcomes, rest.failed, extra

    def _check_once(self, store: Store, context: Context) -> None:
        """Check many lesions, unless a process that filled the store before has."""
        texts = "\n".join([f"{one.kind} {one.text}" for one in self.wanted])
        name = f"checked {context.key.digest} {hashlib.sha256(texts.encode()).hexdigest()}"
        if store.note(name) is None:
            self.check()
            store.keep_note(name, True)
        else:
            self.materials.check(self.materials.needed(self.wanted))

    def _asked(self, store: Store, context: Context) -> Asked:
        """The lesions as they are asked of a store."""
        return store.ask(
            context, self.wanted,
            metrics=self.metrics, materials=self.digests, predictions=self.predictions,
        )  # fmt: skip

    def _few_at_first(self, store: Store, context: Context, filled: Callable[..., Filled]) -> int:
        """Measure some lesions of a large sweep, drawn at random; how many.

        To look all of them up may take longer than a process lives, where processes are killed. So
        as much time as that will take goes into a few of them first.
        """
        n = len(self.wanted)
        if n <= _MANY:
            return 0
        drawn, pace = random.Random().sample(self.wanted, n), Pace(rough=True)
        measured = idle = 0
        looked, began = 0.0, time.monotonic()
        for start in range(0, n, FEW):
            before = time.monotonic()
            asked = replace(self, wanted=drawn[start : start + FEW])._asked(store, context)
            looked += time.monotonic() - before
            done = filled(asked, lambda *_: None, pace=pace, wait=False).measured
            measured, idle = measured + done, 0 if done else idle + 1
            if idle == _IDLE or time.monotonic() - began > looked * n / (start + FEW):
                break
        return measured


def _with_usual(metrics: tuple[Metric, ...], task: Task) -> tuple[Metric, ...]:
    """The metrics, after those that every table of lesions has."""
    names = {metric.name for metric in metrics}
    usual = [one for one in read(_ALWAYS) if not one.tasks or task.name in one.tasks]
    return (*(one for one in usual if one.name not in names), *metrics)
