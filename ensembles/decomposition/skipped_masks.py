"""Masks of attention that transformers leaves out where a batch has no padding."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["masks_made"]

_MODULE, _NAME = "transformers.masking_utils", "is_tracing"


@contextmanager
def masks_made() -> Iterator[None]:
    """Let transformers make every mask of attention that is given, as it does while it is traced.

    Otherwise it looks whether all of the mask is one, and computes the same without it: a decision
    on the data, by which a graph would hold for batches with padding alone, or without.
    """
    module = sys.modules.get(_MODULE)
    before = getattr(module, _NAME, None)
    if module is None or before is None:
        yield
        return
    setattr(module, _NAME, lambda tensor=None: True)
    try:
        yield
    finally:
        setattr(module, _NAME, before)
