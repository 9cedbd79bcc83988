"""The analysis of all paths as one call: a network and data in, a tidy table out."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ensembles.analyses.base import Analysis, Run
from ensembles.analyses.cancellation import CANCELLING
from ensembles.analyses.path_options import PathOptions
from ensembles.errors import UsageError, nearest

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from torch import nn

    from ensembles.decomposition import Decomposition
    from ensembles.progress import Progress
    from ensembles.store import Store

__all__ = ["MEMBER", "PathOptions", "Paths", "count_paths", "path_ranges", "paths"]

_TOLD = {
    "gradient": ("images", "method", "signs", "samples", "sampling", "statistics", "precision",
                 "seed"),
    "logits": ("images", "statistics", "precision"),
}  # fmt: skip
"""Options that a study's table tells of each row, by the direction."""


def paths(
    net: Decomposition | nn.Module,
    data: Any,
    method: Literal["exact", "sampled", "all"] | None = None,
    direction: Literal["gradient", "logits"] | None = None,
    *,
    options: PathOptions | None = None,
    device: str | torch.device = "auto",
    progress: bool | Progress | None = None,
    model: str | None = None,
    store: Store | str | Path | None = None,
    about: dict[str, Any] | None = None,
    **fields: Any,
) -> pd.DataFrame:
    """Measure what the 2^n paths of a network carry, by their length (docs/paths.md).

    Exact are the sums over all C(n, k) paths of each length k, by one recursion (no sampling), and
    the RMS norm of the single path up to the standard error of random signs; `gradient_mean`
    follows the published protocol (Veit et al. 2016, section 4.3).

    Args:
        net: A network taken apart by `ensembles.decompose`, or any module, which is then taken
            apart on the first batch; it is left as it is.
        data: One of our data sets, a torch `Dataset` of (image, label), or an iterable of batches.
        method: "exact" (the default), "sampled" or "all"; for gradients.
        direction: "gradient" (the default), from the loss to `at`; or "logits".
        options: How the paths are measured, as one value.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        progress: Whether to show a bar, by default only on a terminal; or a function to tell.
        model: Name of the network in the frame; by default its class.
        store: A store of results, or its path (docs/store.md): an analysis that is in it is not
            made again, another is added to it.
        about: What else the provenance is to tell, such as the `checkpoint`.
        fields: Fields of `PathOptions` by name, in place of `options` or of single ones of them.

    Returns:
        One row for each length (and place, or class). All have `length` and `paths`, the exact
        number of paths. Gradients: `at`, `gradient_coherent`, `gradient_rms`, `gradient_mean`, each
        the mean over images of an L2 norm (cross-entropy of the single image), NaN where not asked
        for; with `_sd` the standard deviation over images, with `_se` the standard error over
        draws, `gradient_mean_low` and `_high` a 95 % bootstrap interval, `gradient_mean_top` the
        part of the sum that the greatest 1 % of the draws hold (near 1: the tail is heavier than
        the draws can show, and the interval too short), `sampled_rms` the RMS norm of the
        drawn paths. Logits: `class`, `logit_norm`, `logit_norm_sd`, `accuracy_up_to`,
        `accuracy_from`, `accuracy_alone`. Columns ending in `_log10` hold logarithms, which do not
        underflow. `attrs["provenance"]` tells how it was made.

    Raises:
        PathError: If the network has no shortcuts, a part is not differentiable, or the sum over
            lengths misses autograd's gradient or the network's logits.
        DataError: If there are no images, or they do not fit the network.
        StoreError: If the store cannot be read or written.
        UsageError: If an option has no meaning.
    """
    from ensembles.analyses.about import about_text  # noqa: PLC0415
    from ensembles.analyses.first_batch import taken_apart  # noqa: PLC0415 (torch)
    from ensembles.analyses.path_measures import (  # noqa: PLC0415
        expanded,
        measure_paths,
        require_shortcuts,
    )
    from ensembles.engine import choose_device  # noqa: PLC0415
    from ensembles.store import Store  # noqa: PLC0415
    from ensembles.store.recall import recalled  # noqa: PLC0415

    named = {"method": method, "direction": direction}
    given = {name: value for name, value in named.items() if value is not None} | fields
    chosen = _chosen(options, given)
    net, place = taken_apart(net, data), choose_device(device)
    told = {"model": model or net.model_name, **about_text(data), **(about or {})}
    known = net, data
    net, data, chosen = expanded(net, data, chosen)
    require_shortcuts(net)

    def measured(read: Any, _: object = None) -> pd.DataFrame:
        rows = data if chosen.every_token else read
        return measure_paths(net, rows, chosen, place, told, progress=progress)

    if store is None:
        return measured(data)
    with nullcontext(store) if isinstance(store, Store) else Store(store) as opened:
        if not chosen.every_token:  # else no task is for its answers
            known = net, data
        return recalled(
            opened, known[0], known[1], measured, name="paths", options=chosen.determining,
            precision=chosen.precision, engine=chosen.engine, about=told,
        )  # fmt: skip


