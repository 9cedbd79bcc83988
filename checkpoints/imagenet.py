"""ImageNet weights of torchvision and timm, through the libraries, with their own preprocessing."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ensembles.cards import Card
from ensembles.errors import CheckpointError, nearest
from ensembles.models import Architecture

from .download import download
from .files import open_weights
from .pixel_records import as_numbers, of_timm, of_torchvision, written
from .state_dicts import build_with_weights
from .weight_values import check_values

__all__ = ["card_of_file", "load", "with_tag"]

_HASH = re.compile(r"-([0-9a-f]{8,64})\.")


def load(entry: Architecture, weights: str) -> tuple[nn.Module, Card]:
    """Load a model of torchvision or timm with weights that its library names.

    Args:
        entry: The architecture.
        weights: ``"imagenet"`` for the library's default ones; the name of a member of
            torchvision's weights enum; or a timm tag.

    Returns:
        The model in evaluation mode, and a card made from what the library says.

    Raises:
        CheckpointError: When there are no such weights, they cannot be had, or are damaged.
    """
    bare = entry.name.rpartition(":")[2]
    if entry.library == "torchvision":
        return _load_torchvision(entry.name, bare, weights)
    return _load_timm(entry.name, bare, weights)


def _load_torchvision(name: str, bare: str, weights: str) -> tuple[nn.Module, Card]:
    members = import_module("torchvision.models").get_model_weights(bare)
    known = [member.name for member in members]
    if weights not in ("imagenet", "DEFAULT", *known):
        raise CheckpointError(
            f"{name} has no checkpoint and no weights called {weights!r}; torchvision has "
            f"{', '.join(known)}{nearest(weights, known)}"
        )
    member = members.DEFAULT if weights in ("imagenet", "DEFAULT") else members[weights]
    card = _torchvision_card(name, bare, member)
    path = Path(torch.hub.get_dir()) / "checkpoints" / card.file
    if not path.is_file():
        download(member.url, path, card.sha256)
    model, _ = build_with_weights(
        name,
        open_weights(path, card.sha256).state_dict(),
        num_classes=card.num_classes,
        arguments=card.arguments,
        origin=str(path),
    )
    return model, card


def card_of_file(entry: Architecture, file: str) -> Card | None:
    """The card of a file that torchvision or timm publishes for an architecture, by its name."""
    bare = entry.name.rpartition(":")[2]
    if entry.library == "torchvision":
        for member in import_module("torchvision.models").get_model_weights(bare):
            if _file_of(member.url) == file:
                return _torchvision_card(entry.name, bare, member)
    if entry.library == "timm":
        timm = import_module("timm")
        for tagged in timm.list_pretrained(f"{bare.partition('.')[0]}.*"):
            config = timm.get_pretrained_cfg(tagged).to_dict()
            if config["num_classes"] and _file_of(config.get("url") or "") == file:
                card = _timm_card(entry.name, tagged, config)
                published = _HASH.search(file)
                return replace(card, file=file, sha256=published[1] if published else "")
    return None


def with_tag(card: Card, entry: Architecture) -> Card:
    """A card without a record of images, completed by that of the tag in a name of timm."""
    bare = entry.name.rpartition(":")[2]
    if card.preprocessing or card.normalization is not None or "." not in bare:
        return card
    timm = import_module("timm") if entry.library == "timm" else None
    if timm is None or not timm.models.is_model_pretrained(bare):
        return card
    known = _timm_card(entry.name, bare, timm.get_pretrained_cfg(bare).to_dict())
    return replace(card, preprocessing=known.preprocessing, normalization=known.normalization)


def _file_of(address: str) -> str:
    return address.rsplit("/", 1)[-1]


def _torchvision_card(name: str, bare: str, member: Any) -> Card:
    transforms = member.transforms()
    how = of_torchvision(transforms)
    file = _file_of(member.url)
    published = _HASH.search(file)
    arguments: dict[str, str | int | float | bool] = {}
    if bare in ("googlenet", "inception_v3"):
        arguments["transform_input"] = True
    if bare.startswith("vit_"):
        arguments["image_size"] = transforms.crop_size[0]
    return Card(
        name=f"{bare}-{member.name}",
        architecture=name,
        num_classes=len(member.meta["categories"]),
        arguments=arguments,
        dataset="imagenet",
        split="train",
        normalization=as_numbers(how),
        classes=tuple(member.meta["categories"]),
        preprocessing=written(how),
        notes=f"recipe: {member.meta['recipe']}" if "recipe" in member.meta else "",
        sha256=published[1] if published else "",
        file=file,
        source=member.url,
    )


def _load_timm(name: str, bare: str, weights: str) -> tuple[nn.Module, Card]:
    timm = import_module("timm")
    tagged = bare if weights == "imagenet" else f"{bare.partition('.')[0]}.{weights}"
    known = timm.list_pretrained(f"{bare.partition('.')[0]}.*")
    tags = [other.partition(".")[2] for other in known]
    if not timm.models.is_model_pretrained(tagged):
        raise CheckpointError(
            f"{name} has no checkpoint and no weights called {weights!r}; timm has "
            f"{', '.join(tags) or 'none'}{nearest(weights, tags)}"
        )
    config = timm.get_pretrained_cfg(tagged)
    if not config.num_classes:
        raise CheckpointError(f"timm's weights {tagged} have no classifier; take others of {name}")
    cached = _cached(config.hf_hub_id)
    overlay = {"file": cached} if cached else None
    try:
        if config.hf_hub_id and not cached:
            _reach(import_module("huggingface_hub.constants").ENDPOINT)
        model: nn.Module = timm.create_model(
            tagged, pretrained=True, pretrained_cfg_overlay=overlay
        )
    except Exception as error:  # each of timm's ways to a file has errors of its own
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"timm's weights {tagged} are in no cache, and cannot be had from "
            f"{config.hf_hub_id or config.url} ({type(error).__name__}: {reason}); fetch them by "
            "other means and name the file with --checkpoint, or take --checkpoint random for an "
            "untrained control"
        ) from error
    check_values(model.state_dict(), f"timm's {tagged}")
    about: Any = model.pretrained_cfg
    config = {**about, "num_classes": model.num_classes}
    return model.eval(), _timm_card(name, tagged, config)


def _cached(repository: str | None) -> str | None:
    """The file of a repository of the Hugging Face hub, where it was fetched before."""
    if not repository:
        return None
    find = import_module("huggingface_hub").try_to_load_from_cache
    for file in ("model.safetensors", "pytorch_model.bin"):
        found = find(repository, file)
        if isinstance(found, str):
            return found
    return None


def _reach(address: str) -> None:
    """Fail at once without a network; the hub's own client tries for most of a minute."""
    try:
        urllib.request.urlopen(address, timeout=10).close()
    except urllib.error.HTTPError:
        return


def _timm_card(name: str, tagged: str, config: Mapping[str, Any]) -> Card:
    how, test = of_timm(config), of_timm(config, test=True)
    classes = config["num_classes"]
    return Card(
        name=re.sub(r"[^A-Za-z0-9._-]", "-", f"{tagged}-timm"),
        architecture=name,
        num_classes=classes,
        dataset="imagenet" if classes == 1000 else "",
        split="train",
        normalization=as_numbers(how),
        preprocessing=written(how, test),
        source=str(config.get("hf_hub_id") or config.get("url") or ""),
        licence=str(config.get("license") or ""),
    )
