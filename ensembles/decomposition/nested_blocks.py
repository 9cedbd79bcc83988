"""Blocks beside and inside each other: every sum is held against its own immediate dominator.

A sum whose one operand is read by what makes the other is a block around that operand, wherever the
rest of its branch comes from (a stream that is carried on beside others). Any other is classified
as a segment of the chain is, between its dominator and itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from torch import fx

from ensembles.decomposition.blocks import BlockKind
from ensembles.decomposition.chain import Segment, classified
from ensembles.decomposition.graph import Graph, common_scope
from ensembles.decomposition.junctions import addends, is_linear, is_proportional
from ensembles.decomposition.simplification import is_add, is_concat, operation
from ensembles.decomposition.spans import SHORTCUT, Span, kind_of
from ensembles.decomposition.trace import call_of, scope_of

__all__ = ["Site", "nested", "sites_of"]

_MANY = 3
_MIXING = ("softmax", "matmul", "bmm", "einsum", "scaled_dot_product_attention", "baddbmm")


@dataclass(frozen=True)
class Site:
    """Where a block lies.

    Attributes:
        entry: The node that it reads.
        exit: The node that it makes.
        kind: Its kind.
        name: The module that it comes from.
        core: The segment within where roads meet, if there is one.
        strict: Whether its shortcut carries all that its branch reads.
    """

    entry: fx.Node
    exit: fx.Node
    kind: BlockKind
    name: str
    core: Segment | None = None
    strict: bool = True


def sites_of(segments: Sequence[Segment], spans: Sequence[Span]) -> list[Site]:
    """Where the blocks of a chain lie."""
    return [
        Site(
            segments[span.start].entry,
            segments[span.stop - 1].exit,
            span.kind,
            span.name,
            None if span.core is None else segments[span.core],
        )
        for span in spans
    ]


def nested(graph: Graph, chain: Sequence[Site], everywhere: bool | None) -> tuple[list[Site], int]:
    """Blocks on the chain and beside or inside it, in the order of their ends.

    Args:
        graph: The functional graph.
        chain: The blocks with a shortcut that lie on the chain.
        everywhere: Whether to look into blocks that end in a sum; None for where one of them holds
            more than there are on the chain, or each more than three on average.

    Returns:
        The blocks, and how many that lie inside others are not among them.
    """
    found = _found(graph, chain)
    inner = [site.core for site in found if site.core is not None]
    apart = [site for site in chain if site.core is None or not _ends_inside(graph, site, inner)]
    if len(apart) < len(chain):  # what they end in is held against its operands once more
        chain, found = apart, _found(graph, apart)
    cores = [site.core for site in found if site.core is not None]
    chain = [
        site for site in chain if site.core is None or not _sees_another(graph, site.core, cores)
    ]
    inside = [site for site in found if any(_within(graph, site, other) for other in chain)]
    left_out: set[fx.Node] = set()
    if not everywhere:
        strict = [site for site in inside if site.strict]
        most = max((sum(_within(graph, s, outer) for s in strict) for outer in chain), default=0)
        poor = everywhere is None and len(chain) < max(most, len(strict) / _MANY)
        left_out = set() if poor else {site.exit for site in inside}
        found = [site for site in found if site.exit not in left_out]
    sites = _named(sorted([*chain, *found], key=lambda site: graph.order[site.exit]))
    return sites, len(left_out)


def _found(graph: Graph, chain: Sequence[Site]) -> list[Site]:
    """The blocks that are not on the chain."""
    known = {site.core.exit for site in chain if site.core is not None}
    found: list[Segment] = []
    strict: set[fx.Node] = set()
    for node in graph.order:
        if node not in graph.active or not is_add(node) or node in known:
            continue
        segment = _carried(graph, node)
        if segment is not None:
            strict.add(node)
        else:
            segment = _against_dominator(graph, node, found)
        if segment is not None and graph.sizes[segment.entry.name].batch is not None:
            found.append(segment)
    whole = (site.core for site in chain if site.core is not None)
    cores = [*found, *(core for core in whole if not _sees_another(graph, core, found))]
    hulls = [(outer, _hull(graph, outer, _carries)) for outer in cores]
    parts, around = set[fx.Node](), set[fx.Node]()
    for outer, hull in hulls:
        for inner in found:
            if inner is outer or inner.entry is not outer.entry or inner.exit not in hull:
                continue
            if all(user in hull for user in inner.exit.users) or not _owns(graph, inner, found):
                parts.add(inner.exit)
            elif outer.exit not in strict and not _owns(graph, outer, found):
                around.add(outer.exit)  # what is skipped is the first block's input once more
    kept = [segment for segment in found if segment.exit not in parts | around]
    return [_site(graph, segment, kept, segment.exit in strict) for segment in kept]


def _owns(graph: Graph, core: Segment, found: Sequence[Segment]) -> bool:
    """Whether a sum has a weight layer that lies in no block within it."""
    own = graph.cone(core.exit, core.entry)
    for other in found:
        if other.exit in own and other is not core:
            own = own - graph.cone(other.exit, other.entry)
    return any(graph.is_weight_layer(node) for node in own)


def _carried(graph: Graph, node: fx.Node) -> Segment | None:
    """A sum of which one operand is made of the other."""
    operands = [_bare(arg) for arg in node.args if isinstance(arg, fx.Node)]
    if len(operands) != 2 or operands[0] is operands[1]:
        return None
    for carried, made in (operands, operands[::-1]):
        if made not in graph.active or not graph.depends(made, carried):
            continue
        if carried in graph.context:  # a mask that earlier layers read too
            continue
        if graph.sizes[carried.name].batch is None:
            continue
        cone = graph.cone(made, carried)
        if not any(graph.weights(n) and graph.depends(n, carried) for n in cone):
            return None
        sizes = graph.sizes
        aligned = sizes[carried.name] == sizes[made.name] == sizes[node.name]
        within = addends(graph, carried, node, (carried,)) if carried in graph.active else ()
        roads = tuple((end,) for end in within) or ((made,),)
        return Segment(carried, node, "residual", (carried,), (made,), aligned, roads, bool(within))
    return None


def _bare(node: fx.Node) -> fx.Node:
    """A tensor without what only sets its layout in memory."""
    while operation(node) == "contiguous" and isinstance(node.args[0], fx.Node):
        node = node.args[0]
    return node


def _against_dominator(graph: Graph, node: fx.Node, found: Sequence[Segment]) -> Segment | None:
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


def _ends_inside(graph: Graph, site: Site, found: Sequence[Segment]) -> bool:
    """Whether the sum of a block on the chain is around a block inside, rather than its entry."""
    assert site.core is not None
    if _comes_through(graph, site.core, found):
        return True
    closer = _carried(graph, site.core.exit) if is_add(site.core.exit) else None
    if closer is None or closer.entry is site.core.entry or not is_add(closer.entry):
        return False
    return _carried(graph, closer.entry) is not None


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


def _sees_another(graph: Graph, core: Segment, found: Sequence[Segment]) -> bool:
    """Whether the sum of a block on the chain is another's, seen through a concatenation."""
    if not is_concat(core.exit) or core.kind == "dense":
        return False
    hull = _hull(graph, core)
    return any(other.exit in hull and other.entry is not core.entry for other in found)


