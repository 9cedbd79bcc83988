"""Lists of lesions in files: tables with the columns `lesion` and `blocks`."""

from __future__ import annotations

import csv
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from ensembles.bounded import read_text
from ensembles.errors import LesionError
from ensembles.lesions.kinds import parse_lesion

if TYPE_CHECKING:
    from ensembles.lesions.base import Lesion
    from ensembles.lesions.structure import Structure

__all__ = ["read_plan"]

_COLUMNS = ("lesion", "blocks")
_LARGEST_PLAN = 64 << 20


def read_plan(source: str | Path | TextIO, structure: Structure | None = None) -> list[Lesion]:
    """Read an explicit list of lesions from a CSV file.

    Args:
        source: Path or open file; columns ``lesion`` and ``blocks``, others are not read.
        structure: The network that each line is held against; None for none.

    Returns:
        The lesions, in the order of the file, repeated ones too.

    Raises:
        LesionError: If the file cannot be read, lacks a column, holds no lesions, or has a line
            that is none, or none for this network; the message names file and line.
    """
    if isinstance(source, str | Path):
        text = read_text(
            source, "plan", error=LesionError, most=_LARGEST_PLAN, encoding="utf-8-sig"
        )
        return _lesions(StringIO(text), str(source), structure)
    return _lesions(source, str(getattr(source, "name", "<file>")), structure)


def _lesions(file: TextIO, name: str, structure: Structure | None) -> list[Lesion]:
    reader = csv.DictReader(file, strict=True)
    lesions = []
    try:
        columns = [column.strip() for column in reader.fieldnames or ()]
        missing = [column for column in _COLUMNS if column not in columns]
        if missing:
            raise LesionError(
                f"plan {name}: no column {' and no column '.join(missing)} among "
                f"{', '.join(columns) or 'none'}; expected lesion,blocks"
            )
        reader.fieldnames = columns
        for row in reader:
            try:
                lesion = parse_lesion((row["lesion"] or "").strip(), row["blocks"] or "")
                if structure is not None:
                    lesion.require(structure)
            except LesionError as error:
                raise LesionError(f"plan {name}, line {reader.line_num}: {error}") from None
            lesions.append(lesion)
    except (csv.Error, UnicodeDecodeError) as error:
        raise LesionError(
            f"plan {name}, line {reader.line_num}: is no CSV text ({error})"
        ) from None
    if not lesions:
        raise LesionError(f"plan {name}: no lesions below the header lesion,blocks")
    return lesions
