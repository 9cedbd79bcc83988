"""Architectures whose name says their size: ``preresnet20-w12-23-46`` has stages of these widths.

Every family takes any depth that it knows and any widths, so that networks of different depth can
have the same number of parameters (:func:`ensembles.models.matched.match`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from .parts import Architecture
from .perceptron import Perceptron
from .plain import CifarPlainNet
from .preresnet import CifarPreResNet
from .vgg import CifarVGG
from .wide import CifarWideResNet

__all__ = ["SIZED", "SizedFamily", "sized"]

_NAME = re.compile(r"([a-z]+-?)([1-9]\d{0,3})-w([1-9]\d{0,4}(?:-[1-9]\d{0,4})*)")
_CLASSES, _CHANNELS, _SIDE = 10, 3, 32


@dataclass(frozen=True)
class SizedFamily:
    """Networks that differ in depth and in the widths of their stages.

    Attributes:
        key: What the family is called.
        title: What it is, in a few words.
        prefix: What the names of its networks begin with.
        build: Makes a network; takes its depth, its widths, ``num_classes`` and ``in_channels``.
        proportions: How the widths of the stages are to each other.
        paper: The publication that describes it.
        shortcuts: Whether its networks are residual.
        added: What its names add to the layers on the longest path: those of wide residual networks
            count the shortcut of each stage, and not the classifier.
        step: Depths are ``least``, ``least + step`` and so on.
        least: The smallest depth.
    """

    key: str
    title: str
    prefix: str
    build: Callable[..., nn.Module]
    proportions: tuple[int, ...]
    paper: str
    shortcuts: bool = False
    added: int = 0
    step: int = 1
    least: int = 2

    def takes(self, depth: int) -> bool:
        """Whether there are networks of a depth: weight layers on the longest path."""
        return depth >= self.least and (depth - self.least) % self.step == 0

    def stages(self, depth: int) -> tuple[int, ...]:
        """Proportions of the widths at a depth: of fewer stages where there are few layers."""
        return self.proportions[: depth - 1]

    def name(self, depth: int, widths: Sequence[int]) -> str:
        """What a network is called."""
        return f"{self.prefix}{depth + self.added}-w{'-'.join(map(str, widths))}"

    def architecture(self, depth: int, widths: tuple[int, ...]) -> Architecture:
        """A network of the family, to be built."""
        return Architecture(
            name=self.name(depth, widths),
            library="ensembles",
            build=partial(_build, self, depth, widths),
            input_size=(_CHANNELS, _SIDE, _SIDE),
            num_classes=_CLASSES,
            paper=self.paper,
            family=self.key,
        )


def sized(name: str) -> Architecture | None:
    """The architecture that a name with widths means; None where it is no such name.

    >>> sized("preresnet8-w9-18-36").family
    'preresnet'
    """
    found = _NAME.fullmatch(name)
    family = None if found is None else _BY_PREFIX.get(found[1])
    if found is None or family is None:
        return None
    widths = tuple(int(width) for width in found[3].split("-"))
    return family.architecture(int(found[2]) - family.added, widths)


def _build(
    family: SizedFamily,
    depth: int,
    widths: tuple[int, ...],
    num_classes: int = _CLASSES,
    in_channels: int = _CHANNELS,
) -> nn.Module:
    if not family.takes(depth):
        depths = ", ".join(str(family.least + n * family.step + family.added) for n in range(3))
        raise ValueError(f"depth {depth + family.added} is none of {depths}, ...")
    stages = len(family.stages(depth))
    if len(widths) != stages:
        raise ValueError(f"{len(widths)} widths; expected {stages}, one for each stage")
    return family.build(depth, widths, num_classes=num_classes, in_channels=in_channels)


def _pre_activation(depth: int, widths: tuple[int, int, int], **sizes: Any) -> nn.Module:
    return CifarPreResNet(depth, widths=widths, **sizes)


def _wide(depth: int, widths: tuple[int, ...], **sizes: Any) -> nn.Module:
    return CifarWideResNet(depth + 2, widths=widths, **sizes)


def _vgg(depth: int, widths: tuple[int, ...], **sizes: Any) -> nn.Module:
    layout: list[int | str] = []
    for wide, layers in zip(widths, _parts(depth - 1, len(widths)), strict=True):
        layout += [*([wide] * layers), "M"]
    return CifarVGG(tuple(layout), **sizes)


def _perceptron(depth: int, widths: tuple[int, ...], **sizes: Any) -> nn.Module:
    parts = zip(widths, _parts(depth - 1, len(widths)), strict=True)
    return Perceptron([wide for wide, layers in parts for _ in range(layers)], **sizes)


def _parts(layers: int, groups: int) -> list[int]:
    """Layers shared out among groups, the last ones getting what is left over.

    >>> _parts(7, 5)
    [1, 1, 1, 2, 2]
    """
    each, left = divmod(layers, groups)
    return [each] * (groups - left) + [each + 1] * left


_HE, _IDENTITY = "He et al. 2015, arXiv 1512.03385", "He et al. 2016, arXiv 1603.05027"
SIZED: dict[str, SizedFamily] = {
    family.key: family
    for family in (
        SizedFamily(
            "preresnet", "pre-activation residual networks", "preresnet", _pre_activation,
            (1, 2, 4), _IDENTITY, shortcuts=True, step=6, least=8,
        ),
        SizedFamily(
            "plain", "the same without shortcuts", "plain", CifarPlainNet, (1, 2, 4),
            f"{_HE}, section 4.2", step=6, least=8,
        ),
        SizedFamily(
            "wide", "wide residual networks with a first convolution of 16 channels", "wrn-",
            _wide, (1, 2, 4), "Zagoruyko and Komodakis 2016, arXiv 1605.07146", shortcuts=True,
            added=2, step=6, least=8,
        ),
        SizedFamily(
            "vgg", "3x3 convolutions in five groups with max pooling between", "vgg", _vgg,
            (1, 2, 4, 8, 8), "Simonyan and Zisserman 2014, arXiv 1409.1556 (with BatchNorm)",
        ),
        SizedFamily(
            "perceptron", "fully connected layers on 8 x 8 pixels", "perceptron", _perceptron,
            (1, 1, 1), "Seide, Li and Yu 2011 (with BatchNorm)",
        ),
    )
}  # fmt: skip
"""The families by their keys."""

_BY_PREFIX = {family.prefix: family for family in SIZED.values()}
