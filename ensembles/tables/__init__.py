"""Results as tidy tables: made from outcomes, written, read back, with their provenance."""

from ensembles.tables.formats import (
    check_writable,
    frame_to_csv,
    frame_to_json,
    read_frame,
    write_frame,
)
from ensembles.tables.frames import lesion_frame, stack_frames
from ensembles.tables.networks import split_frames
from ensembles.tables.provenance import provenance
from ensembles.tables.schema import Attributes

__all__ = [
    "Attributes",
    "check_writable",
    "frame_to_csv",
    "frame_to_json",
    "lesion_frame",
    "provenance",
    "read_frame",
    "split_frames",
    "stack_frames",
    "write_frame",
]
