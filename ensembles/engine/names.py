"""What engines are called; knows no torch."""

from __future__ import annotations

from typing import Literal, get_args

__all__ = ["ENGINES", "EngineName", "kept_engine"]

EngineName = Literal["shared", "prefix", "level", "direct"]

ENGINES: tuple[EngineName, ...] = get_args(EngineName)
"""Of these, "shared" is the one of the next two that suits the device."""


def kept_engine(name: str) -> str:
    """Under which engine's name counts are kept: those that share prefixes count the same."""
    return "direct" if name == "direct" else "shared"
