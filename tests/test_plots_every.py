"""Every public function that draws: axes of the caller's own, labels, colours, legend."""

from __future__ import annotations

import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

from ensembles import plots
from ensembles.analyses import ANALYSES
from ensembles.errors import UsageError
from ensembles.plots.style import tint
from ensembles.tables import read_frame, split_frames

ROOT = Path(__file__).parent.parent
OTHERS = {"FIGURES", "figure_width", "paper_style", "save_figure"}
OF_A_NETWORK = "plot_structure"
"""Draws a network and not a table; its test is in ``test_decomposition_inspect``."""
NAMES = sorted({*plots.__all__} - {*OTHERS, OF_A_NETWORK})
BENEATH = {"heat_map", "heat_maps", "network_panels"}
"""What ``plot_analysis`` and others draw by; ``test_plots_options`` tests the first two."""
Draw = Callable[..., Any]


def drawn(name: str) -> Draw:
    found: Draw = getattr(plots, name)
    return found


def lesions() -> pd.DataFrame:
    frame = split_frames(read_frame(ROOT / "docs/figures/lesion-digits.csv"))[1]
    attrs, frame = frame.attrs, frame.iloc[:9].copy()
    frame.attrs = attrs
    return frame


def spectrum() -> pd.DataFrame:
    return read_frame(ROOT / "docs/figures/paths-digits.csv")


def logits() -> pd.DataFrame:
    return read_frame(ROOT / "tests/data/study-version-1/logits.csv")


def sets() -> pd.DataFrame:
    rows = [("delete", k, f"{k} {k + 1}", k / 10 + i / 100) for k in (2, 3) for i in range(6)]
    frame = pd.DataFrame(rows, columns=["lesion", "count", "blocks", "error"])
    frame.attrs = {"model": "net", "chance": 0.9}
    return frame


def reorders() -> pd.DataFrame:
    taus = np.linspace(0.8, 1, 60)
    frame = pd.DataFrame({"kendall_tau": taus, "error": 1 - taus})
    frame = frame.assign(lesion="reorder", count=1, blocks="1-2")
    frame.attrs = {"model": "net", "chance": 0.9}
    return frame


def quartiles() -> pd.DataFrame:
    sizes = np.arange(1, 6)
    frame = pd.DataFrame({"count": sizes, "q1": 0.1, "median": sizes / 8, "q3": sizes / 7})
    frame.attrs = {"model": "net", "chance": 0.9}
    return frame


def by_block(**columns: object) -> pd.DataFrame:
    frame = pd.DataFrame({"block": range(1, 7), **columns})
    frame.attrs = {"model": "net", "observations": 1000, "observation": "image", "chance": 0.9}
    return frame


RISING = np.linspace(0.2, 0.8, 6)


def with_ends(name: str) -> dict[str, object]:
    return {name: RISING, f"{name}_low": RISING - 0.1, f"{name}_high": RISING + 0.1}


def influence() -> pd.DataFrame:
    same = dict.fromkeys(("influence", "branch_ratio", "branch_cosine", "loss_rise"), RISING)
    return by_block(against="input", **same)


def criticality() -> pd.DataFrame:
    parts = [by_block(variant=name, **with_ends("recovered")) for name in ("initial", "fresh")]
    frame = pd.concat(parts, ignore_index=True)
    frame.attrs = dict(parts[0].attrs)
    return frame


def recalibration() -> pd.DataFrame:
    frame = by_block(
        error=RISING, error_recalibrated=RISING / 2,
        error_gain_low=RISING / 2 - 0.05, error_gain_high=RISING / 2 + 0.05,
    )  # fmt: skip
    frame.attrs["intact_error"] = 0.05
    return frame


def depth() -> pd.DataFrame:
    return by_block(overlap=RISING, branch_cosine=RISING, **with_ends("kl"))


def execution() -> pd.DataFrame:
    rows = [
        (variant, first, first + length - 1, length, 0.1 * length, 0.05, 0.5)
        for variant in ("skip", "parallel", "twice")
        for length in (2, 4)
        for first in (1, 3, 5)
    ]
    rows += [("swap", first, first + 1, 2, 0.1, 0.05, 0.2) for first in range(1, 6)]
    ends = ["loss_rise", "loss_rise_low", "loss_rise_high"]
    frame = pd.DataFrame(rows, columns=["variant", "first", "last", "length", *ends])
    frame.attrs = {"model": "net", "observations": 1000, "observation": "image"}
    return frame


