"""A store of results: one SQLite file that many processes fill, and that loses and repeats nothing.

    from ensembles import Store

    with Store("study.db") as store:                  # made where there is none
        frame = ensembles.lesion(net, data, lesions, store=store, model="resnet110")
        spectrum = ensembles.paths(net, data, store=store, signs=64)

`ensembles.lesion`, `ensembles.paths` and `ensembles.analyze` take a `Store` or a path. They measure
what is missing, in units that are stored when whole, and return the rows that were asked for, in
their order. Any number of processes may do so at once: each lesion is claimed by one of them.

    with Store("study.db", mode="r") as store:        # only reads; needs no torch
        for context in store.contexts():              # a network on a data set: Context
            context.key                               # what determines its results: Key
            context.about["model"], context.about["dataset"]
            store.frame(context)                      # tidy, as `ensembles.lesion` returns it
            store.frame(context, lesions)             # these lesions, in this order, where known
            store.class_frame(context)                # a row for each lesion and class
            store.outcomes(context)                   # {Lesion without its draw: Outcome}
            store.missing(context, lesions)           # those that were not measured
            store.failures(context)                   # {Lesion: why}
            store.labels(context)                     # numpy int32, (observations,)
            store.predictions(context, lesions)       # {Lesion: int32 (observations,)}
            store.analyses(context)                   # tables, as the analyses returned them
            store.analysis(context, "paths", options) # one of them, or None
        store.summary()                               # a row for each context: numbers of rows
        store.provenance(context)                     # of each run that measured rows of it
        store.note("name")                            # a JSON value that was kept, or None

    with Store("all.db") as store:
        store.merge("other.db")                       # rows that are not there yet; see `Merged`
        store.keep_note("name", {"any": "JSON"})

`Store.ask` gives the handle (`Asked`) by which a program of its own claims and adds lesions.
`ensembles.store.describe(net, data, ...)` makes the context of a network on data, as
`ensembles.lesion` does; `context.key.digest` names it, the same on every machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ensembles.store.asked import Asked, Claimed
from ensembles.store.key import ENGINE_VERSION, Context, Key
from ensembles.store.store import Merged, Store

if TYPE_CHECKING:
    from ensembles.store.description import describe

__all__ = ["ENGINE_VERSION", "Asked", "Claimed", "Context", "Key", "Merged", "Store", "describe"]


def __getattr__(name: str) -> Any:
    if name != "describe":
        raise AttributeError(f"module 'ensembles.store' has no attribute '{name}'")
    from ensembles.store.description import describe  # noqa: PLC0415 (imports torch)

    return describe
