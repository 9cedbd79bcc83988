"""What runs under each kind of lesion, alone and after others."""

from __future__ import annotations

import math
import re
from collections import Counter

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from lesion_values import (
    any_lesions,
    block_sets,
    single_lesions,
    spans,
    stage,
)
from scipy.stats import kendalltau

from ensembles.errors import LesionError
from ensembles.lesions import (
    Beside,
    Bypass,
    Delete,
    Drop,
    Duplicate,
    Initial,
    Intact,
    Lesion,
    MeanBranch,
    Noise,
    Parallel,
    Program,
    Randomize,
    Recalibration,
    Reference,
    Reorder,
    Repeat,
    Replace,
    Reset,
    Reverse,
    Run,
    Scale,
    Shuffle,
    Source,
    Transplant,
    Variant,
    Without,
    intact_program,
)
from ensembles.lesions.steps import keys_of

N = 12


def runs(*blocks: int) -> Program:
    """Blocks as they are, one at each position."""
    return tuple((Run(block),) for block in blocks)


def recipes(lesion: Lesion, n: int = N) -> dict[int, list[str]]:
    """The recipes of each variant that runs."""
    steps = [step for steps in lesion.program(n) for step in steps]
    parts = [part for s in steps for part in (s.parts if isinstance(s, Beside) else (s,))]
    return {p.block: [r.text for r in p.recipes] for p in parts if isinstance(p, Variant)}


def test_programs_by_hand() -> None:
    one, two, three, four = (Run(block) for block in (1, 2, 3, 4))
    assert Intact().program(3) == ((one,), (two,), (three,))
    assert Delete((3, 1)).program(3) == ((Bypass(1),), (two,), (Bypass(3),))
    assert Duplicate((2,)).program(3) == ((one,), (two, two), (three,))
    assert Reorder(((1, 3),)).program(3) == runs(3, 2, 1)
    assert Reorder(((1, 2), (2, 3))).order(3) == (2, 3, 1)
    assert Drop(((2, 1), (2, 3))).program(2) == ((one,), (Without(2, (1, 3)),))
    assert Repeat((2,), 3).program(3) == ((one,), (two, two, two), (three,))
    assert Repeat((2, 3), 2).program(4) == ((one,), (two,), (three, two, three), (four,))
    assert Repeat((2, 3), 3).program(3) == ((one,), (two,), (three, two, three, two, three))
    assert Reverse((2, 4)).program(5) == runs(1, 4, 3, 2, 5)
    assert Shuffle((1, 2), 5).program(3) == runs(2, 1, 3)
    assert Parallel((2, 3)).program(4) == ((one,), (Beside((two, three)),), (), (four,))
    mean = Beside((two, three), mean=True)
    assert Parallel((2, 3), mean=True, loops=2).program(3) == ((one,), (mean, mean), ())
    assert Delete((2,)).recalibrated().program(3) == Delete((2,)).program(3)


def test_recipes_by_hand() -> None:
    assert recipes(Scale((3, 4), 0.5)) == {3: ["scale x0.5"], 4: ["scale x0.5"]}
    assert recipes(Noise((3,), 0.1, 7)) == {3: ["noise s0.1 seed7"]}
    assert recipes(MeanBranch((3,))) == {3: ["mean on 1000 of train"]}
    assert recipes(Reset((3,))) == {3: ["reset"]}
    assert recipes(Randomize((3,), 7)) == {3: ["randomize seed7"]}
    assert recipes(Randomize((3,), 7, "permute")) == {3: ["randomize seed7 permute"]}
    assert recipes(Replace((3, 4), (4, 3))) == {3: ["replace by 4"], 4: ["replace by 3"]}
    assert recipes(Transplant((3,), "x")) == {3: ["transplant from x"]}


def test_what_lesions_need() -> None:
    assert Delete((3,)).needs == Scale((3,)).needs == Replace(3, 4).needs == ()
    assert MeanBranch((3,), 256, "val").needs == (Reference(256, "val"),)
    assert Reset((3,)).needs == (Initial(),)
    assert Transplant((3,), "x").needs == (Source("x"),)
    chain = Reset((3,)).then(Reset((4,))).then(Transplant((5,), "x"))
    assert chain.needs == (Initial(), Source("x"))
    again = Reset((3,)).recalibrated(2, 50)
    assert again.needs == (Initial(), Reference(100, "train"))
    assert again.recalibration == Recalibration(2, 50)
    assert chain.recalibration is None