def interchange() -> pd.DataFrame:
    pairs = [(a, b) for a in range(1, 6) for b in range(1, 6) if a != b]
    rows = [(a, b, abs(a - b), 0.1 * (a + b), 0.2 * (a + b)) for a, b in pairs]
    frame = pd.DataFrame(rows, columns=["block", "other", "distance", "replaced", "exchanged"])
    frame.attrs = {"model": "net", "observations": 1000, "observation": "image"}
    return frame


def sublayers() -> pd.DataFrame:
    alone = by_block(**with_ends("loss_rise")).rename(columns={"block": "layer"})
    parts = [
        alone.assign(removed=kind, order=order, step=alone["layer"], share=alone["layer"] / 6)
        for kind in ("attention", "mlp")
        for order in ("alone", "loss")
    ]
    frame = pd.concat(parts, ignore_index=True)
    frame.attrs = dict(alone.attrs)
    return frame


def diversity() -> pd.DataFrame:
    roles = ["intact", *["member"] * 3, *["average"] * 2]
    return by_block(
        role=roles, members=[1, 1, 1, 1, 2, 3], deleted=["", "1", "2", "3", "", ""], brier=RISING,
        **with_ends("error"), **with_ends("relative_disagreement"),
    )  # fmt: skip


def repair() -> pd.DataFrame:
    return by_block(**with_ends("direct"), **with_ends("total"))


def refinement() -> pd.DataFrame:
    plain = ("lens_cosine", "change", "first_order", "accuracy", "fitted_accuracy")
    return by_block(
        stage=[1, 1, 1, 2, 2, 2], error=RISING - 0.5, error_sd=0.1, **with_ends("cosine"),
        **dict.fromkeys(plain, RISING),
    )  # fmt: skip


def spectra() -> pd.DataFrame:
    columns = ("cancellation", "mean", "derivative", "held", "deleted")
    ends = {key: value for name in columns for key, value in with_ends(name).items()}
    frame = by_block(later=[6, 5, 4, 3, 2, 1], first=0, last=2, **ends)
    frame.attrs |= {"images": 8, "rows": 64}
    return frame


def family() -> pd.DataFrame:
    rows = [
        ("preresnet", depth, seed, 1 / depth + seed / 100, seed / 100 + 0.2, depth / 3)
        for depth in (8, 14, 20)
        for seed in range(3)
    ]
    names = ["family", "depth", "seed", "error", "median_rise", "rms_median"]
    return pd.DataFrame(rows, columns=names)


def capacity() -> pd.DataFrame:
    columns = ("accuracy", "learned", "random", "bits_each")
    ends = {key: value for name in columns for key, value in with_ends(name).items()}
    return pd.DataFrame({"parameters": 100 * np.arange(1, 7) ** 2, **ends})


def analysed(make: Callable[[], pd.DataFrame], name: str) -> Callable[[], pd.DataFrame]:
    def made() -> pd.DataFrame:
        frame = make()
        frame.attrs["analysis"] = name
        return frame

    return made


CURVES = {"cosine": "of the network", "lens_cosine": "of the network cut short"}
PANELS: dict[str, tuple[Callable[[], pd.DataFrame], dict[str, Any], list[str]]] = {
    "accuracy_by_length": (logits, {}, ["mine"]),
    "accuracy_by_size": (capacity, {}, ["mine", "other", "third"]),
    "average_by_members": (diversity, {}, ["mine"]),
    "bits_by_size": (capacity, {}, ["mine"]),
    "cancellation_by_block": (spectra, {}, ["mine"]),
    "cost_by_layer": (sublayers, {}, ["mine", "other"]),
    "cost_by_length": (execution, {}, ["mine", "other"]),
    "cost_by_share": (sublayers, {}, ["mine", "other"]),
    "cost_of_swaps": (execution, {}, ["mine"]),
    "curve_by_depth": (depth, {}, ["mine"]),
    "curve_by_layers": (family, {}, ["mine"]),
    "curves_by_block": (refinement, {"columns": CURVES, "label": "Cosine"}, ["mine", "other"]),
    "damage_by_proxy": (influence, {}, ["mine"]),
    "damage_recalibrated": (recalibration, {}, ["mine", "other"]),
    "disagreement_by_accuracy": (diversity, {}, ["mine"]),
    "divergence_by_distance": (interchange, {}, ["mine", "other"]),
    "effects_by_block": (repair, {}, ["mine", "other"]),
    "effects_in_three_ways": (spectra, {}, ["mine", "other", "third"]),
    "error_across_networks": (lesions, {}, ["mine"]),
    "error_by_block": (lesions, {}, ["mine"]),
    "error_by_count": (sets, {}, ["mine"]),
    "error_by_tau": (reorders, {}, ["mine"]),
    "error_quartiles": (quartiles, {"x": "count", "xlabel": "Blocks"}, ["mine"]),
    "estimation_errors": (refinement, {}, ["mine"]),
    "gradient_by_length": (spectrum, {}, ["mine"]),
    "length_by_network": (spectra, {}, ["mine"]),
    "lengths_by_block": (spectra, {}, ["mine"]),
    "logits_by_length": (logits, {}, ["mine"]),
    "path_lengths": (spectrum, {}, ["mine"]),
    "recovered_by_block": (criticality, {}, ["mine", "other"]),
    "shares_by_length": (spectrum, {}, ["mine"]),
    "total_by_direct": (repair, {}, ["mine"]),
}
"""A table, arguments, and labels of each function of one panel."""

