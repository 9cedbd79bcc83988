"""What stands in for a deleted block that has no shortcut and changes the shape."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Adapter"]


class Adapter(nn.Module):
    """The nearest parameter-free map between two shapes.

    Channels are cut, or padded with zeros; positions are subsampled (or repeated) evenly: output
    position i reads input position ``floor(i * in / out)``, which is a stride where that is whole.

    Args:
        in_shape: Shape before, without the batch.
        out_shape: Shape after, of the same length.
        channels: The dimension of the channels, counted without the batch.

    >>> Adapter((3, 8, 8), (5, 4, 4))(torch.ones(2, 3, 8, 8)).shape
    torch.Size([2, 5, 4, 4])
    """

    def __init__(
        self, in_shape: tuple[int, ...], out_shape: tuple[int, ...], channels: int = 0
    ) -> None:
        super().__init__()
        self.in_shape, self.out_shape, self.channels = in_shape, out_shape, channels

    @property
    def text(self) -> str:
        """The map in words, such as "64 -> 128 channels, 8x8 -> 4x4"."""
        c = self.channels
        parts = []
        if self.in_shape[c] != self.out_shape[c]:
            parts.append(f"{self.in_shape[c]} -> {self.out_shape[c]} channels")
        before = [str(s) for d, s in enumerate(self.in_shape) if d != c]
        after = [str(s) for d, s in enumerate(self.out_shape) if d != c]
        if before != after:
            parts.append(f"{'x'.join(before)} -> {'x'.join(after)}")
        return ", ".join(parts)

    def forward(self, x: Tensor) -> Tensor:
        """Map (images, *in_shape) to (images, *out_shape)."""
        for d, (old, new) in enumerate(zip(self.in_shape, self.out_shape, strict=True)):
            if old == new:
                continue
            if d != self.channels:
                index = torch.arange(new, device=x.device) * old // new
                x = x.index_select(d + 1, index)
            elif new < old:
                x = x.narrow(d + 1, 0, new)
            else:
                zeros = x.new_zeros(*x.shape[: d + 1], new - old, *x.shape[d + 2 :])
                x = torch.cat([x, zeros], d + 1)
        return x
