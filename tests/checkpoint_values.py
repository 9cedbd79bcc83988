"""A network with statistics of its own, a store of checkpoints of a test's own, and refusals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from ensembles.errors import EnsemblesError
from ensembles.models import create_model


def own_store(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where checkpoints are kept during a test, and what torch fetches."""
    store = folder / "store"
    monkeypatch.setenv("ENSEMBLES_CHECKPOINTS", str(store))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(folder / "hub"))
    return store


def drawn_resnet20() -> nn.Module:
    """A network with random weights and statistics."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = create_model("resnet20")
    with torch.no_grad():
        for name, value in made.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                value.uniform_(0.5, 1.5, generator=torch.Generator().manual_seed(len(name)))
    return made.eval()


def refusal(call: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
    """The line in which a call is refused."""
    with pytest.raises(EnsemblesError) as caught:
        call(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def same(a: nn.Module, b: nn.Module) -> bool:
    """Whether two networks give the same logits."""
    x = torch.linspace(-1, 1, 2 * 3 * 32 * 32).view(2, 3, 32, 32)
    with torch.no_grad():
        return torch.equal(a(x), b(x))
