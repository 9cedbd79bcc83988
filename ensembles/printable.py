"""Text from files, as it may go to a terminal."""

from __future__ import annotations

import re

__all__ = ["printable"]

_ACTING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # controls: escape sequences, bells, returns, C1
    "\xad\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"  # marks of direction, and what nobody sees
    "\ud800-\udfff\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)


def printable(text: str, *, lines: bool = True) -> str:
    r"""Write the characters that act on a terminal, or cannot be seen, as ``\uXXXX``.

    Names and texts of files may hold sequences that set a title or a clipboard, clear the screen,
    or turn the direction of writing. The escapes are those of JSON, so that JSON stays what it is.

    Args:
        text: Any text.
        lines: Whether ends of lines and tabs stay as they are; else they are escaped too.

    >>> print(printable("a\x1b]0;title\x07 b\u202e"))
    a\u001b]0;title\u0007 b\u202e
    """
    shown = _ACTING.sub(_escape, text)
    return shown if lines else re.sub(r"[\n\t]", _escape, shown)


def _escape(match: re.Match[str]) -> str:
    number = ord(match[0])
    if number < 0x10000:
        return f"\\u{number:04x}"
    high, low = divmod(number - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"
