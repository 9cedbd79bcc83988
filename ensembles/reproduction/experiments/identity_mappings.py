"""Identity mappings (He et al. 2016, arXiv 1603.05027): eleven blocks trained alike, and lesioned.

The paper compares blocks by the error of networks of 110 and 164 layers. Here networks of one depth
are trained with one short recipe, and beside the error stand what deleting each block costs and how
the gradient divides over path lengths. Every network is kept when it is trained, and training goes
on from its last epoch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.axes import Axes

from ensembles.errors import EvaluationError
from ensembles.models import architecture
from ensembles.models.identity_mappings import DEPTHS, VARIANTS
from ensembles.plots.layout import Panel, draw_panels
from ensembles.plots.lesions import error_by_block
from ensembles.plots.paths import shares_by_length
from ensembles.reproduction.criteria import intact_error, singles, spread
from ensembles.reproduction.experiment import Comparison, Experiment, Part, Parts, Picture
from ensembles.reproduction.image_spectra import (
    add_parts,
    effective_intervals,
    join_images,
    pooled,
)
from ensembles.reproduction.judgements import Claim, Finding, Frames
from ensembles.reproduction.named import NotMeasured
from ensembles.reproduction.published import facts
from ensembles.statistics import wilson_interval
from ensembles.studies import Sweep

if TYPE_CHECKING:
    from ensembles.reproduction.bench import Bench
    from ensembles.reproduction.request import Request

__all__ = ["BLOCKS", "IdentityMappings", "Training", "training_for"]

BLOCKS = (*VARIANTS, "full-preact")
"""The blocks of tables 1 and 2; gating of the shortcut with two starting biases."""

_TABLE_1 = tuple(name for name in BLOCKS[:7])
_TABLE_2 = ("original", *BLOCKS[7:])
_PANELS = (
    ("original", "constant-scaling", "conv-shortcut", "dropout-shortcut"),
    ("original", "exclusive-gating", "shortcut-gating", "shortcut-gating-0"),
    _TABLE_2,
)
_PUBLISHED_DEPTH = 110


@dataclass(frozen=True)
class Training:
    """Which networks are trained, and how long.

    Attributes:
        depth: Weight layers, one of `ensembles.models.identity_mappings.DEPTHS`.
        epochs: Passes over the training images; None for the recipe's own number.
        recipe: The recipe of all networks.
        limit: At most so many training images.
        blocks: Some of `BLOCKS`.
    """

    depth: int = 20
    epochs: int | None = None
    recipe: str = "short"
    limit: int | None = None
    blocks: tuple[str, ...] = BLOCKS


def training_for(request: Request) -> Training:
    """The training that a request asks for.

    The depth is that of the request's model where it is ``resnet20`` and the like, else 20; a quick
    look trains for three epochs on 256 images.
    """
    named = re.fullmatch(r"resnet(\d+)", request.model)
    depth = int(named[1]) if named and int(named[1]) in DEPTHS else 20
    recipe = "digits" if request.dataset == "digits" else "short"
    if request.scale.quick:
        return Training(depth, 3, recipe, 256)
    return Training(depth, None, recipe)


class IdentityMappings(Experiment):
    """Networks with eleven blocks are trained alike, lesioned, and taken apart into paths.

    Args:
        training: Which networks are trained; by default as the request asks for.
    """

    key = "identity-mappings"
    title = "Identity mappings: eleven blocks trained alike"
    about = (
        "He et al. (2016, arXiv 1603.05027) change the shortcut (table 1) and move BatchNorm and "
        "ReLU (table 2). The networks are trained with one short recipe; each block is deleted in "
        "turn, and the gradient divided over path lengths.",
    )
    trains = True

    def __init__(self, training: Training | None = None) -> None:
        self._training = training

    def parts(self, bench: Bench) -> Parts:
        """Train the networks; of each, ``deletions BLOCK`` and ``paths BLOCK`` are measured."""
        training = self._training or training_for(bench.request)
        parts = Parts()
        for block in training.blocks:
            with parts.part(f"deletions {block}"):
                name = network_name(block, training.depth)
                weights = _trained(bench, training, name)
                network = bench.known(name, str(weights), bench.images, label=name)
                parts[f"deletions {block}"] = Part(network, bench.images, bench.sweep(Sweep()))
                add_parts(parts, f"paths {block}", bench.spectra(network))
        return parts

    def frames(self, measured: Frames, bench: Bench) -> Frames:
        """Name each table after its block, and add ``summary``, a row for each network."""
        training = self._training or training_for(bench.request)
        for block in training.blocks:
            join_images(measured, f"paths {block}")
        for name, frame in measured.items():
            frame.attrs["model"] = name.partition(" ")[2]
        with measured.part("summary"):
            measured["summary"] = _summary(measured, training)
        return measured

    def claims(self) -> tuple[Claim, ...]:
        """See the base class."""
        return (
            _claim("The identity is the best shortcut (table 1)", "original", _TABLE_1),
            _claim("Full pre-activation is the best order (table 2)", "full-preact", _TABLE_2),
        )

    def draw(self, frames: Frames) -> list[Picture]:
        """See the base class."""
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
                drawn_panels = [Panel(name, partial(draw, panel)) for panel in panels]
                pictures.append(Picture(draw_panels(drawn_panels, height=2.6), caption))
        return pictures

    def compare(self, frames: Frames) -> list[Comparison]:
        """See the base class."""
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


def network_name(block: str, depth: int) -> str:
    """Name of the architecture with a block of `BLOCKS`."""
    return f"resnet{depth}" if block == "original" else f"resnet{depth}-{block}"


def _trained(bench: Bench, training: Training, name: str) -> Path:
    """The weights of a network, trained now unless it was before."""
    from ensembles.training import train  # noqa: PLC0415 (an extra)

    request = bench.request
    try:
        result = train(
            name,
            request.dataset,
            out=bench.folder / "trained" / name,
            recipe=training.recipe,
            epochs=training.epochs,
            limit=training.limit,
            seed=request.seed,
            device=request.device,
            resume=True,
            report=lambda line: bench.say(f"{name}: {line}"),
        )
    except EvaluationError as error:
        raise NotMeasured(str(error)) from error
    return Path(result.weights)


def _summary(frames: Frames, training: Training) -> pd.DataFrame:
    """One row for each network that was measured."""
    rows = []
    for block in training.blocks:
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
    table.attrs = {**first.attrs, "model": f"{len(rows)} networks of {training.depth} layers"}
    return table


def _published(block: str) -> float | None:
    """Error at 110 layers on CIFAR-10, a share."""
    if block == "original":
        return float(facts()["text"]["identity_mappings"]["original_error"])
    error = architecture(network_name(block, _PUBLISHED_DEPTH)).published_error
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


def _draw_deletions(panel: Sequence[pd.DataFrame], ax: Axes) -> None:
    error_by_block(*panel, ax=ax)


def _draw_gradients(panel: Sequence[pd.DataFrame], ax: Axes) -> None:
    shares_by_length(*map(pooled, panel), measure="gradient_rms", ax=ax)


def _claim(text: str, best: str, blocks: Sequence[str]) -> Claim:
    judge: Callable[[Frames], Finding] = partial(_lowest, best, blocks)
    errors = [(block, _published(block)) for block in blocks]
    listed = ", ".join(f"{b} {100 * e:.2f} %" for b, e in errors if e is not None)
    return Claim(
        text,
        f"the error with {best} is the lowest of the blocks that the row lists",
        listed,
        ("summary",),
        judge,
    )
