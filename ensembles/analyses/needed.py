"""What an analysis needs beside network and data, as digests that a store tells tables by."""

from __future__ import annotations

from typing import Any

from ensembles.analyses.base import Options, Run
from ensembles.analyses.kinds import AnyAnalysis
from ensembles.decomposition import Decomposition
from ensembles.engine.materials import digest_of_given, digest_of_usual

__all__ = ["digests"]


def digests(
    analysis: AnyAnalysis, net: Decomposition, data: Any, options: Options, run: Run
) -> dict[str, str]:
    """Digests as :func:`ensembles.store.recall.recalled` takes them.

    Args:
        analysis: The analysis.
        net: The network.
        data: What it is evaluated on.
        options: How.
        run: What is given beside.

    Returns:
        ``materials``, of what is given; ``usual``, of that together with the split that reference
        data are taken from where none are given, "" where none is.
    """
    given = digest_of_given(run.task, run.reference, run.initial, run.sources)
    usual = ""
    if run.reference is None:
        usual = digest_of_usual(run.task, data, analysis.needs(net, options))
    return {"materials": given, "usual": f"{given}{usual}" if usual else ""}
