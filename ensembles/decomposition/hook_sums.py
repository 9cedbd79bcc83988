"""Sums that the user's hooks make: an ablated or steered direction is no block.

``o - (o @ v) * v`` takes a direction out of what a module gives, ``o + o.norm() * v`` pushes it
along one. Only a branch with a weight layer that is not linear, such as an adapter, is a block.
"""

from __future__ import annotations

from torch import fx

from ensembles.decomposition.graph import Graph
from ensembles.decomposition.node_probe import NodeProbe

__all__ = ["steers"]


def steers(graph: Graph, entry: fx.Node, exit_: fx.Node) -> bool:
    """Whether a sum is a hook's that only changes a direction of what a module gives."""
    if not exit_.meta.get("hook"):
        return False
    if "steers" not in exit_.meta:
        inside = graph.cone(exit_, entry)
        layered = any(graph.is_weight_layer(node) for node in inside)
        probe = NodeProbe(graph)
        exit_.meta["steers"] = not layered or all(map(probe.is_linear, inside))
    return bool(exit_.meta["steers"])
