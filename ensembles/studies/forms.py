"""What the values of a study's file may be: the type of each key, and what a wrong one is told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Any

from ensembles.errors import UsageError, nearest

__all__ = ["check_known", "checked", "types_of"]

_MEANT = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "str": "a text",
    "tuple[str, ...]": 'a list of texts, such as ["a", "b"]',
    "tuple[int, ...]": "a list of whole numbers, such as [0, 1]",
    "count": 'a number or a range, such as 1 or "1-20"',
    "blocks": 'a list of blocks, such as [3, 17] or "20-25"',
    "side": 'a side in pixels, such as 256 or "256x224", or "none"',
    "plan": "the name of a CSV file with the columns lesion and blocks, or lesions such as "
    '["delete", "3 17"]',
}


def types_of(kind: type, *apart: str) -> dict[str, str]:
    """The name of the type of each field of a dataclass, None left out."""
    return {one.name: _name_of(one.type) for one in fields(kind) if one.name not in apart}


def _name_of(kind: Any) -> str:
    """As annotations write it, whether they are kept as texts or not."""
    return (kind.__name__ if isinstance(kind, type) else str(kind)).removesuffix(" | None")


def checked(entry: Mapping[str, Any], types: Mapping[str, str], where: str) -> dict[str, Any]:
    """Hold a table against the types of its keys.

    Raises:
        UsageError: If a key is unknown, or a value of another type.
    """
    check_known(entry, types, where)
    return {key: _typed(value, types[key], f"{where}, {key}") for key, value in entry.items()}


def check_known(entry: Iterable[str], known: Iterable[str], where: str) -> None:
    """Refuse a key that has no meaning.

    Raises:
        UsageError: Naming the nearest key.
    """
    keys = list(known)
    for key in entry:
        if key not in keys:
            raise UsageError(
                f"{where}: unknown key '{key}'; expected {', '.join(keys)}{nearest(key, keys)}"
            )


def _typed(value: Any, kind: str, where: str) -> Any:
    """Hold one value against the type of its key, and bring it into it; unknown types pass."""
    if kind not in _FORMS:
        return value
    found: Any = _FORMS[kind](value)
    if found is None:
        raise UsageError(f"{where}: {value!r}; expected {_MEANT[kind]}")
    return found


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _number(value: Any) -> float | None:
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _list_of(value: Any, form: Callable[[Any], Any]) -> tuple[Any, ...] | None:
    if not isinstance(value, list) or any(form(item) is None for item in value):
        return None
    return tuple(value)


def _count(value: Any) -> str | None:
    return str(value) if _whole(value) is not None else _text(value)


def _blocks(value: Any) -> str | None:
    several = _list_of(value, _count)
    return ",".join(map(str, several)) if several else _count(value)


def _plan(value: Any) -> Any:
    """The name of a file; or lesions, as lists of kind and text, and perhaps trial and seed."""
    return _text(value) if isinstance(value, str) else _list_of(value, _lesion)


def _lesion(value: Any) -> list[Any] | None:
    if not isinstance(value, list) or len(value) not in (2, 4):
        return None
    draw = [_whole(one) for one in value[2:]]
    return value if all(map(_is_text, value[:2])) and None not in draw else None


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


_FORMS: dict[str, Callable[[Any], Any]] = {
    "bool": lambda value: value if isinstance(value, bool) else None,
    "int": _whole,
    "float": _number,
    "str": _text,
    "tuple[str, ...]": lambda value: _list_of(value, _text),
    "tuple[int, ...]": lambda value: _list_of(value, _whole),
    "count": _count,
    "blocks": _blocks,
    "side": _count,
    "plan": _plan,
}
