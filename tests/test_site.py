"""The site: what its pages say is there, and it builds without a warning."""

from __future__ import annotations

import configparser
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from urllib.parse import unquote

import pytest

import ensembles

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

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


def test_the_page_of_benchmarks_names_every_program_and_none_that_is_not_there() -> None:
    page = (DOCS / "benchmarks.md").read_text(encoding="utf-8").partition("## Measured")[0]
    named = set(re.findall(r"\b(\w+)\.py\b", page))
    assert named == {path.stem for path in (ROOT / "benchmarks").glob("*.py")}


class Links(HTMLParser):
    """What a page links to and shows, and the places in it that can be linked to."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.places: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        self.places.add(told.get("id") or "")
        target = told.get("href") if tag == "a" else told.get("src") if tag == "img" else None
        if target and not re.match(r"[a-z]+:", target):
            self.targets.append(unquote(target))


def dead_links(site: Path) -> Iterator[str]:
    """Links of a built site to pages, places and pictures that are not there."""
    pages = {}
    for path in site.rglob("*.html"):
        page = pages[path.resolve()] = Links()
        page.feed(path.read_text(encoding="utf-8"))
    assert sum(len(page.targets) for page in pages.values()) > 1000
    for path, page in pages.items():
        for target in page.targets:
            file, _, place = target.partition("#")
            other = (path.parent / file).resolve() if file else path
            if not other.exists() or (other in pages and place not in pages[other].places | {""}):
                yield f"{path.name}: {target}"


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
    assert not list(dead_links(tmp_path))
    assert "notebooks/first_figure.html" in (tmp_path / "index.html").read_text(encoding="utf-8")


def test_no_picture_is_older_than_its_tables_or_than_what_draws_it() -> None:
    from PIL import Image

    spec = spec_from_file_location("draw", DOCS / "figures" / "draw.py")
    assert spec is not None and spec.loader is not None
    draw = module_from_spec(spec)
    spec.loader.exec_module(draw)
    tables = {table for name in draw.PICTURES for table in draw.tables_of(name)}
    assert tables == set((DOCS / "figures").rglob("*.csv"))
    for name in draw.PICTURES:
        with Image.open(DOCS / "figures" / f"{name}.png") as picture:
            borne = {key: picture.info.get(key) for key in ("Table", "Drawing")}
        assert borne == draw.marks_of(name, draw.drawn(name)), f"draw {name} again: draw.py"


def test_every_picture_is_shown_and_nothing_is_left_to_be_filled_in() -> None:
    pages = [*DOCS.glob("*.md"), *ROOT.glob("*.md"), ROOT / "CITATION.cff", ROOT / "setup.cfg"]
    texts = {page.name: page.read_text(encoding="utf-8") for page in pages}
    shown = set(re.findall(r"figures/([\w-]+)\.png", "".join(texts.values())))
    assert shown == {path.stem for path in (DOCS / "figures").glob("*.png")}
    blanks = re.compile(r"\b(REPOSITORY|TODO|FIXME|TBD|XXX)\b|example\.(com|org)|<your")
    assert not {name for name, text in texts.items() if blanks.search(text)}
    open_ends = {name for name, text in texts.items() if re.search("by the authors|by its", text)}
    left = texts["development.md"].partition("## Left to its authors")[2]
    assert {"paper.md"} <= open_ends and all(f"`{name}`" in left for name in ("paper.md",))


def test_the_papers_of_a_public_project_agree_with_the_package() -> None:
    yaml = pytest.importorskip("yaml")

    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == ensembles.__version__
    assert citation["license"] == setup["metadata"]["license"]
    cited = set(re.findall(r"@(\w+)\]", (ROOT / "paper.md").read_text(encoding="utf-8")))
    entries = set(re.findall(r"^@\w+\{(\w+),", (ROOT / "paper.bib").read_text(), re.MULTILINE))
    assert cited == entries


def test_the_conda_recipe_says_what_setup_cfg_says() -> None:
    yaml = pytest.importorskip("yaml")
    recipe = yaml.safe_load((ROOT / "conda" / "recipe.yaml").read_text(encoding="utf-8"))
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert recipe["context"]["version"] == ensembles.__version__
    assert recipe["package"]["name"] == setup["metadata"]["name"]
    assert recipe["about"]["license"] == setup["metadata"]["license"]
    assert (ROOT / recipe["about"]["license_file"]).is_file()
    scripts = setup["options.entry_points"]["console_scripts"].strip()
    assert recipe["build"]["python"]["entry_points"] == [scripts]
    renamed = {"matplotlib": "matplotlib-base", "seaborn": "seaborn-base", "torch": "pytorch"}
    python = f"python {setup['options']['python_requires']}"
    wanted = [python]
    for line in setup["options"]["install_requires"].split("\n"):
        if requirement := line.partition(";")[0].strip():
            name, bound = requirement.split(">=")
            wanted.append(f"{renamed.get(name, name)} >={bound}")
    assert recipe["requirements"]["run"] == wanted
    [builder] = project["build-system"]["requires"]
    assert recipe["requirements"]["host"] == [python, "pip", builder.replace(">=", " >=")]


def test_the_public_workflow_runs_what_ci_runs() -> None:
    yaml = pytest.importorskip("yaml")
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))["jobs"]
    assert set(jobs) == {"lint", "types", "tests", "lowest", "wheel", "site"}
    lines = {
        name: [line.strip() for step in job["steps"] for line in step.get("run", "").splitlines()]
        for name, job in jobs.items()
    }
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    own = [line.strip().strip("()") for line in script if not line.startswith("#")]
    checks = [line for line in own if re.match(r"ruff |python -m pytest|cd .* && mypy", line)]
    assert len(checks) == 4
    for line in checks:
        there = line.replace("$work", "$RUNNER_TEMP").replace("$root", "$GITHUB_WORKSPACE")
        assert any(there in job for job in lines.values()), line
    for name in ("lowest", "site"):
        assert any(line.startswith(f"bash .ci/{name}") for line in lines[name])
    pythons = re.findall(r"Python :: (3\.\d+)", (ROOT / "setup.cfg").read_text(encoding="utf-8"))
    assert jobs["tests"]["strategy"]["matrix"]["python"] == pythons


@pytest.mark.parametrize("name", ["CHANGELOG.md", "CONTRIBUTING.md", "CODE_OF_CONDUCT.md"])
def test_links_of_the_project_lead_somewhere(name: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)", (ROOT / name).read_text(encoding="utf-8")):
        assert "://" in target or (ROOT / target).exists(), target


def test_no_line_of_text_turns_into_a_list_or_a_comment() -> None:
    for page in [*DOCS.rglob("*.md"), *ROOT.glob("*.md")]:
        text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
        found = re.findall(r"^(?:% |\+ |> ).*", text, re.MULTILINE)
        assert not found, f"{page.name}: a line begins with a mark of Markdown: {found}"


WIDEST = 92
"""Letters of a line of code on a page of 1,200 pixels; longer ones are cut off until scrolled."""


def test_lines_of_code_are_no_wider_than_a_page() -> None:
    for page in DOCS.rglob("*.md"):
        lines, fenced = [], False
        for line in page.read_text("utf-8").splitlines():
            fenced ^= line.startswith("```")
            lines += [line] if fenced else [line[4:]] if line.startswith("    ") else []
        wide = [line for line in lines if len(line) > WIDEST and not line.startswith(":::")]
        if page.name == "architectures.md":  # a table as wide as the terminal prints it
            wide = [line for line in wide if not re.match(r"[\w-]+ {2,}", line)]
        assert not wide, f"{page.name}: {wide}"


def test_figures_are_shown_at_the_size_of_print() -> None:
    from PIL import Image

    for path in (DOCS / "figures").glob("*.png"):
        with Image.open(path) as picture:
            inches = picture.width / picture.info["dpi"][0]
        assert 3 < inches < 6, f"{path.name}: {inches:.2f} inches wide"
