"""The parts that lie beside this folder in a clone, and inside it once installed.

In a clone `checkpoints/` and `cli/` stand at the top, as setup.cfg says; a program that runs there
imports this folder, whether or not the package is installed too.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from types import ModuleType

__all__ = ["find_neighbours"]

_PARTS = ("checkpoints", "cli")


class _Neighbours:
    """Finds the two parts in the clone; asked first, as an installed clone may be another one."""

    def __init__(self, root: str) -> None:
        self.root = root

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The part of that name, or None."""
        package, _, part = name.partition(".")
        if package != "ensembles" or part not in _PARTS:
            return None
        folder = os.path.join(self.root, part)  # noqa: PTH118 (pathlib is not light)
        return spec_from_file_location(
            name, f"{folder}/__init__.py", submodule_search_locations=[folder]
        )


def find_neighbours(package: str) -> None:
    """Make the parts importable where this is a clone; do nothing where it is installed.

    Args:
        package: The folder of this package.
    """
    root = os.path.dirname(package)  # noqa: PTH120
    if os.path.exists(f"{package}/cli") or not os.path.isfile(f"{root}/setup.cfg"):  # noqa: PTH110, PTH113
        return
    if all(os.path.isfile(f"{root}/{part}/__init__.py") for part in _PARTS):  # noqa: PTH113
        sys.meta_path.insert(0, _Neighbours(root))