FIGURES: dict[str, tuple[Callable[[], pd.DataFrame], int]] = {
    "plot_analysis": (analysed(depth, "depth"), 3),
    "plot_capacity": (capacity, 2),
    "plot_criticality": (criticality, 1),
    "plot_depth": (depth, 3),
    "plot_diversity": (diversity, 3),
    "plot_execution": (execution, 3),
    "plot_family": (family, 3),
    "plot_influence": (influence, 3),
    "plot_interchange": (interchange, 3),
    "plot_lesions": (lesions, 1),
    "plot_paths": (spectrum, 3),
    "plot_recalibration": (recalibration, 1),
    "plot_refinement": (refinement, 4),
    "plot_repair": (repair, 2),
    "plot_spectra": (spectra, 3),
    "plot_sublayers": (sublayers, 2),
}
"""A table and the number of panels of each function of whole figures."""

UNCOUNTED = {
    "accuracy_by_length", "accuracy_by_size", "bits_by_size", "curve_by_layers", "error_by_count",
    "error_by_tau", "error_quartiles", "logits_by_length", "path_lengths", "plot_capacity",
    "plot_family",
}  # fmt: skip
"""What is of networks or of paths and not of images, or whose table here counts none."""

THREE = {"plot_capacity": ["mine", "other", "third"]}
"""Labels of figures that take more than one."""


def new_axes(number: int = 1) -> list[Axes]:
    with plots.paper_style():
        figure = Figure(figsize=(4 * number, 3.5), layout="constrained")
        return list(np.ravel(figure.subplots(1, number)))


def legend(ax: Axes) -> list[str]:
    found = ax.get_legend()
    return [] if found is None else [text.get_text() for text in found.get_texts()]


def colours(ax: Axes) -> list[Any]:
    """Of lines and of areas, without their opacity."""
    areas = [face for part in ax.collections for face in np.atleast_2d(part.get_facecolor())]
    lines = [to_rgba(line.get_color()) for line in ax.lines]
    return [one[:3] for one in (*lines, *areas, *(patch.get_facecolor() for patch in ax.patches))]


def test_none_is_forgotten() -> None:
    assert {*PANELS, *FIGURES} == set(NAMES)
    modules = (import_module(f"ensembles.plots.{one.name}") for one in _modules())
    assert {name for module in modules for name in _drawing(module)} == (
        {*NAMES, OF_A_NETWORK} | BENEATH
    )
    listed = (ROOT / "docs" / "tables.md").read_text(encoding="utf-8")
    assert not [name for name in (*NAMES, OF_A_NETWORK) if f"`{name}`" not in listed]
    figures = (ANALYSES.get(name).figure for name in ANALYSES.names())
    assert {one.partition(":")[2] for one in figures if one.startswith("ensembles.")} <= set(NAMES)


def _modules() -> Iterator[pkgutil.ModuleInfo]:
    yield from pkgutil.iter_modules(plots.__path__)


def _drawing(module: ModuleType) -> Iterator[str]:
    """Functions of a module that draw a table or a network."""
    for name in getattr(module, "__all__", ()):
        if inspect.isfunction(found := getattr(module, name)):
            signature = inspect.signature(found)
            taken = " ".join(str(one.annotation) for one in signature.parameters.values())
            drawn = signature.return_annotation in ("Axes", "Figure")
            if drawn and ("DataFrame" in taken or "Decomposition" in taken):
                yield name


