"""Studies and units as JSON holds them: what a study's file says, without what the defaults say."""

from __future__ import annotations

from dataclasses import MISSING, Field, fields
from typing import TYPE_CHECKING, Any

from ensembles.lesions import Choice
from ensembles.studies.texts import counts_text, places_text
from ensembles.studies.values import Measurement, Network, Sweep
from ensembles.toml_text import toml_lines

if TYPE_CHECKING:
    from ensembles.lesions import Lesion
    from ensembles.studies.study import Study, Unit

__all__ = ["study_text", "written_study", "written_unit"]


def study_text(study: Study) -> str:
    """A study as the text of its file; :func:`ensembles.studies.read_study` reads it."""
    told = written_study(study)
    tables = {name: told.pop(name) for name in ("models", "data", "lesions", "analyses")}
    lines = toml_lines({name: value for name, value in told.items() if value not in ("", False)})
    for name, rows in tables.items():
        for row in rows:
            lines += ["", f"[[{name}]]", *toml_lines(row)]
    return "\n".join(lines) + "\n"


def written_study(study: Study) -> dict[str, Any]:
    """A study as its file holds it; :func:`ensembles.studies.toml.study_of` reads it."""
    return {
        "name": study.name,
        "description": study.description,
        "models": [_network(one) for one in study.models],
        "data": [_said(one) for one in study.data],
        "lesions": [_sweep(one) for one in study.lesions],
        "analyses": [_measurement(one) for one in study.analyses],
        "seeds": list(study.seeds),
        "precision": study.precision,
        "predictions": study.predictions,
    }


def written_unit(unit: Unit) -> dict[str, Any]:
    """A unit by itself; :func:`ensembles.studies.toml.unit_of` reads it."""
    analysis = unit.analysis
    if isinstance(analysis, Sweep):
        told = {"lesions": _sweep(analysis)}
    else:
        told = {"analyses": _measurement(analysis)}
    return {
        "model": _network(unit.model),
        "data": _said(unit.data),
        **told,
        "seed": unit.seed,
        "precision": unit.precision,
        "predictions": unit.predictions,
    }


def _network(network: Network) -> dict[str, Any]:
    return {"name": network.name, **_said(network, "name")}


def _sweep(sweep: Sweep) -> dict[str, Any]:
    choice = sweep.choice
    told = _said(choice, "counts", "blocks", "roads", "settings", "plan", "seed")
    count, blocks = sweep.written or (counts_text(choice.counts), places_text(choice))
    if choice.plan is not None:
        told["plan"] = [_lesion(one) for one in choice.plan]
    elif count != counts_text(Choice(choice.kind, settings=choice.settings).counts):
        told["count"] = count
    if blocks is not None:
        told["blocks"] = blocks
    return {**told, **choice.settings, **_said(sweep, "choice", "written")}


def _lesion(lesion: Lesion) -> list[Any]:
    return [lesion.kind, lesion.text, *(lesion.draw or ())]


def _measurement(measurement: Measurement) -> dict[str, Any]:
    options = _said(measurement.chosen, "seed")
    return {"name": measurement.name, **options, **_said(measurement, "name", "options")}


def _said(value: Any, *apart: str) -> dict[str, Any]:
    """The fields of a value that are not at their defaults."""
    told = {
        one.name: getattr(value, one.name)
        for one in fields(value)
        if one.name not in apart and getattr(value, one.name) != _default(one)
    }
    return {name: list(one) if isinstance(one, tuple) else one for name, one in told.items()}


def _default(one: Field[Any]) -> Any:
    if one.default_factory is not MISSING:
        return one.default_factory()
    return one.default
