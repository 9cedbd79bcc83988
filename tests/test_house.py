"""The house holds: order of rooms, names of files, and what is packaged."""

from __future__ import annotations

import ast
import configparser
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ORDER = (
    "clone", "distribution", "printable", "garbage", "guest", "errors", "progress", "files",
    "fill_lock", "bounded", "toml_text", "text", "text_names",
    "writable",
    "numerics", "cores", "cuda_graphs",
    "open_set", "weights", "cards",
    "models", "data", "decomposition", "lesions", "metrics", "tasks", "engine", "unravelling",
    "tables", "store", "statistics", "catalogue", "checkpoints", "training", "analyses", "plots",
    "report", "studies", "listings", "reproduction", "cli", "__main__",
)  # fmt: skip
"""The rooms from top to bottom; each imports only from rooms before it."""

TOGETHER = ({"metrics", "tasks"},)
"""Rooms that stand beside each other: a task makes the answers that a metric counts."""

EXCEPTIONS = {
    ("ensembles.decomposition.network", "ensembles.engine"),
    ("ensembles.lesions.steps", "ensembles.engine"),
}
"""What a value offers as a method and a lower room does: a lesioned network as a module."""


def modules() -> Iterator[tuple[str, Path]]:
    homes = {
        "ensembles": "ensembles",
        "ensembles.checkpoints": "checkpoints",
        "ensembles.cli": "cli",
    }
    for name, folder in homes.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            yield ".".join((name, *parts)).removesuffix(".__init__"), path


@cache
def imported(path: Path) -> tuple[str, ...]:
    """Modules of ours that a file imports, in functions too, but for the sake of types alone."""
    return tuple(_imported(path))


def _imported(path: Path) -> Iterator[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names if one.name.startswith("ensembles."))
        elif isinstance(node, ast.ImportFrom) and not node.level:
            if node.module == "ensembles":
                yield from (f"ensembles.{alias.name}" for alias in node.names)
            elif node.module and node.module.startswith("ensembles."):
                yield node.module


def room(module: str) -> str:
    return [*module.split("."), ""][1]


def test_rooms_import_from_above_alone() -> None:
    wrong = []
    for module, path in modules():
        for other in imported(path):
            here, there = room(module), room(other)
            if there not in ORDER or here in ("", there):
                continue
            beside = any({here, there} <= pair for pair in TOGETHER)
            excepted = any(module == a and other.startswith(b) for a, b in EXCEPTIONS)
            if ORDER.index(there) > ORDER.index(here) and not beside and not excepted:
                wrong.append(f"{module} imports {other}")
    assert not wrong, "\n".join(wrong)


def test_every_room_has_its_place_in_the_order() -> None:
    known = {room(module) for module, _ in modules()} - {"", "version_1"}
    assert known <= set(ORDER)


def test_no_circle_of_imports_within_a_room() -> None:
    names = {module for module, _ in modules()}
    edges = {
        module: {other for other in imported(path) if other in names and other != module}
        for module, path in modules()
    }
    done: set[str] = set()

    def visit(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " -> ".join((*way[way.index(module) :], module))
        if module not in done:
            for other in sorted(edges[module]):
                if not module.startswith(f"{other}."):
                    visit(other, (*way, module))
            done.add(module)

    for module in sorted(names):
        visit(module, ())


def test_files_are_named_after_things() -> None:
    things = {"training", "unravelling", "folding", "string", "coupling"}
    acts = [
        f"{module} ({path.name})"
        for module, path in modules()
        if path.stem.endswith("ing") and path.stem not in things
    ]
    assert not acts


def test_no_room_holds_two_modules_of_a_name_that_a_reader_meets_together() -> None:
    shared = {"__init__", "base"}
    names = Counter(
        (room(module), path.stem)
        for module, path in modules()
        if path.stem not in shared and path.parent.name != "recipes"
    )
    assert not [name for name, number in names.items() if number > 1]


def test_kinds_are_asked_for_by_no_room_that_does_not_own_them() -> None:
    """``kind ==`` stands only where the kinds live: blocks and segments, places, lesions."""
    owners = {"decomposition", "lesions", "models"}
    wrong = []
    for module, path in modules():
        if room(module) in owners:
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if re.search(r"\bkind (==|!=|in) ", line) and " for " not in line:
                wrong.append(f"{module}:{number}: {line.strip()}")
    assert not wrong, "\n".join(wrong)


def test_every_package_is_in_the_wheel() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    listed = set(setup["options"]["packages"].split())
    there = {module for module, path in modules() if path.name == "__init__.py"}
    assert there == listed


@pytest.mark.parametrize(("most", "what"), [(400, "lines of a file")])
def test_files_stay_short(most: int, what: str) -> None:
    long = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for _, path in modules()
    }
    assert not {name: lines for name, lines in long.items() if lines > most}, what
