"""The errors of the library: one base, a few kinds.

Every message is one line that says what was found, what was expected and what to do.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from ensembles.printable import printable

__all__ = [
    "CheckpointError",
    "DataError",
    "DataWarning",
    "DecompositionError",
    "EnsemblesError",
    "EvaluationError",
    "LesionError",
    "ModelError",
    "OutOfMemoryError",
    "OutputError",
    "PathError",
    "RoundingError",
    "StoreError",
    "UsageError",
    "nearest",
]


_LONGEST = 4000
_ALIKE = 0.6  # of 1: difflib's measure of two names
_BEGINNING = 3  # letters, from which the beginning of a name says which is meant


class EnsemblesError(Exception):
    """Base of every error that the library raises on purpose.

    What it says may hold names from files: it is written so that none of them acts on a terminal.
    """

    exit_code = 1

    def __str__(self) -> str:
        said = printable(super().__str__(), lines=False)
        if len(said) <= _LONGEST:
            return said
        return f"{said[: 3 * _LONGEST // 4]} ... {said[-_LONGEST // 4 :]}"  # its end says why


class UsageError(EnsemblesError):
    """An argument or option has a value that cannot be meant."""

    exit_code = 2


class ModelError(EnsemblesError):
    """A model cannot be named, built or run as asked."""


class DataError(EnsemblesError):
    """A data set is missing, malformed, or does not fit the model."""


class DataWarning(UserWarning):
    """Data are read otherwise than they stand there, without a doubt."""


class CheckpointError(EnsemblesError):
    """A file of weights is unsafe, damaged, or does not fit the architecture."""


class DecompositionError(EnsemblesError):
    """A network cannot be taken apart, or its parts do not add up to it."""


class LesionError(UsageError):
    """A lesion names blocks that do not exist or cannot be treated so."""


class EvaluationError(EnsemblesError):
    """An evaluation cannot be carried out, or gives numbers that are not finite."""


class OutOfMemoryError(EvaluationError):
    """Memory runs out, however few images are run at a time."""


class PathError(EnsemblesError):
    """Paths are not defined for a network, or their sum misses the network's own value."""


class RoundingError(PathError):
    """A sum over paths misses the network's own value in single precision; double may do."""


class OutputError(EnsemblesError):
    """A result cannot be written where it was asked for."""


class StoreError(OutputError):
    """A store of results cannot be opened, read, written or shared."""


def nearest(name: str, known: Iterable[str], count: int = 3) -> str:
    """Suggest the names closest to a misspelt or shortened one.

    Args:
        name: What the user wrote.
        known: The names there are.
        count: At most so many suggestions.

    Returns:
        ``"; did you mean a, b or c?"``, or an empty string when nothing is close. Names that begin
        with what was written come first, the shortest of them first; upper and lower case are one.

    >>> nearest("resnet111", ["resnet110", "vgg15"])
    '; did you mean resnet110?'
    >>> nearest("smollm2", ["vgg15", "smollm2-135m"])
    '; did you mean smollm2-135m?'
    >>> nearest("leison", ["Lesion", "lesion"])
    '; did you mean lesion?'
    """
    by_letters: dict[str, str] = {}
    backward = reversed(list(known))  # so that the first of equals is kept
    for one in sorted(backward, key=lambda one: sum(map(str.__eq__, one, name))):
        by_letters[one.casefold()] = one  # of those that differ by case, the one written most alike
    wanted = name.casefold()
    if wanted in by_letters:
        return f"; did you mean {by_letters[wanted]}?"
    longer = [one for one in by_letters if len(wanted) >= _BEGINNING and one.startswith(wanted)]
    alike = get_close_matches(wanted, by_letters, n=count, cutoff=_ALIKE)
    found = dict.fromkeys((*sorted(longer, key=lambda one: (len(one), one)), *alike))
    close = [by_letters[one] for one in found][:count]
    if not close:
        return ""
    listed = close[0] if len(close) == 1 else ", ".join(close[:-1]) + " or " + close[-1]
    return f"; did you mean {listed}?"