@given(block_sets(N))
def test_a_scale_of_0_is_the_deletion_and_of_1_the_intact_network(blocks: tuple[int, ...]) -> None:
    assert Scale(blocks, 0).program(N) == Delete(blocks).program(N)
    assert Scale(blocks, -0.0).program(N) == Delete(blocks).program(N)
    assert Scale(blocks, 1).program(N) == intact_program(N)
    half = Scale(blocks, 0.5)
    assert half.then(Scale(blocks, 1)).program(N) == half.program(N)
    assert half.then(Scale(blocks, 0)).program(N) == Delete(blocks).program(N)


@given(st.integers(1, N), st.booleans())
def test_one_block_beside_none_is_the_intact_network(block: int, mean: bool) -> None:
    assert Parallel((block,), mean).program(N) == intact_program(N)
    assert Parallel((block,), mean, loops=3).program(N) == Repeat((block,), 3).program(N)


@given(block_sets(N))
def test_a_repetition_of_two_is_the_duplicate(blocks: tuple[int, ...]) -> None:
    block = blocks[0]
    assert Repeat((block,), 2).program(N) == Duplicate((block,)).program(N)


@given(spans(N))
def test_a_span_turned_round_twice_is_the_intact_network(span: tuple[int, int]) -> None:
    there = Reverse(span)
    assert there.then(there).program(N) == intact_program(N)
    inside = list(zip(range(span[0], span[1] + 1), range(span[1], span[0], -1), strict=False))
    swaps = tuple((a, b) for a, b in inside if a < b)
    assert there.program(N) == Reorder(swaps).program(N)


@given(spans(N), st.integers(0, 99))
def test_a_shuffle_keeps_to_its_span_and_moves_something(span: tuple[int, int], seed: int) -> None:
    order = Shuffle(span, seed).order(N)
    assert order is not None
    assert order != tuple(range(1, N + 1))
    first, last = span
    assert sorted(order[first - 1 : last]) == list(range(first, last + 1))
    assert order[: first - 1] == tuple(range(1, first))
    assert order[last:] == tuple(range(last + 1, N + 1))
    assert Shuffle(span, seed).order(20)[:N] == order  # type: ignore[index]


def test_shuffles_are_uniform() -> None:
    orders = Counter(Shuffle((3, 5), seed).order(5) for seed in range(2000))
    assert len(orders) == 5
    assert sum((count - 400) ** 2 / 400 for count in orders.values()) < 18.5  # 4 df, p = 0.001


@given(any_lesions(N))
def test_tau_against_scipy(lesion: Lesion) -> None:
    try:
        order = lesion.order(N)
    except LesionError:
        assume(False)
        return
    if order is None:
        assert math.isnan(lesion.kendall_tau(N))
    else:
        expected = kendalltau(range(N), order).statistic
        assert lesion.kendall_tau(N) == pytest.approx(expected, abs=1e-12)


def test_order_and_tau_of_kinds() -> None:
    assert Reverse((1, 3)).kendall_tau(3) == pytest.approx(-1)
    assert Intact().recalibrated().kendall_tau(3) == 1
    assert Intact().kendall_tau(1) == 1
    assert Delete((1,)).order(3) is Scale((1,)).order(3) is Duplicate((1,)).order(3) is None
    assert Parallel((1, 2)).order(3) is None


@given(single_lesions(N))
def test_every_kind_has_every_position_and_every_block(lesion: Lesion) -> None:
    program = lesion.program(N)
    assert len(program) == N
    steps = [step for steps in program for step in steps]
    parts = [part for s in steps for part in (s.parts if isinstance(s, Beside) else (s,))]
    assert {part.block for part in parts} == set(range(1, N + 1))
    untouched = set(range(1, N + 1)) - set(lesion.blocks)
    assert all(part == Run(part.block) for part in parts if part.block in untouched)
    assert lesion.bypassed(N) == tuple(sorted({s.block for s in steps if isinstance(s, Bypass)}))
    assert hash(program) == hash(lesion.program(N))


@given(st.lists(any_lesions(N), min_size=2, max_size=6))
def test_programs_have_an_order(lesions: list[Lesion]) -> None:
    programs = []
    for lesion in lesions:
        try:
            programs.append(lesion.program(N))
        except LesionError:
            assume(False)
    keys = sorted(keys_of(program) for program in programs)
    assert len(set(keys)) == len(set(programs))


@given(any_lesions(N))
def test_a_block_that_the_network_has_not_is_refused(lesion: Lesion) -> None:
    assume(lesion.blocks)
    few = lesion.blocks[-1] - 1
    with pytest.raises(LesionError, match=rf"^block {lesion.blocks[-1]}: the network has blocks 1"):
        lesion.program(few)
    with pytest.raises(LesionError, match=r"^block \d+: the network has blocks 1 to \d+$"):
        lesion.require(stage(few))


