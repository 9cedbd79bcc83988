"""Segments of the dominator chain are gathered into blocks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from torch import fx

from ensembles.decomposition.block_names import numbered
from ensembles.decomposition.blocks import KINDS, BlockKind
from ensembles.decomposition.chain import Segment
from ensembles.decomposition.graph import Graph, common_scope
from ensembles.decomposition.trace import call_of, scope_of
from ensembles.errors import DecompositionError, UsageError, nearest

__all__ = [
    "JOINED", "SHORTCUT", "Span", "automatic", "distinct", "kind_of", "nodes_of", "with_shortcuts",
]  # fmt: skip

SHORTCUT = tuple(kind for kind, cls in KINDS.items() if cls.has_shortcut)
JOINED: tuple[BlockKind, ...] = ("parallel", "fractal")


@dataclass(frozen=True)
class Span:
    """A run of segments that makes one block.

    Attributes:
        start: Index of its first segment.
        stop: Index after its last one.
        kind: The kind of the block.
        name: The module it comes from.
        core: Index of the segment within where roads meet, if there is one.
    """

    start: int
    stop: int
    kind: BlockKind
    name: str
    core: int | None = None


def automatic(
    graph: Graph, segments: Sequence[Segment], kinds: Collection[str] | None
) -> tuple[list[Span], Counter[str]]:
    """Gather the blocks of the highest kind that a network has.

    Blocks with a shortcut come before parallel and fractal ones, these before plain ones, unless
    `kinds` says which to take.

    Returns:
        The blocks, and how many of each kind there are in all.

    Raises:
        UsageError: If `kinds` is empty or names a kind that does not exist.
        DecompositionError: If the network has no block of these kinds.
    """
    unknown = [kind for kind in kinds or () if kind not in KINDS]
    if unknown:
        raise UsageError(
            f"kind of block '{unknown[0]}'; expected one of {', '.join(KINDS)}"
            + nearest(unknown[0], KINDS)
        )
    if kinds is not None and not kinds:
        raise UsageError(
            f"no kind of block is asked for; expected one or more of {', '.join(KINDS)}"
        )
    spans = with_shortcuts(graph, segments)
    taken = {i for span in spans for i in range(span.start, span.stop)}
    spans += _parallel(graph, segments)
    spans += _plain(graph, segments, taken)
    found = Counter[str](span.kind for span in spans)
    chosen = set(kinds) if kinds else _highest(graph, segments, spans)
    blocks = sorted((s for s in spans if s.kind in chosen), key=lambda span: span.start)
    if not blocks:
        have = ", ".join(f"{count} {kind}" for kind, count in found.items()) or "none"
        wanted = " or ".join(kinds) if kinds else "any kind"
        raise DecompositionError(
            f"no block of {wanted} was found (found: {have}); "
            "name the blocks yourself with a list of modules or a regular expression"
        )
    return distinct(blocks), found


def _highest(graph: Graph, segments: Sequence[Segment], spans: Sequence[Span]) -> set[str]:
    """The kinds of the highest group of which one block at least can be deleted."""
    groups = (set[str](SHORTCUT), set[str](JOINED), {"plain"})
    found = [group for group in groups if any(span.kind in group for span in spans)]
    for group in found:
        for span in spans:
            if span.kind in group and _keeps_rank(graph, segments, span):
                return group
    return found[0] if found else set()


def _keeps_rank(graph: Graph, segments: Sequence[Segment], span: Span) -> bool:
    """Whether a tensor of as many dimensions comes out of a block; else nothing can replace it."""
    ends = segments[span.start].entry, segments[span.stop - 1].exit
    entry, exit_ = (len(graph.sizes[end.name].two or ()) for end in ends)
    return span.kind in SHORTCUT or entry == exit_


def with_shortcuts(graph: Graph, segments: Sequence[Segment]) -> list[Span]:
    """Segments with a shortcut, each with what its own module does before and after."""
    cores = [i for i, segment in enumerate(segments) if segment.kind in SHORTCUT]
    scopes = {i: _call(graph, segments[i]) for i in cores}
    spans: list[Span] = []
    for i in cores:
        own = _owner(scopes, i)
        start = _start(segments, i, spans[-1].stop if spans else 0, own)
        stop = i + 1
        after = own or _follows(segments[i].exit)
        while stop < len(segments) and _smooths(segments[stop]):
            if not after(segments[stop]) or (own is None and segments[stop].kind == "norm"):
                break
            stop += 1
        name = scopes[i][0] if own is not None else _weights_scope(graph, segments[i])
        spans.append(Span(start, stop, kind_of(segments[i]), name, core=i))
    return spans


def _start(
    segments: Sequence[Segment], core: int, floor: int, own: Callable[[Segment], bool] | None
) -> int:
    """Where a block begins: with the norm and activation that its module applies to both roads.

    If they follow a weight layer of the same module they belong to that.
    """
    start = core
    while own is not None and start > floor and own(segments[start - 1]):
        if not _smooths(segments[start - 1]):
            return core
        start -= 1
    return start


def _smooths(segment: Segment) -> bool:
    return segment.kind in ("activation", "norm")


def kind_of(segment: Segment) -> BlockKind:
    """The kind of the blocks that a segment makes: its own, where blocks have it."""
    return next((kind for kind in KINDS if kind == segment.kind), "plain")


_Call = tuple[str, int]


def _call(graph: Graph, segment: Segment) -> _Call:
    """The module that a segment lies in, and which of its calls."""
    scope = graph.scope(nodes_of(graph, segment))
    return scope, call_of(segment.exit, scope)


def _owner(scopes: dict[int, _Call], i: int) -> Callable[[Segment], bool] | None:
    """Tell which segments lie in the module of block i, in one call of it; None if it shares it."""
    scope, call = scopes[i]
    within = scope + "."
    shared = any(
        other == scopes[i] or other[0].startswith(within) for j, other in scopes.items() if j != i
    )
    if not scope or shared:
        return None

    def own(segment: Segment) -> bool:
        inside = (scope_of(segment.exit) + ".").startswith(within)
        return inside and call_of(segment.exit, scope) == call

    return own


def _follows(end: fx.Node) -> Callable[[Segment], bool]:
    """Tell which segments are made in the same `forward` as an addition."""
    home = scope_of(end)

    def same(segment: Segment) -> bool:
        node = segment.exit
        scope = scope_of(node)
        return (scope.rpartition(".")[0] if node.op == "call_module" else scope) == home

    return same


def _parallel(graph: Graph, segments: Sequence[Segment]) -> list[Span]:
    """Segments of several roads, each with what its own module does to the joined branches."""
    cores = [i for i, segment in enumerate(segments) if segment.kind in JOINED]
    scopes = {i: _call(graph, segments[i]) for i in cores}
    spans = []
    for i in cores:
        own = _owner(scopes, i)
        stop = i + 1
        while own is not None and stop < len(segments) and own(segments[stop]):
            if not _smooths(segments[stop]) and segments[stop].kind != "other":
                break
            stop += 1
        name = scopes[i][0] or scope_of(segments[i].exit)
        spans.append(Span(i, stop, kind_of(segments[i]), name, core=i))
    return spans


def _plain(graph: Graph, segments: Sequence[Segment], taken: Collection[int]) -> list[Span]:
    """Weight layers, each with the normalisation and non-linearity that follow it."""
    spans: list[Span] = []
    i = 0
    while i < len(segments):
        if i in taken or segments[i].kind not in ("weight", "composite"):
            i += 1
            continue
        stop = i + 1
        while stop < len(segments) and stop not in taken:
            if not _smooths(segments[stop]):
                break
            stop += 1
        spans.append(Span(i, stop, "plain", _weights_scope(graph, segments[i])))
        i = stop
    return spans


def nodes_of(graph: Graph, segment: Segment) -> set[fx.Node]:
    """The nodes of a segment, its entry left out."""
    return graph.cone(segment.exit, segment.entry)


def _weights_scope(graph: Graph, segment: Segment) -> str:
    nodes = nodes_of(graph, segment)
    weights = [scope_of(node) for node in nodes if graph.is_weight_layer(node)]
    return common_scope(weights) or scope_of(segment.exit)


def distinct(spans: Sequence[Span]) -> list[Span]:
    """Number the names of blocks that come from one module."""
    names = numbered([span.name for span in spans])
    return [replace(span, name=name) for span, name in zip(spans, names, strict=True)]
