"""Architectures that torchvision and timm lack, and one registry over all three."""

from .ensemble import Average
from .matched import Matched, match
from .parts import Architecture, PublicWeights
from .registry import architecture, create_model, field_models, list_models

__all__ = [
    "Architecture",
    "Average",
    "Matched",
    "PublicWeights",
    "architecture",
    "create_model",
    "field_models",
    "list_models",
    "match",
]
