"""Sums of activations that lie within what could not be cut into blocks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import fx, nn

from ensembles.decomposition.chain import Segment
from ensembles.decomposition.graph import Graph
from ensembles.decomposition.nested_blocks import Site
from ensembles.decomposition.network import Decomposition
from ensembles.decomposition.node_probe import PRODUCTS, NodeProbe
from ensembles.decomposition.private_copy import Sealed, is_taken_whole
from ensembles.decomposition.pure_forms import assigned
from ensembles.decomposition.simplification import (
    concat_parts,
    is_add,
    is_concat,
    is_stack,
    operation,
)
from ensembles.decomposition.trace import scope_of
from ensembles.errors import DecompositionError

__all__ = ["require_shortcuts", "uncut"]

_HIDDEN = "compiled by TorchScript"
_WHOLE = "taken whole, as its steps follow from what a router chose"
_OPAQUE = "an operation that cannot be looked into"
_GATE = "which joins what it reads with its state by gates"
_OPEN = ("aten", "prims", "prim", "torchvision", "quantized")
_INTO = ("index_add", "scatter_add", "scatter_reduce")
_APART = (
    "getitem", "select", "unbind", "max", "amax", "min", "amin", "prod", "median", "logsumexp",
)  # fmt: skip
_ALONG = ("sum", "mean", "nansum", "cumsum")
_OVER = (*_ALONG, "einsum", "matmul", "tensordot")


def uncut(graph: Graph, segments: Sequence[Segment], sites: Sequence[Site]) -> tuple[str, ...]:
    """Where activations are added within segments that no block with a shortcut was made of.

    Args:
        graph: The functional graph.
        segments: Its segments.
        sites: Where the blocks are.

    Returns:
        The modules, each once, in order; behind them those that TorchScript has compiled, in
        which nothing can be seen.
    """
    cut = [site for site in sites if site.core is not None]
    inside = set[fx.Node]().union(*(graph.cone(site.exit, site.entry) for site in cut))
    probe = NodeProbe(graph)
    open_nodes = [
        node
        for segment in segments
        if segment.kind in ("composite", "other")
        for node in graph.cone(segment.exit, segment.entry) & graph.used - inside
    ]
    open_nodes.sort(key=graph.order.__getitem__)
    sums = []
    for node in open_nodes:
        place, opaque = scope_of(node) or "the model's own forward", _opaque(graph, node)
        if _is_cell(graph, node):
            sums.append(f"{node.target} ({_class_of(graph, node)}, {_GATE})")
        elif _is_whole(graph, node):
            sums.append(f"{node.target} ({_WHOLE})")
        elif opaque:
            sums.append(f"{place} ({opaque}, {_OPAQUE})")
        elif _sums(graph, node) or _adds(graph, probe, node):
            sums.append(place)
    return tuple(dict.fromkeys([*sums, *_sealed(graph)]))


def _is_cell(graph: Graph, node: fx.Node) -> bool:
    """Whether a node is a recurrent cell that is given two activations, as a gate of a block is."""
    if node.op != "call_module" or len(graph.inputs(node)) < 2:
        return False
    return isinstance(graph.traced.get_submodule(str(node.target)), nn.RNNCellBase)


def _class_of(graph: Graph, node: fx.Node) -> str:
    return type(graph.traced.get_submodule(str(node.target))).__name__


def _is_whole(graph: Graph, node: fx.Node) -> bool:
    """Whether a node is a mixture of experts that was taken as one layer."""
    called = node.op == "call_module"
    return called and is_taken_whole(graph.traced.get_submodule(str(node.target)))


def _opaque(graph: Graph, node: fx.Node) -> str:
    """The name of a library's own operation that reads several activations."""
    target = node.target
    if not isinstance(target, (torch._ops.OpOverload, torch._ops.OpOverloadPacket)):
        return ""
    name = str(target).replace(".", "::", 1).partition(".")[0]
    return "" if name.partition("::")[0] in _OPEN or len(graph.inputs(node)) < 2 else name


def _adds(graph: Graph, probe: NodeProbe, node: fx.Node) -> bool:
    """Whether a node of whatever name is a sum of several activations of its size."""
    if is_add(node) or is_concat(node) or is_stack(node) or graph.is_weight_layer(node):
        return False
    return len(graph.inputs(node)) > 1 and operation(node) not in PRODUCTS and probe.adds(node)


def _sealed(graph: Graph) -> list[str]:
    """Modules of which TorchScript hides what they do."""
    called = [str(node.target) for node in graph.active if node.op == "call_module"]
    sealed = [name for name in called if isinstance(graph.traced.get_submodule(name), Sealed)]
    return [f"{name} ({_HIDDEN})" for name in sorted(sealed)]


