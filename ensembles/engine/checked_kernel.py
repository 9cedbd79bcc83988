"""A kernel for convolutions whose first answers are held against plain arithmetic.

A kernel that was tried on one card may not compile on another, or compute something else there. So
no answer is taken on trust: for each shape the first one is compared, number by number, of many
rows the first and the last of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ensembles.cuda_graphs import is_recording
from ensembles.engine.memory import is_oom
from ensembles.numerics import tf32

__all__ = ["CheckedKernel", "Kernel"]

_HELD = 1 << 24
"""Numbers that the comparison lays out at a time."""

_ENDS = 256
"""Rows that are compared at the beginning of a batch, and as many at its end."""


class Kernel(Protocol):
    """What computes a convolution, a sum and a ReLU at once."""

    def fits(self, conv: nn.Conv2d) -> bool:
        """Whether it is worth while for a convolution, wherever it will lie."""

    def run(self, conv: nn.Conv2d, x: Tensor, other: Tensor | None, *, relu: bool) -> Tensor | None:
        """Map (N, C, H, W) to the ReLU, if asked for, of its convolution plus the other.

        The convolution has one group and is padded with zeros; no derivative is asked for.

        Returns:
            A tensor of its own; None where these cannot be run so.
        """


class CheckedKernel:
    """A kernel that is used for the shapes for which its first answer was right.

    A shape (with the type, the device, and what is fused) for which it raises or answers otherwise
    goes part by part from then on. Nothing is checked while a CUDA graph is recorded: what was not
    run before goes part by part there.

    Args:
        kernel: What computes.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._right: set[tuple[Hashable, int]] = set()
        self._refused: dict[Hashable, str] = {}

    @property
    def told(self) -> str:
        """How convolutions are run, for the provenance."""
        fused = {form for form, _ in self._right} - self._refused.keys()
        said = [f"{_shapes(len(fused))} fused with sums and ReLUs"] if fused else []
        for why, count in Counter(self._refused.values()).items():
            said.append(f"{_shapes(count)} part by part ({why})")
        return "; ".join(said) or "part by part"

    def fits(self, conv: nn.Conv2d) -> bool:
        """Whether a convolution may be run by it."""
        plain = conv.groups == 1 and not isinstance(conv.padding, str)
        return plain and conv.padding_mode == "zeros" and self._kernel.fits(conv)

    def run(self, conv: nn.Conv2d, x: Tensor, other: Tensor | None, *, relu: bool) -> Tensor | None:
        """Map (N, C, H, W) to the ReLU, if asked for, of its convolution plus the other.

        Returns:
            A tensor of its own; None where these are to be run part by part.

        Raises:
            OutOfMemoryError: If memory runs out; nothing is remembered then.
        """
        form = (
            conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding,
            conv.dilation, conv.bias is None, x.dtype, x.device, x.shape[1:],
            None if other is None else (other.dtype, other.device, other.shape[1:]), relu,
        )  # fmt: skip
        if torch.is_grad_enabled():
            return None
        known = (form, len(x)) in self._right
        if not known and (form in self._refused or x.ndim != 4 or not len(x) or is_recording()):
            return None
        try:
            made = self._kernel.run(conv, x, other, relu=relu)
            if known or made is None:
                return made
            wrong, telling = _compared(conv, x, other, made, relu=relu)
        except Exception as error:  # a compiler may raise anything
            if is_oom(error):
                raise
            text = " ".join(str(error).split())[:200]
            self._refuse(form, f"{type(error).__name__}: {text}".removesuffix(": "))
            return None
        if wrong:
            held = min(len(x), 2 * _ENDS) * made[0].numel()
            self._refuse(form, f"{wrong} of {held} numbers of a first answer were wrong")
            return None
        if telling:
            self._right.add((form, len(x)))
        return made

    def _refuse(self, form: Hashable, why: str) -> None:
        self._refused[form] = why
        self._right = {one for one in self._right if one[0] != form}


def _compared(
    conv: nn.Conv2d, x: Tensor, other: Tensor | None, made: Tensor, *, relu: bool
) -> tuple[int, bool]:
    """Hold an answer against torch's in float32, within the rounding of its type.

    Returns:
        How many numbers are wrong, and whether it would be seen that the products are left out (of
        weights that are all 0 nothing is learnt).
    """
    if made.dtype != x.dtype:
        raise TypeError(f"an answer in {made.dtype}, for {x.dtype}")
    assert not isinstance(conv.padding, str)
    weight = conv.weight.float()
    bias = weight.new_zeros(len(weight)) if conv.bias is None else conv.bias.float()
    products = weight[0].numel()
    kinds = torch.finfo(made.dtype), torch.finfo(torch.float32)
    slack = max(kinds[0].eps / 64, products * kinds[1].eps)
    form = list(conv.stride), list(conv.padding), list(conv.dilation)
    size = max(_HELD // max(x[0].numel(), made[0].numel(), 1), 1)
    wrong = torch.zeros((), dtype=torch.int64, device=x.device)
    telling = torch.zeros((), dtype=torch.bool, device=x.device)
    for some in _ends(len(x), size):
        given, beside = x[some].float(), bias[:, None, None]
        summed = beside.abs()
        if other is not None:
            more = other[some].float()
            beside, summed = beside + more, summed + more.abs()
        with tf32(allowed=False):
            plain = F.conv2d(given, weight, None, *form) + beside
            summed = F.conv2d(given.abs(), weight.abs(), None, *form) + summed
        expected, without = (plain.relu(), beside.relu()) if relu else (plain, beside)
        found = made[some].float()
        if found.shape != expected.shape:
            raise TypeError(f"an answer of shape {tuple(made.shape)}")
        allowed = kinds[0].eps * expected.abs() + slack * summed + kinds[1].tiny
        near = plain.isfinite() & ((found - expected).abs() <= allowed)
        same = (found == expected.to(made.dtype)) | (found.isnan() & expected.isnan())
        wrong += (~(near | same)).sum()
        telling |= ((expected - without).abs() > allowed).any()
    return int(wrong), bool(telling)


def _ends(rows: int, size: int) -> Iterator[slice]:
    """The rows that are compared, some at a time."""
    parts = [(0, rows)] if rows <= 2 * _ENDS else [(0, _ENDS), (rows - _ENDS, rows)]
    for start, stop in parts:
        for first in range(start, stop, size):
            yield slice(first, min(first + size, stop))


def _shapes(count: int) -> str:
    return f"{count} shape{'' if count == 1 else 's'}"
