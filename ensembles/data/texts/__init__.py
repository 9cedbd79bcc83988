"""Texts as windows of tokens: where they come from, how they are cut into tokens and windows."""

from ensembles.data.texts.any_text import TEXTS, is_text, open_labelled, open_text
from ensembles.data.texts.labelled_text import LabelledText
from ensembles.data.texts.masked_text import MaskedText, Masks
from ensembles.data.texts.token_codes import BYTES, ByteTokens, Encoded, Tokenizer
from ensembles.data.texts.windows import TextDataset, Windows

__all__ = [
    "BYTES", "TEXTS", "ByteTokens", "Encoded", "LabelledText", "MaskedText", "Masks",
    "TextDataset", "Tokenizer", "Windows", "is_text", "open_labelled", "open_text",
]  # fmt: skip
