"""Small tables of lesions as a sweep writes them, and what a figure shows of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ensembles.lesions import parse_lesion

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
N, TRANSITION = 12, 6
BLOCKS = [str(block) for block in range(1, N + 1)]


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


def lines(ax: Axes, label: str) -> list[Line2D]:
    return [line for line in ax.lines if line.get_label() == label]


def legend(ax: Axes) -> list[str]:
    drawn = ax.get_legend()
    assert drawn is not None
    return [text.get_text() for text in drawn.get_texts()]


def data(line: Line2D) -> tuple[list[float], list[float]]:
    return list(map(float, line.get_xdata())), list(map(float, line.get_ydata()))  # type: ignore[arg-type]
