"""The rows of tables of lesions, parted into curves that a figure draws."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import pandas as pd

from ensembles.errors import UsageError
from ensembles.plots.measures import Measure
from ensembles.plots.style import Look, look, tint
from ensembles.tables.networks import series_labels
from ensembles.tables.readings import read_rows, varied_settings
from ensembles.tables.schema import Attributes, require_columns

__all__ = [
    "RECALIBRATED_DASH", "Curve", "Level", "curves_of", "form_of", "has_each_block", "kinds_of",
    "levels_of", "placed",
]  # fmt: skip

RECALIBRATED_DASH = (0, (1, 1))
_BESIDE = 0.7  # width that several lesions of one block take, in blocks
_MOST_BESIDE = 8
_NUMBER = re.compile(r"[0-9]+")


@dataclass(frozen=True)
class Curve:
    """Lesions of one network, of one kind and with the same settings.

    Attributes:
        network: Which of the tables it belongs to, from 0.
        label: What the legend calls it; of one network, its name once.
        look: Colour, marker and dash.
        recalibrated: Whether BatchNorm is recalibrated after each lesion; drawn as the curve
            without it, in dots.
        rows: The rows of the table, with `y` (the measure), `reading`, `block` (the only one, or
            the first of neighbours; else missing) and `changed` (whether that is a transition).
        each: Of rows that were pooled, every one, with `at` and `y`.
        pooled: What they differ in: their seed, or all but the block.
    """

    network: int
    label: str
    look: Look
    recalibrated: bool
    rows: pd.DataFrame
    each: pd.DataFrame | None = None
    pooled: Literal["seed", "lesion"] = "seed"

    @property
    def line(self) -> dict[str, Any]:
        """Arguments of matplotlib's ``plot``."""
        style = self.look.line
        return style | {"linestyle": RECALIBRATED_DASH} if self.recalibrated else style

    @property
    def face(self) -> tuple[float, float, float]:
        """Colour of areas and of small points; paler where BatchNorm is recalibrated."""
        face = tint(self.look.colour)
        return tint(face) if self.recalibrated else face


@dataclass(frozen=True)
class Level:
    """The intact network of a table.

    Attributes:
        value: Its measure.
        look: That of the network's first curve.
        recalibrated: Whether its BatchNorm is recalibrated.
    """

    value: float
    look: Look
    recalibrated: bool


def kinds_of(frame: pd.DataFrame) -> list[str]:
    """The kinds of lesion in a table, sorted; those that BatchNorm is recalibrated after as well.

    Raises:
        UsageError: A column is missing.
    """
    return sorted({one.kind for one in read_rows(frame) if not one.is_intact})


def form_of(frame: pd.DataFrame, kind: str) -> str:
    """How the lesions of a kind are drawn.

    Returns:
        ``block`` for those of single blocks, and for spans of one length; ``tau`` where blocks
        only change places; else ``count``.
    """
    chosen = _of_kind(frame, kind)
    readings = list(chosen["reading"])
    if not all(one.known for one in readings):
        return "count"
    if all(one.is_single for one in readings):
        return "block"
    spans = all(one.is_span or one.is_single for one in readings)
    if spans and len({one.count for one in readings}) == 1 and not _meet(chosen):
        return "block"
    taus = chosen.get("kendall_tau")
    return "tau" if taus is not None and taus.notna().all() and not spans else "count"


def has_each_block(frame: pd.DataFrame, kind: str) -> bool:
    """Whether lesions of single blocks, one a block and enough for a curve, are among a kind's."""
    chosen = _of_kind(frame, kind)
    places = [one.place for one in chosen["reading"] if one.known and one.is_single]
    return len(places) > 2 and len(set(places)) == len(places)


def curves_of(
    frames: Sequence[pd.DataFrame],
    kind: str,
    measure: Measure,
    colours: Sequence[str] | None = None,
) -> list[Curve]:
    """The curves of a kind: one for each network and combination of settings.

    Args:
        frames: Tables of lesions of one network each.
        kind: The kind of lesion.
        measure: What is drawn.
        colours: Those of the curves, in place of the usual ones.

    Raises:
        UsageError: There are no tables, or one holds no lesions of the kind.
    """
    if not frames:
        raise UsageError("no tables to draw: give one table of lesions or more")
    chosen = [_of_kind(frame, kind) for frame in frames]
    varied = varied_settings(reading for rows in chosen for reading in rows["reading"])
    found: list[Curve] = []
    looks: dict[tuple[int, str], Look] = {}
    for place, (frame, label) in enumerate(zip(frames, series_labels(frames), strict=True)):
        transitions = Attributes.of(frame).transitions
        rows = chosen[place]
        rows = rows.assign(
            y=rows[measure.column].astype(float), changed=rows["block"].isin(transitions)
        )
        for settings, recalibrated, own in _parted(rows, varied):
            style = looks.setdefault((place, settings), look(len(looks), colours))
            again = len(frames) == 1 and found and found[-1].look != style
            words = [settings] if settings and again else [label, settings]
            name = ", ".join(word for word in words if word)
            found.append(Curve(place, name, style, recalibrated, own))
    return found


