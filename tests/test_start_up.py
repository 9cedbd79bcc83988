"""What a command imports before it works; the benchmark of its time."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import pytest
from calls import LoadProgram


@pytest.fixture
def start_up(load_program: LoadProgram) -> ModuleType:
    return load_program("start_up")


def test_the_version_needs_nothing_heavy() -> None:
    code = """
import contextlib, io, sys
from ensembles.cli import main
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    main(["--version"])
print(*({"torch", "numpy", "pandas", "matplotlib", "networkx"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_a_sweep_waits_for_no_library_that_it_does_not_use(start_up: ModuleType) -> None:
    """Of figures, of statistics, of symbols: together they take as long as torch."""
    heavy = "('matplotlib', 'seaborn', 'scipy', 'sklearn', 'sympy', 'torchvision', 'timm')"
    told = f"print([name for name in {heavy} if name in sys.modules], file=sys.stderr)"
    code = start_up.SWEEP.replace("os._exit(0)", f"{told}; os._exit(0)")
    command = [sys.executable, "-c", code, *start_up.COMMANDS["ensembles lesion, first batch"][1]]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    *_, times, found = done.stderr.splitlines()
    assert found == "[]"
    assert all(float(number) > 0 for number in times.split())


def test_the_benchmark_times_commands(
    start_up: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = {"ensembles --version": start_up.COMMANDS["ensembles --version"]}
    monkeypatch.setattr(start_up, "COMMANDS", plain)
    ((clock, processor),) = start_up.main(["--rounds", "1"])["ensembles --version"]
    assert clock > 0
    assert processor > 0
    assert "ensembles --version" in capsys.readouterr().out