# Chains


def test_blocks_are_meant_wherever_they_run() -> None:
    reordered = Reorder(((1, 3),))
    assert reordered.then(Delete((1,))).program(3) == ((Run(3),), (Run(2),), (Bypass(1),))
    assert Delete((1,)).then(reordered).program(3) == ((Run(3),), (Run(2),), (Bypass(1),))
    twice = Duplicate((2,)).then(Delete((2,)))
    assert twice.program(3) == ((Run(1),), (Bypass(2), Bypass(2)), (Run(3),))
    again = Repeat((2, 3), 2).then(Scale((3,), 0.5))
    assert recipes(again, 3) == {3: ["scale x0.5"]}
    assert [len(steps) for steps in again.program(3)] == [1, 1, 3]
    apart = Parallel((1, 2, 3)).then(Delete((2,)))
    assert apart.program(3) == ((Beside((Run(1), Run(3))),), (), ())
    assert apart.then(Delete((1,))).program(3) == ((Run(3),), (), ())
    assert apart.then(Delete((1, 3))).program(3) == ((Bypass(1),), (), ())
    assert recipes(Parallel((1, 2)).then(Scale((2,), 0.5)), 3) == {2: ["scale x0.5"]}
    assert Drop(((2, 1),)).then(Drop(((2, 3),))).program(2) == ((Run(1),), (Without(2, (1, 3)),))
    assert Drop(((2, 1),)).then(Delete((2,))).program(2) == ((Run(1),), (Bypass(2),))
    assert Drop(((2, 1),)).then(Duplicate((2,))).program(2)[1] == (Without(2, (1,)),) * 2


def test_positions_are_meant_as_they_stand() -> None:
    there = Reorder(((1, 3),)).then(Reorder(((1, 2),)))
    assert there == Reorder(((1, 3),)).then(Reorder(((1, 2),)))
    assert there.program(3) == Reorder(((1, 3), (1, 2))).program(3) == runs(2, 3, 1)
    longer = Duplicate((1,)).then(Reverse((1, 2)))
    assert longer.program(3) == ((Run(2),), (Run(1), Run(1)), (Run(3),))
    beside = Reorder(((1, 3),)).then(Parallel((1, 2)))
    assert beside.program(3) == ((Beside((Run(3), Run(2))),), (), (Run(1),))
    scaled = Scale((1,), 0.5).then(Parallel((1, 2)))
    assert recipes(scaled, 2) == {1: ["scale x0.5"]}
    assert Delete((2,)).then(Reverse((1, 2))).program(2) == ((Bypass(2),), (Run(1),))


def test_recipes_are_carried_out_one_after_the_other() -> None:
    def of(*lesions: Lesion) -> list[str]:
        chain = lesions[0]
        for lesion in lesions[1:]:
            chain = chain.then(lesion)
        return recipes(chain)[3]

    half, noise, reset = Scale((3,), 0.5), Noise((3,), 0.1), Reset((3,))
    assert of(half, noise) == ["scale x0.5", "noise s0.1 seed0"]
    assert of(noise, half) == ["noise s0.1 seed0", "scale x0.5"]
    assert of(half, half) == ["scale x0.5", "scale x0.5"]
    assert of(half, reset) == of(reset, half) == ["reset", "scale x0.5"]
    permuted = Randomize((3,), 1, "permute")
    assert of(half, reset, permuted, noise) == [
        "reset",
        "randomize seed1 permute",
        "scale x0.5",
        "noise s0.1 seed0",
    ]
    assert of(MeanBranch((3,)), noise) == ["mean on 1000 of train", "noise s0.1 seed0"]
    assert of(Replace(3, 4), Randomize((3,))) == ["replace by 4", "randomize seed0"]
    assert of(Transplant((3,), "x"), Replace(3, 4), half) == [
        "transplant from x",
        "replace by 4",
        "scale x0.5",
    ]


