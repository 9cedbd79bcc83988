r"""Draw the pictures of the pages from the tables beside them.

    ensembles lesion --model resnet110 --model vgg15 --out docs/figures/lesion-digits.csv
    ensembles lesion --checkpoint tf_efficientnet_lite0-imagenet-wheel \
        --checkpoint tf_efficientnet_lite1-imagenet-wheel \
        --checkpoint tf_efficientnet_lite2-imagenet-wheel --dataset FOLDER \
        --metrics top1,loss,top5,kl --out docs/figures/lesion-imagenet.csv
    ensembles lesion --checkpoint tf_efficientnet_lite0-imagenet-wheel --dataset FOLDER \
        --metrics top1,loss,top5,kl --count 1-9 --trials 5 --out docs/figures/random-imagenet.csv
    ensembles paths --out docs/figures/paths-digits.csv
    ensembles analyze execution --model resnet110 --out docs/figures/execution-resnet110.csv
    ensembles analyze execution --model gpt12 --rows 4 --window 128 \
        --out docs/figures/execution-gpt12.csv
    ensembles analyze sublayers --model gpt12 --rows 16 --out docs/figures/sublayers-gpt12.csv
    ensembles analyze sublayers --model vit12 --rows 0 --out docs/figures/sublayers-vit12.csv
    ensembles analyze refinement --out docs/figures/refinement-resnet110.csv
    ensembles analyze repair --out docs/figures/repair-resnet110.csv
    ensembles analyze repair --model gpt12 --rows 16 --out docs/figures/repair-gpt12.csv
    ensembles family --parameters 25k --depths 8,14,20,32,56 --epochs 20 --out runs/family
    ensembles family --out runs/family-250k
    ensembles family --families perceptron --depths 2,3,4,6,8,14 --out runs/perceptron
        # frames/family-networks.csv is docs/figures/family-residual.csv, family-residual-250k.csv
        # and family-perceptron.csv
    ensembles reproduce --quick --out paper      # paper/frames/ is docs/figures/reproduction/
    ensembles reproduce --paper gavrikov2024 --quick --figure criticality --out paper
    ensembles reproduce --figure 3,6,stochastic-depth,depth --dataset path/to/cifar10-jpeg \
        --out paper-cifar
    ensembles reproduce --figure 5a,5b --limit 1000 --dataset path/to/cifar10-jpeg --out sweeps
    ensembles reproduce --paper gavrikov2024 --figure criticality-trainings --limit 16 \
        --dataset path/to/cifar10-jpeg --out trainings
        # of these three, what is drawn is docs/figures/reproduction-cifar/
    python docs/figures/draw.py

Each picture bears the hash of its tables and of what is drawn of them, so that a test notices one
that is older than its table, or than the program that draws it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image, PngImagePlugin

import ensembles
from ensembles.plots import (
    plot_execution,
    plot_recalibration,
    plot_refinement,
    plot_repair,
    plot_sublayers,
)
from ensembles.plots.family import plot_family
from ensembles.reproduction.experiments import experiment
from ensembles.reproduction.named import Named

HERE = Path(__file__).parent
Draw = Callable[[Sequence[pd.DataFrame]], Figure]


def of_experiment(key: str, *names: str) -> Draw:
    """The figure of an experiment of ``ensembles reproduce``, from its tables."""

    def draw(frames: Sequence[pd.DataFrame]) -> Figure:
        named: Named[pd.DataFrame] = Named()
        named.update(zip(names, frames, strict=True))
        [picture] = experiment(key).draw(named)
        return picture.figure

    return draw


def of_networks(frames: Sequence[pd.DataFrame]) -> Figure:
    """The figure of networks of equal size."""
    return plot_family(*frames)


PICTURES: dict[str, tuple[tuple[str, ...], Draw]] = {
    "family-residual": (("family-residual",), of_networks),
    "family-residual-250k": (("family-residual-250k",), of_networks),
    "family-perceptron": (("family-perceptron",), of_networks),
    "lesion-digits": (("lesion-digits",), ensembles.plot_lesions),
    "lesion-imagenet": (("lesion-imagenet",), ensembles.plot_lesions),
    "random-imagenet": (("random-imagenet",), ensembles.plot_lesions),
    "paths-digits": (("paths-digits",), ensembles.plot_paths),
    "recalibration": (("recalibration",), plot_recalibration),
    "execution-resnet110": (("execution-resnet110",), plot_execution),
    "execution-gpt12": (("execution-gpt12",), plot_execution),
    "sublayers-vit12": (("sublayers-vit12",), plot_sublayers),
    "sublayers-gpt12": (("sublayers-gpt12",), plot_sublayers),
    "refinement-resnet110": (("refinement-resnet110",), plot_refinement),
    "repair-resnet110": (("repair-resnet110",), plot_repair),
    "repair-gpt12": (("repair-gpt12",), plot_repair),
    "reproduction-3": (
        ("reproduction/3-residual", "reproduction/3-plain"),
        of_experiment("3", "residual", "plain"),
    ),
    "reproduction-5a": (("reproduction/5a-delete",), of_experiment("5a", "delete")),
    "reproduction-6": (("reproduction/6-paths",), of_experiment("6", "paths")),
    "reproduction-criticality": (
        ("reproduction/criticality-residual", "reproduction/criticality-plain"),
        of_experiment("criticality", "residual", "plain"),
    ),
    "reproduction-cifar-3": (
        ("reproduction-cifar/3-residual", "reproduction-cifar/3-plain"),
        of_experiment("3", "residual", "plain"),
    ),
    "reproduction-cifar-5a": (("reproduction-cifar/5a-delete",), of_experiment("5a", "delete")),
    "reproduction-cifar-5b": (("reproduction-cifar/5b-reorder",), of_experiment("5b", "reorder")),
    "reproduction-cifar-6": (("reproduction-cifar/6-paths",), of_experiment("6", "paths")),
    "reproduction-cifar-stochastic-depth": (
        ("reproduction-cifar/3-residual", "reproduction-cifar/stochastic-depth-stochastic-depth"),
        of_experiment("stochastic-depth", "ordinary", "stochastic depth"),
    ),
    "reproduction-cifar-depth": (
        ("reproduction-cifar/depth-depths",),
        of_experiment("depth", "depths"),
    ),
    "reproduction-cifar-criticality-trainings": (
        (
            "reproduction-cifar/criticality-trainings-ordinary",
            "reproduction-cifar/criticality-trainings-stochastic-depth",
            "reproduction-cifar/criticality-trainings-paths-only",
        ),
        of_experiment("criticality-trainings", "ordinary", "stochastic depth", "paths only"),
    ),
}
"""The tables of each picture, and what draws them.

