"""Blocks beside and inside each other: every sum is held against its own immediate dominator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import fx

from ensembles.decomposition.block_names import numbered
from ensembles.decomposition.blocks import BlockKind
from ensembles.decomposition.chain import Segment
from ensembles.decomposition.graph import Graph, common_scope
from ensembles.decomposition.inner_sums import (
    against_dominator,
    carried,
    ends_inside,
    is_own,
    reads_of,
    sees_another,
    summands,
)
from ensembles.decomposition.simplification import is_add
from ensembles.decomposition.spans import Span, kind_of
from ensembles.decomposition.trace import call_of, scope_of

__all__ = ["Site", "nested", "sites_of"]

_MANY = 3


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
    apart = [
        site for site in chain if site.core is None or not ends_inside(graph, site.core, inner)
    ]
    if len(apart) < len(chain):  # what they end in is held against its operands once more
        chain, found = apart, _found(graph, apart)
    cores = [site.core for site in found if site.core is not None]
    chain = [
        site for site in chain if site.core is None or not sees_another(graph, site.core, cores)
    ]
    chain = [site for site in chain if site.core is None or is_own(graph, site.core, cores)]
    inside = [site for site in found if any(_within(graph, site, other) for other in chain)]
    left_out: set[fx.Node] = set()
    if not everywhere:
        strict = [site for site in inside if site.strict]
        most = max((sum(_within(graph, s, outer) for s in strict) for outer in chain), default=0)
        poor = everywhere is None and len(chain) < max(most, len(strict) / _MANY)
        left_out = set() if poor else {site.exit for site in inside}
        found = [site for site in found if site.exit not in left_out]
    sites = sorted([*chain, *found], key=lambda site: graph.order[site.exit])
    names = numbered([site.name for site in sites])
    named = [replace(site, name=name) for site, name in zip(sites, names, strict=True)]
    return named, len(left_out)


def _found(graph: Graph, chain: Sequence[Site]) -> list[Site]:
    """The blocks that are not on the chain."""
    known = {site.core.exit for site in chain if site.core is not None}
    found: list[Segment] = []
    strict: set[fx.Node] = set()
    for node in graph.order:
        if node not in graph.used or not is_add(node) or node in known:
            continue
        segment = carried(graph, node)
        if segment is not None:
            strict.add(node)
        else:
            segment = against_dominator(graph, node, found)
        if segment is not None and graph.sizes[segment.entry.name].batch is not None:
            found.append(segment)
    whole = (site.core for site in chain if site.core is not None)
    cores = [*found, *(core for core in whole if not sees_another(graph, core, found))]
    parts = summands(graph, cores, found)
    kept = [segment for segment in found if segment.exit not in parts]
    return [_site(graph, segment, kept, segment.exit in strict) for segment in kept]


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
    read = {core.entry, *(n for end in core.branches for n in reads_of(graph, core.entry, end))}
    own: set[fx.Node] = set()
    open_nodes = [core.exit]
    while open_nodes:
        node = open_nodes.pop()
        foreign = node in read or not any(graph.depends(node, other) for other in read)
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
