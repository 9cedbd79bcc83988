"""How far back in its window a block looks: what tells sliding attention from full attention."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ensembles.decomposition.blocks import Block

if TYPE_CHECKING:
    from ensembles.decomposition.network import Decomposition

__all__ = ["reach", "takes_ids"]

_ROUNDING = 1e-5


def takes_ids(net: Decomposition) -> bool:
    """Whether a network takes ids of tokens, alone or with others by name."""
    return not any(dtype.is_floating_point for dtype in net.input_types)


def reach(block: Block) -> int:
    """The greatest distance at which a block's output depends on its input, in tokens.

    The first token of a random stream is changed, and the last token is looked for whose output
    changes with it: 0 for an MLP, T - 1 for attention over all of a window of T tokens, less for
    attention that slides.

    Args:
        block: A block from a stream (N, T, width) to one of as many tokens, that reads nothing
            beside it.
    """
    weight = next(block.parameters(), None)
    draws = torch.Generator().manual_seed(0)
    streams = torch.randn(1, *block.in_shape, generator=draws).repeat(2, 1, 1)
    streams[1, 0] = torch.randn(block.in_shape[-1], generator=draws)
    with torch.no_grad():
        one, other = block(streams if weight is None else streams.to(weight)).float()
    changed = (one - other).abs().amax(-1) > _ROUNDING * one.abs().amax()
    return int(changed.nonzero().max()) if bool(changed.any()) else 0
