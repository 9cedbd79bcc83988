"""What stays open because something cannot be measured here."""

from __future__ import annotations

__all__ = ["NotMeasured"]


class NotMeasured(Exception):  # noqa: N818 - no error: a claim that stays open
    """Something cannot be measured here.

    Args:
        why: In a few words.
        command: What would make it measurable.
    """

    def __init__(self, why: str, command: str = "") -> None:
        super().__init__(why)
        self.why = why
        self.command = command
