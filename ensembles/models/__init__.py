"""Architectures that torchvision and timm lack, and one registry over all three."""

from .ensemble import Average
from .parts import Architecture, PublicWeights
from .registry import architecture, create_model, field_models, list_models

__all__ = [
    "Architecture",
    "Average",
    "PublicWeights",
    "architecture",
    "create_model",
    "field_models",
    "list_models",
]
