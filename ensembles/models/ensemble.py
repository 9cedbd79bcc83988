"""Ensembles proper: several networks whose answers are averaged.

The contrast to a residual network, which is called an ensemble for how it behaves: here the members
are trained apart and share nothing (the best entries of the ImageNet challenges were of this kind).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor, nn

__all__ = ["Average", "AverageOf"]

AverageOf = Literal["probabilities", "logits"]


class Average(nn.Module):
    """The mean of what several classifiers give for the same images.

    `ensembles.decompose` finds the members as its blocks: a deleted one leaves the mean to the
    others, a duplicated one has twice the weight.

    Args:
        members: Networks from images to logits of the same classes.
        of: What is averaged: the probabilities of the classes, whose logarithm is returned, or the
            logits.

    Raises:
        ValueError: When there are no two members, or `of` is neither.
    """

    def __init__(self, members: Iterable[nn.Module], of: AverageOf = "probabilities") -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.of = of
        if len(self.members) < 2:
            raise ValueError(f"an average of {len(self.members)} networks; expected two or more")
        if of not in ("probabilities", "logits"):
            raise ValueError(f"an average of {of!r}; expected 'probabilities' or 'logits'")

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, C, H, W) to logits (N, classes)."""
        answers = [member(x) for member in self.members]
        if self.of == "logits":
            return torch.stack(answers).mean(0)
        mean = torch.stack([answer.softmax(1) for answer in answers]).mean(0)
        return mean.clamp_min(torch.finfo(mean.dtype).tiny).log()
