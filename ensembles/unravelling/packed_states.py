"""Networks of nested blocks, linearised: all that is alive between two blocks as one vector.

Written on that vector, blocks beside and inside each other are a chain: a block's shortcut carries
all other tensors past it, its branch adds to its own alone. So the recursions for chains expand the
paths of any such network exactly; a choice that no way through the graph makes carries nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ensembles.decomposition import Block, Decomposition
from ensembles.decomposition.layouts import Layout
from ensembles.decomposition.state import OWN, Opening, Passage, State
from ensembles.errors import PathError
from ensembles.unravelling.linear_networks import LinearBlock, Linearized
from ensembles.unravelling.maps import FunctionMap

__all__ = ["linearized"]


@dataclass(frozen=True)
class _Layout:
    """Where in a vector each tensor of a state stands.

    Attributes:
        shapes: Shape of a row of each, the block's own first.
        held: What has no gradient, such as a choice of positions.
        rows: How many images there are.
        orders: Where in each tensor the images are.
    """

    shapes: Mapping[str, tuple[int, ...]]
    held: Mapping[str, Any]
    rows: int
    orders: Mapping[str, Layout]

    @classmethod
    def of(cls, state: State, rows: int, orders: Mapping[str, Layout], where: str) -> _Layout:
        moving = {OWN: state.x}
        held: dict[str, Any] = {}
        for name, value in state.carried.items():
            real = isinstance(value, Tensor) and value.is_floating_point()
            (moving if real else held)[name] = value
        shapes = {}
        for name, value in moving.items():
            order = orders[name]
            if value.shape[order.dim] != rows * order.entries:
                raise PathError(
                    f"before {where}: a tensor of shape {tuple(value.shape)} is alive, which does "
                    f"not hold its {rows} images in dimension {order.dim}; paths through nested "
                    "blocks need rows of images in all that is alive"
                )
            shapes[name] = tuple(order.by_image(value).shape[1:])
        return cls(shapes, held, rows, orders)

    def after(self, state: State, block: Block) -> _Layout:
        """The layout when a block has run: what is carried past it stays as it is."""
        orders = {**self.orders, OWN: block.after}
        return _Layout.of(state, self.rows, orders, f"the end of {block.label}")

    def pack(self, state: State) -> Tensor:
        """A state as vectors, (N, numbers)."""
        values = {name: state.x if name == OWN else state.carried[name] for name in self.shapes}
        return torch.cat([self.row(name, value) for name, value in values.items()], 1)

    def row(self, name: str, value: Tensor) -> Tensor:
        """A tensor as vectors, (N, numbers)."""
        by_image = self.orders[name].by_image(value)
        return by_image.reshape(len(by_image), -1)

    def unpack(self, packed: Tensor) -> State:
        """Vectors as a state, of all images or of the first."""
        count = len(packed)
        sizes = [torch.Size(shape).numel() for shape in self.shapes.values()]
        parts = torch.split(packed, sizes, 1)
        values = {
            name: self.orders[name].as_it_was(part.reshape(count, *shape))
            for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }
        held = {name: self._of_some(value, count) for name, value in self.held.items()}
        return State(values.pop(OWN), {**values, **held})

    def _of_some(self, value: Any, count: int) -> Any:
        whole = isinstance(value, Tensor) and value.ndim > 0 and len(value) == self.rows
        return value[:count] if whole else value


def linearized(net: Decomposition, images: Tensor) -> Linearized:
    """The first-order maps of a network of nested blocks at N images.

    Args:
        net: The network.
        images: (N, *input_shape).

    Raises:
        PathError: If a part is not differentiable, an activation is not finite, or rows of images
            do not stand in dimension 0 of all that is alive.
    """
    with torch.no_grad():
        assert isinstance(net.stem, Opening)
        state: State = net.stem(images)
        layout = _Layout.of(state, len(images), net.stem.orders, net.block(1).label)
        stem = FunctionMap(_packing(net.stem, layout), images, "the stem")
        start, found = stem.value, list[LinearBlock]()
        for block in net:
            before = None
            if block.before is not None:
                assert isinstance(block.before, Passage)
                old, packed = layout, layout.pack(state)
                state = block.before(state)
                layout = _Layout.of(state, len(images), block.before.orders, block.label)
                moved = _packing(_after(block.before, old), layout)
                before = FunctionMap(moved, packed, f"what precedes {block.label}")
            state, linear = _block(block, state, layout, before)
            layout = layout.after(state, block)
            found.append(linear)
        packed = layout.pack(state)
        head = FunctionMap(_after(net.head, layout), packed, "the head")
    return Linearized(images, stem, start, tuple(found), head, head.value)


def _packing(function: Callable[[Any], Any], layout: _Layout) -> Callable[[Tensor], Tensor]:
    return lambda x: layout.pack(function(x))


def _after(function: Callable[[Any], Any], layout: _Layout) -> Callable[[Tensor], Any]:
    return lambda packed: function(layout.unpack(packed))


def _block(
    block: Block, state: State, layout: _Layout, before: FunctionMap | None
) -> tuple[State, LinearBlock]:
    """A block on a vector; other tensors are carried past it by its shortcut alone."""
    packed = layout.pack(state)
    after = state.with_x(block.bound(state.beside(block.reads)).held(state.x))
    if not torch.isfinite(after.x).all():
        raise PathError(
            f"{block.label} gives values that are not finite; "
            "check the weights and the normalisation of the images"
        )
    if not block.has_shortcut:
        road = FunctionMap(_road(block, layout, None, False), packed, block.label)
        return after, LinearBlock(block.index, before, None, road, None, None)
    sizes = _joined_shape(block, state)
    branch = FunctionMap(_road(block, layout, sizes, True), packed, block.label)
    shortcut = FunctionMap(
        _road(block, layout, sizes, False), packed, f"the shortcut of {block.label}"
    )
    post = None
    if block.post is not None:
        zeros = torch.zeros(layout.rows, *sizes).to(state.x)
        joined = layout.after(state.with_x(block.after.as_it_was(zeros)), block)

        def passed(vector: Tensor) -> Tensor:
            inner = joined.unpack(vector)
            part = block.bound(inner.beside(block.reads)).post
            assert part is not None
            return joined_after.pack(inner.with_x(part(inner.x)))

        joined_after = layout.after(after, block)
        post = FunctionMap(passed, branch.value + shortcut.value, block.label)
    return after, LinearBlock(block.index, before, None, shortcut, branch, post)


def _joined_shape(block: Block, state: State) -> tuple[int, ...]:
    """Shape of an image where branch and shortcut meet."""
    bound = block.bound(state.beside(block.reads))
    middle = state.x if bound.pre is None else bound.pre(state.x)
    whole = bound.on_branch(middle) + bound.on_shortcut(middle)
    return tuple(block.after.by_image(whole).shape[1:])


def _road(
    block: Block, layout: _Layout, shape: tuple[int, ...] | None, alone: bool
) -> Callable[[Tensor], Tensor]:
    """One road of a block as a function of vectors."""

    def run(packed: Tensor) -> Tensor:
        state = layout.unpack(packed)
        bound = block.bound(state.beside(block.reads))
        if shape is None:
            made = block.after.by_image(bound.held(state.x))
        else:
            middle = state.x if bound.pre is None else bound.pre(state.x)
            made = bound.on_branch(middle) if alone else bound.on_shortcut(middle)
            made = block.after.by_image(made).expand(len(packed), *shape)
        rest = [layout.row(name, state.carried[name]) for name in layout.shapes if name != OWN]
        rest = [torch.zeros_like(one) for one in rest] if alone else rest
        return torch.cat([made.reshape(len(made), -1), *rest], 1)

    return run
