"""Operations that do what another one does, and read of a tensor its size or type alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import fx

from ensembles.decomposition.simplification import operation
from ensembles.decomposition.sum_writer import SumWriter

__all__ = ["SYNONYMS", "given_of"]

_ALIKE = (
    "zeros_like", "ones_like", "empty_like", "full_like", "new_zeros", "new_ones", "new_empty",
    "new_full",
)  # fmt: skip
_CONCATENATES = {"vstack": 0, "row_stack": 0, "hstack": 1, "column_stack": 1, "dstack": 2}
_SHAPED = ("view_as", "reshape_as", "expand_as", "type_as")
_STYLES = ("dtype", "device", "layout", "memory_format", "pin_memory", "requires_grad")


def given_of(node: fx.Node, names: Sequence[str]) -> dict[str, Any] | None:
    """Arguments by name; None where there are others.

    Args:
        node: A call.
        names: The names of its arguments by place.
    """
    if len(node.args) > len(names) or node.kwargs.keys() - set(names):
        return None
    return {**dict(zip(names, node.args, strict=False)), **node.kwargs}


def _joined_along(sums: SumWriter, node: fx.Node) -> fx.Node | None:
    """A concatenation by another name."""
    given = given_of(node, ("tensors",))
    place, rank = _CONCATENATES[operation(node)], len(sums.sizes[node.name].two or ())
    parts = (given or {}).get("tensors")
    alike = isinstance(parts, (list, tuple)) and all(isinstance(part, fx.Node) for part in parts)
    if not alike or {sums.rank(part) for part in parts or ()} != {rank} or rank <= place:
        return None
    return sums.call(torch.cat, list(parts or ()), place, like=sums.sizes[node.name])


def _made_alike(sums: SumWriter, node: fx.Node) -> fx.Node | None:
    """A tensor of a size that an activation tells, and of nothing else of it.

    Where the activation is read for nothing else, the tensor stands in its place: someone silenced
    a layer, whose block stays.
    """
    if any(len(source.users) == 1 for source in node.all_input_nodes):
        return None
    name = operation(node).removesuffix("_like").removeprefix("new_")
    given = given_of(node, ("input", "size", "fill_value", *_STYLES)) if "full" in name else {}
    if given is None or sums.sizes[node.name].two is None or "dtype" not in node.meta:
        return None
    fill = given.get("fill_value", given.get("size"))
    if "full" in name and not isinstance(fill, (int, float)):
        return None
    filled = (fill,) if "full" in name else ()
    return sums.factories.made(node, "zeros" if name == "empty" else name, *filled)


def _shaped_alike(sums: SumWriter, node: fx.Node) -> fx.Node | None:
    """An activation in the size or the type of another one, of which nothing else is read."""
    if len(node.args) != 2 or node.kwargs or not sums.both(*node.args):
        return None
    name, source = operation(node), node.args[0]
    args = (node.meta["dtype"],) if name == "type_as" else (sums.factories.lengths(node),)
    bare = {"type_as": "to", "expand_as": "expand"}.get(name, "reshape")
    made = sums.graph.call_method(bare, (source, *args))
    made.meta = dict(node.meta)
    sums.sizes[made.name] = sums.sizes[node.name]
    sums.enter(made)
    return made


SYNONYMS: Mapping[str, Callable[[SumWriter, fx.Node], fx.Node | None]] = {
    **dict.fromkeys(_CONCATENATES, _joined_along),
    **dict.fromkeys(_ALIKE, _made_alike),
    **dict.fromkeys(_SHAPED, _shaped_alike),
}
"""What writes each as the other."""
