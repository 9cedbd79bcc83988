"""Mean and deviation that a file holds beside a network: it normalises its images itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ensembles.errors import CheckpointError

__all__ = ["InnerNormalizer", "inner_normalizer"]

_MEAN = re.compile(r"(?P<owner>(?:.*\.)?)(?:new_|_|image_|img_|pixel_)?(?:mean|means|mu)")
_ENDINGS = {"mean": "std", "means": "stds", "mu": "sigma"}


@dataclass(frozen=True)
class InnerNormalizer:
    """A normalisation of pixels between 0 and 1 that belongs to the network.

    Attributes:
        mean: One value a channel, or one for all.
        std: As many.
        names: The tensors of the file that hold them.
    """

    mean: Tensor
    std: Tensor
    names: tuple[str, ...]

    @property
    def text(self) -> str:
        """As ``m,m,m/s,s,s``."""
        return "/".join(
            ",".join(f"{value:.4g}" for value in values.flatten().tolist())
            for values in (self.mean, self.std)
        )


def inner_normalizer(
    beside: Mapping[str, Tensor], channels: int, origin: str
) -> InnerNormalizer | None:
    """Find the normaliser that robustness libraries save with a network.

    Args:
        beside: The tensors in the file that are not the network's.
        channels: Of the images.
        origin: What to call the file in an error.

    Raises:
        CheckpointError: When there are several that differ, or one that is not for pixels between
            0 and 1.
    """
    found: list[InnerNormalizer] = []
    for name, mean in beside.items():
        match = _MEAN.fullmatch(name)
        if match is None or not _is_of_channels(mean, channels):
            continue
        ending = next(one for one in ("means", "mean", "mu") if name.endswith(one))
        other = name.removesuffix(ending) + _ENDINGS[ending]
        std = beside.get(other)
        if std is None or not _is_of_channels(std, channels):
            continue
        found.append(InnerNormalizer(mean.flatten().float(), std.flatten().float(), (name, other)))
    if not found:
        return None
    first = found[0]
    for one in found:
        same = torch.equal(one.mean, first.mean) and torch.equal(one.std, first.std)
        if not same:
            raise CheckpointError(
                f"{origin} holds two normalisers that differ, {first.names[0]} ({first.text}) and "
                f"{one.names[0]} ({one.text}): save the network with the one that it uses"
            )
    if bool((first.std <= 0).any()) or bool((first.mean.abs() > 1).any()):
        raise CheckpointError(
            f"{origin} holds a normaliser {first.text} ({first.names[0]}), which is not for pixels "
            "between 0 and 1: save the network alone, and name its normalisation on that scale "
            "with --normalize"
        )
    return InnerNormalizer(first.mean, first.std, tuple(n for one in found for n in one.names))


def _is_of_channels(value: Tensor, channels: int) -> bool:
    return (
        value.is_floating_point() and value.numel() in (1, channels) and value.ndim in (0, 1, 3, 4)
    )
