"""What several sums hold together is added once: a larger sum begins with a smaller one.

A stream that is kept as a list of its parts, and added up anew by each layer that reads it, is so
written as one that goes from sum to sum: ``x + f``, then ``x + f + g``, is ``(x + f) + g``.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import fx

from ensembles.decomposition.collected_terms import Term, is_sum, product_of, terms_of
from ensembles.decomposition.sizes import Sizes
from ensembles.decomposition.sum_writer import SumWriter

__all__ = ["share_sums"]


class _Sum(NamedTuple):
    """A sum that is no part of a larger one.

    Attributes:
        node: What holds it.
        terms: What it adds, in order.
    """

    node: fx.Node
    terms: dict[Term, None]


def share_sums(traced: fx.GraphModule, sizes: dict[str, Sizes]) -> None:
    """Rewrite in place the sums that hold all that an earlier one adds.

    Args:
        traced: A recorded graph whose sums are written as additions and products.
        sizes: Shapes of its values by node name; those of new nodes are entered.
    """
    sums = SumWriter(traced.graph, sizes)
    holding: dict[Term, list[_Sum]] = {}
    for whole in _sums(sums, traced.graph):
        earlier = {one.node: one for term in whole.terms for one in holding.get(term, ())}
        within = [one for one in earlier.values() if _goes_on(sums, one, whole)]
        known = whole
        if within:
            first = max(within, key=lambda one: len(one.terms))
            known = _Sum(_continued(sums, first, whole), whole.terms)
        for term in whole.terms:
            holding.setdefault(term, []).append(known)
    traced.graph.eliminate_dead_code()


def _sums(sums: SumWriter, graph: fx.Graph) -> list[_Sum]:
    """The sums that are no part of a larger one, in order; none that holds a term twice."""
    inner: set[fx.Node] = set()
    found: list[_Sum] = []
    for node in reversed(list(graph.nodes)):
        if node in inner or not is_sum(sums, node):
            continue
        terms = [term._replace(home=None) for term in terms_of(sums, Term(node), inner)]
        if len(set(terms)) == len(terms):
            found.append(_Sum(node, dict.fromkeys(terms)))
    return found[::-1]


def _goes_on(sums: SumWriter, one: _Sum, whole: _Sum) -> bool:
    """Whether a sum holds all of another and further parts, none of which is a sum itself.

    All of them must have one shape and one type.
    """
    if not one.terms.keys() <= whole.terms.keys():
        return False
    if any(is_sum(sums, term.value) for term in whole.terms.keys() - one.terms.keys()):
        return False
    nodes = [one.node, whole.node, *(term.value for term in whole.terms)]
    return len({(sums.sizes[node.name], node.meta.get("dtype")) for node in nodes}) == 1


def _continued(sums: SumWriter, first: _Sum, whole: _Sum) -> fx.Node:
    """Write a sum as an earlier one and what it adds to that."""
    sums.node = whole.node
    rest = [term for term in whole.terms if term not in first.terms]
    with sums.graph.inserting_before(whole.node):
        parts = [_written(sums, term) for term in rest]
        made = sums.total([first.node, *parts])
    whole.node.replace_all_uses_with(made)
    sums.graph.erase_node(whole.node)
    return made


def _written(sums: SumWriter, term: Term) -> fx.Node:
    factor = product_of(sums, term) if term.factors else term.number
    made: fx.Node = sums.scaled(term.value, factor)
    return made
