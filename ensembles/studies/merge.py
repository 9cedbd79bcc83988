"""Stores from several machines become one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ensembles.errors import StoreError
from ensembles.store import Merged, Store
from ensembles.studies.registry import mend_records

__all__ = ["merge"]

_Counts = tuple[int, int, int]


def merge(target: str | Path, sources: Sequence[str | Path], *, keep_first: bool = False) -> Merged:
    """Take over into one store what others hold.

    Stores that hold other counts under the same key are refused before anything is written: on one
    kind of device with one version of torch they are the same, so one of the machines has computed
    something else.

    Args:
        target: The store that grows; made where there is none.
        sources: The others, which are only read.
        keep_first: Whether of different counts the first are kept: the target's, then those of the
            sources in their order.

    Returns:
        How much was added, was known, and was different, over all sources.

    Raises:
        StoreError: If counts differ, or a store cannot be read or written.
    """
    there = [target] if Path(target).exists() else []
    for source in sources:
        Store(source, mode="r").close()
    if not keep_first:
        _refuse_conflicts([*there, *sources])
    with Store(target) as store:
        merged = [_take_over(store, source) for source in sources]
    return Merged(
        added=sum(one.added for one in merged),
        known=sum(one.known for one in merged),
        different=sum(one.different for one in merged),
    )


def _take_over(store: Store, source: str | Path) -> Merged:
    merged = store.merge(source)
    with Store(source, mode="r") as other:
        mend_records(store, other)
    return merged


def _refuse_conflicts(paths: Sequence[str | Path]) -> None:
    """Compare each lesion of each store with the first store that has it."""
    first: dict[tuple[str, str, str], tuple[_Counts, str | Path]] = {}
    for path in paths:
        with Store(path, mode="r") as store:
            for context in store.contexts():
                for one, found in store.outcomes(context, metrics="top1").items():
                    counts = (found.correct, found.total, found.nonfinite)
                    key = (context.key.digest, one.kind, one.text)
                    known, where = first.setdefault(key, (counts, path))
                    if known != counts:
                        what = f"{context.model}, {one.kind} {one.text}".rstrip()
                        raise StoreError(
                            f"stores {where} and {path} differ: {what}: {known[0]} of {known[1]} "
                            f"right in the one, {counts[0]} of {counts[1]} in the other, under one "
                            "key; nothing was merged: measure again on one device, or keep the "
                            "first with --keep-first"
                        )
