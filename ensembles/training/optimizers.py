"""How a recipe descends: its optimiser, and the schedule of its learning rate."""

from __future__ import annotations

import torch
from torch import nn

from ensembles.training.recipes import Recipe

__all__ = ["optimizer_of", "schedule_of"]


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


def schedule_of(
    optimizer: torch.optim.Optimizer, recipe: Recipe, epochs: int, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """The recipe's schedule, counted in steps.

    Args:
        optimizer: Whose rates it sets.
        recipe: The recipe.
        epochs: How many there are.
        steps: Steps of an epoch.
    """
    if recipe.schedule == "steps":
        milestones = [round(epoch * epochs / recipe.epochs) * steps for epoch in recipe.milestones]
        return torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones, recipe.decay)
    return torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        recipe.learning_rate,
        total_steps=epochs * steps,
        pct_start=_warmup(recipe, epochs * steps),
        cycle_momentum=False,
    )


def _warmup(recipe: Recipe, steps: int) -> float:
    """The share of all steps in which the rate rises; torch divides by one step less than that."""
    alone = abs(recipe.warmup * steps - 1) < 1e-6
    return recipe.warmup * 1.001 if alone else recipe.warmup
