"""Operations whose first-order map is cheap for many path lengths at once.

An operation computes its value at the images once and keeps what its derivative needs (a mask, a
slope, the places of a maximum). Rows of tangents and cotangents then pass without further forward
work; BatchNorm is folded into the convolution before it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "Add",
    "Affine",
    "Concat",
    "Convolve",
    "Linear",
    "MaxPool",
    "Operation",
    "Product",
    "Slope",
    "Stencil",
    "Step",
    "UnknownOperationError",
]  # fmt: skip

_Images = Tensor | None


class UnknownOperationError(Exception):
    """An operation that has no fast form; the general one takes over."""


def channels_last(x: Tensor) -> Tensor:
    """Images in the memory layout that convolutions are fastest in."""
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x.contiguous()


def times(rows: Tensor, factor: Tensor, images: _Images, owned: bool) -> Tensor:
    """Multiply rows by a factor of each image, (N, *shape)."""
    if images is not None:
        picked = channels_last(factor[images])
        return rows.mul_(picked) if owned else rows * picked
    grouped = torch.unflatten(rows, 0, (-1, len(factor)))
    found: Tensor = grouped.mul_(factor) if owned else grouped * factor
    return found.flatten(0, 1)


class Operation:
    """One node of a tape.

    Attributes:
        forward: Computes the value from the images' activations, as the network itself does.
    """

    def __init__(self, forward: Callable[..., Tensor]) -> None:
        self.forward = forward

    def linearize(self, *inputs: Tensor) -> tuple[Tensor, Any]:
        """The value, and what the derivative needs."""
        return self.forward(*inputs), None

    def push(self, local: Any, *rows: Tensor) -> Tensor:
        """Tangents of the inputs to the tangent of the value."""
        raise TypeError(f"{type(self).__name__} has no forward derivative")

    def pull(self, local: Any, rows: Tensor, images: _Images, owned: bool) -> tuple[Tensor, ...]:
        """The cotangent of the value to those of the inputs."""
        raise TypeError(f"{type(self).__name__} has no derivative")

    def constant(self, local: Any) -> Tensor | None:
        """The value less the first-order map of the inputs, broadcastable to (N, *shape)."""
        return None


@dataclass(frozen=True)
class Stencil:
    """The geometry of a convolution."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int


class Convolve(Operation):
    """A convolution, with the BatchNorm that follows it folded in.

    With stride 1 the transpose is a convolution too, with the kernel turned round: oneDNN runs it
    as fast as the forward one.

    Args:
        forward: The convolution and its BatchNorm, unfolded, as the network runs them.
        weight: Folded weight (out, in / groups, height, width).
        bias: Folded bias (out,), or None.
        stencil: Its geometry.
    """

    def __init__(
        self,
        forward: Callable[..., Tensor],
        weight: Tensor,
        bias: Tensor | None,
        stencil: Stencil,
    ) -> None:
        super().__init__(forward)
        self.weight, self.bias, self.stencil = channels_last(weight), bias, stencil
        reach = zip(stencil.dilation, weight.shape[2:], stencil.padding, strict=True)
        self._turned_padding = tuple(d * (size - 1) - pad for d, size, pad in reach)
        whole = all(step == 1 for step in stencil.stride) and min(self._turned_padding) >= 0
        self._turned = _turned(weight, stencil.groups) if whole else None

    def linearize(self, *inputs: Tensor) -> tuple[Tensor, Any]:
        """The value, and the size of the input."""
        return self.forward(*inputs), inputs[0].shape[2:]

    def push(self, local: Any, *rows: Tensor) -> Tensor:
        """The convolution without its bias."""
        s = self.stencil
        return F.conv2d(rows[0], self.weight, None, s.stride, s.padding, s.dilation, s.groups)

    def pull(self, local: Any, rows: Tensor, images: _Images, owned: bool) -> tuple[Tensor, ...]:
        """The transposed convolution."""
        s = self.stencil
        if self._turned is not None:
            pad = self._turned_padding
            return (F.conv2d(rows, self._turned, None, 1, pad, s.dilation, s.groups),)
        extra = [
            size - ((out - 1) * step - 2 * pad + d * (kernel - 1) + 1)
            for size, out, step, pad, d, kernel in zip(
                local, rows.shape[2:], s.stride, s.padding, s.dilation, self.weight.shape[2:],
                strict=True,
            )
        ]  # fmt: skip
        return (
            F.conv_transpose2d(
                rows, self.weight, None, s.stride, s.padding, extra, s.groups, s.dilation
            ),
        )

    def constant(self, local: Any) -> Tensor | None:
        """The bias."""
        return None if self.bias is None else self.bias[:, None, None]


