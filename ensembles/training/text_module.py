"""What the trainer runs on a text: windows, and the answers to their tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from ensembles.data.texts import TextDataset
from ensembles.training.module import TrainingModule
from ensembles.training.recipes import Recipe
from ensembles.training.text_loader import EpochWindows

__all__ = ["TextModule"]


class TextModule(TrainingModule):
    """A language model that is trained on a text; see :class:`TrainingModule`."""

    observation = "token"

    def __init__(
        self, model: nn.Module, recipe: Recipe, epochs: int, *, train: TextDataset, **others: Any
    ) -> None:
        super().__init__(model, recipe, epochs, train=train, **others)
        self.text = train

    def train_dataloader(self) -> EpochWindows:
        """The windows of this process, cut and ordered anew every epoch."""
        return EpochWindows(
            self.text,
            self.recipe.batch_size,
            self.seed,
            rank=self.trainer.global_rank,
            world=self.trainer.world_size,
            device=self.trainer.strategy.root_device,
        )

    def example(self) -> Tensor:
        """Two windows."""
        return self.text.windows[:2]

    def answered(
        self, network: Callable[..., Tensor], inputs: Tensor, targets: Tensor, *drawn: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Logits and classes of the tokens from the second of each window on."""
        logits = network(inputs)[:, :-1].flatten(0, 1).float()
        return logits, targets.flatten()
