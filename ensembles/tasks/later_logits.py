"""Logits of tokens that are computed piece by piece, when they are measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["LaterLogits"]

_AT_ONCE = 128
"""Tokens of a piece: fewer would read the weights of the head too often, more fill the memory."""


@dataclass(frozen=True, eq=False)
class LaterLogits:
    """A head that answers each token by its own state alone, and the states of some windows.

    Attributes:
        head: From states (1, tokens, width) to logits (1, tokens, vocabulary).
        states: (N, T, width).
    """

    head: Callable[[Tensor], Tensor]
    states: Tensor

    def pieces(self, states: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """The logits of some tokens of a window, piece by piece.

        Args:
            states: (tokens, width).

        Yields:
            Which tokens they are, and their logits (tokens of the piece, vocabulary).
        """
        for start in range(0, len(states), _AT_ONCE):
            part = slice(start, min(start + _AT_ONCE, len(states)))
            yield part, self.head(states[None, part])[0]