UNCLEAR = (
    "comes after {earlier}, where its meaning is not clear; put it first, or leave out one of "
    "the two"
)
GONE = "of block 3: it is deleted, so that nothing of it is left to change"


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (Delete((3,)), Delete((3,)), "delete of block 3: it is deleted already; leave it out"),
        (Delete((3,)), Scale((3,), 0.5), f"scale {GONE}"),
        (Delete((3,)), Scale((3,), 1), f"scale {GONE}"),
        (Delete((3,)), Reset((3, 4)), f"reset {GONE}"),
        (Delete((3,)), Transplant((3,), "x"), f"transplant {GONE}"),
        (
            Delete((3,)),
            Duplicate((3,)),
            "duplicate of block 3: it is deleted, so that nothing of it runs again",
        ),
        (
            Delete((3,)),
            Repeat((3,), 3),
            "repeat of block 3: it is deleted, so that nothing of it runs again",
        ),
        (
            Delete((3, 4)),
            Repeat((3, 4), 2),
            "repeat 3-4 x2: nothing is left to run in the span; leave it out",
        ),
        (
            Delete((3,)),
            Drop(((3, 1),)),
            "drop of block 3: it is deleted, so that it has no branches to lose",
        ),
        (Drop(((3, 1),)), Drop(((3, 1),)), "drop of block 3: branch 1 is dropped already"),
        (
            Drop(((3, 1),)),
            Scale((3,), 0.5),
            "scale of block 3: it has lost some of its branches; lesion it in one way or the other",
        ),
        (
            Scale((3,), 0.5),
            Drop(((3, 1),)),
            "drop of block 3: it was changed before (scale x0.5); lesion it in one way or "
            "the other",
        ),
        (
            Transplant((3,), "x"),
            Delete((3,)),
            "delete of block 3: it is another network's block, whose shortcut alone cannot be run; "
            "delete it instead of transplanting it",
        ),
        (
            Transplant((3,), "x"),
            Reset((3,)),
            "reset of block 3: it " + UNCLEAR.format(earlier="transplant from x"),
        ),
        (
            Scale((3,), 0.5),
            MeanBranch((3,)),
            "mean of block 3: it " + UNCLEAR.format(earlier="scale x0.5"),
        ),
        (
            Reset((3,)),
            Replace(3, 4),
            "replace of block 3: it " + UNCLEAR.format(earlier="reset"),
        ),
        (
            MeanBranch((3,)),
            Randomize((3,)),
            "randomize of block 3: it " + UNCLEAR.format(earlier="mean on 1000 of train"),
        ),
        (
            Parallel((3, 4)),
            Duplicate((3,)),
            "duplicate of block 3: it runs beside others there, which leaves no place for that",
        ),
        (
            Parallel((3, 4)),
            Transplant((3,), "x"),
            "transplant of block 3: it runs beside others there, which leaves no place for that",
        ),
        (
            Parallel((3, 4), mean=True),
            Delete((3,)),
            "delete of block 3: its branch is averaged with others there, and without it the mean "
            "would be of fewer; let the branches be added instead",
        ),
        (
            Delete((3,)),
            Parallel((3, 4)),
            "parallel of block 3: a block with its own branch is expected there, alone and whole, "
            "and an earlier lesion left something else; put blocks side by side first",
        ),
        (Transplant((4,), "x"), Parallel((3, 4)), "parallel of block 4: a block with its own"),
        (Duplicate((4,)), Parallel((3, 4)), "parallel of block 4: a block with its own"),
        (Parallel((3, 4)), Parallel((4, 5)), "parallel of block 4: a block with its own"),
        (
            Parallel((3, 4, 5)),
            Reorder(((4, 5),)),
            "parallel 3-5 then reorder 4-5: reorder 4-5 changes nothing of what the lesions before "
            "it left; leave it out",
        ),
    ],
)
def test_what_has_no_meaning_after_another(first: Lesion, second: Lesion, message: str) -> None:
    chain = first.then(second)
    with pytest.raises(LesionError) as error:
        chain.program(N)
    assert message in str(error.value)
    with pytest.raises(LesionError, match=re.escape(message)):
        chain.require(stage(N, roads=3))


class Ends(Lesion):
    """A kind of somebody else's that leaves a block out altogether."""

    kind = "ends"
    text = "3"
    blocks = (3,)

    @classmethod
    def parse(cls, text: str) -> Ends:
        return cls()

    def rewrite(self, program: Program) -> Program:
        return tuple(
            tuple(step for step in steps if getattr(step, "block", 0) != 3) for steps in program
        )


def test_a_block_that_runs_nowhere_any_more_is_refused() -> None:
    chain = Ends().then(Delete((3, 4)))
    with pytest.raises(
        LesionError, match="delete of block 3: it runs nowhere any more; leave it out"
    ):
        chain.program(N)


@settings(max_examples=75, deadline=None)
@given(single_lesions(6), single_lesions(6))
def test_the_second_lesion_rewrites_what_the_first_left(first: Lesion, second: Lesion) -> None:
    chain = first.then(second)
    try:
        program = chain.program(6)
    except LesionError as error:
        assert "\n" not in str(error)
        return
    assert program == second.rewrite(first.rewrite(intact_program(6)))
    if second.program(6) != intact_program(6):
        assert program != first.program(6)
