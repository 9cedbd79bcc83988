"""Lesions of single roads: as values, from text, drawn at random."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensembles.errors import LesionError
from ensembles.lesions import (
    Choice,
    Drop,
    Form,
    Lesion,
    Run,
    Structure,
    Without,
    intact,
    parse_lesion,
    random_drops,
    read_plan,
    single_drops,
)
from ensembles.text import read_roads

ROADS = st.lists(st.sampled_from([0, 2, 3, 4]), min_size=1, max_size=6).filter(any)


def test_a_lesion_of_roads() -> None:
    lesion = Lesion("drop", roads=((3, 2), (1, 1), (3, 4)))
    assert (lesion.text, lesion.count) == ("1.1 3.2 3.4", 3)
    assert isinstance(lesion, Drop)
    assert lesion.dropped == {1: (1,), 3: (2, 4)}
    assert lesion.program(3) == (
        (Without(1, (1,)),), (Run(2),), (Without(3, (2, 4)),),
    )  # fmt: skip
    assert parse_lesion("drop", lesion.text) == lesion


def test_a_plan_of_roads() -> None:
    plan = io.StringIO("lesion,blocks\ndrop,3.2 5.1\ndelete,4\n")
    assert read_plan(plan) == [Lesion("drop", roads=((3, 2), (5, 1))), Lesion("delete", (4,))]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Lesion("drop", (3,)), "lesion 'drop' needs one branch or more, such as 3.2"),
        (lambda: Lesion("delete", (3,), roads=((3, 2),)), "lesion 'delete' needs one block or"),
        (lambda: Lesion("drop", roads=((3, 2), (3, 2))), "branch 3.2 is named twice; name it once"),
        (lambda: Lesion("drop", roads=((0, 2),)), "block 0: blocks are numbered from 1"),
        (lambda: parse_lesion("drop", "3"), "blocks '3': drop expects branches such as 3.2 5.1"),
        (lambda: Lesion("drop", roads=((7, 1),)).program(5), "block 7: the network has blocks 1"),
        (lambda: single_drops([0, 0]), "no block has several branches: drop takes blocks where"),
        (lambda: random_drops([2, 3], [4], 1), "count 4: at most 3 of 5 branches can be dropped"),
    ],
)
def test_what_is_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(LesionError, match=re.escape(message)):
        make()


@given(ROADS)
def test_every_road_is_dropped_once(roads: list[int]) -> None:
    found = [lesion.roads for lesion in single_drops(roads)]
    assert found == [((b, r),) for b, n in enumerate(roads, 1) for r in range(1, n + 1)]


@given(ROADS, st.integers(0, 9), st.data())
def test_random_drops_leave_each_block_a_road(
    roads: list[int], seed: int, data: st.DataObject
) -> None:
    most = sum(count - 1 for count in roads if count)
    count = data.draw(st.integers(1, most))
    drawn = random_drops(roads, [count], 3, seed)
    assert [lesion.count for lesion in drawn] == [count] * 3
    assert drawn == random_drops(roads, [count], 3, seed)
    for lesion in drawn:
        lost = Counter(block for block, _ in lesion.roads)
        assert all(lost[block] < roads[block - 1] for block in lost)


def inception(*roads: int, transitions: tuple[int, ...] = ()) -> Structure:
    """Blocks of equal shape in which so many branches meet."""
    return Structure(
        tuple(
            Form(
                index, f"blocks.{index - 1}", "parallel", (4, 8, 8), (4, 8, 8),
                shortcut=False, transition=index in transitions, roads=count,
            )
            for index, count in enumerate(roads, start=1)
        )
    )  # fmt: skip


def test_the_lesions_of_a_choice_name_roads() -> None:
    found = Choice("drop", roads=read_roads("1,3.2")).lesions(inception(2, 0, 3))
    assert [lesion.text for lesion in found] == ["", "1.1", "1.2", "3.2"]
    assert [one.text for one in Choice("drop").lesions(inception(2, 0, 0))] == ["", "1.1", "1.2"]
    drawn = Choice("drop", range(2, 4), trials=2, seed=1).lesions(inception(2, 0, 3))
    assert [lesion.count for lesion in drawn] == [0, 2, 2, 3, 3]
    assert drawn[0] == intact()
    skipped = Choice("drop", skip_transitions=True).lesions(inception(2, 0, 2, transitions=(1,)))
    assert [lesion.text for lesion in skipped] == ["", "3.1", "3.2"]
