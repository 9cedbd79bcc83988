"""Sets of named members that other packages and programs can add to."""

from __future__ import annotations

import pkgutil
import warnings
from collections.abc import Iterator, Sequence
from functools import cached_property
from html import escape
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from typing import Any, Generic, NamedTuple, TypeVar, cast, overload

from ensembles.errors import UsageError, nearest
from ensembles.guest import guest

__all__ = ["Entry", "Listing", "OpenSet", "PluginWarning"]

T = TypeVar("T")

PATIENCE = 120
"""Seconds that the module of another package may take to be imported."""


class PluginWarning(UserWarning):
    """A member of an installed package cannot be used; the others can."""


class Entry(NamedTuple):
    """A member of an open set, in a line.

    Attributes:
        name: As calls and the command line take it.
        summary: What it is.
    """

    name: str
    summary: str


class Listing(Sequence[Entry]):
    """The members of an open set, as a small table that prints itself.

    >>> Listing([Entry("kl", "Distance from the intact output"), Entry("top1", "Right answers")])
    kl    Distance from the intact output
    top1  Right answers
    """

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._entries = tuple(entries)

    @property
    def names(self) -> tuple[str, ...]:
        """The names alone."""
        return tuple(entry.name for entry in self._entries)

    @overload
    def __getitem__(self, index: int) -> Entry: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Entry, ...]: ...

    def __getitem__(self, index: int | slice) -> Entry | tuple[Entry, ...]:
        return self._entries[index]

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)

    def __contains__(self, wanted: object) -> bool:
        return wanted in self.names or wanted in self._entries

    def __eq__(self, other: object) -> bool:
        return self._entries == other._entries if isinstance(other, Listing) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._entries)

    def __repr__(self) -> str:
        width = max((len(entry.name) for entry in self._entries), default=0)
        return "\n".join(f"{name.ljust(width)}  {text}".rstrip() for name, text in self._entries)

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td><code>{escape(name)}</code></td><td>{escape(text)}</td></tr>"
            for name, text in self._entries
        )
        return f"<table>{rows}</table>"


class OpenSet(Generic[T]):
    """Members by name: built in, registered by a program, or brought by an installed package.

    Nothing is imported before it is asked for. A built-in member is a file of one folder: the file
    has its name, and holds it as ``MEMBER``. A package brings members by entry points of the set's
    group, whose names are those of the members.

    Args:
        noun: What a member is called in messages, such as "metric".
        group: The group of entry points, such as "ensembles.metrics".
        folder: The package whose modules are the built-in members; empty for none.
        first: Names of built-in members that lists begin with; the others follow by name.
        error: What is raised where a name is unknown.
        base: Class that a member from outside must be an instance of, as "module:attribute";
            empty for any.
        classes: Whether members are subclasses of it instead of instances.
    """

    def __init__(
        self,
        noun: str,
        group: str,
        folder: str = "",
        *,
        first: Sequence[str] = (),
        error: type[UsageError] = UsageError,
        base: str = "",
        classes: bool = False,
    ) -> None:
        self.noun, self.group, self._error = noun, group, error
        self._base, self._classes = base, classes
        self._folder, self._first = folder, tuple(first)
        self._registered: dict[str, T] = {}
        self._loaded: dict[str, T] = {}
        self._warned: set[str] = set()

    def __repr__(self) -> str:
        return f"<open set of the {self.noun}s {', '.join(self.names())}>"

    def __contains__(self, name: object) -> bool:
        return name in self.names()

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    @cached_property
    def _built_in(self) -> tuple[str, ...]:
        spec = find_spec(self._folder) if self._folder else None
        places = [] if spec is None else spec.submodule_search_locations or []
        found = {module.name for module in pkgutil.iter_modules(places)}
        return (*self._first, *sorted(found.difference(self._first)))

    @cached_property
    def _installed(self) -> dict[str, EntryPoint]:
        found: dict[str, EntryPoint] = {}
        for point in entry_points(group=self.group):
            if point.name in self._built_in or point.name in found:
                self._warn(
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
                self._warn(str(error))
        return found

    def listing(self) -> Listing:
        """All members that can be imported, with a line each."""
        members = self.members().items()
        return Listing([Entry(name, str(cast("Any", one).summary)) for name, one in members])

    def register(self, name: str, member: T) -> T:
        """Add a member for the rest of this process.

        Raises:
            UsageError: If the name is taken.
        """
        if name in self.names() and self._registered.get(name) is not member:
            raise self._error(f"{self.noun} '{name}' is there already; choose another name")
        self._require(name, member, "the program")
        self._registered[name] = member
        return member

    def forget(self, name: str) -> None:
        """Take out a member that a program registered."""
        self._registered.pop(name, None)

    def refresh(self) -> None:
        """Look for installed packages anew, as after one was installed while a program runs."""
        vars(self).pop("_installed", None)
        self._loaded.clear()
        self._warned.clear()

    def _load(self, name: str) -> T:
        if name in self._built_in:
            return cast("T", _attribute(f"{self._folder}.{name}:MEMBER"))
        point = self._installed.get(name)
        if point is None:
            known = self.names()
            raise self._error(
                f"{self.noun} '{name}' is unknown; expected {', '.join(known)}"
                + nearest(str(name), known)
            )
        try:
            with guest(PATIENCE):
                member: Any = point.load()
        except (Exception, SystemExit) as error:  # somebody else's module
            reason = " ".join(str(error).split()) or type(error).__name__
            raise self._error(
                f"{self.noun} '{name}' of {_origin(point)} cannot be imported "
                f"({type(error).__name__}: {reason}); mend or remove that package"
            ) from error
        self._require(name, member, _origin(point))
        return cast("T", member)

    def _require(self, name: str, member: object, origin: str) -> None:
        """Refuse what is no member, or calls itself otherwise than it is called."""
        if self._base:
            base = _attribute(self._base)
            if self._classes:
                fits = isinstance(member, type) and issubclass(member, base)
            else:
                fits = isinstance(member, base)
            if not fits:
                expected = "a subclass" if self._classes else "an instance of a subclass"
                place = f"{base.__module__.removesuffix('.base')}.{base.__name__}"
                raise self._error(
                    f"{self.noun} '{name}' of {origin} is {_described(member)}; expected "
                    f"{expected} of {place}"
                )
        own = getattr(member, "kind", None) or getattr(member, "name", None)
        if isinstance(own, str) and own != name:
            raise self._error(
                f"{self.noun} '{name}' of {origin} calls itself '{own}'; expected one name"
            )
        missing = [*sorted(getattr(member, "__abstractmethods__", ()))]
        missing += [] if hasattr(member, "summary") else ["summary"]
        if missing:
            raise self._error(
                f"{self.noun} '{name}' of {origin} lacks {', '.join(missing)}; define what is "
                "missing"
            )

    def _warn(self, line: str) -> None:
        """Warn of a thing once."""
        if line not in self._warned:
            self._warned.add(line)
            warnings.warn(line, PluginWarning, stacklevel=4)


def _attribute(place: str) -> Any:
    home, _, attribute = place.partition(":")
    return getattr(import_module(home), attribute)


def _described(value: object) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else repr(value)


def _origin(point: EntryPoint) -> str:
    return f"the package {point.dist.name}" if point.dist is not None else point.value
