"""A network as stem, blocks with their shortcuts, and head."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, FancyBboxPatch, Patch, Rectangle

from ensembles.plots.layout import PaperFigure, figure_of
from ensembles.plots.style import (
    GREY,
    INK,
    curve_names,
    legend_above,
    look,
    paper_style,
    save_figure,
    width_of,
)

if TYPE_CHECKING:
    from ensembles.decomposition import Block, Decomposition

__all__ = ["plot_structure"]

_WIDTH = 6.75


@dataclass(frozen=True)
class _Look:
    """How the blocks of a kind are drawn.

    Attributes:
        fill: Colour of the branch.
        joint: Marker of where the branches meet: a ring, a square, or none.
        joint_name: What that is called.
        beside: Whether its branches are drawn beside each other.
    """

    fill: str
    joint: str = ""
    joint_name: str = ""
    beside: bool = False


_LOOKS = {
    "residual": _Look("#0072b2", "o", "addition"),
    "gated": _Look("#009e73", "o", "addition"),
    "two-stream": _Look("#cc79a7", "o", "addition"),
    "dense": _Look("#56b4e9", "s", "concatenation"),
    "parallel": _Look("#e69f00", "s", "concatenation", beside=True),
    "fractal": _Look("#d55e00", "o", "mean", beside=True),
}
"""The kinds that have a look of their own, in the order of the legend."""

_OTHERS = _Look(GREY)
_ROW = 2.5  # height of a row, in widths of a block
_OUT, _IN, _HIGH = 0.14, 0.86, 0.72  # where a branch leaves the line, joins it, and how high it is


def plot_structure(
    net: Decomposition,
    path: str | Path | None = None,
    *,
    ax: Axes | None = None,
    labels: Sequence[str] | None = None,
    colours: Sequence[str] | None = None,
    legend: bool = True,
) -> Figure:
    """Draw a network: the line is what remains when every branch is deleted.

    Filled boxes are branches (or whole blocks, on the line, where there is no shortcut); hollow
    ones belong to transitions, whose part of the line is dashed. A ring is an addition, a square a
    concatenation, a diamond stands for weights between two blocks.

    Args:
        net: The decomposition.
        path: File to write (``.png``, ``.pdf`` or ``.svg``); None writes nothing.
        ax: Axes to draw into; a new figure's where None.
        labels: What the title calls the network, one; by default its name.
        colours: Those of the kinds of block, in the order of the legend.
        legend: Whether there is one, above the axes.

    Returns:
        A figure two columns of a paper wide, whose height follows the number of blocks, with the
        title above; or that of ``ax``, with the title below the drawing.

    Raises:
        UsageError: There is more than one label, or one of the colours is none; or the file's
            ending is unknown.
        OutputError: The file cannot be written.
    """
    [name] = curve_names([net.model_name], labels)
    looks = _looks(net, colours)
    columns = _columns(len(net))
    rows = math.ceil(len(net) / columns)
    with paper_style():
        width = _WIDTH if ax is None else width_of(ax) / 72
        scale = width / (columns + 4.2)
        if ax is None:
            figure: Figure = PaperFigure(
                figsize=(_WIDTH, scale * (_ROW * (rows - 1) + 2.3) + 0.6), layout="constrained"
            )
            ax = figure.add_subplot()
            figure.suptitle(_title(net, name), x=0.02, ha="left", fontsize=8)
        else:
            figure = figure_of([ax])
            ax.text(0, 0, _title(net, name), transform=ax.transAxes, va="top", fontsize=8)
        ax.set_axis_off()
        ax.set_aspect("equal")
        ax.set_xlim(-2.1, columns + 2.1)
        ax.set_ylim(-_ROW * (rows - 1) - 0.9, 1.4)
        cell = 72 * scale  # points
        size = min(7.0, max(4.5, 0.4 * cell))
        _line(ax, columns, rows, len(net), min(size, 0.4 * cell))
        for block, x, y in _places(net, columns):
            _draw_block(ax, block, x, y, looks[str(block.kind)])
        _label(ax, net, columns, cell, size)
        if legend:
            legend_above(ax, list(_handles(net, looks)))
    if path is not None:
        save_figure(figure, path)
    return figure


def _looks(net: Decomposition, colours: Sequence[str] | None) -> dict[str, _Look]:
    """How each kind of block of a network is drawn, in the order of the legend."""
    usual = {kind: _LOOKS.get(kind, _OTHERS) for kind in _kinds(net)}
    if colours is None:
        return usual
    return {
        kind: replace(one, fill=look(place, colours).colour)
        for place, (kind, one) in enumerate(usual.items())
    }


def _columns(blocks: int) -> int:
    """Blocks in a row: all of a few, 18 of some dozens, more where there are hundreds."""
    if blocks <= 12:
        return max(blocks, 6)
    return max(9 if blocks <= 18 else 18, math.ceil(math.sqrt(4 * blocks)))


def _places(net: Decomposition, columns: int) -> Iterator[tuple[Block, int, float]]:
    for i, block in enumerate(net):
        yield block, i % columns, -_ROW * (i // columns)


def _line(ax: Axes, columns: int, rows: int, blocks: int, size: float) -> None:
    """Stem, head, and how one row goes on in the next."""
    last = (blocks - 1) % columns + 1
    style: dict[str, Any] = {"color": INK, "linewidth": 0.8, "zorder": 1}
    for row in range(rows):
        y = -_ROW * row
        end = last if row == rows - 1 else columns
        ax.plot([-0.45, 0], [y, y], **style)
        ax.plot([end, end + 0.45], [y, y], **style)
        if row < rows - 1:
            turn = y - 1.02
            corners = [columns + 0.45, columns + 0.45, -0.45, -0.45]
            ax.plot(
                corners, [y, turn, turn, y - _ROW], **{**style, "color": GREY, "linewidth": 0.6}
            )
    for x, y, text in ((-1.25, 0, "stem"), (last + 1.25, -_ROW * (rows - 1), "head")):
        ax.add_patch(_box(x, y, (1.6, 0.56), "white", INK))
        ax.text(x, y, text, ha="center", va="center", fontsize=size)


def _draw_block(ax: Axes, block: Block, x: float, y: float, style: _Look) -> None:
    changes = block.is_transition
    fill = style.fill
    face = "white" if changes else fill
    if block.before is not None and any(True for _ in block.before.parameters()):
        ax.plot(x, y, "D", color=INK, markersize=2.2, zorder=4)
    edge: dict[str, Any] = {"color": INK, "linewidth": 0.8, "zorder": 1}
    if block.has_shortcut:
        dash = (0, (2, 1.2)) if changes else "-"
        ax.plot([x, x + 1], [y, y], **edge, linestyle=dash)
        top = y + _HIGH
        ax.plot([x + _OUT, x + _OUT, x + _IN, x + _IN], [y, top, top, y], **edge)
        ax.add_patch(_box(x + 0.5, top, (0.5, 0.4), face, fill))
    elif style.beside:
        ax.plot([x, x + _OUT], [y, y], **edge)
        ax.plot([x + _IN, x + 1], [y, y], **edge)
        for step in (-0.4, 0, 0.4):
            ends = [x + _OUT, x + _OUT, x + _IN, x + _IN]
            ax.plot(ends, [y, y + step, y + step, y], **edge)
            ax.add_patch(_box(x + 0.5, y + step, (0.42, 0.24), face, fill))
    else:
        ax.plot([x, x + 1], [y, y], **edge)
        ax.add_patch(_box(x + 0.5, y, (0.6, 0.5), face, fill))
    if style.joint:
        ax.add_patch(_JOINTS[style.joint](x + _IN, y))


def _ring(x: float, y: float) -> Patch:
    return Circle((x, y), 0.12, fc="white", ec=INK, lw=0.7, zorder=3)


def _square(x: float, y: float) -> Patch:
    return Rectangle((x - 0.1, y - 0.1), 0.2, 0.2, fc="white", ec=INK, lw=0.7, zorder=3)


_JOINTS = {"o": _ring, "s": _square}


def _box(x: float, y: float, size: tuple[float, float], face: str, edge: str) -> FancyBboxPatch:
    width, height = size
    corner = (x - width / 2, y - height / 2)
    return FancyBboxPatch(
        corner, width, height, boxstyle="round,pad=0,rounding_size=0.08", fc=face, ec=edge,
        lw=0.8, zorder=2,
    )  # fmt: skip


def _label(ax: Axes, net: Decomposition, columns: int, cell: float, size: float) -> None:
    """Numbers below the line; above the branches, the shapes where they change."""
    every = 1 if cell > 2.4 * size else next(s for s in (5, 10, 20) if s * cell > 6 * size)
    style: dict[str, Any] = {"va": "center", "color": INK, "fontsize": size}
    shape, free = None, 0
    for i, (block, x, y) in enumerate(_places(net, columns)):
        if block.index == 1 or block.index % every == 0:
            low = y - (0.74 if _LOOKS.get(block.kind, _OTHERS).beside else 0.42)
            ax.text(x + 0.5, low, str(block.index), ha="center", **style)
        text = "x".join(map(str, block.out_shape))
        if block.out_shape != shape and (i >= free or x == 0):
            high = y + (1.12 if block.has_shortcut else 0.72)
            ax.text(x + 0.25, high, text, ha="left", **style)
            free = i + math.ceil(0.65 * size * (len(text) + 1) / cell)
        shape = block.out_shape


def _title(net: Decomposition, name: str) -> str:
    counts = Counter(str(block.kind) for block in net)
    parts = [f"{counts[kind]} {kind}" for kind in _kinds(net)]
    choices = sum(block.has_shortcut for block in net)
    text = f"{name}: {' and '.join(parts)} block{'s' if len(net) > 1 else ''}"
    return f"{text}, 2^{choices} paths" if choices else text


def _kinds(net: Decomposition) -> list[str]:
    """The kinds of block in a network: those with a look of their own first."""
    found = dict.fromkeys(str(block.kind) for block in net)
    order = {kind: place for place, kind in enumerate(_LOOKS)}
    return sorted(found, key=lambda kind: order.get(kind, len(order)))


def _handles(net: Decomposition, looks: Mapping[str, _Look]) -> Iterator[Patch | Line2D]:
    for kind, style in looks.items():
        yield Patch(facecolor=style.fill, edgecolor=style.fill, label=kind)
    if net.transitions:
        yield Patch(facecolor="white", edgecolor=INK, label="transition")
    for marker in _JOINTS:
        names = {style.joint_name for style in looks.values() if style.joint == marker}
        if names:
            label = " or ".join(sorted(names))
            yield Line2D([], [], ls="", marker=marker, mfc="white", mec=INK, ms=4, label=label)
    if any(b.before is not None and any(True for _ in b.before.parameters()) for b in net):
        yield Line2D([], [], ls="", marker="D", color=INK, ms=2.2, label="weights between blocks")
