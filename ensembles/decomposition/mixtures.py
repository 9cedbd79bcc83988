"""Mixtures of experts among the blocks of a network, and which experts they choose."""

from __future__ import annotations

import copy
import operator
from collections.abc import Mapping

from torch import Tensor, fx, nn

from ensembles.decomposition.network import Decomposition
from ensembles.decomposition.pure_forms import name_of

__all__ = ["Chosen", "mixtures", "watched"]


class Chosen(nn.Module):
    """Passes the numbers of experts on, and keeps those of the last run, (tokens, experts)."""

    last: Tensor | None

    def __init__(self) -> None:
        super().__init__()
        self.last = None

    def forward(self, experts: Tensor) -> Tensor:
        """Keep them, each token's in the order of their numbers."""
        self.last = experts.detach().flatten(0, -2).sort(-1).values
        return experts


def mixtures(net: Decomposition) -> tuple[int, ...]:
    """The blocks whose branch chooses experts, by their numbers.

    A choice is the last ``topk`` of the branch whose places are used, as routers of transformers
    have it; earlier ones choose groups of experts.
    """
    return tuple(block.index for block in net if _choices(block.branch))


def watched(net: Decomposition) -> tuple[Decomposition, Mapping[int, Chosen]]:
    """A copy of a network that keeps which experts it chooses, and what keeps them, by block."""
    twin = copy.deepcopy(net, {id(net.traced): None})  # a graph of the whole, not run
    found = {}
    for block in twin:
        choices = _choices(block.branch)
        if not choices:
            continue
        part, node = choices[-1]
        found[block.index] = part.chosen_experts = Chosen()
        with part.graph.inserting_after(node):
            kept = part.graph.call_module("chosen_experts", (node,))
        node.replace_all_uses_with(kept, lambda user, kept=kept: user is not kept)  # type: ignore[misc]
        part.graph.lint()
        part.recompile()
    return twin, found


def _choices(part: nn.Module) -> list[tuple[fx.GraphModule, fx.Node]]:
    """The nodes of a part that are numbers of chosen experts."""
    return [
        (inner, node)
        for inner in part.modules()
        if isinstance(inner, fx.GraphModule)
        for node in inner.graph.nodes
        if _is_places(node) and node.users
    ]


def _is_places(node: fx.Node) -> bool:
    """Whether a node takes the places out of a ``topk``."""
    if node.op != "call_function" or node.target not in (operator.getitem, getattr):
        return False
    source, which = node.args[:2]
    if not isinstance(source, fx.Node) or which not in (1, "indices"):
        return False
    return source.op != "call_module" and name_of(source.target) == "topk"
