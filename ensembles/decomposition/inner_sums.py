"""Which additions are blocks: a sum around one of its operands, or around its own dominator.

A sum whose one operand is read by what makes the other is a block around that operand, wherever the
rest of its branch comes from (a stream that is carried on beside others). Any other is classified
as a segment of the chain is, between its dominator and itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import fx

from ensembles.decomposition.chain import Segment, classified
from ensembles.decomposition.graph import Graph
from ensembles.decomposition.hook_sums import steers
from ensembles.decomposition.junctions import addends, is_linear, is_proportional
from ensembles.decomposition.simplification import concat_parts, is_add, is_concat, operation
from ensembles.decomposition.spans import SHORTCUT

__all__ = [
    "against_dominator",
    "carried",
    "ends_inside",
    "is_own",
    "reads_of",
    "sees_another",
    "summands",
]

_MIXING = ("softmax", "matmul", "bmm", "einsum", "scaled_dot_product_attention", "baddbmm")


def carried(graph: Graph, node: fx.Node) -> Segment | None:
    """A sum of which one operand is made of the other, or of the parts that this puts together."""
    operands = [_bare(arg) for arg in node.args if isinstance(arg, fx.Node)]
    if len(operands) != 2 or operands[0] is operands[1]:
        return None
    for base, made in (operands, operands[::-1]):
        read = reads_of(graph, base, made)
        if made not in graph.active or not read:
            continue
        if base in graph.context:  # a mask that earlier layers read too
            continue
        if graph.sizes[base.name].batch is None:
            continue
        if steers(graph, base, node):
            return None
        cone = graph.cone(made, base, read)
        weighted = (n for n in cone if graph.weights(n) or graph.is_weight_layer(n))
        if not any(_depends(graph, n, read) for n in weighted):
            return None
        sizes = graph.sizes
        aligned = sizes[base.name] == sizes[made.name] == sizes[node.name]
        within = addends(graph, base, node, (base,)) if base in graph.active else ()
        roads = tuple((end,) for end in within) or ((made,),)
        return Segment(base, node, "residual", (base,), (made,), aligned, roads, bool(within))
    return None


def _parts(node: fx.Node) -> list[fx.Node]:
    """What a concatenation puts together."""
    return concat_parts(node)[0] if is_concat(node) else []


def reads_of(graph: Graph, base: fx.Node, made: fx.Node) -> list[fx.Node]:
    """What another operand is made of: a node, or each part that it puts beside a sum."""
    if graph.depends(made, base):
        return [base]
    parts = _parts(base)
    summed = any(is_add(part) for part in parts)
    return parts if summed and all(graph.depends(made, part) for part in parts) else []


def _depends(graph: Graph, node: fx.Node, others: Sequence[fx.Node]) -> bool:
    return any(graph.depends(node, other) for other in others)


def _bare(node: fx.Node) -> fx.Node:
    """A tensor without what only sets its layout in memory."""
    while operation(node) == "contiguous" and isinstance(node.args[0], fx.Node):
        node = node.args[0]
    return node


def against_dominator(graph: Graph, node: fx.Node, found: Sequence[Segment]) -> Segment | None:
    """A sum between its immediate dominator and itself.

    Its shortcut must hold no block of its own, nor come through the sum of one, and no product of
    activations: else streams meet there, of which none is a way around the other.
    """
    if len(graph.inputs(node)) < 2:
        return None
    entry = graph.dominators[node]
    while graph.sizes[entry.name].batch is None and entry is not graph.input:
        entry = graph.dominators[entry]
    segment = classified(graph, entry, node)
    if segment.kind not in SHORTCUT:
        return None
    around = set[fx.Node]().union(*(graph.cone(end, entry) for end in segment.shortcut))
    ends = {other.exit for other in found}
    if around & ends or any(_mixes(graph, inner, entry) for inner in around):
        return None
    return None if _comes_through(graph, segment, found) else segment


def _comes_through(graph: Graph, segment: Segment, found: Sequence[Segment]) -> bool:
    """Whether the shortcut of a sum comes through the sum of a block that begins elsewhere."""
    hull = _hull(graph, segment)
    return any(
        _adds(graph, other.exit, segment.entry, segment.shortcut)
        for other in found
        if other.exit in hull and other.entry is not segment.entry
    )


def ends_inside(graph: Graph, core: Segment, found: Sequence[Segment]) -> bool:
    """Whether the sum of a block on the chain is around a block inside, rather than its entry.

    Or around what puts that side by side with what passes it, such as a class token.
    """
    if _comes_through(graph, core, found):
        return True
    closer = carried(graph, core.exit) if is_add(core.exit) else None
    if closer is None or closer.entry is core.entry:
        return False
    if is_concat(closer.entry):
        sums = [part for part in _parts(closer.entry) if is_add(part)]
        return any(carried(graph, s) or against_dominator(graph, s, found) for s in sums)
    return is_add(closer.entry) and carried(graph, closer.entry) is not None


def _adds(graph: Graph, end: fx.Node, entry: fx.Node, parts: Sequence[fx.Node]) -> bool:
    """Whether a sum holds one of some parts, through linear nodes alone."""
    open_nodes, seen = [end], set[fx.Node]()
    while open_nodes:
        node = open_nodes.pop()
        if node in parts:
            return True
        if node not in seen and node is not entry and is_linear(graph, node):
            seen.add(node)
            open_nodes.extend(graph.inputs(node))
    return False


def _mixes(graph: Graph, node: fx.Node, entry: fx.Node) -> bool:
    """Whether a node of a shortcut mixes activations, or is an activation itself.

    One before its first weight layer is spared (a projection with pre-activation).
    """
    several = len(graph.inputs(node)) > 1 and not is_add(node) and not is_concat(node)
    activates = graph.kind(node) == "activation" and graph.depth((node,), entry) > 0
    return several or activates or operation(node) in _MIXING


def _hull(
    graph: Graph, core: Segment, passes: Callable[[Graph, fx.Node], bool] = is_linear
) -> set[fx.Node]:
    """The linear nodes through which what meets in a segment arrives."""
    found: set[fx.Node] = set()
    open_nodes = [core.exit]
    while open_nodes:
        node = open_nodes.pop()
        if node in found or node is core.entry or not passes(graph, node):
            continue
        found.add(node)
        open_nodes.extend(graph.inputs(node))
    return found


def _carries(graph: Graph, node: fx.Node) -> bool:
    """Whether a node adds, rearranges, or scales by weights, what it reads."""
    return is_linear(graph, node) or is_proportional(graph, node)


def sees_another(graph: Graph, core: Segment, found: Sequence[Segment]) -> bool:
    """Whether the sum of a block on the chain is another's, seen through a concatenation."""
    if not is_concat(core.exit) or core.kind == "dense":
        return False
    hull = _hull(graph, core)
    return any(other.exit in hull and other.entry is not core.entry for other in found)