def _within(graph: Graph, site: Site, other: Site) -> bool:
    """Whether a block lies inside another that ends in a sum."""
    if other.core is None or not is_add(other.core.exit) or site.core is None:
        return False
    return site.core.exit in graph.cone(other.core.exit, other.core.entry)


def _site(graph: Graph, core: Segment, cores: Sequence[Segment], strict: bool) -> Site:
    """A block with the normalisation and activation that its module applies after the sum."""
    ends = {other.exit for other in cores}
    scope = graph.scope([core.exit])
    end = core.exit
    while len(end.users) == 1:
        (user,) = end.users
        follows = user in graph.active and graph.inputs(user) == [end]
        if not follows or user in ends or graph.kind(user) not in ("activation", "norm"):
            break
        home = scope_of(user).rpartition(".")[0] if user.op == "call_module" else scope_of(user)
        if home != scope or call_of(user, scope) != call_of(core.exit, scope):
            break
        if graph.kind(user) == "norm" and not scope:
            break
        end = user
    return Site(core.entry, end, kind_of(core), _name(graph, core, cores), core, strict)


def _name(graph: Graph, core: Segment, cores: Sequence[Segment]) -> str:
    """The module that a block comes from: where its sum is, or the weights of its own branch.

    The latter where other sums are in that module too, or the weights are elsewhere.
    """
    ends = {other.exit for other in cores}
    own: set[fx.Node] = set()
    open_nodes = [core.exit]
    while open_nodes:
        node = open_nodes.pop()
        foreign = node is core.entry or not graph.depends(node, core.entry)
        if node in own or foreign or (node in ends and node is not core.exit):
            continue
        own.add(node)
        open_nodes.extend(graph.inputs(node))
    layers = [scope_of(node) for node in own if graph.is_weight_layer(node)]
    weighted = common_scope(layers or [scope_of(node) for node in own if graph.weights(node)])
    home = scope_of(core.exit)
    call = home, call_of(core.exit, home)
    alone = [(scope_of(end), call_of(end, home)) for end in ends].count(call) == 1
    holds = (weighted + ".").startswith(home + ".")
    wider = (home + ".").startswith(weighted + ".")  # such as a gate of values of earlier layers
    return home if home and ((alone and holds) or wider) else weighted or home


def _named(sites: Sequence[Site]) -> list[Site]:
    """Number the names of blocks that come from one module."""
    names = Counter(site.name or "block" for site in sites)
    seen: Counter[str] = Counter()
    return list(_numbered(sites, names, seen))


def _numbered(sites: Sequence[Site], names: Counter[str], seen: Counter[str]) -> Iterator[Site]:
    for site in sites:
        name = site.name or "block"
        seen[name] += 1
        yield replace(site, name=f"{name}#{seen[name]}" if names[name] > 1 else name)