def require_shortcuts(net: Decomposition) -> None:
    """Refuse plain blocks alone where sums of activations lie within them.

    Raises:
        DecompositionError: Naming the first such sum.
    """
    hidden = [place for place in net.uncut if not place.endswith(f"{_GATE})")]
    if not hidden or any(block.kind != "plain" for block in net):
        return
    if hidden[0].endswith(f"({_HIDDEN})"):
        raise DecompositionError(
            f"TorchScript has compiled {hidden[0].partition(' ')[0]} of {net.model_name} and "
            "hides its sums, and no block with a shortcut was found beside it; pass the model that "
            "it was made from, or ask for plain blocks (kinds=['plain'])"
        )
    if hidden[0].endswith(f"{_OPAQUE})"):
        place, _, what = hidden[0].partition(" (")
        raise DecompositionError(
            f"{what.removesuffix(')')}, joins activations in {place} of {net.model_name}, perhaps "
            "by a sum, and no block with a shortcut was found beside it; write it with operations "
            "of torch, or ask for plain blocks (kinds=['plain'])"
        )
    if net.nested is False:
        raise DecompositionError(
            f"no block with a shortcut lies on the chain of {net.model_name}, and nested=False "
            f"(--chain) looks nowhere else; activations are added in {hidden[0]}: leave it out, "
            "or ask for plain blocks (kinds=['plain'])"
        )
    more = f" and {len(hidden) - 1} more modules" if len(hidden) > 1 else ""
    raise DecompositionError(
        f"activations are added in {hidden[0]}{more}, within parts of {net.model_name} that "
        "have no single entry and exit, or no weights, so that no block with a shortcut was found; "
        "ask for plain blocks (kinds=['plain']) to take such parts whole, or name the blocks"
    )


def _sums(graph: Graph, node: fx.Node) -> bool:
    """Whether a node adds activations of one size."""
    if node.meta.get("steers"):
        return False
    if is_add(node):
        sources = graph.inputs(node)
        size = graph.sizes[node.name]
        return len(sources) > 1 and all(graph.sizes[one.name] == size for one in sources)
    name = operation(node)
    if name in _INTO:
        return len(graph.inputs(node)) > 1
    if name in _ALONG and any(_takes_written(graph, node, one) for one in graph.inputs(node)):
        return True
    if name in _OVER:
        several = [one for one in graph.inputs(node) if _several(graph, one)]
        if any(_takes(graph, node, one) for one in several):
            return True
    return name not in _APART and any(_merged(graph, node, one) for one in graph.inputs(node))


def _takes_written(graph: Graph, node: fx.Node, rows: fx.Node) -> bool:
    """Whether a node sums over what was written into a tensor part by part."""
    while operation(rows) == "getitem" and len(graph.inputs(rows)) == 1:
        (rows,) = graph.inputs(rows)
    if rows.target is not assigned or len(graph.inputs(rows)) < 2:
        return False
    index: Any = rows.args[1]
    index = index if isinstance(index, tuple) else (index,)
    rank = len(graph.sizes[rows.name].two or ())
    dims = _dims(node)
    if Ellipsis in index or not dims:
        return True
    chosen = [place for place, one in enumerate(index) if one != slice(None)]
    return any((dim - place) % max(rank, 1) == 0 for dim in dims for place in chosen)


def _dims(node: fx.Node) -> list[int]:
    """The dimensions over which a node sums; none where it takes all, or does not say."""
    given: Any = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
    given = node.kwargs.get("axis") if given is None else given
    dims = [*given] if isinstance(given, (list, tuple)) else [given]
    return dims if all(isinstance(dim, int) for dim in dims) else []


def _takes(graph: Graph, node: fx.Node, parts: fx.Node) -> bool:
    """Whether a node sums over the dimension along which activations stand side by side."""
    if operation(node) not in _ALONG:
        return True
    dims = _dims(node)
    if not dims:
        return True
    place: Any
    if is_concat(parts):
        place = concat_parts(parts)[1]
    else:
        place = parts.args[1] if len(parts.args) > 1 else parts.kwargs.get("dim", 0)
    rank = len(graph.sizes[parts.name].two or ()) or 1
    return any((dim - place) % rank == 0 for dim in dims)


def _merged(graph: Graph, node: fx.Node, stack: fx.Node) -> bool:
    """Whether a node makes one activation of several that were stacked, of the size of each."""
    if not is_stack(stack) or not _several(graph, stack):
        return False
    (part, *_), whole = graph.inputs(stack), graph.sizes[node.name].two
    size = graph.sizes[part.name].two
    return whole is not None and math.prod(whole) == math.prod(size or ())


def _several(graph: Graph, node: fx.Node) -> bool:
    """Whether a node holds several activations of one size side by side."""
    if not is_stack(node) and not is_concat(node):
        return False
    parts = graph.inputs(node)
    if is_concat(node):
        parts = concat_parts(node)[0]
    return len(parts) > 1 and len({graph.sizes[part.name] for part in parts}) == 1
