"""The path analysis as one call: a decomposition and data in, a tidy frame out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any, Literal, cast

import pandas as pd
import torch
from torch.utils.data import Dataset, IterableDataset, Subset

from ensembles.analyses.path_frames import (
    class_rows,
    gradient_rows,
    layout,
    logit_rows,
    range_rows,
)
from ensembles.analyses.path_options import IMAGES, PathOptions, path_options
from ensembles.data import ImageDataset, batches
from ensembles.decomposition import Decomposition
from ensembles.engine import choose_device
from ensembles.errors import DataError, UsageError, nearest
from ensembles.progress import Progress, bar
from ensembles.store import Store
from ensembles.store.recall import recalled
from ensembles.tables.provenance import provenance
from ensembles.unravelling.linearized import Engine, Linearizer
from ensembles.unravelling.measurement import (
    Batch,
    LogitMeasures,
    batch_size,
    measure_gradients,
    measure_logits,
    prepared,
    with_batch_statistics,
)
from ensembles.unravelling.path_counts import (
    block_lengths,
    graph_lengths,
    joint_lengths,
    weight_lengths,
)
from ensembles.unravelling.places import parse_places

__all__ = ["PathOptions", "count_paths", "path_ranges", "paths"]


def paths(
    net: Decomposition,
    data: Dataset[Any] | Any,
    method: Literal["exact", "sampled", "all"] = "exact",
    direction: Literal["gradient", "logits"] = "gradient",
    *,
    device: str | torch.device = "auto",
    progress: bool | Progress | None = None,
    model: str | None = None,
    store: Store | str | Path | None = None,
    about: dict[str, Any] | None = None,
    **options: Any,
) -> pd.DataFrame:
    """Measure what the 2^n paths of a network carry, by their length (docs/paths.md).

    Exact are the sums over all C(n, k) paths of each length k, by one recursion (no sampling), and
    the RMS norm of the single path up to the standard error of random signs; `gradient_mean`
    follows the published protocol (Veit et al. 2016, section 4.3).

    Args:
        net: A network taken apart by `ensembles.decompose`; it is left as it is.
        data: One of our data sets, a torch `Dataset` of (image, label), or an iterable of batches.
        method: "exact", "sampled" or "all"; for gradients.
        direction: "gradient", from the loss to `at`; or "logits".
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        progress: Whether to show a bar, by default only on a terminal; or a function to tell.
        model: Name of the network in the frame; by default its class.
        store: A store of results, or its path (docs/store.md): an analysis that is in it is not
            made again, another is added to it.
        about: What else the provenance is to tell, such as the `checkpoint`.
        options: Fields of `PathOptions`.

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
    chosen = path_options(options, method=method, direction=direction)
    place = choose_device(device)
    _require_shortcuts(net)
    named = {"model": model or net.model_name, **(about or {})}

    def measured() -> pd.DataFrame:
        return _measured(net, data, chosen, place, named, progress=progress)

    return measured() if store is None else recalled(store, net, data, chosen, measured, **named)


def _measured(
    net: Decomposition,
    data: Any,
    chosen: PathOptions,
    place: torch.device,
    named: dict[str, Any],
    *,
    progress: bool | Progress | None,
) -> pd.DataFrame:
    ready, parts = _ready(net, data, chosen, place)
    direction, method, name = chosen.direction, chosen.method, named["model"]
    attrs: dict[str, object] = {"model": name, "direction": direction, "blocks": len(net)}
    drawn: dict[str, Any] = {}
    with bar(f"paths of {name}", " images", shown=progress) as report:
        if direction == "gradient":
            places = parse_places(chosen.at, net)
            found, error = measure_gradients(
                ready, parts, places,
                exact=method != "sampled",
                signs=chosen.signs if method != "sampled" else 0,
                samples=chosen.samples if method != "exact" else 0,
                weighted=chosen.sampling == "weighted",
                memory=chosen.memory, engine=cast(Engine, chosen.engine),
                seed=chosen.seed, report=report,
            )  # fmt: skip
            rows = [row for p in places for row in gradient_rows(net, p, found[p], chosen.seed)]
            signed = found[places[0]].signed
            if signed is not None:
                fewest, most = signed.draws.aminmax()
                drawn = {"signs_fewest": int(fewest), "signs_most": int(most)}
        else:
            logits, error = measure_logits(
                ready, parts, engine=cast(Engine, chosen.engine), report=report
            )
            counts = block_lengths(net)
            rows = logit_rows(logits, counts)
            if chosen.per_class:
                rows += class_rows(logits, counts, _classes(data))
            attrs |= _about_logits(logits)
    attrs = attrs | {
        "weight_layers": [[k, w, count] for (k, w), count in sorted(joint_lengths(net).items())],
        "sum_error": error,
        "provenance": _provenance(net, data, chosen, named | drawn, parts),
    }
    return layout(rows, direction, attrs)


