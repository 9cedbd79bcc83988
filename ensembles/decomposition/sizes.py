"""Sizes that depend on how many images a batch holds."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

__all__ = ["Sizes", "blank", "made_beside", "sample_of", "size_affine"]


@dataclass(frozen=True)
class Sizes:
    """Shapes of a node's value, measured with two batch sizes; None where it is no tensor.

    Attributes:
        two: The shape for two images.
        three: The shape for three images.
    """

    two: tuple[int, ...] | None
    three: tuple[int, ...] | None

    @property
    def shape(self) -> tuple[int, ...]:
        """The values of one image: the shape without the dimension of images.

        Where an image has several entries there (windows), their number comes first.
        """
        entries = self.batch[1] if self.batch is not None else 1
        return self.rest if entries == 1 else (entries, *self.rest)

    @property
    def rest(self) -> tuple[int, ...]:
        """The shape without the dimension of images (without the first one where none varies)."""
        batch = (self._varying or [0])[0]
        return tuple(size for d, size in enumerate(self.two or ()) if d != batch)

    @property
    def batch(self) -> tuple[int, int] | None:
        """The dimension that holds the images, and how many of its entries belong to one image."""
        if self.two is None or self.three is None or len(self._varying) != 1:
            return None
        place = self._varying[0]
        whole = self.two[place] * 3 == self.three[place] * 2
        return (place, self.two[place] // 2) if whole else None

    @property
    def _varying(self) -> list[int]:
        pairs = zip(self.two or (), self.three or (), strict=False)
        return [d for d, (two, three) in enumerate(pairs) if two != three]


def sample_of(inputs: fx.Node) -> fx.Node:
    """The tensor by which a graph tells how many images it is given: the first of its inputs."""
    parts = [user for user in inputs.users if user.target is operator.getitem]
    return parts[0] if inputs.meta.get("several") else inputs


def size_affine(x: Tensor, dim: int, per_image: int, factor: int, offset: int) -> int:
    """A size that depends on the number of images in `x`: ``factor * images + offset``."""
    return factor * (x.shape[dim] // per_image) + offset


def made_beside(x: Tensor, factory: str, *args: Any, **kwargs: Any) -> Tensor:
    """What a factory of torch makes, on the device of `x` (not where the model was recorded)."""
    made: Tensor = getattr(torch, factory)(*args, **{**kwargs, "device": x.device})
    return made


def blank(x: Tensor, images: tuple[int, int], place: tuple[int, int], *shape: int) -> Tensor:
    """Zeros for as many images as `x` holds.

    Args:
        x: Any activation.
        images: Its dimension of images, and how many of its entries belong to one.
        place: The same for the zeros.
        *shape: Shape of the zeros without that dimension.
    """
    sizes = list(shape)
    sizes.insert(place[0], x.shape[images[0]] // images[1] * place[1])
    return x.new_zeros(sizes)
