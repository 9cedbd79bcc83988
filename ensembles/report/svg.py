"""A matplotlib figure as SVG that lives inside a page beside others."""

from __future__ import annotations

import io
import re
from html import escape

from matplotlib.figure import Figure

from ensembles.plots.style import paper_style
from ensembles.report.parts import Drawing

__all__ = ["drawing"]

_FONTS = "'DejaVu Sans', Verdana, 'Segoe UI', Roboto, sans-serif"
_METADATA = re.compile(r"<metadata>.*?</metadata>", re.DOTALL)
_OPENING = re.compile(r"<svg\b[^>]*>", re.DOTALL)
_VIEW = re.compile(r'viewBox="([^"]*)"')
_NAMES = re.compile(r'(\bid="|url\(#|href="#)([^")]+)')
_FONT_NAMES = re.compile(r"'DejaVu Sans'(?:, *[^;\"]*)?")


def drawing(figure: Figure, key: str, caption: str) -> Drawing:
    """Write a figure as markup for a page.

    Text stays text, identifiers start with ``key`` so that figures do not disturb each other, and
    the size is left to the page.

    Args:
        figure: The figure.
        key: Unique in the page.
        caption: What it shows; also its description for those who do not see it.
    """
    buffer = io.StringIO()
    with paper_style():
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    text = _METADATA.sub("", text[text.index("<svg") :])
    view = _VIEW.search(text)
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{view[1] if view else ""}" role="img" aria-label="{escape(caption)}">'
    )
    text = _OPENING.sub(lambda _: opening, text, count=1)
    text = _NAMES.sub(lambda name: f"{name[1]}{escape(key)}-{name[2]}", text)
    return Drawing(_FONT_NAMES.sub(_FONTS, text).strip(), caption)