Other pictures are of long runs, whose tables are not kept here; their pages give the commands.
"""


def tables_of(name: str) -> list[Path]:
    """The files that a picture is drawn from."""
    return [HERE / f"{table}.csv" for table in PICTURES[name][0]]


def drawn(name: str) -> Figure:
    """A picture, anew."""
    return PICTURES[name][1]([ensembles.read_frame(table) for table in tables_of(name)])


def marks_of(name: str, figure: Figure) -> dict[str, str]:
    """Hashes of a picture's tables, and of its texts and curves to four digits."""
    tables = hashlib.sha256(b"".join(table.read_bytes() for table in tables_of(name)))
    panels = json.dumps([_panel(ax) for ax in figure.axes])
    return {"Table": tables.hexdigest(), "Drawing": hashlib.sha256(panels.encode()).hexdigest()}


def _panel(ax: Any) -> list[Any]:
    legend = ax.get_legend()
    texts = [] if legend is None else [text.get_text() for text in legend.get_texts()]
    texts += [ax.get_title(), ax.get_xlabel(), ax.get_ylabel(), ax.get_xscale(), ax.get_yscale()]
    curves = [
        [f"{float(number):.4g}" for number in np.ravel(line.get_xydata())] for line in ax.lines
    ]
    return [[" ".join(text.split()) for text in texts], curves]


def small(picture: Path) -> None:
    """Give a picture at most 256 colours, which is a third of the size; its marks stay."""
    with Image.open(picture) as image:
        image.load()
        if image.mode == "P":
            return
        told = PngImagePlugin.PngInfo()
        for key, mark in getattr(image, "text", {}).items():
            told.add_text(key, mark)
        few = image.convert("RGB").quantize(256, dither=Image.Dither.NONE)
        few.save(picture, pnginfo=told, dpi=image.info.get("dpi", (300, 300)), optimize=True)


def main() -> None:
    """Draw them all, and make all of this folder small."""
    for name in PICTURES:
        figure, picture = drawn(name), HERE / f"{name}.png"
        ensembles.plots.save_figure(figure, picture)
        told = PngImagePlugin.PngInfo()
        for key, mark in marks_of(name, figure).items():
            told.add_text(key, mark)
        with Image.open(picture) as image:
            image.load()
            image.save(picture, pnginfo=told, dpi=(300, 300))
    for picture in HERE.glob("*.png"):
        small(picture)


if __name__ == "__main__":
    main()
