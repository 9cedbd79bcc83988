"""A table of several networks gives a curve, or rows, for each; or says what to pass."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from stores import outcome

from ensembles import effective_paths, plot_lesions, plot_paths
from ensembles.errors import UsageError
from ensembles.lesions import Delete, Intact, Reorder
from ensembles.plots import error_by_block, error_by_count, error_by_tau
from ensembles.plots.heat_map import heat_map
from ensembles.statistics import (
    bootstrap_by_count,
    curve_correlations,
    rank_correlations,
    summary_by_count,
    summary_by_tau,
    summary_by_tau_step,
)
from ensembles.tables import lesion_frame, read_frame, split_frames, stack_frames, write_frame

Table = Callable[[pd.DataFrame], pd.DataFrame]


def swept(model: str, blocks: int, worse: int) -> pd.DataFrame:
    each = range(1, blocks + 1)
    pairs = [(b, b + 1) for b in each[:-1]]
    lesions = [Intact(), *(Delete((b,)) for b in each), *map(Delete, pairs)]
    lesions += [Reorder((pair,)) for pair in pairs]
    made = [outcome(one, 25 - place - worse) for place, one in enumerate(lesions)]
    frame = lesion_frame(made, names=[f"b{b}" for b in each], model=model, dataset="digits")
    return frame.drop(columns="loss")


def as_pandas_reads_it(table: pd.DataFrame) -> pd.DataFrame:
    bare = table.copy()
    bare.attrs = {}
    return bare


def shuffled(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["lesion"] != "none"].sample(frac=1, random_state=0)


FRAMES = {"whole": lambda table: table, "bare": as_pandas_reads_it, "chosen": shuffled}


@pytest.fixture
def both() -> list[pd.DataFrame]:
    return [swept("resnet20", 6, 0), swept("vgg15", 4, 3)]


@pytest.fixture(params=FRAMES)
def table(request: pytest.FixtureRequest, both: list[pd.DataFrame]) -> pd.DataFrame:
    change: Table = FRAMES[request.param]
    return change(stack_frames(both))


def curves(ax: Axes) -> list[list[float]]:
    return [sorted(map(float, np.asarray(one.get_ydata()))) for one in ax.lines
            if one.get_label() == "_single"]  # fmt: skip


def named(ax: Axes) -> list[str]:
    drawn = ax.get_legend()
    assert drawn is not None
    return [text.get_text() for text in drawn.get_texts()][:2]


def test_figures_have_a_curve_for_each_network(
    table: pd.DataFrame, both: list[pd.DataFrame]
) -> None:
    apart = error_by_block(*both)
    together = error_by_block(table)
    assert len(curves(together)) == 2
    assert sorted(curves(together)) == sorted(curves(apart))
    assert set(named(together)) == {"resnet20", "vgg15"}
    for draw in (error_by_count, error_by_tau):
        assert set(named(draw(table))) == {"resnet20", "vgg15"}
    assert all(set(named(ax)) == {"resnet20", "vgg15"} for ax in plot_lesions(table).axes[1:])


@pytest.mark.parametrize(
    "summary",
    [summary_by_count, summary_by_tau, summary_by_tau_step, rank_correlations, bootstrap_by_count],
)
def test_statistics_have_rows_for_each_network(
    table: pd.DataFrame, both: list[pd.DataFrame], summary: Table
) -> None:
    found = summary(table)
    assert found.columns[0] == "network"
    for frame in both:
        own = found[found["network"] == frame.attrs["model"]].drop(columns="network")
        key = [
            name for name in ("lesion", "count", "tau", "variable", "coefficient") if name in own
        ]
        pd.testing.assert_frame_equal(
            own.sort_values(key).reset_index(drop=True),
            summary(frame).sort_values(key).reset_index(drop=True),
        )


def test_what_takes_one_network_says_so(table: pd.DataFrame, both: list[pd.DataFrame]) -> None:
    message = r"takes a table of one network, and this one holds 2 \(.*split_frames"
    with pytest.raises(UsageError, match=f"the first curve {message}"):
        curve_correlations(table, both[0])
    with pytest.raises(UsageError, match=f"a heat map {message}"):
        heat_map(table, x="count", y="count", value="error")


def test_a_table_of_two_networks_that_nothing_tells_apart_is_refused(
    both: list[pd.DataFrame],
) -> None:
    mixed = pd.concat([as_pandas_reads_it(frame) for frame in both], ignore_index=True)
    for call in (error_by_block, plot_lesions, summary_by_count, rank_correlations):
        with pytest.raises(UsageError, match="holds 2 intact networks, and nothing tells them"):
            call(mixed)  # type: ignore[operator]
    with pytest.raises(UsageError, match="holds delete 1 twice, as of two networks"):
        error_by_block(mixed[mixed["lesion"] != "none"])


def test_data_sets_and_files_tell_networks_apart(tmp_path: Path, both: list[pd.DataFrame]) -> None:
    other = both[0].copy()
    other.attrs |= {"dataset": "svhn"}
    kept = write_frame(stack_frames([both[0], other]), tmp_path / "two.csv")
    read = read_frame(kept)
    assert named(error_by_block(read)) == ["resnet20, digits", "resnet20, svhn"]
    bare = pd.read_csv(kept, keep_default_na=False).assign(dataset=["digits"] * 17 + ["svhn"] * 17)
    assert named(error_by_block(bare)) == ["resnet20, digits", "resnet20, svhn"]
    assert len(split_frames(bare)) == 2


def spectrum(model: str, blocks: int) -> pd.DataFrame:
    from math import comb

    counts = [comb(blocks, k) for k in range(blocks + 1)]
    norms = [0.5**k for k in range(blocks + 1)]
    frame = pd.DataFrame({"length": range(blocks + 1), "paths": pd.Series(counts, dtype=object)})
    for name in ("gradient_coherent", "gradient_rms", "gradient_mean"):
        frame[name] = norms
        frame[f"{name}_log10"] = np.log10(norms)
    frame["gradient_rms_se"] = frame["gradient_mean_low"] = frame["gradient_mean_high"] = 0.01
    frame.attrs = {"model": model, "analysis": "paths"}
    return frame


def test_spectra_of_several_networks_stand_in_one_figure() -> None:
    pair = [spectrum("resnet20", 9), spectrum("resnet56", 27)]
    figure = plot_paths(stack_frames(pair), labels=["short", "long"], colours=["black", "red"])
    lengths, gradient, shares = figure.axes
    assert named(lengths) == ["short, 512", "long, $2^{27}$"]
    for ax in (gradient, shares):
        assert named(ax) == ["short", "long"]
        assert {line.get_color() for line in ax.lines} == {"black", "red"}
    assert gradient.get_ylabel() == "Gradient of one path, RMS"
    assert len(plot_paths(pair, measure="gradient_coherent").axes) == 3
    table = effective_paths(stack_frames(pair))
    assert list(table["network"].unique()) == ["resnet20", "resnet56"]
    again = pd.concat([as_pandas_reads_it(one) for one in pair])
    for call in (plot_paths, effective_paths):
        with pytest.raises(UsageError, match="holds a length twice"):
            call(again)  # type: ignore[operator]
    with pytest.raises(UsageError, match=r"measure 'gradient_rmss'; expected .* did you mean"):
        plot_paths(pair, measure="gradient_rmss")


def test_labels_colours_legend_and_scale(both: list[pd.DataFrame]) -> None:
    ax = error_by_block(*both, labels=["ours", "theirs"], colours=["#000000", "red"])
    assert named(ax) == ["ours", "theirs"]
    assert [one.get_color() for one in ax.lines if one.get_label() == "_single"][:2] == [
        "#000000", "red",
    ]  # fmt: skip
    assert error_by_block(*both, legend=False).get_legend() is None
    assert error_by_block(*both, scale="symlog").get_yscale() == "symlog"
    assert error_by_block(*both, scale="log").get_yscale() == "log"
    with pytest.raises(UsageError, match="3 labels for 2 networks; give one for each"):
        error_by_block(*both, labels=["a", "b", "c"])
    with pytest.raises(UsageError, match="colours 'blau'; expected names or codes"):
        error_by_block(*both, colours=["blau"])
    with pytest.raises(UsageError, match="scale 'cubic'; expected linear, log, symlog"):
        error_by_block(*both, scale="cubic")  # type: ignore[arg-type]


def test_panels_are_drawn_into_axes_that_are_given(both: list[pd.DataFrame]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5, 2.6), layout="constrained")
    grid = figure.subplots(1, 2)
    assert plot_lesions(both[0], axes=grid) is figure
    assert [ax.get_xlabel() for ax in grid] == [
        "Number of deleted blocks", "Kendall tau of the order of the blocks",
    ]  # fmt: skip
    with pytest.raises(UsageError, match=r"1 axes for 3 panels \(delete by block, delete by count"):
        plot_lesions(both[0], axes=grid[:1])
    with pytest.raises(UsageError, match=r"2 axes for 3 panels \(lengths, gradient, shares\)"):
        plot_paths(spectrum("resnet20", 9), axes=grid)