def _turned(weight: Tensor, groups: int) -> Tensor:
    split = torch.unflatten(weight, 0, (groups, -1)).transpose(1, 2)
    return channels_last(split.flatten(0, 1).flip(2, 3))


class Affine(Operation):
    """Multiplication and addition of constants: BatchNorm in evaluation mode, layer scale.

    Args:
        forward: As the network runs it.
        scale: Broadcasts against one image's activation; None for 1.
        shift: Likewise; None for 0.
    """

    def __init__(
        self, forward: Callable[..., Tensor], scale: Tensor | None, shift: Tensor | None
    ) -> None:
        super().__init__(forward)
        self.scale, self.shift = scale, shift

    def linearize(self, *inputs: Tensor) -> tuple[Tensor, Any]:
        """The value, of the input's shape."""
        value = self.forward(*inputs)
        if value.shape != inputs[0].shape:
            raise UnknownOperationError
        return value, None

    def push(self, local: Any, *rows: Tensor) -> Tensor:
        """Multiply."""
        return rows[0] if self.scale is None else rows[0] * self.scale

    def pull(self, local: Any, rows: Tensor, images: _Images, owned: bool) -> tuple[Tensor, ...]:
        """Multiply."""
        if self.scale is None:
            return (rows,)
        return (rows.mul_(self.scale) if owned else rows * self.scale,)

    def constant(self, local: Any) -> Tensor | None:
        """The shift."""
        return self.shift


@dataclass
class _Slopes:
    slope: Tensor
    rest: Tensor | None


class Slope(Operation):
    """A non-linearity of each element: ReLU by its mask, smooth ones by their derivative.

    Args:
        forward: The function, with a BatchNorm before it where there is one.
        is_relu: Whether it is a ReLU, which leaves no constant.
        affine: The BatchNorm before it, whose scale becomes part of the slope.
    """

    def __init__(
        self, forward: Callable[..., Tensor], is_relu: bool, affine: Affine | None = None
    ) -> None:
        super().__init__(forward)
        self.is_relu, self.affine = is_relu, affine

    def linearize(self, *inputs: Tensor) -> tuple[Tensor, Any]:
        """The value, and the slope at it."""
        (x,) = inputs
        middle = x if self.affine is None else self.affine.forward(x)
        if self.is_relu:
            value = self.forward(middle)
            slope = (value > 0).to(value.dtype)
        else:
            with torch.enable_grad():
                probe = middle.detach().requires_grad_()
                value = self.forward(probe)
                (slope,) = torch.autograd.grad(value.sum(), probe)
            value = value.detach()
        if self.affine is not None and self.affine.scale is not None:
            slope = slope * self.affine.scale
        exact = self.is_relu and self.affine is None
        rest = None if exact else value - slope * x
        return value, _Slopes(channels_last(slope), rest)

    def push(self, local: Any, *rows: Tensor) -> Tensor:
        """Multiply by the slope."""
        return times(rows[0], local.slope, None, False)

    def pull(self, local: Any, rows: Tensor, images: _Images, owned: bool) -> tuple[Tensor, ...]:
        """Multiply by the slope."""
        return (times(rows, local.slope, images, owned),)

    def constant(self, local: Any) -> Tensor | None:
        """The value less slope times input."""
        rest: Tensor | None = local.rest
        return rest


class Linear(Operation):
    """A linear operation without image-dependent coefficients: pooling, padding, views, matrices.

    Args:
        forward: As the network runs it, with its bias.
        apply: The same without bias, on any number of rows.
        bias: The bias, broadcastable to the value.
        transpose: Cotangent and input shape to cotangent; by default autograd's.
    """

    def __init__(
        self,
        forward: Callable[..., Tensor],
        apply: Callable[[Tensor], Tensor],
        bias: Tensor | None = None,
        transpose: Callable[[Tensor, Sequence[int]], Tensor] | None = None,
    ) -> None:
        super().__init__(forward)
        self.apply, self.bias, self.transpose = apply, bias, transpose

    def linearize(self, *inputs: Tensor) -> tuple[Tensor, Any]:
        """The value, and the shape of the input."""
        return self.forward(*inputs), inputs[0].shape[1:]

    def push(self, local: Any, *rows: Tensor) -> Tensor:
        """The operation."""
        return self.apply(rows[0])

    def pull(self, local: Any, rows: Tensor, images: _Images, owned: bool) -> tuple[Tensor, ...]:
        """Its transpose."""
        if self.transpose is not None:
            return (self.transpose(rows, local),)
        with torch.enable_grad():
            probe = rows.new_zeros(()).expand(len(rows), *local).requires_grad_()
            return torch.autograd.grad(self.apply(probe), probe, rows)

    def constant(self, local: Any) -> Tensor | None:
        """The bias."""
        return self.bias


