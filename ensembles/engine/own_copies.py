"""Parts that hold copies of what they were made of, so that they may be moved and rounded."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from torch import fx, nn

from ensembles.decomposition.state import OnState

__all__ = ["OwnCopies"]


class OwnCopies:
    """Gives parts layers of their own; layers that several parts share are copied once."""

    def __init__(self) -> None:
        self._memo: dict[int, Any] = {}

    def keep(self, layers: Iterable[nn.Module]) -> None:
        """Leave layers as they are, for they are nobody else's."""
        self._memo.update({id(layer): layer for layer in layers})

    def in_place_of(self, part: nn.Module) -> nn.Module:
        """The part, with copies in place of the network's layers, in evaluation mode.

        Args:
            part: A graph that was written for this, which is changed, for a copy would have to be
                compiled anew; anything else is copied.
        """
        if isinstance(part, OnState):
            return OnState(self.in_place_of(part.module), part.reads).eval()
        if not isinstance(part, fx.GraphModule):
            return copy.deepcopy(part, self._memo).eval()
        everything: tuple[dict[str, Any], ...] = part._modules, part._parameters, part._buffers
        for held in everything:
            for name, value in held.items():
                held[name] = copy.deepcopy(value, self._memo)
        return part.eval()
