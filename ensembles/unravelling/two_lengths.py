"""All paths by two lengths at once: how many branches of one sort they take, and of the others."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ensembles.unravelling.linear_networks import Linearized
from ensembles.unravelling.maps import LinearMap

__all__ = ["two_lengths"]


def two_lengths(net: Linearized, cotangent: Tensor, chosen: Sequence[bool]) -> Tensor:
    """Norms of the sums of the gradients of all paths of each two lengths, at the first stream.

    The recursion of one length (:mod:`ensembles.unravelling.spectra`) with two: at a block of the
    first sort ``G_(a,b) <- S^T M^T G_(a,b) + J^T M^T G_(a-1,b)``, at one of the second the same
    with b. Sums over a + b = k are the sums of one length.

    Args:
        net: The network at N images; in double precision, since no powers of two are kept apart.
        cotangent: At the logits, (N, classes).
        chosen: Of which sort each block is; blocks without a choice count for neither.

    Returns:
        (a + 1, b + 1, N), float64: L2 norms, a branches of the first sort, b of the second.
    """
    sorts = [
        sort for block, sort in zip(net.blocks, chosen, strict=True) if block.branch is not None
    ]
    first, images = sum(sorts), len(cotangent)
    start = net.head.pull(cotangent)
    state = start[None, None]
    for block, sort in zip(reversed(net.blocks), reversed(chosen), strict=True):
        passed = state
        if block.branch is None:
            state = _pulled(block.shortcut, passed)
        else:
            passed = _pulled(block.post, passed)
            around, branch = _pulled(block.shortcut, passed), _pulled(block.branch, passed)
            sizes = around.shape[0] + sort, around.shape[1] + (not sort)
            joint = around.new_zeros(*sizes, *around.shape[2:])
            joint[: around.shape[0], : around.shape[1]] += around
            joint[sizes[0] - around.shape[0] :, sizes[1] - around.shape[1] :] += branch
            state = _pulled(block.pre, joint)
        state = _pulled(block.before, state)
    assert state.shape[:3] == (first + 1, len(sorts) - first + 1, images)
    norms: Tensor = torch.linalg.vector_norm(state.flatten(3).to(torch.float64), dim=3)
    return norms


def _pulled(part: LinearMap | None, rows: Tensor) -> Tensor:
    """Rows of two lengths (a, b, N, *shape) back through a part."""
    if part is None:
        return rows
    back = part.pull(rows.flatten(0, 2))
    return back.reshape(*rows.shape[:3], *back.shape[1:])
