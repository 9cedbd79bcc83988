"""Networks that learn true labels or memorise random ones, each once."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ensembles.data import ImageDataset, Normalization
from ensembles.data.sources import MemorySource
from ensembles.errors import EvaluationError
from ensembles.files import atomic, refusals
from ensembles.reproduction.entropies import Levels, recorded_images
from ensembles.reproduction.named import NotMeasured
from ensembles.reproduction.trained_members import training_time

if TYPE_CHECKING:
    from ensembles.reproduction.capacity_plan import CapacityPlan, Lesson

__all__ = ["Classroom", "memorised_bits"]

_HALF = Normalization((0.5,), (0.5,))


def memorised_bits(right: int, total: int, classes: int) -> float:
    """Bits that a network holds of random labels of which it answers some right.

    It is the information that answers give of labels, where those that are wrong are any other
    label equally often: ``total (log2 C - h)``, h the entropy of a label given the answer.

    Args:
        right: Labels that it answers right.
        total: Labels that it was given.
        classes: Number of classes, C.

    >>> memorised_bits(8, 8, 2), memorised_bits(1, 10, 10)
    (8.0, 0.0)
    """
    share = right / total
    if share <= 1 / classes:
        return 0.0
    left = 1 - share
    known = share * math.log2(share)
    lost = left * math.log2(left / (classes - 1)) if left else 0.0
    return total * (math.log2(classes) + known + lost)


class Classroom:
    """Trains networks on true and on random labels of the recorded images of a data set.

    Args:
        training: The training images.
        test: The test images.
        plan: How networks are trained.
        folder: Where they go.
        device: As ``ensembles.training.train`` takes it.
        say: Takes a line about the progress.
    """

    def __init__(
        self,
        training: ImageDataset,
        test: ImageDataset,
        plan: CapacityPlan,
        folder: Path,
        *,
        device: str = "auto",
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.levels, self.labels = recorded_images(training)
        self.top = int(self.levels.max())
        self.plan, self.folder, self.device, self.say = plan, folder, device, say
        self.training = self._grey(training, self.levels, self.labels)
        self.test = self._grey(test, *recorded_images(test))

    def _grey(
        self, data: ImageDataset, levels: Levels, labels: np.ndarray[Any, np.dtype[np.int64]]
    ) -> ImageDataset:
        """Recorded images as a data set, black at -1 and white at 1."""
        pixels = np.round(levels.astype(np.float64) * 255 / self.top).astype(np.uint8)
        source = MemorySource(torch.from_numpy(pixels), torch.from_numpy(labels))
        return ImageDataset(data.name, data.split, data.classes, source, _HALF)

    def row(self, lesson: Lesson, place: str) -> dict[str, Any]:
        """What a network has learned: trained now unless it was before.

        Args:
            lesson: The network and its labels.
            place: Which of all, for lines about the progress.

        Raises:
            NotMeasured: The training diverged.
        """
        network = lesson.network
        out = self.folder / lesson.folder
        file = out / "answers.json"
        if not file.exists():
            data = self._data(lesson)
            weights = self._trained(lesson, data, out, place)
            found = self._answers(network.name, weights, data)
            with refusals(f"answers {file}"), atomic(file) as scratch:
                scratch.write_text(json.dumps(found), encoding="utf-8")
        answers: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        right, images = answers["train_correct"], answers["train_total"]
        random = {"bits": memorised_bits(right, images, len(self.training.classes))}
        return {
            "family": network.family,
            "model": network.name,
            "depth": network.depth,
            "parameters": network.parameters,
            "labels": "random" if lesson.random else "true",
            "images": images,
            "seed": lesson.seed,
            "train_correct": right,
            "train_accuracy": right / images,
            "test_correct": answers["test_correct"],
            "test_total": answers["test_total"],
            "test_accuracy": answers["test_correct"] / answers["test_total"],
            "bits": random["bits"] if lesson.random else math.nan,
            **training_time(out / f"{network.name}.safetensors"),
        }

    def _data(self, lesson: Lesson) -> ImageDataset:
        whole = self.training
        if lesson.share > 1:
            whole = whole.limited(max(2, len(whole) // lesson.share))
        if not lesson.random:
            return whole
        images, labels = whole.raw()
        draws = np.random.default_rng((lesson.seed, len(labels)))
        drawn = torch.from_numpy(draws.integers(0, len(whole.classes), len(labels)))
        source = MemorySource(images, drawn)
        return ImageDataset(whole.name, whole.split, whole.classes, source, whole.normalization)

    def _trained(self, lesson: Lesson, data: ImageDataset, out: Path, place: str) -> Path:
        from ensembles.training import train  # noqa: PLC0415 (an extra)

        plan = self.plan
        try:
            result = train(
                lesson.network.name,
                (data, None),
                out=out,
                recipe=plan.recipe,
                epochs=max(1, round(plan.epochs * len(self.training) / len(data))),
                seed=lesson.seed,
                device=self.device,
                resume=True,
            )
        except EvaluationError as error:
            raise NotMeasured(f"{lesson.folder}: {error}") from error
        self.say(f"{place} {lesson.folder}: trained")
        return Path(result.weights)

    def _answers(self, name: str, weights: Path, data: ImageDataset) -> dict[str, int]:
        from ensembles.checkpoints import load  # noqa: PLC0415 (slow)
        from ensembles.engine import count_correct  # noqa: PLC0415

        model, _ = load(name, str(weights))
        found = {}
        for part, images in (("train", data), ("test", self.test)):
            found[f"{part}_correct"], found[f"{part}_total"] = count_correct(model, images)
        return found
