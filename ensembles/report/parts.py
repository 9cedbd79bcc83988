"""What a report is made of, as frozen values; knows neither HTML nor matplotlib."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Number
from typing import Any, cast

import pandas as pd

__all__ = ["Cell", "Drawing", "Page", "Section", "Table", "flat", "number", "percent", "table"]

MOST_ROWS = 300
Format = Callable[[Any], str]


@dataclass(frozen=True)
class Drawing:
    """A figure.

    Attributes:
        svg: Its markup, without a prolog, with identifiers of its own.
        caption: What it shows, and whose numbers are in it.
    """

    svg: str
    caption: str


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: What is read.
        order: What it is sorted by; a number, or the text.
        tone: ``good``, ``bad``, ``open`` or nothing.
    """

    text: str
    order: float | str
    tone: str = ""


@dataclass(frozen=True)
class Table:
    """A table that can be sorted by each column.

    Attributes:
        caption: What its rows are.
        head: Names of the columns.
        numeric: Which of them hold numbers.
        rows: The cells.
        cards: Whether each row is a card, its cells one below the other, as prose needs it: columns
            beside each other would be narrow.
        folded: Whether it is closed until it is asked for.
    """

    caption: str
    head: tuple[str, ...]
    numeric: tuple[bool, ...]
    rows: tuple[tuple[Cell, ...], ...]
    cards: bool = False
    folded: bool = False


@dataclass(frozen=True)
class Section:
    """One part of a report.

    Attributes:
        key: Short name, unique in the report, for links.
        title: Heading.
        text: Paragraphs.
        drawings: Figures.
        tables: Tables.
        command: What makes these results again.
        provenance: Where, when and with what they were made.
    """

    key: str
    title: str
    text: tuple[str, ...] = ()
    drawings: tuple[Drawing, ...] = ()
    tables: tuple[Table, ...] = ()
    command: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Page:
    """A report.

    Attributes:
        title: Of the page.
        lead: Paragraphs below the title.
        sections: Its parts, in order.
    """

    title: str
    lead: tuple[str, ...]
    sections: tuple[Section, ...]


def table(
    frame: pd.DataFrame,
    caption: str,
    *,
    formats: Mapping[str, Format] | None = None,
    tones: Mapping[str, str] | None = None,
    cards: bool = False,
    folded: bool = False,
    rows: int = MOST_ROWS,
) -> Table:
    """Lay a frame out as a table of a report.

    Args:
        frame: The rows; names of columns are the head.
        caption: What the rows are; where some are left out, it says so.
        formats: How the values of a column are written; by default four significant digits.
        tones: For cells with one of these texts, their tone.
        cards: As in :class:`Table`.
        folded: As in :class:`Table`.
        rows: At most so many.
    """
    shown = frame.head(rows)
    if len(shown) < len(frame):
        caption += f" (the first {len(shown):,} of {len(frame):,} rows)"
    formats, tones = formats or {}, tones or {}
    names = [str(name) for name in frame.columns]
    numeric = tuple(pd.api.types.is_numeric_dtype(frame[name]) for name in frame.columns)
    columns = [
        [_cell(value, formats.get(name, number), tones) for value in shown[name]] for name in names
    ]
    return Table(caption, tuple(names), numeric, tuple(zip(*columns, strict=True)), cards, folded)


def _cell(value: Any, form: Format, tones: Mapping[str, str]) -> Cell:
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return Cell("", "")
    text = form(value)
    numeric = isinstance(value, Number) and not isinstance(value, bool)
    return Cell(text, float(cast(float, value)) if numeric else text, tones.get(text, ""))


def number(value: Any) -> str:
    """Whole numbers with separators, others with four significant digits.

    >>> number(12345), number(0.0123456), number("text")
    ('12,345', '0.01235', 'text')
    """
    if isinstance(value, str | bool):
        return str(value)
    if isinstance(value, Sequence):
        return ", ".join(map(number, value))
    if float(value).is_integer() and abs(value) < 10**15:
        return f"{int(value):,}"
    return f"{float(value):.4g}"


def percent(value: float, digits: int = 2) -> str:
    """A share in per cent, without the sign.

    >>> percent(0.06455)
    '6.46'
    """
    return "" if math.isnan(value) else f"{100 * value:.{digits}f}"


def flat(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested values as a list of names and texts, empty ones left out."""
    lines = []
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            lines += flat(value, f"{name} ")
        elif value not in (None, "", [], ()):
            text = value if isinstance(value, str) else str(value)
            lines.append((name.replace("_", " "), text))
    return lines
