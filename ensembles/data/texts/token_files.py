"""Tokens kept on disk, so that a text is cut into them once."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ensembles.data.cache import cache_folder
from ensembles.data.texts.token_codes import Encoded, Tokenizer
from ensembles.files import atomic

__all__ = ["kept"]

_FORM = "1"


def kept(text: str, tokenizer: Tokenizer, made: Callable[[], Encoded]) -> Encoded:
    """The tokens of a text, from disk where they are there.

    Args:
        text: What determines the text, such as its sha256.
        tokenizer: What cuts it into tokens.
        made: Cuts it.
    """
    key = hashlib.sha256(f"{_FORM}\n{text}\n{tokenizer.digest}".encode()).hexdigest()
    path = cache_folder() / f"tokens-{key[:32]}.safetensors"
    with contextlib.suppress(OSError, SafetensorError, KeyError, ValueError):
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            ids, sizes = file.get_tensor("ids").numpy(), file.get_tensor("sizes").numpy()
        found = Encoded(ids.astype("int64"), sizes.astype("int64"))
        if about.get("key") == key and about.get("checksum") == _checksum(found):
            return found
    found = made()
    tensors = {name: torch.from_numpy(one).int() for name, one in found._asdict().items()}
    told = {"key": key, "checksum": _checksum(found)}
    with contextlib.suppress(OSError, SafetensorError), atomic(path) as scratch:
        save_file(tensors, scratch, metadata=told)
    return found


def _checksum(tokens: Encoded) -> str:
    content = hashlib.sha256()
    for one in tokens:
        content.update(one.astype("<i8").tobytes())
    return content.hexdigest()