class MaxPool(Operation):
    """Max pooling: each output follows the input that was greatest at the image."""

    def __init__(self, forward: Callable[..., Tensor], places: Callable[[Tensor], Tensor]) -> None:
        super().__init__(forward)
        self.places = places

    def linearize(self, *inputs: Tensor) -> tuple[Tensor, Any]:
        """The value, and where in the input it was found."""
        (x,) = inputs
        return self.forward(x), (self.places(x), x.shape[2:])

    def push(self, local: Any, *rows: Tensor) -> Tensor:
        """Pick the tangents at these places."""
        places, _ = local
        index = places.repeat(len(rows[0]) // len(places), 1, 1, 1)
        return rows[0].flatten(2).gather(2, index.flatten(2)).view(index.shape)

    def pull(self, local: Any, rows: Tensor, images: _Images, owned: bool) -> tuple[Tensor, ...]:
        """Send the cotangents to these places."""
        places, size = local
        repeat = len(rows) // len(places)
        index = places.repeat(repeat, 1, 1, 1) if images is None else places[images]
        out = rows.new_zeros(*rows.shape[:2], size[0] * size[1])
        out.scatter_add_(2, index.flatten(2), rows.flatten(2))
        return (torch.unflatten(out, 2, tuple(size)),)


class Add(Operation):
    """The sum of two activations."""

    def linearize(self, *inputs: Tensor) -> tuple[Tensor, Any]:
        """The value, and the shapes of the operands."""
        return self.forward(*inputs), [x.shape[1:] for x in inputs]

    def push(self, local: Any, *rows: Tensor) -> Tensor:
        """Add."""
        return rows[0] + rows[1]

    def pull(self, local: Any, rows: Tensor, images: _Images, owned: bool) -> tuple[Tensor, ...]:
        """The cotangent goes to both, summed where an operand was broadcast."""
        first, second = (rows.sum_to_size(len(rows), *shape) for shape in local)
        return first, second


class Product(Operation):
    """The product of two activations, as in squeeze-and-excitation."""

    def linearize(self, *inputs: Tensor) -> tuple[Tensor, Any]:
        """The value, and both factors."""
        return self.forward(*inputs), inputs

    def push(self, local: Any, *rows: Tensor) -> Tensor:
        """The product rule."""
        return times(rows[0], local[1], None, False) + times(rows[1], local[0], None, False)

    def pull(self, local: Any, rows: Tensor, images: _Images, owned: bool) -> tuple[Tensor, ...]:
        """The product rule, summed where a factor was broadcast."""
        a, b = local
        to_a = times(rows, b, images, False)
        to_b = times(rows, a, images, False)
        return (
            to_a.sum_to_size(len(rows), *a.shape[1:]),
            to_b.sum_to_size(len(rows), *b.shape[1:]),
        )

    def constant(self, local: Any) -> Tensor | None:
        """Minus the product, which the product rule counts twice."""
        a, b = local
        found: Tensor = -(a * b)
        return found


class Concat(Operation):
    """A concatenation of activations.

    Args:
        forward: As the network runs it.
        dim: The dimension, never that of the images.
    """

    def __init__(self, forward: Callable[..., Tensor], dim: int) -> None:
        super().__init__(forward)
        self.dim = dim

    def linearize(self, *inputs: Tensor) -> tuple[Tensor, Any]:
        """The value, and the width of each part."""
        return self.forward(*inputs), [part.shape[self.dim] for part in inputs]

    def push(self, local: Any, *rows: Tensor) -> Tensor:
        """Concatenate."""
        return torch.cat(rows, self.dim)

    def pull(self, local: Any, rows: Tensor, images: _Images, owned: bool) -> tuple[Tensor, ...]:
        """Split."""
        return tuple(torch.split(rows, local, self.dim))


@dataclass
class Step:
    """An operation with the slots that it reads and the one that it writes."""

    operation: Operation
    inputs: tuple[int, ...]
    output: int
