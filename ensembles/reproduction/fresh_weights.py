"""Blocks with fresh weights: their sweep, their criticality, and a picture by place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.patches import Patch
from numpy.typing import NDArray

from ensembles.analyses.lesion_means import fitting
from ensembles.lesions import Choice, Randomize, parse_lesion
from ensembles.plots.layout import new_figure
from ensembles.plots.style import GREY, INK, legend_above, look, paper_style, proxy, whiskers
from ensembles.reproduction.criteria import intact_error
from ensembles.reproduction.experiment import Part
from ensembles.reproduction.named import NotMeasured
from ensembles.reproduction.published_layers import published_blocks
from ensembles.studies import Sweep

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ensembles.reproduction.bench import Bench
    from ensembles.studies import Network

__all__ = ["DRAWS", "criticality_curve", "draw_by_place", "fresh_weights_part", "median_at"]

DRAWS = 3
"""Draws of fresh weights for each block, as many as were published."""

_BAND, _INNER = "#ececec", "#d2d2d2"


def fresh_weights_part(bench: Bench, network: Network) -> Part:
    """Every block of a network with fresh weights in its branch, in several draws.

    Raises:
        NotMeasured: No block has weights that its modules can draw.
    """
    structure, seed = bench.structure(network), bench.request.seed
    asked = (
        Randomize((form.index,), seed=seed + draw)
        for form in structure.forms
        for draw in range(DRAWS)
    )
    lesions, refused = fitting(structure, asked)
    if not lesions:
        raise NotMeasured(next(iter(refused.values()), "the network has no blocks"))
    sweep = Sweep(Choice(plan=tuple(lesions)), metrics=("top1", "loss", "cosine"))
    return Part(network, bench.images, bench.sweep(sweep))


def criticality_curve(frame: pd.DataFrame) -> pd.DataFrame:
    """Criticality of every block: 1 less the mean cosine of the softmax outputs.

    Args:
        frame: A sweep of blocks with fresh weights.

    Returns:
        Indexed by block: ``place`` (middle of its share of the depth, 0 to 1), ``criticality``, the
        mean over draws, ``least`` and ``most`` of them, ``recovered``, the accuracy over the intact
        network's (NaN where that is 0), and ``draws``, an array of each draw's criticality.

    Raises:
        NotMeasured: Outputs of all lesions were not finite.
    """
    rows = frame[frame["lesion"] == "randomize"].dropna(subset=["cosine"])
    accuracy = 1 - intact_error(frame) or np.nan
    if rows.empty:
        raise NotMeasured("no finite outputs with fresh weights")
    parsed = [parse_lesion("randomize", str(text)) for text in rows["blocks"]]
    rows = rows.assign(
        block=[one.blocks[0] for one in parsed],
        criticality=1 - rows["cosine"],
        recovered=(1 - rows["error"]) / accuracy,
    )
    groups = rows.groupby("block")
    table = pd.DataFrame(
        {
            "criticality": groups["criticality"].mean(),
            "least": groups["criticality"].min(),
            "most": groups["criticality"].max(),
            "recovered": groups["recovered"].mean(),
            "draws": groups["criticality"].apply(np.asarray),
        }
    )
    count = int(frame.attrs.get("blocks") or table.index.max())
    table.insert(0, "place", (table.index.to_numpy() - 0.5) / count)
    return table


def median_at(places: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """The published quantiles at places in the network, between blocks by a straight line."""
    known = published_blocks()
    return {
        str(name): np.interp(places, known["place"], known[name])
        for name in known.columns
        if name not in ("block", "place")
    }


def draw_by_place(
    curves: Mapping[str, pd.DataFrame],
    transitions: Sequence[int] = (),
    networks: pd.DataFrame | None = None,
    *,
    numbers: Sequence[Artist] = (),
) -> Figure:
    """Draw criticality by place in the network, over that of the published networks.

    Args:
        curves: What :func:`criticality_curve` gives, by name.
        transitions: Blocks of the first curve whose points are hollow.
        networks: What :func:`ensembles.reproduction.published_layers.block_table` gives, for a
            line for each of their networks.
        numbers: The legend's part that says over how many images.
    """
    figure, [ax] = new_figure(height=3.2)
    with paper_style():
        handles: list[Artist] = [*_draw_published(ax, networks)]
        for index, (name, curve) in enumerate(curves.items()):
            style, y = look(index), curve["criticality"].to_numpy(float)
            ends = [y - curve["least"].to_numpy(float), curve["most"].to_numpy(float) - y]
            ax.errorbar(
                curve["place"], y, ends, elinewidth=0.5, lw=0.8, markersize=2.5, **style.line
            )
            handles.append(proxy(name, markersize=3, **{**style.line}))
            if not index:
                hollow = curve[curve.index.isin(transitions)]
                ax.plot(
                    hollow["place"], hollow["criticality"], marker=style.marker, markersize=4,
                    markerfacecolor="white", markeredgecolor=style.colour, linestyle="", zorder=5,
                )  # fmt: skip
        ax.set_xlim(0, 1)
        ax.set_ylim(-0.02, 1.02)
        ax.set_xlabel("Place in the network (0: first block, 1: last)")
        ax.set_ylabel("Criticality (1 - cosine of outputs)")
        handles.append(whiskers(f"least to most of {DRAWS} draws"))
        if len(transitions):
            hollow_mark = {"marker": "o", "markerfacecolor": "white", "markersize": 4}
            handles.append(proxy("changes the shape", **hollow_mark))
        legend_above(ax, [*handles, *numbers])
    return figure


def _draw_published(ax: Axes, networks: pd.DataFrame | None) -> list[Artist]:
    known = published_blocks()
    ax.fill_between(known["place"], known["lowest"], known["highest"], color=_BAND, lw=0)
    ax.fill_between(known["place"], known["q1"], known["q3"], color=_INNER, lw=0)
    if networks is not None:
        for _, one in networks.groupby("network"):
            ax.plot(one["place"], one["criticality"], color=GREY, lw=0.25, alpha=0.6)
    ax.plot(known["place"], known["median"], color=INK, lw=1.2)
    return [
        Patch(color=_BAND, label="published: all networks"),
        Patch(color=_INNER, label="half of them"),
        proxy("median", linestyle="-"),
    ]
