"""What is taken apart: a trained network, opened together with the data that suit it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from ensembles.cards import Card
from ensembles.data import ImageDataset
from ensembles.data import dataset as open_dataset
from ensembles.data.pixels import SizeText
from ensembles.data.texts import LabelledText, TextDataset
from ensembles.decomposition import Decomposition, decompose
from ensembles.decomposition.inputs import placed
from ensembles.engine import choose_device
from ensembles.errors import UsageError
from ensembles.lesions import Choice, Lesion, Structure
from ensembles.models import list_models

from .card_error import check_channels, check_error, check_normalized_once
from .class_labels import check_classes, labelled_for
from .hub import is_hub_name
from .images import ImageChoice
from .initial_weights import find_initial, open_initial
from .loader import load
from .own_network import is_own
from .random_weights import random_seed
from .text_subject import TextChoice, is_language, open_for

__all__ = ["Subject", "open_subject"]

_DATASET = "digits"
_EXAMPLES = 16
_WINDOWS = 2


@dataclass(frozen=True)
class Subject:
    """A network and the data that it is measured on, and what lesions may need beside them.

    Attributes:
        name: The model's name, as the user gave it.
        card: The card of its weights.
        net: The network, taken apart, on its device.
        data: The data, normalised for it.
        reference: Data for means and BatchNorm statistics; None for another split of the same
            data set.
        initial: The network as it was before training; None where its weights are not at hand.
        images: One line on what is done to the images, and who says so.
        labels: One line on how labels were given, where there is a doubt; "" for none.
    """

    name: str
    card: Card
    net: Decomposition
    data: ImageDataset | TextDataset | LabelledText
    reference: ImageDataset | TextDataset | LabelledText | None = None
    initial: nn.Module | None = None
    images: str = ""
    labels: str = ""

    @property
    def about(self) -> dict[str, str]:
        """Which weights these are, for the provenance of a result."""
        card = self.card
        told = {"checkpoint": card.name, "architecture": card.architecture, "sha256": card.sha256}
        return {name: value for name, value in told.items() if value}

    @property
    def sources(self) -> Callable[[str], nn.Module]:
        """Opens another trained network of this architecture, by name or file of its checkpoint."""
        architecture, classes = self.card.architecture, self.card.num_classes

        def opened(name: str) -> nn.Module:
            network, _ = load(architecture, name, num_classes=classes)
            return network

        return opened

    @property
    def materials(self) -> dict[str, Any]:
        """What lesions may need, as :func:`ensembles.lesion` takes it."""
        return {"reference": self.reference, "initial": self.initial, "sources": self.sources}

    def lesions(self, choice: Choice) -> list[Lesion]:
        """The lesions that a choice makes on this network, the intact one first.

        Raises:
            LesionError: When the choice names blocks that the network does not have.
        """
        return choice.lesions(Structure.of(self.net))


def open_subject(
    model: str,
    checkpoint: str | Path | None = None,
    *,
    dataset: str | None = None,
    split: str = "test",
    limit: int | None = None,
    normalize: str | None = None,
    image_size: SizeText = None,
    resize: SizeText = None,
    crop: SizeText = None,
    interpolation: str | None = None,
    crop_mode: str | None = None,
    colours: str | None = None,
    test_size: bool = False,
    classes: str | Path | None = None,
    labels: str | Path | None = None,
    device: str = "auto",
    block_names: str | None = None,
    block_kinds: str | None = None,
    nested: bool | None = None,
    reference: str | None = None,
    initial: str | Path | nn.Module | None = None,
    weights: str | None = None,
    match: str = "names",
    in_channels: int | None = None,
    window: int | None = None,
    stride: int | None = None,
    front: str | None = None,
    column: str | None = None,
    masked: float | None = None,
    mask_seed: int | None = None,
    check: bool = True,
    force: bool | None = None,
) -> Subject:
    """Load a network and its data, and take the network apart.

    Args:
        model: Name of an architecture, as for :func:`load`.
        checkpoint: As for :func:`load`.
        dataset: A name or a folder; by default what the checkpoint was measured on, else digits.
            For a language model a text, as :func:`ensembles.data.texts.open_text` takes it; by
            default ``prose``. For a classifier of sequences a table of texts and labels.
        split: The part of the data.
        limit: At most so many images or windows, spread evenly.
        normalize: A normalisation; by default the checkpoint's, else the data set's own.
        image_size: Side of the square that images are brought to; or two, as :class:`ImageChoice`
            takes them. By default images are made as the checkpoint's record says.
        resize: The side that they are resized to, likewise; so are the next five.
        crop: The side of what is cut out.
        interpolation: How pixels are made anew.
        crop_mode: ``center``, ``squash`` or ``border``.
        colours: ``rgb``, ``bgr`` or ``grey``.
        test_size: Whether to take the size that the record names for testing.
        classes: Which number each class of the data has, as a file or a word; see
            :func:`ensembles.data.class_numbers.class_numbers`.
        labels: Where the labels of the data stand, as for :func:`ensembles.dataset`.
        device: As ``ensembles.engine.choose_device`` takes it.
        block_names: A regular expression; the modules with matching names are the blocks.
        block_kinds: Kinds of blocks to take, separated by commas.
        nested: Whether to look for blocks inside others too, as for ``decompose``.
        reference: A name or a folder, whose training split is reference data for lesions that
            need some; by default that of the same data set.
        initial: The network before training, or the file of its weights; by default the file that
            lies beside the checkpoint's, if there is one.
        weights: Which of several sets of weights in a file, as for :func:`load`.
        match: How weights are assigned, as for :func:`load`.
        in_channels: Channels of the images, for random weights, for files without a card, and for
            functions of your own that take it.
        window: Tokens of a window of a text; by default as many as the model was trained on, or
            at most 256.
        stride: Tokens from a window to the next; by default they lie one after the other.
        front: A token to put in front of each window, as text or id; none by default.
        column: The column of a table that holds the text.
        masked: The share of the tokens of a window that are masked, for a masked language model;
            by default 0.15.
        mask_seed: Seed of their draws; by default 0.
        check: Whether the network's classes are held against those of the images, and its intact
            error against its card's, first.
        force: Whether fewer classes than the network's are taken where they are numbered from 0;
            by default where nothing is checked.

    Returns:
        The subject.

    Raises:
        UsageError: When no normalisation is known, or what is asked of images cannot be meant.
        EnsemblesError: As ``load``, ``open_initial``, ``dataset``, ``decompose``,
            ``check_classes`` and ``check_error`` raise it.
    """
    more: dict[str, Any] = {} if in_channels is None else {"in_channels": in_channels}
    if random_seed(checkpoint) is not None and not is_hub_name(model) and not is_own(model):
        more["num_classes"] = _classes_of(model, dataset, split)
    network, card = load(model, checkpoint, weights=weights, match=match, **more)
    text = TextChoice(window, stride, front, column, masked, mask_seed)
    if check:
        check_normalized_once(network, normalize or card.normalization)
    before = find_initial(checkpoint) if initial is None else initial
    subject = take_apart(
        model,
        network,
        card,
        dataset=dataset,
        split=split,
        limit=limit,
        images=ImageChoice(
            normalize, image_size, resize, crop, interpolation, crop_mode, colours, test_size
        ),
        classes=classes,
        labels=labels,
        device=device,
        block_names=block_names,
        block_kinds=block_kinds,
        nested=nested,
        reference=reference,
        initial=open_initial(card, before) if isinstance(before, (str, Path)) else before,
        force=not check if force is None else force,
        text=text,
    )
    if check:
        check_classes(card, subject.data)
        check_error(network, card, subject.data, device=choose_device(device))
    return subject


def _classes_of(model: str, dataset: str | None, split: str) -> int | None:
    """As many classes as the images have; None for a language model, whose words are its own."""
    if model in list_models("ensembles", task="language"):
        return None
    TextChoice().refuse(model, dataset)
    return len(open_dataset(dataset or _DATASET, split, limit=1).classes)


def take_apart(
    name: str,
    network: nn.Module,
    card: Card,
    *,
    dataset: str | None = None,
    split: str = "test",
    limit: int | None = None,
    images: ImageChoice | None = None,
    classes: str | Path | None = None,
    labels: str | Path | None = None,
    device: str = "auto",
    block_names: str | None = None,
    block_kinds: str | None = None,
    nested: bool | None = None,
    reference: str | None = None,
    initial: nn.Module | None = None,
    force: bool = False,
    text: TextChoice | None = None,
) -> Subject:
    """Open the data that suit a trained network, and take it apart; see :func:`open_subject`."""
    place, choice = choose_device(device), images or ImageChoice()
    how: dict[str, Any] = {
        "blocks": block_names,
        "kinds": block_kinds.split(",") if block_kinds else None,
        "nested": nested,
    }
    words = text or TextChoice()
    if is_language(network, card):
        if choice != ImageChoice():
            raise UsageError(
                f"{name} takes text: leave out --normalize and what is asked of images"
            )
        open_as_text = partial(
            open_for, network, card, words, name=name, labels=labels, classes=classes, force=force
        )
        text_data, doubt = open_as_text(dataset=dataset, split=split, limit=limit)
        about = None
        if reference is not None:
            about, _ = open_as_text(dataset=reference, split="train", limit=None)
        rows: Any = (
            text_data.example
            if isinstance(text_data, LabelledText)
            else text_data.windows[:_WINDOWS]
        )
        net = decompose(network.to(place), placed(rows, place), **how)
        return Subject(name, card, net, text_data, about, initial, text_data.told, doubt)
    words.refuse(name, dataset)

    def opened(
        name: str, split: str, limit: int | None, labels: str | Path | None = None
    ) -> ImageDataset:
        open_as = partial(open_dataset, name, split, limit=limit, labels=labels)
        return choice.opened(card, name, lambda how: open_as(preprocessing=how))

    named = dataset if dataset is not None else card.dataset or _DATASET
    data = opened(named, split, limit, labels)
    data, told = labelled_for(card, data, classes, force=force)
    check_channels(card, data)
    beside = None if reference is None else opened(reference, "train", None)
    example, _ = next(data.batches(_EXAMPLES))
    net = decompose(network.to(place), example.to(place), **how)
    return Subject(name, card, net, data, beside, initial, choice.told(card, data), told)
