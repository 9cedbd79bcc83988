from __future__ import annotations

import math
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import PathPatch
from own_tests import without_own_test
from PIL import Image

from ensembles.errors import OutputError, UsageError
from ensembles.lesions import KINDS, Delete, Words, parse_lesion, setting
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

TOTAL = 1000
BOX, COUNTED = "quartiles, whiskers to 1.5 boxes", "1,000 images"


def table(rows: list[tuple[str, int, str, float, float]], **attrs: object) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["lesion", "count", "blocks", "kendall_tau", "error"])
    frame["total"] = TOTAL
    frame["correct"] = (TOTAL * (1 - frame["error"].fillna(1))).round().astype(int)
    frame.attrs.update({"model": "resnet20", "dataset": "cifar10", "chance": 0.9} | attrs)
    return frame


ERRORS = [0.7, 0.2, 0.45, 0.86, 0.24]
INTACT = ("none", 0, "", 1.0, 0.1)


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


def lines(ax: Axes, label: str) -> list[Line2D]:
    return [line for line in ax.lines if line.get_label() == label]


def legend(ax: Axes) -> list[str]:
    drawn = ax.get_legend()
    assert drawn is not None
    return [text.get_text() for text in drawn.get_texts()]


def data(line: Line2D) -> tuple[list[float], list[float]]:
    return list(map(float, line.get_xdata())), list(map(float, line.get_ydata()))  # type: ignore[arg-type]


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


N, TRANSITION = 12, 6


def lesioned(sentences: list[str], errors: list[float], **attrs: object) -> pd.DataFrame:
    """A table of lesions of a network of 12 blocks, from sentences such as "delete 3"."""
    rows = []
    for sentence, error in zip(["none ", *sentences], [0.1, *errors], strict=True):
        kind, _, text = sentence.partition(" ")
        lesion = parse_lesion(kind, text)
        rows.append((kind, lesion.count, text, lesion.kendall_tau(N), error))
    frame = table(rows, transitions=[TRANSITION], **attrs)
    return frame.assign(kl=3 * frame["error"] - 0.3, agreement=1 - frame["error"])


def rising(number: int) -> list[float]:
    return [float(error) for error in np.linspace(0.12, 0.7, number)]


BLOCKS = [str(block) for block in range(1, N + 1)]
PAIRS = [f"{block}-{block + 1}" for block in range(1, N)]
KINDS_DRAWN = {
    "delete": (BLOCKS, "Deleted block"),
    "duplicate": (BLOCKS, "Duplicated block"),
    "drop": ([f"{b}.{r}" for b in (2, 5) for r in (1, 2)], "Block, and its dropped branch"),
    "scale": ([f"{block} x0.5" for block in BLOCKS], "Scaled block"),
    "noise": ([f"{block} s0.1 seed{k}" for block in BLOCKS for k in (0, 1)], "Block with noise"),
    "mean": (BLOCKS, "Block replaced by its mean"),
    "reset": (BLOCKS, "Reset block"),
    "randomize": ([f"{block} seed{k}" for block in BLOCKS for k in (0, 1)], "Randomized block"),
    "replace": ([f"{block}<-{block % N + 1}" for block in range(1, N + 1)], "Replaced block"),
    "repeat": ([f"{block} x3" for block in BLOCKS], "Repeated block"),
    "reverse": (PAIRS, "First of 2 blocks that are reversed"),
    "shuffle": ([f"2-4 seed{k}" for k in range(5)], "First of 3 blocks that are shuffled"),
    "parallel": ([f"{b} {b + 1}" for b in range(1, N)], "First of 2 blocks that are run side by"),
    "transplant": ([f"{block} from other" for block in BLOCKS], "Transplanted block"),
    "reorder": (["1-2", "1-2 3-5", "3-9", "2-11 4-7"], "Kendall tau of the order of the blocks"),
    "then": (
        [f"delete {b} then scale {b + 4} x0.5" for b in range(1, 6)],
        "Number of blocks of several lesions",
    ),
}


def test_every_kind_is_drawn_and_none_is_forgotten() -> None:
    assert without_own_test("lesion", KINDS.names()) <= {*KINDS_DRAWN, "none", "recalibrated"}
    assert {*KINDS_DRAWN} <= set(KINDS.names())


@pytest.mark.parametrize("recalibrated", [False, True])
@pytest.mark.parametrize("kind", KINDS_DRAWN)
def test_every_kind_has_its_figure(kind: str, recalibrated: bool, tmp_path: Path) -> None:
    texts, xlabel = KINDS_DRAWN[kind]
    sentences = [f"{kind} {text}" for text in texts]
    if recalibrated:
        sentences = [f"recalibrated {' '.join(one.split())} | 8x128" for one in sentences]
        if kind == "then":
            sentences = [f"recalibrated {text} | 8x128" for text in texts]
    figure = plot_lesions(lesioned(sentences, rising(len(texts))), tmp_path / "x.png")
    (ax,) = figure.axes
    assert ax.get_xlabel().startswith(xlabel)
    assert ("recalibrated" in legend(ax)) is recalibrated
    assert (tmp_path / "x.png").stat().st_size > 10_000


