"""The results of a study as tidy tables, and as files."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from ensembles.errors import OutputError, UsageError
from ensembles.lesions import Lesion, parse_lesion
from ensembles.store import Context, Store
from ensembles.studies.registry import opened, read_record
from ensembles.studies.values import Study, Sweep, Unit
from ensembles.tables import check_writable, stack_frames, write_frame

__all__ = ["export", "tables"]

_OF_PATHS = {
    "gradient": ("images", "method", "signs", "samples", "sampling", "statistics", "precision",
                 "seed"),
    "logits": ("images", "statistics", "precision"),
}  # fmt: skip
Group = dict[tuple[str, str, str], list[Lesion]]


def tables(study: Study, store: Store | str | Path) -> dict[str, pd.DataFrame]:
    """Read what a store holds of a study.

    Lesions and path lengths are different things to observe, so each has a table of its own, and so
    have the two directions of paths, whose columns differ.

    Args:
        study: The study; only its results are taken, in its order.
        store: Its store, or the path; it is only read.

    Returns:
        Those of ``lesions``, ``gradient`` and ``logits`` that have rows. Each begins with the
        columns ``model``, ``dataset``, ``split``; then the lesions have ``precision`` and the
        columns of ``ensembles.lesion``, the paths their options and the columns of
        ``ensembles.paths``. ``attrs["study"]`` holds the study, ``attrs["networks"]`` for each
        network its number of rows and the attributes of its table, with what determines its results
        (``key``: sha256 of weights, architecture and data, and the rest of docs/store.md) and the
        provenance of every run that measured some of them; ``ensembles.tables.split_frames`` takes
        them apart again.

    Raises:
        StoreError: If the store cannot be read.
    """
    with opened(store, "r") as db:
        contexts = {context.key.digest: context for context in db.contexts()}
        found = {
            "lesions": list(_swept(study, db, contexts)),
            "gradient": list(_analysed(study, db, contexts, "gradient")),
            "logits": list(_analysed(study, db, contexts, "logits")),
        }
    stacked = {}
    for name, frames in found.items():
        if frames:
            stacked[name] = stack_frames(frames, always=True)
            stacked[name].attrs["study"] = study.described()
    return stacked


def export(
    study: Study, store: Store | str | Path, path: str | Path, table: str | None = None
) -> list[Path]:
    """Write what a store holds of a study.

    Args:
        study: The study.
        store: Its store, or the path; it is only read.
        path: A file ending in ``.csv``, ``.parquet`` or ``.json``. Each table is written beside it:
            ``NAME-lesions``, ``NAME-gradient`` and ``NAME-logits``, as far as there are rows.
        table: One of the three, which is then written to the file itself.

    Returns:
        The files.

    Raises:
        UsageError: If the ending tells no known format, or there is no such table.
        OutputError: If nothing was measured yet, or a file cannot be written.
        StoreError: If the store cannot be read.
    """
    names = ("lesions", *_OF_PATHS)
    if table not in (None, *names):
        raise UsageError(f"table '{table}'; expected {', '.join(names)}")
    check_writable(path)
    found = tables(study, store)
    wanted = {name: frame for name, frame in found.items() if table in (None, name)}
    if not wanted:
        what = f"no {table}" if table else "nothing"
        raise OutputError(f"study {study.name}: the store holds {what} of it yet; run it first")
    path = Path(path)
    return [
        write_frame(frame, path if table else path.with_stem(f"{path.stem}-{name}"))
        for name, frame in wanted.items()
    ]


def _swept(study: Study, store: Store, contexts: dict[str, Context]) -> Iterable[pd.DataFrame]:
    """A table for each network, set of images and precision."""
    groups: dict[str, tuple[Unit, dict[Lesion, None]]] = {}
    for unit in study.units():
        record = read_record(store, study, unit) if isinstance(unit.task, Sweep) else None
        if record is not None and record.context in contexts:
            _, lesions = groups.setdefault(record.context, (unit, {}))
            for kind, blocks, trial in record.lesions:
                draw = None if trial is None else (trial, unit.seed or 0)
                lesions[parse_lesion(kind, blocks, draw)] = None
    for digest, (unit, lesions) in groups.items():
        frame = store.frame(contexts[digest], lesions)
        if not frame.empty:
            precision = {"precision": contexts[digest].key.precision}
            yield _labelled(frame, unit, contexts[digest], precision)


def _analysed(
    study: Study, store: Store, contexts: dict[str, Context], direction: str
) -> Iterable[pd.DataFrame]:
    for unit in study.units():
        if isinstance(unit.task, Sweep) or unit.options.direction != direction:
            continue
        record = read_record(store, study, unit)
        if record is None or record.context not in contexts:
            continue
        frame = store.path_frame(contexts[record.context], unit.options.determining)
        if frame is not None:
            made = frame.attrs["provenance"]
            options = {name: made[name] for name in _OF_PATHS[direction]}
            yield _labelled(frame, unit, contexts[record.context], options)


def _labelled(
    frame: pd.DataFrame, unit: Unit, context: Context, more: dict[str, Any]
) -> pd.DataFrame:
    """Put in front what tells the rows of a table from those of others."""
    dataset = unit.data.label or context.about["dataset"] or unit.data.title
    columns = {"dataset": dataset, "split": context.key.split, **more}
    for place, (name, value) in enumerate(columns.items()):
        frame.insert(place, name, value)
    frame.attrs["model"] = unit.model.title
    frame.attrs["key"] = {k: v for k, v in json.loads(context.key.text).items() if k != "blocks"}
    return frame
