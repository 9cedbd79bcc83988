"""Fixtures that all tests share."""

from __future__ import annotations

import gc
import importlib
import os
import signal
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
import torch
from hypothesis import settings

from ensembles.tables.git_head import git_head

os.environ.setdefault("OMP_NUM_THREADS", "1")  # small networks, and processes side by side
torch.set_num_threads(1)
settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a shell's background
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Leave what lives until the end out of every later round of garbage collection.

    Rounds are rare: at the usual ones they take a twelfth of the time, nearly all of it for what
    fixtures hold.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


@pytest.fixture(scope="session", autouse=True)
def checkout_read_once() -> Iterator[None]:
    """Ask git's files once for each folder: every table says from which commit it is."""
    known = cache(git_head)
    module = importlib.import_module("ensembles.tables.provenance")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "git_head", lambda: known(Path.cwd()))
        yield


@pytest.fixture
def unplaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw figures without giving their axes a place, for tests that look at no place."""
    monkeypatch.setattr("ensembles.plots.style._lay_out", lambda figure: None)


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


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file of weights of an untrained resnet20, which no test changes."""
    from untrained import save_untrained

    return str(save_untrained(tmp_path_factory.mktemp("weights") / "random.pt"))


@pytest.fixture
def load_program(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Import a program of `benchmarks/` by its name."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "benchmarks"))
    return importlib.import_module


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs the right to mount a small disk")
    yield place
    subprocess.run(["umount", str(place)], check=True)


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
