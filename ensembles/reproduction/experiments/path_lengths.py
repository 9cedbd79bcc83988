"""Figures 6a to 6c: how long paths are, and how much gradient each length carries."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ensembles.plots.layout import Panel, draw_panels
from ensembles.plots.paths import gradient_by_length, path_lengths, shares_by_length
from ensembles.plots.style import INK, legend_above, paper_style
from ensembles.reproduction.experiment import Comparison, Experiment, Parts, Picture
from ensembles.reproduction.image_spectra import (
    add_parts,
    decay,
    effective_intervals,
    join_images,
    pooled,
)
from ensembles.reproduction.judgements import Claim, Finding, Frames
from ensembles.reproduction.named import NotMeasured
from ensembles.reproduction.published import facts

if TYPE_CHECKING:
    from ensembles.reproduction.bench import Bench

__all__ = ["PathLengths", "add_effective"]

_MANY = 0.05
_STRAIGHT = 0.9
_BLOCKS = 54
_BROKEN = (0, (1, 0.5))
_SHALLOW = (
    "the upper end of the last length's bootstrap interval over images lies below half the number "
    "of blocks, the length of the typical path"
)


class PathLengths(Experiment):
    """The gradient of the loss at the input is taken apart by the length of paths."""

    key = "6"
    title = "Figures 6a to 6c: the lengths of paths, and their gradient"
    about = (
        "The gradient of the loss at the input is taken apart by the number of blocks that it "
        "passes: single paths drawn at random, as published, and all 2^n paths at once, exactly.",
    )

    def parts(self, bench: Bench) -> Parts:
        """See the base class."""
        parts = Parts()
        with parts.part("paths"):
            add_parts(parts, "paths", bench.spectra(bench.residual()))
        return parts

    def frames(self, measured: Frames, bench: Bench) -> Frames:
        """See the base class."""
        join_images(measured, "paths")
        add_effective(measured)
        return measured

    def claims(self) -> tuple[Claim, ...]:
        """See the base class."""
        known = facts()["text"]["effective_paths"]
        return (*_claims_about_single_paths(), *_claims_of_shallowness(), Claim(
            "The effective paths are few of all paths",
            "their share, to the upper end of its bootstrap interval, is less than 5 %",
            f"{100 * known['share']:.2f} %",
            ("paths", "effective"),
            _few,
        ))  # fmt: skip

    def draw(self, frames: Frames) -> list[Picture]:
        """See the base class."""
        if "paths" not in frames:
            return []
        whole = frames["paths"]
        mean = pooled(whole)
        known = facts()["text"]

        def lengths(ax: Axes) -> None:
            path_lengths(mean, ax=ax)
            _mark(ax, known["lengths"], "95 % of paths, published")

        def shares(ax: Axes) -> None:
            shares_by_length(mean, ax=ax)
            _mark(ax, known["effective_paths"], "95% interval, published", below=4)

        panels = [
            Panel("lengths", lengths),
            Panel("gradient", partial(gradient_by_length, mean)),
            Panel("shares", shares),
        ]
        figure = draw_panels(panels, height=2.0)
        caption = (
            f"Paths of {whole.attrs['model']} by length, {whole.attrs['images']} images of this "
            "run: (a) their number, (b) the gradient of a single path at the input, (c) the "
            "product. Broken bars: what was published for 54 blocks on CIFAR-10 (Veit et al. 2016, "
            "section 4.3)."
        )
        return [Picture(figure, caption)]

    def compare(self, frames: Frames) -> list[Comparison]:
        """See the base class."""
        if "effective" not in frames:
            return []
        found = frames["effective"].copy()
        for name in ("share", "share_low", "share_high"):
            found[name.replace("share", "share of all paths").replace("_", " ") + " %"] = (
                100 * found.pop(name)
            )
        known = facts()["text"]["effective_paths"]
        published = {
            "measure": "published",
            "what": "mean norm of drawn paths x their number, 54 blocks, CIFAR-10",
            "first": known["first"],
            "last": known["last"],
            "share of all paths %": 100 * known["share"],
        }
        table = pd.concat([found, pd.DataFrame([published])], ignore_index=True)
        return [
            Comparison(
                table,
                "Effective paths: the shortest interval of lengths that holds 95 % of each "
                "measure; low and high are the ends of 95 % bootstrap intervals over images",
            )
        ]


def add_effective(frames: Frames) -> None:
    """Add the table ``effective``: the effective paths by each measure, with their intervals."""
    with frames.part("effective"):
        whole = frames["paths"]
        frames["effective"] = effective_intervals(whole)
        frames["effective"].attrs = dict(whole.attrs)


def _claims_about_single_paths() -> tuple[Claim, ...]:
    return (
        Claim(
            "More than 95 % of all paths go through 19 to 35 of 54 blocks",
            "the exact share of these lengths is more than 95 %",
            "more than 95 %",
            ("paths",),
            _lengths,
        ),
        Claim(
            "The gradient of a single path falls off exponentially with its length",
            "a line through the logarithm of the mean norm falls, by its bootstrap interval over "
            "images, and explains nine tenths of the variance or more",
            "roughly exponentially (figure 6b)",
            ("paths",),
            _exponential,
        ),
    )


def _claims_of_shallowness() -> tuple[Claim, ...]:
    known = facts()["text"]["effective_paths"]
    published = f"lengths {known['first']} to {known['last']}"
    drawn = f"{published} by the mean of drawn paths"
    texts = {
        "gradient_mean": (": 95 % of the gradient, as published (mean of drawn paths)", published),
        "gradient_rms": (" by the RMS norm over all paths, exact but for signs", drawn),
        "gradient_coherent": (" by the sum of all paths of a length, exact", drawn),
    }
    return tuple(
        Claim(
            f"The effective paths are shallow{how}",
            _SHALLOW,
            theirs,
            ("paths", "effective"),
            _shallow(measure),
        )
        for measure, (how, theirs) in texts.items()
    )


def _lengths(frames: Frames) -> Finding:
    known = facts()["text"]["lengths"]
    counts = _counts(frames["paths"])
    if len(counts) != _BLOCKS + 1:
        raise NotMeasured(f"published for {_BLOCKS} blocks, this network has {len(counts) - 1}")
    inside = sum(counts[length] for length in range(known["first"], known["last"] + 1))
    share = inside / sum(counts)
    return Finding(f"{100 * share:.2f} % of {sum(counts):.3g} paths", "", share > known["share"])


def _counts(whole: pd.DataFrame) -> list[int]:
    return [int(count) for count in whole.loc[whole["image"] == 0, "paths"]]


def _exponential(frames: Frames) -> Finding:
    slope, low, high, explained = decay(frames["paths"])
    return Finding(
        f"a factor of {10**-slope:.2f} a block; a line explains {explained:.1%} of the logarithm",
        f"factor {10**-high:.2f} to {10**-low:.2f}",
        high < 0 and explained >= _STRAIGHT,
    )


def _shallow(measure: str) -> Callable[[Frames], Finding]:
    def judge(frames: Frames) -> Finding:
        row = _effective(frames, measure)
        typical = (len(_counts(frames["paths"])) - 1) / 2
        return Finding(
            f"lengths {row['first']:.0f} to {row['last']:.0f}",
            f"first {row['first_low']:.0f} to {row['first_high']:.0f}, "
            f"last {row['last_low']:.0f} to {row['last_high']:.0f}",
            bool(row["last_high"] < typical),
        )

    return judge


def _few(frames: Frames) -> Finding:
    row = _effective(frames, "gradient_mean")
    return Finding(
        f"{100 * row['share']:.3g} %",
        f"{100 * row['share_low']:.3g} to {100 * row['share_high']:.3g} %",
        bool(row["share_high"] < _MANY),
    )


def _effective(frames: Frames, measure: str) -> dict[str, Any]:
    rows = frames["effective"].to_dict("records")
    found = next(row for row in rows if row["measure"] == measure)
    if pd.isna(found["last_high"]):
        raise NotMeasured("the gradients are not finite")
    return {str(name): value for name, value in found.items()}


def _mark(ax: Axes, known: dict[str, int], label: str, below: int = 0) -> None:
    """Add the published interval of lengths, below the axis or at the top, and to the legend."""
    height = -0.035 * below if below else 0.97
    with paper_style():
        ax.plot(
            [known["first"], known["last"]], [height, height], lw=2.5, color=INK,
            linestyle=_BROKEN, dash_capstyle="butt", transform=ax.get_xaxis_transform(),
            clip_on=False,
        )  # fmt: skip
        legend = ax.get_legend()
        handles = list(legend.legend_handles) if legend is not None else []
        bar = Line2D([], [], color=INK, lw=2.5, linestyle=_BROKEN, label=label)
        legend_above(ax, [*(handle for handle in handles if handle is not None), bar])
        if below:
            ax.tick_params(axis="x", pad=3 + 3 * below)
