"""The published protocol: single paths of a given length, drawn at random.

Veit et al. 2016, section 4.3: k blocks are drawn; the backward pass takes only the branch there
and only the shortcut elsewhere; the norm of the gradient that arrives is one measurement. Here
many draws and images share one batch, and a draw costs only its own k branches.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ensembles.unravelling.length_rows import (
    LengthRows,
    chunks,
    greatest,
    log2_norm,
    multiply_by_powers,
    ranges,
    same_place,
)
from ensembles.unravelling.linearization import LinearBlock, Linearized
from ensembles.unravelling.maps import LinearMap
from ensembles.unravelling.operations import channels_last
from ensembles.unravelling.parameters import ParameterGradients
from ensembles.unravelling.places import Place

__all__ = ["draw_paths", "path_norms"]

_CALM, _EVERY = 16, 3
_BATCH_BYTES = {"cpu": 16 * 2**20, "cuda": 256 * 2**20}


def draw_paths(
    choices: int, lengths: Tensor, weights: Tensor | None, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw sets of blocks, those whose branch a path takes.

    Args:
        choices: Number of blocks, n.
        lengths: Number of branches of each path, (draws,), int64.
        weights: Draw a set with probability proportional to the product of its blocks' weights,
            (choices,) float64; uniformly when None.
        generator: Source of randomness, on the CPU.

    Returns:
        The choices (draws, choices), bool, and the natural logarithm of each set's uniform
        probability over the one it was drawn with, (draws,) float64.
    """
    chance = torch.rand(len(lengths), choices, generator=generator, dtype=torch.float64)
    if weights is None:
        taken = chance.argsort(1).argsort(1) < lengths[:, None]
        return taken, torch.zeros(len(lengths), dtype=torch.float64)
    table, logs = _elementary(weights), torch.log(weights)
    left = lengths.clone()
    taken = torch.zeros(len(lengths), choices, dtype=torch.bool)
    for i in reversed(range(choices)):
        # The sets of `left` among the first i + 1 blocks that hold block i, by weight.
        lower = table[i, (left - 1).clamp(min=0)] + logs[i]
        share = torch.exp(lower - table[i + 1, left])
        taken[:, i] = (left > 0) & (chance[:, i] < share)
        left = left - taken[:, i].long()
    uniform = _elementary(torch.ones_like(weights))[choices, lengths]
    drawn = (taken * logs).sum(1) - table[choices, lengths]
    return taken, -uniform - drawn


def _elementary(weights: Tensor) -> Tensor:
    """Logarithms of the elementary symmetric polynomials e_k of the first i weights: [i, k]."""
    count = len(weights) + 1
    table = torch.full((count, count), -torch.inf, dtype=torch.float64)
    table[:, 0] = 0
    for i, weight in enumerate(weights):
        table[i + 1, 1:] = torch.logaddexp(table[i, 1:], table[i, :-1] + torch.log(weight))
    return table


def path_norms(
    net: Linearized,
    cotangent: Tensor,
    exponent: Tensor,
    taken: Tensor,
    place: Place,
    *,
    learned: ParameterGradients | None = None,
) -> Tensor:
    """Norms of the gradients that single paths carry to a place.

    A path to the parameters of a block ends in the road that its last choice names: what only the
    sum of the roads passes belongs to the shortcut.

    Args:
        net: The network at N images.
        cotangent: At the logits, (N, classes).
        exponent: Its power of two, (N,).
        taken: The choices of each draw for each image, (draws, N, n), bool.
        place: The images, a block's input or its parameters; choices before it do not matter.
        learned: Where the place is a block's parameters, what turns cotangents into gradients.

    Returns:
        Base-2 logarithms of the L2 norms, (draws, N), float64.
    """
    draws, count = taken.shape[:2]
    start = net.head.pull(cotangent)
    out = torch.empty(draws, count, dtype=torch.float64, device=start.device)
    row = start[0].numel() * start.element_size() * count
    widest = max(net.images[0].numel(), start[0].numel(), net.start[0].numel())
    row = row * widest // start[0].numel()
    if learned is not None:
        row = max(row, 2 * learned.size * start.element_size() * count)
    budget = _BATCH_BYTES.get(start.device.type, _BATCH_BYTES["cpu"])
    for first, last in ranges(draws, row, budget):
        out[first:last] = _follow(net, start, exponent, taken[first:last], place, learned=learned)
    return out


