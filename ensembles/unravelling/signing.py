"""Random signs for all images of an analysis: how many draws each image gets, and what they give.

The draws of one image are worked on together, some at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ensembles.unravelling.drawing import generator
from ensembles.unravelling.gradients import GradientSource, signed
from ensembles.unravelling.guiding import allocate
from ensembles.unravelling.linearized import Linearizer
from ensembles.unravelling.parallel import in_parallel
from ensembles.unravelling.places import Place

__all__ = ["Signed", "draws_of_images", "sign_norms"]

Batch = tuple[Tensor, Tensor]
_AT_ONCE = 16


@dataclass(frozen=True)
class Signed:
    """Sums of all paths of each length with random signs.

    Attributes:
        norms: Base-2 logarithms of their L2 norms, (lengths, draws), float64.
        owners: The image of each draw, (draws,), int64; the draws of an image stand together.
    """

    norms: Tensor
    owners: Tensor


def draws_of_images(sums: Collection[Tensor], each: int) -> Tensor:
    """Divide draws among images by the gradient that all paths together bring to each.

    The sums over all paths are known without error, so the division depends on no draw and biases
    nothing. An image whose part of the mean norm at length k is s_k adds a variance in proportion
    to s_k squared over its draws; their sum over lengths is least where the draws are in proportion
    to the root of the sum of s_k squared.

    Args:
        sums: Base-2 logarithms of the norms at each place, (lengths, N).
        each: Draws for each image on average.

    Returns:
        Draws (N,), int64, which add up to N * each; see `allocate` for the fewest.
    """
    logs = torch.cat([part.cpu().to(torch.float64) for part in sums])
    logs = logs[torch.isfinite(logs.amax(1))]
    images = logs.shape[1]
    if len(logs) == 0:
        return torch.full((images,), each)
    wanted = torch.softmax(logs * math.log(2), 1).square().sum(0).sqrt()
    return allocate((wanted / wanted.sum())[None], each * images)[0]


def sign_norms(
    linearizer: Linearizer,
    batches: Sequence[Batch],
    places: Collection[Place],
    draws: Tensor,
    *,
    at_once: int,
    seed: int = 0,
    report: Callable[[int, int], None] | None = None,
) -> dict[Place, Signed]:
    """Measure the sums of all paths of each length, with an independent sign for every branch.

    Args:
        linearizer: Of the network.
        batches: Images and labels.
        places: Where the gradients arrive.
        draws: Draws of signs of each image, (N,), all above zero.
        at_once: As many draws as fit in memory.
        seed: Of the draws.
        report: Told of progress in images.
    """
    images = torch.cat([part for part, _ in batches])
    labels = torch.cat([part for _, part in batches])
    size = min(at_once, _AT_ONCE) if images.device.type == "cpu" else at_once
    parts = [
        (image, first, min(first + size, count))
        for image, count in enumerate(draws.tolist())
        for first in range(0, count, size)
    ]
    choices = sum(block.has_shortcut for block in linearizer.net)
    signs = [_signs(choices, count, seed, image) for image, count in enumerate(draws.tolist())]

    def work(start: int, images: Tensor, labels: Tensor) -> list[dict[Place, Tensor]]:
        found = []
        for number in range(len(labels)):
            image, first, last = parts[start + number]
            one = images[number : number + 1]
            source = GradientSource.of(
                linearizer.net, linearizer.at(one), labels[number : number + 1]
            )
            some = signs[image][:, first:last, None].to(one.device, one.dtype)
            found.append(
                {p: rows[..., 0].cpu() for p, rows in signed(source, places, some).items()}
            )
        return found

    def told(done: int, total: int) -> None:
        if report is not None:
            report(done * len(images) // total, len(images))

    pieces = [(images[i : i + 1], labels[i : i + 1]) for i, _, _ in parts]
    done = [one for piece in in_parallel(work, pieces, told) for one in piece]
    owners = torch.arange(len(draws)).repeat_interleave(draws)
    return {place: Signed(torch.cat([one[place] for one in done], 1), owners) for place in places}


def _signs(choices: int, draws: int, seed: int, image: int) -> Tensor:
    """Random signs of an image's branches, (choices, draws)."""
    drawn = torch.randint(0, 2, (draws, choices), generator=generator(seed, 1, image))
    return drawn.T * 2 - 1
