"""Mean and standard deviation of the channels, by name or by numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ensembles.errors import DataError, UsageError, nearest

__all__ = ["AS_GIVEN", "NAMED", "Normalization"]


@dataclass(frozen=True)
class Normalization:
    """How 8-bit pixels become the numbers that a network sees: ``(x / 255 - mean) / std``.

    Attributes:
        mean: Mean of each channel on the scale 0 to 1; a single value serves all channels.
        std: Standard deviation of each channel on the same scale, as many values as ``mean``.

    Raises:
        UsageError: When the numbers of values differ, or a value is not finite, or a standard
            deviation is not above zero.

    >>> Normalization.parse("0.5,0.5,0.5/0.25,0.25,0.25").std
    (0.25, 0.25, 0.25)
    >>> str(Normalization.parse("imagenet"))
    'imagenet'
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.mean or len(self.mean) != len(self.std):
            raise UsageError(
                f"a normalisation has {len(self.mean)} means and {len(self.std)} standard "
                "deviations; expected one of each for every channel"
            )
        if not all(map(math.isfinite, (*self.mean, *self.std))) or min(self.std) <= 0:
            raise UsageError(
                f"a normalisation has the means {_join(self.mean)} and the standard deviations "
                f"{_join(self.std)}; expected finite numbers and deviations above zero"
            )

    @classmethod
    def parse(cls, text: str | Normalization) -> Normalization:
        """Read a normalisation as it is written on the command line.

        Args:
            text: A name (``imagenet``, ``cifar10``, ``none``, ...) or ``m,m,m/s,s,s`` on the
                scale 0 to 1; a normalisation is given back as it is.

        Returns:
            The normalisation.

        Raises:
            UsageError: When the text is neither.
        """
        if isinstance(text, Normalization):
            return text
        name = text.strip().lower().replace("_", "-")
        if name in NAMED:
            return NAMED[name]
        if "/" not in text:
            raise UsageError(
                f"unknown normalisation {text!r}; expected one of {', '.join(NAMED)}, or numbers "
                f"as in 0.5,0.5,0.5/0.25,0.25,0.25{nearest(name, NAMED)}"
            )
        mean, _, std = text.partition("/")
        return cls(_numbers(mean, text), _numbers(std, text))

    def __str__(self) -> str:
        for name, known in NAMED.items():
            if known == self:
                return name
        return f"{_join(self.mean)}/{_join(self.std)}"

    def check_channels(self, channels: int) -> None:
        """Refuse images whose channels do not match.

        Args:
            channels: How many channels the images have.

        Raises:
            DataError: When there are neither one nor ``channels`` values.
        """
        if len(self.mean) not in (1, channels):
            raise DataError(
                f"the normalisation {self} is for {len(self.mean)} channels, but the images have "
                f"{channels}; give {channels} means and {channels} deviations, or one of each"
            )

    def __call__(self, images: Tensor) -> Tensor:
        """Normalise images.

        Args:
            images: uint8, (..., C, H, W).

        Returns:
            float32 of the same shape, rounded exactly as torchvision's ``ToTensor`` followed by
            ``Normalize``.
        """
        self.check_channels(images.shape[-3])
        mean = torch.tensor(self.mean, device=images.device).view(-1, 1, 1)
        std = torch.tensor(self.std, device=images.device).view(-1, 1, 1)
        return images.to(torch.float32).div_(255).sub_(mean).div_(std)


@dataclass(frozen=True)
class _AsGiven(Normalization):
    """Rows that a network takes as they are: nothing is done to them."""

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def __str__(self) -> str:
        return "as given"

    def check_channels(self, channels: int) -> None:
        """Take rows of any shape."""

    def __call__(self, images: Tensor) -> Tensor:
        """The rows themselves."""
        return images


AS_GIVEN = _AsGiven()


def _numbers(part: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(number) for number in part.split(","))
    except ValueError:
        raise UsageError(
            f"cannot read the normalisation {text!r}: {part!r} is not a list of numbers; expected "
            "means/deviations as in 0.5,0.5,0.5/0.25,0.25,0.25"
        ) from None


def _join(values: tuple[float, ...]) -> str:
    return ",".join(map(repr, values))


NAMED: dict[str, Normalization] = {
    "none": Normalization((0.0,), (1.0,)),
    "digits": Normalization((0.3051,), (0.3237,)),
    "imagenet": Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "cifar10": Normalization((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": Normalization((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "svhn": Normalization((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)),
    "mnist": Normalization((0.1307,), (0.3081,)),
    "fashion-mnist": Normalization((0.2860,), (0.3530,)),
}
