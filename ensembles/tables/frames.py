"""Tidy frames from what a sweep of lesions measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:  # a saved table is read and drawn without torch
    from ensembles.engine.outcome import Outcome
    from ensembles.lesions import Lesion

__all__ = ["lesion_frame", "split_frames", "stack_frames"]

_DTYPES = {
    "lesion": "str",
    "count": "int64",
    "blocks": "str",
    "block_names": "str",
    "kendall_tau": "float64",
    "trial": "Int64",
    "seed": "Int64",
    "correct": "int64",
    "total": "int64",
    "error": "float64",
    "loss": "float64",
    "nonfinite": "int64",
    "adapted": "str",
}


def lesion_frame(
    outcomes: Iterable[Outcome],
    block_names: Sequence[str],
    n: int,
    adapted: Mapping[int, str] | None = None,
    provenance: Mapping[str, object] | None = None,
    *,
    model: str | None = None,
    dataset: str | None = None,
    classes: int | None = None,
    transitions: Iterable[int] = (),
) -> pd.DataFrame:
    """Lay out the outcomes of a sweep as a table, one row a lesion, the intact network first.

    Args:
        outcomes: What was measured.
        block_names: Name of each block of the network, in order.
        n: Number of blocks.
        adapted: For blocks that change the shape and have no shortcut to keep: what stands in
            for them when they are deleted.
        provenance: Where, when and with what the outcomes were made.
        model: Name of the model, for legends.
        dataset: Name of the data, for legends.
        classes: Number of classes; sets the error at chance level, ``1 - 1 / classes``.
        transitions: Numbers of the blocks whose shortcut is not the identity.

    Returns:
        Columns ``lesion``, ``count``, ``blocks`` ("3 17", for reorder "3-17", for drop "3.2"),
        ``block_names``, ``kendall_tau``, ``trial``, ``seed``, ``correct``, ``total``,
        ``error`` (share of the images, NaN where logits were not finite), ``loss`` (mean
        cross-entropy in nats), ``nonfinite`` (images whose logits were not finite) and
        ``adapted`` (names of the deleted blocks that something stands in for).
        ``attrs`` holds ``provenance``, ``blocks`` (n), ``transitions``, ``adapted`` (name of
        each such block in the sweep, and its stand-in) and, where known, ``model``,
        ``dataset`` and ``chance``.
    """
    stand_ins = adapted or {}
    ordered = sorted(outcomes, key=lambda outcome: outcome.lesion.kind != "none")
    rows = [_row(outcome, block_names, n, stand_ins) for outcome in ordered]
    frame = pd.DataFrame(
        {name: pd.Series([row[name] for row in rows], dtype=_DTYPES[name]) for name in _DTYPES}
    )
    touched = {block for outcome in ordered for block in _adapted(outcome.lesion, stand_ins)}
    frame.attrs = {
        "provenance": dict(provenance or {}),
        "blocks": n,
        "transitions": sorted(transitions),
        "adapted": {block_names[block - 1]: stand_ins[block] for block in sorted(touched)},
    }
    chance = 1 - 1 / classes if classes else None
    known = {"model": model, "dataset": dataset, "chance": chance}
    frame.attrs |= {key: value for key, value in known.items() if value is not None}
    return frame


def stack_frames(frames: Sequence[pd.DataFrame], *, always: bool = False) -> pd.DataFrame:
    """Put the tables of several networks into one, so that one file holds them.

    Args:
        frames: A table for each network.
        always: Whether a single table is treated as several are.

    Returns:
        The rows of all, after a first column ``model``; ``attrs["networks"]`` holds the number
        of ``rows`` and the ``attrs`` of each. A single table comes back as it is
        otherwise.
    """
    if len(frames) == 1 and not always:
        return frames[0]
    parts = [frame.copy() for frame in frames]
    for part in parts:
        part.insert(0, "model", part.attrs.get("model", ""))
        part.attrs = {}
    table = pd.concat(parts, ignore_index=True)
    table.attrs = {
        "networks": [{"rows": len(frame), "attrs": dict(frame.attrs)} for frame in frames]
    }
    return table


def split_frames(table: pd.DataFrame) -> list[pd.DataFrame]:
    """Take a table apart again that :func:`stack_frames` put together.

    Returns:
        A table for each network; any other table alone, as it is.
    """
    networks = table.attrs.get("networks")
    if not networks or sum(network["rows"] for network in networks) != len(table):
        return [table]
    frames, start = [], 0
    for network in networks:
        stop = start + network["rows"]
        frame = table.iloc[start:stop].drop(columns="model").reset_index(drop=True)
        frame.attrs = dict(network["attrs"])
        frames.append(frame)
        start = stop
    return frames


def _row(
    outcome: Outcome, names: Sequence[str], n: int, stand_ins: Mapping[int, str]
) -> dict[str, object]:
    lesion = outcome.lesion
    return {
        "lesion": lesion.kind,
        "count": lesion.count,
        "blocks": lesion.text,
        "block_names": lesion.described(names),
        "kendall_tau": lesion.kendall_tau(n),
        "trial": lesion.trial,
        "seed": None if lesion.draw is None else lesion.draw.seed,
        "correct": outcome.correct,
        "total": outcome.total,
        "error": outcome.error,
        "loss": outcome.loss,
        "nonfinite": outcome.nonfinite,
        "adapted": " ".join(names[block - 1] for block in _adapted(lesion, stand_ins)),
    }


def _adapted(lesion: Lesion, stand_ins: Mapping[int, str]) -> list[int]:
    if lesion.kind != "delete" or not stand_ins:
        return []
    return [block for block in lesion.blocks if block in stand_ins]
