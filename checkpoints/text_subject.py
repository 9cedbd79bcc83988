"""A language model together with the text that it is measured on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from ensembles.cards import Card
from ensembles.data.texts import BYTES, TEXTS, TextDataset, Tokenizer, is_text, open_text
from ensembles.errors import CheckpointError, DataError, ModelError, UsageError
from ensembles.models import architecture
from ensembles.models.ensemble import Average

from .hub import CAUSAL, is_hub_name, longest_window, purpose_of, tokenizer_of

__all__ = ["TextChoice", "is_language", "open_for", "tokens_for"]

_WINDOW = 256
_TEXT = "prose"


@dataclass(frozen=True)
class TextChoice:
    """What a user asks of a text.

    Attributes:
        window: Tokens of a window; None for as many as suit the model.
        stride: Tokens from a window to the next; None for one after the other.
        front: A token that is put in front of each window, as text or as its id; None for none.
        column: The column of a table that holds the text.
    """

    window: int | None = None
    stride: int | None = None
    front: str | None = None
    column: str | None = None

    def refuse(self, name: str, dataset: str | None) -> None:
        """Refuse what is asked of a text, or a text, where a network takes no text.

        Raises:
            UsageError: When something of it is asked.
            DataError: When the data are a text.
        """
        if self != TextChoice():
            raise UsageError(
                f"{name} is no language model: leave out --window, --stride, --front and --column"
            )
        if dataset is not None and is_text(dataset):
            raise DataError(
                f"{dataset} is a text, and {name} takes images; choose a language model (gpt12, "
                "smollm2-135m), or images"
            )


def is_language(model: nn.Module, card: Card) -> bool:
    """Whether a loaded network predicts the next token.

    Raises:
        ModelError: When it takes tokens, and does something else with them.
    """
    if isinstance(model, Average):  # of classifiers of images
        return False
    if not is_hub_name(card.architecture):
        return architecture(card.architecture).task == "language"
    purpose = purpose_of(model)
    if purpose == CAUSAL:
        return True
    if purpose != "image":
        raise ModelError(
            f"{card.architecture} is a {type(model).__name__}, an encoder: it sees the tokens that "
            "it would have to predict. Expected a decoder (a causal language model) here; in a "
            "program, ensembles.decompose and ensembles.lesion take it with data of your own"
        )
    return False


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
) -> TextDataset:
    """Open a text as windows for a language model.

    Args:
        model: The model.
        card: What is known of its weights.
        choice: What is asked of the text.
        name: What the user called the model.
        dataset: The text; ``prose`` by default.
        split: The part of it.
        limit: At most so many windows.

    Raises:
        DataError: When the text cannot be had, or is shorter than a window.
        UsageError: When the window is longer than the model's positions, or the token to put in
            front is none of the model's.
        CheckpointError: When the tokenizer has more tokens than the model.
    """
    longest, trained = longest_window(model), card.preprocessing.get("window", _WINDOW)
    window = choice.window or min(int(str(trained)), longest or _WINDOW)
    if longest is not None and window > longest:
        raise UsageError(
            f"windows of {window} tokens, and {name} has {longest} positions; expected --window "
            f"{longest} or less"
        )
    tokenizer = tokens_for(card)
    if dataset is not None and dataset not in TEXTS and Path(dataset).is_dir():
        _refuse_images(dataset, name)
    data = open_text(
        _TEXT if dataset is None else dataset,
        split,
        window=window,
        stride=choice.stride,
        front=None if choice.front is None else _front(choice.front, tokenizer),
        tokenizer=tokenizer,
        column=choice.column,
        limit=limit,
    )
    highest = int(data.windows.max())
    if highest >= card.num_classes:
        raise CheckpointError(
            f"the tokenizer of {name} gives the token {highest}, and the model has a vocabulary of "
            f"{card.num_classes:,}: they do not belong together"
        )
    return data


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
    if endings & {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm"}:
        raise DataError(
            f"{folder} holds images, and {name} is a language model; give a text, such as prose or "
            "a file"
        )
