"""Sublayers removed by themselves and in turn, and the table of what it costs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ensembles.analyses.base import Run
from ensembles.analyses.lesion_means import LesionMeans, attrs_of
from ensembles.analyses.some_rows import some_rows
from ensembles.analyses.stream import Mean
from ensembles.analyses.sublayer_units import Unit, influences, removal, units_of
from ensembles.decomposition import Decomposition
from ensembles.errors import DataError
from ensembles.lesions import Intact, Lesion

if TYPE_CHECKING:
    from ensembles.analyses.members.sublayers import SublayersOptions

__all__ = ["sublayer_frame"]

Array = NDArray[np.float64]
_METRICS = ("kl_folds",)


@dataclass
class _Curve:
    """Units that are removed one after the other.

    Attributes:
        removed: What is removed.
        order: What chooses the next one.
        units: All of them.
        steps: How many are removed.
        gone: Those that are, in their order.
        rows: The table's rows, from none removed on.
    """

    removed: str
    order: str
    units: list[Unit]
    steps: int
    gone: list[Unit] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)

    @property
    def left(self) -> list[Unit]:
        """Those that are still there."""
        return [unit for unit in self.units if unit not in self.gone]

    @property
    def label(self) -> dict[str, Any]:
        """What tells its next row from others."""
        last = self.gone[-1] if self.gone else None
        return {
            "removed": self.removed,
            "order": self.order,
            "step": len(self.gone),
            "share": len(self.gone) / len(self.units),
            "layer": None if last is None else last.layer,
            "name": "" if last is None else last.name,
        }


def sublayer_frame(
    net: Decomposition, data: Any, options: SublayersOptions, run: Run
) -> pd.DataFrame:
    """Remove sublayers, and lay out what it costs."""
    rows = some_rows(data, options.rows, "sublayers")
    table = _Table(net, rows, run)
    orders = ("influence", "loss") if options.order == "both" else (options.order,)
    for curve in table.curves(orders, options.until):
        table.begin(curve)
    frame = pd.DataFrame([*table.alone(), *table.ended()])
    frame["layer"] = frame["layer"].astype("Int64")
    counts = {name: len(units) for name, units in table.units.items()}
    frame.attrs |= attrs_of(table.first.frame, sublayers=counts)
    return frame


class _Table:
    """What is removed from a network, and what was measured of it.

    Attributes:
        units: What is removed in turn, by its name.
        first: The sweep of all units alone.
    """

    def __init__(self, net: Decomposition, data: Any, run: Run) -> None:
        self.net, self.data, self.run = net, data, run
        self.units = units_of(net)
        every = list(dict.fromkeys(unit for units in self.units.values() for unit in units))
        self.influence: dict[Unit, Mean] = influences(net, data, run, every)
        self._open: list[_Curve] = []
        self.first = self._swept([removal(net, [unit]) for unit in every])
        if len(self.first.sums) < 2:
            raise DataError(
                "sublayers: one row of the data; expected two or more, since an order is chosen on "
                "one half of them and measured on the other"
            )

    def _swept(self, lesions: list[Lesion]) -> LesionMeans:
        return LesionMeans.measured(self.net, self.data, lesions, self.run, metrics=_METRICS)

    def curves(self, orders: tuple[str, ...], until: float) -> Iterator[_Curve]:
        """The curves, with nothing removed."""
        for removed, units in self.units.items():
            for order in orders:
                steps = max(1, math.ceil(until * len(units) - 1e-9))
                yield _Curve(removed, order, units, steps)

    def begin(self, curve: _Curve) -> None:
        """Take up a curve."""
        self._open.append(curve)
        curve.rows.append(self._row(curve.label, self.first, Intact(), choice=True))

    def alone(self) -> Iterator[dict[str, Any]]:
        """A row for each unit by itself, on all rows of the data."""
        for removed, units in self.units.items():
            for unit in units if removed != "either" else ():
                label = _Curve(removed, "alone", units, 1, [unit]).label
                one = removal(self.net, [unit])
                yield self._row(label, self.first, one, unit=unit, choice=False)

    def ended(self) -> Iterator[dict[str, Any]]:
        """Remove one unit after the other along every curve, all curves at each step at once."""
        step = 0
        while any(len(curve.gone) < curve.steps for curve in self._open):
            going = [curve for curve in self._open if len(curve.gone) < curve.steps]
            tried = {
                (number, unit): removal(self.net, [*curve.gone, unit])
                for number, curve in enumerate(going)
                for unit in self._candidates(curve)
            }
            means = self.first if step == 0 else self._swept(list(tried.values()))
            step += 1
            losses = replace(means, sums=means.sums[0::2]).estimate(lambda loss, _: loss).value
            for number, curve in enumerate(going):
                found = {
                    unit: losses[means.numbers([lesion])[0]]
                    for (owner, unit), lesion in tried.items()
                    if owner == number
                }
                chosen = min(found, key=lambda unit: _last(found[unit]))
                curve.gone.append(chosen)
                label, lesion = curve.label, tried[number, chosen]
                curve.rows.append(self._row(label, means, lesion, unit=chosen, choice=True))
        for curve in self._open:
            yield from curve.rows

    def _candidates(self, curve: _Curve) -> list[Unit]:
        """Which units may be the next."""
        if curve.order == "loss":
            return curve.left
        return [min(curve.left, key=lambda unit: _last(self.influence[unit].value))]

    def _row(
        self,
        label: dict[str, Any],
        means: LesionMeans,
        lesion: Lesion,
        *,
        unit: Unit | None = None,
        choice: bool,
    ) -> dict[str, Any]:
        """A row of the table, on all rows of the data or on those that no choice was made on."""
        sums = means.sums[1::2] if choice else means.sums
        part = replace(means, sums=sums)
        place, whole = means.numbers([lesion, Intact()])
        found = part.estimate(lambda loss, error: [loss[place] - loss[whole], error[place]])
        loss = part.estimate(lambda loss, _: loss[place]).value
        far = part.estimate_kl(lambda kl: kl[place])
        row = {**label, "influence": math.nan if unit is None else self.influence[unit].value}
        row["loss"] = float(loss)
        for at, name in enumerate(("loss_rise", "error")):
            row |= _ends(name, found.value[at], found.low[at], found.high[at])
        return row | _ends("kl", far.value, far.low, far.high)


def _ends(name: str, value: Any, low: Any, high: Any) -> dict[str, float]:
    return {name: float(value), f"{name}_low": float(low), f"{name}_high": float(high)}


def _last(value: float) -> float:
    """A value to choose the least of; what is unknown comes last."""
    return value if math.isfinite(value) else math.inf
