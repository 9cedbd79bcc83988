"""Things by name, and of those that are not there the reason why."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

__all__ = ["Named", "NotMeasured"]

T = TypeVar("T")


class NotMeasured(Exception):  # noqa: N818 - no error: a claim that stays open
    """Something cannot be measured here.

    Args:
        why: In a few words.
        command: What would make it measurable.
    """

    def __init__(self, why: str, command: str = "") -> None:
        super().__init__(why)
        self.why = why
        self.command = command


class Named(dict[str, T]):
    """Things by name; one that is missing says why when it is asked for.

    Attributes:
        missing: Why the others are not there, by their name.
    """

    def __init__(self) -> None:
        super().__init__()
        self.missing: dict[str, NotMeasured] = {}

    def __missing__(self, name: str) -> T:
        raise self.missing.get(name) or NotMeasured(f"no table {name}")

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Keep the reason why a thing cannot be made, rather than stop."""
        try:
            yield
        except NotMeasured as reason:
            self.missing[name] = reason