def summands(graph: Graph, cores: Sequence[Segment], found: Sequence[Segment]) -> set[fx.Node]:
    """The sums that are no blocks of their own.

    Such are branches among those that a larger block of the same entry adds up, and shares of an
    early value that are added to what blocks made.

    Args:
        graph: The graph.
        cores: All sums that are blocks.
        found: Those that are not on the chain.
    """
    parts = {segment.exit for segment in found if not is_own(graph, segment, found)}
    for outer in [core for core in cores if core.exit not in parts]:
        hull = _hull(graph, outer, _carries)
        for inner in found:
            if inner is outer or inner.entry is not outer.entry or inner.exit not in hull:
                continue
            if _only_into(inner.exit, outer.exit, hull) or not _owns(graph, inner, found):
                parts.add(inner.exit)
    return parts


def _only_into(node: fx.Node, whole: fx.Node, hull: set[fx.Node]) -> bool:
    """Whether a sum is read by nothing but a larger one, as it is or scaled.

    Args:
        node: The smaller sum.
        whole: The larger one.
        hull: The nodes through which what the larger one adds arrives, itself among them.
    """
    open_nodes = [node]
    while open_nodes:
        users = [*open_nodes.pop().users]
        if not hull.issuperset(users):
            return False
        open_nodes.extend(user for user in users if user is not whole)
    return True


def is_own(graph: Graph, core: Segment, found: Sequence[Segment]) -> bool:
    """Whether a sum is more than a share of an early value that is added to others' blocks.

    A value that is added again and again beside a stream, such as what is made of a time, is one
    too, though the stream has read it: all ways to what it is added to lead through the entry of a
    block that holds others.
    """
    if not is_add(core.exit):
        return True
    closer = carried(graph, core.exit)
    if closer is None:
        return _owns(graph, core, found)
    return _leads_through(graph, core.exit, closer.entry) or _owns(graph, closer, found, True)


def _leads_through(graph: Graph, node: fx.Node, entry: fx.Node) -> bool:
    """Whether all ways to a node lead through another."""
    while node is not entry and node is not graph.input:
        node = graph.dominators[node]
    return node is entry


def _owns(graph: Graph, core: Segment, found: Sequence[Segment], behind: bool = False) -> bool:
    """Whether a sum has a weight layer that lies in no block within it.

    Args:
        graph: The graph.
        core: The sum.
        found: Sums that are blocks.
        behind: Whether only layers count that read what the sum is around.
    """
    own = graph.cone(core.exit, core.entry)
    for other in found:
        if other.exit in own and other.exit is not core.exit:
            own = own - graph.cone(other.exit, other.entry)
    read = [core.entry, *_parts(core.entry)] if behind else []
    return any(
        graph.is_weight_layer(node) and (not behind or _depends(graph, node, read)) for node in own
    )
