"""The tables of influence: proxies and damage side by side, and how they go together."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ensembles.analyses.base import Run
from ensembles.analyses.influence import InfluenceOptions
from ensembles.analyses.lesion import lesion
from ensembles.decomposition import Decomposition

__all__ = ["influence_frame"]

_METRICS = ("top1", "loss", "kl", "agreement")
_DAMAGE_COLUMNS = ("loss_rise", "accuracy_fall", "kl", "agreement")


def influence_frame(
    net: Decomposition, data: Any, options: InfluenceOptions, run: Run
) -> pd.DataFrame:
    """Walk over the intact network, delete every block, and lay both side by side."""
    stream = _walked(net, data, options, run)
    singles, spans, refused = _lesions(net, options.span)
    swept = lesion(
        net,
        data,
        [*singles.values(), *spans.values()],
        metrics=_METRICS,
        task=run.task,
        batch_size=run.batch_size,
        device=run.device,
        precision=run.precision,
        progress=run.progress,
        model=run.model,
        store=run.store,
        about=dict(run.about),
    )
    damage = _damage(swept)
    rows = [_row(block, stream, singles, spans, damage, refused, options.span) for block in net]
    frame = pd.DataFrame(rows).astype({"block": "int64", "undefined": "int64"})
    kept = ("model", "dataset", "task", "observation", "blocks", "transitions", "adapted", "chance")
    frame.attrs = {name: swept.attrs[name] for name in kept if name in swept.attrs}
    frame.attrs |= {
        "cosine": options.cosine,
        "rows": stream.rows,
        "correlations": _correlations(frame, options),
        "provenance": {**swept.attrs["provenance"], **vars(options)},
    }
    for name in ("failed", "runs"):
        if name in swept.attrs:
            frame.attrs[name] = swept.attrs[name]
    return frame
