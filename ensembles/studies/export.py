"""The results of a study as tidy tables, and as files."""

from __future__ import annotations

import json
from collections.abc import Hashable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensembles.errors import OutputError, UsageError, nearest
from ensembles.garbage import collection_paused
from ensembles.store import Context, Store
from ensembles.studies.kept import Found, Kept
from ensembles.studies.records import Record, opened, read_record
from ensembles.studies.study import Study, Unit
from ensembles.studies.units import kept

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["export", "table_names", "tables", "unit_table"]


@collection_paused()
def tables(study: Study, store: Store | str | Path) -> dict[str, pd.DataFrame]:
    """Read what a store holds of a study.

    Different things to observe stand in different tables: ``lesions``, the two directions of paths,
    whose columns differ (``gradient`` and ``logits``), and each other analysis by its name.

    Args:
        study: The study; only its results are taken, in its order.
        store: Its store, or the path; it is only read.

    Returns:
        Those tables that have rows. Each begins with the columns ``model``, ``dataset``, ``split``;
        then the lesions have ``precision`` and the columns of ``ensembles.lesion``, the others
        their options and the columns of their analysis. ``attrs["study"]`` holds the study,
        ``attrs["networks"]`` for each network its number of rows and the attributes of its table,
        with what determines its results (``key``: sha256 of weights, architecture and data, and
        the rest of docs/store.md) and the provenance of every run that measured some of them;
        ``ensembles.tables.split_frames`` takes them apart again.

    Raises:
        StoreError: If the store cannot be read.
    """
    from ensembles.tables import stack_frames  # noqa: PLC0415 (pandas)

    found_in: dict[str, list[pd.DataFrame]] = {name: [] for name in table_names(study)}
    with opened(store, "r") as db:
        found = Found.of(db)
        for form, record in _grouped(study, found):
            frame = form.frame(record, found)
            if frame is not None:
                found_in[form.table].append(_labelled(frame, form, found.contexts[record.context]))
    stacked = {
        name: stack_frames(frames, always=True) for name, frames in found_in.items() if frames
    }
    for table in stacked.values():
        table.attrs["study"] = study.described()
    return stacked


def unit_table(study: Study, store: Store | str | Path, unit: Unit) -> pd.DataFrame | None:
    """Read what a store holds of one unit.

    Args:
        study: The study.
        store: Its store, or the path; it is only read.
        unit: The unit.

    Returns:
        The table that the call returns which the unit stands for (``ensembles.lesion``,
        ``ensembles.paths``, ``ensembles.analyze``); None where there are no rows.

    Raises:
        StoreError: If the store cannot be read.
    """
    with opened(store, "r") as db:
        found, record = Found.of(db), read_record(db, study, unit)
        if record is None:
            return None
        frame = kept(unit).frame(kept(unit).own(record), found)
    if frame is not None:
        frame.attrs["model"] = unit.model.title
        frame.attrs.setdefault("dataset", found.contexts[record.context].about["dataset"])
    return frame


def table_names(study: Study) -> tuple[str, ...]:
    """Names of the tables that a study can have."""
    return tuple(dict.fromkeys(kept(unit).table for unit in study.units()))


@collection_paused()
def export(
    study: Study,
    store: Store | str | Path,
    path: str | Path,
    table: str | None = None,
    *,
    raw: bool = False,
) -> list[Path]:
    """Write what a store holds of a study.

    Args:
        study: The study.
        store: Its store, or the path; it is only read.
        path: A file ending in ``.csv``, ``.parquet`` or ``.json``. Each table is written beside it,
            such as ``NAME-lesions`` and ``NAME-gradient``, as far as there are rows.
        table: One of them, which is then written to the file itself.
        raw: Whether texts stand in CSV files as they are, as ``write_frame`` has it.

    Returns:
        The files.

    Raises:
        UsageError: If the ending tells no known format, or the study has no such table.
        OutputError: If nothing was measured yet, or a file cannot be written.
        StoreError: If the store cannot be read.
    """
    from ensembles.tables import check_writable, write_frame  # noqa: PLC0415 (pandas)

    names = table_names(study)
    if table not in (None, *names):
        raise UsageError(
            f"table '{table}'; the study has {', '.join(names)}{nearest(str(table), names)}"
        )
    check_writable(path)
    found = tables(study, store)
    wanted = {name: frame for name, frame in found.items() if table in (None, name)}
    if not wanted:
        what = f"no {table}" if table else "nothing"
        raise OutputError(f"study {study.name}: the store holds {what} of it yet; run it first")
    path = Path(path)
    return [
        write_frame(frame, path if table else path.with_stem(f"{path.stem}-{name}"), raw=raw)
        for name, frame in wanted.items()
    ]


def _grouped(study: Study, found: Found) -> list[tuple[Kept, Record]]:
    """The units that make one table together, as the first of them with the records of all."""
    groups: dict[Hashable, tuple[Kept, Record]] = {}
    for unit in study.units():
        record, form = read_record(found.store, study, unit), kept(unit)
        if record is None or record.context not in found.contexts:
            continue
        own, key = form.own(record), form.group(record)
        first, known = groups.get(key, (form, Record(record.context)))
        groups[key] = first, known.joined(own)
    return list(groups.values())


def _labelled(frame: pd.DataFrame, form: Kept, context: Context) -> pd.DataFrame:
    """Put in front what tells the rows of a table from those of others."""
    unit = form.unit
    dataset = unit.data.label or context.about["dataset"] or unit.data.title
    columns: dict[str, Any] = {
        "dataset": dataset,
        "split": context.key.split,
        **form.labels(frame),
    }
    for place, (name, value) in enumerate(columns.items()):
        frame.insert(place, name, value)
    frame.attrs["model"] = unit.model.title
    frame.attrs["key"] = {k: v for k, v in json.loads(context.key.text).items() if k != "blocks"}
    return frame