def test_settings_are_curves_and_seeds_are_pooled() -> None:
    texts = [f"{b} s{s} seed{k}" for s in ("0.1", "0.3") for b in (1, 2, 6) for k in range(3)]
    errors = [0.1, 0.2, 0.6, 0.3, 0.3, 0.3, 0.5, 0.4, 0.6] * 2
    ax = plot_lesions(lesioned([f"noise {text}" for text in texts], errors)).axes[0]
    curves = lines(ax, "_single")
    assert [data(curve) for curve in curves] == [([1, 2, 6], [0.2, 0.3, 0.5])] * 2
    assert [len(data(points)[0]) for points in lines(ax, "_each")] == [9, 9]
    assert not ax.collections  # no interval of images around a median of seeds
    assert legend(ax)[:5] == [
        "resnet20, strength 0.1", "strength 0.3", "transition", "median of 3 seeds",
        "one seed",
    ]  # fmt: skip
    named = legend(plot_lesions(lesioned(["scale 1 x0.5", "scale 2 x0.5"], [0.2, 0.3])).axes[0])
    assert named[0] == "resnet20, factor 0.5"
    plain = legend(plot_lesions(lesioned(["repeat 1 x2", "repeat 2 x2"], [0.2, 0.3])).axes[0])
    assert plain[0] == "resnet20"


def test_recalibrated_lesions_are_drawn_over_the_others_in_dots() -> None:
    sentences = [f"delete {b}" for b in BLOCKS] + ["recalibrated none | 8x128"]
    sentences += [f"recalibrated delete {b} | 8x128" for b in BLOCKS]
    errors = rising(12) + [0.15] + [error / 2 for error in rising(12)]
    ax = plot_lesions(lesioned(sentences, errors)).axes[0]
    plain, again = lines(ax, "_single")
    assert plain.get_color() == again.get_color()
    assert plain._dash_pattern != again._dash_pattern
    assert data(again)[1] == errors[13:]
    (level,) = lines(ax, "_intact, recalibrated")
    assert set(data(level)[1]) == {0.15}
    assert set(data(lines(ax, "_intact")[0])[1]) == {0.1}
    assert legend(ax)[:3] == ["resnet20", "recalibrated", "transition"]


def test_recalibrated_sets_are_boxes_beside_the_others() -> None:
    sets = [f"delete {b} {b + 2}" for b in range(1, 9)] + [
        f"delete {b} {b + 2} {b + 4}" for b in range(1, 9)
    ]
    sentences = sets + [f"recalibrated {one} | 8x128" for one in sets]
    ax = plot_lesions(lesioned(sentences, rising(32))).axes[0]
    boxes = [patch for patch in ax.patches if isinstance(patch, PathPatch)]
    assert len(boxes) == 4 and len({box.get_facecolor() for box in boxes}) == 2
    assert legend(ax) == [
        "resnet20",
        "recalibrated",
        BOX,
        "intact",
        "chance (90%)",
        COUNTED,
    ]


def test_spans_of_one_length_stand_at_their_first_block() -> None:
    ax = plot_lesions(lesioned([f"repeat {b}-{b + 2} x2" for b in (1, 4, 9)], rising(3))).axes[0]
    assert data(lines(ax, "_single")[0])[0] == [1, 4, 9]
    assert ax.get_xlabel() == "First of 3 blocks that are repeated"
    several = [f"reverse {b}-{b + size}" for size in (1, 2) for b in (1, 3, 5)]
    ax = plot_lesions(lesioned(several, rising(6))).axes[0]
    assert ax.get_xlabel() == "Number of blocks reversed"
    assert len([patch for patch in ax.patches if isinstance(patch, PathPatch)]) == 2
    spans = plot_lesions(lesioned(["delete 1 2", "delete 3 4"], rising(2))).axes[0]
    assert spans.get_xlabel() == "First of 2 blocks that are deleted"


def test_several_blocks_in_place_of_one_stand_beside_each_other() -> None:
    sentences = [f"replace 2<-{other}" for other in (10, 3, 1)] + ["replace 4<-5"]
    ax = plot_lesions(lesioned(sentences, [0.4, 0.3, 0.2, 0.5])).axes[0]
    second, fourth = lines(ax, "_single")
    assert data(second)[1] == [0.2, 0.3, 0.4]  # by number: 1, 3, 10
    assert data(second)[0] == pytest.approx([2 - 0.7 / 3, 2, 2 + 0.7 / 3])
    assert data(fourth) == ([4], [0.5])


def test_many_blocks_in_place_of_one_are_pooled() -> None:
    sentences = [f"replace {b}<-{other}" for b in (2, 4) for other in range(1, 13) if b != other]
    ax = plot_lesions(lesioned(sentences, rising(22))).axes[0]
    (curve,) = lines(ax, "_single")
    assert data(curve)[0] == [2, 4]
    assert data(curve)[1] == pytest.approx([np.median(rising(22)[:11]), np.median(rising(22)[11:])])
    assert legend(ax)[1:3] == ["median of 11 lesions", "one lesion"]


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


