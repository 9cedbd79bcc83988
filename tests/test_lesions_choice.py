"""Which lesions a few settings ask for, alone, drawn at random, and of spans."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lesion_values import FIVE, NARROW, WIDE, stage, structure_of

from ensembles.errors import LesionError
from ensembles.lesions import (
    KINDS,
    Choice,
    Delete,
    Draw,
    Intact,
    Lesion,
    Reverse,
    Structure,
    random_deletions,
    random_drops,
    random_duplications,
    random_swaps,
)

SEVEN = structure_of(
    [(WIDE, WIDE)] * 3 + [(WIDE, NARROW)] + [(NARROW, NARROW)] * 3, [4], roads={2: 2, 3: 3, 6: 2}
)
"""Three blocks, a transition, three blocks; several branches meet in blocks 2, 3 and 6."""


def texts(choice: Choice, structure: Structure = SEVEN) -> list[str]:
    intact, *lesions = choice.lesions(structure)
    assert intact == Intact()
    for lesion in lesions:
        lesion.require(structure)
    return [lesion.text for lesion in lesions]


def settings_for(kind: str) -> dict[str, Any]:
    return {"source": "x"} if kind == "transplant" else {}


def test_draws_of_version_1() -> None:
    """Made by version 1 with the same settings and seeds."""

    def of(lesions: list[Lesion]) -> list[str]:
        return [lesion.text for lesion in lesions]

    assert of(random_deletions(54, range(1, 5), 2, seed=7)) == [
        "36", "44", "29 45", "41 43", "8 31 52", "11 14 24", "1 27 35 42", "23 25 29 43",
    ]  # fmt: skip
    large = random_deletions(9, [3], 3, seed=2**60 + 1, skip=[2, 5])
    assert of(large) == ["1 3 6", "4 6 8", "3 4 7"]
    assert of(random_duplications(54, [1, 6], 2, seed=3, skip=[19, 37])) == [
        "47", "41", "2 15 25 38 41 53", "21 23 30 31 45 54",
    ]  # fmt: skip
    assert of(random_swaps([range(2, 19), range(20, 37)], [1, 3], 2, seed=5)) == [
        "6-7", "7-14", "21-27 3-7 10-12", "8-13 21-28 6-16",
    ]  # fmt: skip
    assert of(random_drops([0, 2, 3, 4], [1, 4], 3, seed=1)) == [
        "4.4", "3.2", "3.1", "3.1 3.3 4.2 4.4", "3.1 3.2 4.1 4.4", "3.2 3.3 4.3 4.4",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (
            Choice("delete", range(1, 4), 2, seed=4, skip_transitions=True),
            ["7", "3", "3 6", "2 5", "3 5 7", "1 5 6"],
        ),
        (Choice("duplicate", 2, 2, seed=4), ["2 5", "1 3"]),
        (Choice("reorder", 2, 2, seed=4, blocks=tuple(range(1, 7))), ["2-3 1-2", "1-2 1-2"]),
        (Choice("delete", blocks=(2, 5)), ["2", "5"]),
        (Choice("duplicate"), ["1", "2", "3", "5", "6", "7"]),
        (
            Choice("delete", 2, seed=1),
            ["4 6", "3 5", "2 6", "2 7", "2 3", "3 5", "5 7", "5 7", "4 6", "2 7"],
        ),
        (Choice("drop", 2, 2, seed=4), ["2.1 6.2", "2.2 6.1"]),
    ],
)
def test_choices_of_version_1(choice: Choice, expected: list[str]) -> None:
    """Made by version 1 with the same settings and seeds."""
    assert texts(choice) == expected


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (Choice(), ["1", "2", "3", "4", "5", "6", "7"]),
        (Choice(skip_transitions=True), ["1", "2", "3", "5", "6", "7"]),
        (Choice("scale", blocks=(2, 3)), ["2 x0.5", "3 x0.5"]),
        (Choice("scale", blocks=(2,), settings={"factor": 2}), ["2 x2.0"]),
        (Choice("noise", blocks=(2,), seed=3), ["2 s0.1 seed3"]),
        (
            Choice("noise", blocks=(2, 3), seed=3, trials=2),
            ["2 s0.1 seed3000", "2 s0.1 seed3001", "3 s0.1 seed3000", "3 s0.1 seed3001"],
        ),
        (Choice("mean", blocks=(2,)), ["2"]),
        (Choice("mean", blocks=(2,), settings={"reference_size": 9}), ["2 on 9 of train"]),
        (Choice("reset", blocks=(2,)), ["2"]),
        (
            Choice("randomize", blocks=(2,), trials=2, settings={"how": "permute"}),
            ["2 seed0 permute", "2 seed1 permute"],
        ),
        (Choice("randomize", blocks=(2,), settings={"seed": 5}), ["2 seed5"]),
        (Choice("replace"), ["1<-2", "2<-3", "3<-2", "5<-6", "6<-7", "7<-6"]),
        (Choice("replace", settings={"by": 2}), ["1<-2", "3<-2"]),
        (Choice("repeat"), ["1 x2", "2 x2", "3 x2", "5 x2", "6 x2", "7 x2"]),
        (Choice("repeat", 2, settings={"times": 3}), ["1-2 x3", "2-3 x3", "5-6 x3", "6-7 x3"]),
        (Choice("reverse"), ["1-2", "2-3", "5-6", "6-7"]),
        (Choice("reverse", range(2, 4)), ["1-2", "2-3", "5-6", "6-7", "1-3", "5-7"]),
        (Choice("reverse", blocks=(5, 6, 7)), ["5-6", "6-7"]),
        (Choice("reverse", 3, blocks=(1, 2, 3, 5)), ["1-3"]),
        (
            Choice("shuffle", 3, seed=2, trials=2),
            ["1-3 seed2000", "1-3 seed2001", "5-7 seed2000", "5-7 seed2001"],
        ),
        (Choice("shuffle", 3, seed=2), ["1-3 seed2", "5-7 seed2"]),
        (Choice("parallel"), ["1 2", "2 3", "5 6", "6 7"]),
        (Choice("parallel", 1), ["1", "2", "3", "5", "6", "7"]),
        (
            Choice("parallel", 3, settings={"mean": True, "loops": 2}),
            ["1-3 mean x2", "5-7 mean x2"],
        ),
        (Choice("transplant", blocks=(2,), settings={"source": "x y"}), ["2 from x y"]),
        (Choice("drop"), ["2.1", "2.2", "3.1", "3.2", "3.3", "6.1", "6.2"]),
        (Choice("drop", blocks=(2, 6)), ["2.1", "2.2", "6.1", "6.2"]),
        (Choice("drop", roads=((3, 2), 6)), ["3.2", "6.1", "6.2"]),
        (Choice(plan=(Delete((3,)), Intact(), Delete((3,)))), ["3", "3"]),
    ],
)
def test_sweeps(choice: Choice, expected: list[str]) -> None:
    assert texts(choice) == expected


@pytest.mark.parametrize("kind", sorted({*KINDS.names()} - {"none", "then", "recalibrated"}))
def test_every_kind_by_itself_and_drawn_at_random(kind: str) -> None:
    choice = Choice(kind, settings=settings_for(kind))
    alone = choice.lesions(SEVEN)
    assert alone[0] == Intact()
    assert len(alone) > 1
    assert {lesion.kind for lesion in alone[1:]} == {kind}
    assert len(set(alone)) == len(alone) or kind == "reorder"
    drawn = Choice(kind, 2, 5, seed=3, settings=settings_for(kind))
    assert drawn.random
    lesions = drawn.lesions(SEVEN)[1:]
    for lesion in lesions:
        lesion.require(SEVEN)
        assert lesion.count == 2
        assert lesion.draw is not None
        assert lesion.draw.seed == 3
    assert {lesion.trial for lesion in lesions} == set(range(5))
    assert lesions == drawn.lesions(SEVEN)[1:]
    assert lesions == [one for one in replace(drawn, trials=6).lesions(SEVEN)[1:] if one.trial != 5]


@given(st.integers(0, 50))
def test_random_spans_are_uniform_and_keep_to_the_pool(seed: int) -> None:
    drawn = Choice("reverse", 3, 200, seed, blocks=(1, 2, 3, 4, 5, 6)).lesions(stage(8))[1:]
    counts = Counter(lesion.text for lesion in drawn)
    assert set(counts) == {"1-3", "2-4", "3-5", "4-6"}
    assert sum((count - 50) ** 2 / 50 for count in counts.values()) < 30  # 3 df, p = 1e-6


def test_what_depends_on_the_seed() -> None:
    assert not Choice().random
    assert not Choice("scale").random
    assert not Choice("reverse", 3).random
    assert not Choice(plan=(Delete((3,)),)).random
    assert Choice("delete", 2).random
    assert Choice("delete", trials=3).random
    assert Choice("reverse", 3, trials=2).random
    assert Choice("reorder").random
    assert Choice("noise").random
    assert Choice("shuffle").random
    assert Choice("randomize").random
    assert not Choice("randomize", settings={"seed": 3}).random


def test_counts_are_those_that_are_usual_for_the_kind() -> None:
    assert Choice().counts == 1
    assert Choice("reverse").counts == 2
    assert Choice(counts=range(3, 4)) == Choice(counts=3)
    assert Choice(counts=range(1, 4)).sizes == (1, 2, 3)


def test_every_lesion_recalibrated_behind_the_intact_network() -> None:
    lesions = Choice("scale", blocks=(2, 3), recalibrated=4).lesions(SEVEN)
    assert [str(lesion) for lesion in lesions] == [
        "none",
        "recalibrated none | 4x128",
        "recalibrated scale 2 x0.5 | 4x128",
        "recalibrated scale 3 x0.5 | 4x128",
    ]
    drawn = Choice("delete", 2, 3, seed=1, recalibrated=4).lesions(SEVEN)[2:]
    assert [lesion.draw for lesion in drawn] == [Draw(0, 1), Draw(1, 1), Draw(2, 1)]
    plan = Choice(plan=(Delete((3,)),), recalibrated=2).lesions(SEVEN)
    assert [str(lesion) for lesion in plan[1:]] == [
        "recalibrated none | 2x128",
        "recalibrated delete 3 | 2x128",
    ]


def test_a_choice_is_a_value() -> None:
    choice = Choice("scale", settings={"factor": 0.25}, blocks=(3, 1))
    assert choice == Choice("scale", 1, settings={"factor": 0.25}, blocks=(1, 3))
    assert hash(choice) == hash(Choice("scale", blocks=(1, 3)))
    assert replace(choice, seed=3).seed == 3
    planned = Choice(plan=[Reverse((1, 2))])  # type: ignore[arg-type]
    assert replace(planned, seed=3).plan == (Reverse((1, 2)),)
    given = {"factor": 0.5}
    kept = Choice("scale", settings=given)
    given["factor"] = 2
    assert texts(kept)[0] == "1 x0.5"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "scal"}, "lesion 'scal' is unknown; expected none, delete"),
        ({"kind": "scal"}, "did you mean scale?"),
        ({"counts": 0}, "count 0: expected 1 or more"),
        ({"counts": range(0, 3)}, "count range(0, 3): expected a range of numbers from 1 on"),
        ({"counts": range(3, 3)}, "count range(3, 3): expected a range of numbers from 1 on"),
        ({"counts": "1-20"}, "count '1-20': expected a whole number"),
        ({"trials": 0}, "trials 0: expected 1 or more"),
        ({"trials": 10**9}, "trials 1000000000: expected at most 1000000"),
        ({"trials": 60_000, "counts": range(1, 21)}, "1200000 lesions at least; expected at most"),
        ({"counts": range(1, 10**9)}, "9999999990 lesions at least; expected at most 1000000"),
        ({"counts": range(1, 10**30)}, "lesions at least; expected at most 1000000"),
        ({"seed": 2**63}, f"seed {2**63}: expected at most {2**53}"),
        ({"kind": "randomize", "seed": -(2**63)}, f"seed -{2**63}: expected -{2**53} or more"),
        ({"recalibrated": 10**9}, "recalibrated 1000000000: expected at most 1000000"),
        ({"recalibrated": 0}, "recalibrated 0: expected 1 or more"),
        ({"blocks": ()}, "blocks (): names none; expected numbers such as (3, 17)"),
        ({"blocks": (3, 3)}, "list of blocks: block 3 is named twice; name each block once"),
        ({"blocks": "3,17"}, "list of blocks of '3,17': expected numbers of blocks, such as"),
        ({"roads": ((3, 2),)}, "branches are for drop, found them beside delete; name blocks"),
        ({"kind": "drop", "roads": ()}, "branches (): names none; expected pairs such as (3, 2)"),
        (
            {"kind": "transplant"},
            "transplant needs the setting source: Checkpoint (name or file) that the blocks are "
            "taken from.",
        ),
        (
            {"kind": "scale", "settings": {"facter": 2}},
            "setting 'facter' of scale is unknown; expected factor; did you mean factor?",
        ),
        ({"settings": {"factor": 2}}, "setting 'factor' of delete is unknown; expected none"),
        (
            {"kind": "scale", "settings": {"factor": "2"}},
            "setting factor of scale: '2'; expected a number",
        ),
        (
            {"kind": "repeat", "settings": {"times": 2.5}},
            "setting times of repeat: 2.5; expected a whole number",
        ),
        (
            {"kind": "repeat", "settings": {"times": True}},
            "setting times of repeat: True; expected a whole number",
        ),
        (
            {"kind": "parallel", "settings": {"mean": 1}},
            "setting mean of parallel: 1; expected true or false",
        ),
        (
            {"kind": "randomize", "settings": {"how": "zero"}},
            "setting how of randomize: 'zero'; expected init or permute",
        ),
        (
            {"kind": "reorder", "trials": 2, "plan": (Delete((3,)),)},
            "a plan names all lesions, found kind, trials beside it; leave out one or the other",
        ),
        (
            {"kind": "scale", "settings": {"factor": 2}, "plan": (Delete((3,)),)},
            "a plan names all lesions, found kind, settings beside it; leave out one or the other",
        ),
    ],
)
def test_settings_that_have_no_meaning(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(LesionError, match=re.escape(message)):
        Choice(**settings)


BLOCK_3 = "block 3 (blocks.2)"


@pytest.mark.parametrize(
    ("choice", "structure", "message"),
    [
        (Choice(blocks=(6,)), FIVE, "block 6: the network has blocks 1 to 5"),
        (Choice(blocks=(3,), skip_transitions=True), FIVE, "no blocks left: all 1 are skipped"),
        (
            Choice("duplicate", blocks=(2, 3)),
            FIVE,
            "duplicate of block 3: it maps 16x32x32 to 32x16x16 and so cannot run twice in a row; "
            "name blocks that keep the shape",
        ),
        (Choice("delete", 6, 1), FIVE, "count 6: the network has 5 blocks"),
        (
            Choice("duplicate", 5, 1),
            FIVE,
            "count 5: the network has 5 blocks, of which 4 may be chosen",
        ),
        (
            Choice("scale"),
            stage(3, shortcut=False),
            "scale has no meaning here: scale of block 1 (blocks.0): it has no shortcut, so "
            "that its "
            "branch is all that there is; choose blocks with a shortcut",
        ),
        (
            Choice("reorder", blocks=(1, 4)),
            FIVE,
            "no two blocks can change places: reorder needs two blocks of equal shape that are no "
            "transitions",
        ),
        (
            Choice("reorder"),
            stage(3, ordered=False, kind="member"),
            "reorder of 1-2: the blocks are members of an average, whose order means nothing; "
            "delete or duplicate them",
        ),
        (
            Choice("reverse", 3),
            FIVE,
            f"reverse has no meaning here: reverse 1-3: {BLOCK_3} is a transition (16x32x32 to "
            "32x16x16); choose a span within a stage of equal shape",
        ),
        (
            Choice("reverse", 1),
            FIVE,
            "reverse of 1-1: a span of one block stays as it is; name two or more",
        ),
        (
            Choice("reverse", blocks=(1, 4)),
            FIVE,
            "count 2: no span of so many neighbours among the blocks to choose from",
        ),
        (Choice("parallel", 9), FIVE, "count 9: no span of so many neighbours among the blocks to"),
        (
            Choice("drop"),
            FIVE,
            "no block has several branches: drop takes blocks where several branches meet, as in "
            "Inception or FractalNet; delete whole blocks",
        ),
        (
            Choice("drop", blocks=(1, 2)),
            SEVEN,
            "block 1 (blocks.0) is residual and has no branches to drop one of; delete the block",
        ),
        (
            Choice("drop", roads=((2, 3),)),
            SEVEN,
            "branch 2.3: block 2 (blocks.1) has branches 1 to 2",
        ),
        (
            Choice("drop", 5, 1),
            SEVEN,
            "count 5: at most 4 of 7 branches can be dropped at once, so that each block keeps one",
        ),
        (
            Choice("replace"),
            structure_of([(WIDE, WIDE), (WIDE, NARROW)], [2]),
            "replace has no meaning here: replace 1<-2: block 1 (blocks.0) maps",
        ),
        (
            Choice("replace"),
            stage(1),
            "replace 1<-1: block 1 (blocks.0) has that branch already; name another block",
        ),
        (
            Choice("noise", seed=-1),
            FIVE,
            "noise: seed -1: expected 0 or more",
        ),
        (
            Choice("noise", trials=1001),
            FIVE,
            "trials: more than 1000 of a kind with a seed of its own; take another seed for the",
        ),
        (Choice("none"), FIVE, "none is not made for every block by itself; name the lesions in a"),
        (Choice("then"), FIVE, "then is not made for every block by itself; name the lesions in a"),
        (
            Choice("recalibrated"),
            FIVE,
            "recalibrated is no kind to sweep by itself; choose another kind, and with it how many "
            "batches to recalibrate on",
        ),
    ],
)
def test_a_choice_that_leaves_no_lesion(choice: Choice, structure: Structure, message: str) -> None:
    with pytest.raises(LesionError) as error:
        choice.lesions(structure)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_members_are_lesioned_where_that_has_a_meaning() -> None:
    average = stage(3, kind="member", shortcut=False, ordered=False)
    assert texts(Choice(), average) == ["1", "2", "3"]
    assert texts(Choice("duplicate"), average) == ["1", "2", "3"]
    with pytest.raises(LesionError, match="members of an average"):
        Choice("reverse").lesions(average)
