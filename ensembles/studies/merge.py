"""Stores from several machines become one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ensembles.errors import StoreError
from ensembles.store import Merged, Store
from ensembles.studies.records import mend_records

if TYPE_CHECKING:
    from ensembles.store.lesions import Name
    from ensembles.store.states import State

__all__ = ["merge"]


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
    """Compare what each store counted of each lesion with the first store that counted it."""
    first: dict[tuple[str, Name, str], tuple[State, str | Path]] = {}
    for path in paths:
        with Store(path, mode="r") as store:
            for context in store.contexts():
                for name, states in store.states(context).items():
                    for metric, state in states.items():
                        key = context.key.digest, name, metric
                        known, where = first.setdefault(key, (state, path))
                        if state.differs(known):
                            what = f"{context.model}, {name.kind} {name.text}".rstrip()
                            raise StoreError(
                                f"stores {where} and {path} differ: {what}: "
                                f"{_said(metric, known)} in the one, {_said(metric, state)} in the "
                                "other, under one key; nothing was merged: measure again on one "
                                "device, or keep the first with --keep-first"
                            )


def _said(metric: str, state: State) -> str:
    """What a metric counted, in words."""
    if metric == "top1":
        from ensembles.store.blobs import decode_state  # noqa: PLC0415 (numpy)

        return f"{int(decode_state(state.content)[0])} of {state.total} right"
    return f"other numbers of {metric} over {state.total}"
