"""What an experiment is: claims, what has to be measured for them, and how each is decided."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from ensembles.reproduction.unmeasured import NotMeasured

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ensembles.reproduction.bench import Bench

__all__ = [
    "COLUMNS",
    "VERDICTS",
    "Claim",
    "Comparison",
    "Experiment",
    "Finding",
    "Frames",
    "Picture",
    "claim_rows",
]

VERDICTS = {True: "holds", False: "does not hold", None: "not measured"}
COLUMNS = (
    "experiment", "claim", "published", "ours", "interval", "verdict", "criterion", "note",
    "network", "dataset",
)  # fmt: skip
_PUBLISHED_DATA = "cifar10"


class Frames(dict[str, pd.DataFrame]):
    """Tables of one experiment by name; one that is missing says why when it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.missing: dict[str, NotMeasured] = {}

    def __missing__(self, name: str) -> pd.DataFrame:
        raise self.missing.get(name) or NotMeasured(f"no table {name}")

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Keep the reason why a table cannot be made, rather than stop."""
        try:
            yield
        except NotMeasured as reason:
            self.missing[name] = reason


@dataclass(frozen=True)
class Finding:
    """What our results say about a claim.

    Attributes:
        ours: Our value, in words.
        interval: Its 95 % interval, in words; empty for an exact number.
        holds: Whether the criterion is met.
    """

    ours: str
    interval: str
    holds: bool


@dataclass(frozen=True)
class Claim:
    """One claim of the paper or its data.

    Attributes:
        text: The claim.
        criterion: When it holds, in words; ``judge`` decides exactly this.
        published: The published value, in words.
        uses: Names of the tables that decide it.
        judge: From the tables to the finding; raises :class:`NotMeasured` where they do not suit.
        data: The data set that it was published for.
    """

    text: str
    criterion: str
    published: str
    uses: tuple[str, ...]
    judge: Callable[[Frames], Finding]
    data: str = _PUBLISHED_DATA


@dataclass(frozen=True)
class Picture:
    """A figure, and a caption that says whose numbers are in it."""

    figure: Figure
    caption: str


@dataclass(frozen=True)
class Comparison:
    """Our numbers beside the published ones; columns that end in "%" hold per cent."""

    frame: pd.DataFrame
    caption: str


@dataclass(frozen=True)
class Experiment:
    """One experiment of the paper.

    Attributes:
        key: Number of the figure, or a word, as ``--figure`` takes it.
        title: Heading.
        about: What is done, and what is held against what.
        claims: What it decides.
        measure: Makes the tables; what cannot be made is noted in them.
        draw: Draws the tables that are there.
        compare: Lays our numbers beside the published ones.
    """

    key: str
    title: str
    about: tuple[str, ...]
    claims: tuple[Claim, ...]
    measure: Callable[[Bench], Frames]
    draw: Callable[[Frames], Sequence[Picture]]
    compare: Callable[[Frames], Sequence[Comparison]] = lambda frames: ()


def claim_rows(experiment: Experiment, frames: Frames) -> pd.DataFrame:
    """Decide every claim of an experiment.

    Args:
        experiment: The experiment.
        frames: What it measured.

    Returns:
        One row a claim, with the columns of :data:`COLUMNS`; ``verdict`` is "holds", "does not
        hold" or "not measured", and ``note`` says why not, or on what other data.
    """
    rows = [_row(experiment.key, claim, frames) for claim in experiment.claims]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _row(key: str, claim: Claim, frames: Frames) -> dict[str, str]:
    row = {
        "experiment": key,
        "claim": claim.text,
        "published": claim.published,
        "criterion": claim.criterion,
    }
    try:
        used = [frames[name] for name in claim.uses]
        finding = claim.judge(frames)
    except NotMeasured as reason:
        note = reason.why + (f"; {reason.command}" if reason.command else "")
        return row | {"ours": "", "interval": "", "verdict": VERDICTS[None], "note": note,
                      "network": "", "dataset": ""}  # fmt: skip
    networks = list(dict.fromkeys(str(frame.attrs.get("model", "")) for frame in used))
    datasets = list(dict.fromkeys(str(frame.attrs.get("dataset", "")) for frame in used))
    other = [name for name in datasets if name != claim.data]
    return row | {
        "ours": finding.ours,
        "interval": finding.interval,
        "verdict": VERDICTS[finding.holds],
        "note": f"other data: published for {claim.data}, ours {', '.join(other)}" if other else "",
        "network": ", ".join(networks),
        "dataset": ", ".join(datasets),
    }
