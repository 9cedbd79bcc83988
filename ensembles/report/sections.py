"""A section for any table of results: the figure that suits it, its numbers, its provenance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from ensembles.analyses.effective_paths import effective_paths
from ensembles.cards import card_name
from ensembles.errors import UsageError
from ensembles.plots.panels import plot_lesions
from ensembles.plots.paths import plot_paths
from ensembles.report.parts import Drawing, Section, Table, number, percent, table
from ensembles.report.svg import drawing
from ensembles.statistics import error_intervals, rank_correlations, summary_by_count
from ensembles.tables.frames import split_frames

__all__ = ["effective_table", "lesion_tables", "section_of"]

_LESIONS = {"lesion", "count", "blocks", "error", "correct", "total"}
_LOWEST = 12


def section_of(frame: pd.DataFrame, name: str) -> Section:
    """Make a section of a table of lesions, of paths, or of anything else.

    Args:
        frame: A table as :func:`ensembles.tables.read_frame` reads it.
        name: What to call it, such as its file.

    Returns:
        The figures that suit it, its numbers, the command that made it, its provenance.
    """
    key = card_name(name)
    networks = split_frames(frame)
    found = [dict(one.attrs.get("provenance", {})) for one in networks]
    provenance: Mapping[str, Any] = (
        found[0]
        if len(found) == 1
        else {
            f"{one.attrs.get('model', place)}:": about
            for place, (one, about) in enumerate(zip(networks, found, strict=True), 1)
        }
    )
    tables: tuple[Table, ...]
    drawings: tuple[Drawing, ...] = ()
    if set(frame.columns) >= _LESIONS:
        tables = tuple(part for one in networks for part in lesion_tables(one))
        drawings = _drawn_lesions(networks, key)
    elif {"length", "paths"} <= set(frame.columns) and frame.attrs.get("direction"):
        tables = (effective_table(frame), _path_table(frame))
        drawings = (drawing(plot_paths(frame), key, _about_paths(frame)),)
    else:
        tables = (table(frame, f"{len(frame):,} rows"),)
    return Section(
        key, name, _about(networks), drawings, tables, str(found[0].get("command", "")), provenance
    )


def lesion_tables(frame: pd.DataFrame) -> tuple[Table, ...]:
    """Lesions as tables: quartiles by number of blocks, rank correlations, and every lesion.

    Args:
        frame: Lesions of one network.
    """
    of = f", {frame.attrs['model']}" if frame.attrs.get("model") else ""
    detail = error_intervals(frame).rename(columns={"error_low": "from", "error_high": "to"})
    names = ["lesion", "blocks", "correct", "total", "error", "from", "to"]
    if (detail["lesion"] == "reorder").any():
        names.append("kendall_tau")
    every = _percentages(
        detail[names], ("error", "from", "to"), f"Every lesion{of}, with Wilson's 95 % interval"
    )
    cut = frame[frame["lesion"] != "none"]
    if cut.empty:
        return (every,)
    quartiles = summary_by_count(frame).rename(columns={"n": "lesions", "nonfinite": "not finite"})
    if not quartiles["not finite"].any():
        quartiles = quartiles.drop(columns="not finite")
    parts = [
        _percentages(
            quartiles,
            ("q1", "median", "q3"),
            f"Error by number of blocks or swaps{of}: quartiles",
            folded=False,
        )
    ]
    if "kendall_tau" in frame.columns and cut.groupby("lesion")["count"].nunique().max() > 1:
        ranks = rank_correlations(frame).rename(columns={"low": "from", "high": "to"})
        parts.append(
            table(
                ranks.dropna(subset="value"),
                f"Rank correlation of the error with the size of the lesion{of}, 95 % interval",
                formats=dict.fromkeys(("value", "from", "to"), "{:.3f}".format),
            )
        )
    return (*parts, every)


def _percentages(
    frame: pd.DataFrame, names: tuple[str, ...], caption: str, *, folded: bool = True
) -> Table:
    """A table with shares in per cent, which the head says."""
    shown = frame.assign(**{name: 100 * frame[name] for name in names})
    headed = {name: f"{name} %" for name in names}
    formats = dict.fromkeys(headed.values(), "{:.2f}".format)
    return table(shown.rename(columns=headed), caption, formats=formats, folded=folded)


def effective_table(frame: pd.DataFrame) -> Table:
    """The shortest interval of lengths that holds 95 % of each measure.

    Args:
        frame: What :func:`ensembles.paths` returned.
    """
    found = effective_paths(frame)
    shown = found[["measure", "what", "first", "last", "median"]].copy()
    shown["share of all paths %"] = 100 * found["share"]
    return table(
        shown.astype({"first": "Int64", "last": "Int64", "median": "Int64"}),
        "Effective paths: the shortest interval of lengths that holds 95 % of a measure",
        formats={"share of all paths %": "{:.3g}".format},
    )


def _path_table(frame: pd.DataFrame) -> Table:
    kept = [name for name in frame.columns if not name.endswith("_log10")]
    shown = frame[[name for name in kept if not frame[name].isna().all()]]
    return table(shown, "Every length", formats={"paths": _count}, folded=True)


def _count(value: Any) -> str:
    return number(int(value)) if int(value) < 10**15 else f"{float(value):.4g}"


def _about(networks: list[pd.DataFrame]) -> tuple[str, ...]:
    lines = []
    for frame in networks:
        model, data = frame.attrs.get("model"), frame.attrs.get("dataset")
        about = frame.attrs.get("provenance", {})
        images = about.get("images")
        words = [
            str(model) if model else "",
            f"on {data or about.get('dataset')}" if data or about.get("dataset") else "",
            f"({number(images)} images)" if images else "",
        ]
        text = " ".join(word for word in words if word)
        if {"lesion", "error"} <= set(frame.columns) and (frame["lesion"] == "none").any():
            intact = float(frame.loc[frame["lesion"] == "none", "error"].iloc[0])
            text += f"{': ' if text else ''}intact error {percent(intact)} %"
        if text:
            lines.append(text + ".")
    return tuple(lines)


def _drawn_lesions(networks: list[pd.DataFrame], key: str) -> tuple[Drawing, ...]:
    try:
        figure = plot_lesions(networks)
    except UsageError:  # the intact network alone has no figure
        return ()
    names = ", ".join(str(one.attrs.get("model", "a network")) for one in networks)
    return (drawing(figure, key, f"Top-1 error of {names} after lesions."),)


def _about_paths(frame: pd.DataFrame) -> str:
    what = "the gradient" if frame.attrs["direction"] == "gradient" else "the logits"
    return f"What the paths of each length carry of {what}: {frame.attrs.get('model', 'network')}."