@pytest.mark.parametrize("name", [*NAMES, OF_A_NETWORK])
def test_all_take_the_same_options(name: str) -> None:
    taken = inspect.signature(drawn(name)).parameters
    assert {"labels", "colours", "legend"} <= set(taken)
    assert ("axes" if name in FIGURES else "ax") in taken
    for option in ("ax", "axes", "labels", "colours", "legend", "scale", "measure"):
        if option in taken:
            assert taken[option].kind is inspect.Parameter.KEYWORD_ONLY
            assert f"        {option}: " in inspect.getdoc(drawn(name)).replace(
                "\n    ", "\n        "
            )  # type: ignore[union-attr]


@pytest.mark.parametrize("name", PANELS)
def test_panels_are_drawn_into_axes_of_the_callers(name: str) -> None:
    make, options, labels = PANELS[name]
    frame = make()
    if name == "error_across_networks":
        frame = [frame, frame]  # type: ignore[assignment]
    draw = partial(drawn(name), frame, **options)
    (ax,) = new_axes()
    assert draw(ax=ax) is ax
    assert draw().figure is not ax.figure
    assert legend(draw(legend=False)) == []
    painted = ["#123456", "#654321", "#112233", "#332211"]
    wanted = [to_rgba(painted[0])[:3], tint(painted[0])]  # boxes are paler
    found = colours(draw(colours=painted))
    assert any(np.allclose(one, other) for one in wanted for other in found)
    with pytest.raises(UsageError, match="colours 'no'; expected names"):
        draw(colours=["no"])
    told = legend(draw(labels=labels))
    if len(labels) > 1 or any(one.startswith(labels[0]) for one in told):
        assert [one.partition(",")[0] for one in told][: len(labels)] == labels
    with pytest.raises(UsageError, match=rf"^{len(labels) + 1} labels for {len(labels)} "):
        draw(labels=[*labels, "more"])


@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_drawn_into_axes_of_the_callers(name: str, tmp_path: Path) -> None:
    make, number = FIGURES[name]
    axes = new_axes(number)
    frame, draw = make(), drawn(name)
    assert draw(frame, axes=axes) is axes[0].figure
    assert all(ax.has_data() for ax in axes)
    with pytest.raises(UsageError, match=f"{number + 1} axes for {number} panels"):
        draw(frame, axes=new_axes(number + 1))
    plain = draw(frame, legend=False)
    assert not any(map(legend, plain.axes)) and len(plain.axes) == number
    labels = THREE.get(name, ["mine"])
    draw(frame, tmp_path / "figure.png", labels=labels, colours=["#123456"])
    assert (tmp_path / "figure.png").stat().st_size > 5000
    named = draw(frame, labels=labels)
    texts = [text for ax in named.axes for text in (*legend(ax), ax.get_xlabel())]
    assert len(named.axes) == 1 or name == "plot_paths" or any("mine" in one for one in texts)
    given = len(labels) + 1
    with pytest.raises(UsageError, match=rf"^{given} labels for {len(labels)} (networks|curves)"):
        draw(frame, labels=[*labels, "more"])


@pytest.mark.parametrize("name", NAMES)
def test_legends_cover_nothing_and_say_what_bands_and_whiskers_are(name: str) -> None:
    if name in FIGURES:
        figure = drawn(name)(FIGURES[name][0]())
    else:
        make, options, _ = PANELS[name]
        given = [make(), make()] if name == "error_across_networks" else make()
        figure = drawn(name)(given, **options).figure
    FigureCanvasAgg(figure).draw()
    renderer = figure.canvas.get_renderer()
    if name not in UNCOUNTED:
        told = " ".join(text for ax in figure.axes for text in legend(ax))
        assert re.search(r"\d (image|token|window)s", told), told
    for ax in figure.axes:
        banded = any(type(one) is PolyCollection or "FillBetween" in type(one).__name__
                     for one in ax.collections)  # fmt: skip
        barred = any(isinstance(one, ErrorbarContainer) for one in ax.containers)
        if banded or barred:
            told = " ".join(text for one in figure.axes for text in legend(one))
            assert any(word in told for word in ("interval", "quartiles", "errors", "deviation")), (
                told
            )
        box = ax.get_legend()
        if box is not None:
            around = box.get_window_extent(renderer)
            assert around.y0 >= ax.get_window_extent(renderer).y1 - 1
            assert around.x0 >= 0 and around.x1 <= figure.bbox.x1 + 1
