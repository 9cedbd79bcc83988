"""The exact recursions: every length of all 2^n paths at once (see docs/paths.md).

Backward, with one cotangent for each length, block by block from the last to the first::

    G_k <- S^T M^T G_k + J^T M^T G_(k-1)

and forward, with one contribution to the activation for each length::

    H_k <- M (S H_k + J H_(k-1)),  then  H_0 += M s + m,  H_1 += M c
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ensembles.unravelling.length_rows import (
    LOWEST,
    LengthRows,
    apart_from,
    chunks,
    multiply_by_powers,
    same_place,
)
from ensembles.unravelling.linearization import LinearBlock, Linearized
from ensembles.unravelling.maps import LinearMap
from ensembles.unravelling.places import Place

__all__ = ["Logits", "Signs", "backward", "forward", "head_cotangent"]

_GAP = 30.0


def head_cotangent(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The derivative of the cross-entropy of each single image by its logits, near 1.

    It is computed from logarithms, without cancellation, so that images that the network is sure
    of have a gradient too.

    Args:
        logits: (N, classes); or (N, T, classes), whose cross-entropies are added.
        labels: (N,) or (N, T), int64.

    Returns:
        The derivative divided by a power of two, like the logits, and the
        exponent of that power, (N,) float64.
    """
    wide, right = logits.to(torch.float64), labels[..., None]
    whole = wide.logsumexp(-1, keepdim=True)
    others = wide.scatter(-1, right, -torch.inf).logsumexp(-1, keepdim=True)
    sizes = wide.scatter(-1, right, others) - whole  # logarithms of p, and of 1 - p
    exponent = torch.floor(sizes.flatten(1).amax(1) / math.log(2))
    shift = exponent.view(-1, *[1] * (wide.ndim - 1)) * math.log(2)
    gradient = torch.exp(sizes - shift)
    label = gradient.gather(-1, right)
    return gradient.scatter(-1, right, -label).to(logits.dtype), exponent


@dataclass(frozen=True)
class Signs:
    """Random signs of the branches, for several draws at once.

    Attributes:
        values: +1 and -1, (choices, draws, N).
        orders: For each image a permutation of its draws, (choices, draws, N), int64: at each
            block a draw takes over the branch's part of another.
    """

    values: Tensor
    orders: Tensor

    @property
    def draws(self) -> int:
        """How many there are."""
        return int(self.values.shape[1])

    def at(self, choice: int) -> tuple[Tensor, Tensor]:
        """Sign of each row (draws * N,), and the row whose branch it takes."""
        images = self.values.shape[2]
        rows = self.orders[choice] * images + torch.arange(images, device=self.orders.device)
        return self.values[choice].flatten(), rows.flatten()


def backward(
    net: Linearized, cotangent: Tensor, signs: Signs | None = None
) -> Iterator[tuple[Place, LengthRows]]:
    """Cotangents of all paths by their length, from the last block to the input.

    Args:
        net: The network at N images.
        cotangent: At the logits, (N, classes).
        signs: Random signs of the branches; without them, all are +1.

    Yields:
        Each place on the way, from the last block's output to the images, and the cotangents
        there by length. The rows are (lengths, draws * N, *shape), and change afterwards.
    """
    draws = 1 if signs is None else signs.draws
    start = net.head.pull(cotangent)
    state = LengthRows(net.choices + 1, len(start) * draws, tuple(start.shape[1:]), start)
    state.data[0] = start.repeat(draws, *[1] * (start.ndim - 1))
    state.count = 1
    choice = net.choices
    for block in reversed(net.blocks):
        sign = None
        yield Place("output", block.index), state
        if block.branch is not None:
            choice -= 1
            sign = None if signs is None else signs.at(choice)
        state = _step_back(state, block, sign)
        state.renormalize()
        yield Place("block", block.index), state
        state = _pull_all(state, block.before)
    yield Place("input"), _pull_all(state, net.stem)


def _step_back(
    state: LengthRows, block: LinearBlock, sign: tuple[Tensor, Tensor] | None
) -> LengthRows:
    """One block of the backward recursion."""
    if block.branch is None:
        return _pull_all(state, block.shortcut)
    align = _Alignment(state, None if sign is None else sign[1])
    out = state if block.shortcut is None else None
    for start, stop in chunks(state.count, state.data[0], last_first=True):
        rows = state.rows(start, stop)
        # The rows are not needed again where the shortcut writes over them.
        passed = rows if block.post is None else block.post.pull(rows, owned=True)
        branch = block.branch.pull(passed)
        around = passed if block.shortcut is None else block.shortcut.pull(passed)
        if sign is not None:
            values, order = sign
            grouped = torch.unflatten(branch, 0, (-1, state.images))
            branch = grouped[:, order] * values.view(-1, *[1] * (branch.ndim - 1))
        else:
            branch = torch.unflatten(branch, 0, (-1, state.images))
        if out is None:
            capacity = len(state.data)
            out = LengthRows(capacity, state.images, tuple(branch.shape[2:]), branch)
        align.add(out, torch.unflatten(around, 0, (-1, state.images)), branch, start, stop)
    assert out is not None
    align.finish(out)
    return _pull_all(out, block.pre)


