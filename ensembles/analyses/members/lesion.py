"""A sweep of lesions as one call: a network and data in, a tidy table out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensembles.analyses.base import Analysis, Options, Run, option
from ensembles.engine.names import ENGINES, kept_engine
from ensembles.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from torch import nn

    from ensembles.decomposition import Decomposition
    from ensembles.lesions import Choice, Lesion
    from ensembles.metrics import Metric
    from ensembles.progress import Progress
    from ensembles.store import Store
    from ensembles.tasks import Task

__all__ = ["MEMBER", "LesionOptions", "Lesions", "lesion"]


def lesion(
    net: Decomposition | nn.Module,
    data: Any,
    lesions: Iterable[Lesion] | None = None,
    *,
    metrics: str | Metric | Iterable[str | Metric] = ("top1", "loss"),
    task: Task | str | None = None,
    reference: Any = None,
    initial: Any = None,
    sources: Any = None,
    batch_size: int | None = None,
    device: str | torch.device = "auto",
    precision: str = "fp32",
    engine: str = "shared",
    progress: bool | Progress | None = None,
    model: str | None = None,
    store: Store | str | Path | None = None,
    predictions: bool = False,
    about: Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """Lesion a network and measure what is left (Veit et al. 2016, sections 4.1 to 4.3).

    Every lesion is evaluated on every observation once, in a fixed order, with running BatchNorm
    statistics unless it measures them anew; lesions that begin alike share the work.

    Args:
        net: A network taken apart by `ensembles.decompose`, or any module, which is then taken
            apart on the first batch; it is left as it is.
        data: One of our data sets, a torch `Dataset` of (input, target), or an iterable of batches
            (inputs, targets); inputs are taken as they come, normalised by whoever made them.
        lesions: What to do to the blocks (`ensembles.lesions`); by default each block is deleted
            once. The intact network is added where it is missing.
        metrics: What is measured, all in one pass: names of `ensembles.list_metrics()`, or metrics
            themselves. `top1` and `loss` are always among them.
        task: What is asked of the network; by default what suits its shapes.
        reference: Data of which `MeanBranch` takes means and recalibration its statistics; by
            default the training split of the same data set.
        initial: The network as it was before training, for `Reset`.
        sources: Other trained networks of the same architecture by name, or a function from a name
            to one, for `Transplant`.
        batch_size: Rows at a time; by default as many as suit the device.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        precision: "fp32", "tf32" (CUDA) or "bf16".
        engine: "prefix" (what lesions share is run once, depth first), "level" (level by level,
            lesions that meet the same step as one batch), "shared" (the one of the two that suits
            the device), or "direct" (their oracle: each lesion run whole).
        progress: Whether to show a bar, by default only on a terminal; or a function to tell.
        model: Name of the network in the frame; by default its class.
        store: A store of results, or its path (docs/store.md): lesions that are in it are not
            measured again, the others are added to it, unit by unit.
        predictions: Whether the store is to keep the predicted class of each observation.
        about: What else the provenance is to tell, such as the `checkpoint`.

    Returns:
        One row for each lesion, the intact network first: `lesion`, `count`, `blocks`,
        `block_names`, `kendall_tau`, `trial`, `seed`, `correct`, `total`, `error` (a share, 0 to
        1), `loss` (nats), the columns of the other metrics, `nonfinite`, `adapted`.
        `frame.attrs["provenance"]` tells how it was made, of a store `frame.attrs["runs"]` how each
        of its rows was. A lesion that memory does not suffice for has no row;
        `frame.attrs["failed"]` lists these.

    Raises:
        LesionError: If a lesion does not fit the network, or what it needs is missing.
        DataError: If inputs or targets do not fit the network, or the store needs to read them
            again and cannot.
        EvaluationError: If memory runs out for the intact network and one row, or the intact
            output is not finite.
        StoreError: If the store cannot be read or written.
        UsageError: If an argument has no meaning.
    """
    from ensembles.analyses.first_batch import taken_apart  # noqa: PLC0415 (torch)
    from ensembles.analyses.lesion_sweep import LesionSweep, Surroundings  # noqa: PLC0415

    if predictions and store is None:
        raise UsageError("predictions are kept in a store only; name a store, or leave them out")
    net = taken_apart(net, data)
    sweep = LesionSweep.prepared(
        net,
        data,
        lesions,
        task=task,
        metrics=metrics,
        surroundings=Surroundings(reference, initial, sources),
        batch_size=batch_size,
        device=device,
        precision=precision,
        engine=engine,
        predictions=predictions,
    )
    return sweep.frame(model or net.model_name, dict(about or {}), store, progress)


@dataclass(frozen=True)
class LesionOptions(Options):
    """Which lesions are measured, and how.

    Attributes:
        lesions: The lesions; by default those of the choice.
        choice: What makes the lesions; by default each block is deleted once.
        metrics: What is measured.
        engine: As for :func:`lesion`.
        predictions: Whether a store keeps the predicted class of each observation.
    """

    lesions: Sequence[Lesion] | None = None
    choice: Choice | None = None
    metrics: Sequence[str | Metric] = ("top1", "loss")
    engine: str = option(
        "shared is prefix or level, as suits the device; direct is slow, for checking.",
        "shared", choices=ENGINES,
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
        return {"metrics": names, "engine": kept_engine(self.engine)}


class Lesions(Analysis[LesionOptions]):
    """A sweep of lesions; a store keeps it lesion by lesion."""

    name = "lesion"
    summary = "Error and other measures when blocks are deleted, moved or changed."
    source = "Veit, Wilber and Belongie 2016 (1605.06431), sections 4.1 and 4.2"
    options = LesionOptions
    label = ("lesion", "count", "blocks")
    figure = "ensembles.plots.panels:plot_lesions"
    by_lesion = True

    def engine(self, options: LesionOptions) -> str:
        """The engine of the options; those that share prefixes count the same."""
        return kept_engine(options.engine)

    def measure(
        self, net: Decomposition, data: Any, options: LesionOptions, run: Run
    ) -> pd.DataFrame:
        """Measure the lesions."""
        return lesion(
            net,
            data,
            _lesions(net, options),
            metrics=options.metrics,
            engine=options.engine,
            predictions=options.predictions,
            **run.of_lesions,
        )


def _lesions(net: Decomposition, options: LesionOptions) -> Sequence[Lesion] | None:
    from ensembles.lesions.structure import Structure  # noqa: PLC0415

    return options.choice.lesions(Structure.of(net)) if options.choice else options.lesions


MEMBER = Lesions()
