"""Every reader reads or refuses whatever bytes it is given, in a line.

`benchmarks/fuzz.py` does the same for as long as it is let.
"""

from __future__ import annotations

import random
import re
import warnings
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from readers import CORPUS, READERS, mutations

FOUND = sorted(CORPUS.glob("*/*")) if CORPUS.is_dir() else []


@pytest.fixture(autouse=True)
def quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ENSEMBLES_CACHE", str(tmp_path / "cache"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize("name", [name for name in READERS if name != "edited store"])
def test_what_a_reader_takes_is_read(name: str, tmp_path: Path) -> None:
    reader = READERS[name]
    assert [reader.on(seed, tmp_path) for seed in reader.seeds()] == [None] * len(reader.seeds())


@pytest.mark.parametrize("name", READERS)
def test_changed_files_are_read_or_refused(name: str, tmp_path: Path) -> None:
    reader, draw = READERS[name], random.Random(name)
    changed = islice(mutations(reader.seeds(), draw.randrange), 60)
    said = [reader.on(content, tmp_path) for content in changed]
    assert any(said) or name.startswith("git")  # which tells of no commit instead


@pytest.mark.parametrize("name", ["study", "card", "recipe", "plan", "words", "csv", "table"])
def test_any_bytes_are_read_or_refused(name: str, tmp_path: Path) -> None:
    @settings(
        max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(st.binary(max_size=64))
    def any_bytes(content: bytes) -> None:
        READERS[name].on(content, tmp_path)

    any_bytes()


@pytest.mark.parametrize("path", FOUND, ids=[f"{path.parent.name}-{path.name}" for path in FOUND])
def test_what_was_found_once_stays_mended(path: Path, tmp_path: Path) -> None:
    READERS[path.parent.name].on(path.read_bytes(), tmp_path)


def test_the_tests_that_security_md_names_are_there() -> None:
    root = Path(__file__).parent.parent
    named = re.findall(r"`((?:tests|benchmarks)/\w+\.py)`", (root / "SECURITY.md").read_text())
    assert len(set(named)) > 15
    assert [name for name in named if not (root / name).is_file()] == []
