"""Tensors of a given size that hold nothing of the data, for any number of rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import fx

from ensembles.decomposition.sizes import Sizes, made_beside, sample_of, size_affine

__all__ = ["Factories"]


class Factories:
    """Writes such tensors into a recorded graph.

    Args:
        graph: The graph.
        sizes: Shapes of its values by node name; those of new nodes are entered.
    """

    def __init__(self, graph: fx.Graph, sizes: dict[str, Sizes]) -> None:
        self.graph, self.sizes = graph, sizes

    def made(self, like: fx.Node, factory: str = "zeros", *filled: Any) -> fx.Node:
        """What a factory of torch makes, of the size and type of a node's value.

        Args:
            like: The node.
            factory: The name of the function in torch.
            *filled: What it takes behind the size.
        """
        size = self.sizes[like.name]
        args = (self._sample, factory, self.lengths(like), *filled)
        named = {"dtype": like.meta.get("dtype", torch.float32)}
        return self._anchored(like, made_beside, args, named, size)

    def lengths(self, like: fx.Node) -> tuple[Any, ...]:
        """The size of a node's value, as numbers and nodes that follow the number of rows."""
        return tuple(self._lengths(like))

    @property
    def _sample(self) -> fx.Node:
        return sample_of(next(iter(self.graph.nodes)))

    def _lengths(self, like: fx.Node) -> Iterator[Any]:
        size, none = self.sizes[like.name], Sizes(None, None)
        for two, three in zip(size.two or (), size.three or (), strict=True):
            factor = three - two
            affine = (self._sample, 0, 1, factor, two - 2 * factor)
            yield self._anchored(like, size_affine, affine, {}, none) if factor else two

    def _anchored(
        self, like: fx.Node, function: Any, args: Any, named: dict[str, Any], size: Sizes
    ) -> fx.Node:
        node = self.graph.call_function(function, args, named)
        node.meta = {**like.meta, "anchored": True}
        self.sizes[node.name] = size
        return node
