"""Results as one HTML page that needs nothing else: figures, tables, provenance, commands."""

from ensembles.report.lesion_tables import lesion_tables
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
    "lesion_tables",
    "page",
    "section_of",
    "table",
    "write_page",
]
