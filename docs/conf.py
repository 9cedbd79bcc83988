"""The site: `sphinx-build -W --keep-going docs build/site`."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from PIL import Image

from ensembles import __version__
from ensembles.distribution import DISTRIBUTION

project = DISTRIBUTION
author = "the developers of ensembles"
release = version = __version__
copyright = author

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx_click",
    "sphinx_copybutton",
]
exclude_patterns = ["build", "**/.ipynb_checkpoints", "jupyter_execute"]
# Pages have headings of their own, several fields are called type, cells are not always run.
suppress_warnings = ["myst.header", "ref.python", "myst-nb.lexer"]

html_theme = "furo"
html_title = "ensembles"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_sourcelink = False

highlight_language = "none"
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_fence_as_directive: list[str] = []

nb_execution_mode = os.environ.get("ENSEMBLES_NOTEBOOKS", "off")
# Seconds for a cell; a whole notebook takes 11 to 19 on two idle cores, eight times that is 152.
nb_execution_timeout = 240
nb_execution_raise_on_error = True
nb_merge_streams = True

default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

# `.ci/site --links`; a site may be slow once, and GitHub writes its anchors by script.
linkcheck_timeout = 20
linkcheck_retries = 3
linkcheck_report_timeouts_as_broken = False
linkcheck_anchors_ignore_for_url = [r"https://github\.com/.*"]


def _without_addresses(app: Any, context: Any, lines: list[str]) -> None:
    """Keep docutils from reading FILE:COLUMN as an address of the scheme `file`."""
    lines[:] = [re.sub(r"\b([A-Z]+):(?=[A-Z])", r"\1\\:", line) for line in lines]


INCH = 8.2
"""Width in rem of an inch of a printed figure: its texts of 8 points are as large as the page's."""


def _as_in_print(app: Any, page: nodes.document) -> None:
    """Give figures the width that they have in print; a click then shows the whole picture."""
    for image in page.findall(nodes.image):
        file = Path(app.srcdir, image["uri"])
        if file.suffix == ".png" and "width" not in image:
            with Image.open(file) as picture:
                inches = picture.width / picture.info["dpi"][0]
            image["width"] = f"{INCH * inches:.1f}rem"


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("doctree-read", _as_in_print, priority=900)
    app.connect("sphinx-click-process-options", _without_addresses)
