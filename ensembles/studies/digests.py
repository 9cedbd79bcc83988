"""The digest of a unit, under which a store keeps where its results lie.

What version 1 of the program could say has the digest that version 1 gave it, so that its stores go
on serving: a setting that came later is part of the digest only where it is not at its default.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ensembles.studies.texts import counts_text, places_text
from ensembles.studies.values import Data, Measurement, Network, Sweep

if TYPE_CHECKING:
    from ensembles.studies.study import Unit

__all__ = ["digests"]

_ALWAYS = {
    Network: ("name", "checkpoint", "block_names", "block_kinds"),
    Data: ("name", "split", "limit", "normalize", "image_size"),
}
"""What version 1 could say of a network and of data."""

_NOTHING = ("label", "data")
"""What determines no result."""

_PATHS = "paths"
"""The one analysis of version 1 that was not of lesions."""


def digests(unit: Unit) -> tuple[str, ...]:
    """The digests of what a study says of a unit, but for labels.

    Returns:
        The digest; then, where the unit's file writes counts and blocks in another way than
        `texts` does, what version 1 made of it.
    """
    found = [_digest(unit, None)]
    if isinstance(unit.analysis, Sweep) and unit.analysis.written is not None:
        found.append(_digest(unit, unit.analysis.written))
    return tuple(dict.fromkeys(found))


def _digest(unit: Unit, written: tuple[str, str | None] | None) -> str:
    about = [
        _plain(unit.model, Network(unit.model.name)),
        _plain(unit.data, Data()),
        _of_analysis(unit, written),
        unit.precision,
        unit.predictions,
    ]
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def _plain(value: Network | Data, usual: Network | Data) -> dict[str, Any]:
    said, default = asdict(value), asdict(usual)
    return {
        name: one
        for name, one in said.items()
        if name not in _NOTHING and (name in _ALWAYS[type(value)] or one != default[name])
    }


def _of_analysis(unit: Unit, written: tuple[str, str | None] | None) -> dict[str, Any]:
    asked = unit.seeded
    if isinstance(asked, Sweep):
        return _of_sweep(asked, written)
    return _of_measurement(asked)


def _of_sweep(sweep: Sweep, written: tuple[str, str | None] | None) -> dict[str, Any]:
    choice, usual = sweep.choice, Sweep()
    count, blocks = written or (counts_text(choice.counts), places_text(choice))
    told: dict[str, Any] = {
        "kind": choice.kind,
        "count": count,
        "trials": choice.trials,
        "seed": choice.seed,
        "blocks": blocks,
        "skip_transitions": choice.skip_transitions,
        "plan": sweep.plan,
    }
    later: dict[str, Any] = {
        "settings": dict(choice.settings),
        "recalibrated": choice.recalibrated,
        "lesions": None if choice.plan is None else [[one.kind, one.text] for one in choice.plan],
        "metrics": list(sweep.metrics) if sweep.metrics != usual.metrics else None,
        "task": sweep.task,
    }
    return told | {name: one for name, one in later.items() if one not in (None, {})}


def _of_measurement(measurement: Measurement) -> dict[str, Any]:
    options = measurement.chosen
    told = {} if measurement.task is None else {"task": measurement.task}
    if measurement.name == _PATHS:
        return {**options.determining, "engine": options.engine, **told}  # type: ignore[attr-defined]
    return {"analysis": measurement.name, "options": options.determining, **told}
