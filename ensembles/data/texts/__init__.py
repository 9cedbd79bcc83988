"""Texts as windows of tokens: where they come from, how they are cut into tokens and windows."""

from ensembles.data.texts.any_text import TEXTS, is_text, open_text
from ensembles.data.texts.token_codes import BYTES, ByteTokens, Encoded, Tokenizer
from ensembles.data.texts.windows import TextDataset, Windows

__all__ = [
    "BYTES", "TEXTS", "ByteTokens", "Encoded", "TextDataset", "Tokenizer", "Windows", "is_text",
    "open_text",
]  # fmt: skip
