"""The page on lesions: its table is right, and the kind of one's own that it shows works."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from networks import decomposable, images_for

import ensembles
from ensembles.engine import evaluate
from ensembles.errors import LesionError
from ensembles.lesions import KINDS, Choice, Intact, Lesion, Structure, parse_lesion

PAGE = (Path(__file__).parent.parent / "docs" / "lesions.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE, re.S)


@pytest.fixture
def blur() -> Iterator[type[Lesion]]:
    """The kind that the page shows, there for one test."""
    (program,) = [text for text in PROGRAMS if "KINDS.register" in text]
    KINDS.forget("blur")
    names: dict[str, Any] = {}
    exec(compile(program, "lesions.md", "exec"), names)
    yield names["Blur"]
    KINDS.forget("blur")


def test_a_kind_of_ones_own_takes_thirty_lines() -> None:
    (program,) = [text for text in PROGRAMS if "KINDS.register" in text]
    assert len(program.strip().splitlines()) <= 30


def test_a_kind_of_ones_own_is_like_any_other(blur: type[Lesion]) -> None:
    assert KINDS.get("blur") is blur
    assert "blur" in KINDS.names()
    lesion = parse_lesion("blur", "2 1")
    assert (lesion.text, str(lesion)) == ("1 2", "blur 1 2")
    chain = lesion.then(Lesion("delete", (4,))).recalibrated(1, 4)
    assert parse_lesion(chain.kind, chain.text) == chain
    with pytest.raises(LesionError, match=r"lesion 'blurr' is unknown.*did you mean blur"):
        parse_lesion("blurr", "2")
    model = decomposable()
    images, labels = images_for(model, 8)
    net = ensembles.decompose(model, images)
    lesions = Choice("blur").lesions(Structure.of(net))
    assert [str(lesion) for lesion in lesions] == ["none", *(f"blur {b}" for b in (1, 2, 3, 4))]
    prefix, level, direct = (
        evaluate(net, [(images, labels)], lesions, engine=engine, device="cpu")
        for engine in ("prefix", "level", "direct")
    )
    losses = [outcome.loss for outcome in prefix]
    assert [outcome.loss for outcome in level] == pytest.approx(losses, rel=1e-4)
    assert losses == pytest.approx([outcome.loss for outcome in direct], rel=1e-4)
    assert len(set(losses)) == 5


def rows() -> list[tuple[str, str, str]]:
    """Kind, constructors and texts of the table of all kinds."""
    table = PAGE[PAGE.index("## All kinds") : PAGE.index("### delete")]
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in table.splitlines() if "| `" in line]
    return [(row[0].strip(" `"), row[1], row[2].replace("\\|", "|")) for row in cells]


def test_the_table_has_every_kind() -> None:
    assert sorted(kind for kind, _, _ in rows()) == sorted(KINDS.names())


@pytest.mark.parametrize(("kind", "made", "written"), rows())
def test_the_table_says_how_lesions_are_made_and_written(
    kind: str, made: str, written: str
) -> None:
    names = {name: getattr(ensembles.lesions, name) for name in re.findall(r"[A-Z][a-z]\w*", made)}
    values = [eval(text, names) for text in re.findall(r"`([^`]+)`", made)]
    texts = re.findall(r"`([^`]+)`", written) or [""]
    assert [value.kind for value in values] == [kind] * len(values)
    assert [parse_lesion(kind, text) for text in texts][: len(values)] == values
    assert all(parse_lesion(kind, text).text == text for text in texts)


def test_every_kind_has_a_section() -> None:
    found = re.findall(r"^### (.+)$", PAGE, re.M)
    named = {kind for title in found for kind in title.split(", ")}
    assert named | {Intact.kind} == set(KINDS.names())
