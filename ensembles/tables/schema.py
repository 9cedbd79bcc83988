"""The written form of every table of results: its columns, and what its `attrs` hold.

A table is a pandas frame. Its ``attrs`` are plain values that JSON holds; :class:`Attributes` reads
them, each key with its type, and writes them. Keys that are not listed there belong to whoever made
the table, and are kept as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import pandas as pd

from ensembles.errors import UsageError
from ensembles.tables.forms import Form, list_of, mapping, mapping_of, number, text, whole

__all__ = [
    "INTACT", "LESION_COLUMNS", "WHOLE", "Attributes", "Failure", "Network", "check_columns",
    "is_lesion_table", "require_columns",
]  # fmt: skip

INTACT = "none"
"""What the column `lesion` holds in the row of the intact network."""

WHOLE = (INTACT, "")
"""Kind and text of the intact network."""

LESION_COLUMNS = {
    "lesion": ("text", 'Kind of the lesion; "none" for the intact network, in the first row.'),
    "count": ("integer", "Its size: blocks, swaps, branches or the length of a span."),
    "blocks": ("text", "Its text: the blocks and the settings of the lesion, a seed included."),
    "block_names": ("text", "The modules that it touches."),
    "kendall_tau": ("number", "Kendall tau of the order; NaN unless blocks only change places."),
    "trial": ("nullable", "Number of the random draw that it came from."),
    "seed": ("nullable", "Seed of the random draws."),
    "correct": ("integer", "Observations that are answered right."),
    "total": ("integer", "Observations."),
    "error": ("number", "Share of observations that are answered wrong; NaN if not finite."),
    "loss": ("number", "Mean cross-entropy in nats; NaN if not finite."),
    "nonfinite": ("integer", "Observations whose output was not finite."),
    "material": (
        "text",
        "What it was measured with beside the network, where a store has several.",
    ),
    "adapted": ("text", "Deleted blocks that something stands in for, since the shape changes."),
}
"""Columns of a table of lesions, as far as they were measured: their type and meaning.

