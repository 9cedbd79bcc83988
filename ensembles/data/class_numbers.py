"""Which number of a network's classes a folder or a name of a class has."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from ensembles.data.class_files import check_numbers, is_number, read_classes
from ensembles.errors import DataError, UsageError, nearest

__all__ = [
    "Numbering",
    "class_numbers",
    "class_order",
    "imagenet_synsets",
    "is_synset",
    "read_classes",
]

_SYNSET = re.compile(r"n\d{8}")
_WITH_NUMBER = re.compile(r"(?P<word>(?:.*[^0-9])?)(?P<number>[0-9]{1,18})")
_WORDS = ("text", "numbers")


@dataclass(frozen=True)
class Numbering:
    """Numbers of classes.

    Attributes:
        numbers: The number of each class, in the order in which the names were given.
        names: Names by number; the number itself where none is known.
        told: How the numbers came, in a line; "" where there is no doubt.
    """

    numbers: tuple[int, ...]
    names: tuple[str, ...]
    told: str = ""


def class_order(names: Sequence[str]) -> tuple[str, ...]:
    """Names of class folders in their order: numbers as numbers, others as text.

    >>> class_order(["10", "9", "1"])
    ('1', '9', '10')
    """
    if all(is_number(name) for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def class_numbers(
    names: Sequence[str],
    count: int,
    *,
    known: Sequence[str] = (),
    classes: str | Path | None = None,
    where: str = "the data",
    force: bool = False,
) -> Numbering:
    """The number that a network gives each of some classes, which have names alone.

    The first of these that holds: what a file says; the place of WordNet names in ImageNet's
    list, for 1000 classes; the place of the names in the network's own; the place among the names,
    where there are as many as the network has classes; the names themselves, where they are
    numbers, or one word with numbers, from 0 with gaps.

    Args:
        names: Names of the classes in their order, such as class folders.
        count: How many classes the network has.
        known: The network's own names of its classes, by number, where they are known.
        classes: A file (see `read_classes`); ``text`` for the place among the names sorted as text,
            ``numbers`` for names that are the numbers of their classes, alone or behind one word.
        where: What the data are called in messages.
        force: Whether fewer names than classes count as the first ones, where they are numbered
            from 0 without a gap.

    Raises:
        DataError: When the numbers cannot be known, or the file does not name all classes.
        UsageError: When `classes` is no file and no such word.
    """
    if classes is not None:
        return _asked(names, classes, where)
    if count == len(imagenet_synsets()) and all(map(is_synset, names)):
        return _by_synset(names, where)
    by_name = _by_name(names, known)
    if by_name is not None:
        same = by_name == tuple(range(count))
        told = f"class numbers are those of the network's own names, {_listed(names, by_name)}"
        return Numbering(by_name, tuple(known), "" if same else told)
    places = tuple(range(len(names)))
    if len(names) >= count:
        return Numbering(places, tuple(names), _doubt(names, known))
    numbers = _written_numbers(names)
    if numbers and min(numbers) == 0 and max(numbers) < count:
        told = f"class numbers are those of the names, {_listed(names, numbers)}"
        if force or len(numbers) <= max(numbers):
            return Numbering(numbers, _names_by_number(names, numbers), told)
    listed = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    hint = "" if len(names) > 1 else " (or these images have no labels)"
    close = bool(numbers) and max(numbers) < count
    numbered = ", --classes numbers that the names are the numbers" if close else ""
    raise DataError(
        f"the network has {count:,} classes, {where} has {len(names):,} ({listed}), so class "
        f"numbers would not agree{hint}; say which class each is with --classes FILE"
        f"{numbered} (--classes text: their places), or load a network that was trained on these "
        "classes"
    )


def is_synset(name: str) -> bool:
    """Whether a name is that of a set of synonyms of WordNet, as ImageNet's folders have it."""
    return _SYNSET.fullmatch(name) is not None


@cache
def imagenet_synsets() -> tuple[str, ...]:
    """The 1000 synsets of ILSVRC 2012, sorted, which is the order of the classes of networks.

    Source: the development kit of the challenge (Russakovsky et al. 2015, arXiv 1409.0575).
    """
    text = files("ensembles.data").joinpath("imagenet_synsets.txt").read_text(encoding="ascii")
    return tuple(text.split())


def _by_synset(names: Sequence[str], where: str) -> Numbering:
    synsets = imagenet_synsets()
    place = {name: number for number, name in enumerate(synsets)}
    strange = [name for name in names if name not in place]
    if strange:
        raise DataError(
            f"{where} has {len(strange):,} WordNet names that are none of ImageNet's 1,000 classes "
            f"({', '.join(strange[:3])}); name a file that says which class each is with --classes"
        )
    numbers = tuple(place[name] for name in names)
    few = f"class numbers are those of ImageNet's 1,000 synsets, {_listed(names, numbers)}"
    return Numbering(numbers, synsets, few if len(names) < len(synsets) else "")


