"""The roads of a block one by one, so that some of them can be left out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ensembles.decomposition.writer import RUN, Bound, Writer

__all__ = ["Roads"]

Node = TypeVar("Node")


class Roads(nn.Module):
    """Roads that meet in a sum, a concatenation or a mean.

    Each road is a module that gives what it adds to the tensor where they meet: in a concatenation
    its own channels, and zeros in place of the others.

    Args:
        roads: The roads, from left to right.
        names: The module that each comes from.
        mean: Whether they are averaged instead of added.
        post: What follows where they meet; None for the identity.
        sharing: Whether they share operations, such as a norm that attention and MLP read.

    Attributes:
        names: See above.
        mean: See above.
        sharing: See above.
    """

    def __init__(
        self,
        roads: Sequence[nn.Module],
        names: Sequence[str],
        mean: bool = False,
        post: nn.Module | None = None,
        sharing: bool = False,
    ) -> None:
        super().__init__()
        self.roads = nn.ModuleList(roads)
        self.names, self.mean, self.sharing = tuple(names), mean, sharing
        self.post = post

    def __len__(self) -> int:
        return len(self.roads)

    def write(
        self,
        writer: Writer[Node],
        name: str,
        x: Node,
        dropped: Collection[int] = (),
        beside: Sequence[Node] = (),
    ) -> Node:
        """Write what the roads that stay make together, before `post`.

        Args:
            writer: Takes it down.
            name: Where the module that is written holds the roads.
            x: Where the roads begin.
            dropped: Numbers of the roads that are left out, from 1; not all of them.
            beside: What they read beside that.
        """
        values = [
            writer.part(road, f"{name}.roads.{number - 1}", x, beside)
            for number, road in enumerate(self.roads, 1)
            if number not in dropped
        ]
        total = values[0]
        for value in values[1:]:
            total = writer.add(total, value)
        return writer.call(torch.div, total, len(values)) if self.mean else total

    def bound(self, beside: Sequence[Any]) -> Roads:
        """The roads with what they read beside their input held at some values."""
        roads = [Bound(road, beside) for road in self.roads]
        post = None if self.post is None else Bound(self.post, beside)
        return Roads(roads, self.names, self.mean, post, self.sharing)

    def forward(self, x: Tensor, dropped: Collection[int] = ()) -> Tensor:
        """What the roads that stay make together, before `post`; see :meth:`write`."""
        return self.write(RUN, "", x, dropped)
