"""Every public function that takes a table: one of several networks is split, or refused."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from test_plots_every import FIGURES, PANELS, lesions, spectrum
from test_statistics_additivity import deletions
from test_table_networks import swept

import ensembles
from ensembles import plots, report, statistics
from ensembles.errors import UsageError
from ensembles.plots.heat_map import heat_maps
from ensembles.tables import stack_frames

ROOMS = ("analyses", "metrics", "plots", "report", "statistics", "studies", "tables", "tasks")
BY_NETWORK: dict[str, Callable[[], pd.DataFrame]] = {
    "additive_deletions": lambda: deletions(1.0),
    "bootstrap_by_count": lambda: swept("net", 6, 0),
    "effective_paths": spectrum,
    "rank_correlations": lambda: swept("net", 6, 0),
    "summary_by_count": lambda: swept("net", 6, 0),
    "summary_by_tau": lambda: swept("net", 6, 0),
    "summary_by_tau_step": lambda: swept("net", 6, 0),
}
"""What gives rows for each network after a column ``network``."""

WHOLE_SWEEPS = dict.fromkeys(("error_by_count", "error_by_tau"), lambda: swept("net", 6, 0))
"""With the intact network among the lesions, by which two networks are known to be two."""

REFUSED = {"curve_correlations"}
SPLIT = {"across_networks", "lesion_tables", "section_of", "split_frames"}
ROW_BY_ROW = {
    "error_intervals", "frame_to_csv", "frame_to_json", "reorderings", "require_columns",
    "stack_frames", "table", "write_frame",
}  # fmt: skip
"""What takes each row as it is, or the table as a whole."""

PREDICTIONS = {"bootstrap_images", "network_tests", "paired_tests"}
"""What takes truth values, a column a lesion, of one network each."""


def taking_tables() -> set[str]:
    """All public functions with a table among their arguments."""
    found = set()
    for room in (ensembles, *(import_module(f"ensembles.{name}") for name in ROOMS)):
        for name in room.__all__:
            if inspect.isfunction(function := getattr(room, name)):
                taken = inspect.signature(function).parameters.values()
                if any("DataFrame" in str(one.annotation) for one in taken):
                    found.add(name)
    return found


def test_none_is_forgotten() -> None:
    groups = (PANELS, FIGURES, BY_NETWORK, REFUSED, SPLIT, ROW_BY_ROW, PREDICTIONS)
    assert taking_tables() == {name for group in groups for name in group}


def named(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    frame.attrs["model"] = name
    return frame


def bare(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Tables below each other as pandas puts them, without attributes."""
    parts = [frame.copy() for frame in frames]
    for part in parts:
        part.attrs = {}
    return pd.concat(parts, ignore_index=True)


def drawn(figure: Figure) -> list[list[Any]]:
    """What each panel shows: lines, areas, texts of its axes and legend."""
    return [
        [np.asarray(line.get_xydata(), float).tolist() for line in ax.lines]
        + [part.get_paths()[0].vertices.tolist() for part in ax.collections if part.get_paths()]
        + [len(ax.patches), ax.get_xlabel(), ax.get_title(), *_legend(ax)]
        for ax in figure.axes
    ]


def _legend(ax: Axes) -> Iterator[str]:
    if (found := ax.get_legend()) is not None:
        yield from (text.get_text() for text in found.get_texts())


def figure_of(made: Axes | Figure) -> Figure:
    figure = made if isinstance(made, Figure) else made.figure
    assert isinstance(figure, Figure)
    return figure


def together(name: str, pair: Sequence[pd.DataFrame]) -> Any:
    """Two networks as a function takes them apart, drawn; None where it takes one."""
    draw = getattr(plots, name)
    options = PANELS[name][1] if name in PANELS else {}
    first, *_ = inspect.signature(draw).parameters.values()
    if first.kind is inspect.Parameter.VAR_POSITIONAL:
        one_each = [pair] if name == "error_across_networks" else pair
        return draw(*one_each, **options)
    return draw(list(pair), **options) if "Sequence" in str(first.annotation) else None


