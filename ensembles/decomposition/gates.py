"""Gated sums: a gate divides between what a block makes and what it carries on.

``t * h(x) + (1 - t) * x`` is the layer of highway networks (Srivastava et al. 2015, equation 3) and
the exclusive gating of He et al. (2016, section 3.1); ``h(x) + (1 - t) * x`` is their shortcut-only
gating.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import fx

from ensembles.decomposition.graph import Graph
from ensembles.decomposition.simplification import is_add, operation

__all__ = ["Gating", "find_gating"]


@dataclass(frozen=True)
class Gating:
    """A sum of two roads of which a gate opens one as far as it closes the other.

    Attributes:
        gate: The gate's value t.
        branch: What is made, h(x).
        carried: What is multiplied by 1 - t.
        on_branch: Whether t multiplies what is made.
    """

    gate: fx.Node
    branch: fx.Node
    carried: fx.Node
    on_branch: bool


def find_gating(graph: Graph, entry: fx.Node, exit_: fx.Node) -> Gating | None:
    """Find the gate of a sum, if there is one.

    Args:
        graph: The graph.
        entry: Where both roads begin.
        exit_: The sum.
    """
    operands = graph.inputs(exit_)
    if not is_add(exit_) or len(operands) != 2 or len(exit_.all_input_nodes) != 2:
        return None
    for one, other in (operands, operands[::-1]):
        for closing, carried in _factors(graph, one):
            gate = _one_minus(graph, closing)
            if gate is None:
                continue
            made = [h for t, h in _factors(graph, other) if t is gate]
            found = Gating(gate, made[0] if made else other, carried, bool(made))
            if made and _cost(graph, entry, made[0]) < _cost(graph, entry, carried):
                found = Gating(closing, carried, made[0], True)
            return found if _fits(graph, entry, exit_, found) else None
    return None


def _factors(graph: Graph, node: fx.Node) -> Iterator[tuple[fx.Node, fx.Node]]:
    """The factors of a product of two activations, both ways round."""
    factors = graph.inputs(node)
    if operation(node) in ("mul", "rmul") and len(factors) == len(node.args) == 2:
        yield factors[0], factors[1]
        yield factors[1], factors[0]


def _one_minus(graph: Graph, node: fx.Node) -> fx.Node | None:
    """The gate t of a node that computes 1 - t."""
    inputs = graph.inputs(node)
    if node.kwargs or len(inputs) != 1 or len(node.args) != 2:
        return None
    expected = {"rsub": (inputs[0], 1), "sub": (1, inputs[0])}.get(operation(node))
    return inputs[0] if node.args == expected else None


def _cost(graph: Graph, entry: fx.Node, end: fx.Node) -> tuple[int, int]:
    cone = graph.cone(end, entry)
    return sum(graph.is_weight_layer(node) for node in cone), len(cone)


def _fits(graph: Graph, entry: fx.Node, exit_: fx.Node, found: Gating) -> bool:
    """Whether what is carried is the cheaper road, and nothing but the gate is broadcast."""
    shape = graph.sizes[exit_.name]
    whole = all(graph.sizes[node.name] == shape for node in (found.branch, found.carried))
    made, carried = _cost(graph, entry, found.branch), _cost(graph, entry, found.carried)
    return whole and carried < made and (carried[0] == 0 or carried[0] < made[0])
