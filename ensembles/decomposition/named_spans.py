"""Blocks that the user names: modules, each with one entry and one exit."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

from torch import fx

from ensembles.decomposition.blocks import BlockKind
from ensembles.decomposition.chain import Segment
from ensembles.decomposition.graph import Graph
from ensembles.decomposition.spans import JOINED, SHORTCUT, Span, distinct, kind_of, nodes_of
from ensembles.decomposition.trace import call_of, scope_of
from ensembles.errors import DecompositionError, UsageError, nearest

__all__ = ["by_name"]


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
    return distinct(spans)


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

    each = [nodes_of(graph, segment) for segment in segments]
    touched = [i for i, nodes in enumerate(each) if any(map(inside, nodes))]
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
    elif stop - start == 1 and segments[start].kind in JOINED:
        core, kind = start, kind_of(segments[start])
    for i in range(start, stop):
        strangers = [n for n in each[i] if not inside(n)]
        if i == core and own and all(inside(node) for node in own):
            continue
        if strangers:
            raise DecompositionError(
                f"the module {name} has no single entry and exit: {strangers[0].name} "
                f"({scope_of(strangers[0]) or 'the model itself'}) runs beside it"
            )
    return Span(start, stop, kind, name, core)
