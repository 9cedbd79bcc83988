"""Damage against proxies: how much each block matters, by deletion and without it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ensembles.analyses.base import Analysis, Run
from ensembles.analyses.influence_options import InfluenceOptions
from ensembles.errors import DataError, UsageError

if TYPE_CHECKING:
    import pandas as pd

    from ensembles.decomposition import Decomposition

__all__ = ["MEMBER", "Influence"]


class Influence(Analysis[InfluenceOptions]):
    """For each block what its deletion does, beside proxies that need no deletion.

    Damage is measured by the engine of lesions. The proxies come from one walk over the intact
    network (:mod:`ensembles.analyses.stream`), as means over rows with standard errors; NaN where
    one has no meaning, with the reason.
    """

    name = "influence"
    summary = "What deleting each block does, beside proxies from the intact network alone."
    source = "block influence: ShortGPT (2403.03853); angle: Gromov et al. 2024 (2403.17887)"
    options = InfluenceOptions
    label = ("block", "name")
    shown = (
        "block", "name", "against", "influence", "angle", "branch_ratio", "branch_cosine",
        "loss_rise", "accuracy_fall", "kl", "agreement", "span_influence", "span_angle",
        "span_loss_rise", "reason",
    )  # fmt: skip
    figure = "ensembles.plots.influence:plot_influence"

    def check(self, net: Decomposition, options: InfluenceOptions) -> None:
        """Refuse blocks that do not follow each other, and spans that the network has no room for.

        Raises:
            UsageError: Saying why.
        """
        if not all(block.ordered for block in net):
            raise UsageError(
                f"influence: the blocks of {net.model_name} stand side by side, so that no value "
                "passes from one to the next; choose a network whose blocks follow each other"
            )
        if options.span > len(net):
            raise UsageError(
                f"a span of {options.span} blocks; the network has {len(net)}, expected at most "
                "that many"
            )

    def measure(
        self, net: Decomposition, data: Any, options: InfluenceOptions, run: Run
    ) -> pd.DataFrame:
        """One row a block.

        Returns:
            ``block``, ``name``, ``kind``; ``against``, what the output is compared with: the
            block's "input", or what its "shortcut" makes of that where it is not the identity;
            ``influence`` (1 - E cos), ``angle`` (E arccos(cos) / pi), ``branch_ratio``
            (E |f| / |x|) and ``branch_cosine`` (E cos(f, x)), each with its standard error over
            rows (``_se``); ``loss_rise`` (nats), ``accuracy_fall`` (a share), ``kl`` (nats) and
            ``agreement`` (a share) of the deletion, all but the last with ``_low`` and ``_high``
            (over rows, a jackknife over 32 parts); with a span the same of the span that begins
            with the block (``span_``); ``undefined``, positions that are left out since a value is
            zero there; ``reason``, why something is NaN.

        Raises:
            DataError: If the data can be read only once.
            UsageError: If the cosine has no meaning for the network.
            EnsemblesError: As :func:`ensembles.lesion` raises it.
        """
        from ensembles.analyses.influence_tables import influence_frame  # noqa: PLC0415

        if isinstance(data, Iterator):
            raise DataError(
                "the data can be read only once, and influence reads them twice: give a data set, "
                "or a list of batches"
            )
        return influence_frame(net, data, options, run)

    def views(self, frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
        """The rank correlation of each proxy with each damage, over blocks."""
        import pandas as pd  # noqa: PLC0415

        rows = pd.DataFrame(frame.attrs.get("correlations", []))
        numbers = {name: float for name in ("value", "low", "high") if name in rows.columns}
        return {"Rank correlation of proxies with damage (Spearman)": rows.astype(numbers)}

    def notes(self, frame: pd.DataFrame) -> list[str]:
        """Which proxy correlates most with the loss, and what was compared otherwise."""
        rows = [
            row
            for row in frame.attrs.get("correlations", [])
            if row["damage"] == "loss_rise" and row["value"] is not None
        ]
        lines = []
        if rows:
            best = max(rows, key=lambda row: abs(row["value"]))
            known = best["low"] is not None
            interval = f" ({best['low']:.2f} to {best['high']:.2f})" if known else ""
            lines.append(
                f"of the proxies, {best['proxy']} correlates most with the rise of the loss when a "
                f"block is deleted: Spearman {best['value']:.2f}{interval} over {best['n']} blocks"
            )
        others = list(frame.loc[frame["against"] == "shortcut", "block"])
        if others:
            lines.append(
                f"blocks {', '.join(map(str, others))}: the shortcut is not the identity, so their "
                "output is compared with what they give without their branch"
            )
        return lines


MEMBER = Influence()
