"""What the rows of a table of lesions say, read back from their kind and text."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import pandas as pd

from ensembles.errors import UsageError
from ensembles.lesions import KINDS
from ensembles.lesions.base import Words
from ensembles.tables.schema import INTACT, require_columns

if TYPE_CHECKING:
    from ensembles.lesions import Lesion

__all__ = [
    "Reading", "Said", "lesioned", "read_lesion", "read_rows", "texts", "varied_settings",
    "words_of",
]  # fmt: skip

_SEED = "seed"


@dataclass(frozen=True)
class Said:
    """A setting of a lesion, in words.

    Attributes:
        name: Its name.
        words: What a legend says, such as `factor 0.5`, `permute` or `mean`; nothing for what is
            off.
        plain: Whether it goes without saying: the default, unless that is an amount.
    """

    name: str
    words: str
    plain: bool


@dataclass(frozen=True)
class Reading:
    """A lesion as its kind and text in a table tell it.

    Attributes:
        kind: Its kind; that of the lesion underneath, where BatchNorm is recalibrated after it.
        recalibrated: Whether BatchNorm is recalibrated after it.
        known: Whether its kind is known here, and its text is one of that kind.
        blocks: The blocks that it names, sorted; none where it is not known.
        count: Its size, as the table says it; 0 where it is not known.
        settings: Its settings; without a seed, and without those that each block has for itself.
        seeded: Whether it has a seed of its own.
        unseeded: Its text, with the same seed for all that differ in their seeds alone.
    """

    kind: str
    recalibrated: bool = False
    known: bool = True
    blocks: tuple[int, ...] = ()
    count: int = 0
    settings: tuple[Said, ...] = ()
    seeded: bool = False
    unseeded: str = ""

    def said(self, varied: Collection[str]) -> str:
        """The settings in words: those that vary, and others that do not go without saying."""
        chosen = [one for one in self.settings if one.name in varied or not one.plain]
        return ", ".join(one.words for one in chosen if one.words)

    @property
    def place(self) -> int | None:
        """The block at which it is drawn: its only one, or the first of its neighbours."""
        if self.is_single or self.is_span:
            return self.blocks[0]
        return None

    @property
    def is_intact(self) -> bool:
        """Whether it is the intact network."""
        return self.known and not self.blocks

    @property
    def is_single(self) -> bool:
        """Whether it is a lesion of one block."""
        return len(self.blocks) == 1 and self.count == 1

    @property
    def is_span(self) -> bool:
        """Whether it is a lesion of two neighbouring blocks or more, and of none beside them."""
        return (
            len(self.blocks) > 1
            and self.count == len(self.blocks)
            and self.blocks[-1] - self.blocks[0] == len(self.blocks) - 1
        )


def read_lesion(kind: str, text: str) -> Reading:
    """Read a lesion back.

    Args:
        kind: What the column `lesion` holds.
        text: What the column `blocks` holds.

    Returns:
        What is known of it; the kind alone where that is of a package that is not installed, or
        where the text is none of its.
    """
    try:
        return _parsed(KINDS.get(kind), text)
    except (UsageError, ValueError):
        return Reading(kind, known=False, unseeded=text)


@lru_cache(maxsize=100_000)
def _parsed(kind: type[Lesion], text: str) -> Reading:
    lesion = kind.parse(text)
    inner = _underneath(lesion)
    seeds = [one.name for one in inner.settings() if one.name == _SEED]
    plain = replace(inner, seed=0) if seeds else inner  # type: ignore[call-arg]
    return Reading(
        inner.kind,
        lesion.recalibration is not None,
        blocks=tuple(inner.blocks),
        count=inner.count,
        settings=_settings(inner),
        seeded=bool(seeds),
        unseeded=plain.text,
    )


def read_rows(frame: pd.DataFrame) -> list[Reading]:
    """Read the lesion of every row.

    Raises:
        UsageError: A column is missing.
    """
    require_columns(frame, "lesion", "count", "blocks")
    rows = zip(frame["lesion"].astype(str), texts(frame["blocks"]), frame["count"], strict=True)
    return [replace(read_lesion(kind, text), count=int(count)) for kind, text, count in rows]


def lesioned(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of a table that are lesions: without the intact network, recalibrated or not."""
    cut = frame[frame["lesion"] != INTACT]
    if not {"count", "blocks"} <= set(frame.columns):
        return cut
    return cut[[not one.is_intact for one in read_rows(cut)]]


def varied_settings(readings: Iterable[Reading]) -> set[str]:
    """The settings that are not the same for all lesions."""
    words: dict[str, set[str]] = {}
    for reading in readings:
        for one in reading.settings:
            words.setdefault(one.name, set()).add(one.words)
    return {name for name, found in words.items() if len(found) > 1}


def texts(blocks: pd.Series[Any]) -> list[str]:
    """The column `blocks` as texts, also where a reader of its own took block numbers for numbers.

    >>> texts(pd.Series([float("nan"), 3.0]))
    ['', '3']
    """
    return [
        "" if missing else f"{value:.0f}" if isinstance(value, float) else str(value)
        for value, missing in zip(blocks.tolist(), blocks.isna(), strict=True)
    ]


def words_of(kind: str) -> Words:
    """What axes and legends call a kind, also where it is not known here."""
    try:
        return KINDS.get(kind).words
    except UsageError:
        return Words(f"Block ({kind})", f"Size of the lesion ({kind})", f"lesioned ({kind})")


def _underneath(lesion: Lesion) -> Lesion:
    """The lesion after which BatchNorm is recalibrated, or the lesion itself."""
    found: Lesion = lesion if lesion.recalibration is None else lesion.lesion  # type: ignore[attr-defined]
    return found


def _settings(lesion: Lesion) -> tuple[Said, ...]:
    found = []
    for one in lesion.settings():
        value = getattr(lesion, one.name)
        if one.name != _SEED and not isinstance(value, tuple):
            plain = value == one.default and not isinstance(value, float)
            found.append(Said(one.name, _words(one.name, value, one.choices), plain))
    return tuple(found)


def _words(name: str, value: Any, choices: tuple[str, ...]) -> str:
    if isinstance(value, bool):
        return name if value else ""
    if choices:
        return str(value)
    return f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