def _follow(
    net: Linearized,
    start: Tensor,
    exponent: Tensor,
    taken: Tensor,
    place: Place,
    *,
    learned: ParameterGradients | None,
) -> Tensor:
    """One batch of single paths, from the head to the place."""
    draws, count = taken.shape[:2]
    on_branch = taken.flatten(0, 1).to(start.device)
    rows = channels_last(start.repeat(draws, *[1] * (start.ndim - 1)))
    powers = _Powers(exponent.repeat(draws))
    choice = on_branch.shape[1]
    for block in reversed(net.blocks):
        if learned is not None and block.index == place.block:
            last = torch.zeros_like(on_branch[:, 0]) if choice == 0 else on_branch[:, choice - 1]
            last = torch.zeros_like(last) if block.branch is None else last
            return _learn(rows, powers.exponent, block, last, learned).view(draws, count)
        if block.branch is None:
            rows = _all(rows, block.shortcut, count)
        else:
            choice -= 1
            rows = _step(rows, block, on_branch[:, choice], count)
        powers.update(rows)
        if place == Place("block", block.index):
            break
        rows = _all(rows, block.before, count)
    else:
        rows = _all(rows, net.stem, count)
    return log2_norm(torch.unflatten(rows, 0, (draws, count)), powers.exponent.view(draws, count))


def _learn(
    rows: Tensor, exponent: Tensor, block: LinearBlock, last: Tensor, learned: ParameterGradients
) -> Tensor:
    """Norms of the gradients of a block's parameters in the road of the last choice."""
    state = LengthRows(1, len(rows), tuple(rows.shape[1:]), rows)
    state.data[0], state.exponent[0], state.count = rows, exponent, 1
    data, powers = learned(state, block)
    road, places = last.long(), torch.arange(len(rows), device=rows.device)
    return log2_norm(data[road, places][None], powers[road, places][None])[0]


def _step(rows: Tensor, block: LinearBlock, on_branch: Tensor, count: int) -> Tensor:
    assert block.branch is not None
    rows = _all(rows, block.post, count)
    roads = [(block.branch, on_branch.nonzero()[:, 0])]
    if block.shortcut is not None:
        roads.append((block.shortcut, (~on_branch).nonzero()[:, 0]))
    out = rows if block.shortcut is None else None
    for road, places in roads:
        for start, stop in chunks(len(places), rows[0]):
            some = places[start:stop]
            owners = None if count == 1 else some % count
            pulled = road.pull(_take(rows, some), owners, True)
            if out is None:
                out = channels_last(rows.new_empty(len(rows), *pulled.shape[1:]))
            _flat(out).index_copy_(0, some, _flat(channels_last(pulled)))
    assert out is not None
    return _all(out, block.pre, count)


def _all(rows: Tensor, part: LinearMap | None, count: int) -> Tensor:
    """Pull all rows through a part, some at a time."""
    if part is None:
        return rows
    done = [
        part.pull(rows[start * count : stop * count], owned=True)
        for start, stop in chunks(len(rows) // count, rows[0], count)
    ]
    if same_place(done[0], rows[: len(done[0])]):
        return rows
    return channels_last(torch.cat(done))


def _flat(rows: Tensor) -> Tensor:
    """Rows as a matrix that shares their memory (channels-last images, or contiguous rows)."""
    return rows.permute(0, 2, 3, 1).reshape(len(rows), -1) if rows.ndim == 4 else rows.flatten(1)


def _take(rows: Tensor, places: Tensor) -> Tensor:
    picked = _flat(rows).index_select(0, places)
    if rows.ndim != 4:
        return picked.view(-1, *rows.shape[1:])
    _, c, h, w = rows.shape
    return picked.view(-1, h, w, c).permute(0, 3, 1, 2)


class _Powers:
    """Powers of two of single rows; looked at as often as the rows change."""

    def __init__(self, start: Tensor) -> None:
        self.exponent, self.waiting = start, 0

    def update(self, rows: Tensor) -> None:
        """Bring rows that have gone far from 1 back to it."""
        if self.waiting:
            self.waiting -= 1
            return
        size = greatest(rows[None])[0]
        shift = torch.where(size > 0, torch.floor(torch.log2(size)), torch.zeros_like(size))
        far = shift.abs() > _CALM
        self.waiting = 0 if bool(far.any()) else _EVERY - 1
        shift = torch.where(far, shift, torch.zeros_like(shift))
        multiply_by_powers(rows[None], -shift[None])
        self.exponent = self.exponent + shift
