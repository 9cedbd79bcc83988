"""The tables of lesions that were asked for, and of the draws that they came from."""

from __future__ import annotations

import sqlite3
import warnings
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from ensembles.errors import UsageError
from ensembles.open_set import PluginWarning

if TYPE_CHECKING:
    from ensembles.lesions import Draw, Lesion
    from ensembles.store.connection import Connection

__all__ = [
    "TABLES",
    "Drawn",
    "Name",
    "Names",
    "ask_for",
    "drawn_of",
    "draws_of",
    "enter_draws",
    "enter_lesions",
    "lesions_of",
    "matched",
]

TABLES = (
    """
CREATE TABLE lesions (
    id INTEGER PRIMARY KEY,
    context INTEGER NOT NULL REFERENCES contexts,
    kind TEXT NOT NULL,
    text TEXT NOT NULL,            -- as in result tables: "3 17", "3-17 20-25", "4 x0.5"
    material TEXT NOT NULL,        -- sha256 of what it needs beside the network; "" for nothing
    UNIQUE (context, kind, text, material)
)""",
    """
CREATE TABLE draws (               -- under which names a lesion was asked for
    lesion INTEGER NOT NULL REFERENCES lesions,
    trial INTEGER NOT NULL,        -- -1: by itself, not drawn at random
    seed INTEGER NOT NULL,
    PRIMARY KEY (lesion, trial, seed)
) WITHOUT ROWID""",
)

_BY_ITSELF = (-1, 0)
_LESIONS = "SELECT kind, text, material, id FROM lesions WHERE context = ? ORDER BY id"


class Name(NamedTuple):
    """What a lesion is known by within a context."""

    kind: str
    text: str
    material: str


class Drawn(NamedTuple):
    """A lesion, and one of the draws under which it was asked for.

    Attributes:
        lesion: Its number.
        trial: Number of the draw; None where it was asked for by itself.
        seed: Seed of the draws, alike.
    """

    lesion: int
    trial: int | None
    seed: int | None


class Names:
    """Reads lesions from their kinds and texts.

    A kind that no installed package brings is named in a warning, once; its lesions are left out.
    """

    def __init__(self) -> None:
        self._unread: set[str] = set()

    def lesion(self, kind: str, text: str, draw: Draw | None = None) -> Lesion | None:
        """The lesion; None where this program cannot read it."""
        from ensembles.lesions import parse_lesion  # noqa: PLC0415 (the kinds, where asked for)

        try:
            return parse_lesion(kind, text, draw)
        except UsageError as error:
            if kind not in self._unread:
                self._unread.add(kind)
                line = f"lesions of the kind '{kind}' are in the store and left out: {error}"
                warnings.warn(line, PluginWarning, stacklevel=2)
            return None


def lesions_of(connection: Connection, context: int) -> dict[Name, int]:
    """All lesions of a context that were asked for, by name, in the order in which they came."""
    return _numbers(connection.rows(_LESIONS, (context,)))


def _numbers(rows: Iterable[tuple[str, str, str, int]]) -> dict[Name, int]:
    return {Name(kind, text, material): number for kind, text, material, number in rows}


def drawn_of(connection: Connection, context: int) -> list[Drawn]:
    """Every draw under which a lesion of a context was asked for."""
    return [
        Drawn(lesion, trial, seed) if (trial, seed) != _BY_ITSELF else Drawn(lesion, None, None)
        for lesion, trial, seed in draws_of(connection, context)
    ]


def draws_of(connection: Connection, context: int) -> list[tuple[int, int, int]]:
    """Lesion, trial and seed of every draw of a context, as the table holds them."""
    return connection.rows(
        "SELECT lesion, trial, seed FROM lesions JOIN draws ON lesion = lesions.id "
        "WHERE context = ?",
        (context,),
    )


def matched(
    names: Mapping[Name, int],
    lesions: Iterable[Lesion],
    materials: Mapping[Lesion, str] | None = None,
) -> dict[Lesion, int]:
    """The numbers of lesions, as far as they are there; draws make no difference.

    Args:
        names: What is there, by name, in the order in which it came.
        lesions: The lesions.
        materials: Digest of what each needs beside the network; one that is not in it is taken
            with whatever material came last.
    """
    latest = {(kind, text): number for (kind, text, _), number in names.items()}
    given = materials or {}
    found: dict[Lesion, int] = {}
    for one in lesions:
        number = latest.get((one.kind, one.text))
        if one in given:
            number = names.get(Name(one.kind, one.text, given[one]))
        if number is not None:
            found[one] = number
    return found


def ask_for(
    connection: Connection, context: int, lesions: Iterable[Lesion], materials: Mapping[Lesion, str]
) -> dict[Lesion, int]:
    """Enter lesions and their draws, as far as they are not there.

    Args:
        connection: To the store.
        context: Number of the context.
        lesions: The lesions.
        materials: Digest of what each needs beside the network, where it needs something.

    Returns:
        Number of each lesion; draws make no difference.
    """
    names: dict[Lesion, Name] = {}
    wanted: set[tuple[Name, int, int]] = set()
    for one in lesions:
        name = Name(one.kind, one.text, materials.get(one, ""))
        names.setdefault(one, name)
        wanted.add((name, *(_BY_ITSELF if one.draw is None else one.draw)))
    draws = draws_of(connection, context)  # first, so that the lesions of all of them are there
    there = lesions_of(connection, context)
    named = {number: name for name, number in there.items()}
    known = {(named[number], trial, seed) for number, trial, seed in draws}
    new = sorted(wanted - known)
    if new:
        with connection.transaction(sum(2 * len(name.text) + 250 for name, _, _ in new)) as raw:
            there = enter_lesions(raw, context, dict.fromkeys(name for name, _, _ in new))
            enter_draws(raw, ((there[name], trial, seed) for name, trial, seed in new))
    return {one: there[name] for one, name in names.items()}


def enter_lesions(raw: sqlite3.Connection, context: int, names: Iterable[Name]) -> dict[Name, int]:
    """Enter lesions, unless they are there; the numbers of all of the context, by name."""
    raw.executemany(
        "INSERT OR IGNORE INTO lesions (context, kind, text, material) VALUES (?, ?, ?, ?)",
        ((context, *name) for name in names),
    )
    return _numbers(raw.execute(_LESIONS, (context,)))


def enter_draws(raw: sqlite3.Connection, draws: Iterable[tuple[int, int, int]]) -> None:
    """Enter lesion, trial and seed of draws, unless they are there."""
    raw.executemany("INSERT OR IGNORE INTO draws VALUES (?, ?, ?)", draws)