The columns of further metrics stand before `nonfinite`.
"""


@dataclass(frozen=True)
class Failure:
    """A lesion that could not be measured.

    Attributes:
        lesion: Its kind.
        blocks: Its text.
        reason: Why.
    """

    lesion: str
    blocks: str
    reason: str

    @classmethod
    def read(cls, value: Any) -> Failure:
        """From a mapping with these keys."""
        return cls(*(_entry(mapping(value), name, text) for name in ("lesion", "blocks", "reason")))


@dataclass(frozen=True)
class Network:
    """A table that was put together with others.

    Attributes:
        rows: How many rows are its.
        attrs: Its attributes, as they were.
        columns: Its columns, and what each holds; None, in older files, for all.
    """

    rows: int
    attrs: dict[str, Any]
    columns: dict[str, str] | None = None

    @classmethod
    def read(cls, value: Any) -> Network:
        """From a mapping with these keys."""
        given = mapping(value)
        columns = None
        if given.get("columns") is not None:
            columns = _entry(given, "columns", mapping_of(text))
        found = cls(_entry(given, "rows", whole), _entry(given, "attrs", mapping), columns)
        if found.rows < 0:
            raise UsageError(f"rows: expected 0 or more, found {found.rows}")
        Attributes.read(found.attrs)
        return found


def _key(form: Form[Any], meaning: str) -> dict[str, Any]:
    return {"form": form, "meaning": meaning}


@dataclass(frozen=True)
class Attributes:
    """What the `attrs` of a table hold; None, or empty, where nothing is known.

    Attributes:
        more: Keys of whoever made the table, as they are.
    """

    analysis: str | None = field(
        default=None, metadata=_key(text, "Name of the analysis that made the table.")
    )
    options: dict[str, Any] = field(
        default_factory=dict,
        metadata=_key(mapping, "Its options, as far as they determine the result."),
    )
    model: str | None = field(
        default=None, metadata=_key(text, "Name of the network, for legends.")
    )
    dataset: str | None = field(default=None, metadata=_key(text, "Name of the data, for legends."))
    task: str | None = field(
        default=None, metadata=_key(text, "What is asked of the network, such as classification.")
    )
    observation: str | None = field(
        default=None, metadata=_key(text, "What one observation is, such as image or token.")
    )
    metrics: tuple[str, ...] = field(
        default=(), metadata=_key(list_of(text), "Names of the metrics that were asked for.")
    )
    blocks: int | None = field(
        default=None, metadata=_key(whole, "Number of blocks of the network.")
    )
    transitions: tuple[int, ...] = field(
        default=(),
        metadata=_key(list_of(whole), "Numbers of the blocks whose shortcut is not the identity."),
    )
    adapted: dict[str, str] = field(
        default_factory=dict,
        metadata=_key(
            mapping_of(text), "What stands in for deleted blocks that change the shape, by name."
        ),
    )
    chance: float | None = field(
        default=None, metadata=_key(number, "Error of a network that guesses, a share.")
    )
    chances: dict[str, float] = field(
        default_factory=dict,
        metadata=_key(mapping_of(number), "Other columns of a network that guesses, where known."),
    )
    provenance: dict[str, Any] = field(
        default_factory=dict,
        metadata=_key(
            mapping, "Where, when and with what the table was made; of a store its first run."
        ),
    )
    runs: tuple[dict[str, Any], ...] = field(
        default=(),
        metadata=_key(list_of(mapping), "The provenance of every run that a store took rows from."),
    )
    store: dict[str, Any] = field(
        default_factory=dict,
        metadata=_key(
            mapping, "Of a store: path, context, and how many rows were measured and known."
        ),
    )
    failed: tuple[Failure, ...] = field(
        default=(),
        metadata=_key(
            list_of(Failure.read), "Lesions that could not be measured: lesion, blocks, reason."
        ),
    )
    direction: str | None = field(
        default=None, metadata=_key(text, "Of a path analysis: gradient or logits.")
    )
    weight_layers: tuple[tuple[int, ...], ...] = field(
        default=(),
        metadata=_key(
            list_of(list_of(whole)),
            "Of a path analysis: paths by branches and weight layers, as triples with a number.",
        ),
    )
    sum_error: float | None = field(
        default=None,
        metadata=_key(number, "Of a path analysis: relative error of the sum over all lengths."),
    )
    cancellation: dict[str, float] = field(
        default_factory=dict,
        metadata=_key(
            mapping_of(number),
            "Of exact paths: by place, the sum over lengths of the norms over the norm of their "
            "sum, the median over images.",
        ),
    )
    accuracy: float | None = field(
        default=None,
        metadata=_key(number, "Of a path analysis of logits: accuracy of all paths."),
    )
    constant_norm: float | None = field(
        default=None, metadata=_key(number, "Of a path analysis of logits: norm of the bias.")
    )
    by: str | None = field(
        default=None, metadata=_key(text, "Of counted paths: what length means.")
    )
    images: int | None = field(
        default=None, metadata=_key(whole, "How many observations a table by observation holds.")
    )
    observations: int | None = field(
        default=None,
        metadata=_key(whole, "How many observations each number of an analysis is over."),
    )
    reshaping: tuple[int, ...] = field(
        default=(), metadata=_key(list_of(whole), "Numbers of the blocks that change the shape.")
    )
    key: dict[str, Any] = field(
        default_factory=dict,
        metadata=_key(mapping, "What determines the results, as the store keeps it."),
    )
    study: dict[str, Any] = field(
        default_factory=dict,
        metadata=_key(mapping, "The study that the tables were exported from."),
    )
    networks: tuple[Network, ...] = field(
        default=(),
        metadata=_key(
            list_of(Network.read), "Tables in one file: the number of rows and the attrs of each."
        ),
    )
    more: Mapping[str, Any] = field(default_factory=dict)

    _OWN: ClassVar[str] = "more"

    @classmethod
    def read(cls, attrs: Mapping[str, Any]) -> Attributes:
        """Read what a table's `attrs` hold.

        Raises:
            UsageError: A value has another type than its key; the line names the key.
        """
        forms = {one.name: one.metadata["form"] for one in fields(cls) if one.name != cls._OWN}
        found = {
            name: _entry(attrs, name, form)
            for name, form in forms.items()
            if attrs.get(name) is not None
        }
        return cls(**found, more={key: one for key, one in attrs.items() if key not in forms})

    @classmethod
    def of(cls, frame: pd.DataFrame) -> Attributes:
        """Read the `attrs` of a table.

        Raises:
            UsageError: As :meth:`read`.
        """
        return cls.read({str(key): value for key, value in frame.attrs.items()})

    @classmethod
    def meanings(cls) -> dict[str, str]:
        """What each key holds, in a line."""
        return {
            one.name: str(one.metadata["meaning"]) for one in fields(cls) if one.name != cls._OWN
        }

    def written(self) -> dict[str, Any]:
        """The `attrs`, as JSON can hold them; keys of which nothing is known are left out.

        >>> Attributes(model="resnet110", transitions=(19, 37)).written()
        {'model': 'resnet110', 'transitions': [19, 37]}
        """
        known = {
            one.name: _plain(getattr(self, one.name))
            for one in fields(self)
            if one.name != self._OWN and getattr(self, one.name) not in (None, (), {})
        }
        return {**known, **self.more}


def require_columns(frame: pd.DataFrame, *columns: str) -> None:
    """Refuse a table that lacks what is asked of it.

    Raises:
        UsageError: A column is missing.
    """
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise UsageError(
            f"table without the column {' and the column '.join(missing)}: expected a table of "
            "results, as ensembles.lesion, paths or analyze returns it, or --out writes it"
        )


def is_lesion_table(frame: pd.DataFrame) -> bool:
    """Whether a table's rows are lesions of a network."""
    return {"lesion", "count", "blocks"} <= set(frame.columns)


