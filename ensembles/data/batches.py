"""Batches of a chosen size from whatever holds inputs and labels."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from operator import itemgetter
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from ensembles.data.dataset import ImageDataset
from ensembles.data.items import described, pair, type_name
from ensembles.data.rows import Form, Inputs, form_of, joined, mapped
from ensembles.data.texts.windows import TextDataset
from ensembles.errors import DataError, UsageError

__all__ = ["batches", "items_of", "recut"]


def batches(
    data: Dataset[Any] | Iterable[Any], batch_size: int, *, double: bool = False
) -> Iterator[tuple[Any, Tensor]]:
    """Read any data as batches of one size, each row once and in the order of the data.

    An item is a pair of inputs and labels, or a mapping with one of the usual names for each
    (``image``, ``pixel_values``, ``inputs``, ``x``, ``input_ids``; ``label``, ``labels``,
    ``target``, ``y``). Inputs are a tensor of any rank, or a tuple or mapping of tensors for
    networks that take several. With a single label an item is one row; with labels (N,) it is a
    batch of N.

    Args:
        data: One of ours; a torch ``Dataset`` of (input, label); or an iterable of items, most
            often batches (a ``DataLoader``, a list, a generator), which are cut anew to
            ``batch_size``. Images must be floating point and normalised. A generator can be read
            only once.
        batch_size: Rows in a batch; the last batch may be smaller.
        double: Whether float64 stays; otherwise all floating point becomes float32. Whole numbers
            keep their type.

    Returns:
        Pairs of inputs, the rows in dimension 0, and labels, int64 (N,); images are float32
        (N, C, H, W).

    Raises:
        UsageError: When ``batch_size`` is below 1.
        DataError: When an item is something else, labels are not class numbers, rows differ in
            shape or type, or there are none at all; raised while reading.
    """
    if batch_size < 1:
        raise UsageError(f"a batch size of {batch_size}; expected at least 1")
    if isinstance(data, ImageDataset):
        return data.batches(batch_size)
    if isinstance(data, TextDataset):
        raise DataError(
            f"{data.name} is a text, and the network takes images or other rows with a class each; "
            "give such data, or a language model"
        )
    items, single = items_of(data)
    read = partial(pair, single=single, double=double)
    pairs = (read(item, number) for number, item in enumerate(items))
    return recut(pairs, batch_size, once=isinstance(data, Iterator))


def items_of(data: Any) -> tuple[Iterator[Any], bool]:
    """The items of any data, and whether each is one row for certain.

    Raises:
        DataError: When it holds no items.
    """
    if isinstance(data, Dataset) and not isinstance(data, IterableDataset):
        return (data[index] for index in range(_length(data))), True
    if isinstance(data, str | bytes | os.PathLike):
        raise DataError(
            f"cannot read images from the name {os.fsdecode(data)!r}; open it with "
            "ensembles.dataset first"
        )
    if isinstance(data, Mapping):
        raise DataError(
            f"cannot read images from a mapping with {', '.join(map(str, data)) or 'nothing'}; "
            "expected a list of such mappings, one for each batch"
        )
    try:
        return iter(data), False
    except TypeError:
        raise DataError(
            f"cannot read images from a {type(data).__name__}; expected a data set of this "
            "library, a torch Dataset of (image, label), or an iterable of batches"
        ) from None


def _length(data: Any) -> int:
    try:
        return len(data)
    except TypeError:
        raise DataError(
            f"the data set {type(data).__name__} has no length; expected one with __len__ and "
            "__getitem__, or an IterableDataset"
        ) from None


def recut(
    pairs: Iterable[tuple[Inputs, Tensor]],
    batch_size: int,
    *,
    once: bool = False,
    noun: str = "images or other inputs",
) -> Iterator[tuple[Any, Tensor]]:
    """Cut pairs of inputs and targets anew, to one size.

    Args:
        pairs: The rows in dimension 0.
        batch_size: Rows in a batch; the last batch may be smaller.
        once: Whether what they come from can be read only once, for the message.
        noun: What the rows are called, likewise.

    Raises:
        DataError: When rows differ in shape or type, or there are none.
    """
    form: Form | None = None
    waiting: list[Inputs] = []
    targets: list[Tensor] = []
    rows = total = 0
    for number, (some, theirs) in enumerate(pairs):
        form = _same(form, some, number)
        waiting.append(some)
        targets.append(theirs)
        rows += len(theirs)
        total += len(theirs)
        if rows >= batch_size:
            inputs, numbers = joined(waiting), joined(targets)
            whole = rows - rows % batch_size
            for start in range(0, whole, batch_size):
                part = slice(start, start + batch_size)
                yield mapped(itemgetter(part), inputs), numbers[part]
            rest = slice(whole, None)
            waiting, targets = [mapped(itemgetter(rest), inputs)], [numbers[rest]]
            rows -= whole
    if not total:
        reason = "; a generator can be read only once" if once else ""
        raise DataError(f"the data holds no {noun}; expected at least one{reason}")
    if rows:
        yield joined(waiting), joined(targets)


def _same(before: Form | None, inputs: Inputs, number: int) -> Form:
    """The form of some rows, which must be that of those before them."""
    form = form_of(inputs)
    if before is None or form == before:
        return form
    shapes, those = ({name: shape for name, shape, _ in one} for one in (form, before))
    if shapes != those:
        old = those[""] if those.keys() == shapes.keys() == {""} else described(those, 3)
        raise DataError(
            f"item {number} of the data has {described(shapes, 3)}, those before have {old}; "
            "expected one shape"
        )
    types, old_types = (", ".join(type_name(dtype) for *_, dtype in one) for one in (form, before))
    raise DataError(
        f"item {number} of the data has inputs of type {types}, those before have {old_types}; "
        "expected one type"
    )
