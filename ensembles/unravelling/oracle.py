"""Every path by itself: slow, obvious, and what the recursions are tested against."""

from __future__ import annotations

import torch
from torch import Tensor

from ensembles.decomposition import Block, Decomposition, walk
from ensembles.unravelling.plain_norms import PlainNorms

__all__ = ["path_gradients", "path_logits"]


def path_gradients(
    net: Decomposition, images: Tensor, cotangent: Tensor
) -> dict[tuple[bool, ...], Tensor]:
    """The gradient at the images that each of the 2^n paths carries.

    Args:
        net: A network of residual and dense blocks, n <= 12 or so.
        images: (N, *input_shape).
        cotangent: At the logits, (N, classes).

    Returns:
        For each choice of branch (True) or shortcut at every block, the gradient (N, *input_shape).
    """
    inputs, last = _activations(net, images)
    blocks = list(net)
    found: dict[tuple[bool, ...], Tensor] = {}

    def follow(g: Tensor, place: int, choice: tuple[bool, ...]) -> None:
        """Send a cotangent back through block `place` and earlier ones, both ways at each."""
        if place < 0:
            found[choice] = _pull(net.stem, images, g)
            return
        block, x = blocks[place], inputs[place]
        middle = _middle(block, x)
        total = block.on_shortcut(middle) + block.on_branch(middle)
        g = g if block.post is None else _pull(block.post, total, g)
        entry = x if block.before is None else block.before(x)
        for on_branch, road in enumerate((block.on_shortcut, block.on_branch)):
            part = _pull(road, middle, g)
            part = part if block.pre is None else _pull(block.pre, entry, part)
            part = part if block.before is None else _pull(block.before, x, part)
            follow(part, place - 1, (bool(on_branch), *choice))

    follow(_pull(net.head, last, cotangent), len(blocks) - 1, ())
    return found


def path_logits(net: Decomposition, images: Tensor) -> tuple[Tensor, Tensor]:
    """What the paths of each length add to the logits, path by path.

    A term starts at the stem, or at a constant within the network, and then goes its own way
    through every later block; its length is the number of branches on it.

    Args:
        net: A network of residual and dense blocks, n <= 10 or so.
        images: (N, *input_shape).

    Returns:
        By length (n + 1, N, classes), and the constant of the head (N, classes).
    """
    inputs, last = _activations(net, images)
    blocks = list(net)
    logits = net.head(last)
    parts = torch.zeros(len(blocks) + 1, *logits.shape, dtype=logits.dtype)

    def follow(term: Tensor, place: int, length: int) -> None:
        """Send a term through block `place` and later ones, both ways at each."""
        if place == len(blocks):
            parts[length] += _push(net.head, last, term)
            return
        block, x = blocks[place], inputs[place]
        if block.before is not None:
            term = _push(block.before, x, term)
            x = block.before(x)
        term = term if block.pre is None else _push(block.pre, x, term)
        choose(block, _middle(block, inputs[place]), term, place, length)

    def choose(block: Block, middle: Tensor, term: Tensor, place: int, length: int) -> None:
        total = block.on_shortcut(middle) + block.on_branch(middle)
        for taken, road in enumerate((block.on_shortcut, block.on_branch)):
            leave(block, total, _push(road, middle, term), place, length + taken)

    def leave(block: Block, total: Tensor, term: Tensor, place: int, length: int) -> None:
        follow(term if block.post is None else _push(block.post, total, term), place + 1, length)

    follow(net.stem(images), 0, 0)
    for place, (block, x) in enumerate(zip(blocks, inputs, strict=True)):
        entry = x if block.before is None else block.before(x)
        middle = _middle(block, x)
        if block.before is not None:
            constant = entry - _push(block.before, x, x)
            moved = constant if block.pre is None else _push(block.pre, entry, constant)
            choose(block, middle, moved, place, 0)
        if block.pre is not None:
            choose(block, middle, middle - _push(block.pre, entry, entry), place, 0)
        total = block.on_shortcut(middle) + block.on_branch(middle)
        for taken, road in enumerate((block.on_shortcut, block.on_branch)):
            leave(block, total, road(middle) - _push(road, middle, middle), place, taken)
        if block.post is not None:
            follow(block.post(total) - _push(block.post, total, total), place + 1, 0)
    return parts, logits - _push(net.head, last, last)


def _activations(net: Decomposition, images: Tensor) -> tuple[list[Tensor], Tensor]:
    """The input of each block (before `before`), and of the head."""
    outputs = [output for _, _, output in walk(net, images)]
    return [net.stem(images), *outputs[:-1]], outputs[-1]


def _middle(block: Block, x: Tensor) -> Tensor:
    x = x if block.before is None else block.before(x)
    return x if block.pre is None else block.pre(x)


def _pull(function: object, x: Tensor, cotangent: Tensor) -> Tensor:
    assert callable(function)
    with torch.enable_grad(), PlainNorms():
        probe = x.detach().requires_grad_()
        out = function(probe)
        if not out.requires_grad:
            return torch.zeros_like(x)
        (found,) = torch.autograd.grad(out, probe, cotangent, allow_unused=True)
    return torch.zeros_like(x) if found is None else found


def _push(function: object, x: Tensor, tangent: Tensor) -> Tensor:
    """The derivative along a tangent, by differentiating the transposed map."""
    assert callable(function)
    with torch.enable_grad(), PlainNorms():
        probe = x.detach().requires_grad_()
        out = function(probe)
        dummy = torch.zeros_like(out, requires_grad=True)
        (back,) = torch.autograd.grad(out, probe, dummy, create_graph=True)
        if not back.requires_grad:
            return torch.zeros_like(out)
        (found,) = torch.autograd.grad(back, dummy, tangent, allow_unused=True)
    return torch.zeros_like(out) if found is None else found.detach()
