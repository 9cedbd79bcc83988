"""Gradients of a block's parameters, by the length of the paths that carry them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ensembles.decomposition import Block
from ensembles.unravelling.length_rows import LengthRows, multiply_by_powers
from ensembles.unravelling.linearization import LinearBlock

__all__ = ["ParameterGradients"]


class _Roads(nn.Module):
    """A block's roads side by side, so that each can have its own cotangent."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor, total: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Shortcut, branch, and what follows the given sum."""
        block = self.block
        middle = x if block.pre is None else block.pre(x)
        if not block.has_shortcut:
            out = block.branch(middle)
            return out, torch.zeros_like(out), torch.zeros_like(out)
        after = total if block.post is None else block.post(total)
        roads = block.on_shortcut(middle), block.on_branch(middle)
        carried, made = (
            road.expand_as(total) if road.ndim == total.ndim else road for road in roads
        )
        return carried, made, after


class ParameterGradients:
    """Turns cotangents at a block's output into gradients of its parameters.

    A path that ends at a parameter of the branch has the length of its later choices plus one; at
    a parameter of the shortcut, or of what follows the sum, that of its later choices.

    Args:
        block: The block.
        x: Its input for each image (N, *in_shape), after `before`.
    """

    def __init__(self, block: Block, x: Tensor) -> None:
        self.roads = _Roads(block)
        self.parameters = {k: v.detach() for k, v in self.roads.named_parameters()}
        middle = x if block.pre is None else block.pre(x)
        total = block.branch(middle)
        if block.has_shortcut:
            total = block.on_shortcut(middle) + block.on_branch(middle)
        self.x, self.total = x, total

    @property
    def size(self) -> int:
        """How many parameters the block has."""
        return sum(value.numel() for value in self.parameters.values())

    def __call__(
        self, state: LengthRows, linear: LinearBlock, sign: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The gradients by length.

        Args:
            state: Cotangents at the block's output, rows (lengths, draws * N, *out_shape).
            linear: The block's first-order maps.
            sign: Random signs of the branch, (draws * N,).

        Returns:
            Gradients, all parameters in one vector, (lengths + 1, draws * N, parameters), and
            their powers of two (lengths + 1, draws * N).
        """
        count = state.count
        rows = state.data[:count]
        through = rows
        if linear.post is not None:
            flat = linear.post.pull(state.rows(0, count).clone(), owned=True)
            through = torch.unflatten(flat, 0, (count, -1))
        none, zero = torch.zeros_like(through[:1]), torch.zeros_like(rows[:1])
        stay, move = torch.cat([through, none]), torch.cat([none, through]).clone()
        after = torch.cat([rows, zero])
        low = torch.full_like(state.exponent[:1], -(2.0**40))
        exponent = state.exponent[:count]
        here, below = torch.cat([exponent, low]), torch.cat([low, exponent])
        target = torch.maximum(here, below)
        multiply_by_powers(stay, here - target)
        multiply_by_powers(after, here - target)
        multiply_by_powers(move, below - target)
        if sign is not None:
            move *= sign.view(1, -1, *[1] * (move.ndim - 2))
        images = len(self.x)
        gradients = [
            self._one(
                image, stay[:, image::images], move[:, image::images], after[:, image::images]
            )
            for image in range(images)
        ]
        joined = torch.stack(gradients, 2).flatten(1, 2)
        return joined, target

    def _one(self, image: int, stay: Tensor, move: Tensor, after: Tensor) -> Tensor:
        """The gradients of one image, (lengths, draws, parameters)."""

        def run(parameters: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
            place = slice(image, image + 1)
            out: tuple[Tensor, Tensor, Tensor] = torch.func.functional_call(
                self.roads, parameters, (self.x[place], self.total[place])
            )
            return out

        pull = torch.func.vjp(run, self.parameters)[1]

        def one(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
            (found,) = pull((a[None], b[None], c[None]))
            return torch.cat([value.flatten() for value in found.values()])

        found: Tensor = torch.vmap(one, chunk_size=64)(
            stay.flatten(0, 1), move.flatten(0, 1), after.flatten(0, 1)
        )
        return torch.unflatten(found, 0, stay.shape[:2])
