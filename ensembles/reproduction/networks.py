"""Which trained networks there are for an experiment, by their cards."""

from __future__ import annotations

from pathlib import Path

from ensembles.cards import Card, card_name
from ensembles.checkpoints import list_checkpoints
from ensembles.data import known_datasets
from ensembles.reproduction.named import NotMeasured

__all__ = ["best_network", "find_network", "training_command"]

_HOW = {
    "ordinary": "",
    "stochastic depth": " trained with stochastic depth",
    "paths only": " trained on effective paths only",
}


def find_network(
    architecture: str, dataset: str, classes: tuple[str, ...], kind: str = "ordinary"
) -> Card:
    """Find trained weights on this machine: packaged, or of the user's store.

    Args:
        architecture: Its name.
        dataset: Name or folder of the images.
        classes: Names of their classes; a folder's networks are known by these.
        kind: How it was trained: ``ordinary``, ``stochastic depth`` or ``paths only``.

    Returns:
        The card of the first that fits.

    Raises:
        NotMeasured: There is none; with the command that trains one.
    """
    for entry in list_checkpoints(architecture):
        card = entry.card
        if entry.here and _kind(card) == kind and _suits(card, dataset, classes):
            return card
    raise NotMeasured(
        f"no checkpoint: {architecture}{_HOW[kind]} on {dataset}",
        training_command(architecture, dataset, kind),
    )


def best_network(dataset: str, classes: tuple[str, ...]) -> Card:
    """The trained network of this machine that errs least on some images, by the cards.

    Args:
        dataset: Name or folder of the images.
        classes: Names of their classes; a folder's networks are known by these.

    Returns:
        Its card.

    Raises:
        NotMeasured: There is none that was measured.
    """
    known = [
        (card.measured[0].error, card.name, card)
        for card in (entry.card for entry in list_checkpoints() if entry.here)
        if card.measured and _suits(card, dataset, classes)
    ]
    if not known:
        raise NotMeasured(f"no checkpoint of a network for {dataset}")
    return min(known, key=lambda one: one[:2])[2]


def training_command(architecture: str, dataset: str, kind: str = "ordinary") -> str:
    """The commands that train a network and add it to the user's store."""
    extra = {"stochastic depth": " --stochastic-depth 0.5", "paths only": " --paths-only 23"}
    recipe = "digits" if dataset == "digits" else "paper"
    suffix = f"-{kind.replace(' ', '-')}" if _HOW[kind] else ""
    name = f"{architecture}-{card_name(Path(dataset).name)}{suffix}"
    return (
        f"ensembles train --model {architecture} --dataset {dataset} --recipe {recipe}"
        f"{extra.get(kind, '')} --out runs/{name} && ensembles checkpoints add "
        f"runs/{name}/{architecture}.safetensors --name {name} --model {architecture} "
        f"--dataset {dataset}"
    )


def _kind(card: Card) -> str:
    if card.training.get("paths_only"):
        return "paths only"
    return "stochastic depth" if card.training.get("stochastic_depth") else "ordinary"


def _suits(card: Card, dataset: str, classes: tuple[str, ...]) -> bool:
    """Whether a network was trained for these images.

    A named set is known by its name, also where the name goes on (``cifar10-jpeg``); a folder by
    its own name or by the names of its classes.
    """
    if dataset in {info.name for info in known_datasets()}:
        return card.dataset == dataset or card.dataset.startswith(f"{dataset}-")
    return card.dataset == Path(dataset).name or (bool(classes) and card.classes == classes)
