"""What a network is trained and tested on, opened and held against each other."""

from __future__ import annotations

import os
from typing import Any, TypeAlias

import torch

from ensembles.data import ImageDataset, Normalization
from ensembles.data import dataset as open_dataset
from ensembles.data.texts import TextDataset, is_text, open_text
from ensembles.errors import UsageError
from ensembles.models import architecture
from ensembles.tasks import TASKS

__all__ = ["Data", "arguments_for", "is_language", "open_data", "open_texts"]

AnyData: TypeAlias = ImageDataset | TextDataset
Data: TypeAlias = str | os.PathLike[str] | tuple[AnyData, AnyData | None]
"""A named data set, a folder, a text, or the training and test data themselves."""


def is_language(model_name: str, task: str | None) -> bool:
    """Whether a language model is trained.

    Args:
        model_name: Name of the architecture.
        task: What is asked for; None for what the architecture is for.

    Raises:
        ModelError: When there is no such architecture.
        UsageError: When it is for another task.
    """
    own = architecture(model_name).task
    if task is not None and task not in TASKS.names():
        TASKS.get(task)
    if task not in (None, own):
        raise UsageError(
            f"{model_name} is a network for {own}, and {task} is asked for; choose another network"
        )
    return own == "language"


def open_texts(
    model_name: str,
    data: Data,
    limit: int | None,
    normalize: Normalization | str | None,
    window: int | None,
) -> tuple[TextDataset, TextDataset | None]:
    """Open the training and test part of a text, each byte a token.

    Args:
        model_name: Name of the architecture.
        data: What the user names.
        limit: At most so many training windows.
        normalize: Must be None: a text is not normalised.
        window: Tokens of a window; None for as many as the model takes.

    Raises:
        DataError: When the text cannot be read, or is shorter than a window.
        UsageError: When it has no part for testing, or a normalisation is asked for.
    """
    if normalize is not None:
        raise UsageError("a text is not normalised; leave --normalize out")
    test: TextDataset | None
    if isinstance(data, tuple):
        training, test = _text(data[0]), None if data[1] is None else _text(data[1])
    else:
        name = "prose" if data == "digits" else data
        longest = architecture(model_name).input_size[0]
        training, test = (
            open_text(name, split, window=window or longest) for split in ("train", "test")
        )
        if test.content_hash == training.content_hash:
            raise UsageError(
                f"{training.name} has no part for testing; expected a folder with the parts train "
                "and test (or val)"
            )
    return training if limit is None else training.limited(limit), test


def _text(data: AnyData) -> TextDataset:
    if not isinstance(data, TextDataset):
        raise UsageError(f"{data.name} holds images; a language model is trained on a text")
    return data


def _images(data: AnyData) -> ImageDataset:
    if not isinstance(data, ImageDataset):
        raise UsageError(f"{data.name} is a text; a network for images is trained on images")
    return data


def arguments_for(model_name: str, data: ImageDataset | TextDataset) -> dict[str, Any]:
    """The arguments that make an architecture fit a data set.

    Raises:
        ModelError: When there is no such network.
    """
    if isinstance(data, TextDataset):
        return {"num_classes": data.tokenizer.size}
    arguments: dict[str, Any] = {"num_classes": len(data.classes)}
    if architecture(model_name).library == "ensembles" and data.shape[0] != 3:
        arguments["in_channels"] = data.shape[0]
    return arguments


def open_data(
    data: Data,
    limit: int | None,
    normalize: Normalization | str | None,
    window: int | None = None,
) -> tuple[ImageDataset, ImageDataset | None]:
    """Open training and test images, normalised in the same way.

    Args:
        data: What the user names.
        limit: At most so many training images.
        normalize: A normalisation, or ``None`` for the data set's own; where that is ``none``, as
            for folders, the training images are measured.
        window: Must be None: images have none.

    Raises:
        DataError: When the data cannot be read.
        UsageError: When there is no test split, or the classes differ.
    """
    if window is not None:
        raise UsageError("a window is for texts; leave --window out, or choose a language model")
    training: ImageDataset
    test: ImageDataset | None
    if isinstance(data, tuple):
        training, test = _images(data[0]), None if data[1] is None else _images(data[1])
    elif is_text(data):
        raise UsageError(
            f"{data} is a text, and the network takes images; choose a language model "
            "(gpt12), or images"
        )
    else:
        training, test = open_dataset(data, "train"), open_dataset(data, "test")
        if test.content_hash == training.content_hash:
            raise UsageError(
                f"{training.name} has no part for testing; expected the folders train and test "
                "(or val) in it"
            )
        if normalize is None and training.normalization == Normalization.parse("none"):
            normalize = _measured_normalization(training)
    if limit is not None:
        training = training.limited(limit)
    if normalize is not None:
        training = training.with_normalization(normalize)
    if len(training) < 2:
        raise UsageError(f"{len(training)} training image; expected at least 2")
    if test is not None:
        if test.classes != training.classes:
            raise UsageError(
                f"the classes of the test images ({', '.join(test.classes[:5])}, ...) are not "
                f"those of the training images ({', '.join(training.classes[:5])}, ...)"
            )
        test = test.with_normalization(training.normalization)
    return training, test


def _measured_normalization(data: ImageDataset) -> Normalization:
    """Mean and standard deviation of each channel, to four places."""
    images, _ = data.raw()
    counts = [torch.bincount(plane.flatten(), minlength=256) for plane in images.unbind(1)]
    share = torch.stack(counts).double()
    share /= share.sum(1, keepdim=True)
    values = torch.arange(256, dtype=torch.float64) / 255
    mean = (share * values).sum(1)
    deviation = (share * (values - mean.unsqueeze(1)) ** 2).sum(1).sqrt()
    return Normalization(
        tuple(round(value, 4) for value in mean.tolist()),
        tuple(round(value, 4) or 1.0 for value in deviation.tolist()),
    )
