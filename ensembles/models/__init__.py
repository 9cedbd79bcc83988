"""Architectures that torchvision and timm lack, and one registry over all three."""

from .parts import Architecture
from .registry import architecture, create_model, list_models

__all__ = ["Architecture", "architecture", "create_model", "list_models"]