def check_columns(frame: pd.DataFrame, types: Mapping[str, str]) -> None:
    """Hold the columns of a table of lesions against what they should be.

    Args:
        frame: A table; one that is not of lesions passes.
        types: What each column holds, as :func:`ensembles.tables.columns.describe` says it.

    Raises:
        UsageError: A column holds something else; the line names it and the first such row.
    """
    if not is_lesion_table(frame):
        return
    gaps = {"integer": "nullable"} if frame.attrs.get("networks") else {}
    for name, (kind, _) in LESION_COLUMNS.items():
        wanted = gaps.get(kind, kind)
        if name in types and len(frame) and types[name] != wanted:
            _check_column(frame[name], name, wanted)


_SAID = {
    "number": "a number",
    "integer": "a whole number",
    "nullable": "a whole number or none",
}


def _check_column(column: pd.Series[Any], name: str, wanted: str) -> None:
    """Let pass what means the same: whole numbers as numbers, and numbers that are whole."""
    if wanted == "text":
        return
    known = pd.to_numeric(column.replace("", None), errors="coerce")
    wrong = column.notna() & (column.astype(str) != "") & known.isna()
    if wanted != "number":
        wrong |= known.notna() & (known % 1 != 0)
    if wanted == "integer":
        wrong |= known.isna()
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        what = {"number": "a number", "integer": "a whole number"}.get(
            wanted, "a whole number or none"
        )
        raise UsageError(
            f"column {name}, row {row + 1}: expected {what}, found {column.tolist()[row]!r}"
        )


def _entry(given: Mapping[str, Any], name: str, form: Form[Any]) -> Any:
    if name not in given:
        raise UsageError(f"'{name}' is missing")
    try:
        return form(given[name])
    except UsageError as error:
        raise UsageError(f"attribute {name}: {error}") from error


def _plain(value: Any) -> Any:
    if isinstance(value, Failure | Network):
        return {one.name: _plain(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return dict(value) if isinstance(value, Mapping) else value
