"""The page on architectures: its table, and its example of a new one."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ensembles.cli import main

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "architectures.md"
TRY = """
import torch, ensembles
from ensembles.models import architecture, list_models, create_model
from ensembles.catalogue.structure import describe, inspected
assert architecture("single14").family == "single"
print(len(inspected("single14")), describe(inspected("single14"))["paths"])
try:
    create_model("singel14")
except ensembles.EnsemblesError as error:
    print(error)
"""


def test_the_table_is_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("timm")
    with pytest.raises(SystemExit):
        main(["models"])
    printed = capsys.readouterr().out.splitlines()
    page = PAGE.read_text(encoding="utf-8").splitlines()
    start = page.index("    " + printed[0])
    shown = [line[4:] for line in page[start : page.index("", start)]]
    left_out = re.compile(r"resnet(20|32|44|56)-")
    assert shown == [line for line in printed if not left_out.match(line)]


@pytest.mark.slow
def test_a_new_architecture_is_one_file_and_one_line(tmp_path: Path) -> None:
    """The example of the page, put into a copy of the package."""
    [example] = re.findall(r"```python\n(from .*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    package = tmp_path / "ensembles"
    package.mkdir()
    for path in (ROOT / "ensembles").iterdir():
        if path.name not in ("models", "__pycache__"):
            (package / path.name).symlink_to(path)
    models = package / "models"
    models.mkdir()
    for path in (ROOT / "ensembles" / "models").glob("*.py"):
        (models / path.name).write_bytes(path.read_bytes())
    for name in ("cli", "checkpoints"):
        (package / name).symlink_to(ROOT / name)
    (models / "single.py").write_text(example, encoding="utf-8")
    registry = models / "registry.py"
    text = registry.read_text(encoding="utf-8")
    assert text.count('"fractal"),\n') == 1
    registry.write_text(text.replace('"fractal"),\n', '"fractal", "single"),\n'), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", TRY],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "12 4096"
    assert "did you mean single14" in done.stdout
