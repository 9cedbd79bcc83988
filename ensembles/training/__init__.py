"""Training networks: recipes, dropped blocks, and one call that leaves weights with their card."""

from ensembles.training.dropping import BlockDropping, fold_survival
from ensembles.training.measuring import Measured, measure
from ensembles.training.recipes import Recipe, list_recipes, load_recipe
from ensembles.training.trainer import TrainingResult, train

__all__ = [
    "BlockDropping",
    "Measured",
    "Recipe",
    "TrainingResult",
    "fold_survival",
    "list_recipes",
    "load_recipe",
    "measure",
    "train",
]
