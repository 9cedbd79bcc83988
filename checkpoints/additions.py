"""Bring checkpoints into the user's store, and check those that are in it."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from ensembles.cards import Card, Measured
from ensembles.data import ImageDataset, Normalization, dataset
from ensembles.engine import count_correct
from ensembles.errors import CheckpointError, EnsemblesError, UsageError
from ensembles.files import home_expanded
from ensembles.models import list_models
from ensembles.weights import weights_of

from . import store
from .files import CheckpointWarning
from .images import ImageChoice
from .loader import load, load_file
from .pixel_records import written
from .weight_values import check_values

__all__ = ["Verdict", "add", "verify"]


@dataclass(frozen=True)
class Verdict:
    """What a check of one checkpoint found.

    Attributes:
        name: Name of the checkpoint.
        place: ``"packaged"``, ``"user"``, ``"public"`` or ``"wheel"``.
        state: ``"good"``, ``"not fetched"`` or ``"bad"``.
        problem: Why it is bad, otherwise empty.
    """

    name: str
    place: str
    state: str
    problem: str = ""


def verify(names: Iterable[str] = ()) -> list[Verdict]:
    """Check the sha256 of checkpoints, and that each loads whole.

    Args:
        names: Names of the checkpoints; by default all.

    Returns:
        One verdict each; a public one that was never fetched is not.

    Raises:
        CheckpointError: When there is none of a name.
    """
    wanted, bad = list(names), store.bad_cards()
    chosen = [store.find(name) for name in wanted if name not in bad]
    if not wanted:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CheckpointWarning)
            chosen = store.list_checkpoints()
    told = [Verdict(name, "user", "bad", bad[name]) for name in wanted or bad if name in bad]
    return [_verdict(entry) for entry in chosen] + told


def _verdict(entry: store.Entry) -> Verdict:
    name = entry.card.name
    absent = {"public": "not fetched", "wheel": "not installed"}
    if not entry.here and entry.place in absent:
        return Verdict(name, entry.place, absent[entry.place])
    try:
        load(name)
    except EnsemblesError as error:
        return Verdict(name, entry.place, "bad", str(error))
    return Verdict(name, entry.place, "good")


def add(
    path: str | Path,
    name: str,
    architecture: str,
    *,
    data: str | Path | Sequence[str | Path],
    split: str = "test",
    normalize: str | None = None,
    choice: ImageChoice | None = None,
    root: str | Path | None = None,
    limit: int | None = None,
    batch_size: int = 250,
    half: bool = False,
    weights: str | None = None,
    match: str = "names",
    folder: str | Path | None = None,
    source: str = "",
    licence: str = "",
    notes: str = "",
) -> Card:
    """Bring a file of weights into a store, with its error measured.

    Args:
        path: Path of the file; a card beside it is taken over.
        name: For the checkpoint.
        architecture: As for :func:`ensembles.create_model`.
        data: Name of a data set, or a folder, to measure the error on; or several.
        split: The part of each.
        normalize: As ``Normalization.parse`` takes it; by default the card's.
        choice: What else is done to images; by default what the card says. It is written down.
        root: Where named data sets lie.
        limit: At most so many images.
        batch_size: Images at a time.
        half: Whether to write half precision; the error is then that of the file as written.
        weights: Which of several sets of weights in the file, as for :func:`load`.
        match: How weights are assigned, as for :func:`load`.
        folder: The store; by default the user's.
        source: Where the file comes from.
        licence: Under which it may be used.
        notes: Anything else.

    Returns:
        The card as written.

    Raises:
        UsageError: When the name is taken, or no normalisation is known.
        CheckpointError: When the file cannot be read, is damaged or unsafe, does not fit the
            architecture or the data, or does not go into half precision.
        DataError: When the data cannot be had, or the model does not take them.
        EvaluationError: When the model gives logits that are not finite.
        OutputError: When the store cannot be written.
    """
    place = store.user_folder() if folder is None else home_expanded(folder)
    _check_free(name, place, folder is None)
    if name in list_models():
        raise UsageError(f"{name!r} is the name of an architecture: take another, like {name}-mine")
    model, known = load_file(path, architecture, weights=weights, match=match)
    pixels = normalize or known.normalization
    if pixels is None:
        raise UsageError(
            f"it is not known how inputs of {path} are normalised: give normalize, for example "
            "imagenet or cifar10"
        )
    pixels = str(Normalization.parse(pixels))
    how = replace(choice or ImageChoice(), normalize=pixels).preprocessing(known)
    several = [data] if isinstance(data, (str, Path)) else data
    sets = [dataset(one, split, limit=limit, preprocessing=how, root=root) for one in several]
    for images in sets:
        if len(images.classes) != known.num_classes:
            raise CheckpointError(
                f"{path} has {known.num_classes} classes, {images.name} has {len(images.classes)}"
            )
    given = {"source": source, "licence": licence, "notes": notes}
    card = replace(
        known,
        name=name,
        normalization=pixels,
        preprocessing=known.preprocessing if choice in (None, ImageChoice()) else written(how),
        classes=known.classes or tuple(sets[0].classes),
        **{key: value for key, value in given.items() if value},  # type: ignore[arg-type]
    )
    if half:
        # What was measured before is no measurement of these weights.
        card, model = replace(card, measured=()), _rounded(model, name)
    card = _measured(card, model, sets, batch_size)
    return store.save_checkpoint(model, card, place, half=half, new=True)


def _check_free(name: str, place: Path, in_user_store: bool) -> None:
    there = in_user_store and store.is_known(name)
    if there or (place / "cards" / f"{name}.toml").exists():
        raise UsageError(f"a checkpoint {name!r} is there already: take another name, or remove it")


def _rounded(model: nn.Module, name: str) -> nn.Module:
    """A copy of a model with the weights that half precision has of it, in single precision."""
    state = weights_of(model, half=True)
    check_values(state, f"checkpoint {name!r}")
    rounded = copy.deepcopy(model)
    rounded.load_state_dict(state)
    return rounded


def _measured(card: Card, model: nn.Module, sets: Sequence[ImageDataset], batch_size: int) -> Card:
    """The card with the error on each of the data sets."""
    for images in sets:
        correct, total = count_correct(model, images, batch_size)
        name, key = Path(images.name).name, images.content_hash
        card = card.with_measured(Measured(name, images.split, correct, total, content_hash=key))
    return card
