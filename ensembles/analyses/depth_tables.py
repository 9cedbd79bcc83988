"""A network cut short after each block, and what is read off the curves."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ensembles.analyses.base import Run
from ensembles.analyses.effective_paths import effective_paths
from ensembles.analyses.lesion_means import LesionMeans, attrs_of
from ensembles.analyses.members.paths import paths
from ensembles.analyses.some_rows import some_rows
from ensembles.analyses.stream_walk import walked
from ensembles.decomposition import Decomposition
from ensembles.lesions import Delete, Intact, Lesion

if TYPE_CHECKING:
    from ensembles.analyses.members.depth import DepthOptions

__all__ = ["depth_frame"]

_MEASURES = {"coherent": "sum of all paths", "rms": "RMS of a single path"}
_LITTLE = 0.2  # of the five likeliest answers, as in Csordas et al.


def depth_frame(net: Decomposition, data: Any, options: DepthOptions, run: Run) -> pd.DataFrame:
    """Cut the network short after each block, and lay out what it answers."""
    n = len(net)
    cut: list[Lesion] = [Delete(tuple(range(last + 1, n + 1))) for last in range(n)]
    cut.append(Intact())
    rows = some_rows(data, options.rows, "depth")
    means = LesionMeans.measured(net, rows, cut, run, metrics=("kl_folds", "agreement", "overlap"))
    places = means.numbers(cut)
    found = means.estimate_kl(partial(np.take, indices=places))
    stream = walked(net, rows, run, options.cosine)
    cosines = [stream.means[block.index]["branch_cosine"] for block in net]
    swept = means.frame.reindex(places).reset_index(drop=True)
    frame = pd.DataFrame(
        {
            "block": range(n + 1),
            "name": ["stem", *net.names],
            "kl": found.value,
            "kl_low": found.low,
            "kl_high": found.high,
            **{name: swept[name] for name in ("overlap", "agreement", "error", "loss")},
            "branch_cosine": [np.nan, *(one.value for one in cosines)],
            "branch_cosine_se": [np.nan, *(one.error for one in cosines)],
        }
    )
    frame.attrs |= attrs_of(means.frame, depths=_depths(frame))
    if options.images:
        spectrum = paths(
            net, rows, images=options.images, device=run.device, progress=run.progress,
            model=run.model,
        )  # fmt: skip
        frame.attrs["effective"] = effective_paths(spectrum).to_dict("records")
        for row in frame.attrs["effective"]:
            measure = _MEASURES.get(row["measure"], row["measure"])
            what = f"lengths with 95 % of the gradient ({measure})"
            frame.attrs["depths"].append(
                {"what": what, "block": f"{row['first']} to {row['last']}"}
            )
    return frame


def _depths(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """What is read off the curves; the curves say more."""
    kl, overlap = frame["kl"].to_numpy(float), frame["overlap"].to_numpy(float)
    cosine = frame["branch_cosine"].to_numpy(float)
    near = _first(kl < np.nanmax(kl) / 2)
    negative = np.flatnonzero(cosine < 0)
    turn = int(negative[-1]) if len(negative) and negative[-1] < len(cosine) - 1 else None
    return [
        {
            "what": "first block after which the divergence is below half of its maximum",
            "block": near,
        },
        {
            "what": "first block after which more than a fifth of the five likeliest answers "
            "are the whole network's",
            "block": _first(overlap > _LITTLE),
        },
        {
            "what": "last block that takes away from the stream (cosine below 0), "
            "where later ones add to it",
            "block": turn,
        },
    ]


def _first(where: Any) -> int | None:
    places = np.flatnonzero(where)
    return int(places[0]) if len(places) else None
