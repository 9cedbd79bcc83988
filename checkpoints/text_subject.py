"""A network that takes text, together with the text that it is measured on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ensembles.cards import Card
from ensembles.data.registry import SETS
from ensembles.data.texts import (
    BYTES,
    TEXTS,
    LabelledText,
    MaskedText,
    Masks,
    TextDataset,
    Tokenizer,
    is_text,
    open_labelled,
    open_text,
)
from ensembles.errors import CheckpointError, DataError, UsageError
from ensembles.models import architecture
from ensembles.models.ensemble import Average

from .class_labels import labelled_for
from .hub import (
    CAUSAL,
    IMAGE,
    MASKED,
    SEQUENCE,
    is_hub_name,
    longest_window,
    purpose_of,
    tokenizer_of,
)

__all__ = ["TextChoice", "is_language", "open_for", "tokens_for"]

_WINDOW = 256
_TEXT = "prose"
_FEW = 4
"""Windows for a model of transformers where neither a text nor their number is named: a first look
that ends in minutes on two cores."""


@dataclass(frozen=True)
class TextChoice:
    """What a user asks of a text.

    Attributes:
        window: Tokens of a window, or of a row with a class; None for as many as suit the model.
        stride: Tokens from a window to the next; None for one after the other.
        front: A token that is put in front of each window, as text or as its id; None for none.
        column: The column of a table that holds the text.
        masked: The share of tokens that are masked; None for 0.15.
        mask_seed: Seed of the draws of these; None for 0.
    """

    window: int | None = None
    stride: int | None = None
    front: str | None = None
    column: str | None = None
    masked: float | None = None
    mask_seed: int | None = None

    def refuse(self, name: str, dataset: str | None) -> None:
        """Refuse what is asked of a text, or a text, where a network takes no text.

        Raises:
            UsageError: When something of it is asked.
            DataError: When the data are a text.
        """
        if self != TextChoice():
            raise UsageError(
                f"{name} is no language model: leave out --window, --stride, --front, --column, "
                "--masked and --mask-seed"
            )
        if dataset is not None and is_text(dataset):
            raise DataError(
                f"{dataset} is a text, and {name} takes images; choose a language model (gpt12, "
                "smollm2-135m), or images"
            )


def is_language(model: nn.Module, card: Card) -> bool:
    """Whether a loaded network takes text."""
    if isinstance(model, Average):  # of classifiers of images
        return False
    if not is_hub_name(card.architecture):
        return architecture(card.architecture).task == "language"
    return purpose_of(model) != IMAGE


def tokens_for(card: Card) -> Tokenizer:
    """The tokenizer of a language model."""
    return tokenizer_of(card.architecture) if is_hub_name(card.architecture) else BYTES


def open_for(
    model: nn.Module,
    card: Card,
    choice: TextChoice,
    *,
    name: str,
    dataset: str | None,
    split: str,
    limit: int | None,
    labels: str | Path | None = None,
    classes: str | Path | None = None,
    force: bool = False,
) -> tuple[TextDataset | LabelledText, str]:
    """Open a text as a network takes it: windows, windows with masks, or rows with a class each.

    Args:
        model: The model.
        card: What is known of its weights.
        choice: What is asked of the text.
        name: What the user called the model.
        dataset: The text, ``prose`` by default; of a classifier a table of texts and labels.
        split: The part of it.
        limit: At most so many windows or texts.
        labels: The column of the labels, for a classifier.
        classes: As :func:`ensembles.data.class_numbers.class_numbers` takes it, likewise.
        force: Likewise.

    Returns:
        The data, and how labels were given, where there is a doubt.

    Raises:
        DataError: When the text cannot be had, or is shorter than a window.
        UsageError: When the window is longer than the model's positions, the token to put in
            front is none of the model's, or something is asked that the model has no use for.
        CheckpointError: When the tokenizer has more tokens than the model.
    """
    longest = longest_window(model)
    if choice.window is not None and longest is not None and choice.window > longest:
        raise UsageError(
            f"windows of {choice.window} tokens, and {name} has {longest} positions; expected "
            f"--window {longest} or less"
        )
    tokenizer = tokens_for(card)
    purpose = purpose_of(model) if is_hub_name(card.architecture) else CAUSAL
    if dataset is not None and dataset not in TEXTS and (dataset in SETS or Path(dataset).is_dir()):
        _refuse_images(dataset, name)
    if purpose == SEQUENCE:
        config: Any = model.config
        if choice != TextChoice(window=choice.window, column=choice.column):
            raise UsageError(
                f"{name} is a classifier of whole texts: leave out --stride, --front, --masked and "
                "--mask-seed"
            )
        if dataset is None or is_text(dataset):
            found = (
                "no data are named" if dataset is None else f"{dataset} is a text without labels"
            )
            raise UsageError(
                f"{name} is a classifier of texts, and {found}; give a table of texts and labels "
                "by --dataset, with --column and --labels for the names of their columns"
            )
        rows = open_labelled(
            dataset, split, labels=None if labels is None else str(labels), column=choice.column,
            window=choice.window, longest=longest, pad=config.pad_token_id, tokenizer=tokenizer,
            limit=limit,
        )  # fmt: skip
        _fits(rows.ids, int(config.get_text_config().vocab_size), name)
        return labelled_for(card, rows, classes, force=force)
    if (labels, classes) != (None, None):
        raise UsageError(f"{name} is a language model: leave out --classes and --labels")
    trained = card.preprocessing.get("window", _WINDOW)
    data = open_text(
        _TEXT if dataset is None else dataset,
        split,
        window=choice.window or min(int(str(trained)), longest or _WINDOW),
        stride=choice.stride,
        front=None if choice.front is None else _front(choice.front, tokenizer),
        tokenizer=tokenizer,
        column=choice.column,
    )
    _fits(data.windows, card.num_classes, name)
    if purpose == MASKED:
        data = MaskedText(data, _masks(choice, name, tokenizer))
    elif (choice.masked, choice.mask_seed) != (None, None):
        raise UsageError(
            f"{name} predicts the next token, not those behind masks: leave out --masked and "
            "--mask-seed"
        )
    few = _FEW if limit is None and dataset is None and is_hub_name(card.architecture) else limit
    if few is None or few >= len(data):
        return data, ""
    told = f"{few} of {len(data)} windows, evenly spread: --limit takes more" if not limit else ""
    return data.limited(few), told


def _fits(ids: Tensor, vocabulary: int, name: str) -> None:
    highest = int(ids.max())
    if highest >= vocabulary:
        raise CheckpointError(
            f"the tokenizer of {name} gives the token {highest}, and the model has a vocabulary of "
            f"{vocabulary:,}: they do not belong together"
        )


def _masks(choice: TextChoice, name: str, tokenizer: Tokenizer) -> Masks:
    token = getattr(tokenizer, "mask", None)
    if token is None:
        raise CheckpointError(
            f"{name} is a masked language model, and its tokenizer names no mask token; expected "
            "mask_token in its tokenizer_config.json"
        )
    usual = Masks(token)
    return Masks(
        token,
        usual.share if choice.masked is None else choice.masked,
        usual.seed if choice.mask_seed is None else choice.mask_seed,
    )


def _front(text: str, tokenizer: Tokenizer) -> int:
    found = [int(text)] if text.isdecimal() else tokenizer.encode(text).ids.tolist()
    if len(found) != 1 or found[0] >= tokenizer.size:
        raise UsageError(
            f"{text!r} is no token of {tokenizer.name}, which has {tokenizer.size:,}; expected one "
            "token as text, or its id"
        )
    return found[0]


def _refuse_images(folder: str, name: str) -> None:
    """Refuse a folder of images in words that say so."""
    endings = {path.suffix.lower() for path in Path(folder).rglob("*") if path.is_file()}
    pictures = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm"}
    if (folder in SETS and not endings) or endings & pictures:
        raise DataError(
            f"{folder} holds images, and {name} is a language model; give a text, such as prose or "
            "a file"
        )