def _by_name(names: Sequence[str], known: Sequence[str]) -> tuple[int, ...] | None:
    """Places of names among the network's own, if each is there once."""
    plain = [_plain(name) for name in known]
    times = Counter(plain)
    place = {name: number for number, name in enumerate(plain) if times[name] == 1}
    found = [place.get(_plain(name)) for name in names]
    numbers = tuple(number for number in found if number is not None)
    return numbers if len(set(numbers)) == len(names) else None


def _plain(name: str) -> str:
    return " ".join(re.sub(r"[_\-.\s]+", " ", name.casefold()).split())


def _doubt(names: Sequence[str], known: Sequence[str]) -> str:
    """What may be other than meant about the places among some names; "" for nothing."""
    places = range(len(names))
    reasons = []
    if tuple(names) != tuple(sorted(names)):
        other = _listed(sorted(names), places)
        reasons.append(f"as text they would be {other} (--classes text)")
    elif _natural(names) != tuple(names):
        reasons.append(f"counted they would be {_listed(_natural(names), places)}")
    if all(map(is_number, names)) and tuple(map(int, names)) != tuple(places):
        reasons.append("the names are not the class numbers (--classes numbers takes them so)")
    if known and len(known) <= len(names) and not all(map(is_number, names)):
        reasons.append(f"the network's own names are others ({', '.join(known[:3])}, ...)")
    if not known and not _written_numbers(names):
        reasons.append("the weights do not name their classes")
    if not reasons:
        return ""
    told = f"class numbers are places among the sorted names, {_listed(names, places)}"
    return f"{told}; {'; '.join(reasons)}; --classes FILE gives others"


def _natural(names: Sequence[str]) -> tuple[str, ...]:
    def parts(name: str) -> list[tuple[int, int, str]]:
        found = re.findall(r"[0-9]+|[^0-9]+", name)
        return [(0, int(x), "") if x.isdigit() and len(x) < 19 else (1, 0, x) for x in found]

    return tuple(sorted(names, key=parts))


def _written_numbers(names: Sequence[str]) -> tuple[int, ...]:
    """The numbers that names are, alone or all behind one word (c000, c001); () for other names."""
    found = [_WITH_NUMBER.fullmatch(name) for name in names]
    matches = [one for one in found if one is not None]
    numbers = tuple(int(one["number"]) for one in matches)
    alike = len({one["word"] for one in matches}) == 1 and len(set(numbers)) == len(names)
    return numbers if alike and len(numbers) == len(names) else ()


def _listed(names: Sequence[str], numbers: Sequence[int]) -> str:
    pairs = [f"{number} = {name}" for name, number in zip(names, numbers, strict=True)]
    return ", ".join(pairs if len(pairs) < 5 else [*pairs[:3], "...", pairs[-1]])


def _names_by_number(names: Sequence[str], numbers: Sequence[int]) -> tuple[str, ...]:
    of = dict(zip(numbers, names, strict=True))
    return tuple(of.get(number, str(number)) for number in range(max(numbers) + 1))


def _asked(names: Sequence[str], classes: str | Path, where: str) -> Numbering:
    """The numbers that a file or a word asks for."""
    if classes == "text":
        place = {name: number for number, name in enumerate(sorted(names))}
        numbers = tuple(place[name] for name in names)
        told = f"class numbers are places among the names sorted as text, {_listed(names, numbers)}"
        return Numbering(numbers, tuple(sorted(names)), told)
    if classes == "numbers":
        numbers = _written_numbers(names)
        if not numbers:
            wrong = next((name for name in names if not is_number(name)), names[0])
            raise DataError(
                f"{where} has the class {wrong!r}, which is no number of its own; expected numbers "
                "from 0, alone or behind one word"
            )
        check_numbers(numbers, where)
        told = f"class numbers are those of the names, {_listed(names, numbers)}"
        return Numbering(numbers, _names_by_number(names, numbers), told)
    path = Path(classes).expanduser()
    if not path.exists() and len(path.parts) == 1 and not path.suffix:
        raise UsageError(
            f"classes {str(classes)!r}: there is no such file; expected a file, or "
            f"{' or '.join(_WORDS)}{nearest(str(classes), _WORDS)}"
        )
    return _of_file(names, path, where)


def _of_file(names: Sequence[str], path: Path, where: str) -> Numbering:
    number_of = read_classes(path, names)
    missing = [name for name in names if name not in number_of]
    if missing:
        raise DataError(
            f"{path} does not say which class {len(missing):,} of {where} are "
            f"({', '.join(missing[:3])}); expected a line for each"
        )
    numbers = tuple(number_of[name] for name in names)
    told = f"class numbers are those of {path}, {_listed(names, numbers)}"
    shared = len(numbers) - len(set(numbers))
    if shared:
        told += f"; {shared + 1:,} names or more share a number"
    first = {number: name for name, number in reversed(number_of.items())}
    by_number = tuple(first.get(number, str(number)) for number in range(max(first) + 1))
    return Numbering(numbers, by_number, told)
