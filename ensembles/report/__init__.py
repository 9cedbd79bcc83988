"""Results as one HTML page that needs nothing else: figures, tables, provenance, commands."""

from ensembles.report.drawing import drawing
from ensembles.report.pages import page, write_page
from ensembles.report.parts import Drawing, Page, Section, Table, table
from ensembles.report.sections import section_of

__all__ = [
    "Drawing",
    "Page",
    "Section",
    "Table",
    "drawing",
    "page",
    "section_of",
    "table",
    "write_page",
]
