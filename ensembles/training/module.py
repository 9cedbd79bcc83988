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

from ensembles.cuda_graphs import Recorder
from ensembles.data import ImageDataset
from ensembles.data.texts import TextDataset
from ensembles.engine import count_correct
from ensembles.errors import EvaluationError
from ensembles.files import atomic, refusals
from ensembles.models.parts import residual_blocks
from ensembles.training.loader import EpochBatches
from ensembles.training.optimizers import optimizer_of, schedule_of
from ensembles.training.randomness import generator, stream_seed
from ensembles.training.recipes import Recipe
from ensembles.training.stochastic_depth import BlockDropping, drop_branches, fold_survival
from ensembles.training.whole_step import WholeStep

__all__ = ["STATE", "AtomicCheckpointIO", "TrainingModule"]

STATE = "ensembles"
"""Key of our own part of a checkpoint: the settings and the history of epochs."""

_VALIDATION_BATCH = {False: 250, True: 1000}
"""Observations at a time on the CPU, and on a GPU, which waits for Python with fewer."""


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
        recorder: Gives what records whole steps on a device, or ``None`` where each step is run by
            itself.
        compiled: Whether blocks are compiled for whole steps.

    Attributes:
        graphs: Whether whole steps were recorded and replayed, or why not; empty where none are.
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
        recorder: Callable[[torch.device], Recorder | None] = lambda device: None,
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
        self.recorder = recorder
        self.whole: WholeStep | None = None
        self.graphs = ""
        self.loss_sum = self.correct = torch.zeros(0)

    @property
    def observation(self) -> str:
        """What one observation is called."""
        raise NotImplementedError

    def train_dataloader(self) -> EpochBatches:
        """The data of this process, in a new order every epoch."""
        raise NotImplementedError

    def draw(self, count: int) -> tuple[Tensor, ...]:
        """What is drawn for a batch of ``count`` rows, on the CPU."""
        return ()

    def example(self) -> Tensor:
        """A small input of the network."""
        raise NotImplementedError

    def answered(
        self, network: Callable[..., Tensor], inputs: Tensor, targets: Tensor, *drawn: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Logits (observations, classes) and classes (observations,) of a batch.

        Args:
            network: Answers as the network does.
            inputs: Of the batch.
            targets: Of the batch.
            drawn: What :meth:`draw` gave, on the device.
        """
        raise NotImplementedError

    def configure_optimizers(self) -> Any:
        """The recipe's optimiser, and its schedule counted in steps."""
        optimizer = optimizer_of(self.model, self.recipe)
        scheduler = schedule_of(optimizer, self.recipe, self.epochs, len(self.train_dataloader()))
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def on_train_start(self) -> None:
        """Prepare whole steps, now that the states of an earlier training are there."""
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=self._counting_device())
        self.correct = torch.zeros((), dtype=torch.int64, device=self.device)
        recorder = self.recorder(self.device) if self.trainer.world_size == 1 else None
        if recorder is not None:
            self.graphs = "replayed"
            self.whole = WholeStep(
                self.model,
                self.trainer.optimizers[0],
                self._loss,
                recorder,
                bf16=str(self.trainer.precision).startswith("bf16"),
                drops=self.dropping is not None,
                example=self.example().to(self.device),
            )

    def on_train_epoch_start(self) -> None:
        """Start the random streams and the counts of this epoch."""
        epoch, rank = self.current_epoch, self.trainer.global_rank
        self.augmentation = generator(self.seed, f"augmentation {rank}", epoch)
        self.blocks_drawn = generator(self.seed, "blocks", epoch)
        torch.manual_seed(stream_seed(self.seed, f"dropout {rank}", epoch))
        self.loss_sum.zero_()
        self.correct.zero_()
        self.seen = 0
        self.started, self.worked = time.monotonic(), time.process_time()
        self.resolution = self.recipe.resolution(epoch, self.epochs)
        if self.whole is not None:
            self._draw_ahead()

    def _draw_ahead(self) -> None:
        """Draw for all steps of the epoch at once, so that no step waits for a transfer."""
        loader: Any = self.trainer.train_dataloader
        sizes = loader.sizes()
        drawn = zip(*(self.draw(size) for size in sizes), strict=True)
        parts = [torch.split(torch.cat(one, -1).to(self.device), sizes, -1) for one in drawn]
        self.drawn = list(zip(*parts, strict=True)) if parts else [()] * len(sizes)
        self.kept: Tensor | None = None
        if self.dropping is not None:
            rows = [self.dropping.draw(self.blocks_drawn) for _ in sizes]
            self.kept = torch.tensor(rows).to(self.device)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor | None:
        """Cross-entropy of one batch, on the network's device; or a whole step, and nothing."""
        self.seen += batch[1].numel()
        if self.whole is not None:
            kept = None if self.kept is None else self.kept[batch_idx]
            self.whole(*batch, *self.drawn[batch_idx], kept=kept, variant=self.resolution)
            return None
        if self.dropping is not None:
            drop_branches(self.residual, self.dropping.draw(self.blocks_drawn))
        drawn = [one.to(self.device) for one in self.draw(len(batch[1]))]
        return self._loss(self.model, *batch, *drawn)

    def _loss(self, network: Callable[..., Tensor], *batch: Tensor) -> Tensor:
        """Cross-entropy of a batch; it is counted too."""
        logits, labels = self.answered(network, *batch)
        loss = F.cross_entropy(logits, labels, label_smoothing=self.recipe.label_smoothing)
        with torch.no_grad():
            self.loss_sum += loss.detach() * len(labels)
            self.correct += (logits.argmax(1) == labels).sum()
        return loss

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Any,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        """Update the weights, unless whole steps do."""
        if self.whole is None or optimizer_closure is None:
            super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        else:
            optimizer_closure()

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
        if self.whole is not None and self.whole.refused:
            self.graphs = f"not recorded: {self.whole.refused}"
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
                _VALIDATION_BATCH[self.device.type == "cuda"],
                device=self.device,
                precision="bf16" if str(self.trainer.precision).startswith("bf16") else "fp32",
                diverging=True,
            )
            row["validation_error"] = 100 * (total - correct) / total
        row["seconds"] = time.monotonic() - self.started
        row["processor_seconds"] = time.process_time() - self.worked
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
