"""Results as one HTML page that needs nothing else: figures, tables, provenance, commands."""

from ensembles.report.pages import page, write_page
from ensembles.report.parts import Drawing, Page, Section, Table, table
from ensembles.report.sections import section_of
from ensembles.report.svg import drawing

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