def placed(curve: Curve, kind: str) -> Curve:
    """The curve with a row for each lesion that stands at a block, in their order.

    Lesions that differ in their seed alone are pooled; where many others stand at one block, all of
    that block are.

    Args:
        curve: A curve.
        kind: Its kind, for messages.

    Returns:
        Rows with `at` (where the lesion is drawn: several of one block beside each other), `y` (of
        pooled ones the median) and `size` (how many they are).

    Raises:
        UsageError: No lesion is of a single block, and they are not spans of one length.
    """
    readings = list(curve.rows["reading"])
    chosen = [one.is_single for one in readings]
    if not any(chosen) and len({one.count for one in readings}) == 1:
        chosen = [one.is_span for one in readings]
    if not any(chosen):
        raise UsageError(f"no {kind} of a single block to draw: draw the error by count instead")
    every = curve.rows[chosen]
    told = [name for name in ("lesion", "blocks", "trial", "seed") if name in every.columns]
    again = every[every.duplicated(told)]
    if len(again) and "material" not in every.columns:
        raise UsageError(
            f"the table holds {kind} {again['blocks'].iloc[0]} twice, as of two networks that "
            "nothing tells apart: give a table for each, or a column model"
        )
    every = every.assign(
        key=[one.unseeded for one in every["reading"]], block=every["block"].astype(int)
    )
    many = every.groupby("block")["key"].nunique().max() > _MOST_BESIDE
    if many:
        every = every.assign(key=every["block"].astype(str))
    groups = every.groupby("key", sort=False)
    rows = every.assign(
        y=groups["y"].transform("median"),
        size=groups["blocks"].transform("nunique"),
        order=every["key"].map(_numbers),
    ).drop_duplicates("key")
    rows = rows.sort_values(["block", "order"], kind="stable")
    beside = rows.groupby("block")["block"].transform("size")
    turn = rows.groupby("block").cumcount() + 1
    rows = rows.assign(at=rows["block"] + _BESIDE * (turn - (beside + 1) / 2) / beside)
    places = dict(zip(rows["key"], rows["at"], strict=True))
    each = every[every["key"].isin(rows.loc[rows["size"] > 1, "key"])]
    each = each.assign(at=each["key"].map(places))
    return replace(curve, rows=rows, each=each, pooled="lesion" if many else "seed")


def levels_of(frames: Sequence[pd.DataFrame], curves: Sequence[Curve], column: str) -> list[Level]:
    """The intact networks of some tables.

    Args:
        frames: The tables.
        curves: The curves that are drawn of them.
        column: The measure.
    """
    found = []
    for place, frame in enumerate(frames):
        own = next((curve.look for curve in curves if curve.network == place), look(0))
        readings = read_rows(frame)
        for recalibrated in (False, True):
            rows = [one.is_intact and one.recalibrated is recalibrated for one in readings]
            for value in frame.loc[rows, column].dropna()[:1]:
                found.append(Level(float(value), own, recalibrated))
    return found


def _of_kind(frame: pd.DataFrame, kind: str) -> pd.DataFrame:
    require_columns(frame, "lesion", "count", "blocks")
    readings = read_rows(frame)
    places = pd.Series([one.place for one in readings], frame.index, dtype="Int64")
    chosen = frame.assign(reading=pd.Series(readings, frame.index, dtype=object), block=places)
    chosen = chosen[chosen["reading"].map(lambda one: one.kind).eq(kind)]
    if chosen.empty:
        found = ", ".join(sorted({*frame["lesion"].astype(str)})) or "none"
        raise UsageError(f"no lesions of the kind {kind} to draw: the table holds {found}")
    return chosen


def _parted(
    rows: pd.DataFrame, varied: Collection[str]
) -> Iterator[tuple[str, bool, pd.DataFrame]]:
    """The rows of each combination of settings, in the order of the table, plain ones first."""
    settings = [one.said(varied) for one in rows["reading"]]
    again = [one.recalibrated for one in rows["reading"]]
    for name in dict.fromkeys(settings):
        for recalibrated in (False, True):
            own = [s == name and a is recalibrated for s, a in zip(settings, again, strict=True)]
            if any(own):
                yield name, recalibrated, rows[own]


def _meet(rows: pd.DataFrame) -> bool:
    """Whether two lesions of one curve that differ in more than a seed stand at one place."""
    for _, _, own in _parted(rows, varied_settings(rows["reading"])):
        keys = [one.unseeded for one in own["reading"]]
        if own.assign(key=keys).drop_duplicates("key")["block"].duplicated().any():
            return True
    return False


def _numbers(text: str) -> tuple[int, ...]:
    """Sorts texts by their numbers, so that 3.10 comes after 3.2."""
    return tuple(map(int, _NUMBER.findall(text)))
