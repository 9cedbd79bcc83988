"""A tokenizer of Hugging Face as one of ours."""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import Any

import numpy as np

from ensembles.data.texts.token_codes import Encoded, Tokenizer
from ensembles.errors import UsageError

__all__ = ["HubTokens", "as_tokenizer"]


class HubTokens:
    """What a fast tokenizer makes of a text, no token added.

    Args:
        backend: A ``tokenizers.Tokenizer``.
        name: What results call it.
    """

    def __init__(self, backend: Any, name: str) -> None:
        self._backend, self.name = backend, name

    @property
    def size(self) -> int:
        """How many tokens it has, added ones included."""
        return int(self._backend.get_vocab_size(with_added_tokens=True))

    @cached_property
    def digest(self) -> str:
        """sha256 of the tokenizer as JSON."""
        return hashlib.sha256(self._backend.to_str().encode()).hexdigest()

    def encode(self, text: str) -> Encoded:
        """The tokens of a text.

        A character that is cut into several tokens counts to the first of them; what the tokenizer
        leaves out, such as spaces, to the token behind it.
        """
        found = self._backend.encode(text, add_special_tokens=False)
        ids = np.asarray(found.ids, np.int64)
        ends = np.asarray([end for _, end in found.offsets], np.int64)
        widths = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        sizes = 1 + (widths > 0x7F) + (widths > 0x7FF) + (widths > 0xFFFF)
        before = np.concatenate([[0], np.cumsum(sizes)])[np.maximum.accumulate(ends, 0)]
        return Encoded(ids, np.diff(before, prepend=0).astype(np.int64))


def as_tokenizer(given: Any) -> Tokenizer:
    """One of ours, from one of ours or of Hugging Face.

    Args:
        given: A :class:`Tokenizer`; or a fast tokenizer of transformers, or of tokenizers.

    Raises:
        UsageError: If it is something else.
    """
    if all(hasattr(given, name) for name in ("size", "digest", "encode")):
        ours: Tokenizer = given
        return ours
    backend = getattr(given, "backend_tokenizer", given)
    if not hasattr(backend, "to_str") or not hasattr(backend, "get_vocab_size"):
        raise UsageError(
            f"the tokenizer is a {type(given).__name__}; expected one of ensembles.data.texts, or "
            "a fast tokenizer of transformers"
        )
    name = str(getattr(given, "name_or_path", "") or "") or type(given).__name__
    return HubTokens(backend, name)
