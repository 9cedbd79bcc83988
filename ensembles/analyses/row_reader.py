"""All rows of data, handed to what adds them up; a store keeps how far it came."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from ensembles.analyses.base import Run
from ensembles.decomposition import Decomposition
from ensembles.decomposition.inputs import rows_of
from ensembles.engine.memory import Halver
from ensembles.progress import bar
from ensembles.tasks.base import Batch

__all__ = ["Seen", "read_rows"]

_SECONDS = 30.0
"""What an interruption may cost at most, beside the batch that it falls into."""


class Seen(Protocol):
    """What adds up rows, batch by batch.

    Attributes:
        rows: Rows seen.
    """

    rows: int

    def state(self) -> dict[str, Tensor]:
        """All that was added up, `rows` among it."""

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what was added up before."""


def read_rows(
    seen: Seen,
    net: Decomposition,
    data: Any,
    run: Run,
    add: Callable[[Batch, slice], None],
    *,
    title: str,
    size: int,
    device: torch.device,
) -> None:
    """Hand over all rows in parts that memory suffices for; those seen before are passed over.

    Args:
        seen: What adds them up.
        net: The network that they are for.
        data: The rows.
        run: Where and how; its parts hold what was added up before, under the title.
        add: Takes a batch and the rows of it that are to be added: all of them or, if memory ends,
            none.
        title: What is looked at, for the bar.
        size: Rows at a time.
        device: Where the work is done.
    """
    known = None if run.parts is None else run.parts.read(title)
    if known is not None:
        seen.restore({name: torch.from_numpy(one) for name, one in known.items()})
    whole = len(data) if hasattr(data, "__len__") and hasattr(data, "__getitem__") else 0
    halver, before, last = Halver(device), seen.rows, time.monotonic()

    def keep() -> None:
        assert run.parts is not None
        run.parts.keep(title, {name: one.cpu().numpy() for name, one in seen.state().items()})

    with bar(f"{title} {run.model or net.model_name}", " rows", shown=run.progress) as report:
        for given in run.task.batches(data, size):
            past = max(seen.rows - given.start, 0)
            left = rows_of(given.inputs) - past
            if left <= 0:
                continue
            batch = run.task.fitted(net, given)
            run.task.check(net, batch)

            def some(part: slice, batch: Batch = batch, past: int = past) -> None:
                add(batch, slice(part.start + past, part.stop + past))

            halver.each(left, some)
            report(seen.rows, whole)
            if run.parts is not None and time.monotonic() - last >= _SECONDS:
                keep()
                last, before = time.monotonic(), seen.rows
    if run.parts is not None and seen.rows > before and time.monotonic() - last >= _SECONDS / 10:
        keep()