def test_kinds_of_packages_that_are_not_here_are_boxes() -> None:
    frame = table([INTACT, *[("zap", 1 + i % 2, f"x {i}", math.nan, 0.2) for i in range(12)]])
    ax = plot_lesions(frame).axes[0]
    assert ax.get_xlabel() == "Size of the lesion (zap)"
    assert len([patch for patch in ax.patches if isinstance(patch, PathPatch)]) == 2
    with pytest.raises(UsageError, match=r"^no zap of a single block to draw: draw the error by"):
        error_by_block(frame, kind="zap")


@dataclass(frozen=True)
class Zap(Delete):
    """A kind that a program adds."""

    strength: float = setting("How much.", 1.0)

    kind: ClassVar[str] = "zap"
    words: ClassVar[Words] = Words("Zapped block", "Number of zapped blocks", "zapped")

    @classmethod
    def parse(cls, text: str) -> Zap:
        block, _, strength = text.partition(" at ")
        return cls((int(block),), strength=float(strength))


def test_kinds_that_a_program_adds_have_their_words_and_settings() -> None:
    rows = [("zap", 1, f"{b} at {s}", math.nan, 0.2) for s in (1, 2) for b in (1, 2)]
    assert (
        error_by_count(table([INTACT, *rows]), kind="zap").get_xlabel()
        == "Size of the lesion (zap)"
    )
    KINDS.register("zap", Zap)
    try:
        ax = plot_lesions(table([INTACT, *rows])).axes[0]
    finally:
        KINDS.forget("zap")
    assert ax.get_xlabel() == "Zapped block"
    assert legend(ax)[:2] == ["resnet20, strength 1", "strength 2"]
    assert data(lines(ax, "_single")[0])[0] == [1, 2]


@pytest.mark.parametrize("form", ["block", "count", "tau"])
def test_any_measure_can_be_drawn(form: str) -> None:
    sentences = {
        "block": [f"delete {b}" for b in BLOCKS],
        "count": [f"delete {b} {b + 2}" for b in range(1, 8)] + ["delete 1 3 5"],
        "tau": ["reorder 1-2", "reorder 3-9", "reorder 2-11 4-7"],
    }[form]
    frame = lesioned(sentences, rising(len(sentences)), chances={"agreement": 0.1})
    ax = plot_lesions(frame, metric="kl").axes[0]
    assert ax.get_ylabel() == "KL(intact || lesioned) (nats)"
    assert legend(ax)[-2] == "intact" and not lines(ax, "_chance")
    assert not ax.collections or form == "tau"
    assert data(lines(ax, "_intact")[0])[1] == pytest.approx([0, 0])
    assert ax.yaxis.get_major_formatter()(0.25, 0) != "25"
    ax = plot_lesions(frame, metric="agreement").axes[0]
    assert ax.get_ylabel() == "Agreement with the\nintact network"
    assert legend(ax)[-2] == "chance (0.1)" and set(data(lines(ax, "_chance")[0])[1]) == {0.1}
    assert ax.get_ylim()[1] == pytest.approx(1.04 * 0.9)
    below = plot_lesions(frame.assign(kl=-frame["kl"]), metric="kl").axes[0]
    assert below.get_ylim()[0] < -1.7
    assert plot_lesions(frame, metric="top1").axes[0].get_ylabel() == "Top-1 error (%)"


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
            "a table of lesions, as ensembles.lesion returns or ensembles lesion --out writes it",
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


def test_drawing_saved_tables_needs_no_torch(tmp_path: Path) -> None:
    """Figures and reports of every kind, measure and analysis come from files alone."""
    sentences = [f"{kind} {text}" for kind, (texts, _) in KINDS_DRAWN.items() for text in texts]
    sentences = [one for one in sentences if not one.startswith("then")]
    frame = lesioned(sentences, rising(len(sentences)), metrics=["top1", "loss", "kl"])
    lengths = range(5)
    paths = pd.DataFrame({"length": lengths, "paths": pd.Series([1, 4, 6, 4, 1], dtype=object)})
    for name in ("coherent", "rms", "mean"):
        paths[f"gradient_{name}"] = [0.5**k for k in lengths]
        paths[f"gradient_{name}_log10"] = np.log10(paths[f"gradient_{name}"])
    paths["gradient_rms_se"] = 0.0
    paths["gradient_mean_low"] = paths["gradient_mean_high"] = paths["gradient_mean"]
    paths.attrs = {"analysis": "paths", "direction": "gradient", "model": "tiny"}
    write_frame(frame, tmp_path / "lesions.csv")
    write_frame(paths, tmp_path / "paths.json")
    code = """
import sys
from ensembles.plots import plot_lesions
from ensembles.plots.paths import plot_paths
from ensembles.report import Page, page, section_of
from ensembles.tables import read_frame
lesions, paths = read_frame("lesions.csv"), read_frame("paths.json")
plot_lesions(lesions, "a.png", metric="kl")
plot_paths(paths, "b.png")
page(Page("x", (), (section_of(lesions, "lesions"), section_of(paths, "paths"))))
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


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
