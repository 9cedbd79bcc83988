"""Segments of the dominator chain are gathered into blocks."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from torch import fx

from ensembles.decomposition.blocks import KINDS, BlockKind
from ensembles.decomposition.chain import Segment
from ensembles.decomposition.graph import Graph, common_scope
from ensembles.decomposition.trace import call_of, scope_of
from ensembles.errors import DecompositionError, UsageError, nearest

__all__ = ["SHORTCUT", "Span", "automatic", "by_name", "kind_of", "with_shortcuts"]

SHORTCUT = tuple(kind for kind, cls in KINDS.items() if cls.has_shortcut)
_JOINED: tuple[BlockKind, ...] = ("parallel", "fractal")


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
    chosen = set(kinds) if kinds else _highest(found)
    blocks = sorted((s for s in spans if s.kind in chosen), key=lambda span: span.start)
    if not blocks:
        have = ", ".join(f"{count} {kind}" for kind, count in found.items()) or "none"
        wanted = " or ".join(kinds) if kinds else "any kind"
        raise DecompositionError(
            f"no block of {wanted} was found (found: {have}); "
            "name the blocks yourself with a list of modules or a regular expression"
        )
    return _distinct(blocks), found


def _highest(found: Counter[str]) -> set[str]:
    for group in (set[str](SHORTCUT), set[str](_JOINED), {"plain"}):
        if any(found[kind] for kind in group):
            return group
    return set()


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
    scope = graph.scope(_nodes(graph, segment))
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
    cores = [i for i, segment in enumerate(segments) if segment.kind in _JOINED]
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


def _nodes(graph: Graph, segment: Segment) -> set[fx.Node]:
    return graph.cone(segment.exit, segment.entry)


def _weights_scope(graph: Graph, segment: Segment) -> str:
    nodes = _nodes(graph, segment)
    weights = [scope_of(node) for node in nodes if graph.is_weight_layer(node)]
    return common_scope(weights) or scope_of(segment.exit)


def _distinct(spans: list[Span]) -> list[Span]:
    """Number the names of blocks that come from one module."""
    names = Counter(span.name or "block" for span in spans)
    seen: Counter[str] = Counter()
    out = []
    for span in spans:
        name = span.name or "block"
        seen[name] += 1
        out.append(replace(span, name=f"{name}#{seen[name]}" if names[name] > 1 else name))
    return out


def by_name(
    graph: Graph, segments: Sequence[Segment], wanted: Iterable[str] | str, modules: Sequence[str]
) -> list[Span]:
    """Take the modules that the user names as the blocks.

    Args:
        graph: The functional graph.
        segments: Its segments.
        wanted: Module names, or one regular expression that matches whole names.
        modules: The names of all modules of the model.

    Raises:
        UsageError: If a name is unknown or the expression is malformed or matches nothing.
        DecompositionError: If a module has more than one entry or exit, or two overlap.
    """
    names = _matching(wanted, modules)
    found = (span for name in names for span in _spans_of(graph, segments, name))
    spans = sorted(found, key=lambda span: span.start)
    for first, second in pairwise(spans):
        if second.start < first.stop:
            raise DecompositionError(
                f"the modules {first.name} and {second.name} overlap; name one of them"
            )
    return _distinct(spans)


def _matching(wanted: Iterable[str] | str, modules: Sequence[str]) -> list[str]:
    if not isinstance(wanted, str):
        names = list(wanted)
        if not names:
            raise UsageError("the list of blocks is empty; name one module or more")
        for name, count in Counter(names).items():
            if name not in modules:
                raise UsageError(f"no module is called '{name}'" + nearest(name, modules))
            if count > 1:
                raise UsageError(f"the module '{name}' is named twice; name it once")
        return names
    try:
        pattern = re.compile(wanted)
    except re.error as error:
        raise UsageError(f"'{wanted}' is no regular expression: {error}") from error
    names = [name for name in modules if name and pattern.fullmatch(name)]
    if not names:
        raise UsageError(
            f"the expression '{wanted}' matches no module; names look like '{modules[-1]}'"
        )
    return names


def _spans_of(graph: Graph, segments: Sequence[Segment], name: str) -> list[Span]:
    """The block that a module makes at each of its calls."""
    inside = [node for node in graph.active if (scope_of(node) + ".").startswith(name + ".")]
    calls = sorted({call_of(node, name) for node in inside})
    if not calls:
        raise DecompositionError(f"the module {name} does nothing to the images")
    return [_span_of(graph, segments, name, call) for call in calls]


def _span_of(graph: Graph, segments: Sequence[Segment], name: str, call: int) -> Span:
    def inside(node: fx.Node) -> bool:
        within = (scope_of(node) + ".").startswith(name + ".")
        return within and call_of(node, name) == call

    touched = [i for i, segment in enumerate(segments) if any(map(inside, _nodes(graph, segment)))]
    if not touched:
        raise DecompositionError(f"the module {name} does nothing to the images")
    start, stop = touched[0], touched[-1] + 1
    cores = [i for i in range(start, stop) if segments[i].kind in SHORTCUT]
    own: set[fx.Node] = set()
    kind: BlockKind = "plain"
    core: int | None = None
    if len(cores) == 1:
        core, segment = cores[0], segments[cores[0]]
        own = {n for road in segment.branches for n in graph.cone(road, segment.entry)}
        kind = kind_of(segment)
    elif stop - start == 1 and segments[start].kind in _JOINED:
        core, kind = start, kind_of(segments[start])
    for i in range(start, stop):
        strangers = [n for n in _nodes(graph, segments[i]) if not inside(n)]
        if i == core and own and all(inside(node) for node in own):
            continue
        if strangers:
            raise DecompositionError(
                f"the module {name} has no single entry and exit: {strangers[0].name} "
                f"({scope_of(strangers[0]) or 'the model itself'}) runs beside it"
            )
    return Span(start, stop, kind, name, core)
