"""Capacity against data, by one call."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path

import pandas as pd

from ensembles.files import home_expanded
from ensembles.reproduction.capacity_plan import CapacityPlan
from ensembles.reproduction.experiments.label_memory import LabelMemory
from ensembles.reproduction.report_pages import reproduce
from ensembles.reproduction.request import Request
from ensembles.tables import read_frame

__all__ = ["capacity", "run_capacity"]


def capacity(
    sizes: Sequence[int] = CapacityPlan.sizes,
    dataset: str = "digits",
    *,
    out: str | os.PathLike[str],
    family: str = CapacityPlan.family,
    depth: int = CapacityPlan.depth,
    seeds: int = CapacityPlan.seeds,
    shares: Sequence[int] = CapacityPlan.shares,
    accuracy: float = CapacityPlan.accuracy,
    recipe: str = CapacityPlan.recipe,
    epochs: int = CapacityPlan.epochs,
    limit: int | None = None,
    device: str = "auto",
    report: Callable[[str], None] | None = None,
) -> pd.DataFrame:
    """Measure what networks of growing size hold of true and of random labels.

    Everything goes to ``out``, as of :func:`ensembles.family`; the estimates of the entropy of
    images and labels are ``frames/capacity-entropy.csv``.

    Args:
        sizes: Numbers of parameters, ascending; each is met within a tenth.
        dataset: Name or folder of the images, with the splits ``train`` and ``test``. Of the digits
            the 8 x 8 pixels that were recorded are taken.
        out: The folder; made if it is not there. The same call goes on from it.
        family: ``perceptron``, ``preresnet``, ``plain``, ``wide`` or ``vgg``.
        depth: Weight layers on the longest path.
        seeds: Number of trainings of each network on each kind of labels.
        shares: Random labels are given to all training images (1), to one of two (2), and so on.
        accuracy: The accuracy on test images that is asked for, 0 to 1.
        recipe: Recipe of all trainings.
        epochs: Passes over all training images.
        limit: At most so many training images, evenly spread.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        report: Takes a line about what is going on.

    Returns:
        One row for each network: ``model``, ``parameters`` (exact), ``accuracy``, ``learned``,
        ``random`` and ``bits`` with their intervals over seeds, ``bits_each``, and
        ``labels_memorised`` (docs/capacity.md).

    Raises:
        UsageError: An option cannot be meant.
        DataError: The images cannot be read, or do not lie in memory.
        KeyboardInterrupt: On Ctrl-C; what was trained is kept.
    """
    plan = CapacityPlan(
        tuple(sizes), family, depth, seeds, tuple(shares), accuracy, recipe, epochs, limit=limit
    )
    folder = home_expanded(out)
    run_capacity(plan, Request(dataset=dataset, device=device), folder, report or (lambda _: None))
    return read_frame(folder / "frames" / "capacity-capacity.csv")


def run_capacity(
    plan: CapacityPlan, request: Request, folder: Path, say: Callable[[str], None]
) -> pd.DataFrame:
    """Train, measure, judge and write.

    Args:
        plan: The networks.
        request: What they learn.
        folder: Where everything goes.
        say: Takes a line about what is going on.

    Returns:
        The claims, one row each.
    """
    words = ["ensembles", "capacity", "--dataset", request.dataset]
    usual = CapacityPlan()
    for field in fields(CapacityPlan):
        value = getattr(plan, field.name)
        if value != getattr(usual, field.name):
            text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
            words += [f"--{field.name}", text]
    command = (*words, "--out", str(folder))
    return reproduce(request, [LabelMemory(plan)], folder, say, command)
