"""Random signs for all images of an analysis: how many draws each image gets, and what they give.

Draws are made in groups. Within a group the rows exchange their branches' parts at every block, by
a random permutation: the sign that a path meets at a block then depends on the branches that it has
taken before, so that pairs of paths which differ in the same blocks no longer add up alike, and the
heavy tail of their common sign goes. Every cross term still holds a sign that is met only once, so
the mean square stays what it is. Groups are independent of each other, and one group counts as one
measurement.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ensembles.unravelling.cores import in_parallel
from ensembles.unravelling.gradients import GradientSource, signed
from ensembles.unravelling.linearization import Linearizer
from ensembles.unravelling.path_weights import allocate
from ensembles.unravelling.places import Place
from ensembles.unravelling.single_paths import generator
from ensembles.unravelling.spectra import Signs

__all__ = ["Signed", "draws_of_images", "sign_norms"]

Batch = tuple[Tensor, Tensor]
_AT_ONCE = 16
_LARGEST, _GROUPS = 8, 8


@dataclass(frozen=True)
class Signed:
    """Sums of all paths of each length with random signs.

    Attributes:
        norms: Base-2 logarithms of the RMS over each group of their L2 norms, (lengths, groups),
            float64.
        owners: The image of each group, (groups,), int64; the groups of an image stand together.
        draws: How many draws each image got, (N,), int64.
    """

    norms: Tensor
    owners: Tensor
    draws: Tensor


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
    largest: int = _LARGEST,
    at_once: int,
    seed: int = 0,
    report: Callable[[int, int], None] | None = None,
) -> dict[Place, Signed]:
    """Measure the sums of all paths of each length, with an independent sign for every branch.

    Args:
        linearizer: Of the network.
        batches: Images and labels.
        places: Where the gradients arrive.
        draws: Of each image, (N,), all above zero; made up to whole groups.
        largest: Draws in a group at most. An image has eight groups before they grow, so that
            their spread is known.
        at_once: As many draws as fit in memory.
        seed: Of the draws.
        report: Told of progress in images.
    """
    images = torch.cat([part for part, _ in batches])
    labels = torch.cat([part for _, part in batches])
    sizes = (draws // _GROUPS).clamp(1, min(largest, at_once))
    groups = -(-draws // sizes)
    fit = min(at_once, _AT_ONCE) if images.device.type == "cpu" else at_once
    parts = [
        (image, first, min(first + step, count))
        for image, (count, step) in enumerate(
            zip(groups.tolist(), (fit // sizes).clamp(min=1).tolist(), strict=True)
        )
        for first in range(0, count, step)
    ]
    choices = sum(block.has_shortcut for block in linearizer.net)
    drawn = [
        _draw(choices, int(count), int(size), generator(seed, 1, image))
        for image, (count, size) in enumerate(zip(groups, sizes, strict=True))
    ]

    def work(start: int, images: Tensor, labels: Tensor) -> list[dict[Place, Tensor]]:
        found = []
        for number in range(len(labels)):
            image, first, last = parts[start + number]
            one = images[number : number + 1]
            source = GradientSource.of(
                linearizer.net, linearizer.at(one), labels[number : number + 1]
            )
            some = _rows(drawn[image], first, last, one)
            size = int(sizes[image])
            rows = signed(source, places, some).items()
            found.append({place: _mean_square(norms[..., 0].cpu(), size) for place, norms in rows})
        return found

    def in_images(done: int, total: int) -> None:
        if report is not None:
            report(done * len(images) // total, len(images))

    pieces = [(images[i : i + 1], labels[i : i + 1]) for i, _, _ in parts]
    done = [one for piece in in_parallel(work, pieces, in_images) for one in piece]
    owners = torch.arange(len(groups)).repeat_interleave(groups)
    return {
        place: Signed(torch.cat([one[place] for one in done], 1), owners, groups * sizes)
        for place in places
    }


def _draw(choices: int, groups: int, size: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Signs of an image's branches, and permutations within groups: (groups, size, choices)."""
    signs = torch.randint(0, 2, (groups, size, choices), generator=random) * 2 - 1
    orders = torch.rand((groups, size, choices), generator=random).argsort(1)
    return signs, orders


def _rows(drawn: tuple[Tensor, Tensor], first: int, last: int, like: Tensor) -> Signs:
    """Some groups side by side, as draws of one image."""
    signs, orders = (part[first:last] for part in drawn)
    starts = torch.arange(len(orders))[:, None, None] * orders.shape[1]
    values, places = (part.flatten(0, 1).T[..., None] for part in (signs, orders + starts))
    return Signs(values.to(like.device, like.dtype), places.to(like.device))


def _mean_square(norms: Tensor, size: int) -> Tensor:
    """The RMS over each group, (lengths, groups), of base-2 logarithms (lengths, draws)."""
    squares = torch.unflatten(2 * math.log(2) * norms, 1, (-1, size)).logsumexp(2)
    return (squares - math.log(size)) / (2 * math.log(2))
