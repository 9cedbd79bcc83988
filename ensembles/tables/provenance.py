"""Where, when and with what a result was made."""

from __future__ import annotations

import platform
import shlex
import sys
from collections.abc import Mapping
from datetime import datetime, timezone
from functools import cache
from importlib import metadata
from pathlib import Path

from ensembles.distribution import VERSION
from ensembles.tables.git_head import git_head

__all__ = ["provenance"]

_PACKAGES = ("torch", "torchvision", "numpy")


def provenance(
    *,
    device: str = "cpu",
    precision: str | None = None,
    threads: int | None = None,
    details: Mapping[str, object] | None = None,
) -> dict[str, object]:
    """Collect what a reader needs to make a result again.

    Args:
        device: Device that the work runs on, as torch writes it (``cpu``, ``cuda:0``, ``mps``).
        precision: ``fp32``, ``tf32`` or ``bf16``.
        threads: Threads that torch uses.
        details: Anything else worth keeping: model, checkpoint, data set and its hash.

    Returns:
        A dictionary that can be written as JSON: ``time`` (UTC, ISO 8601), ``command``,
        ``git_commit`` of the current folder (as ``git_head`` reads it from git's
        files: no program is run for it), ``versions``, ``platform``, ``device``,
        ``device_name``, ``precision``, ``threads``, and the details.
    """
    versions = {"ensembles": VERSION, **{name: _version(name) for name in _PACKAGES}}
    return {
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": _command(),
        "git_commit": git_head(),
        "versions": {**versions, "python": platform.python_version()},
        "platform": platform.platform(),
        "device": device,
        "device_name": _device_name(device),
        "precision": precision,
        "threads": threads,
        **(details or {}),
    }


def _command() -> str:
    """The command that runs, without the folder of an installed program."""
    program, *rest = sys.argv
    path = Path(program)
    if path.is_absolute():
        program = "ensembles" if path.name == "__main__.py" else path.name
    return shlex.join([program, *rest])


@cache
def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _device_name(device: str) -> str:
    if device.startswith("cuda"):
        import torch  # noqa: PLC0415  (only a run on a GPU needs it here)

        return torch.cuda.get_device_name(device)
    return _processor()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()
