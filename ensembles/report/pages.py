"""From a report to its page: one file, no network, no other files."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from pathlib import Path

from ensembles.distribution import install
from ensembles.errors import OutputError
from ensembles.files import atomic, refusals
from ensembles.report.parts import Page, flat
from ensembles.writable import check_writable

__all__ = ["ENDINGS", "page", "write_page"]

ENDINGS = (".html", ".htm")
LONG = 40
"""Rows of a table that is shown open; a longer one is closed until it is asked for."""
LONG_TEXT = 60
"""Letters of a cell that has the whole width of its card."""


def page(report: Page) -> str:
    """The HTML text of a report; style and script are inside, and nothing is fetched.

    Raises:
        OutputError: Jinja2 is not installed.
    """
    try:
        import jinja2  # noqa: PLC0415  (an extra)
    except ImportError as error:
        raise OutputError(f"a report needs the package jinja2; {install('report')}") from error
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["flat"] = flat
    template = environment.from_string(_read("page.html.jinja"))
    script = _read("page.js")
    return template.render(
        report=report, long=LONG, long_text=LONG_TEXT, style=_read("page.css"), script=script,
        script_hash=_hash(script),
    )  # fmt: skip


def _hash(script: str) -> str:
    """By what a page names the one script that a browser may run in it."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")


def write_page(report: Page, path: str | Path) -> Path:
    """Write a report, whole or not at all.

    Args:
        report: What it says.
        path: File with the ending ``.html``.

    Returns:
        The path.

    Raises:
        UsageError: The ending tells no known format.
        OutputError: The file cannot be written, or Jinja2 is not installed.
    """
    text = page(report)
    path = check_writable(path, ENDINGS)
    with refusals(f"report {path}"), atomic(path) as scratch:
        # Names of files that are no UTF-8 are shown with escapes.
        scratch.write_bytes(text.encode("utf-8", "backslashreplace"))
    return path


def _read(name: str) -> str:
    return (resources.files("ensembles.report") / name).read_text(encoding="utf-8")
