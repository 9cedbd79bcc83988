"""Labels of data held against the classes of a network."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from ensembles.cards import Card
from ensembles.data import ImageDataset
from ensembles.data.class_numbers import class_numbers
from ensembles.data.texts import LabelledText, TextDataset
from ensembles.errors import DataError
from ensembles.printable import printable

LabelledT = TypeVar("LabelledT", ImageDataset, LabelledText)

__all__ = ["check_classes", "labelled_for"]


def labelled_for(
    card: Card,
    data: LabelledT,
    classes: str | Path | None = None,
    *,
    force: bool = False,
) -> tuple[LabelledT, str]:
    """The data with the class numbers of a network, and how they came, where there is a doubt.

    Args:
        card: What is known about the network's weights.
        data: The data. Labels that are numbers stay, unless `classes` says otherwise.
        classes: As :func:`ensembles.data.class_numbers.class_numbers` takes it.
        force: Likewise.

    Raises:
        DataError: When the classes have names alone, and their numbers cannot be known.
        UsageError: When `classes` is no file and no such word.
    """
    if classes is None and not data.named:
        few = _of_few(data, card.num_classes) if isinstance(data, ImageDataset) else ""
        told = "; ".join(filter(None, (_about(data), few)))
        return data, _line(told)
    where = f"{data.name} ({data.split})"
    found = class_numbers(
        data.classes,
        card.num_classes,
        known=card.classes,
        classes=classes,
        where=where,
        force=force,
    )
    told = "; ".join(filter(None, (_about(data), found.told)))
    if found.numbers == tuple(range(len(data.classes))) and found.names == data.classes:
        return data, _line(told)
    number_of = dict(zip(data.classes, found.numbers, strict=True))
    return data.renumbered(number_of, found.names), _line(told)


def check_classes(card: Card, data: ImageDataset | TextDataset | LabelledText) -> None:
    """Refuse images of fewer classes than the network has: their numbers mean something else.

    Args:
        card: What is known about the network's weights.
        data: The data. Labels that the network does not have are refused by the evaluation.

    Raises:
        DataError: When the network has more classes.
    """
    if isinstance(data, TextDataset | LabelledText):
        return
    if card.num_classes > len(data.classes) and not data.numbered:
        names = ", ".join(data.classes[:3]) + (", ..." if len(data.classes) > 3 else "")
        raise DataError(
            f"the network has {card.num_classes:,} classes, {data.name} {data.split} has "
            f"{len(data.classes):,} ({names}), so class numbers would not agree; name a file that "
            "says which class each is with --classes, load a network that was trained on these "
            "classes, or go on with --force"
        )


def _about(data: ImageDataset | LabelledText) -> str:
    return data.about_labels if isinstance(data, ImageDataset) else ""


def _line(told: str) -> str:
    line = told if told.startswith("labels are") else f"labels: {told}"
    return printable(line, lines=False) if told else ""


def _of_few(data: ImageDataset, count: int) -> str:
    """A doubt about numbers that do not begin at 0, or are those of a few of the classes."""
    low, high = int(data.labels.min()), int(data.labels.max())
    if not data.numbered or low != 1 or high < 2:
        few = data.numbered and len(data.classes) < count
        numbers = f"{low} to {high}" if low < high else str(low)
        return f"labels are the class numbers in the data, {numbers} of {count:,}" if few else ""
    return (
        f"labels are the class numbers in the data, {low} to {high}, none of them 0: if they are "
        "counted from 1, subtract 1, or name a file of names and numbers with --classes"
    )
