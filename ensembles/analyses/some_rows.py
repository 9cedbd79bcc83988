"""Some rows of a data set, for analyses that run it many times."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch.utils.data import Dataset, IterableDataset, Subset

from ensembles.data import ImageDataset
from ensembles.data.texts import LabelledText, TextDataset
from ensembles.errors import DataError

__all__ = ["some_rows"]


def some_rows(data: Any, count: int, name: str) -> Any:
    """At most so many rows, spread evenly over the data.

    Args:
        data: Whatever an analysis takes. What is no data set of known length, such as a list of
            batches, is taken whole.
        count: How many rows (images, windows); 0 for all.
        name: Name of the analysis, for messages.

    Raises:
        DataError: If the data can be read only once.
    """
    if isinstance(data, Iterator):
        raise DataError(
            f"the data can be read only once, and {name} reads them several times: give a data "
            "set, or a list of batches"
        )
    if isinstance(data, ImageDataset | LabelledText | TextDataset):
        return data.limited(count) if 0 < count < len(data) else data
    if isinstance(data, Dataset) and not isinstance(data, IterableDataset):
        total = len(data)  # type: ignore[arg-type]
        if 0 < count < total:
            return Subset(data, [place * total // count for place in range(count)])
    return data
