"""Networks that are trained for an experiment, each in a folder of its own, once."""

from __future__ import annotations

import json
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import pandas as pd

from ensembles.errors import EvaluationError
from ensembles.files import atomic, refusals
from ensembles.reproduction.named import NotMeasured

if TYPE_CHECKING:
    from ensembles.reproduction.bench import Bench
    from ensembles.reproduction.family_plan import FamilyPlan, Member

__all__ = ["answer_time", "trained_member", "training_time"]

_IMAGES, _ROUNDS = 128, 7


def trained_member(bench: Bench, plan: FamilyPlan, member: Member, place: str) -> Path:
    """The weights of a network: trained now unless it was before, from its last whole epoch on.

    Args:
        bench: Says where, and for which data.
        plan: How it is trained.
        member: The network.
        place: Which of all, for lines about the progress.

    Raises:
        NotMeasured: The training diverged, or it is not trained and nothing is to be.
    """
    request, name = bench.request, member.network.name
    out = bench.folder / "trained" / member.folder
    weights = out / f"{name}.safetensors"
    if not plan.train:
        if weights.exists() and weights.with_suffix(".toml").exists():
            return weights
        raise NotMeasured(f"{member.label} is not trained yet")
    from ensembles.training import train  # noqa: PLC0415 (an extra)

    try:
        result = train(
            name,
            request.dataset,
            out=out,
            recipe=plan.recipe_for(request.dataset),
            epochs=plan.epochs,
            limit=plan.limit,
            seed=member.seed,
            device=request.device,
            resume=True,
            report=lambda line: bench.say(f"{place} {member.label}: {line}"),
        )
    except EvaluationError as error:
        raise NotMeasured(f"{member.label}: {error}") from error
    return Path(result.weights)


def training_time(weights: Path) -> tuple[int, float]:
    """Epochs of a training, and the seconds that they took together.

    Args:
        weights: Its weights, beside which its ``history.csv`` lies.
    """
    history = pd.read_csv(weights.parent / "history.csv")
    return len(history), float(history["seconds"].sum())


def answer_time(bench: Bench, weights: Path) -> dict[str, Any]:
    """How long a network takes to answer an image, measured once and kept beside its weights.

    Args:
        bench: Says on which device, and holds the images.
        weights: Its weights.

    Returns:
        ``seconds``, for an image: the median of seven passes over up to 128 images at once;
        ``images``, ``device`` and ``threads``.
    """
    file = weights.with_name("answer.json")
    if not file.exists():
        with refusals(f"time {file}"), atomic(file) as scratch:
            scratch.write_text(json.dumps(_timed(bench, weights)), encoding="utf-8")
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def _timed(bench: Bench, weights: Path) -> dict[str, Any]:
    import torch  # noqa: PLC0415 (slow)

    from ensembles.checkpoints import load  # noqa: PLC0415
    from ensembles.engine import choose_device, device_name  # noqa: PLC0415

    device = choose_device(bench.request.device)
    model, card = load(weights.stem, str(weights))
    images, _ = next(bench.data.with_normalization(card.normalization).batches(_IMAGES))
    model, images = model.to(device).eval(), images.to(device)
    seconds = []
    with torch.inference_mode():
        for _ in range(_ROUNDS):
            started = time.perf_counter()
            model(images).sum().item()  # waits for the device
            seconds.append(time.perf_counter() - started)
    return {
        "seconds": median(seconds) / len(images),
        "images": len(images),
        "device": device_name(device),
        "threads": torch.get_num_threads(),
    }
