"""Which blocks a network is taken apart into: those on the chain, or nested ones too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from ensembles.decomposition.chain import Segment, cut
from ensembles.decomposition.graph import Graph
from ensembles.decomposition.named_spans import by_name
from ensembles.decomposition.nested_blocks import Site, nested, sites_of
from ensembles.decomposition.spans import SHORTCUT, automatic, with_shortcuts
from ensembles.errors import DecompositionError

__all__ = ["Selection", "named", "selected"]


@dataclass(frozen=True)
class Selection:
    """The blocks of a network.

    Attributes:
        graph: The graph in which they lie.
        sites: Where, in the order of their ends.
        found: How many segments of each kind there are, those not taken included.
        chained: Whether each reads what the one before it left, and nothing else.
        inside: How many blocks lie inside others and are not taken.
        on_chain: How many blocks there are on the chain alone.
    """

    graph: Graph
    sites: Sequence[Site]
    found: Counter[str]
    chained: bool = True
    inside: int = 0
    on_chain: int = 0


def selected(
    graph: Graph,
    segments: Sequence[Segment],
    kinds: Collection[str] | None,
    everywhere: bool | None,
) -> Selection:
    """Find the blocks.

    Args:
        graph: The functional graph.
        segments: The segments of its chain.
        kinds: Which kinds to take; None for the highest there are.
        everywhere: Whether to look for blocks inside others; None for where the chain is poor.

    Raises:
        UsageError: If `kinds` is empty or names a kind that does not exist.
        DecompositionError: If there is no block of these kinds.
    """
    plain: Selection | None = None
    try:
        spans, found = automatic(graph, segments, kinds)
        sites = sites_of(segments, spans)
        plain = Selection(graph, sites, found, on_chain=len(sites))
    except DecompositionError as error:
        failed = error
    flowing = graph.without_context()
    cuts = segments if flowing is graph else cut(flowing)
    chain = sites_of(cuts, with_shortcuts(flowing, cuts))
    sites, inside = (chain, 0) if everywhere is False else nested(flowing, chain, everywhere)
    if kinds is not None:
        sites = [site for site in sites if site.kind in kinds]
    if plain is not None and not _is_more(plain, sites, everywhere):
        return Selection(graph, plain.sites, plain.found, True, inside, plain.on_chain)
    if not sites:
        raise failed
    found = Counter[str](site.kind for site in sites)
    if plain is not None:
        for kind in plain.found.keys() - {*SHORTCUT}:
            found[kind] = plain.found[kind]
    return Selection(flowing, sites, found, False, inside, len(chain))


def _is_more(plain: Selection, sites: Sequence[Site], everywhere: bool | None) -> bool:
    """Whether other blocks than those of the chain are worth their cost."""
    ours = [(site.entry, site.exit) for site in plain.sites if site.kind in SHORTCUT]
    if [(site.entry, site.exit) for site in sites] == ours:
        return False
    return len(sites) > len(ours) or (everywhere is True and len(sites) > 0)


def named(
    graph: Graph, segments: Sequence[Segment], wanted: Iterable[str] | str, modules: Sequence[str]
) -> Selection:
    """Take the modules that the user names; see `by_name`."""
    wanted = wanted if isinstance(wanted, str) else list(wanted)
    failed: DecompositionError | None = None
    flowing = graph.without_context()
    for one in (graph, flowing):
        cuts = segments if one is graph else cut(flowing)
        try:
            spans = by_name(one, cuts, wanted, modules)
        except DecompositionError as error:
            failed = failed or error
        else:
            found = Counter[str](span.kind for span in spans)
            return Selection(one, sites_of(cuts, spans), found, one is graph)
    assert failed is not None
    return _named_inside(flowing, segments if flowing is graph else cuts, wanted, failed)


def _named_inside(
    graph: Graph,
    segments: Sequence[Segment],
    wanted: Sequence[str] | str,
    failed: DecompositionError,
) -> Selection:
    """Blocks beside or inside others by the names of their modules; else the error."""
    every, _ = nested(graph, sites_of(segments, with_shortcuts(graph, segments)), True)
    if isinstance(wanted, str):
        raise failed
    sites = [site for site in every if site.name in wanted]
    if {site.name for site in sites} != set(wanted):
        raise failed
    return Selection(graph, sites, Counter[str](site.kind for site in sites), False)
