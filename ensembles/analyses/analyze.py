"""Any analysis by its name: a network and data in, a tidy table out."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensembles.analyses.base import Options, Run
from ensembles.analyses.kinds import ANALYSES, AnyAnalysis
from ensembles.errors import DataWarning

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from torch import nn

    from ensembles.decomposition import Decomposition
    from ensembles.progress import Progress
    from ensembles.store import Store
    from ensembles.tasks.base import Task

__all__ = ["analyze"]


def analyze(
    net: Decomposition | nn.Module,
    data: Any,
    name: str,
    *,
    store: Store | str | Path | None = None,
    task: Task | str | None = None,
    device: str | torch.device = "auto",
    precision: str | None = None,
    batch_size: int | None = None,
    progress: bool | Progress | None = None,
    model: str | None = None,
    about: Mapping[str, Any] | None = None,
    reference: Any = None,
    initial: Any = None,
    sources: Any = None,
    **options: Any,
) -> pd.DataFrame:
    """Run an analysis; `ensembles.list_analyses()` names them all (docs/analyses.md).

    Args:
        net: A network taken apart by `ensembles.decompose`, or any module, which is then taken
            apart on the first batch; it is left as it is.
        data: One of our data sets, a torch `Dataset` of (input, target), or an iterable of batches
            that can be read several times.
        name: Name of the analysis.
        store: A store of results, or its path: an analysis that is in it is not made again.
        task: What is asked of the network, by its name or as a value; by default what the shapes
            of the network say.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        precision: "fp32", "tf32" (CUDA), "bf16", or "fp64" where the analysis has it; by default
            the analysis chooses, which is fp32 for nearly all.
        batch_size: Rows at a time; by default as many as suit the device.
        progress: Whether to show a bar, by default only on a terminal; or a function to tell.
        model: Name of the network in the table; by default its class.
        about: What else the provenance is to tell, such as the `checkpoint`.
        reference: Reference data, for lesions that need some.
        initial: The network before it was trained, for lesions that need it.
        sources: Other trained networks by name, for lesions that need them.
        options: Options of the analysis by name.

    Returns:
        The table. ``attrs`` hold `analysis`, `options` (those that determine the result),
        `model` and `provenance` at least.

    Raises:
        UsageError: If there is no such analysis or option, or a value has no meaning.
        EnsemblesError: As the analysis raises it.
    """
    from ensembles.analyses.first_batch import taken_apart  # noqa: PLC0415 (torch)
    from ensembles.tasks import task_of  # noqa: PLC0415

    analysis = ANALYSES.get(name)
    chosen: Options = analysis.options.made(options, name)
    net = taken_apart(net, data)
    analysis.check(net, chosen)
    run = Run(
        task=task_of(net, task, data),
        device=str(device),
        precision=analysis.precision(net, chosen, precision),
        batch_size=batch_size,
        progress=progress,
        model=model or net.model_name,
        about=dict(about or {}),
        reference=reference,
        initial=initial,
        sources=sources,
    )
    if store is None:
        return _measured(analysis, net, data, chosen, run)
    from ensembles.store import Store  # noqa: PLC0415

    with Store(store) if isinstance(store, (str, Path)) else nullcontext(store) as opened:
        run = replace(run, store=opened)
        if analysis.by_lesion:
            return _measured(analysis, net, data, chosen, run)
        return _kept(analysis, net, data, chosen, run)


def _measured(
    analysis: AnyAnalysis, net: Decomposition, data: Any, options: Options, run: Run
) -> pd.DataFrame:
    from ensembles.engine.weight_types import one_type_for_all  # noqa: PLC0415 (torch)

    with one_type_for_all(net):
        frame = analysis.measure(net, data, options, run)
    frame.attrs |= {"analysis": analysis.name, "options": options.determining}
    frame.attrs.setdefault("model", run.model)
    made = frame.attrs.get("provenance") or _provenance(data, options, run)
    frame.attrs["provenance"] = made | _used(data, frame, made)
    return frame


def _used(data: Any, frame: pd.DataFrame, made: Mapping[str, object]) -> dict[str, int]:
    """How many rows a table is of: its attribute, else what its own sweep was run on."""
    from ensembles.analyses.about import ROWS, about_data, about_used  # noqa: PLC0415

    used = frame.attrs.get("rows", next((made[name] for name in ROWS if name in made), None))
    return about_used(about_data(data), used) if isinstance(used, int) else {}


def _kept(
    analysis: AnyAnalysis, net: Decomposition, data: Any, options: Options, run: Run
) -> pd.DataFrame:
    """The table of a store, measured only where it is not there.

    It is measured on the data themselves, which an analysis takes some rows of by what they are;
    that they are still the same is seen afterwards.
    """
    from ensembles.analyses.needed import digests  # noqa: PLC0415 (torch)
    from ensembles.store.recall import recalled  # noqa: PLC0415

    assert run.store is not None
    frame = recalled(
        run.store,
        net,
        data,
        lambda _, parts: _measured(analysis, net, data, options, replace(run, parts=parts)),
        name=analysis.name,
        options=options.determining,
        task=run.task,
        precision=run.precision,
        engine=analysis.engine(options),
        about={"model": run.model, **run.about},
        **digests(analysis, net, data, options, run),
    )
    if frame.attrs["store"]["known"]:
        _doubt_rows(frame, data, options)
    return frame


def _doubt_rows(frame: pd.DataFrame, data: Any, options: Options) -> None:
    """Warn where a kept table of a text is of more windows than were asked for.

    With a store, earlier versions measured all windows, whatever `rows` said; such tables stay.
    """
    from ensembles.analyses.about import about_text  # noqa: PLC0415

    asked = max(getattr(options, "rows", 0), getattr(options, "images", 0) or 0)
    made = frame.attrs.get("rows")
    limited = bool(getattr(options, "rows", 0)) and bool(about_text(data))
    if limited and isinstance(made, int) and made > asked:
        warnings.warn(
            f"the table of {frame.attrs['analysis']} in {frame.attrs['store']['path']} is of "
            f"{made:,} rows, as an earlier version measured it, and {asked:,} were asked for; "
            "measure into another store for those",
            DataWarning,
            stacklevel=4,
        )


def _provenance(data: Any, options: Options, run: Run) -> dict[str, object]:
    import torch  # noqa: PLC0415

    from ensembles.analyses.about import about_data  # noqa: PLC0415
    from ensembles.engine import choose_device  # noqa: PLC0415
    from ensembles.tables.provenance import provenance  # noqa: PLC0415

    told = {"model": run.model, "task": run.task.name, **about_data(data), **run.about}
    return provenance(
        device=str(choose_device(run.device)),
        precision=run.precision,
        threads=torch.get_num_threads(),
        details={**vars(options), **told},
    )
