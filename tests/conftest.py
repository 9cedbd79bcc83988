"""Fixtures that all tests share."""

from __future__ import annotations

import gc
import os
import signal
import tarfile
from pathlib import Path

import pytest
import torch
from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")  # small networks, and processes side by side
torch.set_num_threads(1)
settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a shell's background
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Leave what lives until the end out of every later round of garbage collection."""
    gc.collect()
    gc.freeze()


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


@pytest.fixture(scope="session")
def cifar_jpeg_test(assets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with a folder ``test`` of the 10,000 CIFAR-10 test images as JPEG, unpacked."""
    return unpacked(assets / "data" / "cifar10-jpeg-test.tar.xz", tmp_path_factory)


@pytest.fixture(scope="session")
def cifar_original_val(assets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with a folder ``val`` of 2,000 original CIFAR-10 images, unpacked."""
    return unpacked(assets / "data" / "cifar10-original-val.tar.xz", tmp_path_factory)


def unpacked(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unpack an archive of images into a folder of its own."""
    if not archive.is_file():
        pytest.skip(f"ENSEMBLES_ASSETS has no {archive.name}")
    folder = tmp_path_factory.mktemp(archive.name.partition(".")[0])
    with tarfile.open(archive) as opened:
        opened.extractall(folder, filter="data")
    return folder


@pytest.fixture
def generator() -> torch.Generator:
    """A seeded generator, so that no test touches the global one."""
    return torch.Generator().manual_seed(0)


@pytest.fixture
def opened_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands open each network once, whichever test asks for it."""
    import opened

    monkeypatch.setattr("ensembles.checkpoints.subject.load", opened.load_once)
    monkeypatch.setattr("ensembles.checkpoints.subject.decompose", opened.decompose_once)
