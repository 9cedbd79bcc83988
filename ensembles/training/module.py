"""What the trainer runs: one step, one epoch, and the state that survives an interruption."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor, nn

from ensembles.data import ImageDataset
from ensembles.data.texts import TextDataset
from ensembles.engine import count_correct
from ensembles.errors import EvaluationError
from ensembles.files import atomic, refusals
from ensembles.models.parts import residual_blocks
from ensembles.training.loader import EpochBatches
from ensembles.training.randomness import generator, stream_seed
from ensembles.training.recipes import Recipe
from ensembles.training.stochastic_depth import BlockDropping, drop_branches, fold_survival

__all__ = ["STATE", "AtomicCheckpointIO", "TrainingModule", "optimizer_of"]

STATE = "ensembles"
"""Key of our own part of a checkpoint: the settings and the history of epochs."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoints that appear whole or not at all, and that run no code when they are read."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        """Write a checkpoint beside its place and move it there."""
        with (
            refusals(f"state {path}", RuntimeError),
            atomic(Path(path)) as scratch,
            scratch.open("wb") as file,
        ):
            torch.save(checkpoint, file)

    def load_checkpoint(
        self, path: Any, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read tensors and plain values only."""
        loaded: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return loaded


class TrainingModule(LightningModule):
    """A network with its data, its recipe and its rule of dropped blocks.

    Subclasses say what the data are: their batches, what is done to one, and what the observations
    are called.

    Args:
        model: The network to train, in place.
        recipe: The hyper-parameters.
        epochs: Number of epochs.
        train: The training data, in memory.
        validation: Data whose error each epoch reports, or ``None``.
        dropping: The rule of dropped blocks, or ``None``.
        seed: Seed of order, augmentation, dropped blocks and dropout.
        settings: What a resumed training must agree on; kept in every checkpoint.
        report: Takes one line an epoch.
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        epochs: int,
        *,
        train: ImageDataset | TextDataset,
        validation: ImageDataset | TextDataset | None,
        dropping: BlockDropping | None,
        seed: int,
        settings: Mapping[str, Any],
        report: Callable[[str], None],
    ) -> None:
        super().__init__()
        self.model = model
        self.recipe = recipe
        self.epochs = epochs
        self.train_data = train
        self.validation = validation
        self.dropping = dropping
        self.seed = seed
        self.settings = dict(settings)
        self.report = report
        self.history: list[dict[str, float]] = []
        self.residual = residual_blocks(model)

    @property
    def observation(self) -> str:
        """What one observation is called."""
        raise NotImplementedError

    def train_dataloader(self) -> EpochBatches:
        """The data of this process, in a new order every epoch."""
        raise NotImplementedError

    def answered(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Logits (observations, classes) and classes (observations,) of a batch."""
        raise NotImplementedError

    def configure_optimizers(self) -> Any:
        """The recipe's optimiser, and its schedule counted in steps."""
        recipe = self.recipe
        optimizer = optimizer_of(self.model, recipe)
        steps = len(self.train_dataloader())
        scheduler: torch.optim.lr_scheduler.LRScheduler
        if recipe.schedule == "steps":
            milestones = [
                round(epoch * self.epochs / recipe.epochs) * steps for epoch in recipe.milestones
            ]
            scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones, recipe.decay)
        else:
            scheduler = torch.optim.lr_scheduler.OneCycleLR(
                optimizer,
                recipe.learning_rate,
                total_steps=self.epochs * steps,
                pct_start=_warmup(recipe, self.epochs * steps),
                cycle_momentum=False,
            )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def on_train_epoch_start(self) -> None:
        """Start the random streams and the counts of this epoch."""
        epoch, rank = self.current_epoch, self.trainer.global_rank
        self.augmentation = generator(self.seed, f"augmentation {rank}", epoch)
        self.blocks_drawn = generator(self.seed, "blocks", epoch)
        torch.manual_seed(stream_seed(self.seed, f"dropout {rank}", epoch))
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=self._counting_device())
        self.correct = torch.zeros((), dtype=torch.int64, device=self.device)
        self.seen = 0
        self.started = time.monotonic()
        self.resolution = self.recipe.resolution(epoch, self.epochs)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Cross-entropy of one batch, on the network's device."""
        if self.dropping is not None:
            drop_branches(self.residual, self.dropping.draw(self.blocks_drawn))
        logits, labels = self.answered(batch)
        loss = F.cross_entropy(logits, labels, label_smoothing=self.recipe.label_smoothing)
        with torch.no_grad():
            self.loss_sum += loss.detach() * len(labels)
            self.correct += (logits.argmax(1) == labels).sum()
        self.seen += len(labels)
        return loss

    def _counting_device(self) -> torch.device:
        # MPS has no float64; its losses are summed on the CPU.
        return torch.device("cpu") if self.device.type == "mps" else self.device

    def on_train_epoch_end(self) -> None:
        """Measure, write down and report the epoch; the trainer saves its state after this."""
        counts = torch.stack([self.loss_sum.cpu(), self.correct.double().cpu()])
        counts = torch.cat([counts, torch.tensor([float(self.seen)], dtype=torch.float64)])
        if self.trainer.world_size > 1:
            counts = self.trainer.strategy.reduce(counts.to(self.device), reduce_op="sum").cpu()
        loss_sum, correct, seen = counts.tolist()
        if not math.isfinite(loss_sum):
            raise EvaluationError(
                f"the loss is not finite in epoch {self.current_epoch + 1}: the training diverged; "
                f"lower the learning rate ({self.recipe.learning_rate:g}) of the recipe"
            )
        seconds = time.monotonic() - self.started
        row = {
            "epoch": self.current_epoch + 1,
            "loss": loss_sum / seen,
            "train_accuracy": 100 * correct / seen,
            f"{self.observation}s_per_second": seen / seconds,
        }
        if self.validation is not None and self.trainer.is_global_zero:
            plain = fold_survival(self.model, self.dropping)
            correct, total = count_correct(
                plain,
                self.validation,
                device=self.device,
                precision="bf16" if str(self.trainer.precision).startswith("bf16") else "fp32",
                diverging=True,
            )
            row["validation_error"] = 100 * (total - correct) / total
        row["seconds"] = time.monotonic() - self.started
        self.history.append(row)
        if self.trainer.is_global_zero:
            self.report(self._line(row))

    def _line(self, row: dict[str, float]) -> str:
        validation, noun = "", f"{self.observation}s"
        if self.validation is not None:
            validation = f"  error {row['validation_error']:.2f} % of test {noun}"
        left = (self.epochs - row["epoch"]) * row["seconds"]
        return (
            f"epoch {row['epoch']}/{self.epochs}  loss {row['loss']:.4f}  "
            f"train accuracy {row['train_accuracy']:.2f} %{validation}  "
            f"{row['seconds']:.0f} s  {row[f'{noun}_per_second']:.0f} {noun}/s  ETA {_clock(left)}"
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep settings and history with the state."""
        checkpoint[STATE] = {"settings": self.settings, "history": self.history}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the history of earlier epochs back."""
        self.history = list(checkpoint[STATE]["history"])


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def _warmup(recipe: Recipe, steps: int) -> float:
    """The share of all steps in which the rate rises; torch divides by one step less than that."""
    alone = abs(recipe.warmup * steps - 1) < 1e-6
    return recipe.warmup * 1.001 if alone else recipe.warmup


def optimizer_of(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """SGD with momentum; or AdamW, which leaves gains and biases undecayed.

    Args:
        model: The network.
        recipe: Its ``momentum`` is the first of AdamW's two, of which the second is 0.95.
    """
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(
            model.parameters(),
            recipe.learning_rate,
            recipe.momentum,
            weight_decay=recipe.weight_decay,
            nesterov=recipe.nesterov,
        )
    weights = [one for one in model.parameters() if one.ndim > 1]
    others = [one for one in model.parameters() if one.ndim <= 1]
    return torch.optim.AdamW(
        [
            {"params": weights, "weight_decay": recipe.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ],
        recipe.learning_rate,
        (recipe.momentum, 0.95),
    )
