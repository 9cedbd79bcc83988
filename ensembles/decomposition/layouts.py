"""Which entries of an activation belong to which image: layouts other than images first.

A sequence may come first, ``(tokens, images, width)``, or an image may have several entries in the
dimension of images: windows beside each other, or whole batches one after the other.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn

from ensembles.decomposition.inputs import Inputs, cloned, mapped, named_tensors
from ensembles.decomposition.sizes import Sizes

__all__ = ["PLAIN", "Layout", "layout_of", "mixed"]


class Layout(NamedTuple):
    """Where the images of an activation are.

    Attributes:
        dim: The dimension that holds them.
        entries: How many of its entries belong to one image.
        together: Whether these stand beside each other.
    """

    dim: int = 0
    entries: int = 1
    together: bool = True

    def by_image(self, x: Tensor) -> Tensor:
        """An activation with images in dimension 0, several entries of one in dimension 1."""
        x = x.movedim(self.dim, 0)
        if self.entries == 1:
            return x
        if self.together:
            together: Tensor = torch.unflatten(x, 0, (-1, self.entries))
            return together
        apart: Tensor = torch.unflatten(x, 0, (self.entries, -1))
        return apart.transpose(0, 1)

    def as_it_was(self, x: Tensor) -> Tensor:
        """The inverse of :meth:`by_image`."""
        if self.entries > 1:
            x = (x if self.together else x.transpose(0, 1)).flatten(0, 1)
        return x.movedim(0, self.dim)


PLAIN = Layout()


def layout_of(sizes: Sizes, together: bool = True) -> Layout:
    """The layout of a value."""
    dim, entries = sizes.batch or (0, 1)
    return Layout(dim, entries, together or entries == 1)


def mixed(
    traced: nn.Module, sizes: dict[str, Sizes], nodes: Iterable[fx.Node], two: Inputs
) -> set[str]:
    """The names of those nodes in which the entries of an image do not stand beside each other.

    One of two images is changed; what changes with it is its own.

    Args:
        traced: The graph.
        sizes: Shapes of its values.
        nodes: The nodes in question.
        two: Inputs of two rows.
    """
    wanted = {n.name for n in nodes if (sizes[n.name].batch or (0, 1))[1] > 1}
    if not wanted:
        return set()

    def altered(tensor: Tensor) -> Tensor:
        return torch.cat([tensor[:1].flip(-1), tensor[1:]]) if tensor.ndim > 1 else tensor

    pair = [_values(traced, wanted, inputs) for inputs in (two, mapped(altered, two))]
    found = set()
    for name in wanted:
        dim, entries = sizes[name].batch or (0, 1)
        differs = (pair[0][name] != pair[1][name]).movedim(dim, 0)
        if bool(differs[entries:].any()):
            found.add(name)
    return found


def _values(traced: nn.Module, wanted: set[str], inputs: Inputs) -> dict[str, Tensor]:
    assert isinstance(traced, fx.GraphModule)
    found: dict[str, Tensor] = {}

    class Kept(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            value = super().run_node(n)
            if n.name in wanted:
                found[n.name] = value
            return value

    assert named_tensors(inputs)
    Kept(traced).run(cloned(inputs))
    return found
