"""A plain module in place of a network taken apart: it is taken apart on the data's first batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ensembles.errors import UsageError

if TYPE_CHECKING:
    from torch import nn

    from ensembles.decomposition import Decomposition

__all__ = ["taken_apart"]

_ROWS = 16


def taken_apart(net: Decomposition | nn.Module, data: Any) -> Decomposition:
    """The network as stem, blocks and head; a module is taken apart on the first rows of the data.

    Args:
        net: A network taken apart by `ensembles.decompose`, which comes back as it is, or any
            module that it takes.
        data: As the analyses take it; for a module it must be readable more than once.

    Raises:
        UsageError: If it is no network, or the data can be read only once; the line says which
            call to make.
        EnsemblesError: As `ensembles.decompose` raises it, or whatever reads the data.
    """
    from torch import nn  # noqa: PLC0415

    from ensembles.data.batches import batches  # noqa: PLC0415
    from ensembles.data.texts import TextDataset  # noqa: PLC0415
    from ensembles.decomposition import Decomposition, decompose  # noqa: PLC0415

    if isinstance(net, Decomposition):
        return net
    if not isinstance(net, nn.Module):
        raise UsageError(
            f"a {type(net).__name__} in place of a network; expected what "
            "ensembles.decompose(model, example) returned, or the model itself"
        )
    if isinstance(data, Iterator):
        raise UsageError(
            f"the model {type(net).__name__} is not taken apart, and the data can be read only "
            "once; call ensembles.decompose(model, example) with a batch of them first"
        )
    first = data.windows[:_ROWS] if isinstance(data, TextDataset) else next(batches(data, _ROWS))[0]
    weight = next(net.parameters(), None)
    return decompose(net, first if weight is None else _on(first, weight.device))


def _on(rows: Any, device: Any) -> Any:
    if isinstance(rows, Mapping):
        return {name: one.to(device) for name, one in rows.items()}
    return tuple(one.to(device) for one in rows) if isinstance(rows, tuple) else rows.to(device)
