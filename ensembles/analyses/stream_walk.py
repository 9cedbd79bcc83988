"""A walk over the intact network: what its blocks do to the values of all rows."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch

from ensembles.analyses.base import Run
from ensembles.analyses.stream import Stream
from ensembles.decomposition import Decomposition
from ensembles.decomposition.inputs import placed, rows_of, take
from ensembles.engine import choose_device, default_batch_size
from ensembles.engine.devices import compute_dtype
from ensembles.engine.memory import Halver
from ensembles.numerics import exact_attention, exact_mathematics
from ensembles.progress import bar
from ensembles.tasks.base import Batch

__all__ = ["each_part", "on_device", "walked"]


def walked(net: Decomposition, data: Any, run: Run, cosine: str, span: int = 1) -> Stream:
    """What the intact network does to all rows; a batch that fails for memory is halved.

    Args:
        net: The network.
        data: The rows.
        run: Where and how.
        cosine: Over what vectors cosines and norms are taken, as for :class:`Stream`.
        span: Spans of so many blocks are looked at too; 1 for none.
    """
    stream = Stream(on_device(net, run), cosine, span)
    each_part(net, data, run, lambda batch: stream.add(batch.inputs), "blocks")
    return stream


def on_device(net: Decomposition, run: Run) -> Decomposition:
    """A copy of a network where it is to run, in the type that it is to run in."""
    device = choose_device(run.device)
    dtype = compute_dtype(run.precision, device)
    return copy.deepcopy(net, {id(net.traced): None}).to(device, dtype)


def each_part(
    net: Decomposition, data: Any, run: Run, add: Callable[[Batch], None], what: str
) -> None:
    """Hand all rows over, in parts that memory suffices for, on the device.

    Args:
        net: The network.
        data: The rows.
        run: Where and how.
        add: Takes a part: all of it or, if memory ends, none.
        what: What is looked at, for the bar.
    """
    device = choose_device(run.device)
    dtype, halver = compute_dtype(run.precision, device), Halver(device)
    size = run.batch_size or default_batch_size(net, device)
    whole = len(data) if hasattr(data, "__len__") and hasattr(data, "__getitem__") else 0
    seen = 0
    with (
        bar(f"{what} of {run.model or net.model_name}", " rows", shown=run.progress) as report,
        torch.inference_mode(),
        exact_mathematics(run.precision),
        exact_attention(),
    ):
        for given in run.task.batches(data, size):
            batch = run.task.fitted(net, given)
            run.task.check(net, batch)

            def one(part: slice, batch: Batch = batch) -> None:
                inputs = placed(take(batch.inputs, part), device, dtype)
                targets = batch.targets[part].to(device)
                add(Batch(inputs, targets, batch.start + part.start))

            halver.each(rows_of(batch.inputs), one)
            seen += rows_of(batch.inputs)
            report(seen, whole)
