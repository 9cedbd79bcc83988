"""Values from the texts of command lines and study files."""

from __future__ import annotations

import re

import pytest

from ensembles.errors import LesionError
from ensembles.text import read_blocks, read_counts, read_roads

N = 54


def message(match: str) -> str:
    return f"^{re.escape(match)}$"


@pytest.mark.parametrize(
    ("text", "blocks"),
    [("3", (3,)), ("1-5,9", (1, 2, 3, 4, 5, 9)), ("3 17", (3, 17)), (" 9, 2 ", (2, 9))],
)
def test_read_blocks(text: str, blocks: tuple[int, ...]) -> None:
    assert read_blocks(text, N) == blocks


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("0", "block 0: the network has blocks 1 to 54"),
        ("50-55", "block 55: the network has blocks 1 to 54"),
        ("1-999999999", "block 999999999: the network has blocks 1 to 54"),
        ("5-1", "blocks '5-1': the range 5-1 ends below its start"),
        ("3,x", "blocks '3,x': 'x' is no number or range; expected 3, 1-5,9 or 3 17"),
        ("", "blocks '': names none; expected 3, 1-5,9 or 3 17"),
        ("1-3,2", "list of blocks: block 2 is named twice; name each block once"),
    ],
)
def test_read_blocks_errors(text: str, error: str) -> None:
    with pytest.raises(LesionError, match=message(error)):
        read_blocks(text, N)


def test_a_list_of_blocks_that_fills_the_memory_is_refused() -> None:
    with pytest.raises(
        LesionError, match=message("list of blocks: names more than 1000000; name each once")
    ):
        read_blocks(",".join(["1-1000000"] * 1000))


def test_read_counts() -> None:
    assert read_counts("1") == range(1, 2)
    assert read_counts("1-20") == range(1, 21)
    for text, error in {
        "0": "count 0: expected 1 or more",
        "2,4": "count '2,4': expected one number or one range, such as 1 or 1-20",
        "few": "count 'few': 'few' is no number or range; expected 1 or 1-20",
    }.items():
        with pytest.raises(LesionError, match=message(error)):
            read_counts(text)


def test_blocks_of_a_network_that_is_not_known_yet() -> None:
    assert read_blocks("1-3,900") == (1, 2, 3, 900)
    for text, error in {
        "0": "block 0: blocks are numbered from 1",
        "1-999999999": "block 999999999: no network has so many blocks",
        "3,3": "list of blocks: block 3 is named twice; name each block once",
        "3.2": "blocks '3.2': '3.2' is no number or range; expected 3, 1-5,9 or 3 17",
    }.items():
        with pytest.raises(LesionError, match=message(error)):
            read_blocks(text)


def test_a_long_list_is_read_at_once() -> None:
    assert len(read_blocks("1-100000")) == 100000


def test_roads() -> None:
    assert read_roads("3.2") == ((3, 2),)
    assert read_roads("5 3.2, 3.1") == ((3, 1), (3, 2), 5)
    assert read_roads("4-5") == (4, 5)
    assert read_roads("1,3.2", [2, 0, 4]) == ((1, 1), (1, 2), (3, 2))


@pytest.mark.parametrize(
    ("text", "roads", "error"),
    [
        ("2.1", [2, 0], "block 2 has no branches to drop one of: drop takes blocks where several "
         "branches meet; delete the block"),
        ("1.3", [2, 0], "branch 1.3: block 1 has branches 1 to 2"),
        ("1.0", [2, 0], "branch 1.0: block 1 has branches 1 to 2"),
        ("1.1,1", [2, 0], "branches '1.1,1': 1.1 is named twice; name it once"),
        ("5,5", None, "branches '5,5': 5 is named twice; name it once"),
        ("5.1,5", None, "branches '5.1,5': 5.1 is named beside all of block 5; name it once"),
        ("9.1", [2], "block 9: the network has blocks 1 to 1"),
        ("0.1", None, "block 0: blocks are numbered from 1"),
        ("5.0", None, "branch 5.0: branches are numbered from 1"),
        (",", None, "branches ',': names none; expected 3.2 or 3.2,5.1"),
        ("1.x", None, "blocks '1.x': '1.x' is no number or range; expected 3, 1-5,9 or 3 17"),
    ],
)  # fmt: skip
def test_texts_that_are_no_roads(text: str, roads: list[int] | None, error: str) -> None:
    with pytest.raises(LesionError, match=message(error)):
        read_roads(text, roads)