class _Alignment:
    """Adds rows of neighbouring lengths that have different powers of two.

    Args:
        state: The rows.
        order: For each image or draw the one whose branch it takes; by default its own.
    """

    def __init__(self, state: LengthRows, order: Tensor | None = None) -> None:
        self.count, self.level = state.count, state.level
        if self.level:
            return
        old = state.exponent[: state.count]
        low = torch.full_like(old[:1], LOWEST)
        moved = old if order is None else old[:, order]
        here, below = torch.cat([old, low]), torch.cat([low, moved])
        # A length keeps its power of two unless what arrives is larger by far.
        self.target = torch.where(below - here > _GAP, below, here)
        self.stay, move = here - self.target, below - self.target
        self.stays = (self.stay == 0).all(1).tolist()
        self.factor = torch.exp2(move.clamp(min=-1000)).to(state.data.dtype)

    def add(self, out: LengthRows, around: Tensor, branch: Tensor, start: int, stop: int) -> None:
        """Put the shortcut's part of lengths start..stop-1 at these, the branch's one higher.

        Ranges come from the last to the first.
        """
        here = out.data[start:stop]
        branch = apart_from(apart_from(branch, around), here)
        if stop == self.count:
            out.data[stop] = 0
        if not same_place(here, around):
            here.copy_(apart_from(around, here))
        above = out.data[start + 1 : stop + 1]
        if self.level:
            above += branch
            return
        if not all(self.stays[start:stop]):
            multiply_by_powers(here, self.stay[start:stop])
        factor = self.factor[start + 1 : stop + 1]
        above.addcmul_(branch, factor.view(*factor.shape, *[1] * (branch.ndim - 2)))

    def finish(self, out: LengthRows) -> None:
        """Set the lengths and exponents of the result."""
        out.count, out.level = self.count + 1, self.level
        out.exponent[: out.count] = 0 if self.level else self.target


def _pull_all(state: LengthRows, part: LinearMap | None) -> LengthRows:
    return state if part is None else _through(state, lambda rows: part.pull(rows, owned=True))


def _push_all(state: LengthRows, part: LinearMap | None) -> LengthRows:
    if part is None:
        return state
    out = _through(state, part.push)
    return add_constant(out, part.constant(), 0)


def _through(state: LengthRows, function: Callable[[Tensor], Tensor]) -> LengthRows:
    """Apply a linear map to the rows of every length."""
    out: LengthRows | None = None
    for start, stop in chunks(state.count, state.data[0]):
        rows = torch.unflatten(function(state.rows(start, stop)), 0, (-1, state.images))
        if out is None:
            here = state.data[start:stop]
            same = rows.shape == here.shape and (
                same_place(rows, here) or apart_from(rows, here) is rows
            )
            capacity = len(state.data)
            out = state if same else LengthRows(capacity, state.images, tuple(rows.shape[2:]), rows)
        if not same_place(rows, out.data[start:stop]):
            out.data[start:stop] = rows
    assert out is not None
    out.count, out.level, out.exponent = state.count, state.level, state.exponent
    out.waiting, out.seen = state.waiting, state.seen
    return out


def add_constant(state: LengthRows, constant: Tensor | None, length: int) -> LengthRows:
    """Add a constant of the network to the rows of one length."""
    if constant is None:
        return state
    if length == state.count:
        state.data[length] = 0
        state.exponent[length] = LOWEST
        state.count += 1
    old = state.exponent[length]
    target = torch.clamp(old, min=0)
    multiply_by_powers(state.data[length : length + 1], (old - target)[None])
    scaled = constant.clone()[None]
    multiply_by_powers(scaled, -target[None])
    state.data[length] += scaled[0]
    state.exponent[length] = target
    state.level = state.level and bool((target == 0).all())
    return state


@dataclass(frozen=True)
class Logits:
    """The logits of N images by path length.

    Attributes:
        parts: What each length contributes, (n + 1, N, classes), float64.
        log2_norms: Base-2 logarithm of its L2 norm, (n + 1, N).
        constant: What belongs to no path, the classifier's bias: (N, classes), float64.
    """

    parts: Tensor
    log2_norms: Tensor
    constant: Tensor


def forward(net: Linearized) -> Logits:
    """Contributions to the logits of all paths, by their length.

    Args:
        net: The network at N images.
    """
    start = net.start
    state = LengthRows(net.choices + 1, len(start), tuple(start.shape[1:]), start)
    state.data[0], state.count = start, 1
    for block in net.blocks:
        state = _push_all(state, block.before)
        state = _step_forward(state, block)
        block.release()
        state.renormalize()
    parts = _through(state, net.head.push)
    rest = net.head.constant()
    count = parts.count
    norms = parts.log2_norms()
    values = parts.data[:count].to(torch.float64) * torch.exp2(parts.exponent[:count])[..., None]
    zero = torch.zeros_like(net.logits, dtype=torch.float64)
    return Logits(values, norms, zero if rest is None else rest.to(torch.float64) + zero)


def _step_forward(state: LengthRows, block: LinearBlock) -> LengthRows:
    """One block of the forward recursion."""
    if block.branch is None:
        return _push_all(state, block.shortcut)
    state = _push_all(state, block.pre)
    align = _Alignment(state)
    out = state if block.shortcut is None else None
    for start, stop in chunks(state.count, state.data[0], last_first=True):
        rows = state.rows(start, stop)
        branch = torch.unflatten(block.branch.push(rows), 0, (-1, state.images))
        around = rows if block.shortcut is None else block.shortcut.push(rows)
        if out is None:
            capacity = len(state.data)
            out = LengthRows(capacity, state.images, tuple(branch.shape[2:]), branch)
        align.add(out, torch.unflatten(around, 0, (-1, state.images)), branch, start, stop)
    assert out is not None
    align.finish(out)
    if block.shortcut is not None:
        out = add_constant(out, block.shortcut.constant(), 0)
    out = add_constant(out, block.branch.constant(), 1)
    return _push_all(out, block.post)
