"""One training with everything looked up and checked, before any work is done."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import nn

from ensembles.cards import Card
from ensembles.data import ImageDataset, Normalization
from ensembles.data import dataset as open_dataset
from ensembles.engine import choose_device
from ensembles.errors import ModelError, UsageError
from ensembles.models import architecture, create_model
from ensembles.training.augmentation import shrink
from ensembles.training.randomness import stream_seed
from ensembles.training.recipes import Recipe
from ensembles.training.stochastic_depth import BlockDropping, dropping_for

__all__ = ["Data", "Plan", "arguments_for", "open_data", "trainer_options"]

_MOST_PROCESSES = 4 * (os.cpu_count() or 1)

Data: TypeAlias = str | os.PathLike[str] | tuple[ImageDataset, ImageDataset | None]
"""A named data set, a folder, or the training and test images themselves."""

_PRECISIONS = ("auto", "fp32", "bf16")


@dataclass(frozen=True)
class Plan:
    """What is trained, on what, how, and where it goes.

    Attributes:
        model_name: Name of the architecture.
        arguments: Its arguments.
        train: The training images.
        test: The images that the error is measured on, if there are any.
        recipe: The hyper-parameters.
        epochs: Number of epochs.
        stochastic_depth: Survival probability of the last block; 0 drops nothing.
        paths_only: Number of blocks in each step; ``None`` for all.
        seed: Seed of everything that is random.
        out: Folder of all files.
        start: The network whose weights are the initial ones, and its card; ``None`` draws them.
    """

    model_name: str
    arguments: dict[str, Any]
    train: ImageDataset
    test: ImageDataset | None
    recipe: Recipe
    epochs: int
    stochastic_depth: float
    paths_only: int | None
    seed: int
    out: Path
    start: tuple[nn.Module, Card] | None = None

    @property
    def stem(self) -> str:
        """Name of the weights and of their card, without an ending."""
        return self.model_name.replace(":", "-")

    def file(self, ending: str) -> Path:
        """A file of this training, as ``MODEL.safetensors``."""
        return self.out / f"{self.stem}{ending}"

    @property
    def state(self) -> Path:
        """The checkpoint of the last whole epoch."""
        return self.out / "last.ckpt"

    @property
    def history(self) -> Path:
        """The table of the epochs."""
        return self.out / "history.csv"

    @property
    def settings(self) -> dict[str, Any]:
        """What must be equal to go on with an interrupted training."""
        hyperparameters = self.recipe.hyperparameters().items()
        return {
            "model": self.model_name,
            **{f"argument {key}": value for key, value in self.arguments.items()},
            "training images": self.train.content_hash,
            "normalisation": str(self.train.normalization),
            **{
                f"recipe {key}": list(value) if isinstance(value, tuple) else value
                for key, value in hyperparameters
            },
            "epochs": self.epochs,
            "stochastic depth": self.stochastic_depth,
            "paths-only": self.paths_only,
            "seed": self.seed,
            **({} if self.start is None else {"initial weights": self.start[1].sha256}),
        }

    def build(self) -> tuple[nn.Module, BlockDropping | None]:
        """Make the initial network, and the rule of its dropped blocks.

        Seeds torch's global generator: call it inside ``torch.random.fork_rng``.

        Raises:
            ModelError: When there is no such network, or it does not take the images.
            UsageError: When its blocks cannot be dropped as asked, or the weights to start from
                are of another network.
        """
        torch.manual_seed(stream_seed(self.seed, "initial weights"))
        model = create_model(self.model_name, **self.arguments)
        if self.start is not None:
            _take_over(model, *self.start, self.model_name)
        dropping = dropping_for(model, self.model_name, self.stochastic_depth, self.paths_only)
        _check_fit(model, self)
        return model, dropping


def _take_over(model: nn.Module, trained: nn.Module, card: Card, name: str) -> None:
    """Give a network the weights of a trained one."""
    state, expected = trained.state_dict(), model.state_dict()
    wrong = [key for key in {**expected, **state} if _shape(state, key) != _shape(expected, key)]
    if wrong:
        raise UsageError(
            f"{card.name} is no {name} for these images: {len(wrong)} of its tensors are of "
            f"another name or shape ({wrong[0]}); start from weights of the same network and "
            "number of classes"
        )
    model.load_state_dict(state)


def _shape(state: Mapping[str, torch.Tensor], key: str) -> torch.Size | None:
    return state[key].shape if key in state else None


@torch.no_grad()
def _check_fit(model: nn.Module, plan: Plan) -> None:
    full, _ = next(plan.train.batches(2))
    factors = {factor for _, factor in plan.recipe.resolutions}
    for images in (full, *(shrink(full, factor) for factor in sorted(factors))):
        _check_images(model, images, plan)


def _check_images(model: nn.Module, images: torch.Tensor, plan: Plan) -> None:
    size = "x".join(map(str, images.shape[1:]))
    classes = len(plan.train.classes)
    try:
        logits = model.eval()(images)
    except (RuntimeError, ValueError, AssertionError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(
            f"{plan.model_name} does not take images of {size}: {reason}; choose another network "
            "or another data set"
        ) from error
    finally:
        model.train()
    if not isinstance(logits, torch.Tensor) or logits.shape[1:] != (classes,):
        raise ModelError(
            f"{plan.model_name} gives no logits of {classes} classes for images of {size}; choose "
            "a network for classification"
        )


def arguments_for(model_name: str, data: ImageDataset) -> dict[str, Any]:
    """The arguments that make an architecture fit a data set.

    Raises:
        ModelError: When there is no such network.
    """
    arguments: dict[str, Any] = {"num_classes": len(data.classes)}
    if architecture(model_name).library == "ensembles" and data.shape[0] != 3:
        arguments["in_channels"] = data.shape[0]
    return arguments


def open_data(
    data: Data, limit: int | None, normalize: Normalization | str | None
) -> tuple[ImageDataset, ImageDataset | None]:
    """Open training and test images, normalised in the same way.

    Args:
        data: What the user names.
        limit: At most so many training images.
        normalize: A normalisation, or ``None`` for the data set's own; where that is ``none``, as
            for folders, the training images are measured.

    Raises:
        DataError: When the data cannot be read.
        UsageError: When there is no test split, or the classes differ.
    """
    if isinstance(data, tuple):
        training, test = data
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


def trainer_options(device: str, devices: int, precision: str) -> dict[str, Any]:
    """Translate device and precision into the trainer's own options.

    Raises:
        UsageError: When there is no such device or precision.
    """
    if precision not in _PRECISIONS:
        raise UsageError(f"precision {precision!r}; expected one of {', '.join(_PRECISIONS)}")
    place = choose_device(device)
    accelerator, number = place.type, place.index
    if devices < 1 or (number is not None and devices > 1):
        raise UsageError(f"{devices} devices of {device}; expected 1, or more without a number")
    if accelerator == "cuda" and devices > torch.cuda.device_count():
        raise UsageError(
            f"{devices} devices of {device}, but there are {torch.cuda.device_count()} CUDA "
            "devices; choose fewer"
        )
    if accelerator != "cuda" and devices > _MOST_PROCESSES:
        raise UsageError(f"{devices} processes on {device}; expected at most {_MOST_PROCESSES}")
    bf16 = precision == "bf16" or (precision == "auto" and _computes_bf16(accelerator))
    return {
        "accelerator": accelerator,
        "devices": devices if number is None or accelerator != "cuda" else [number],
        # Dropped blocks leave parameters without a gradient.
        "strategy": "auto" if devices == 1 else "ddp_find_unused_parameters_true",
        "precision": "bf16-mixed" if bf16 else "32-true",
    }


def _computes_bf16(accelerator: str) -> bool:
    """Whether bf16 is computed by the hardware, not emulated."""
    if accelerator == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    probe = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return accelerator == "cpu" and probe is not None and bool(probe())
