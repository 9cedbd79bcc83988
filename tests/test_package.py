"""How the project is put together: packages, imports, public names, what a wheel holds."""

from __future__ import annotations

import configparser
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import ensembles

ROOT = Path(__file__).parent.parent


def test_lesions_know_no_torch():
    code = "import sys, ensembles.lesions; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_every_folder_is_a_listed_package():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    listed = set(setup["options"]["packages"].split())
    there = {
        "ensembles" + "".join(f".{part}" for part in path.parent.relative_to(base).parts)
        for base in [ROOT / "ensembles"]
        for path in base.rglob("__init__.py")
    }
    assert listed == there | {"ensembles.checkpoints", "ensembles.cli"}


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


OF_VERSION_1 = {
    "EnsemblesError", "PathOptions", "count_paths", "create_model", "dataset", "decompose",
    "effective_paths", "lesion", "list_models", "load", "path_ranges", "paths", "plot_paths",
}  # fmt: skip


def test_every_public_name_is_there():
    assert set(ensembles.__all__) > OF_VERSION_1
    for name in ensembles.__all__:
        assert getattr(ensembles, name) is not None
        assert name in dir(ensembles)
    with pytest.raises(AttributeError, match="no attribute 'leison'; did you mean lesion"):
        ensembles.leison  # noqa: B018


def test_every_room_is_an_attribute():
    rooms = {path.parent.name for path in (ROOT / "ensembles").glob("*/__init__.py")}
    code = "import ensembles; print(*(getattr(ensembles, name).__name__ for name in {}))"
    wanted = sorted({*rooms, "checkpoints", "cli", "errors", "open_set", "text"})
    assert python(code.format(wanted)).split() == [f"ensembles.{name}" for name in wanted]


def test_names_of_rooms_hide_no_calls():
    """Importing a module sets its name on its package: no room is called as a public name is."""
    modules = {path.stem for path in (ROOT / "ensembles").iterdir()}
    assert not set(ensembles.__all__) & modules


def test_no_example_of_the_docs_needs_a_deep_import():
    """Modules of a room are its own affair; a new architecture alone is written in its room."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    deep = re.compile(r"^ *(?:from|import) (ensembles\.\w+\.\w+)", re.MULTILINE)
    found = {(page.name, name) for page in pages for name in deep.findall(page.read_text())}
    assert found <= {("architectures.md", "ensembles.models.parts")}


def test_importing_is_light():
    code = """
import sys, time
before, start = set(sys.modules), time.process_time()
import ensembles
print(time.process_time() - start)
print(*sorted({name.partition(".")[0] for name in set(sys.modules) - before}))
"""
    runs = [python(code).split("\n") for _ in range(3)]
    standard = set(sys.stdlib_module_names) | {"ensembles"}
    assert not {name for name in runs[0][1].split() if name not in standard}
    assert min(float(seconds) for seconds, _ in runs) < 0.1


def test_listing_needs_no_torch():
    code = """
import sys, ensembles
for call in ("lesions", "metrics", "tasks", "analyses"):
    assert len(getattr(ensembles, f"list_{call}")()) > 1
print(*({"torch", "pandas", "matplotlib"} & set(sys.modules)))
"""
    assert python(code) == ""


def test_listings_print_well():
    assert str(ensembles.list_tasks()).splitlines()[0].startswith("classification  one class for")
    assert "here" in ensembles.list_executors().names
    assert ensembles.list_lesions().names[:3] == ("none", "delete", "reorder")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel, built from what git would put into a clone."""
    tmp_path = tmp_path_factory.mktemp("wheel")
    copy = tmp_path / "source"
    files = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if files.returncode:
        pytest.skip("needs the source as a git checkout")
    for name in filter(None, files.stdout.split("\0")):
        target = copy / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).exists():
            target.symlink_to(ROOT / name)
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
         "--wheel-dir", str(tmp_path), str(copy)],
        check=True, capture_output=True,
    )  # fmt: skip
    [wheel] = tmp_path.glob("*.whl")
    return wheel


WHERE = """
import ensembles.cli, ensembles.checkpoints, runpy
print(ensembles.checkpoints.__file__, flush=True)
runpy.run_module("ensembles", run_name="__main__", alter_sys=True)
"""


def test_a_wheel_runs_where_nothing_else_of_the_project_is(wheel, tmp_path):
    """Unpacked outside the clone; without `site` no installation of it is seen."""
    place = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(place)
    others = [path for path in sys.path if path.endswith("site-packages")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(place), *others])}
    command = ["lesion", "--model", "vgg15", "--limit", "2", "--blocks", "1", "--plot"]
    done = subprocess.run(
        [sys.executable, "-S", "-c", WHERE, *command], cwd=tmp_path, env=environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(place)) and "delete  1" in done.stdout
    assert (tmp_path / "lesion.png").exists()


def test_a_wheel_has_one_top_level_name_and_all_that_is_needed(wheel):
    assert wheel.name.startswith("residual_ensembles-")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"ensembles"}
    for needed in ("py.typed", "cli/__init__.py", "checkpoints/__init__.py"):
        assert f"ensembles/{needed}" in names
    for pattern in ("checkpoints/cards/*.toml", "checkpoints/weights/*.safetensors"):
        for path in ROOT.glob(pattern):
            assert f"ensembles/{path.relative_to(ROOT)}" in names
    assert any(name.startswith("ensembles/training/recipes/") for name in names)
