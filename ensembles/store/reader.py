"""What a store tells: networks, counts, tables, summaries."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ensembles.store.claims import is_alive
from ensembles.store.connection import Connection
from ensembles.store.context import Context, Key

if TYPE_CHECKING:  # what is told about a store needs neither pandas nor numpy
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from ensembles.engine.outcome import Outcome
    from ensembles.lesions import Lesion

__all__ = ["Reader", "done_in"]


class Reader:
    """The questions that a store answers.

    Attributes:
        connection: To the store's file.
    """

    connection: Connection

    def contexts(self) -> list[Context]:
        """The networks and data that there are results of, in the order in which they came."""
        sql = "SELECT key, about, labels FROM contexts ORDER BY id"
        return [
            Context(Key.parse(key), json.loads(about), labels)
            for key, about, labels in self.connection.rows(sql)
        ]

    def lesions(
        self, context: Context, lesions: Iterable[Lesion] | None = None
    ) -> dict[Lesion, Outcome]:
        """What is known of lesions.

        Args:
            context: The network and the data.
            lesions: Which ones; by default all.

        Returns:
            The outcome of each lesion that was measured, by the lesion without trial and seed.
        """
        from ensembles.lesions import parse_lesion  # noqa: PLC0415 (only where there is one)
        from ensembles.store.rows import outcome_of  # noqa: PLC0415 (numpy)

        counts = self.counts(context)
        names = counts if lesions is None else {(one.kind, one.text) for one in lesions}
        classes = int(context.about["num_classes"])
        found = ((parse_lesion(*name), counts[name]) for name in names if name in counts)
        return {one: outcome_of(one, row, classes) for one, row in found}

    def failures(self, context: Context) -> dict[Lesion, str]:
        """The lesions that could not be measured, and why; the next run tries them again."""
        from ensembles.lesions import parse_lesion  # noqa: PLC0415 (only where there is one)

        rows = self.connection.rows(
            "SELECT kind, blocks, reason FROM failures JOIN lesions ON id = lesion "
            "WHERE context = ? ORDER BY id",
            (self._id_of(context),),
        )
        return {parse_lesion(kind, blocks): reason for kind, blocks, reason in rows}

    def labels(self, context: Context) -> NDArray[np.int32]:
        """Class number of each image, in order."""
        from ensembles.store.rows import decode_labels  # noqa: PLC0415 (numpy)

        return decode_labels(context.labels)

    def predictions(
        self, context: Context, lesions: Iterable[Lesion] | None = None
    ) -> dict[Lesion, NDArray[np.int32]]:
        """The predicted class of each image, where predictions were kept.

        Args:
            context: The network and the data.
            lesions: Which ones; by default all.

        Returns:
            By the lesion without trial and seed, class numbers (images,); -1 where the logits were
            not finite.
        """
        from ensembles.lesions import parse_lesion  # noqa: PLC0415 (only where there is one)
        from ensembles.store.rows import decode_predictions  # noqa: PLC0415 (numpy)

        rows = self.connection.rows(
            "SELECT kind, blocks, predictions FROM lesions JOIN details ON lesion = id "
            "WHERE context = ? AND predictions IS NOT NULL ORDER BY id",
            (self._id_of(context),),
        )
        wanted = None if lesions is None else {(one.kind, one.text) for one in lesions}
        labels, classes = self.labels(context), int(context.about["num_classes"])
        return {
            parse_lesion(kind, blocks): decode_predictions(content, labels, classes)
            for kind, blocks, content in rows
            if wanted is None or (kind, blocks) in wanted
        }

    def frame(self, context: Context, lesions: Iterable[Lesion] | None = None) -> pd.DataFrame:
        """The results of a network as a tidy table.

        Args:
            context: The network and the data.
            lesions: Which ones, in which order, each under its own trial and seed; by default all
                that were ever asked for, in a fixed order.

        Returns:
            The table that `ensembles.lesion` returns, of the lesions that were measured.
        """
        from ensembles.store.tidy import frame  # noqa: PLC0415 (pandas)

        return frame(self, context, lesions)

    def class_frame(
        self, context: Context, lesions: Iterable[Lesion] | None = None
    ) -> pd.DataFrame:
        """The results of a network, class by class.

        Args:
            context: The network and the data.
            lesions: As for `frame`.

        Returns:
            One row for each lesion and class: `lesion`, `count`, `blocks`, `trial`, `seed`,
            `class`, `correct`, `total`.
        """
        from ensembles.store.tidy import class_frame  # noqa: PLC0415 (pandas)

        return class_frame(self, context, lesions)

    def counts(self, context: Context) -> dict[tuple[str, str], tuple[Any, ...]]:
        """What is known of lesions, by kind and blocks, as `rows.outcome_of` takes it."""
        from ensembles.store.rows import read_counts  # noqa: PLC0415 (numpy)

        return read_counts(self.connection, self._id_of(context))

    def drawn(
        self, context: Context, *, predictions: bool = False
    ) -> list[tuple[str, str, int | None, int | None]]:
        """All lesions that were asked for and measured: kind, blocks, trial and seed.

        Args:
            context: The network and the data.
            predictions: Whether only lesions count whose predictions were kept.
        """
        rows = self.connection.rows(
            "SELECT kind, blocks, trial, seed FROM lesions JOIN draws ON draws.lesion = lesions.id "
            f"JOIN {done_in(predictions)} WHERE context = ?",
            (self._id_of(context),),
        )
        return [
            (kind, blocks, *((trial, seed) if trial >= 0 else (None, None)))
            for kind, blocks, trial, seed in rows
        ]

    def provenance(self, context: Context) -> list[dict[str, Any]]:
        """How the rows of a network were made: one entry for each run that added some."""
        number = self._id_of(context)
        rows = self.connection.rows(
            "SELECT provenance FROM runs WHERE id IN (SELECT run FROM outcomes JOIN lesions ON "
            "lesions.id = lesion WHERE context = ? UNION SELECT run FROM analyses WHERE "
            "context = ?) ORDER BY id",
            (number, number),
        )
        return [json.loads(text) for (text,) in rows]

    def summary(self) -> list[dict[str, Any]]:
        """How much there is of each network.

        Returns:
            One entry for each context: `digest`, `model`, `dataset`, `split`, `images`,
            `precision`, and how many lesions were asked for (`asked`), `measured`, `failed`, are
            being measured (`claimed`), gave logits that are not finite (`nonfinite`), keep their
            `predictions`; and how many path `analyses` there are.
        """
        claims = self.connection.rows(
            "SELECT context, owner, expires FROM claims JOIN lesions ON id = lesion"
        )
        claimed = Counter(number for number, owner, expires in claims if is_alive(owner, expires))
        numbers: dict[str, dict[int, int]] = {"claimed": claimed}
        for name, sql in _COUNTS.items():
            numbers[name] = dict(self.connection.rows(sql))
        rows = self.connection.rows("SELECT id, digest, key, about FROM contexts ORDER BY id")
        return [
            _described(digest, json.loads(key), json.loads(about))
            | {name: numbers[name].get(number, 0) for name in _SHOWN}
            for number, digest, key, about in rows
        ]

    def path_frame(self, context: Context, options: Mapping[str, Any]) -> pd.DataFrame | None:
        """A path analysis as `ensembles.paths` returned it, or None where it was not made."""
        from ensembles.store.analyses import read_analyses  # noqa: PLC0415 (pandas)

        found = read_analyses(self.connection, self._id_of(context), options)
        return found[0] if found else None

    def path_frames(self, context: Context) -> list[pd.DataFrame]:
        """All path analyses of a network, as `ensembles.paths` returned them."""
        from ensembles.store.analyses import read_analyses  # noqa: PLC0415 (pandas)

        return read_analyses(self.connection, self._id_of(context), None)

    def note(self, name: str) -> Any:
        """A JSON value that was kept under a name, or None."""
        rows = self.connection.rows("SELECT value FROM notes WHERE name = ?", (name,))
        return json.loads(rows[0][0]) if rows else None

    def notes(self) -> Iterator[tuple[str, Any]]:
        """All names and values that were kept."""
        rows = self.connection.rows("SELECT name, value FROM notes ORDER BY name")
        return ((name, json.loads(value)) for name, value in rows)

    def _id_of(self, context: Context) -> int:
        """The number of a context; 0, which none has, where it is not there."""
        sql = "SELECT id FROM contexts WHERE digest = ?"
        rows = self.connection.rows(sql, (context.key.digest,))
        return int(rows[0][0]) if rows else 0


_COUNTS = {
    "asked": "SELECT context, count(*) FROM lesions GROUP BY context",
    "measured": "SELECT context, count(*) FROM lesions JOIN outcomes ON lesion = id "
    "GROUP BY context",
    "nonfinite": "SELECT context, count(*) FROM lesions JOIN outcomes ON lesion = id "
    "WHERE nonfinite > 0 GROUP BY context",
    "failed": "SELECT context, count(*) FROM lesions JOIN failures ON lesion = id GROUP BY context",
    "predictions": "SELECT context, count(*) FROM lesions JOIN details ON lesion = id "
    "WHERE predictions IS NOT NULL GROUP BY context",
    "analyses": "SELECT context, count(*) FROM analyses GROUP BY context",
}
_SHOWN = ("asked", "measured", "failed", "claimed", "nonfinite", "predictions", "analyses")


def done_in(predictions: bool) -> str:
    """Where the rows of lesions that are done lie, joined to `lesions`."""
    if predictions:
        return "details ON details.lesion = lesions.id AND predictions IS NOT NULL"
    return "outcomes ON outcomes.lesion = lesions.id"


def _described(digest: str, key: dict[str, Any], about: dict[str, Any]) -> dict[str, Any]:
    named = {name: about.get(name) for name in ("model", "checkpoint", "dataset")}
    return {"digest": digest, **named} | {
        name: key[name] for name in ("split", "images", "normalization", "precision", "engine")
    }
