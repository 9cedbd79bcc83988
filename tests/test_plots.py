"""Figures of lesions: by block, by number of blocks, by order."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from lesion_frames import (
    BLOCKS,
    BOX,
    COUNTED,
    ERRORS,
    INTACT,
    TOTAL,
    data,
    legend,
    lesioned,
    lines,
    rising,
    table,
)
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from PIL import Image

from ensembles.errors import OutputError, UsageError
from ensembles.plots import (
    error_by_block,
    error_by_count,
    error_by_tau,
    plot_lesions,
    save_figure,
)
from ensembles.plots.style import look
from ensembles.statistics import summary_by_tau, wilson_interval
from ensembles.tables import read_frame, stack_frames, write_frame


@pytest.fixture
def singles() -> pd.DataFrame:
    rows = [("delete", 1, str(b), math.nan, e) for b, e in enumerate(ERRORS, start=1)]
    return table([INTACT, *rows], transitions=[3])


@pytest.fixture
def vgg() -> pd.DataFrame:
    rows = [("delete", 1, str(b), math.nan, 0.9) for b in (1, 2, 3)]
    return table(rows, model="vgg15")


@pytest.fixture
def sets() -> pd.DataFrame:
    generator = np.random.default_rng(0)
    rows = [
        ("delete", k, "1 2 3"[: 2 * k - 1], math.nan, float(k / 20 + generator.uniform(0, 0.1)))
        for k in range(1, 11)
        for _ in range(20)
    ]
    return table([INTACT, *rows])


@pytest.fixture
def reorders() -> pd.DataFrame:
    taus = np.linspace(0.8, 1, 101)
    rows = [("reorder", 1 + i % 3, "1-2", float(tau), float(1 - tau)) for i, tau in enumerate(taus)]
    return table([INTACT, *rows])


def test_error_by_block(singles: pd.DataFrame) -> None:
    ax = error_by_block(singles)
    (curve,) = lines(ax, "_single")
    assert data(curve) == ([1, 2, 3, 4, 5], ERRORS)
    (intact,) = lines(ax, "_intact")
    assert set(data(intact)[1]) == {0.1}
    assert intact.get_linestyle() == "--"
    (chance,) = lines(ax, "_chance")
    assert set(data(chance)[1]) == {0.9}
    (hollow,) = lines(ax, "_transitions")
    assert data(hollow) == ([3], [0.45])
    assert hollow.get_markerfacecolor() == "white"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("Deleted block", "Top-1 error (%)")
    assert legend(ax) == [
        "resnet20", "transition", "intact", "chance (90%)", "95% interval", COUNTED,
    ]  # fmt: skip
    assert list(ax.get_xticks()) == [1, 2, 3, 4, 5]
    bottom, top = ax.get_ylim()
    assert bottom == 0
    assert top == pytest.approx(1.04 * 0.9)
    assert ax.yaxis.get_major_formatter()(0.25, 0) == "25"
    assert ax.yaxis.get_major_formatter()(0.075, 0) == "7.5"


def test_the_band_is_wilsons_interval(singles: pd.DataFrame) -> None:
    ax = error_by_block(singles)
    (band,) = [c for c in ax.collections if isinstance(c, PolyCollection)]
    vertices = band.get_paths()[0].vertices
    low, high = wilson_interval(700, TOTAL)
    first = np.asarray(vertices)[np.isclose(np.asarray(vertices)[:, 0], 1), 1]
    assert first.min() == pytest.approx(float(low))
    assert first.max() == pytest.approx(float(high))
    assert not error_by_block(singles.drop(columns=["correct", "total"])).collections


def test_two_networks_overlaid(singles: pd.DataFrame, vgg: pd.DataFrame) -> None:
    ax = error_by_block(singles, vgg)
    resnet, plain = lines(ax, "_single")
    assert data(plain) == ([1, 2, 3], [0.9] * 3)
    assert resnet.get_marker() != plain.get_marker()
    assert resnet.get_color() != plain.get_color()
    assert len(lines(ax, "_intact")) == 1
    assert len(lines(ax, "_chance")) == 1
    assert legend(ax)[:3] == ["resnet20", "vgg15", "transition"]


def test_lesions_without_an_error_are_marked(singles: pd.DataFrame) -> None:
    singles.loc[2, "error"] = math.nan
    ax = error_by_block(singles)
    assert math.isnan(data(lines(ax, "_single")[0])[1][1])
    assert data(lines(ax, "_nonfinite")[0])[0] == [2]
    assert legend(ax)[-2] == "logits not finite"
    singles["error"] = math.nan
    assert error_by_block(singles).get_ylim()[0] == 0


def test_chance_far_above_the_errors(singles: pd.DataFrame) -> None:
    ax = error_by_block(singles.assign(error=singles.error / 100, correct=TOTAL, total=TOTAL))
    assert len(lines(ax, "_chance")) == 1
    assert ax.get_ylim()[1] < 0.1
    assert "chance (90%), above" in legend(ax)
    singles.attrs["chance"] = 0.999  # a guess among a thousand classes is right now and then
    assert "chance (99.9%)" in legend(error_by_block(singles))


def test_blocks_read_as_numbers(singles: pd.DataFrame) -> None:
    numbers = singles.assign(blocks=pd.to_numeric(singles["blocks"]))
    assert numbers["blocks"].dtype == float  # the intact row has none
    (curve,) = lines(error_by_block(numbers), "_single")
    assert data(curve) == ([1, 2, 3, 4, 5], ERRORS)


def test_duplications_by_block(singles: pd.DataFrame) -> None:
    twice = singles.replace({"lesion": {"delete": "duplicate"}})
    ax = error_by_block(twice, kind="duplicate")
    assert ax.get_xlabel() == "Duplicated block"
    assert plot_lesions(twice).axes[0].get_xlabel() == "Duplicated block"


def test_drops_of_single_roads_stand_beside_each_other_at_their_block() -> None:
    roads = ["1.1", "1.2", "3.1", "3.2", "3.3"]
    rows = [("drop", 1, r, math.nan, e) for r, e in zip(roads, ERRORS, strict=True)]
    frame = table([INTACT, *rows], transitions=[3])
    ax = plot_lesions(frame).axes[0]
    first, third = (data(line) for line in lines(ax, "_single"))
    assert first[0] == pytest.approx([0.825, 1.175])
    assert third[0] == pytest.approx([3 - 0.7 / 3, 3, 3 + 0.7 / 3])
    assert first[1] + third[1] == ERRORS
    assert [len(data(line)[0]) for line in lines(ax, "_transitions")] == [0, 3]
    assert ax.get_xlabel() == "Block, and its dropped branch from left to right"
    texts = ["", "1.1", "1.1 1.2", "1.1 3.1", "3.1 3.2", "3.3"]
    several = plot_lesions(frame.assign(count=[0, 1, 2, 2, 2, 1], blocks=texts))
    assert several.axes[0].get_xlabel() == "Number of dropped branches"


def test_a_long_legend_does_not_press_the_axes(sets: pd.DataFrame) -> None:
    factors = [round(0.1 * step, 1) for step in range(12)]
    sentences = [f"scale {block} x{factor}" for factor in factors for block in BLOCKS]
    figure = plot_lesions(lesioned(sentences, rising(len(sentences))))
    figure.set_canvas(FigureCanvasAgg(figure))
    figure.canvas.draw()
    (ax,) = figure.axes
    assert legend(ax)[:2] == ["resnet20, factor 0", "factor 0.1"]
    assert ax.get_window_extent().height > 1.1 * figure.dpi
    assert figure.get_figheight() > 2.4
    both = plot_lesions([lesioned(sentences, rising(len(sentences))), sets])
    assert both.get_figheight() == pytest.approx(figure.get_figheight() + 2.4 + 0.14)  # five rows


def test_a_measure_that_a_table_lacks_is_refused(singles: pd.DataFrame) -> None:
    line = (
        r"^table without the column kl: it holds .*error.*; measure it with metrics= or --metrics$"
    )
    with pytest.raises(UsageError, match=line):
        plot_lesions(singles, metric="kl")
    lists = singles.assign(class_correct=[[1, 2]] * len(singles))
    with pytest.raises(UsageError, match=r"^column class_correct holds no numbers: choose another"):
        plot_lesions(lists, metric="classes")
    with pytest.raises(UsageError, match=r"did you mean error\?; measure it"):
        plot_lesions(singles, metric="errors")


def test_error_by_count(sets: pd.DataFrame) -> None:
    ax = error_by_count(sets)
    boxes = [patch for patch in ax.patches if isinstance(patch, PathPatch)]
    assert len(boxes) == 10
    for count, box in enumerate(boxes, start=1):
        errors = sets[(sets.lesion == "delete") & (sets["count"] == count)].error
        extents = box.get_path().get_extents()
        assert (extents.x0 + extents.x1) / 2 == pytest.approx(count)
        assert extents.y0 == pytest.approx(errors.quantile(0.25))
        assert extents.y1 == pytest.approx(errors.quantile(0.75))
    assert set(data(lines(ax, "_intact")[0])[1]) == {0.1}
    assert ax.get_xlabel() == "Number of deleted blocks"
    assert ax.get_ylabel() == "Top-1 error (%)"
    assert legend(ax) == ["resnet20", BOX, "intact", "chance (90%)", COUNTED]
    assert list(ax.get_xticks()) == list(range(1, 11))


def test_boxes_of_two_networks(sets: pd.DataFrame) -> None:
    other = sets.copy()
    other.attrs["model"] = "vgg15"
    ax = error_by_count(sets, other)
    boxes = [patch for patch in ax.patches if isinstance(patch, PathPatch)]
    assert len(boxes) == 20
    assert len({box.get_facecolor() for box in boxes}) == 2
    assert legend(ax)[:2] == ["resnet20", "vgg15"]


def test_few_trials_are_drawn_as_points_too(sets: pd.DataFrame) -> None:
    few = pd.concat([sets[sets["count"] == k][:3] for k in (9, 20, 30)] + [sets[1:4]])
    ax = error_by_count(few, few)
    points = [data(line) for line in lines(ax, "_points")]
    assert [errors for _, errors in points] == [few[few.lesion != "none"].error.tolist()] * 2
    assert not lines(error_by_count(sets), "_points")


@pytest.mark.parametrize(("counts", "width"), [((2, 9), 1), ((10, 20, 30), 20 / 12), ((5,), 1)])
def test_boxes_of_numbers_far_apart_stay_at_their_number(
    counts: tuple[int, ...], width: float
) -> None:
    rows = [("delete", k, "1", math.nan, k / 40 + i / 100) for k in counts for i in range(3)]
    both = [table(rows, model="resnet110"), table(rows, model="vgg15")]
    ax = error_by_count(*both)
    boxes = [patch for patch in ax.patches if isinstance(patch, PathPatch)]
    centres = [box.get_path().get_extents() for box in boxes]
    middles = sorted((one.x0 + one.x1) / 2 for one in centres)
    aside = 0.75 * width / 4
    assert middles == pytest.approx(sorted(k + side for k in counts for side in (-aside, aside)))
    points = {x for line in lines(ax, "_points") for x in data(line)[0]}
    assert sorted(points) == pytest.approx(middles)
    first, last = ax.get_xlim()
    assert first < min(one.x0 for one in centres) and max(one.x1 for one in centres) < last


def test_all_lesions_without_an_error(sets: pd.DataFrame, reorders: pd.DataFrame) -> None:
    for frame in (sets, reorders):
        figure = plot_lesions(frame.assign(error=math.nan))
        assert legend(figure.axes[0])[-2] == "logits not finite"


def test_error_by_tau(reorders: pd.DataFrame) -> None:
    ax = error_by_tau(reorders, bins=4)
    (points,) = lines(ax, "_points")
    assert len(data(points)[0]) == 101
    expected = summary_by_tau(reorders, 4)
    bars = ax.containers[0]
    assert bars.get_label() == "resnet20"
    x, y = data(bars[0])
    assert x == pytest.approx(expected.tau.tolist())
    assert y == pytest.approx(expected["median"].tolist())
    left, right = ax.get_xlim()
    assert left > 1
    assert right < 0.8
    assert ax.get_xlabel() == "Kendall tau of the order of the blocks"
    assert legend(ax) == [
        "resnet20",
        "median, quartiles",
        "one reordering",
        "intact",
        "chance (90%), above",
        COUNTED,
    ]


def test_median_leaves_out_bins_that_are_nearly_empty(reorders: pd.DataFrame) -> None:
    lone = table([("reorder", 9, "1-2", 0.5, 0.8)])
    frame = pd.concat([reorders, lone], ignore_index=True)
    assert max(data(error_by_tau(frame).containers[0][0])[1]) < 0.8
    assert data(error_by_tau(lone).containers[0][0]) == ([0.5], [0.8])


def test_plot_lesions_picks_the_plot(
    singles: pd.DataFrame, vgg: pd.DataFrame, sets: pd.DataFrame, reorders: pd.DataFrame
) -> None:
    def labels(*frames: pd.DataFrame) -> list[str]:
        return [ax.get_xlabel() for ax in plot_lesions(frames).axes]

    assert labels(singles) == ["Deleted block"]
    assert labels(singles, vgg) == ["Deleted block"]
    assert labels(sets) == ["Number of deleted blocks"]
    assert labels(reorders) == ["Kendall tau of the order of the blocks"]
    mixed = pd.concat([sets, reorders[1:]])
    assert labels(mixed, singles) == [
        "Deleted block",
        "Number of deleted blocks",
        "Kendall tau of the order of the blocks",
    ]
    figure = plot_lesions(mixed)
    assert [ax.texts[0].get_text() for ax in figure.axes] == ["(a)", "(b)"]
    assert figure.get_size_inches().tolist() == pytest.approx([3.25, 4.8 + 0.14])  # a row


@pytest.mark.parametrize("long_name", [False, True])
def test_nothing_is_clipped_or_covered(
    singles: pd.DataFrame, vgg: pd.DataFrame, sets: pd.DataFrame, reorders: pd.DataFrame,
    long_name: bool,
) -> None:  # fmt: skip
    if long_name:
        vgg.attrs["model"] = "timm:vit_small_patch16_224.augreg_in21k"
    figure = plot_lesions([singles, vgg, sets, reorders])
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    for ax in figure.axes:
        drawn = ax.get_legend()
        assert drawn is not None
        box, plot = drawn.get_window_extent(renderer), ax.get_window_extent(renderer)
        assert box.y0 >= plot.y1 - 1
        tight = ax.get_tightbbox(renderer)
        assert tight is not None
        assert tight.x0 >= 0
        assert tight.x1 <= figure.bbox.x1 + 1
        assert tight.y1 <= figure.bbox.y1 + 1
        ticks = [t.get_window_extent(renderer) for t in ax.get_xticklabels() if t.get_text()]
        ticks.sort(key=lambda extent: extent.x0)
        assert all(a.x1 < b.x0 for a, b in pairwise(ticks))
        sizes = [float(t.get_fontsize()) for t in (*ax.get_xticklabels(), *drawn.get_texts())]
        assert min(sizes) >= 7


@pytest.mark.parametrize("last", [1, 2, 9, 15, 18, 27, 54, 110, 333, 600])
def test_ticks_of_deep_networks(last: int) -> None:
    rows = [("delete", 1, str(b), math.nan, 0.5) for b in range(1, last + 1)]
    ticks = list(error_by_block(table(rows)).get_xticks())
    assert ticks[0] == 1
    assert ticks[-1] <= last
    assert len(ticks) <= 11
    assert last - ticks[-1] < ticks[-1]


def test_neighbouring_series_differ_in_grey() -> None:
    lightness = [np.dot(to_rgb(look(i).colour), [0.299, 0.587, 0.114]) for i in range(6)]
    assert min(abs(np.diff(lightness[:4]))) > 0.15
    for part in ("colour", "marker", "dash"):
        assert len({getattr(look(i), part) for i in range(6)}) == 6
    assert len({look(i) for i in range(36)}) == 36


def test_labels_tell_tables_apart(singles: pd.DataFrame, vgg: pd.DataFrame) -> None:
    vgg.attrs |= {"model": "resnet20"}
    assert legend(error_by_block(singles, vgg))[:2] == ["resnet20 (1)", "resnet20 (2)"]
    vgg.attrs |= {"dataset": "svhn"}
    assert legend(error_by_block(singles, vgg))[:2] == ["resnet20, cifar10", "resnet20, svhn"]
    vgg.attrs = {}
    assert legend(error_by_block(vgg))[:1] == ["network"]


def test_attributes_survive_files(singles: pd.DataFrame, tmp_path: Path) -> None:
    for suffix in ("csv", "parquet", "json"):
        back = read_frame(write_frame(singles, tmp_path / f"x.{suffix}"))
        ax = error_by_block(back)
        assert legend(ax) == legend(error_by_block(singles))
        assert data(lines(ax, "_transitions")[0]) == ([3], [0.45])


def test_a_file_of_several_networks(
    singles: pd.DataFrame, vgg: pd.DataFrame, tmp_path: Path
) -> None:
    path = write_frame(stack_frames([singles, vgg]), tmp_path / "x.csv")
    ax = plot_lesions(read_frame(path)).axes[0]
    assert legend(ax)[:3] == ["resnet20", "vgg15", "transition"]
    assert [len(data(line)[0]) for line in lines(ax, "_single")] == [5, 3]


def test_axes_of_the_users_own(singles: pd.DataFrame, sets: pd.DataFrame) -> None:
    figure = Figure(figsize=(7, 3))
    left, right = figure.subplots(1, 2)
    assert error_by_block(singles, ax=left) is left
    assert error_by_count(sets, ax=right) is right
    figure.set_canvas(FigureCanvasAgg(figure))
    figure.canvas.draw()


def test_plot_lesions_into_axes_of_the_users_own(
    singles: pd.DataFrame, reorders: pd.DataFrame
) -> None:
    figure = Figure(figsize=(7, 3))
    left, right = figure.subplots(1, 2)
    assert plot_lesions(singles, ax=left) is figure
    assert plot_lesions(reorders, ax=right) is figure
    assert [ax.get_xlabel()[:7] for ax in figure.axes] == ["Deleted", "Kendall"]
    assert not left.texts
    with pytest.raises(UsageError, match=r"^1 axes for 2 panels \(delete, reorder\): give as many"):
        plot_lesions([singles, reorders], ax=left)


def test_no_global_state(singles: pd.DataFrame, sets: pd.DataFrame, tmp_path: Path) -> None:
    from matplotlib import pyplot as plt

    before, backend = dict(mpl.rcParams), mpl.get_backend()
    for frame in (singles, sets):
        plot_lesions(frame, tmp_path / "x.png")
    assert dict(mpl.rcParams) == before
    assert mpl.get_backend() == backend
    assert plt.get_fignums() == []


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_files_are_the_same_each_time(
    singles: pd.DataFrame, reorders: pd.DataFrame, suffix: str, tmp_path: Path
) -> None:
    first, second = tmp_path / f"a.{suffix}", tmp_path / f"b.{suffix}"
    plot_lesions([singles, reorders], first)
    plot_lesions([singles, reorders], second)
    assert first.read_bytes() == second.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == [first.name, second.name]


def test_formats(singles: pd.DataFrame, tmp_path: Path) -> None:
    figure = plot_lesions(singles)
    with Image.open(save_figure(figure, tmp_path / "x.png")) as image:
        assert image.size == (975, 720)
    svg = save_figure(figure, tmp_path / "x.svg").read_text()
    assert ">Deleted block</text>" in svg
    assert "<dc:date>" not in svg
    pdf = save_figure(figure, tmp_path / "x.pdf").read_bytes()
    assert b"CreationDate" not in pdf
    assert b"/FontFile2" in pdf


def test_errors(singles: pd.DataFrame, sets: pd.DataFrame, tmp_path: Path) -> None:
    calls: list[tuple[Callable[[], object], str]] = [
        (error_by_block, "no tables to draw: give one table of lesions or more"),
        (
            lambda: error_by_tau(singles),
            "no lesions of the kind reorder to draw: the table holds delete, none",
        ),
        (
            lambda: error_by_block(sets[sets["count"] > 1]),
            "no delete of a single block to draw: draw the error by count instead",
        ),
        (
            lambda: error_by_block(pd.DataFrame({"lesion": []})),
            "table without the column count and the column blocks and the column error: expected "
            "a table of results, as ensembles.lesion, paths or analyze returns it, or --out writes "
            "it",
        ),
        (
            lambda: plot_lesions(singles[:1]),
            "no lesions to draw: the tables hold the intact network only",
        ),
        (
            lambda: plot_lesions(singles, "x.jpg"),
            "output x.jpg: the ending '.jpg' tells no known format; expected .png, .pdf or .svg",
        ),
    ]
    for call, error in calls:
        with pytest.raises(UsageError, match=f"^{re.escape(error)}$"):
            call()
    with pytest.raises(OutputError, match=r"there is no folder .*/no; make it first$"):
        plot_lesions(singles, tmp_path / "no" / "x.png")


@pytest.mark.assets
def test_published_curves(assets: Path) -> None:
    published = pd.read_csv(assets / "reference" / "veit2016_single_deletion.csv")
    frames = []
    for network in ("preact_resnet110_cifar10", "vgg_cifar10"):
        rows = [
            ("none", 0, "", 1.0, error)
            if pd.isna(block)
            else ("delete", 1, str(int(block)), math.nan, error)
            for block, error in published.loc[
                published.network == network, ["block", "top1_error"]
            ].itertuples(index=False)
        ]
        frames.append(table(rows, model=network))
    ax = plot_lesions(frames).axes[0]
    resnet, vgg = lines(ax, "_single")
    assert len(data(resnet)[0]) == 54
    assert np.median(data(resnet)[1]) == pytest.approx(0.0639, abs=1e-3)
    assert min(data(vgg)[1]) > 0.88
    assert list(ax.get_xticks()) == [1, 10, 20, 30, 40, 50]
