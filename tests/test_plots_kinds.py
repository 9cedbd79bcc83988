"""Every kind of lesion has its figure, with its own words, settings and repetitions."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
from lesion_frames import (
    BLOCKS,
    BOX,
    COUNTED,
    INTACT,
    N,
    data,
    legend,
    lesioned,
    lines,
    rising,
    table,
)
from matplotlib.patches import PathPatch
from own_tests import without_own_test

from ensembles.errors import UsageError
from ensembles.lesions import KINDS, Delete, Words, setting
from ensembles.plots import (
    error_by_block,
    error_by_count,
    plot_lesions,
)
from ensembles.tables import write_frame

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
plot_lesions(lesions[lesions["lesion"].isin(["none", "delete"])], "a.png", metric="kl")
plot_paths(paths, "b.png")
page(Page("x", (), (section_of(lesions, "lesions"), section_of(paths, "paths"))))
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
