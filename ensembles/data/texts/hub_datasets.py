"""Objects of the package datasets as texts, and as texts with a class each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ensembles.data.splits import choose_split
from ensembles.errors import DataError, nearest

__all__ = ["documents_of", "is_hub_dataset", "labelled_of", "part_of", "title_of"]


def is_hub_dataset(data: Any) -> bool:
    """Whether an object is a ``datasets.Dataset``, or a ``DatasetDict`` of such."""
    if isinstance(data, Mapping):
        return bool(data) and all(map(is_hub_dataset, data.values()))
    return all(hasattr(data, name) for name in ("column_names", "features", "select", "split"))


def part_of(data: Any, split: str) -> tuple[str, Any]:
    """The part of an object that is asked for, and its name; ``all`` where there are no parts.

    Raises:
        DataError: When there is no such part.
    """
    if not isinstance(data, Mapping):
        return str(data.split or "all"), data
    name = choose_split(split, data, "the DatasetDict")
    return name, data[name]


def title_of(data: Any) -> str:
    """What results call an object."""
    one = next(iter(data.values())) if isinstance(data, Mapping) else data
    name = getattr(getattr(one, "info", None), "dataset_name", None)
    return str(name or "datasets")


def documents_of(data: Any, column: str | None) -> list[str]:
    """The texts of a column, those that are empty left out.

    Raises:
        DataError: When there is no such column, or it holds no texts.
    """
    texts = [text for text in _texts(data, column or "text") if text.strip()]
    if not texts:
        raise DataError(f"{title_of(data)} holds no text; expected at least one character")
    return texts


def labelled_of(data: Any, column: str | None, labels: str | None) -> list[tuple[str, Any]]:
    """Text and label of each row.

    Raises:
        DataError: When there is no such column, or no row.
    """
    texts = _texts(data, column or "text")
    if not texts:
        raise DataError(f"{title_of(data)} holds no row; expected at least one text and its label")
    return list(zip(texts, _column(data, labels or "label", "labels="), strict=True))


def _texts(data: Any, column: str) -> list[str]:
    values = _column(data, column, "column=")
    wrong = next((row for row, one in enumerate(values) if not isinstance(one, str)), None)
    if wrong is not None:
        raise DataError(
            f"{title_of(data)}, row {wrong}: the column {column!r} holds a "
            f"{type(values[wrong]).__name__}; expected text"
        )
    return values


def _column(data: Any, column: str, option: str) -> list[Any]:
    names = list(data.column_names or ())
    if column not in names:
        raise DataError(
            f"{title_of(data)} has no column {column!r}, only {', '.join(names) or 'none'}"
            f"{nearest(column, names)}; name it by {option}"
        )
    return list(data[column])