def path_ranges(
    net: Decomposition | nn.Module,
    data: Any,
    ranges: Sequence[tuple[int, int]] | None = None,
    *,
    options: PathOptions | None = None,
    device: str | torch.device = "auto",
    progress: bool | Progress | None = None,
    model: str | None = None,
    **fields: Any,
) -> pd.DataFrame:
    """Measure the accuracy of sub-ensembles: all paths with a length between two bounds.

    Args:
        net: As for `paths`.
        data: As for `paths`.
        ranges: Pairs (first, last), both included; by default all.
        options: As for `paths`; the direction is that of logits.
        device: As for `paths`.
        progress: As for `paths`.
        model: As for `paths`.
        fields: As for `paths`.

    Returns:
        One row for each range: `first`, `last`, `paths`, `accuracy`; with `per_class` the same
        for the images of each `class`, after those of all.

    Raises:
        UsageError: If a range does not lie in 0..n.
        PathError: As for `paths`.
    """
    from ensembles.analyses.first_batch import taken_apart  # noqa: PLC0415 (torch)
    from ensembles.analyses.path_measures import (  # noqa: PLC0415
        expanded,
        measure_ranges,
        require_shortcuts,
    )
    from ensembles.engine import choose_device  # noqa: PLC0415

    chosen = _chosen(options, {**fields, "direction": "logits"})
    net, place = taken_apart(net, data), choose_device(device)
    name = model or net.model_name
    net, data, chosen = expanded(net, data, chosen)
    require_shortcuts(net)
    return measure_ranges(net, data, ranges, chosen, place, name=name, progress=progress)


def count_paths(
    net: Decomposition, by: Literal["blocks", "weight_layers", "graph"] = "blocks"
) -> pd.DataFrame:
    """Count a network's paths by their length, in exact integers.

    Args:
        net: Any network taken apart, also one of plain or parallel blocks.
        by: What length means: "blocks", the branches taken; "weight_layers", the weight layers in
            the blocks' branches and shortcuts; "graph", all weight layers on each path through the
            whole network.

    Returns:
        Columns `length` and `paths`.

    Raises:
        UsageError: If `by` is something else.
    """
    import pandas as pd  # noqa: PLC0415

    from ensembles.unravelling.path_counts import (  # noqa: PLC0415
        block_lengths,
        graph_lengths,
        weight_lengths,
    )

    counting = {"blocks": block_lengths, "weight_layers": weight_lengths, "graph": graph_lengths}
    if by not in counting:
        raise UsageError(f"paths by '{by}'; expected {', '.join(counting)}" + nearest(by, counting))
    counts = counting[by](net)
    numbers = pd.Series(list(counts.values()), dtype=object)
    frame = pd.DataFrame({"length": pd.Series(list(counts), dtype="int64"), "paths": numbers})
    frame.attrs = {"model": net.model_name, "by": by}
    return frame


