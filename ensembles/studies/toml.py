"""Studies from small TOML files, and from JSON that says the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from ensembles.analyses.kinds import ANALYSES
from ensembles.bounded import read_text, toml_table
from ensembles.errors import UsageError
from ensembles.lesions import KINDS, Choice, Draw, Lesion, parse_lesion
from ensembles.studies.forms import check_known, checked, types_of
from ensembles.studies.study import RunTable, Study, Unit
from ensembles.studies.texts import counts_text
from ensembles.studies.values import Data, Measurement, Network, Sweep
from ensembles.text import read_blocks, read_counts, read_roads

__all__ = ["parse_study", "read_study", "study_of", "unit_of"]

T = TypeVar("T")
_ASKED = ("lesions", "paths", "analyses")
_STUDY = types_of(Study, "models", "data", "lesions", "analyses", "folder", "run")
_SHARED = types_of(Sweep, "choice", "plan", "written")
_CHOICE = {
    "kind": "str",
    "count": "count",
    "trials": "int",
    "blocks": "blocks",
    "skip_transitions": "bool",
    "recalibrated": "int",
    "plan": "plan",
}
_NAMED = ("name", "options", "metrics")


def read_study(path: str | Path) -> Study:
    """Read a study.

    Args:
        path: Path of the TOML file; files that it names are looked for in its folder first.

    Returns:
        The study.

    Raises:
        UsageError: If it cannot be read, or a table or a key is missing, unknown or of a wrong
            kind; the message names file, table and key.
    """
    path = Path(path)
    text = read_text(path, "study", error=UsageError)
    return parse_study(text, origin=str(path), name=path.stem, folder=path.resolve().parent)


def parse_study(
    text: str, *, origin: str = "<text>", name: str = "study", folder: Path | None = None
) -> Study:
    """Make a study from its TOML text.

    Args:
        text: The contents of the file.
        origin: What to call it in an error.
        name: Name of the study, where the text has none.
        folder: Where the files that it names are looked for first.

    Raises:
        UsageError: As for `read_study`.
    """
    values = toml_table(text, f"study {origin}", error=UsageError)
    return study_of(values, origin=origin, name=name, folder=folder)


def study_of(
    values: Mapping[str, Any],
    *,
    origin: str = "<values>",
    name: str = "study",
    folder: Path | None = None,
) -> Study:
    """Make a study from what its file holds, such as `Study.described` gives it.

    Args:
        values: Tables and lists, as TOML and JSON make them.
        origin: What to call them in an error.
        name: Name of the study, where they have none.
        folder: Where the files that they name are looked for first.

    Raises:
        UsageError: As for `read_study`.
    """
    where = f"study {origin}"
    check_known(values, [*_STUDY, "models", "data", *_ASKED, "run"], where)
    plain = {key: value for key, value in values.items() if key in _STUDY}
    settings: dict[str, Any] = checked(plain, _STUDY, where)
    for table in ("models", "data"):
        if table in values:
            settings[table] = tuple(_read(values[table], where, table))
    if "models" not in settings:
        raise UsageError(f"{where}: no table [[models]]; expected at least one, with a name")
    asked = [
        one for table in _ASKED if table in values for one in _read(values[table], where, table)
    ]
    settings["lesions"] = tuple(one for one in asked if isinstance(one, Sweep))
    settings["analyses"] = tuple(one for one in asked if isinstance(one, Measurement))
    if "run" in values:
        settings["run"] = _run_table(values["run"], where)
    return _said(where, Study, {"name": name, "folder": folder, **settings})


def unit_of(values: Mapping[str, Any]) -> Unit:
    """Make a unit from what `ensembles.studies.written.written_unit` gives.

    Raises:
        UsageError: If it says something else.
    """
    where = "unit"
    known = ("model", "data", "lesions", "analyses", "seed", "precision", "predictions")
    check_known(values, known, where)
    try:
        [(table, entry)] = [(key, values[key]) for key in ("lesions", "analyses") if key in values]
        rest = {key: values[key] for key in ("seed", "precision", "predictions")}
        model, data = _network(values["model"], where), _data(values["data"], where)
    except (KeyError, ValueError) as error:
        raise UsageError(f"{where}: something is missing; expected {', '.join(known)}") from error
    return Unit(model, data, _READERS[table](entry, where), **rest)


def _read(value: Any, where: str, table: str) -> list[Any]:
    """Read a table that may be there once or several times."""
    entries = [value] if isinstance(value, dict) else value
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UsageError(f"{where}, {table}: expected tables, written [[{table}]]")
    places = [f"{where}, [[{table}]]" for _ in entries]
    if len(entries) > 1:
        places = [f"{place} number {number}" for number, place in enumerate(places, start=1)]
    return [_READERS[table](entry, place) for entry, place in zip(entries, places, strict=True)]


def _network(entry: Mapping[str, Any], where: str) -> Network:
    if "name" not in entry:
        raise UsageError(f"{where}: no name; expected one of `ensembles models`")
    return Network(**checked(entry, types_of(Network), where))


def _data(entry: Mapping[str, Any], where: str) -> Data:
    types = types_of(Data) | {"resize": "side", "crop": "side"}
    return _said(where, Data, checked(entry, types, where))


def _run_table(value: Any, where: str) -> RunTable:
    if not isinstance(value, dict):
        raise UsageError(f"{where}, run: expected a table, written [run]")
    options = {key: one for key, one in value.items() if key != "on"}
    chosen = {key: one for key, one in value.items() if key == "on"}
    return RunTable(**checked(chosen, {"on": "str"}, f"{where}, [run]"), options=options)


def _sweep(entry: Mapping[str, Any], where: str) -> Sweep:
    entry, seeds = _seeds(entry, where)
    kind = entry.get("kind", Choice.kind)
    settings = _settings(kind, where)
    given = checked(entry, {**_CHOICE, **settings, **_SHARED}, where)
    choice = {key: given.pop(key) for key in _CHOICE if key in given}
    choice["settings"] = {key: given.pop(key) for key in settings if key in given}
    return _said(where, _made_sweep, {"choice": choice, **seeds, **given})


def _settings(kind: Any, where: str) -> dict[str, str]:
    """The settings that a kind of lesions has beside its blocks, with their types."""
    if not isinstance(kind, str):
        checked({"kind": kind}, _CHOICE, where)
    found = _said(where, KINDS.get, {"name": kind}).settings()
    return {one.name: one.type for one in found if one.name != "seed"}


def _made_sweep(choice: dict[str, Any], **given: Any) -> Sweep:
    """A sweep, of a choice whose texts are not values yet."""
    plan = choice.pop("plan", None)
    count, blocks = choice.pop("count", None), choice.pop("blocks", None)
    if isinstance(plan, str):
        given["plan"] = plan
    elif plan is not None:
        choice["plan"] = tuple(_lesion(one) for one in plan)
    if count is not None:
        choice["counts"] = read_counts(count)
    if blocks is not None and "." in blocks:
        choice["roads"] = read_roads(blocks)
    elif blocks is not None:
        choice["blocks"] = read_blocks(blocks)
    made = Sweep(Choice(**choice), **given)
    if (count, blocks) == (None, None):
        return made
    return replace(made, written=(count or counts_text(made.choice.counts), blocks))


def _lesion(value: list[Any]) -> Lesion:
    kind, text, *draw = value
    return parse_lesion(kind, text, Draw(*draw) if draw else None)


def _paths(entry: Mapping[str, Any], where: str) -> Measurement:
    return _measurement({"name": Measurement.name, **entry}, where)


def _analysis(entry: Mapping[str, Any], where: str) -> Sweep | Measurement:
    if not isinstance(entry.get("name"), str):
        known = ", ".join(ANALYSES.names())
        raise UsageError(f"{where}: no name of an analysis; expected {known}")
    _said(where, ANALYSES.get, {"name": entry["name"]})
    if entry["name"] == Sweep.name:
        return _sweep({key: one for key, one in entry.items() if key != "name"}, where)
    return _measurement(entry, where)


def _measurement(entry: Mapping[str, Any], where: str) -> Measurement:
    entry, seeds = _seeds(entry, where)
    name = entry.pop("name")
    analysis = ANALYSES.get(name)
    own = types_of(analysis.options, "seed")
    shared = {key: one for key, one in _SHARED.items() if key not in own and key not in _NAMED}
    given = checked(entry, {**own, **shared}, where)
    options = {key: given.pop(key) for key in own if key in given}
    chosen = _said(where, analysis.options.made, {"given": options, "what": name})
    return _said(where, Measurement, {"name": name, "options": chosen, **seeds, **given})


_READERS: dict[str, Callable[[dict[str, Any], str], Any]] = {
    "models": _network,
    "data": _data,
    "lesions": _sweep,
    "paths": _paths,
    "analyses": _analysis,
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
    return rest, {"seeds": (checked({"seed": entry["seed"]}, {"seed": "int"}, where)["seed"],)}


def _said(where: str, make: Callable[..., T], values: Mapping[str, Any]) -> T:
    """Make a value; its own refusal is told with its place."""
    try:
        return make(**values)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None
