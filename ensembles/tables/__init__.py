"""Results as tidy tables: made from outcomes, written, read back, with their provenance.

What needs pandas is imported when it is first used: a sweep begins without.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ensembles.tables.provenance import provenance
from ensembles.writable import check_writable

if TYPE_CHECKING:
    from ensembles.tables.formats import (
        frame_to_csv,
        frame_to_json,
        read_frame,
        write_frame,
    )
    from ensembles.tables.frames import lesion_frame, stack_frames
    from ensembles.tables.networks import split_frames
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

_HOMES = {
    "Attributes": "schema",
    "frame_to_csv": "formats",
    "frame_to_json": "formats",
    "lesion_frame": "frames",
    "read_frame": "formats",
    "split_frames": "networks",
    "stack_frames": "frames",
    "write_frame": "formats",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ensembles.tables' has no attribute '{name}'")
    return getattr(import_module(f"ensembles.tables.{_HOMES[name]}"), name)
