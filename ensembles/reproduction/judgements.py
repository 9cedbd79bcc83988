"""Claims, and what our tables say of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pandas as pd

from ensembles.reproduction.named import Named, NotMeasured

__all__ = ["COLUMNS", "VERDICTS", "Claim", "Finding", "Frames", "claim_rows"]

Frames = Named[pd.DataFrame]
"""Tables of one experiment by name."""

VERDICTS = {True: "holds", False: "does not hold", None: "not measured"}
COLUMNS = (
    "experiment", "claim", "published", "ours", "interval", "verdict", "criterion", "note",
    "network", "dataset",
)  # fmt: skip
_PUBLISHED_DATA = "cifar10"


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


def claim_rows(key: str, claims: Iterable[Claim], frames: Frames) -> pd.DataFrame:
    """Decide claims.

    Args:
        key: Key of their experiment.
        claims: The claims.
        frames: What the experiment measured.

    Returns:
        One row a claim, with the columns of :data:`COLUMNS`; ``verdict`` is "holds", "does not
        hold" or "not measured", and ``note`` says why not, or on what other data.
    """
    return pd.DataFrame([_row(key, claim, frames) for claim in claims], columns=list(COLUMNS))


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
