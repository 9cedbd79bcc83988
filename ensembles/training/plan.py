"""One training with everything looked up and checked, before any work is done."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ensembles.cards import Card
from ensembles.data import ImageDataset
from ensembles.data.texts import TextDataset
from ensembles.engine import choose_device
from ensembles.errors import ModelError, UsageError
from ensembles.models import create_model
from ensembles.training.augmentation import shrink
from ensembles.training.randomness import stream_seed
from ensembles.training.recipes import Recipe
from ensembles.training.stochastic_depth import BlockDropping, dropping_for

__all__ = ["Plan", "trainer_options"]

_MOST_PROCESSES = 4 * (os.cpu_count() or 1)

_PRECISIONS = ("auto", "fp32", "bf16")


@dataclass(frozen=True)
class Plan:
    """What is trained, on what, how, and where it goes.

    Attributes:
        model_name: Name of the architecture.
        arguments: Its arguments.
        train: The training images, or the text.
        test: The images or the text that the error is measured on, if there are any.
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
    train: ImageDataset | TextDataset
    test: ImageDataset | TextDataset | None
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
            **self._data_settings(),
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

    def _data_settings(self) -> dict[str, Any]:
        if isinstance(self.train, TextDataset):
            return {"training text": self.train.content_hash}
        return {
            "training images": self.train.content_hash,
            "normalisation": str(self.train.normalization),
        }

    def build(self) -> tuple[nn.Module, BlockDropping | None]:
        """Make the initial network, and the rule of its dropped blocks.

        Seeds torch's global generator: call it inside ``torch.random.fork_rng``.

        Raises:
            ModelError: When there is no such network, or it does not take the data.
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
    if isinstance(plan.train, TextDataset):
        ids, tokens = plan.train.windows[:2], plan.train.tokenizer.size
        what = f"windows of {ids.shape[1]} tokens"
        _check(model, ids, (ids.shape[1], tokens), what, plan.model_name)
        return
    full, _ = next(plan.train.batches(2))
    factors = {factor for _, factor in plan.recipe.resolutions}
    for images in (full, *(shrink(full, factor) for factor in sorted(factors))):
        size = "x".join(map(str, images.shape[1:]))
        _check(model, images, (len(plan.train.classes),), f"images of {size}", plan.model_name)


def _check(
    model: nn.Module, inputs: torch.Tensor, logits_shape: tuple[int, ...], what: str, name: str
) -> None:
    try:
        logits = model.eval()(inputs)
    except (RuntimeError, ValueError, AssertionError, IndexError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(
            f"{name} does not take {what}: {reason}; choose another network or other data"
        ) from error
    finally:
        model.train()
    if not isinstance(logits, torch.Tensor) or logits.shape[1:] != logits_shape:
        expected = "x".join(map(str, logits_shape))
        raise ModelError(
            f"{name} gives no logits of {expected} for {what}; choose a network for this task"
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
