"""Columns of a table as plain values, so that every file format gives back the same table."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias, cast

import numpy as np
import pandas as pd

from ensembles.tables.schema import LESION_COLUMNS

__all__ = ["Counts", "Value", "describe", "infer", "plain", "restore", "series"]

Counts: TypeAlias = "list[int | Counts]"
"""Whole numbers in a list, or in lists of lists."""

Value: TypeAlias = "str | int | float | bool | Counts | list[float] | None"

_KNOWN = {n: held for n, (held, _) in LESION_COLUMNS.items() if held in ("text", "nullable")}
_KNOWN["paths"] = "exact"
_NUMBERS = {n for n, (held, _) in LESION_COLUMNS.items() if held == "number"}
_INTEGER = re.compile(r"[+-]?[0-9]+", re.ASCII)
_NUMBER_LIST = re.compile(r"\[[-+0-9.eEinfNa,\s]*\]", re.ASCII)
_COUNTS = re.compile(r"\[[-0-9,\s\[\]]*\]", re.ASCII)


def describe(frame: pd.DataFrame) -> dict[str, str]:
    """Say what each column holds.

    Returns:
        For every column ``text``, ``truth``, ``integer``, ``nullable`` (integers, some
        missing), ``exact`` (integers of any size), ``number``, ``counts`` (lists of integers,
        some missing) or ``numbers`` (lists of numbers).
    """
    return {str(name): _describe(frame[name]) for name in frame.columns}


def _describe(column: pd.Series[Any]) -> str:
    types = pd.api.types
    if types.is_bool_dtype(column):
        return "truth"
    if types.is_integer_dtype(column):
        return "integer" if isinstance(column.dtype, np.dtype) else "nullable"
    if types.is_float_dtype(column):
        return "number"
    if isinstance(column.dtype, pd.StringDtype):  # no need to look at the values
        return "text"
    if len(column) and all(_whole(value) for value in column):
        return "exact"
    given = [value for value in column if not _missing(value)]
    lists = {"counts": _is_counts, "numbers": _are_numbers}
    fitting = (name for name, fits in lists.items() if given and all(map(fits, given)))
    return next(fitting, "text")


def plain(column: pd.Series[Any], dtype: str) -> list[Value]:
    """Values of a column as Python's own, None where one is missing."""
    if dtype in ("counts", "numbers"):
        made = _CONVERT[dtype]
        return [None if _missing(value) else made(value) for value in column]
    if dtype == "text":
        if isinstance(column.dtype, pd.StringDtype):
            return cast("list[Value]", column.fillna("").to_numpy(object).tolist())
        pairs = zip(cast("list[str]", column.tolist()), column.isna(), strict=True)
        return ["" if missing else str(value) for value, missing in pairs]
    values, missing = cast("list[str]", column.tolist()), column.isna()
    if not missing.any() and _holds(column, dtype):
        return cast("list[Value]", values)
    convert = _CONVERT[dtype]
    return [None if no else convert(value) for value, no in zip(values, missing, strict=True)]


def _holds(column: pd.Series[Any], dtype: str) -> bool:
    """Whether a column's list already holds Python's own values of a type."""
    letters = {"integer": "i", "nullable": "i", "number": "f", "truth": "b"}
    found = column.dtype.kind if isinstance(column.dtype, np.dtype) else "?"
    return found == letters.get(dtype)


def restore(values: Sequence[Value], dtype: str) -> pd.Series[Any]:
    """A column from plain values or their text; the opposite of :func:`plain`.

    Raises:
        ValueError: A value is not of that type.
    """
    if dtype == "text":
        return series(["" if value is None else str(value) for value in values], "text")
    convert = _CONVERT[dtype]
    given = [None if value is None or value == "" else convert(value) for value in values]
    if dtype == "number":
        given = [math.nan if value is None else value for value in given]
    return series(given, dtype)


def series(values: Sequence[object], dtype: str) -> pd.Series[Any]:
    """A column of one of the types of :func:`describe`.

    Args:
        values: Its values.
        dtype: What it holds.
    """
    return pd.Series(list(values), dtype=_DTYPES[dtype])


def infer(columns: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Guess from their text what columns hold, where no description lies beside them."""
    found = {name: _KNOWN.get(name) or _infer(values) for name, values in columns.items()}
    whole = ("integer", "nullable")
    return {n: "number" if n in _NUMBERS and held in whole else held for n, held in found.items()}


def _infer(values: Sequence[str]) -> str:
    given = [value for value in values if value]
    if given and all(value in {"True", "False"} for value in given):
        return "truth" if len(given) == len(values) else "text"
    if given and all(_INTEGER.fullmatch(value) for value in given):
        if max(abs(int(value)) for value in given) >= 2**63:
            return "exact"
        return "integer" if len(given) == len(values) else "nullable"
    lists = {"counts": (_COUNTS, _counts), "numbers": (_NUMBER_LIST, _numbers)}
    for name, (pattern, read) in lists.items():
        if given and all(pattern.fullmatch(one) and _readable(one, read) for one in given):
            return name
    try:
        for value in given:
            float(value)
    except ValueError:
        return "text"
    return "number"


def _readable(value: str, read: Callable[[object], Any]) -> bool:
    try:
        read(value)
    except (ValueError, RecursionError):
        return False
    return True


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _missing(value: object) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))


def _leaves(value: object) -> Iterator[Any]:
    if isinstance(value, list | tuple | np.ndarray):
        for one in value:
            yield from _leaves(one)
    else:
        yield value


def _is_counts(value: object) -> bool:
    return isinstance(value, list | tuple | np.ndarray) and all(
        isinstance(one, np.integer) or _whole(one) for one in _leaves(value)
    )


def _are_numbers(value: object) -> bool:
    return isinstance(value, list | tuple | np.ndarray) and all(
        isinstance(one, int | float | np.integer | np.floating) and not isinstance(one, bool)
        for one in value
    )


def _numbers(value: object) -> list[float]:
    """A list of Python's own numbers, from a list, a tuple, an array or its text."""
    found = json.loads(value) if isinstance(value, str) else value
    if not _are_numbers(found):
        raise ValueError(f"{value!r} is no list of numbers")
    return [float(one) for one in cast("list[Any]", found)]


def _counts(value: object) -> Counts:
    """Lists of Python's own integers, from lists, tuples, arrays or their text."""
    found = json.loads(value) if isinstance(value, str) else value
    if not _is_counts(found):
        raise ValueError(f"{value!r} is no list of whole numbers")
    return cast("Counts", _listed(found))


def _listed(value: Any) -> Any:
    if isinstance(value, list | tuple | np.ndarray):
        return [_listed(one) for one in value]
    return int(value)


def _truth(value: Value) -> bool:
    if str(value) not in {"True", "False"}:
        raise ValueError(f"{value!r} is neither True nor False")
    return str(value) == "True"


_CONVERT: dict[str, Callable[..., Any]] = {
    "truth": _truth,
    "integer": int,
    "nullable": int,
    "exact": int,
    "number": float,
    "counts": _counts,
    "numbers": _numbers,
}
_DTYPES: dict[str, str] = {
    "text": "str",
    "truth": "bool",
    "integer": "int64",
    "nullable": "Int64",
    "exact": "object",
    "number": "float64",
    "counts": "object",
    "numbers": "object",
}
