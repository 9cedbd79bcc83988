"""A tokenizer of Hugging Face as one of ours."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from ensembles.data.texts.token_codes import Encoded, Tokenizer
from ensembles.errors import UsageError

__all__ = ["HubTokens", "as_tokenizer"]


class HubTokens:
    """What a fast tokenizer makes of a text, no token added.

    Args:
        backend: A ``tokenizers.Tokenizer``; left as it is.
        name: What results call it.
        mask: The id of its mask token, where it has one.
        pad: The id of its token for padding, likewise.
    """

    def __init__(
        self, backend: Any, name: str, *, mask: int | None = None, pad: int | None = None
    ) -> None:
        self._backend, self.name, self.mask, self.pad = _whole(backend), name, mask, pad

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

    def rows(self, texts: Sequence[str], length: int | None) -> list[list[int]]:
        """The ids of each text with the special tokens of its model.

        Args:
            texts: The texts.
            length: At most so many tokens, special ones included; None for all.
        """
        backend = self._backend
        if length is not None:
            backend = _whole(backend)
            backend.enable_truncation(length)
        return [list(one.ids) for one in backend.encode_batch(list(texts))]


def _whole(backend: Any) -> Any:
    """A copy that neither cuts texts off nor fills them up, as its file may say."""
    if not hasattr(backend, "no_truncation"):
        return backend
    copied = type(backend).from_str(backend.to_str())
    copied.no_truncation()
    copied.no_padding()
    return copied


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
    mask, pad = (getattr(given, f"{one}_token_id", None) for one in ("mask", "pad"))
    return HubTokens(backend, name, mask=mask, pad=pad)
