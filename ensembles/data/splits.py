"""The parts of a data set, and the other names that people give them."""

from __future__ import annotations

from collections.abc import Iterable

from ensembles.errors import DataError, nearest

__all__ = ["SPLIT_NAMES", "choose_split", "match_split"]

_SYNONYMS = (("train", "training"), ("val", "valid", "validation"), ("test", "testing"))
_STAND_INS = {"test": "val", "val": "test"}
SPLIT_NAMES = tuple(name for group in _SYNONYMS for name in group)


def match_split(asked: str, available: Iterable[str], *, stand_ins: bool = True) -> str | None:
    """Find the part that is meant.

    ``val``, ``valid`` and ``validation`` are one name, as are ``train`` and ``training``, and
    ``test`` and ``testing``. Where only one of the validation and test parts exists, it stands in
    for the other.

    Args:
        asked: The name that the user gave.
        available: The names that there are.
        stand_ins: Whether the validation and test parts may stand in for each other.

    Returns:
        One of ``available``, or None.
    """
    by_name = {name.lower(): name for name in available}
    group = next((g for g in _SYNONYMS if asked.lower() in g), (asked.lower(),))
    stand_in = _STAND_INS.get(group[0])
    others = next((g for g in _SYNONYMS if stand_ins and g[0] == stand_in), ())
    for name in (asked.lower(), *group, *others):
        if name in by_name:
            return by_name[name]
    return None


def choose_split(asked: str, available: Iterable[str], where: str) -> str:
    """Find the part that is meant, or say which parts there are.

    Args:
        asked: The name that the user gave.
        available: The names that there are.
        where: The data set, for the error message.

    Raises:
        DataError: When there is no such part.
    """
    names = list(available)
    found = match_split(asked, names)
    if found is None:
        raise DataError(
            f"{where} has no split {asked!r}; it has {', '.join(names)}"
            f"{nearest(asked.lower(), names)}"
        )
    return found
