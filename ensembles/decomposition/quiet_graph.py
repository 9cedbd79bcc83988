"""Graphs whose errors are told by whoever runs them, and by nobody else."""

from __future__ import annotations

from typing import Any

from torch import fx, nn

__all__ = ["QuietGraph"]


class QuietGraph(fx.GraphModule):
    """A graph that prints no traceback of its own where an operation of it fails.

    What fails there is refused in a line, or tried otherwise.
    """

    _wrapped_call: Any

    def recompile(self) -> Any:
        """Write its code anew."""
        code = super().recompile()
        type(self)._wrapped_call = staticmethod(nn.Module.__call__)
        return code
