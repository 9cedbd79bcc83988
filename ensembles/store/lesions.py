"""The tables of lesions that were asked for, and of the draws that they came from."""

from __future__ import annotations

import sqlite3
import warnings
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from ensembles.errors import UsageError
from ensembles.open_set import PluginWarning
from ensembles.store.seals import DamageError, Rows, next_number, sealed

if TYPE_CHECKING:
    from ensembles.lesions import Draw, Lesion
    from ensembles.store.connection import Connection

__all__ = [
    "DRAWS",
    "FEW",
    "ROWS",
    "TABLES",
    "Drawn",
    "Name",
    "Names",
    "ask_for",
    "check_blocks",
    "check_draw",
    "drawn_of",
    "draws_of",
    "enter_draws",
    "enter_lesions",
    "lesions_of",
    "matched",
    "numbers_of",
]

TABLES = (
    """
CREATE TABLE lesions (
    id INTEGER PRIMARY KEY,
    context INTEGER NOT NULL REFERENCES contexts,
    kind TEXT NOT NULL,
    text TEXT NOT NULL,            -- as in result tables: "3 17", "3-17 20-25", "4 x0.5"
    material TEXT NOT NULL,        -- sha256 of what it needs beside the network; "" for nothing
    checksum INTEGER NOT NULL,
    UNIQUE (context, kind, text, material)
)""",
    """
CREATE TABLE draws (               -- under which names a lesion was asked for
    lesion INTEGER NOT NULL REFERENCES lesions,
    trial INTEGER NOT NULL,        -- -1: by itself, not drawn at random
    seed INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    PRIMARY KEY (lesion, trial, seed)
) WITHOUT ROWID""",
)

ROWS = Rows("lesions", (int, int, str, str, str))
DRAWS = Rows("draws", (int, int, int))

FEW = 64
"""So many lesions are looked up one by one; of more, all of the context are read."""

_BY_ITSELF = (-1, 0)
_LESIONS = "SELECT * FROM lesions WHERE context = ? ORDER BY id"


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


def check_draw(row: tuple[int, int, int]) -> tuple[int, int, int]:
    """A row of draws.

    Raises:
        DamageError: If it is of a trial or a seed that there is not.
    """
    if row[1] < -1 or row[2] < 0:
        raise DamageError(f"{DRAWS.told(row)} is of trial {row[1]} and seed {row[2]}")
    return row


def check_blocks(name: Name, blocks: int) -> None:
    """Hold a lesion against the number of blocks of its network, where its kind is known here.

    Raises:
        DamageError: If it names others, or cannot be read.
    """
    from ensembles.lesions import KINDS, parse_lesion  # noqa: PLC0415 (the kinds, where asked for)

    try:
        KINDS.get(name.kind)
    except UsageError:
        return
    try:
        named = parse_lesion(name.kind, name.text).blocks
    except (UsageError, ValueError) as error:
        raise DamageError(f"lesion {name.kind} {name.text[:40]!r} is none: {error}") from error
    if named and not 1 <= min(named) <= max(named) <= blocks:
        raise DamageError(
            f"lesion {name.kind} {name.text[:40]!r} is of other blocks than the {blocks} that the "
            "network has"
        )


def lesions_of(connection: Connection, context: int) -> dict[Name, int]:
    """All lesions of a context that were asked for, by name, in the order in which they came."""
    return _numbers(connection.read(ROWS, _LESIONS, (context,)))


def _numbers(rows: Iterable[tuple[int, int, str, str, str]]) -> dict[Name, int]:
    return {Name(kind, text, material): number for number, _, kind, text, material in rows}


def drawn_of(connection: Connection, context: int) -> list[Drawn]:
    """Every draw under which a lesion of a context was asked for."""
    return [
        Drawn(lesion, trial, seed) if (trial, seed) != _BY_ITSELF else Drawn(lesion, None, None)
        for lesion, trial, seed in draws_of(connection, context)
    ]


