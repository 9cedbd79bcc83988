"""Forms of values that come from a file: each reads one, or refuses it in a line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, TypeVar

import numpy as np

from ensembles.errors import UsageError

__all__ = ["Form", "flag", "list_of", "mapping", "mapping_of", "number", "text", "whole"]

T = TypeVar("T")
Form: TypeAlias = Callable[[Any], T]
"""Reads a value; raises :class:`UsageError` that says what was expected and what was found."""


def text(value: Any) -> str:
    """A text."""
    if not isinstance(value, str):
        raise _refusal("a text", value)
    return value


def whole(value: Any) -> int:
    """A whole number of any size."""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return int(value)
    if not isinstance(value, int | np.integer) or isinstance(value, bool):
        raise _refusal("a whole number", value)
    return int(value)


def number(value: Any) -> float:
    """A number; what JSON has no number for is written as "inf" or "-inf"."""
    if isinstance(value, str) and value in ("inf", "-inf"):
        return float(value)
    if not isinstance(value, int | float | np.number) or isinstance(value, bool):
        raise _refusal("a number", value)
    return float(value)


def flag(value: Any) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise _refusal("true or false", value)
    return value


def mapping(value: Any) -> dict[str, Any]:
    """A mapping from texts to whatever JSON holds."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise _refusal("a mapping by names", value)
    return dict(value)


def list_of(form: Form[T]) -> Form[tuple[T, ...]]:
    """A list of values of one form."""

    def read(value: Any) -> tuple[T, ...]:
        if not isinstance(value, list | tuple):
            raise _refusal("a list", value)
        return tuple([_inside(f"entry {place}", form, one) for place, one in enumerate(value, 1)])

    return read


def mapping_of(form: Form[T]) -> Form[dict[str, T]]:
    """A mapping from texts to values of one form."""

    def read(value: Any) -> dict[str, T]:
        return {key: _inside(f"'{key}'", form, one) for key, one in mapping(value).items()}

    return read


def _inside(place: str, form: Form[T], value: Any) -> T:
    try:
        return form(value)
    except UsageError as error:
        raise UsageError(f"{place}: {error}") from error


def _refusal(expected: str, value: Any) -> UsageError:
    shown = repr(value)
    return UsageError(
        f"expected {expected}, found {shown[:57] + '...' if len(shown) > 60 else shown}"
    )