def _chosen(options: PathOptions | None, fields: dict[str, Any]) -> PathOptions:
    """Options as one value, with the fields that are given beside it."""
    given = {} if options is None else vars(options)
    chosen: PathOptions = PathOptions.made({**given, **fields}, "paths")
    return chosen


class Paths(Analysis[PathOptions]):
    """All 2^n paths of a network, by their length."""

    name = "paths"
    summary = "What all 2^n paths of a network carry, by their length: gradient or logits."
    source = "Veit, Wilber and Belongie 2016 (1605.06431), section 4.3"
    options = PathOptions
    label = ("at", "class", "length")
    shown = (
        "at", "class", "length", "paths", "gradient_coherent", "gradient_rms", "gradient_rms_se",
        "gradient_mean", "gradient_mean_low", "gradient_mean_high", "logit_norm",
        "accuracy_up_to", "accuracy_from", "accuracy_alone",
    )  # fmt: skip
    figure = "ensembles.plots.paths:plot_paths"

    def title(self, options: PathOptions) -> str:
        """What the paths carry, how they are measured, and where."""
        if options.direction == "logits":
            return "paths of logits"
        at = "" if options.at == "input" else f" at {options.at}"
        return f"paths of {options.direction} {options.method}{at}"

    def table(self, options: PathOptions) -> str:
        """A table for each direction, whose columns differ."""
        return options.direction

    def told(self, frame: pd.DataFrame, options: PathOptions) -> dict[str, Any]:
        """How the rows were measured, as the provenance tells it."""
        made = frame.attrs["provenance"]
        return {name: made[name] for name in _TOLD[options.direction]}

    def check(self, net: Decomposition, options: PathOptions) -> None:
        """Refuse a network without shortcuts, and a place that it does not have."""
        from ensembles.analyses.path_measures import (  # noqa: PLC0415
            require_expanded,
            require_shortcuts,
        )
        from ensembles.unravelling.places import parse_places  # noqa: PLC0415
        from ensembles.unravelling.token_streams import takes_tokens  # noqa: PLC0415

        if not takes_tokens(net):
            require_shortcuts(net)
        require_expanded(net, options)
        parse_places(options.at, net)

    def precision(self, net: Decomposition, options: PathOptions, asked: str | None) -> str:
        """As asked, by the call or by the options; else fp64 for a language model."""
        from ensembles.unravelling.token_streams import takes_tokens  # noqa: PLC0415 (torch)

        if asked is not None or options.precision != "auto":
            return asked or options.precision
        return "fp64" if takes_tokens(net) else "fp32"

    def engine(self, options: PathOptions) -> str:
        """The engine of the options."""
        return options.engine

    def measure(
        self, net: Decomposition, data: Any, options: PathOptions, run: Run
    ) -> pd.DataFrame:
        """Measure the paths, in the precision of the run."""
        return paths(
            net,
            data,
            options=replace(options, precision=run.precision),
            device=run.device,
            progress=run.progress,
            model=run.model,
            about=dict(run.about),
        )

    def views(self, frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
        """The effective paths by each measure."""
        from ensembles.analyses.effective_paths import effective_paths  # noqa: PLC0415

        return {"Effective paths": effective_paths(frame)}

    def notes(self, frame: pd.DataFrame) -> list[str]:
        """Where drawn paths miss the tail, and how far the sum is from the network's own."""
        from ensembles.analyses.path_notes import path_notes  # noqa: PLC0415 (pandas)

        lines = path_notes(frame)
        if frame.attrs.get("sum_error") is not None:
            lines.append(
                f"the sum over all lengths differs by {frame.attrs['sum_error']:.1e} (relative) "
                "from the network's own"
            )
        for place, ratio in (frame.attrs.get("cancellation") or {}).items():
            cancel = (
                ""
                if ratio < CANCELLING
                else ": lengths cancel each other, so that no length by itself says what it carries"
            )
            lines.append(
                f"{place}: the norms of the lengths add up to {ratio:.3g} times the norm of their "
                f"sum{cancel}"
            )
        return lines


MEMBER = Paths()
