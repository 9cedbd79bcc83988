"""A sweep of lesions as one call: a decomposition and data in, a tidy frame out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch.utils.data import Dataset

from ensembles.analyses.base import Analysis, Options, Run, option
from ensembles.data import ImageDataset
from ensembles.decomposition import Decomposition
from ensembles.engine import (
    Outcome,
    check_lesions,
    choose_device,
    default_batch_size,
    evaluate_each,
)
from ensembles.engine.devices import compute_dtype
from ensembles.engine.evaluation import choose_engine
from ensembles.engine.tally import Details
from ensembles.errors import UsageError
from ensembles.lesions import Lesion, intact, single_deletions
from ensembles.progress import Progress, bar
from ensembles.store import Store
from ensembles.store.description import describe
from ensembles.store.filler import fill
from ensembles.tables.frames import lesion_frame
from ensembles.tables.provenance import provenance

__all__ = ["LESION", "LesionOptions", "Lesions", "lesion"]

Data = Dataset[Any] | Iterable[Any]


def lesion(
    net: Decomposition,
    data: Data,
    lesions: Iterable[Lesion] | None = None,
    *,
    batch_size: int | None = None,
    device: str | torch.device = "auto",
    precision: str = "fp32",
    engine: str = "shared",
    progress: bool | Progress | None = None,
    model: str | None = None,
    store: Store | str | Path | None = None,
    predictions: bool = False,
    about: dict[str, Any] | None = None,
) -> pd.DataFrame:
    """Lesion a network and measure what is left (Veit et al. 2016, sections 4.1 to 4.3).

    Every lesion is evaluated on every image once, in a fixed order, with running BatchNorm
    statistics; lesions that begin alike share the work.

    Args:
        net: A network taken apart by `ensembles.decompose`; it is left as it is.
        data: One of our data sets, a torch `Dataset` of (image, label), or an iterable of batches
            (images, labels); images are taken as they come, normalised by whoever made them.
        lesions: What to do to the blocks (`ensembles.lesions`); by default each block is deleted
            once. The intact network is added where it is missing.
        batch_size: Images at a time; by default as many as suit the device.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        precision: "fp32", "tf32" (CUDA) or "bf16".
        engine: "shared" (fast) or "direct" (its oracle: each lesion run whole).
        progress: Whether to show a bar, by default only on a terminal; or a function to tell.
        model: Name of the network in the frame; by default its class.
        store: A store of results, or its path (docs/store.md): lesions that are in it are not
            measured again, the others are added to it, unit by unit.
        predictions: Whether the store is to keep the predicted class of each image.
        about: What else the provenance is to tell, such as the `checkpoint`.

    Returns:
        One row for each lesion, the intact network first: `lesion`, `count`, `blocks`,
        `block_names`, `kendall_tau`, `trial`, `seed`, `correct`, `total`, `error` (a share, 0 to
        1), `loss` (nats), `nonfinite`, `adapted`. `frame.attrs["provenance"]` tells how it was
        made, of a store `frame.attrs["runs"]` how each of its rows was. A lesion that memory does
        not suffice for has no row; `frame.attrs["failed"]` lists these.

    Raises:
        LesionError: If a lesion does not fit the network.
        DataError: If images or labels do not fit the network, or the store needs to read them again
            and cannot.
        EvaluationError: If memory runs out for the intact network and one image, or the intact
            logits are not finite.
        StoreError: If the store cannot be read or written.
        UsageError: If an argument has no meaning.
    """
    wanted = list(lesions) if lesions is not None else single_deletions(len(net))
    if not any(one.kind == "none" for one in wanted):
        wanted = [intact(), *wanted]
    if predictions and store is None:
        raise UsageError("predictions are kept in a store only; name a store, or leave them out")
    place = choose_device(device)
    size = batch_size if batch_size is not None else default_batch_size(net, place)
    name = model or net.model_name
    details = {"model": name, "engine": engine, "batch_size": size, **_about(data), **(about or {})}
    made = provenance(
        device=str(place), precision=precision, threads=torch.get_num_threads(), details=details
    )
    sweep = _Sweep(net, data, wanted, size, place, precision, engine)
    with bar(f"lesions of {name}", " images", shown=progress) as report:
        if store is None:
            outcomes, failed = sweep.measured(wanted, "none", report, data)
            extra: dict[str, object] = {}
        else:
            with Store(store) if isinstance(store, (str, Path)) else nullcontext(store) as opened:
                outcomes, failed, extra = _from_store(
                    sweep, opened, made, {"model": name, **(about or {})},
                    report=report, predictions=predictions,
                )  # fmt: skip
    frame = lesion_frame(
        outcomes,
        net.names,
        len(net),
        {block.index: block.adaptation for block in net if block.adaptation},
        made,
        model=name,
        dataset=data.name if isinstance(data, ImageDataset) else None,
        classes=net.num_classes,
        transitions=net.transitions,
    )
    frame.attrs |= extra
    if failed:
        frame.attrs["failed"] = [
            {"lesion": one.kind, "blocks": one.text, "reason": why} for one, why in failed.items()
        ]
    return frame


@dataclass(frozen=True)
class _Sweep:
    """What is run, and how."""

    net: Decomposition
    data: Data
    wanted: list[Lesion]
    batch_size: int
    device: torch.device
    precision: str
    engine: str

    def measured(
        self, lesions: Sequence[Lesion], details: Details, report: Progress, data: Data
    ) -> tuple[list[Outcome], dict[Lesion, str]]:
        """Run lesions; those that memory does not suffice for come with the reason."""
        return evaluate_each(
            self.net,
            data,
            lesions,
            batch_size=self.batch_size,
            device=self.device,
            precision=self.precision,
            engine=self.engine,
            details=details,
            progress=report,
        )


def _from_store(
    sweep: _Sweep,
    store: Store,
    made: dict[str, object],
    about: dict[str, Any],
    *,
    report: Progress,
    predictions: bool,
) -> tuple[list[Outcome], dict[Lesion, str], dict[str, object]]:
    """Measure what the store lacks, then take everything from it."""
    choose_engine(sweep.engine)
    compute_dtype(sweep.precision, sweep.device)
    context, data = describe(
        sweep.net, sweep.data, precision=sweep.precision, engine=sweep.engine, about=about
    )
    check_lesions(sweep.net, store.missing(context, sweep.wanted, predictions=predictions))
    asked = store.ask(context, sweep.wanted, predictions=predictions)
    kept: Details = "predictions" if predictions else "classes"
    filled = fill(
        asked,
        lambda unit, progress: sweep.measured(unit, kept, progress, data),
        provenance=made,
        report=report,
    )
    known = store.outcomes(context, sweep.wanted, metrics=asked.metrics)
    outcomes = [replace(known[one], lesion=one) for one in sweep.wanted if one in known]
    extra: dict[str, object] = {
        "store": {
            "path": str(store.path),
            "context": context.key.digest,
            "measured": filled.measured,
            "known": len(known) - filled.measured,
        },
        "runs": store.provenance(context),
    }
    return outcomes, filled.failed, extra


def _about(data: Data) -> dict[str, object]:
    if not isinstance(data, ImageDataset):
        return {}
    return {
        "dataset": data.name,
        "split": data.split,
        "images": len(data),
        "normalization": str(data.normalization),
        "content_hash": data.content_hash,
    }


@dataclass(frozen=True)
class LesionOptions(Options):
    """Which lesions are measured, and how.

    Attributes:
        lesions: The lesions; by default those of the choice.
        choice: What makes the lesions; by default each block is deleted once.
        metrics: What is measured.
        engine: "shared", or "direct" for checking.
        predictions: Whether a store keeps the predicted class of each observation.
    """

    lesions: Sequence[Lesion] | None = None
    choice: Any = None
    metrics: Sequence[Any] = ("top1", "loss")
    engine: str = option(
        "direct runs each lesion whole: slow, for checking.",
        "shared", choices=("shared", "direct"),
    )  # fmt: skip
    predictions: bool = option(
        "Keep the predicted classes in the store too.", False, determines=False
    )

    def check(self) -> None:
        """Refuse two ways to say which lesions, and metrics that there are not.

        Raises:
            UsageError: Saying which.
        """
        from ensembles.metrics import read  # noqa: PLC0415

        super().check()
        if self.lesions is not None and self.choice is not None:
            raise UsageError("both lesions and a choice are given; leave out one of the two")
        read(self.metrics)

    @property
    def determining(self) -> dict[str, Any]:
        """Metrics and engine; the lesions are rows of their own."""
        names = [one if isinstance(one, str) else one.name for one in self.metrics]
        return {"metrics": names, "engine": self.engine}


class Lesions(Analysis[LesionOptions]):
    """A sweep of lesions; a store keeps it lesion by lesion."""

    name = "lesion"
    summary = "What a network still answers when its blocks are deleted, moved or changed."
    source = "Veit, Wilber and Belongie 2016 (1605.06431), sections 4.1 and 4.2"
    options = LesionOptions
    label = ("lesion", "count", "blocks")
    figure = "ensembles.plots.panels:plot_lesions"
    by_lesion = True

    def engine(self, options: LesionOptions) -> str:
        """The engine of the options."""
        return options.engine

    def measure(
        self, net: Decomposition, data: Any, options: LesionOptions, run: Run
    ) -> pd.DataFrame:
        """Measure the lesions."""
        return lesion(
            net, data, options.lesions, engine=options.engine, predictions=options.predictions,
            batch_size=run.batch_size, device=run.device, precision=run.precision,
            progress=run.progress, model=run.model, store=run.store, about=dict(run.about),
        )  # fmt: skip


LESION = Lesions()
