"""A sweep of lesions as one call: a decomposition and data in, a tidy frame out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd
import torch
from torch.utils.data import Dataset

from ensembles.data import ImageDataset
from ensembles.decomposition import Decomposition
from ensembles.evaluation import choose_device, default_batch_size, evaluate
from ensembles.lesions import Lesion, intact, single_deletions
from ensembles.progress import bar
from ensembles.results.frames import lesion_frame
from ensembles.results.provenance import provenance

__all__ = ["lesion"]


def lesion(
    net: Decomposition,
    data: Dataset[Any] | Iterable[Any],
    lesions: Iterable[Lesion] | None = None,
    *,
    batch_size: int | None = None,
    device: str | torch.device = "auto",
    precision: str = "fp32",
    engine: str = "shared",
    progress: bool | None = None,
    model: str | None = None,
) -> pd.DataFrame:
    """Lesion a network and measure what is left (Veit et al. 2016, sections 4.1 to 4.3).

    Every lesion is evaluated on every image once, in a fixed order, with running BatchNorm
    statistics; lesions that begin alike share the work.

    Args:
        net: A network taken apart by `ensembles.decompose`; it is left as it is.
        data: One of our data sets, a torch `Dataset` of (image, label), or an iterable of batches
            (images, labels); images are taken as they come, normalised by whoever made them.
        lesions: What to do to the blocks (`ensembles.lesions`); by default each block is deleted
            once. The intact network is added where it is missing.
        batch_size: Images at a time; by default as many as suit the device.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        precision: "fp32", "tf32" (CUDA) or "bf16".
        engine: "shared" (fast) or "direct" (its oracle: each lesion run whole).
        progress: Whether to show a bar; by default only on a terminal.
        model: Name of the network in the frame; by default its class.

    Returns:
        One row for each lesion, the intact network first: `lesion`, `count`, `blocks`,
        `block_names`, `kendall_tau`, `trial`, `seed`, `correct`, `total`, `error` (a share, 0 to
        1), `loss` (nats), `nonfinite`, `adapted`. `frame.attrs["provenance"]` tells how it was
        made.

    Raises:
        LesionError: If a lesion does not fit the network.
        DataError: If images or labels do not fit the network.
        EvaluationError: If memory runs out for one image, or the intact logits are not finite.
        UsageError: If an argument has no meaning.
    """
    wanted = list(lesions) if lesions is not None else single_deletions(len(net))
    if not any(one.kind == "none" for one in wanted):
        wanted = [intact(), *wanted]
    place = choose_device(device)
    size = batch_size if batch_size is not None else default_batch_size(net, place)
    name = model or net.model_name
    with bar(f"lesions of {name}", " images", shown=progress) as report:
        outcomes = evaluate(
            net,
            data,
            wanted,
            batch_size=size,
            device=place,
            precision=precision,
            engine=engine,
            progress=report,
        )
    details: dict[str, object] = {"model": name, "engine": engine, "batch_size": size}
    if isinstance(data, ImageDataset):
        details |= {
            "dataset": data.name,
            "split": data.split,
            "images": len(data),
            "normalization": str(data.normalization),
            "content_hash": data.content_hash,
        }
    return lesion_frame(
        outcomes,
        net.names,
        len(net),
        {block.index: block.adaptation for block in net if block.adaptation},
        provenance(
            device=str(place),
            precision=precision,
            threads=torch.get_num_threads(),
            details=details,
        ),
        model=name,
        dataset=data.name if isinstance(data, ImageDataset) else None,
        classes=net.num_classes,
        transitions=net.transitions,
    )
