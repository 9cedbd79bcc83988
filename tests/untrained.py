"""A small network with random weights, the same for each seed."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from ensembles.models import create_model


def untrained(seed: int = 0, name: str = "resnet20") -> nn.Module:
    """A network in evaluation mode; torch's own generator stays where it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return create_model(name).eval()


def save_untrained(path: Path, seed: int = 0, name: str = "resnet20") -> Path:
    """Write the weights of `untrained` into a file."""
    torch.save(untrained(seed, name).state_dict(), path)
    return path
