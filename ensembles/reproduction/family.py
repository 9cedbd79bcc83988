"""Networks of equal size, trained and taken apart by one call."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path

import pandas as pd

from ensembles.files import home_expanded
from ensembles.reproduction.experiments.matched_families import MatchedFamilies
from ensembles.reproduction.family_plan import DEPTHS, FamilyPlan
from ensembles.reproduction.report_pages import reproduce
from ensembles.reproduction.request import Request
from ensembles.reproduction.scale import FULL, Scale
from ensembles.tables import read_frame

__all__ = ["family", "run_family"]


def family(
    parameters: int = 250_000,
    depths: Sequence[int] = DEPTHS,
    dataset: str = "digits",
    *,
    out: str | os.PathLike[str],
    families: Sequence[str] = ("preresnet", "plain"),
    seeds: int = 3,
    recipe: str | None = None,
    epochs: int | None = None,
    limit: int | None = None,
    tolerance: float = 0.02,
    train: bool = True,
    scale: Scale = FULL,
    device: str = "auto",
    precision: str = "fp32",
    report: Callable[[str], None] | None = None,
) -> pd.DataFrame:
    """Train networks of several depths with one number of parameters, and take them apart.

    Everything goes to ``out``: the trained networks (``trained/``), the store (``results.db``), the
    tables (``frames/*.csv``), the claims (``claims.csv``), the figure and ``report.html``.
    Interrupted at any moment, the same call goes on from there.

    Args:
        parameters: The number of parameters of each.
        depths: Weight layers on the longest path; each family takes those that it has.
        dataset: Name or folder of the images, with the splits ``train`` and ``test``.
        out: The folder; made if it is not there.
        families: Some of ``preresnet``, ``plain``, ``wide``, ``vgg`` and ``perceptron``.
        seeds: Number of trainings of each network.
        recipe: The recipe of all; by default ``digits`` on the digits, else ``short``.
        epochs: Passes over the training images; by default the recipe's own number.
        limit: At most so many training images.
        tolerance: How far the number of parameters may lie from the one asked for, as a share.
        train: Whether to train what is not trained yet; else only what is there is measured.
        scale: How much is measured.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        precision: Precision of the lesions.
        report: Takes a line about what is going on.

    Returns:
        One row for each network: ``family``, ``model``, ``depth``, ``widths``, ``parameters``
        (exact), ``seed``; ``error`` with Wilson's interval, ``train_error`` (of the training images
        as they are); ``median_rise`` and ``worst_rise`` of the error after one deletion; ``paths``
        (exact, the multiplicity of Veit et al. 2016), ``multiplicity`` (those whose length is in
        the interval that holds 95 % of the gradient by the RMS norm, as Abdi and Nahavandi 2016
        count), ``MEASURE_first``, ``_last``, ``_median`` and ``_share`` for the measures ``mean``,
        ``rms``, ``coherent`` and ``logits`` (lengths in weight layers), ``cancellation``;
        ``train_seconds`` on the clock, ``train_processor_seconds``, and ``answer_seconds`` for one
        image.

    Raises:
        UsageError: An option cannot be meant, or the number of parameters is met by no widths.
        DataError: The images cannot be read.
        NotMeasured: No network is trained and measured.
        KeyboardInterrupt: On Ctrl-C; what was trained and measured is kept.
    """
    plan = FamilyPlan(
        parameters, tuple(depths), tuple(families), seeds, recipe, epochs, limit, tolerance, train
    )
    request = Request(dataset=dataset, scale=scale, device=device, precision=precision)
    folder = home_expanded(out)
    run_family(plan, request, folder, report or (lambda line: None))
    return read_frame(folder / "frames" / "family-networks.csv")


def run_family(
    plan: FamilyPlan, request: Request, folder: Path, say: Callable[[str], None]
) -> pd.DataFrame:
    """Train, measure, judge and write.

    Args:
        plan: The networks.
        request: What is measured on what.
        folder: Where everything goes.
        say: Takes a line about what is going on.

    Returns:
        The claims, one row each.
    """
    command = _command(plan, request, folder)
    return reproduce(request, [MatchedFamilies(plan)], folder, say, command)


def _command(plan: FamilyPlan, request: Request, folder: Path) -> tuple[str, ...]:
    """The command line that asks for a plan."""
    words = ["ensembles", "family", "--dataset", request.dataset]
    usual = FamilyPlan()
    for field in fields(FamilyPlan):
        value = getattr(plan, field.name)
        if field.name != "train" and value != getattr(usual, field.name):
            text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
            words += [f"--{field.name}", text]
    return (*words, *(() if plan.train else ("--trained",)), "--out", str(folder))
