"""A model of the hub as a folder: in the hub's own cache, or fetched into it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from ensembles.errors import CheckpointError

__all__ = ["WEIGHTS", "snapshot"]

WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
"""Files of weights, the better kind first."""

_BESIDE = ("*.json", "*.txt", "*.model", "*.jinja")


def snapshot(name: str) -> Path:
    """The folder that holds a model of the hub.

    What lies in the hub's cache with its configuration and weights is taken as it is, and the hub
    is not asked: no network, and the same commit again. Otherwise it is fetched, safetensors
    first.

    Args:
        name: OWNER/NAME.

    Raises:
        CheckpointError: When it is neither in the cache nor to be had from the hub.
    """
    hub = import_module("huggingface_hub")
    try:
        folder = Path(hub.snapshot_download(name, local_files_only=True))
        if _whole(folder):
            return folder
    except Exception:  # the hub has a class of error for each reason not to have it
        folder = Path()
    reason = "it holds no weights that transformers reads"
    try:
        with _quietly():
            for weights in WEIGHTS:
                folder = Path(hub.snapshot_download(name, allow_patterns=[weights, *_BESIDE]))
                if _whole(folder):
                    return folder
    except Exception as error:
        said = " ".join(str(error).split()).partition(" An error happened while")[0]
        reason = said.removeprefix("Got: ")[:200] or type(error).__name__
    raise CheckpointError(
        f"model 'hf:{name}' is not in the hub's cache, and cannot be fetched: {reason}; fetch it "
        f"where there is a network (hf download {name}), or name a folder by hf:FOLDER"
    )


def _whole(folder: Path) -> bool:
    """Whether a folder has a configuration, and all files of weights that its index names."""
    if not (folder / "config.json").is_file():
        return False
    files = next((found for one in WEIGHTS if (found := sorted(folder.glob(one)))), [])
    named = [one.stem.rpartition("-of-") for one in files]
    return bool(files) and all(not of or len(files) == int(total) for _, of, total in named)


@contextmanager
def _quietly() -> Iterator[None]:
    """The hub's notes on each try kept to itself."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
