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

__all__ = ["answer_time", "trained_member", "training_time", "weights_of"]

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
    weights = weights_of(bench, member)
    if not plan.train:
        if weights.exists() and weights.with_suffix(".toml").exists():
            return weights
        raise NotMeasured(f"{member.label} is not trained yet")
    from ensembles.training import train  # noqa: PLC0415 (an extra)

    try:
        result = train(
            name,
            request.dataset,
            out=weights.parent,
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


def weights_of(bench: Bench, member: Member) -> Path:
    """Where the weights of a network lie, or will lie."""
    return bench.folder / "trained" / member.folder / f"{member.network.name}.safetensors"


def training_time(weights: Path) -> dict[str, float]:
    """What a training took.

    Args:
        weights: Its weights, beside which its ``history.csv`` lies.

    Returns:
        ``epochs``, and over all of them ``train_seconds`` on the clock and
        ``train_processor_seconds``, which do not depend on what else the machine did.
    """
    history = pd.read_csv(weights.parent / "history.csv")
    return {
        "epochs": len(history),
        "train_seconds": float(history["seconds"].sum()),
        "train_processor_seconds": float(history["processor_seconds"].sum(min_count=len(history))),
    }


def answer_time(bench: Bench, weights: Path) -> dict[str, Any]:
    """How long a network takes to answer an image, measured once and kept beside its weights.

    Args:
        bench: Says on which device, and holds the images.
        weights: Its weights.

    Returns:
        ``answer_seconds``, for an image: the median of seven passes over up to 128 images at once,
        of the processor on a CPU, else of the clock; ``answer_images`` at once,
        ``answer_device`` and ``answer_threads``.
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
    data = bench.data.with_normalization(card.normalization or bench.data.normalization)
    images, _ = next(data.batches(_IMAGES))
    model, images = model.to(device).eval(), images.to(device)
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    seconds = []
    with torch.inference_mode():
        for _ in range(_ROUNDS):
            started = clock()
            model(images).sum().item()  # waits for the device
            seconds.append(clock() - started)
    return {
        "answer_seconds": median(seconds) / len(images),
        "answer_images": len(images),
        "answer_device": device_name(device),
        "answer_threads": torch.get_num_threads(),
    }
