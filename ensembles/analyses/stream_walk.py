"""A walk over the intact network: what its blocks do to the values of all rows."""

from __future__ import annotations

import copy
from functools import partial
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
from ensembles.tasks.base import Inputs

__all__ = ["walked"]


def walked(net: Decomposition, data: Any, run: Run, cosine: str, span: int = 1) -> Stream:
    """What the intact network does to all rows; a batch that fails for memory is halved.

    Args:
        net: The network.
        data: The rows.
        run: Where and how.
        cosine: Over what vectors cosines and norms are taken, as for :class:`Stream`.
        span: Spans of so many blocks are looked at too; 1 for none.
    """
    device = choose_device(run.device)
    dtype = compute_dtype(run.precision, device)
    ready = copy.deepcopy(net, {id(net.traced): None}).to(device, dtype)
    stream, halver = Stream(ready, cosine, span), Halver(device)
    size = run.batch_size or default_batch_size(net, device)
    whole = len(data) if hasattr(data, "__len__") and hasattr(data, "__getitem__") else 0
    title = f"blocks of {run.model or net.model_name}"
    with (
        bar(title, " rows", shown=run.progress) as report,
        torch.inference_mode(),
        exact_mathematics(run.precision),
        exact_attention(),
    ):
        for given in run.task.batches(data, size):
            batch = run.task.fitted(net, given)
            run.task.check(net, batch)
            inputs = batch.inputs
            halver.each(rows_of(inputs), partial(_add_rows, stream, inputs, device, dtype))
            report(stream.rows, whole)
    return stream


def _add_rows(
    stream: Stream, inputs: Inputs, device: torch.device, dtype: torch.dtype, part: slice
) -> None:
    stream.add(placed(take(inputs, part), device, dtype))
