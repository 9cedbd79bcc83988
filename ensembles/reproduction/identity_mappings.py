"""Identity mappings (He et al. 2016, arXiv 1603.05027): eleven blocks trained alike, and lesioned.

The paper compares blocks by the error of networks of 110 and 164 layers. Here networks of one depth
are trained with one short recipe, and beside the error stand what deleting each block costs and how
the gradient divides over path lengths. Every network is kept when it is trained, and training goes
on from its last epoch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from ensembles.analyses.path_columns import relative
from ensembles.checkpoints import Subject, open_subject
from ensembles.errors import EvaluationError, PathError
from ensembles.lesions import single_deletions
from ensembles.models import architecture
from ensembles.models.identity_mappings import DEPTHS, VARIANTS
from ensembles.plots.lesions import error_by_block
from ensembles.plots.style import legend_above, look, new_figure, paper_style
from ensembles.reproduction.bench import Bench, Setting
from ensembles.reproduction.experiment import (
    Claim,
    Comparison,
    Experiment,
    Finding,
    Frames,
    Picture,
)
from ensembles.reproduction.shapes import intact_error, singles, spread
from ensembles.reproduction.spectra import effective_intervals, pooled
from ensembles.reproduction.unmeasured import NotMeasured
from ensembles.statistics import wilson_interval
from ensembles.training import train

__all__ = ["BLOCKS", "EXPERIMENT", "Study", "measure_study", "study_for"]

BLOCKS = (*VARIANTS, "full-preact")
"""The blocks of tables 1 and 2; gating of the shortcut with two starting biases."""

_TABLE_1 = tuple(name for name in BLOCKS[:7])
_TABLE_2 = ("original", *BLOCKS[7:])
_PANELS = (
    ("original", "constant-scaling", "conv-shortcut", "dropout-shortcut"),
    ("original", "exclusive-gating", "shortcut-gating", "shortcut-gating-0"),
    _TABLE_2,
)
_ORIGINAL_PUBLISHED = 6.61  # table 1, mean of five; He et al. 2015 state their best, 6.43
_DEEP = 110


@dataclass(frozen=True)
class Study:
    """Which networks are trained, and how long.

    Attributes:
        depth: Weight layers, one of `ensembles.models.identity_mappings.DEPTHS`.
        epochs: Passes over the training images; None for the recipe's own number.
        recipe: Of all networks.
        limit: At most so many training images.
        blocks: Some of `BLOCKS`.
    """

    depth: int = 20
    epochs: int | None = None
    recipe: str = "short"
    limit: int | None = None
    blocks: tuple[str, ...] = BLOCKS


def study_for(setting: Setting) -> Study:
    """The study that a setting asks for.

    The depth is that of the setting's model where it is ``resnet20`` and the like, else 20; a quick
    look trains for three epochs on 256 images.
    """
    named = re.fullmatch(r"resnet(\d+)", setting.model)
    depth = int(named[1]) if named and int(named[1]) in DEPTHS else 20
    recipe = "digits" if setting.dataset == "digits" else "short"
    if setting.scale.quick:
        return Study(depth, 3, recipe, 256)
    return Study(depth, None, recipe)


def network_name(block: str, depth: int) -> str:
    """Name of the architecture with a block of `BLOCKS`."""
    return f"resnet{depth}" if block == "original" else f"resnet{depth}-{block}"


def measure_study(bench: Bench, study: Study) -> Frames:
    """Train the networks of a study, delete each of their blocks, and analyse their paths.

    Args:
        bench: Where it is measured; trained networks are kept in its folder.
        study: Which networks.

    Returns:
        For each block the tables ``deletions BLOCK``, as :func:`ensembles.lesion`, and ``paths
        BLOCK``, as :func:`ensembles.reproduction.spectra.stacked`; and ``summary``, a row for each.
    """
    frames = Frames()
    for block in study.blocks:
        with frames.part(f"deletions {block}"):
            subject = _trained(bench, study, block)
            deletions = single_deletions(len(subject.net))
            frame = bench.lesions(subject, deletions, "deleting each block")
            frame.attrs["model"] = block
            frames[f"deletions {block}"] = frame
        if f"deletions {block}" not in frames:
            continue
        with frames.part(f"paths {block}"), _left_open(PathError):
            whole = bench.spectra(subject)
            whole.attrs["model"] = block
            frames[f"paths {block}"] = whole
    with frames.part("summary"):
        frames["summary"] = _summary(frames, study)
    return frames


@contextmanager
def _left_open(*kinds: type[Exception]) -> Iterator[None]:
    """Turn errors of one network into a reason why it is not measured."""
    try:
        yield
    except kinds as error:
        raise NotMeasured(str(error)) from error


def _trained(bench: Bench, study: Study, block: str) -> Subject:
    """A network of the study, trained now unless it was before."""
    chosen = bench.setting
    name = network_name(block, study.depth)
    with _left_open(EvaluationError):
        result = train(
            name,
            chosen.dataset,
            out=bench.folder / "trained" / name,
            recipe=study.recipe,
            epochs=study.epochs,
            limit=study.limit,
            seed=chosen.seed,
            device=chosen.device,
            resume=True,
            report=lambda line: bench.say(f"{name}: {line}"),
        )
    subject = open_subject(
        name,
        result.weights,
        dataset=chosen.dataset,
        split=chosen.split,
        limit=chosen.scale.images,
        device=chosen.device,
        check=False,
    )
    bench.networks[name] = subject
    return subject


def _summary(frames: Frames, study: Study) -> pd.DataFrame:
    """One row for each network that was measured."""
    rows = []
    for block in study.blocks:
        if f"deletions {block}" not in frames:
            continue
        frame = frames[f"deletions {block}"]
        whole = frame[frame["lesion"] == "none"].iloc[0]
        low, high = wilson_interval(int(whole["correct"]), int(whole["total"]))
        errors = singles(frame)["error"]
        rows.append(
            {
                "block": block,
                "error": intact_error(frame),
                "low": 1 - float(high),
                "high": 1 - float(low),
                "published": _published(block),
                "median": float(errors.median()),
                "worst": float(errors.max()),
                "effective": _effective(frames, block),
            }
        )
    if not rows:
        raise NotMeasured("no network of the study was measured")
    table = pd.DataFrame(rows)
    first = frames[f"deletions {rows[0]['block']}"]
    table.attrs = {**first.attrs, "model": f"{len(rows)} networks of {study.depth} layers"}
    return table


def _published(block: str) -> float | None:
    """Error at 110 layers on CIFAR-10, a share."""
    error = architecture(network_name(block, _DEEP)).published_error
    error = _ORIGINAL_PUBLISHED if block == "original" else error
    return None if error is None else error / 100


def _effective(frames: Frames, block: str) -> str:
    """The lengths that hold 95 % of the gradient of single paths."""
    if f"paths {block}" not in frames:
        return ""
    row = effective_intervals(frames[f"paths {block}"]).set_index("measure").loc["gradient_rms"]
    return "" if pd.isna(row["first"]) else f"{row['first']:.0f} to {row['last']:.0f}"


def _lowest(best: str, blocks: Sequence[str], frames: Frames) -> Finding:
    """Whether one block has the lowest error of several."""
    table = frames["summary"].set_index("block")
    missing = [block for block in blocks if block not in table.index]
    if missing:
        raise NotMeasured(f"not trained: {', '.join(missing)}")
    chance = float(table.attrs["chance"])
    if float(table.loc[list(blocks), "high"].min()) >= chance:
        raise NotMeasured(
            f"none of these networks errs less often than guessing ({100 * chance:.0f} %) for "
            "sure: train longer, without --quick"
        )
    errors = table.loc[list(blocks), "error"]
    listed = ", ".join(f"{block} {100 * error:.2f} %" for block, error in errors.items())
    low, high = (table[end].astype(float)[best] for end in ("low", "high"))
    return Finding(
        listed,
        f"{best} {spread(low, high)}",
        bool(errors[best] < errors.drop(best).min()),
    )


def _draw(frames: Frames) -> list[Picture]:
    told = "measured in this run; networks trained alike"
    drawn = (
        (_draw_deletions, "deletions", f"Error after deleting each block, {told}."),
        (
            _draw_gradients,
            "paths",
            "Share of the gradient that paths of each length carry (RMS norm of a single path "
            f"times the number of paths), {told}.",
        ),
    )
    pictures = []
    for draw, name, caption in drawn:
        panels = [
            [frames[f"{name} {block}"] for block in panel if f"{name} {block}" in frames]
            for panel in _PANELS
        ]
        panels = [panel for panel in panels if panel]
        if panels:
            figure, axes = new_figure(len(panels), height=2.6)
            for ax, panel in zip(axes, panels, strict=True):
                draw(panel, ax)
            pictures.append(Picture(figure, caption))
    return pictures


def _draw_deletions(panel: Sequence[pd.DataFrame], ax: Axes) -> None:
    error_by_block(*panel, ax=ax)


def _draw_gradients(panel: Sequence[pd.DataFrame], ax: Axes) -> None:
    with paper_style():
        lines = []
        for place, whole in enumerate(panel):
            table = pooled(whole)
            counts = [int(number) for number in table["paths"]]
            values = relative(table["gradient_rms_log10"].to_numpy(dtype=float), counts)
            shares = values / values.sum()
            lines += ax.plot(
                table["length"], shares, label=whole.attrs["model"], lw=1, markersize=3,
                **look(place).line,
            )  # fmt: skip
        ax.set_ylim(bottom=0)
        ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        ax.set_ylabel("Share of the gradient")
        ax.set_xlabel("Path length (blocks)")
        legend_above(ax, lines)


def _compare(frames: Frames) -> list[Comparison]:
    if "summary" not in frames:
        return []
    table = frames["summary"]
    shares = {
        "error": "error %",
        "published": "published, 110 layers %",
        "median": "median after one deletion %",
        "worst": "worst %",
    }
    shown = table[["block"]].assign(
        **{new: 100 * table[old].astype(float) for old, new in shares.items()},
        effective=table["effective"],
    )
    return [
        Comparison(
            shown.rename(columns={"effective": "lengths with 95 % of the gradient"}),
            "The blocks of tables 1 and 2; published: He et al. 2016, CIFAR-10",
        )
    ]


def _claim(text: str, best: str, blocks: Sequence[str]) -> Claim:
    judge: Callable[[Frames], Finding] = partial(_lowest, best, blocks)
    errors = [(block, _published(block)) for block in blocks]
    listed = ", ".join(f"{b} {100 * e:.2f} %" for b, e in errors if e is not None)
    return Claim(text, "its error is the lowest of these blocks", listed, ("summary",), judge)


EXPERIMENT = Experiment(
    "identity-mappings",
    "Identity mappings: eleven blocks trained alike",
    (
        "He et al. (2016, arXiv 1603.05027) change the shortcut (table 1) and move BatchNorm and "
        "ReLU (table 2). The networks are trained with one short recipe; each block is deleted in "
        "turn, and the gradient divided over path lengths.",
    ),
    (
        _claim("The identity is the best shortcut (table 1)", "original", _TABLE_1),
        _claim("Full pre-activation is the best order (table 2)", "full-preact", _TABLE_2),
    ),
    lambda bench: measure_study(bench, study_for(bench.setting)),
    _draw,
    _compare,
)
