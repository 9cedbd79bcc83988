"""How much a store holds of each network; nothing is decoded for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ensembles.store.claims import claims_by_context
from ensembles.store.contexts import all_contexts

if TYPE_CHECKING:
    from ensembles.store.connection import Connection
    from ensembles.store.key import Context

__all__ = ["summarise"]

_MEASURED = "EXISTS (SELECT 1 FROM states WHERE lesion = lesions.id{})"
_COUNTED = "SELECT context, count(*) FROM lesions WHERE {} GROUP BY context"
_COUNTS = {
    "asked": _COUNTED.format("TRUE"),
    "measured": _COUNTED.format(_MEASURED.format("")),
    "nonfinite": _COUNTED.format(_MEASURED.format(" AND nonfinite > 0")),
    "failed": "SELECT context, count(*) FROM lesions JOIN failures ON lesion = id GROUP BY context",
    "predictions": "SELECT context, count(*) FROM lesions JOIN predictions ON lesion = id "
    "GROUP BY context",
    "analyses": "SELECT context, count(*) FROM analyses GROUP BY context",
}
_METRICS = "SELECT DISTINCT context, metric FROM lesions JOIN states ON lesion = lesions.id"
_SHOWN = ("asked", "measured", "failed", "claimed", "nonfinite", "predictions", "analyses")
_OF_THE_KEY = ("split", "images", "normalization", "precision", "engine")


def summarise(connection: Connection) -> list[dict[str, Any]]:
    """One entry for each context, as `Reader.summary` tells it."""
    numbers: dict[str, dict[int, int]] = {"claimed": claims_by_context(connection)}
    for name, sql in _COUNTS.items():
        numbers[name] = dict(connection.rows(sql))
    metrics: dict[int, list[str]] = {}
    for context, metric in sorted(connection.rows(_METRICS)):
        metrics.setdefault(context, []).append(metric)
    return [
        _described(context)
        | {"metrics": metrics.get(number, [])}
        | {name: numbers[name].get(number, 0) for name in _SHOWN}
        for number, context in all_contexts(connection).items()
    ]


def _described(context: Context) -> dict[str, Any]:
    named = {name: context.about.get(name) for name in ("model", "checkpoint", "dataset")}
    told = {name: getattr(context.key, name) for name in (*_OF_THE_KEY, "task")}
    return {"digest": context.key.digest, **named, **told}
