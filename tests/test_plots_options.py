"""The options that figures share, in those of quartiles, of influence and of pairs of blocks."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from ensembles.analyses.base import HeatMap
from ensembles.errors import UsageError
from ensembles.plots import error_quartiles
from ensembles.plots.heat_map import heat_map, heat_maps
from ensembles.plots.influence import damage_by_proxy, plot_influence

PAIRS = HeatMap("block", "other", "value", ("Block", "Other block", "Divergence (nats)"))


def quartiles(model: str) -> pd.DataFrame:
    sizes = np.arange(1, 6)
    middle = 0.01 * 2.0**sizes
    frame = pd.DataFrame({"count": sizes, "q1": 0.8 * middle, "median": middle, "q3": 1.3 * middle})
    frame.attrs = {"model": model, "chance": 0.9}
    return frame


def influence(model: str) -> pd.DataFrame:
    draws = np.random.default_rng(len(model))
    frame = pd.DataFrame(draws.uniform(0.1, 1, (6, 4)), columns=[*PROXIES, "loss_rise"])
    frame["block"], frame["against"] = range(1, 7), ["input"] * 5 + ["shortcut"]
    frame.attrs = {"model": model}
    return frame


PROXIES = ["influence", "branch_ratio", "branch_cosine"]


def pairs(model: str) -> pd.DataFrame:
    rows = [(a, b, a + b / 10) for a in range(1, 5) for b in range(1, 5)]
    frame = pd.DataFrame(rows, columns=["block", "other", "value"])
    frame.attrs = {"model": model}
    return frame


def legend(ax: Axes) -> list[str]:
    drawn = ax.get_legend()
    return [] if drawn is None else [text.get_text() for text in drawn.get_texts()]


QUARTILES = partial(error_quartiles, x="count", xlabel="Blocks")


@pytest.mark.parametrize(("draw", "table"), [(QUARTILES, quartiles), (damage_by_proxy, influence)])
def test_labels_colours_and_legend(
    draw: Callable[..., Axes], table: Callable[[str], pd.DataFrame]
) -> None:
    both = [table("one"), table("another")]
    assert legend(draw(*both))[:2] == ["one", "another"]
    ax = draw(*both, labels=["first", "second"], colours=["black", "#d55e00"])
    assert legend(ax)[:2] == ["first", "second"]
    marked = [line for line in ax.lines if line.get_marker() not in ("None", "", None)]
    assert {to_rgba(line.get_color()) for line in marked} == {to_rgba("black"), to_rgba("#d55e00")}
    assert legend(draw(*both, legend=False)) == []
    with pytest.raises(UsageError, match="1 labels for 2 networks; give one for each"):
        draw(*both, labels=["first"])
    with pytest.raises(UsageError, match="colours 'no'; expected names"):
        draw(*both, colours=["no"])


def test_the_legend_of_quartiles_says_what_band_and_level_are() -> None:
    assert legend(QUARTILES(quartiles("a")))[1:] == ["quartiles", "chance (90%)"]
    assert legend(QUARTILES(quartiles("a"), quartiles("b")))[2] == "band, whiskers: quartiles"


def test_small_errors_have_a_scale_of_ratios() -> None:
    ax = QUARTILES(quartiles("a"), scale="log")
    assert ax.get_yscale() == "log" and 0 < ax.get_ylim()[0] < 0.016
    assert QUARTILES(quartiles("a"), scale="symlog").get_yscale() == "symlog"
    with pytest.raises(UsageError, match="scale 'other'; expected linear, log, symlog"):
        QUARTILES(quartiles("a"), scale="other")  # type: ignore[arg-type]


def test_influence_in_axes_of_the_users_own() -> None:
    axes = list(Figure(figsize=(9, 3)).subplots(1, 3))
    figure = plot_influence(influence("one"), axes=axes, labels=["mine"], colours=["black"])
    assert figure is axes[0].figure
    assert [legend(ax) for ax in axes] == [["mine", "transition"], [], []]
    assert not legend(plot_influence(influence("one"), legend=False).axes[0])
    with pytest.raises(UsageError, match=re.escape("2 axes for 3 panels (influence, branch_ratio")):
        plot_influence(influence("one"), axes=axes[:2])


def mesh(ax: Axes) -> QuadMesh:
    (found,) = (one for one in ax.collections if isinstance(one, QuadMesh))
    return found


def test_heat_maps_take_axes_names_and_a_colour_map() -> None:
    both = [pairs("one"), pairs("another")]
    axes = list(Figure(figsize=(7, 3)).subplots(1, 2))
    figure = heat_maps(both, PAIRS, axes=axes, labels=["left", "right"], colours="viridis")
    assert figure is axes[0].figure
    assert [ax.get_title() for ax in axes] == ["left", "right"]
    assert {mesh(ax).get_cmap().name for ax in axes} == {"viridis"}
    assert [ax.get_ylabel() for ax in figure.axes[2:]] == ["Divergence (nats)"] * 2
    assert len(heat_maps(both, PAIRS, legend=False).axes) == 2
    assert heat_maps(both[:1], PAIRS, labels=["mine"]).axes[0].get_title() == "mine"
    assert not heat_maps(both[:1], PAIRS).axes[0].get_title()
    with pytest.raises(UsageError, match="1 axes for 2 panels"):
        heat_maps(both, PAIRS, axes=axes[:1])
    with pytest.raises(UsageError, match="colour map 'no'; expected the name of one"):
        heat_map(both[0], x="block", y="other", value="value", colours="no")
