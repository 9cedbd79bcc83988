"""What is added several times in one sum is added once, with the sum of its factors.

``2 * x - (x - f(x))`` is ``x + f(x)``. An update of what is carried, ``x + a * (f(x) - x)``, stays
as it is written: without the update ``x`` is left.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator
from functools import reduce
from typing import Any, NamedTuple

import torch
from torch import fx

from ensembles.decomposition.simplification import is_add, operation
from ensembles.decomposition.sizes import Sizes
from ensembles.decomposition.sum_writer import SumWriter

__all__ = ["Term", "collect_terms", "is_sum", "product_of", "terms_of"]

_PRODUCTS = ("mul", "rmul", "multiply")
_QUOTIENTS = ("truediv", "div", "divide", "true_divide")
_NOTHING = 1e-12


class Term(NamedTuple):
    """An activation, and what it is multiplied by: a number and tensors that are fixed.

    Attributes:
        value: The activation.
        number: The number.
        factors: The tensors.
        home: The sum of which it is a summand.
    """

    value: fx.Node
    number: float = 1
    factors: tuple[fx.Node, ...] = ()
    home: fx.Node | None = None

    @property
    def factor(self) -> tuple[float, tuple[fx.Node, ...]]:
        """All that it is multiplied by."""
        return self.number, self.factors


def collect_terms(traced: fx.GraphModule, sizes: dict[str, Sizes]) -> None:
    """Rewrite in place the sums in which a tensor comes up several times.

    A sum is followed through those sums and products with fixed factors that nothing else reads.

    Args:
        traced: A recorded graph whose sums are written as additions and products.
        sizes: Shapes of its values by node name; those of new nodes are entered.
    """
    sums = SumWriter(traced.graph, sizes)
    inner: set[fx.Node] = set()
    for node in reversed(list(traced.graph.nodes)):
        if node in inner or not is_sum(sums, node):
            continue
        terms = list(terms_of(sums, Term(node), inner))
        once = len({term.value for term in terms}) == len(terms)
        if once or _is_update(node, terms) or not _alike(sums, node, terms):
            continue
        sums.node = node
        with traced.graph.inserting_before(node):
            parts = _collected(sums, terms)
        if parts:
            with traced.graph.inserting_before(node):
                node.replace_all_uses_with(sums.total(parts))
            traced.graph.erase_node(node)
    traced.graph.eliminate_dead_code()


def is_sum(sums: SumWriter, node: fx.Node) -> bool:
    """Whether a node adds two activations."""
    return is_add(node) and len(node.args) == 2 and not node.kwargs and sums.both(*node.args)


def terms_of(sums: SumWriter, term: Term, inner: set[fx.Node]) -> Iterator[Term]:
    """What a sum adds, the sums and products within it taken apart."""
    for one in _split(sums, term):
        inside = len(one.value.users) == 1 and any(True for _ in _split(sums, one))
        if inside:
            inner.add(one.value)
            yield from terms_of(sums, one, inner)
        else:
            yield one


def _split(sums: SumWriter, term: Term) -> list[Term]:
    """The summands of a sum, or the one activation that is multiplied; none of anything else."""
    node = term.value
    if is_sum(sums, node):
        return [term._replace(value=a, home=node) for a in node.args if isinstance(a, fx.Node)]
    name, args = operation(node), node.args
    if is_add(node) and len(args) == 2 and 0 in args:  # Python's sum begins with 0
        return [term._replace(value=one) for one in args if sums.both(one)]  # type: ignore[arg-type]
    if name == "neg" and sums.both(*args):
        return [term._replace(value=args[0], number=-term.number)]  # type: ignore[arg-type]
    if name not in (*_PRODUCTS, *_QUOTIENTS) or len(args) != 2 or node.kwargs:
        return []
    for value, factor in (args, args[::-1]) if name in _PRODUCTS else (args,):
        if sums.both(value) and isinstance(value, fx.Node) and sums.fixed(factor):
            alike = sums.sizes[value.name] == sums.sizes[node.name]
            scaled = _scaled(term._replace(value=value), factor, name in _PRODUCTS)
            return [scaled] if alike and scaled is not None else []
    return []


def _scaled(term: Term, factor: Any, multiplied: bool) -> Term | None:
    """A term times a number or a fixed tensor, or divided by a number."""
    if not isinstance(factor, fx.Node):
        number = term.number * factor if multiplied else term.number / factor
        return term._replace(number=number)
    return term._replace(factors=(*term.factors, factor)) if multiplied else None


def _is_update(whole: fx.Node, terms: list[Term]) -> bool:
    """Whether a sum is ``x + a * (y - x)``, with another factor than 1."""
    carried = [term for term in terms if term.value in whole.args and term.factor == (1, ())]
    if len(terms) != 3 or len(carried) != 1:
        return False
    back, new = sorted(
        (term for term in terms if term is not carried[0]),
        key=lambda term: term.value is not carried[0].value,
    )
    scaled = back.factor != (-1, ()) and new.number == -back.number and new.factors == back.factors
    return back.value is carried[0].value and scaled


def _alike(sums: SumWriter, whole: fx.Node, terms: list[Term]) -> bool:
    """Whether nothing is broadcast or of another type."""
    size, dtype = sums.sizes[whole.name], whole.meta.get("dtype")
    values = [term.value for term in terms]
    return all(sums.sizes[v.name] == size and v.meta.get("dtype") == dtype for v in values)


def _collected(sums: SumWriter, terms: list[Term]) -> list[fx.Node]:
    """Each value once, times the sum of its factors; none of those that cancel out.

    What stood with one of them in a sum of its own, as the branch of a block in ``a * x + b * (x +
    f(x)) + y``, stays with it: ``((a + b) * x + b * f(x)) + y``.
    """
    parts = _added_up(sums, terms)
    found: list[fx.Node] = []
    for value in list(parts):
        homes = [term.home for term in terms if term.value is value]
        if value not in parts:
            continue
        together, whole = [parts.pop(value)], sums.node
        for term in terms:
            beside = term.home in homes[1:] and term.value in parts
            if beside and [one.value for one in terms].count(term.value) == 1:
                together.append(parts.pop(term.value))
                sums.node = term.home or whole  # it is of the module in which it was added
        found.append(sums.total(together))
        sums.node = whole
    return found


def _added_up(sums: SumWriter, terms: list[Term]) -> dict[fx.Node, fx.Node]:
    """What each value adds in all."""
    parts: dict[fx.Node, fx.Node] = {}
    for value in dict.fromkeys(term.value for term in terms):
        numbers = [term.number for term in terms if term.value is value and not term.factors]
        tensors = [term for term in terms if term.value is value and term.factors]
        number = math.fsum(numbers)
        if abs(number) <= _NOTHING * math.fsum(map(abs, numbers)):
            number = 0
        factors = [product_of(sums, term) for term in tensors]
        if number and factors:
            factors.append(number)  # type: ignore[arg-type]
        if factors:
            factor = reduce(lambda one, other: sums.call(operator.add, one, other), factors)
            parts[value] = sums.scaled(value, factor)
        elif number:
            parts[value] = sums.scaled(value, int(number) if number == int(number) else number)
    return parts


def product_of(sums: SumWriter, term: Term) -> fx.Node:
    """What a term with tensors among its factors is multiplied by."""
    factor: fx.Node = reduce(lambda one, other: sums.call(torch.mul, one, other), term.factors)
    made: fx.Node = sums.scaled(factor, term.number)
    return made
