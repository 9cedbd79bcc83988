"""A file of GGUF parsed once where transformers does it again for each part of a model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from importlib.util import find_spec

__all__ = ["parsed_once"]

_MADE = ("GGUFReader", "get_tensor_name_map")


@contextmanager
def parsed_once() -> Iterator[None]:
    """Let the package `gguf` make its reader of a file, and its map of names, once each.

    What reads vocabularies of 50,000 tokens is slow, and transformers asks for a reader for the
    configuration and for the weights, and for a map of names for each module.
    """
    if find_spec("gguf") is None:
        yield
        return
    module = import_module("gguf")
    before = {name: getattr(module, name) for name in _MADE if hasattr(module, name)}
    try:
        for name, made in before.items():
            setattr(module, name, cache(made))
        yield
    finally:
        for name, made in before.items():
            setattr(module, name, made)
