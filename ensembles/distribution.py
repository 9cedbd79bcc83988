"""The name that the project is installed by, which is not the one that it is imported by.

The name ``ensembles`` is another project's on the package index.
"""

from __future__ import annotations

import os

__all__ = ["DISTRIBUTION", "VERSION", "OtherPackageWarning", "install", "other_package"]

DISTRIBUTION = "residual-ensembles"
VERSION = "0.1.0"


class OtherPackageWarning(UserWarning):
    """Another project's package of the same import name lies in the same folder."""


def install(extra: str) -> str:
    """The command that installs what an extra needs.

    >>> install("timm")
    "pip install 'residual-ensembles[timm]'"
    """
    return f"pip install '{DISTRIBUTION}[{extra}]'"


def other_package(folder: str) -> str | None:
    """Find another project's package called ``ensembles``, whose files these would be mixed with.

    Args:
        folder: Where this package lies, such as ``site-packages``.

    Returns:
        What to do about it, in a line; None where there is none.
    """
    try:
        found = [name for name in os.listdir(folder) if _is_record(name)]  # noqa: PTH208 (light)
    except OSError:
        return None
    others = [name for name in found if not _is_ours(f"{folder}/{name}/entry_points.txt")]
    if not others:
        return None
    version = others[0].removesuffix(".dist-info").partition("-")[2]
    return (
        f"the package ensembles {version} of another project is installed in {folder} too, and its "
        f"files may have replaced ours: pip uninstall ensembles {DISTRIBUTION}, then pip install "
        f"{DISTRIBUTION}"
    )


def _is_record(name: str) -> bool:
    return name.startswith("ensembles-") and name.endswith(".dist-info")


def _is_ours(path: str) -> bool:
    """Whether the commands of an installed package are ours, as of versions under the old name."""
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 (pathlib is not light)
            return "ensembles.cli" in file.read(10_000)
    except OSError:
        return False
