"""Single paths for all images of an analysis: which are drawn, and what they carry.

Each image is worked on by itself, with all its paths of every length in one batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ensembles.decomposition import Decomposition
from ensembles.unravelling.cores import in_parallel
from ensembles.unravelling.gradients import GradientSource, sampled
from ensembles.unravelling.linearization import Linearizer
from ensembles.unravelling.path_counts import only_branch_learns
from ensembles.unravelling.path_draws import draw_paths
from ensembles.unravelling.path_weights import Guide, allocate, fit_guide
from ensembles.unravelling.places import Place

__all__ = ["Drawn", "draw_norms", "generator", "pilot_guide"]

Batch = tuple[Tensor, Tensor]
_PILOT = 16
_STREAMS = 4


@dataclass(frozen=True)
class Drawn:
    """Single paths, drawn for each length.

    Attributes:
        norms: Base-2 logarithms of their L2 norms, (lengths, draws), float64.
        weights: Natural logarithms of their uniform probability over their own, as `norms`.
        owners: The image of each, as `norms`, int64.
    """

    norms: Tensor
    weights: Tensor
    owners: Tensor


@dataclass(frozen=True)
class _Plan:
    """How many paths of each length each image gets, (lengths, N), and which blocks they prefer."""

    draws: Tensor
    factors: Tensor | None
    seed: int
    stream: int


def generator(seed: int, stream: int, image: int) -> torch.Generator:
    """A source of randomness for one image, whatever batch it is in."""
    return torch.Generator().manual_seed((seed * _STREAMS + stream) * 1_000_003 + image)


def draw_norms(
    linearizer: Linearizer,
    batches: Sequence[Batch],
    place: Place,
    draws: int,
    *,
    weighted: bool = False,
    seed: int = 0,
    report: Callable[[int, int], None] | None = None,
) -> Drawn:
    """Draw single paths of every length and measure what they carry to a place.

    Args:
        linearizer: Of the network.
        batches: Images and labels.
        place: The images, a block's input or its parameters.
        draws: Paths of each length, for each image on average.
        weighted: Draw paths and images in proportion to what they are found to carry.
        seed: Of the draws.
        report: Told of progress in images.
    """
    images = sum(len(labels) for _, labels in batches)
    choices = _choices(linearizer.net, place)
    equal = torch.full((choices + 1, images), draws)
    plan = _Plan(equal, None, seed, 2)
    if weighted:
        guide = pilot_guide(linearizer, batches, place, seed=seed)
        plan = _Plan(allocate(guide.shares(), draws * images), guide.factors, seed, 2)
    taken, weights, norms, owners = _measure(linearizer, batches, place, plan, report)
    order = taken.sum(1).argsort(stable=True)
    shape = (choices + 1, draws * images)
    columns = [column[order].view(shape) for column in (norms, weights, owners)]
    if _ends_in_branch(linearizer.net, place):  # no path has length 0
        none = (torch.full_like(norms[:1], -torch.inf), weights[:1] * 0, owners[order][: shape[1]])
        columns = [
            torch.cat([row.expand(1, shape[1]), column])
            for row, column in zip(none, columns, strict=True)
        ]
    return Drawn(*columns)


def pilot_guide(
    linearizer: Linearizer, batches: Sequence[Batch], place: Place, *, seed: int = 0
) -> Guide:
    """Find what paths and images carry, from a few drawn uniformly and a few by what these show."""
    images = sum(len(labels) for _, labels in batches)
    choices = _choices(linearizer.net, place)
    numbers = torch.arange((choices + 1) * _PILOT).view(choices + 1, _PILOT) % images
    turns = torch.nn.functional.one_hot(numbers, images).sum(1)
    taken, _, norms, owners = _measure(linearizer, batches, place, _Plan(turns, None, seed, 3))
    guide = fit_guide(taken, owners, norms, images)
    shares = guide.shares()
    turns = allocate((shares + 1 / images) / 2, max(_PILOT, images))
    more = _measure(linearizer, batches, place, _Plan(turns, guide.factors, seed, 0))
    return fit_guide(
        torch.cat([taken, more[0]]), torch.cat([owners, more[3]]), torch.cat([norms, more[2]]),
        images, shares,
    )  # fmt: skip


def _choices(net: Decomposition, place: Place) -> int:
    """How many blocks a path chooses at; what it cannot choose is left out."""
    choices = sum(block.has_shortcut for block in net if block.index >= place.block)
    return choices - _ends_in_branch(net, place)


def _ends_in_branch(net: Decomposition, place: Place) -> bool:
    """Whether every path to a place takes the branch of its block, which alone has parameters."""
    return place.is_learned and only_branch_learns(net, place.block)


def _measure(
    linearizer: Linearizer,
    batches: Sequence[Batch],
    place: Place,
    plan: _Plan,
    report: Callable[[int, int], None] | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Draw and follow paths: choices (rows, n), weights, norms and images (rows,)."""

    def work(start: int, images: Tensor, labels: Tensor) -> list[tuple[Tensor, ...]]:
        return [
            _one(linearizer, (images[i : i + 1], labels[i : i + 1]), start + i, place, plan)
            for i in range(len(labels))
        ]

    done = [one for part in in_parallel(work, batches, report) for one in part]
    taken, weights, norms, owners = (torch.cat(column) for column in zip(*done, strict=True))
    return taken, weights, norms, owners


def _one(
    linearizer: Linearizer, batch: Batch, image: int, place: Place, plan: _Plan
) -> tuple[Tensor, ...]:
    """All paths of one image."""
    each = plan.draws[:, image]
    lengths = torch.arange(len(each)).repeat_interleave(each)
    taken, weights = draw_paths(
        len(each) - 1, lengths, plan.factors, generator(plan.seed, plan.stream, image)
    )
    owners = torch.full((len(taken),), image)
    if len(taken) == 0:
        return taken, weights, weights, owners
    source = GradientSource.of(linearizer.net, linearizer.at(batch[0]), batch[1])
    last = taken.new_ones(len(taken), int(_ends_in_branch(linearizer.net, place)))
    earlier = source.linear.choices - taken.shape[1] - last.shape[1]
    whole = torch.cat([taken.new_zeros(len(taken), earlier), last, taken], 1)
    norms = sampled(source, place, whole[:, None])[:, 0].cpu()
    return taken, weights, norms, owners
