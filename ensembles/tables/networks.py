"""The networks of a table: taken apart, told apart, or refused where nothing tells them apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, Concatenate, ParamSpec, cast

import pandas as pd

from ensembles.errors import UsageError
from ensembles.tables.columns import plain, restore
from ensembles.tables.schema import WHOLE, Attributes, is_lesion_table

__all__ = [
    "all_networks", "by_network", "one_network", "require_once", "require_one_table",
    "series_labels", "split_frames",
]  # fmt: skip

_TOLD = ("model", "checkpoint", "dataset", "split", "precision")
"""Columns that tell the networks of a table apart, where its attributes no longer do."""

Given = ParamSpec("Given")


def split_frames(table: pd.DataFrame) -> list[pd.DataFrame]:
    """Take a table apart that holds several networks.

    Args:
        table: What :func:`ensembles.tables.stack_frames` or an export of a study put together; of
            one whose ``attrs`` are lost, or whose rows were chosen, the columns ``model``,
            ``checkpoint``, ``dataset``, ``split`` and ``precision`` tell the networks apart.

    Returns:
        A table for each network; a table of one alone, as it is.

    Raises:
        UsageError: The table's attributes are not what they should be, or it holds several intact
            networks that nothing tells apart.
    """
    networks = Attributes.of(table).networks
    whole = networks and sum(network.rows for network in networks) == len(table)
    frames = _by_rows(table) if whole else _by_columns(table)
    for frame in frames:
        _require_one(frame)
    return frames


def all_networks(
    frames: pd.DataFrame | Sequence[pd.DataFrame],
    labels: Sequence[str] | None = None,
    *,
    key: Sequence[str] = (),
) -> list[pd.DataFrame]:
    """The tables of all networks that some tables hold, as :func:`split_frames` parts them.

    Args:
        frames: The tables, or one.
        labels: What a figure calls the networks, in their order; by default as
            :func:`series_labels`.
        key: Columns that tell the rows of one network apart.

    Raises:
        UsageError: There are more or fewer labels than networks, or a table holds rows of several
            that nothing tells apart.
    """
    given = [frames] if isinstance(frames, pd.DataFrame) else frames
    parts = [part for frame in given for part in split_frames(frame)]
    for part in parts:
        require_once(part, key)
    if labels is None:
        return parts
    if len(labels) != len(parts):
        raise UsageError(f"{len(labels)} labels for {len(parts)} networks; give one for each")
    return [_labelled(part, str(label)) for part, label in zip(parts, labels, strict=True)]


def one_network(frame: pd.DataFrame, what: str, *key: str) -> pd.DataFrame:
    """The table of the only network that a table holds.

    Args:
        frame: The table.
        what: What asks for it, for the message.
        key: Columns that tell its rows apart.

    Raises:
        UsageError: It holds several.
    """
    parts = split_frames(frame)
    _refuse_several(parts, what, "network")
    require_once(parts[0], key)
    return parts[0]


def require_one_table(frame: pd.DataFrame, what: str, *key: str) -> None:
    """Refuse several tables in one, where the rows of each are networks.

    Args:
        frame: The table.
        what: What asks for it, for the message.
        key: Columns that tell its rows apart.

    Raises:
        UsageError: It was put together of several, or holds a row twice.
    """
    if Attributes.of(frame).networks:
        _refuse_several(split_frames(frame), what, "run")
    require_once(frame, key)


def by_network(
    function: Callable[Concatenate[pd.DataFrame, Given], pd.DataFrame],
) -> Callable[Concatenate[pd.DataFrame, Given], pd.DataFrame]:
    """Let a function of one network's table take one of several: its rows, network by network.

    Returns:
        The function; of several networks the result begins with a column ``network``, as
        :func:`series_labels` calls them.
    """

    def each(frame: pd.DataFrame, *rest: Given.args, **named: Given.kwargs) -> pd.DataFrame:
        parts = split_frames(frame)
        if len(parts) == 1:
            return function(parts[0], *rest, **named)
        found = []
        for part, label in zip(parts, series_labels(parts), strict=True):
            table = function(part, *rest, **named)
            table.insert(0, "network", pd.Series([label] * len(table), table.index, dtype="str"))
            found.append(table)
        return pd.concat(found, ignore_index=True)

    return cast("Callable[Concatenate[pd.DataFrame, Given], pd.DataFrame]", wraps(function)(each))


def series_labels(frames: Sequence[pd.DataFrame]) -> list[str]:
    """A label for each table: its model, with the data set or a number where needed."""
    found = [Attributes.of(frame) for frame in frames]
    if frames and all("label" in one.more for one in found):
        return [str(one.more["label"]) for one in found]
    models = [one.model or "network" for one in found]
    datasets = [one.dataset for one in found]
    if len(set(datasets)) > 1:
        models = [f"{m}, {d}" if d else m for m, d in zip(models, datasets, strict=True)]
    return [
        f"{model} ({models[: place + 1].count(model)})" if models.count(model) > 1 else model
        for place, model in enumerate(models)
    ]


def _labelled(frame: pd.DataFrame, label: str) -> pd.DataFrame:
    named = frame.copy()
    named.attrs["label"] = label
    return named


def _by_rows(table: pd.DataFrame) -> list[pd.DataFrame]:
    """Parts of a table that is whole, as its attributes count them."""
    frames, start = [], 0
    for network in Attributes.of(table).networks:
        part = table.iloc[start : start + network.rows].reset_index(drop=True)
        start += network.rows
        if network.columns is None:
            frame = part.drop(columns="model", errors="ignore")
        else:  # the columns that it had, without the gaps that the others made
            kept = {name: dtype for name, dtype in network.columns.items() if name in part}
            frame = pd.DataFrame({n: restore(plain(part[n], t), t) for n, t in kept.items()})
        frame.attrs.update(network.attrs)
        frames.append(frame)
    return frames


def _by_columns(table: pd.DataFrame) -> list[pd.DataFrame]:
    """Parts of a table by what its columns say of each row."""
    told = [name for name in _TOLD if name in table.columns]
    if not told or table.empty or (Attributes.of(table).model and not table.attrs.get("networks")):
        return [table]
    bare = table.copy()
    bare.attrs = {}
    frames = []
    for _, part in bare.groupby(told, sort=False, dropna=False):
        frame = part.reset_index(drop=True)
        frame.attrs.update(_attrs_of(table, {name: str(frame[name].iloc[0]) for name in told}))
        frames.append(frame)
    return frames


def _attrs_of(table: pd.DataFrame, said: dict[str, str]) -> dict[str, Any]:
    """The attributes of the one network that the columns name; else what they say."""
    known = [network.attrs for network in Attributes.of(table).networks]
    for name in ("model", "dataset"):
        if len(known) > 1 and name in said:
            known = [attrs for attrs in known if attrs.get(name) == said[name]]
    own = dict(known[0]) if len(known) == 1 else {}
    return own | {name: said[name] for name in ("model", "dataset") if said.get(name)}


def _require_one(frame: pd.DataFrame) -> None:
    if not is_lesion_table(frame):
        return
    kind, text = WHOLE
    empty = frame["blocks"].isna() | (frame["blocks"].astype(str) == text)
    whole = (frame["lesion"] == kind) & empty
    if whole.sum() > 1 and "material" not in frame.columns:
        raise UsageError(
            f"the table holds {int(whole.sum())} intact networks, and nothing tells them apart: "
            "give a table for each, a column model, or one of ensembles.tables.stack_frames"
        )


def require_once(frame: pd.DataFrame, key: Sequence[str]) -> None:
    """Refuse a table in which a row is there twice, as where two were put together by hand.

    Args:
        frame: The table.
        key: Columns that tell its rows apart; where one is missing, nothing is known.

    Raises:
        UsageError: Naming the first such row.
    """
    if not key or not set(key) <= set(frame.columns):
        return
    again = frame.duplicated(list(key))
    if again.any():
        row = frame.loc[again, list(key)].iloc[0]
        named = ", ".join(f"{name} {value}" for name, value in row.items())
        raise UsageError(
            f"the table holds {named} twice, as of two networks, and nothing tells them apart: "
            "give a table for each, a column model, or one of ensembles.tables.stack_frames"
        )


def _refuse_several(parts: Sequence[pd.DataFrame], what: str, of: str) -> None:
    if len(parts) > 1:
        raise UsageError(
            f"{what} takes a table of one {of}, and this one holds {len(parts)} "
            f"({', '.join(series_labels(parts)[:4])}); give it one of "
            "ensembles.tables.split_frames(table)"
        )
