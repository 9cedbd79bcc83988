"""A network taken apart, as a person reads it: on a screen, and in a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from ensembles.printable import printable

if TYPE_CHECKING:
    from ensembles.decomposition.network import Decomposition

__all__ = ["html_of", "notes_of", "rows_of", "text_of"]

_HEAD = ("block", "name", "kind", "shortcut", "in", "out", "parameters")
_SCREEN = 20
"""Rows that are shown; of more the first and the last ones."""


def rows_of(net: Decomposition) -> list[tuple[str, ...]]:
    """A row for each block: number, name, kind, shortcut, shapes, parameters."""
    return [
        (
            str(block.index),
            block.name,
            block.kind,
            block.road,
            _shape(block.in_shape),
            _shape(block.out_shape),
            f"{sum(weight.numel() for weight in block.parameters()):,}",
        )
        for block in net
    ]


def text_of(net: Decomposition) -> str:
    """A head and a line for each block, a screen in all."""
    rows = [_HEAD, *_shown(rows_of(net))]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    return printable("\n".join([_head(net), *lines, *notes_of(net.uncut, net.answer)]))


def html_of(net: Decomposition) -> str:
    """The same as a table of a notebook, with every block."""
    head = "".join(f"<th>{escape(name)}</th>" for name in _HEAD)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
        for row in rows_of(net)
    )
    below = "".join(f"<p>{escape(note)}</p>" for note in notes_of(net.uncut, net.answer))
    return (
        f"<p>{escape(_head(net))}</p><details open><summary>blocks</summary><table>"
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></details>{below}"
    )


def notes_of(uncut: Sequence[str], answer: str) -> list[str]:
    """What a reader should know besides: sums that are in no block, and which output was taken.

    Args:
        uncut: The modules in which activations are added within what could not be cut.
        answer: What the logits are called in what the model gives; "" for a tensor by itself.
    """
    found = []
    if uncut:
        places = ", ".join(uncut[:3]) + (", ..." if len(uncut) > 3 else "")
        found.append(f"sums may lie in what could not be cut into blocks too: in {places}")
    if answer.isdecimal():
        found.append(f"the model gives several outputs; number {answer} is taken as its logits")
    elif answer not in ("", "logits"):
        found.append(f"the model gives several outputs; {answer} is taken as its logits")
    return found


def _head(net: Decomposition) -> str:
    paths = sum(block.kind != "plain" for block in net)
    number = f"{sum(weight.numel() for weight in net.parameters()):,}"
    told = f"{net.model_name}: {len(net)} blocks, {number} parameters, {net.num_classes} classes"
    told = f"{told}, 2^{paths} paths" if paths and not net.is_nested else told
    return f"{told}; {net.inside} more within them (nested=True)" if net.inside else told


def _shown(rows: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    if len(rows) <= _SCREEN:
        return list(rows)
    half = _SCREEN // 2
    left_out = (f"... {len(rows) - _SCREEN + 1} more", *[""] * (len(_HEAD) - 1))
    return [*rows[:half], left_out, *rows[-(half - 1) :]]


def _shape(shape: Sequence[object]) -> str:
    return "x".join(map(str, shape))
