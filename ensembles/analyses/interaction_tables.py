"""Sets of blocks that are deleted, and what their losses say of interactions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ensembles.analyses.base import Run
from ensembles.analyses.lesion_means import LesionMeans, attrs_of, fitting, known
from ensembles.analyses.some_rows import some_rows
from ensembles.decomposition import Decomposition
from ensembles.errors import LesionError
from ensembles.lesions import Delete, Intact, Lesion
from ensembles.lesions.structure import Structure
from ensembles.statistics.additivity import FEWEST, additive_by_size
from ensembles.statistics.set_functions import (
    EXACT_BLOCKS,
    energy_of_first_order,
    exact_energies,
    exact_shapley,
)

if TYPE_CHECKING:
    from ensembles.analyses.members.interactions import InteractionsOptions

__all__ = ["interaction_frame"]

Array = NDArray[np.float64]
BlockSet = frozenset[int]


def interaction_frame(
    net: Decomposition, data: Any, options: InteractionsOptions, run: Run
) -> pd.DataFrame:
    """Delete sets of blocks, and lay out what their losses say."""
    structure = Structure.of(net)
    singles, refused = fitting(structure, [Delete((place,)) for place in range(1, len(net) + 1)])
    blocks = [one.blocks[0] for one in singles]
    if len(blocks) < 2:
        raise LesionError(
            f"interactions: {len(blocks)} of the blocks of {net.model_name} can be deleted; "
            "expected two or more"
        )
    plan = _Plan.made(blocks, options)
    lesions = [_lesion(one) for one in plan.sets]
    rows = some_rows(data, options.rows, "interactions")
    means = LesionMeans.measured(net, rows, lesions, run)
    values = _Values(plan, means)
    frame = _pairs(net, blocks, values, with_pairs=options.pairs)
    frame.attrs |= attrs_of(
        means.frame,
        shapley=_shapley(net, blocks, values),
        additive=_additive(blocks, values),
        energy=_energy(blocks, values, options),
        refused=refused,
    )
    return frame


@dataclass(frozen=True)
class _Plan:
    """Which sets are deleted.

    Attributes:
        sets: All of them, each once; the empty one first.
        orders: Random orders of deletion, each followed by its reverse; none where all sets are
            there.
        drawn: The random sets.
    """

    sets: list[BlockSet]
    orders: list[tuple[int, ...]]
    drawn: list[BlockSet]

    @classmethod
    def made(cls, blocks: Sequence[int], options: InteractionsOptions) -> _Plan:
        """The plan of some options."""
        n, draw = len(blocks), np.random.default_rng(options.seed)
        chosen = draw.random((options.sets, n)) < options.share
        drawn = [frozenset(np.array(blocks)[row].tolist()) for row in chosen]
        singles = [frozenset((block,)) for block in blocks]
        found = [frozenset[int](), *singles]
        orders: list[tuple[int, ...]] = []
        if n <= EXACT_BLOCKS:
            found += [frozenset(s) for size in range(n + 1) for s in combinations(blocks, size)]
        else:
            if options.pairs:
                found += [frozenset(pair) for pair in combinations(blocks, 2)]
            for _ in range(options.permutations // 2):
                order = tuple(draw.permutation(blocks).tolist())
                orders += [order, order[::-1]]
            found += [frozenset(order[:size]) for order in orders for size in range(n + 1)]
        return cls(list(dict.fromkeys([*found, *drawn])), orders, drawn)


class _Values:
    """v(S) of the sets of a plan."""

    def __init__(self, plan: _Plan, means: LesionMeans) -> None:
        self.plan, self.means = plan, means
        self.places = dict(
            zip(plan.sets, means.numbers(_lesion(one) for one in plan.sets), strict=True)
        )
        self.losses = means.estimate(lambda loss, _: loss).value

    def of(self, one: BlockSet) -> float:
        """V of a set; NaN where it could not be measured, or is not finite."""
        return float(self.losses[self.places[one]])

    def rise(self, one: BlockSet) -> float:
        """V of a set less that of the empty one."""
        return self.of(one) - self.of(frozenset())


def _lesion(one: BlockSet) -> Lesion:
    return Delete(tuple(sorted(one))) if one else Intact()


def _pairs(
    net: Decomposition, blocks: Sequence[int], values: _Values, *, with_pairs: bool
) -> pd.DataFrame:
    """A row for each pair, or for each block alone."""
    pairs = list(combinations(blocks, 2)) if with_pairs else [(one, one) for one in blocks]
    place = values.places
    joint = np.array([place[frozenset(pair)] for pair in pairs])
    one, other = (np.array([place[frozenset((pair[at],))] for pair in pairs]) for at in (0, 1))
    empty = place[frozenset()]

    def statistic(loss: Array, _: Array) -> Array:
        rises = loss[one] + loss[other] - 2 * loss[empty]
        rise = loss[joint] - loss[empty]
        return np.stack([rise - rises if with_pairs else 0 * rise, rise, rises])

    found = values.means.estimate(statistic)
    return pd.DataFrame(
        {
            "block": [pair[0] for pair in pairs],
            "name": [net.block(pair[0]).name for pair in pairs],
            "other": [pair[1] for pair in pairs],
            "other_name": [net.block(pair[1]).name for pair in pairs],
            "interaction": found.value[0] if with_pairs else np.nan,
            "low": found.low[0] if with_pairs else np.nan,
            "high": found.high[0] if with_pairs else np.nan,
            "joint_rise": found.value[1],
            "sum_of_rises": found.value[2],
        }
    )


def _shapley(net: Decomposition, blocks: Sequence[int], values: _Values) -> list[dict[str, Any]]:
    """Each block's value."""
    orders = values.plan.orders
    if not orders:
        found = exact_shapley(len(blocks), _table(blocks, values))
        errors = np.zeros(len(blocks))
    else:
        gains = np.array([_gains(blocks, order, values) for order in orders])
        both = gains.reshape(len(orders) // 2, 2, len(blocks)).mean(1)
        found = both.mean(0)
        errors = np.full_like(found, np.nan)
        if len(both) > 1:
            errors = both.std(0, ddof=1) / np.sqrt(len(both))
    return [
        {
            "block": block,
            "name": net.block(block).name,
            "value": known(float(value)),
            "se": known(float(error)),
            "rise": known(values.rise(frozenset((block,)))),
        }
        for block, value, error in zip(blocks, found, errors, strict=True)
    ]


def _gains(blocks: Sequence[int], order: Sequence[int], values: _Values) -> list[float]:
    """What each block adds to the loss where it is deleted in its turn."""
    losses = [values.of(frozenset(order[:size])) for size in range(len(order) + 1)]
    added = {block: losses[at + 1] - losses[at] for at, block in enumerate(order)}
    return [added[block] for block in blocks]


def _table(blocks: Sequence[int], values: _Values) -> Array:
    """V of all sets; bit i of the place of a set says whether block i is in it."""
    return np.array(
        [
            values.of(frozenset(b for at, b in enumerate(blocks) if code >> at & 1))
            for code in range(2 ** len(blocks))
        ]
    )


def _additive(blocks: Sequence[int], values: _Values) -> list[dict[str, Any]]:
    """How far the sum of single rises is that of a random set, by the size of the set."""
    single = {block: values.rise(frozenset((block,))) for block in blocks}
    sets = [one for one in dict.fromkeys(values.plan.drawn) if len(one) > 1]
    measured = np.array([values.rise(one) for one in sets])
    predicted = np.array([sum(single[block] for block in one) for one in sets])
    return additive_by_size(np.array([len(one) for one in sets]), measured, predicted)


def _energy(
    blocks: Sequence[int], values: _Values, options: InteractionsOptions
) -> list[dict[str, Any]]:
    """The share of the variance of v over random sets that each order explains."""
    if not values.plan.orders:
        shares = exact_energies(len(blocks), _table(blocks, values), options.share)
        return [
            {"order": str(order), "share": known(float(share)), "low": None, "high": None}
            for order, share in enumerate(shares, 1)
        ]
    drawn = values.plan.drawn
    inside = np.array([[block in one for block in blocks] for one in drawn])
    losses = np.array([values.of(one) for one in drawn])
    fine = np.isfinite(losses)
    if fine.sum() < FEWEST:
        return []
    value, low, high = energy_of_first_order(inside[fine], losses[fine], options.share)
    return [
        {"order": "1", "share": known(value), "low": known(low), "high": known(high)},
        {
            "order": "2 or more",
            "share": known(1 - value),
            "low": known(1 - high),
            "high": known(1 - low),
        },
    ]
