"""Studies from small TOML files."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from ensembles.analyses.path_options import PathOptions
from ensembles.errors import UsageError, nearest
from ensembles.lesions import Choice
from ensembles.studies.values import Analysis, Images, Network, Study, Sweep

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["parse_study", "read_study"]

_TABLES = ("models", "data", "lesions", "paths")
_MEANT = {
    "bool": "true or false",
    "int": "a whole number",
    "str": "a text",
    "tuple[str, ...]": 'a list of texts, such as ["a", "b"]',
    "tuple[int, ...]": "a list of whole numbers, such as [0, 1]",
    "count": 'a number or a range, such as 1 or "1-20"',
    "blocks": 'a list of blocks, such as [3, 17] or "20-25"',
}


def read_study(path: str | Path) -> Study:
    """Read a study.

    Args:
        path: Of the TOML file; files that it names are looked for in its folder first.

    Returns:
        The study.

    Raises:
        UsageError: If it cannot be read, or a table or a key is missing, unknown or of a wrong
            kind; the message names file, table and key.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text file"
        raise UsageError(f"study {path}: cannot be read ({reason})") from error
    return parse_study(text, origin=str(path), name=path.stem, folder=path.resolve().parent)


def parse_study(
    text: str, *, origin: str = "<text>", name: str = "study", folder: Path | None = None
) -> Study:
    """Make a study from its TOML text.

    Args:
        text: The contents of the file.
        origin: What to call it in an error.
        name: Of the study, where the text has none.
        folder: Where the files that it names are looked for first.

    Raises:
        UsageError: As for `read_study`.
    """
    try:
        values = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"study {origin}: is no TOML: {reason}") from error
    where = f"study {origin}"
    own = [one for one in _names(Study) if one != "folder"]
    _refuse_unknown(values, own, where)
    plain = {key: value for key, value in values.items() if key not in _TABLES}
    kinds = _kinds(Study)
    settings = {key: _typed(value, kinds[key], f"{where}, {key}") for key, value in plain.items()}
    for table in _TABLES:
        if table in values:
            settings[table] = tuple(
                _READERS[table](entry, _place(where, table, number, values[table]))
                for number, entry in enumerate(_entries(values[table], where, table), start=1)
            )
    if "models" not in settings:
        raise UsageError(f"{where}: no table [[models]]; expected at least one, with a name")
    try:
        return Study(**{"name": name, "folder": folder, **settings})
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None


def _entries(value: Any, where: str, table: str) -> list[dict[str, Any]]:
    entries = [value] if isinstance(value, dict) else value
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UsageError(f"{where}, {table}: expected tables, written [[{table}]]")
    return entries


def _place(where: str, table: str, number: int, value: Any) -> str:
    several = isinstance(value, list) and len(value) > 1
    return f"{where}, [[{table}]]{f' number {number}' if several else ''}"


def _network(entry: Mapping[str, Any], where: str) -> Network:
    if "name" not in entry:
        raise UsageError(f"{where}: no name; expected one of `ensembles models`")
    return Network(**_checked(entry, where, Network))


def _images(entry: Mapping[str, Any], where: str) -> Images:
    images: Images = _said(where, Images, _checked(entry, where, Images))
    return images


def _sweep(entry: Mapping[str, Any], where: str) -> Sweep:
    entry, seeds = _seeds(entry, where)
    given = _checked(entry, where, Choice, Sweep, apart=("choice", "seed"))
    inner = {key: given.pop(key) for key in _names(Choice) if key in given}
    choice = _said(where, Choice, inner)
    return Sweep(**{"choice": choice, **seeds, **given})


def _analysis(entry: Mapping[str, Any], where: str) -> Analysis:
    entry, seeds = _seeds(entry, where)
    given = _checked(entry, where, PathOptions, Analysis, apart=("options", "seed", "memory"))
    inner = {key: given.pop(key) for key in _names(PathOptions) if key in given}
    options = _said(where, PathOptions, inner)
    analysis: Analysis = _said(where, Analysis, {"options": options, **seeds, **given})
    return analysis


_READERS: dict[str, Any] = {
    "models": _network,
    "data": _images,
    "lesions": _sweep,
    "paths": _analysis,
}


def _seeds(
    entry: Mapping[str, Any], where: str
) -> tuple[dict[str, Any], dict[str, tuple[int, ...]]]:
    """One `seed` is a list of one."""
    if "seed" not in entry:
        return dict(entry), {}
    if "seeds" in entry:
        raise UsageError(f"{where}: both seed and seeds; expected one of them")
    rest = {key: value for key, value in entry.items() if key != "seed"}
    return rest, {"seeds": (_typed(entry["seed"], "int", f"{where}, seed"),)}


def _said(where: str, make: Any, values: Mapping[str, Any]) -> Any:
    """Make a value; its own refusal is told with its place."""
    try:
        return make(**values)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None


def _checked(
    entry: Mapping[str, Any], where: str, *classes: type, apart: tuple[str, ...] = ()
) -> dict[str, Any]:
    kinds = {key: kind for one in classes for key, kind in _kinds(one).items() if key not in apart}
    known = [*kinds, *(["seed"] if "seeds" in kinds else [])]
    _refuse_unknown(entry, known, where)
    return {key: _typed(value, kinds[key], f"{where}, {key}") for key, value in entry.items()}


def _refuse_unknown(entry: Mapping[str, Any], known: list[str], where: str) -> None:
    for key in entry:
        if key not in known:
            raise UsageError(
                f"{where}: unknown key '{key}'; expected {', '.join(known)}{nearest(key, known)}"
            )


def _names(kind: type) -> list[str]:
    return [one.name for one in fields(kind)]


def _kinds(kind: type) -> dict[str, str]:
    """What each field takes: the name of its type, or of one of the forms below."""
    forms = {"count": "count", "blocks": "blocks"} if kind is Choice else {}
    return {
        one.name: forms.get(one.name, str(one.type).removesuffix(" | None"))
        for one in fields(kind)
        if one.default is not MISSING or one.default_factory is not MISSING or one.name == "name"
    }


def _typed(value: Any, kind: str, where: str) -> Any:
    """Hold one value against the type of its field, and bring it into it."""
    found: Any = _FORMS[kind](value)
    if found is None:
        raise UsageError(f"{where}: {value!r}; expected {_MEANT[kind]}")
    return found


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _list_of(value: Any, form: Any) -> tuple[Any, ...] | None:
    if not isinstance(value, list) or any(form(item) is None for item in value):
        return None
    return tuple(value)


def _count(value: Any) -> str | None:
    return str(value) if _whole(value) is not None else _text(value)


def _blocks(value: Any) -> str | None:
    several = _list_of(value, _count)
    return ",".join(map(str, several)) if several else _count(value)


_FORMS: dict[str, Any] = {
    "bool": lambda value: value if isinstance(value, bool) else None,
    "int": _whole,
    "str": _text,
    "tuple[str, ...]": lambda value: _list_of(value, _text),
    "tuple[int, ...]": lambda value: _list_of(value, _whole),
    "count": _count,
    "blocks": _blocks,
}
