"""Paths of a network on data, measured and laid out: what the public calls stand on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from itertools import islice
from typing import Any, TypeVar, cast

import pandas as pd
import torch

from ensembles.analyses.about import about_data, about_used, doubt_places
from ensembles.analyses.path_frames import (
    Row,
    class_rows,
    gradient_rows,
    layout,
    logit_rows,
    range_rows,
)
from ensembles.analyses.path_inputs import count_of, network_and_images, rereadable
from ensembles.analyses.path_options import PathOptions
from ensembles.data import ImageDataset
from ensembles.data.texts import TextDataset
from ensembles.decomposition import Decomposition
from ensembles.errors import PathError, RoundingError, UsageError
from ensembles.progress import Progress, bar
from ensembles.tables.provenance import provenance
from ensembles.tasks.foresight import sees_ahead
from ensembles.tasks.members.language import MEMBER as LANGUAGE
from ensembles.unravelling.linearization import Engine, Linearizer
from ensembles.unravelling.measurement import (
    Batch,
    GradientMeasures,
    LogitMeasures,
    measure_gradients,
    measure_logits,
)
from ensembles.unravelling.path_counts import block_lengths, joint_lengths
from ensembles.unravelling.places import Place, parse_places
from ensembles.unravelling.token_streams import (
    at_every_token,
    at_token,
    counting,
    takes_tokens,
)

_Found = TypeVar("_Found")

__all__ = [
    "expanded", "measure_paths", "measure_places", "measure_ranges", "require_expanded",
    "require_shortcuts",
]  # fmt: skip


def measure_paths(
    net: Decomposition,
    data: Any,
    chosen: PathOptions,
    place: torch.device,
    named: dict[str, Any],
    *,
    progress: bool | Progress | None,
) -> pd.DataFrame:
    """Measure the paths of a network.

    Args:
        net: The network.
        data: The images.
        chosen: How.
        place: The device.
        named: What the provenance tells of the network; its `model` at least.
        progress: As :func:`ensembles.progress.bar` takes it.

    Raises:
        PathError: If the sum over lengths misses the network's own value, in fp64 too.
    """
    data = rereadable(data, chosen)

    def measured(chosen: PathOptions) -> pd.DataFrame:
        return _measured(net, data, chosen, place, named=named, progress=progress)

    return _exactly(measured, chosen, place)


def measure_places(
    net: Decomposition,
    data: Any,
    chosen: PathOptions,
    place: torch.device,
    *,
    name: str,
    progress: bool | Progress | None,
) -> dict[Place, GradientMeasures]:
    """The sums of all paths of each length, and their cancellation, image by image.

    Args:
        net: The network.
        data: The images.
        chosen: How, and at which places.
        place: The device.
        name: What the network is called.
        progress: As :func:`ensembles.progress.bar` takes it.

    Raises:
        PathError: If the sum over lengths misses autograd's gradient, in fp64 too.
    """
    data = rereadable(data, chosen)

    def measured(chosen: PathOptions) -> dict[Place, GradientMeasures]:
        ready, parts = network_and_images(net, data, chosen, place)
        with bar(f"paths of {name}", " images", shown=progress) as report:
            found, _ = measure_gradients(
                ready, parts, parse_places(chosen.at, net), exact=True, signs=0, samples=0,
                memory=chosen.memory, engine=cast(Engine, chosen.engine), report=report,
            )  # fmt: skip
        return found

    return _exactly(measured, chosen, place)


def _exactly(
    measured: Callable[[PathOptions], _Found], chosen: PathOptions, place: torch.device
) -> _Found:
    """Measure in the precision asked for, and in fp64 where the sum needs it."""
    try:
        return measured(chosen)
    except RoundingError:
        if place.type == "mps":  # it has no numbers of double precision
            raise
    return measured(replace(chosen, precision="fp64"))


def _measured(
    net: Decomposition,
    data: Any,
    chosen: PathOptions,
    place: torch.device,
    *,
    named: dict[str, Any],
    progress: bool | Progress | None,
) -> pd.DataFrame:
    ready, parts = network_and_images(net, data, chosen, place)
    attrs: dict[str, object] = {"model": named["model"], "direction": chosen.direction}
    with bar(f"paths of {named['model']}", " images", shown=progress) as report:
        if chosen.direction == "gradient":
            rows, error, drawn, cancelling = _gradients(net, ready, parts, chosen, report)
            attrs |= {"cancellation": cancelling}
        else:
            drawn = {}
            logits, error = measure_logits(
                ready, parts, engine=cast(Engine, chosen.engine), report=report
            )
            counts = block_lengths(net)
            rows = logit_rows(logits, counts)
            if chosen.per_class:
                rows += class_rows(logits, counts, _classes(data))
            attrs |= _about_logits(logits)
    attrs |= {
        "blocks": len(net),
        "weight_layers": [[k, w, count] for (k, w), count in sorted(joint_lengths(net).items())],
        "sum_error": error,
        "provenance": _provenance(net, data, chosen, named | drawn, parts),
    }
    return layout(rows, chosen.direction, attrs)


def require_expanded(net: Decomposition, chosen: PathOptions) -> None:
    """Refuse what is not expanded for blocks beside and inside each other.

    Raises:
        PathError: Saying what is expanded.
    """
    if not net.is_nested or chosen.direction != "gradient":
        return
    if chosen.method != "exact":
        raise PathError(
            f"{net.model_name} has blocks beside or inside each other, whose single paths are not "
            f"drawn (method '{chosen.method}'); expected method exact, or a decomposition with "
            "nested=False (--chain)"
        )
    if any(place.where != "input" for place in parse_places(chosen.at, net)):
        raise PathError(
            f"{net.model_name} has blocks beside or inside each other, so that several tensors are "
            f"alive at '{chosen.at}'; expected at input, or a decomposition with nested=False "
            "(--chain)"
        )


def _gradients(
    net: Decomposition,
    ready: Decomposition,
    parts: list[Batch],
    chosen: PathOptions,
    report: Progress,
) -> tuple[list[Row], float | None, dict[str, Any], dict[str, float]]:
    """Rows of gradients, the error of their sum, how many signs were drawn, and cancellation."""
    places, method = parse_places(chosen.at, net), chosen.method
    require_expanded(net, chosen)
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
    cancelling = {
        place.text: float(measures.cancellation.nanmedian())
        for place, measures in found.items()
        if measures.cancellation is not None
    }
    signed = found[places[0]].signed
    if signed is None:
        return rows, error, {}, cancelling
    fewest, most = signed.draws.aminmax()
    return rows, error, {"signs_fewest": int(fewest), "signs_most": int(most)}, cancelling


def measure_ranges(
    net: Decomposition,
    data: Any,
    ranges: Sequence[tuple[int, int]] | None,
    chosen: PathOptions,
    place: torch.device,
    *,
    name: str,
    progress: bool | Progress | None,
) -> pd.DataFrame:
    """Measure the accuracy of all paths with a length in each of some ranges; by default all.

    Raises:
        UsageError: If a range does not lie in 0..n.
    """
    n = len(block_lengths(net)) - 1
    wanted = list(ranges or [(a, b) for a in range(n + 1) for b in range(a, n + 1)])
    for first, last in wanted:
        if not 0 <= first <= last <= n:
            raise UsageError(f"lengths {first} to {last}; expected a range within 0 to {n}")

    data = rereadable(data, chosen)

    def measured(chosen: PathOptions) -> pd.DataFrame:
        return _ranges(net, data, wanted, chosen, place, name=name, progress=progress)

    return _exactly(measured, chosen, place)


def _ranges(
    net: Decomposition,
    data: Any,
    wanted: Sequence[tuple[int, int]],
    chosen: PathOptions,
    place: torch.device,
    *,
    name: str,
    progress: bool | Progress | None,
) -> pd.DataFrame:
    ready, parts = network_and_images(net, data, chosen, place)
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


def expanded(
    net: Decomposition, data: Any, chosen: PathOptions
) -> tuple[Decomposition, Any, PathOptions]:
    """What paths are measured on: of a language model its part behind the embedding.

    Args:
        net: The network.
        data: The data; of a language model windows of tokens, as its task reads them.
        chosen: How; its precision is settled.

    Raises:
        UsageError: If a token, or what is counted, is named for another network.
        PathError: If a language model has no single first stream.
    """
    tokens = takes_tokens(net)
    if chosen.precision == "auto":
        chosen = replace(chosen, precision="fp64" if tokens else "fp32")
    if not tokens:
        if chosen.token is not None or chosen.every_token or chosen.counted != "all":
            raise UsageError(
                f"{net.model_name} is no language model: leave out the token, and what is counted"
            )
        doubt_places(net, data)
        return net, data, chosen
    windows = _windows(data, count_of(chosen)).to(next(net.parameters()).device)
    if getattr(data, "task", None) is not None or sees_ahead(net, windows):
        raise UsageError(
            f"{net.model_name} is an encoder, and paths are those to the logits of a next token; "
            "expected a decoder (a causal language model)"
        )
    if chosen.every_token:
        first, rows = at_every_token(net, windows)
    else:
        first, rows = at_token(net, windows, chosen.token)
    return counting(first, chosen.counted), rows, chosen


def _windows(data: Any, count: int) -> torch.Tensor:
    """At most so many windows, evenly spread where their number is known."""
    if isinstance(data, TextDataset):
        return data.limited(count).windows
    batches = islice(LANGUAGE.batches(data, 1), None if hasattr(data, "__len__") else count)
    found = torch.cat([cast("torch.Tensor", batch.inputs) for batch in batches])
    return found[[i * len(found) // count for i in range(count)]] if len(found) > count else found


def require_shortcuts(net: Decomposition) -> None:
    """Refuse a network without shortcuts, whose paths this analysis does not know.

    Raises:
        PathError: Saying what the blocks are.
    """
    Linearizer(net, "general")


def _classes(data: Any) -> tuple[str, ...] | None:
    return data.classes if isinstance(data, ImageDataset) else None


def _about_logits(found: LogitMeasures) -> dict[str, object]:
    correct = found.logits.argmax(1) == found.labels
    whole = torch.linalg.vector_norm(found.parts.sum(0), dim=1)
    ratios = torch.exp2(found.log2_norms).sum(0) / whole
    return {
        "cancellation": {"logits": float(ratios.nanmedian())},
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
    used = sum(len(labels) for _, labels in parts)
    details["images"] = used
    if chosen.engine == "fast":
        details["fast_branches"] = Linearizer(net).coverage
    if any(block.gate is not None for block in net):
        details["gates"] = "held at their value for each image"
    if isinstance(data, ImageDataset):
        details |= {
            "dataset": data.name,
            "split": data.split,
            "normalization": str(data.normalization),
            "preprocessing": data.preprocessing.pixels,
            "content_hash": data.content_hash,
        }
    details |= about_used({**named, **about_data(data)}, used)
    return provenance(
        device=str(parts[0][0].device),
        precision=chosen.precision,
        threads=torch.get_num_threads(),
        details=details,
    )
