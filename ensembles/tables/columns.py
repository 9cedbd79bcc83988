"""Columns of a frame as plain values, so that every file format gives back the same frame."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import pandas as pd

__all__ = ["describe", "infer", "plain", "restore"]

Value = str | int | float | bool | None

_KNOWN = {
    "lesion": "text",
    "blocks": "text",
    "block_names": "text",
    "adapted": "text",
    "trial": "nullable",
    "seed": "nullable",
    "paths": "exact",
}
_INTEGER = re.compile(r"[+-]?[0-9]+", re.ASCII)


def describe(frame: pd.DataFrame) -> dict[str, str]:
    """Say what each column holds.

    Returns:
        For every column ``text``, ``truth``, ``integer``, ``nullable`` (integers, some
        missing), ``exact`` (integers of any size) or ``number``.
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
    whole = all(isinstance(value, int) and not isinstance(value, bool) for value in column)
    return "exact" if whole and len(column) else "text"


def plain(column: pd.Series[Any], dtype: str) -> list[Value]:
    """Values of a column as Python's own, None where one is missing."""
    pairs = zip(cast("list[str]", column.tolist()), column.isna(), strict=True)
    if dtype == "text":
        return ["" if missing else str(value) for value, missing in pairs]
    convert = _CONVERT[dtype]
    return [None if missing else convert(value) for value, missing in pairs]


def restore(values: Sequence[Value], dtype: str) -> pd.Series[Any]:
    """A column from plain values or their text; the opposite of :func:`plain`.

    Raises:
        ValueError: A value is not of that type.
    """
    if dtype == "text":
        return _series(["" if value is None else str(value) for value in values], "str")
    convert = _CONVERT[dtype]
    given = [None if value is None or value == "" else convert(value) for value in values]
    if dtype == "number":
        return _series([math.nan if value is None else value for value in given], "float64")
    return _series(given, {"integer": "int64", "nullable": "Int64", "truth": "bool"}.get(dtype))


def infer(columns: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Guess from their text what columns hold, where no description lies beside them."""
    return {name: _KNOWN.get(name) or _infer(values) for name, values in columns.items()}


def _infer(values: Sequence[str]) -> str:
    given = [value for value in values if value]
    if given and all(value in {"True", "False"} for value in given):
        return "truth" if len(given) == len(values) else "text"
    if given and all(_INTEGER.fullmatch(value) for value in given):
        if max(abs(int(value)) for value in given) >= 2**63:
            return "exact"
        return "integer" if len(given) == len(values) else "nullable"
    try:
        for value in given:
            float(value)
    except ValueError:
        return "text"
    return "number"


def _truth(value: Value) -> bool:
    if str(value) not in {"True", "False"}:
        raise ValueError(f"{value!r} is neither True nor False")
    return str(value) == "True"


_CONVERT: dict[str, Callable[..., int | float | bool]] = {
    "truth": _truth,
    "integer": int,
    "nullable": int,
    "exact": int,
    "number": float,
}


def _series(values: Sequence[object], dtype: str | None) -> pd.Series[Any]:
    return pd.Series(values, dtype=dtype or object)
