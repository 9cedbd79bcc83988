"""Training networks: recipes, dropped blocks, and one call that leaves weights with their card."""

from ensembles.training.recipes import Recipe, list_recipes, load_recipe
from ensembles.training.stochastic_depth import BlockDropping, fold_survival
from ensembles.training.trainer import TrainingResult, train

__all__ = [
    "BlockDropping",
    "Recipe",
    "TrainingResult",
    "fold_survival",
    "list_recipes",
    "load_recipe",
    "train",
]
