"""Sets of named members that other packages and programs can add to."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar, cast

from ensembles.errors import UsageError, nearest

__all__ = ["OpenSet", "PluginWarning"]

T = TypeVar("T")


class PluginWarning(UserWarning):
    """A member of an installed package cannot be used; the others can."""


class OpenSet(Generic[T]):
    """Members by name: built in, registered by a program, or brought by an installed package.

    Nothing is imported before it is asked for. A package brings members by entry points of the
    set's group, whose names are those of the members.

    Args:
        noun: What a member is called in messages, such as "metric".
        group: The group of entry points, such as "ensembles.metrics".
        built_in: Where each built-in member lies, as "module:attribute", by its name.
        error: What is raised where a name is unknown.
    """

    def __init__(
        self,
        noun: str,
        group: str,
        built_in: Mapping[str, str],
        error: type[UsageError] = UsageError,
    ) -> None:
        self.noun, self.group, self._error = noun, group, error
        self._built_in = dict(built_in)
        self._registered: dict[str, T] = {}
        self._loaded: dict[str, T] = {}

    @cached_property
    def _installed(self) -> dict[str, EntryPoint]:
        found: dict[str, EntryPoint] = {}
        for point in entry_points(group=self.group):
            if point.name in self._built_in or point.name in found:
                _warn(
                    f"{self.noun} '{point.name}' of {_origin(point)} is left out: the name is taken"
                )
            else:
                found[point.name] = point
        return found

    def names(self) -> tuple[str, ...]:
        """All names: the built-in ones in their order, then the others."""
        others = sorted({*self._registered, *self._installed} - set(self._built_in))
        return (*self._built_in, *others)

    def get(self, name: str) -> T:
        """The member of a name.

        Raises:
            UsageError: If there is none, or the package that brings it cannot be imported.
        """
        if name in self._registered:
            return self._registered[name]
        if name not in self._loaded:
            self._loaded[name] = self._load(name)
        return self._loaded[name]

    def members(self) -> dict[str, T]:
        """All members that can be imported, by name; each of the others is named in a warning."""
        found: dict[str, T] = {}
        for name in self.names():
            try:
                found[name] = self.get(name)
            except UsageError as error:
                _warn(str(error))
        return found

    def register(self, name: str, member: T) -> T:
        """Add a member for the rest of this process.

        Raises:
            UsageError: If the name is taken.
        """
        if name in self.names() and self._registered.get(name) is not member:
            raise self._error(f"{self.noun} '{name}' is there already; choose another name")
        self._registered[name] = member
        return member

    def forget(self, name: str) -> None:
        """Take out a member that a program registered."""
        self._registered.pop(name, None)

    def _load(self, name: str) -> T:
        if name in self._built_in:
            home, _, attribute = self._built_in[name].partition(":")
            return cast("T", getattr(import_module(home), attribute))
        point = self._installed.get(name)
        if point is None:
            known = self.names()
            raise self._error(
                f"{self.noun} '{name}' is unknown; expected {', '.join(known)}"
                + nearest(name, known)
            )
        try:
            member: Any = point.load()
        except Exception as error:  # somebody else's module
            reason = " ".join(str(error).split()) or type(error).__name__
            raise self._error(
                f"{self.noun} '{name}' of {_origin(point)} cannot be imported "
                f"({type(error).__name__}: {reason}); mend or remove that package"
            ) from error
        return cast("T", member)


def _origin(point: EntryPoint) -> str:
    return f"the package {point.dist.name}" if point.dist is not None else point.value


def _warn(line: str) -> None:
    warnings.warn(line, PluginWarning, stacklevel=3)
