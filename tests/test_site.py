"""The site: what its pages say is there, and it builds without a warning."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import ensembles

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


def sources() -> str:
    """All of the code, with texts that are broken over lines put together."""
    folders = ("ensembles", "checkpoints", "cli")
    files = [path for name in folders for path in (ROOT / name).rglob("*.py")]
    return "".join(
        re.sub(r'"\s*\n\s*[fr]*"', "", path.read_text(encoding="utf-8")) for path in files
    )


def test_every_message_of_the_troubleshooting_is_one_of_the_program() -> None:
    code, rows = sources(), []
    for line in (DOCS / "troubleshooting.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("| `"):
            rows += re.findall(r"`([^`]+)`", line.split(" | ")[0])
    assert len(rows) > 12
    for message in rows:
        if message.startswith("No module named"):  # Python's own
            continue
        parts = [one.strip(" ,") for one in re.split(r"\.\.\.|NAME|\b2\b", message)]
        for part in parts:
            assert len(part) < 5 or part in code, message


def test_the_reference_holds_every_public_name() -> None:
    text = (DOCS / "reference-library.md").read_text(encoding="utf-8")
    named = set(re.findall(r"auto(?:function|class|exception):: (\w+)", text))
    assert set(ensembles.__all__) <= named
    rooms = set(re.findall(r"automodule:: ensembles\.(\w+)", text))
    assert rooms >= {"lesions", "plots", "statistics", "tables", "metrics", "tasks", "checkpoints"}


def test_every_page_has_its_place_in_the_site() -> None:
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    placed = set(re.findall(r"^([\w/-]+)$", index, re.MULTILINE))
    pages = {
        str(path.relative_to(DOCS).with_suffix(""))
        for path in DOCS.rglob("*.md")
        if "_build" not in path.parts
    }
    assert pages - {"index"} <= placed


@pytest.mark.slow
@pytest.mark.skipif(find_spec("sphinx") is None, reason="needs the extra docs")
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", str(DOCS), str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "ENSEMBLES_NOTEBOOKS": "off"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    commands = (tmp_path / "reference-commands.html").read_text(encoding="utf-8")
    assert commands.count("--model") > 10 and "FILE:COLUMN" in commands
    assert set(re.findall(r'href="(\w+):', commands)) <= {"https", "http"}
    assert "notebooks/first_figure.html" in (tmp_path / "index.html").read_text(encoding="utf-8")


def test_no_picture_is_older_than_its_table() -> None:
    from hashlib import sha256

    from PIL import Image

    tables = sorted((DOCS / "figures").glob("*.csv"))
    assert len(tables) == 2
    for table in tables:
        with Image.open(table.with_suffix(".png")) as picture:
            drawn = picture.info.get("Table")
        assert drawn == sha256(table.read_bytes()).hexdigest(), f"draw {table.name} again"


def test_the_papers_of_a_public_project_agree_with_the_package() -> None:
    import configparser

    yaml = pytest.importorskip("yaml")

    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == ensembles.__version__
    assert citation["license"] == setup["metadata"]["license"]
    recipe = (ROOT / "conda" / "meta.yaml").read_text(encoding="utf-8")
    assert f'version = "{ensembles.__version__}"' in recipe
    assert f'name = "{setup["metadata"]["name"]}"' in recipe
    renamed = {"matplotlib": "matplotlib-base", "seaborn": "seaborn-base", "torch": "pytorch"}
    for line in setup["options"]["install_requires"].split("\n"):
        if requirement := line.partition(";")[0].strip():
            name, bound = requirement.split(">=")
            assert f"- {renamed.get(name, name)} >={bound}" in recipe
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))["jobs"]
    assert set(jobs) == {"lint", "types", "tests", "lowest", "wheel", "site"}
    cited = set(re.findall(r"@(\w+)\]", (ROOT / "paper.md").read_text(encoding="utf-8")))
    entries = set(re.findall(r"^@\w+\{(\w+),", (ROOT / "paper.bib").read_text(), re.MULTILINE))
    assert cited == entries


@pytest.mark.parametrize("name", ["CHANGELOG.md", "CONTRIBUTING.md", "CODE_OF_CONDUCT.md"])
def test_links_of_the_project_lead_somewhere(name: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)", (ROOT / name).read_text(encoding="utf-8")):
        assert "://" in target or (ROOT / target).exists(), target