@pytest.mark.parametrize("name", [*PANELS, *FIGURES])
def test_figures_have_both_networks_or_say_what_to_pass(name: str) -> None:
    make, options = (PANELS[name][0], PANELS[name][1]) if name in PANELS else (FIGURES[name][0], {})
    draw, pair = getattr(plots, name), [named(make(), "first"), named(make(), "second")]
    whole = stack_frames(pair)
    apart = together(name, pair)
    if apart is None:
        with pytest.raises(UsageError, match=r"takes a table of one (network|run), and this one h"):
            draw(whole, **options)
    else:
        assert drawn(figure_of(draw(whole, **options))) == drawn(figure_of(apart))
    again = WHOLE_SWEEPS.get(name, make)
    with pytest.raises(UsageError, match=r"twice|nothing tells them apart"):
        draw(bare([again(), again()]), **options)


@pytest.mark.parametrize("name", BY_NETWORK)
def test_statistics_have_rows_for_each_network(name: str) -> None:
    make, summary = BY_NETWORK[name], getattr(statistics, name, getattr(ensembles, name, None))
    pair = [named(make(), "first"), named(make(), "second")]
    found = summary(stack_frames(pair))
    assert found.columns[0] == "network" and len(found)
    for frame in pair:
        own = found[found["network"] == frame.attrs["model"]].drop(columns="network")
        pd.testing.assert_frame_equal(own.reset_index(drop=True), summary(frame))


@pytest.mark.parametrize("name", sorted({*BY_NETWORK} - {"summary_by_tau", "summary_by_tau_step"}))
def test_statistics_of_a_table_that_nothing_tells_apart_are_refused(name: str) -> None:
    summary = getattr(statistics, name, getattr(ensembles, name, None))
    with pytest.raises(UsageError, match=r"twice|nothing tells them apart"):
        summary(bare([BY_NETWORK[name](), BY_NETWORK[name]()]))


def test_reports_show_each_network() -> None:
    pair = [named(lesions(), "first"), named(lesions(), "second")]
    both = report.lesion_tables(stack_frames(pair))
    assert [one.caption for one in both] == [
        table.caption for frame in pair for table in report.lesion_tables(frame)
    ]
    assert len(report.section_of(stack_frames(pair), "x").tables) == len(both)


def test_seeds_are_the_sample_of_a_mean_and_of_nothing_else() -> None:
    seeds = [swept("resnet20", 6, worse) for worse in (0, 1, 2)]
    for seed, frame in enumerate(seeds):
        frame.attrs["checkpoint"] = f"random:{seed}"
    whole = stack_frames(seeds)
    assert set(statistics.across_networks(whole)["n"]) == {3}
    assert statistics.summary_by_count(whole)["network"].unique().tolist() == [
        "resnet20 (1)", "resnet20 (2)", "resnet20 (3)",
    ]  # fmt: skip


def test_predictions_of_two_networks_are_two_tables() -> None:
    right = statistics.correct_by_image(
        [0, 1, 1, 0],
        {ensembles.lesions.Intact(): np.array([0, 1, 1, 1]),
         ensembles.lesions.Delete((1,)): np.array([0, 0, 1, 1])},
    )  # fmt: skip
    both = pd.concat([right, right], axis=1)
    calls = (statistics.paired_tests, statistics.bootstrap_images)
    for call in (*calls, lambda one: statistics.network_tests(one, right)):
        with pytest.raises(UsageError, match=r"two columns of none, as of two networks: give a t"):
            call(both)


def test_pairs_of_blocks_have_a_map_for_each_network() -> None:
    from test_plots_options import PAIRS, pairs

    both = [pairs("one"), pairs("two")]
    assert len(heat_maps(stack_frames(both), PAIRS, legend=False).axes) == 2
    with pytest.raises(UsageError, match=r"holds block 1, other \d twice, as of two networks"):
        heat_maps(bare(both), PAIRS)


@pytest.mark.parametrize("name", ["depth", "repair", "spectra", "refinement", "recalibration"])
def test_a_table_whose_attributes_are_lost_is_drawn_by_its_own_analysis(name: str) -> None:
    own = getattr(plots, f"plot_{name}")
    frame = FIGURES[f"plot_{name}"][0]()
    frame.attrs = {}
    assert drawn(plots.plot_analysis(frame)) == drawn(own(frame))
