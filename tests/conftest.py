"""Fixtures that all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="session")
def assets() -> Path:
    """The folder of shared data, named by the environment variable ENSEMBLES_ASSETS."""
    folder = os.environ.get("ENSEMBLES_ASSETS")
    if not folder:
        pytest.skip("needs the environment variable ENSEMBLES_ASSETS to name the data folder")
    path = Path(folder).resolve()
    if not path.is_dir():
        pytest.skip(f"ENSEMBLES_ASSETS names {path}, which is no folder")
    return path


@pytest.fixture
def generator() -> torch.Generator:
    """A seeded generator, so that no test touches the global one."""
    return torch.Generator().manual_seed(0)
