"""Networks that commands open, each read and taken apart once for all tests that ask for it.

For tests of commands, which open the same few networks again and again. Nothing changes a network
that was opened.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ensembles.cards import Card
from ensembles.checkpoints import load
from ensembles.decomposition import Decomposition, decompose

_loaded: dict[str, tuple[nn.Module, Card]] = {}
_apart: dict[object, tuple[nn.Module, Decomposition]] = {}


def load_once(
    model: str, checkpoint: str | Path | None = None, **options: Any
) -> tuple[nn.Module, Card]:
    """`load`, with each packaged network and each unchanged file read once."""
    given = None if checkpoint is None else Path(checkpoint)
    if given is not None and not given.is_file():
        return load(model, checkpoint, **options)
    files = given and [_state(given), _state(given.with_suffix(".toml"))]
    known = str((model, files, options))
    if known not in _loaded:
        _loaded[known] = load(model, checkpoint, **options)
    return _loaded[known]


def decompose_once(model: nn.Module, example: Tensor, **options: Any) -> Decomposition:
    """`decompose`, with each network on images of one shape taken apart once."""
    known = id(model), example.shape, str(options)
    if known not in _apart:
        _apart[known] = model, decompose(model, example, **options)  # held: its id stays its own
    return _apart[known][1]


def _state(file: Path) -> tuple[str, int, int] | None:
    if not file.exists():
        return None
    found = file.stat()
    return str(file.resolve()), found.st_mtime_ns, found.st_size
