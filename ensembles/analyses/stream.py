"""What blocks do to the values that pass through a network: directions and sizes, block by block.

Notation: x is a block's input, y its output, f what its branch adds where branch and
shortcut meet. Where the shortcut is not the identity, x stands for what the shortcut makes of it: y
is compared with the value that the block gives without its branch, f with what the shortcut adds to
the sum.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ensembles.decomposition import Block, Decomposition, walk
from ensembles.errors import UsageError
from ensembles.tasks.base import Inputs

__all__ = ["MEASURES", "SPAN_MEASURES", "Mean", "Stream", "channel_dimension", "compared_with"]

MEASURES = ("influence", "angle", "branch_ratio", "branch_cosine")
SPAN_MEASURES = ("span_influence", "span_angle")


@dataclass
class Mean:
    """Mean and standard error of a value over rows that come in batches.

    Source: T. F. Chan, G. H. Golub and R. J. LeVeque, "Algorithms for computing the sample
    variance", The American Statistician 37 (1983), equation 2.1.

    Attributes:
        count: Rows seen.
        value: Their mean; NaN for none.
        squares: Sum of their squared distances from it.
    """

    count: int = 0
    value: float = math.nan
    squares: float = 0.0

    def add(self, values: Tensor) -> None:
        """Add a batch of rows, (rows,)."""
        new = len(values)
        if not new:
            return
        mean = float(values.mean())
        squares = float(((values - mean) ** 2).sum())
        gap = mean - self.value if self.count else 0.0
        count = self.count + new
        self.squares += squares + gap * gap * self.count * new / count
        self.value = self.value + gap * new / count if self.count else mean
        self.count = count

    @property
    def error(self) -> float:
        """Standard error of the mean; NaN below two rows."""
        if self.count < 2:
            return math.nan
        return math.sqrt(self.squares / (self.count - 1) / self.count)


def compared_with(block: Block) -> str:
    """What a block's output is compared with.

    Returns:
        "input"; "shortcut", what the shortcut makes of the input, where it is not the identity; ""
        where there is no shortcut and the shape changes.
    """
    if not block.has_shortcut:
        return "input" if block.in_shape == block.out_shape else ""
    identity = block.shortcut is None and block.pre is None and block.in_shape == block.out_shape
    return "input" if identity else "shortcut"


@dataclass
class Stream:
    """Means over rows of what each block of a network does to the values that pass.

    Attributes:
        net: The network, on its device.
        cosine: Over what vectors cosines and norms are taken: "position" (over channels, at each
            position of a row, then averaged over positions), "flattened" (over a whole row) or
            "last" (over channels, at the last position of a sequence).
        span: Spans of so many blocks are looked at too; 1 for none.
        means: For each block, by its number, the mean of each measure: "influence"
            (1 - cos(x, y)), "angle" (arccos(cos(x, y)) / pi), "branch_ratio" (|f| / |x|),
            "branch_cosine" (cos(f, x)), and of the span that begins with it "span_influence" and
            "span_angle". A position at which a vector is zero has no direction and is left out.
        undefined: For each block, how many positions of x and y were left out.
        rows: Rows seen.
    """

    net: Decomposition
    cosine: str = "position"
    span: int = 1
    means: dict[int, dict[str, Mean]] = field(default_factory=dict)
    undefined: dict[int, int] = field(default_factory=dict)
    rows: int = 0

    def __post_init__(self) -> None:
        names = MEASURES + (SPAN_MEASURES if self.span > 1 else ())
        if self.span > 1 and self.net.is_nested:
            raise UsageError(
                f"span {self.span}: several tensors are alive between the blocks of "
                f"{self.net.model_name}, so that a span has no single input; expected span 1"
            )
        for block in self.net:
            self.means[block.index] = {name: Mean() for name in names}
            self.undefined[block.index] = 0
            if self.cosine == "last" and not _is_sequence(block):
                raise UsageError(
                    f"cosine 'last' is of the last position of a sequence; {block.label} takes "
                    f"{_shape(block.in_shape)}: expected position or flattened"
                )

    def add(self, inputs: Inputs) -> None:
        """Walk through the network once with some rows: all are added or, if memory ends, none."""
        found: list[tuple[int, Found]] = []
        carried: dict[int, Tensor] = {}
        rows = 0
        for block, x, y in walk(self.net, inputs):
            rows = len(x)
            found.append((block.index, self._of_block(block, x, y)))
            if self.span > 1:
                carried, ended = self._of_spans(block, x, y, carried)
                found += ended
        for index, one in found:
            self.undefined[index] += one.missing
            for name, values in one.values.items():
                self.means[index][name].add(values)
        self.rows += rows

    def _of_block(self, block: Block, x: Tensor, y: Tensor) -> Found:
        against, found = compared_with(block), Found({}, 0)
        if against:
            before = x if against == "input" else block.deleted(x)
            found = self.direction(block, before, y, "")
        if block.has_shortcut:
            shared = x if block.pre is None else block.pre(x)
            added = block.on_branch(shared)
            base = x if against == "input" else block.on_shortcut(shared)
            shape = torch.broadcast_shapes(added.shape, base.shape)  # type: ignore[no-untyped-call]
            f, x = (self._vectors(block, value.expand(shape)) for value in (added, base))
            sizes = (f * f).sum(-1), (x * x).sum(-1)
            both = (sizes[0] != 0) & (sizes[1] != 0)
            found.values["branch_ratio"] = _by_row((sizes[0] / sizes[1]).sqrt(), sizes[1] != 0)
            found.values["branch_cosine"] = _by_row(_cosines(f, x, *sizes), both)
        return found

    def _of_spans(
        self, block: Block, x: Tensor, y: Tensor, carried: Mapping[int, Tensor]
    ) -> tuple[dict[int, Tensor], list[tuple[int, Found]]]:
        """Take the value before each open span past a block; compare where a span ends.

        Args:
            block: The block.
            x: Its input.
            y: Its output.
            carried: What the shortcuts made of the input of each open span, by its first block.

        Returns:
            The same after the block, and what was found of the span that ends with it.
        """
        against = compared_with(block)
        after: dict[int, Tensor] = {}
        for first, value in {**carried, block.index: x}.items() if against else ():
            passed = value
            if first != block.index and block.before is not None:
                passed = block.before(passed)
            after[first] = block.deleted(passed) if against == "shortcut" else passed
        first = block.index - self.span + 1
        if first not in after:
            return after, []
        found = self.direction(block, after.pop(first), y, "span_")
        return after, [(first, found._replace(missing=0))]

    def direction(self, block: Block, x: Tensor, y: Tensor, prefix: str = "") -> Found:
        """What lies between the directions of two values."""
        one, other = self._vectors(block, x), self._vectors(block, y)
        sizes = (one * one).sum(-1), (other * other).sum(-1)
        both = (sizes[0] != 0) & (sizes[1] != 0)
        cosines = _cosines(one, other, *sizes)
        values = {"influence": 1 - cosines, "angle": cosines.arccos() / math.pi}
        return Found(
            {f"{prefix}{name}": _by_row(value, both) for name, value in values.items()},
            int((~both).sum()),
        )

    def _vectors(self, block: Block, value: Tensor) -> Tensor:
        """A value as vectors, (rows, positions, channels), in the widest type of the device.

        All of one layout, so that equal values have equal sums.
        """
        wide = value.to(torch.float32 if value.device.type == "mps" else torch.float64)
        if self.cosine == "flattened" or wide.ndim == 2:
            return wide.reshape(len(wide), 1, -1)
        if self.cosine == "last":
            return wide[:, -1:, :].contiguous()
        return wide.movedim(channel_dimension(block, wide.ndim), -1).flatten(1, -2).contiguous()


class Found(NamedTuple):
    """What some rows show of a block.

    Attributes:
        values: Values of each measure, of the rows that have one, (rows,).
        missing: Positions that have no direction.
    """

    values: dict[str, Tensor]
    missing: int


def _cosines(x: Tensor, y: Tensor, x_squared: Tensor, y_squared: Tensor) -> Tensor:
    """Cosines between vectors, exactly 1 for equal ones; NaN stays NaN."""
    return ((x * y).sum(-1) / (x_squared * y_squared).sqrt()).clamp(-1, 1)


def _by_row(values: Tensor, defined: Tensor) -> Tensor:
    """The mean over defined positions, of each row that has some.

    Args:
        values: (rows, positions).
        defined: Whether a value has a meaning, alike.
    """
    count = defined.sum(1)
    means = torch.where(defined, values, 0.0).sum(1) / count
    return means[count > 0]


_SECOND = (nn.modules.conv._ConvNd, nn.modules.batchnorm._NormBase, nn.GroupNorm)
_LAST = (nn.Linear, nn.LayerNorm, nn.MultiheadAttention)


def channel_dimension(block: Block, rank: int) -> int:
    """The dimension that holds the channels, by the first layer with weights that sees the input.

    Convolutions and BatchNorm have them in the second dimension, linear layers, LayerNorm and
    attention in the last one. Where no such layer is found they are in the last dimension of a
    sequence (rows, positions, channels), and in the second of anything else.
    """
    for part in (block.pre, block.branch):
        for module in part.modules() if part is not None else ():
            if isinstance(module, _SECOND):
                return 1
            if isinstance(module, _LAST):
                return -1
    return -1 if rank == 3 else 1


def _is_sequence(block: Block) -> bool:
    return len(block.in_shape) == 2 and channel_dimension(block, 3) == -1


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