def draws_of(connection: Connection, context: int) -> list[tuple[int, int, int]]:
    """Lesion, trial and seed of every draw of a context, as the table holds them."""
    return connection.read(
        DRAWS,
        "SELECT draws.* FROM lesions JOIN draws ON lesion = lesions.id WHERE context = ?",
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
    each = list(lesions)
    numbers = numbers_of(names, each, materials)
    pairs = zip(each, numbers, strict=True)
    return {one: number for one, number in pairs if number is not None}


def numbers_of(
    names: Mapping[Name, int],
    lesions: Iterable[Lesion],
    materials: Mapping[Lesion, str] | None = None,
) -> list[int | None]:
    """The number of each lesion, None where it is not there; as `matched` finds them."""
    latest = {(kind, text): number for (kind, text, _), number in names.items()}
    if not materials:
        return [latest.get((one.kind, one.text)) for one in lesions]
    return [
        names.get(Name(one.kind, one.text, materials[one]))
        if one in materials
        else latest.get((one.kind, one.text))
        for one in lesions
    ]


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
        if one.draw is not None and not all(-1 <= number < 1 << 63 for number in one.draw):
            raise UsageError(
                f"{one.kind} {one.text[:40]}: trial {one.draw.trial} and seed {one.draw.seed}; a "
                "store keeps numbers from 0 to 2^63 - 1: choose another seed"
            )
        name = Name(one.kind, one.text, materials.get(one, ""))
        names.setdefault(one, name)
        wanted.add((name, *(_BY_ITSELF if one.draw is None else one.draw)))
    sought = set(names.values())
    if len(sought) <= FEW:
        there = _numbers(connection.read(ROWS, *_named(context, sought)))
        draws = connection.read(DRAWS, *_draws_of(there.values()))
    else:
        draws = draws_of(connection, context)  # first, so that the lesions of all are there
        there = lesions_of(connection, context)
    named = {number: name for name, number in there.items()}
    known = {(named[number], trial, seed) for number, trial, seed in draws}
    new = sorted(wanted - known)
    if new:
        with connection.transaction(sum(2 * len(name.text) + 250 for name, _, _ in new)) as raw:
            there |= enter_lesions(raw, context, dict.fromkeys(name for name, _, _ in new))
            enter_draws(raw, ((there[name], trial, seed) for name, trial, seed in new))
    return {one: there[name] for one, name in names.items()}


def enter_lesions(
    raw: sqlite3.Connection, context: int, names: Collection[Name]
) -> dict[Name, int]:
    """Enter lesions, unless they are there; their numbers by name, or those of more lesions."""
    sought = _named(context, names) if len(names) <= FEW else (_LESIONS, (context,))
    there = _numbers(ROWS.read(raw.execute(*sought)))
    first = next_number(raw, ROWS.table)
    new = {name: first + i for i, name in enumerate(n for n in names if n not in there)}
    rows = (sealed(number, context, *name) for name, number in new.items())
    raw.executemany("INSERT INTO lesions VALUES (?, ?, ?, ?, ?, ?)", rows)
    return there | new


def _named(context: int, names: Collection[Name]) -> tuple[str, tuple[str | int, ...]]:
    """A query for the rows of some lesions."""
    marks = ", ".join(["(?, ?, ?)"] * len(names))
    values = f"VALUES {marks}" if names else "SELECT 1, 1, 1 WHERE 0"
    sql = f"SELECT * FROM lesions WHERE context = ? AND (kind, text, material) IN ({values})"
    return f"{sql} ORDER BY id", (context, *(part for name in names for part in name))


def _draws_of(lesions: Collection[int]) -> tuple[str, tuple[int, ...]]:
    """A query for the draws of some lesions."""
    return f"SELECT * FROM draws WHERE lesion IN ({', '.join('?' * len(lesions))})", (*lesions,)


def enter_draws(raw: sqlite3.Connection, draws: Iterable[tuple[int, int, int]]) -> None:
    """Enter lesion, trial and seed of draws, unless they are there."""
    rows = (sealed(*draw) for draw in draws)
    raw.executemany("INSERT OR IGNORE INTO draws VALUES (?, ?, ?, ?)", rows)
