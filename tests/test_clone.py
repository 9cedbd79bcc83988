"""The package works from the folder of a clone, installed or not, and beside another's."""

from __future__ import annotations

import configparser
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ensembles.distribution import DISTRIBUTION, install, other_package

ROOT = Path(__file__).parent.parent
BY_HAND = ["checkpoints/", "cli/", "ensembles/", "setup.cfg"]


def run(folder: Path, *arguments: str, path: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": ""},
    )  # fmt: skip


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What a clone has at its top, in a folder that no installation knows."""
    for name in BY_HAND:
        (tmp_path / name.rstrip("/")).symlink_to(ROOT / name)
    return tmp_path


WHERE = "import ensembles.cli, ensembles.checkpoints as c; print(ensembles.__file__, c.__file__)"


NOT_INSTALLED = "import sys; sys.meta_path = [f for f in sys.meta_path if 'editable' not in str(f)]"
ANOTHER_IS_INSTALLED = f"""
import importlib.machinery, sys
class Another:
    def find_spec(self, name, path=None, target=None):
        places = {{"ensembles.cli": [{str(ROOT)!r}], "ensembles.checkpoints": [{str(ROOT)!r}]}}
        return importlib.machinery.PathFinder.find_spec(name.split(".")[-1], places.get(name, []))
sys.meta_path.append(Another())
"""


@pytest.mark.parametrize("before", [NOT_INSTALLED, f"{NOT_INSTALLED}{ANOTHER_IS_INSTALLED}"])
def test_a_program_in_a_clone_finds_all_parts_of_it(clone: Path, before: str) -> None:
    done = run(clone, "-c", f"{before}\n{WHERE}")
    assert done.stdout.split() == [
        str(clone / "ensembles/__init__.py"), str(clone / "checkpoints/__init__.py"),
    ], done.stderr  # fmt: skip


def test_nothing_else_of_the_clone_becomes_a_part(clone: Path) -> None:
    (clone / "notes").mkdir()
    (clone / "notes" / "__init__.py").write_text("")
    for name in ("notes", "setup", "tests"):
        done = run(clone, "-c", f"import ensembles.{name}")
        assert "ModuleNotFoundError" in done.stderr


@pytest.mark.parametrize("missing", BY_HAND[:2] + BY_HAND[3:])
def test_a_folder_that_is_no_clone_is_left_alone(clone: Path, missing: str) -> None:
    (clone / missing.rstrip("/")).unlink()
    done = run(clone, "-c", "import sys, ensembles; print([f for f in sys.meta_path if "
               "'_Neighbours' in str(f)])")  # fmt: skip
    assert done.stdout.strip() == "[]", done.stderr


def test_python_runs_the_package_as_a_program() -> None:
    done = run(ROOT, "-m", "ensembles", "--version")
    assert done.returncode == 0 and done.stdout.startswith("ensembles, version ")


def test_the_name_of_the_distribution_stands_in_one_place() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert setup["metadata"]["name"] == DISTRIBUTION
    extras = set(setup["options.extras_require"])
    pages = [
        ROOT / "README.md",
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "benchmarks").glob("*.py"),
    ]
    for page in [*pages, ROOT / "setup.cfg"]:
        for name, listed in re.findall(r"([\w.-]*)\[([a-z,]+)\]", page.read_text(encoding="utf-8")):
            if set(listed.split(",")) <= extras and name not in ("", "."):
                assert name == DISTRIBUTION, f"{page}: {name}[{listed}]"
    for folder in ("ensembles", "checkpoints", "cli"):
        for source in (ROOT / folder).rglob("*.py"):
            text = source.read_text(encoding="utf-8")
            assert not re.search(r"install '?ensembles\[", text), source
            for extra in re.findall(r"\binstall\(['\"](\w+)['\"]\)", text):
                assert extra in extras, source
    assert install("hf") == "pip install 'residual-ensembles[hf]'"


@pytest.mark.parametrize(
    ("entry", "told"),
    [("", True), ("[console_scripts]\nx = a:b\n", True), ("e = ensembles.cli:main\n", False)],
)
def test_the_package_of_another_project_is_told_of(
    tmp_path: Path, clone: Path, entry: str, told: bool
) -> None:
    assert other_package(str(clone)) is None
    record = clone / "ensembles-0.1.5.dist-info"
    record.mkdir()
    (record / "entry_points.txt").write_text(entry)
    done = run(clone, "-c", "import ensembles; print(len(ensembles.list_metrics()))")
    assert int(done.stdout) > 3
    line = "the package ensembles 0.1.5 of another project is installed in"
    assert (line in done.stderr) is told
    assert ("OtherPackageWarning" in done.stderr) is told