def path_ranges(
    net: Decomposition,
    data: Dataset[Any] | Any,
    ranges: Sequence[tuple[int, int]] | None = None,
    *,
    device: str | torch.device = "auto",
    progress: bool | Progress | None = None,
    model: str | None = None,
    **options: Any,
) -> pd.DataFrame:
    """Measure the accuracy of sub-ensembles: all paths with a length between two bounds.

    Args:
        net: A network taken apart.
        data: As for `paths`.
        ranges: Pairs (first, last), both included; by default all.
        device: As for `paths`.
        progress: As for `paths`.
        model: As for `paths`.
        options: Fields of `PathOptions`.

    Returns:
        One row for each range: `first`, `last`, `paths`, `accuracy`; with `per_class` the same
        for the images of each `class`, after those of all.

    Raises:
        UsageError: If a range does not lie in 0..n.
        PathError: As for `paths`.
    """
    chosen = path_options(options, direction="logits")
    place = choose_device(device)
    _require_shortcuts(net)
    n = len(block_lengths(net)) - 1
    wanted = list(ranges or [(a, b) for a in range(n + 1) for b in range(a, n + 1)])
    for first, last in wanted:
        if not 0 <= first <= last <= n:
            raise UsageError(f"lengths {first} to {last}; expected a range within 0 to {n}")
    ready, parts = _ready(net, data, chosen, place)
    name = model or net.model_name
    with bar(f"paths of {name}", " images", shown=progress) as report:
        logits, error = measure_logits(
            ready, parts, engine=cast(Engine, chosen.engine), report=report
        )
    frame = range_rows(
        logits, block_lengths(net), wanted, per_class=chosen.per_class, names=_classes(data)
    )
    frame.attrs |= _about_logits(logits) | {
        "model": name,
        "blocks": len(net),
        "sum_error": error,
        "provenance": _provenance(net, data, chosen, {"model": name}, parts),
    }
    return frame


def count_paths(
    net: Decomposition, by: Literal["blocks", "weight_layers", "graph"] = "blocks"
) -> pd.DataFrame:
    """Count a network's paths by their length, in exact integers.

    Args:
        net: Any network taken apart, also one of plain or parallel blocks.
        by: What length means: "blocks", the branches taken; "weight_layers", the weight layers in
            the blocks' roads; "graph", all weight layers on each way through the whole network.

    Returns:
        Columns `length` and `paths`.

    Raises:
        UsageError: If `by` is something else.
    """
    counting = {"blocks": block_lengths, "weight_layers": weight_lengths, "graph": graph_lengths}
    if by not in counting:
        raise UsageError(f"paths by '{by}'; expected {', '.join(counting)}" + nearest(by, counting))
    counts = counting[by](net)
    numbers = pd.Series(list(counts.values()), dtype=object)
    frame = pd.DataFrame({"length": pd.Series(list(counts), dtype="int64"), "paths": numbers})
    frame.attrs = {"model": net.model_name, "by": by}
    return frame


def _require_shortcuts(net: Decomposition) -> None:
    Linearizer(net, "general")


def _ready(
    net: Decomposition, data: Any, chosen: PathOptions, device: torch.device
) -> tuple[Decomposition, list[Batch]]:
    """The network and the images on their device, in batches that fit in memory."""
    ready = prepared(net, device, chosen.precision)
    dtype = torch.float64 if chosen.precision == "fp64" else torch.float32
    at_once = torch.get_num_threads() if device.type == "cpu" else 1
    size = min(64, batch_size(net, chosen.memory / at_once, chosen.precision))
    parts = [
        (images.to(device, dtype), labels.to(device))
        for images, labels in _read(data, chosen.images or IMAGES[chosen.direction], size)
    ]
    shape = tuple(parts[0][0].shape[1:])
    if shape != tuple(net.input_shape):
        raise DataError(
            f"the images have shape {shape}, the network was taken apart for "
            f"{tuple(net.input_shape)}; expected the same"
        )
    if chosen.statistics == "batch":
        ready = with_batch_statistics(ready, torch.cat([images for images, _ in parts]))
    return ready, parts


def _read(data: Any, count: int, size: int) -> list[Batch]:
    if isinstance(data, ImageDataset):
        return list(data.limited(count).batches(size))
    if isinstance(data, Dataset) and not isinstance(data, IterableDataset):
        total = len(cast("Any", data))
        if total > count:
            data = Subset(data, [i * total // count for i in range(count)])
        return list(batches(data, size))
    read = list(islice(batches(data, size), -(-count // size)))
    last = count - size * (len(read) - 1)
    images, labels = read[-1]
    return [*read[:-1], (images[:last], labels[:last])]


def _classes(data: Any) -> tuple[str, ...] | None:
    return data.classes if isinstance(data, ImageDataset) else None


def _about_logits(found: LogitMeasures) -> dict[str, object]:
    correct = found.logits.argmax(1) == found.labels
    return {
        "accuracy": float(correct.double().mean()),
        "constant_norm": float(found.constant.norm(dim=1).mean()),
    }


def _provenance(
    net: Decomposition,
    data: Any,
    chosen: PathOptions,
    named: dict[str, Any],
    parts: list[Batch],
) -> dict[str, object]:
    details: dict[str, object] = {**named, **asdict(chosen)}
    details["images"] = sum(len(labels) for _, labels in parts)
    if chosen.engine == "fast":
        details["fast_branches"] = Linearizer(net).coverage
    if any(block.kind == "gated" for block in net):
        details["gates"] = "held at their value for each image"
    if isinstance(data, ImageDataset):
        details |= {
            "dataset": data.name,
            "split": data.split,
            "normalization": str(data.normalization),
            "content_hash": data.content_hash,
        }
    return provenance(
        device=str(parts[0][0].device),
        precision=chosen.precision,
        threads=torch.get_num_threads(),
        details=details,
    )
