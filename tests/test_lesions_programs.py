"""What runs under each kind of lesion, alone and after others."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from lesion_values import (
    FIVE,
    NARROW,
    WIDE,
    any_lesions,
    block_sets,
    single_lesions,
    spans,
    stage,
    structure_of,
)
from scipy.stats import kendalltau

from ensembles.errors import LesionError
from ensembles.lesions import (
    KINDS,
    Beside,
    Bypass,
    Delete,
    Drop,
    Duplicate,
    Form,
    Initial,
    Intact,
    Lesion,
    MeanBranch,
    Noise,
    Parallel,
    Program,
    Randomize,
    Recalibrated,
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
    Structure,
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


@settings(max_examples=150, deadline=None)
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


# What a network allows


@st.composite
def structures(draw: st.DrawFn) -> Structure:
    """Chains of blocks of two shapes, with passages, transitions, and blocks without shortcut."""
    shape = draw(st.sampled_from([WIDE, NARROW]))
    forms = []
    for index in range(1, draw(st.integers(2, 8)) + 1):
        passage = index > 1 and draw(st.integers(0, 5)) == 0
        if passage:
            shape = draw(st.sampled_from([WIDE, NARROW]))
        after = draw(st.sampled_from([shape, shape, shape, NARROW]))
        shortcut = draw(st.integers(0, 3)) > 0
        forms.append(
            Form(
                index=index,
                name=f"m{index}",
                kind="residual" if shortcut else "plain",
                in_shape=shape,
                out_shape=after,
                shortcut=shortcut,
                transition=after != shape or (shortcut and draw(st.integers(0, 5)) == 0),
                deletable=shortcut or after == shape or draw(st.booleans()),
                roads=draw(st.sampled_from([0, 2, 3])),
                passage=passage,
                closed=shortcut and draw(st.integers(0, 5)) == 0,
            )
        )
        shape = after
    return Structure(tuple(forms))


def flows(structure: Structure, program: Program) -> bool:
    """Whether every block and passage meets the shape that it reads in the intact network."""
    shape = structure.forms[0].in_shape
    for form, steps in zip(structure.forms, program, strict=True):
        if form.passage:
            if shape != structure.forms[form.index - 2].out_shape:
                return False
            shape = form.in_shape
        for step in steps:
            met = {
                structure.form(part.block)
                for part in (step.parts if isinstance(step, Beside) else (step,))
            }
            if {form.in_shape for form in met} != {shape}:
                return False
            (shape,) = {form.out_shape for form in met}
    return shape == structure.forms[-1].out_shape


def allowed(lesion: Lesion, structure: Structure) -> bool:
    """A second account of where each kind has a meaning."""
    forms = [structure.form(block) for block in lesion.blocks]
    stays = len({form.in_shape for form in forms}) == 1 and not any(
        form.transition or form.in_shape != form.out_shape for form in forms
    )
    together = stays and not any(form.passage for form in forms[1:])
    rules: dict[str, Callable[[], bool]] = {
        "none": lambda: True,
        "delete": lambda: all(form.deletable for form in forms),
        "duplicate": lambda: all(form.in_shape == form.out_shape for form in forms),
        "reorder": lambda: (
            not any(form.transition for form in forms)
            and all(
                (structure.form(a).in_shape, structure.form(a).out_shape)
                == (structure.form(b).in_shape, structure.form(b).out_shape)
                for a, b in lesion.swaps  # type: ignore[attr-defined]
            )
        ),
        "drop": lambda: all(
            max(roads) <= structure.form(block).roads != len(roads)
            for block, roads in lesion.dropped.items()  # type: ignore[attr-defined]
        ),
        "scale": lambda: all(form.shortcut for form in forms),
        "noise": lambda: all(form.shortcut for form in forms),
        "mean": lambda: all(form.shortcut for form in forms),
        "reset": lambda: True,
        "randomize": lambda: True,
        "transplant": lambda: True,
        "replace": lambda: all(
            form is not other
            and (form.kind, form.in_shape, form.out_shape, form.transition)
            == (other.kind, other.in_shape, other.out_shape, other.transition)
            for form, other in (
                (structure.form(a), structure.form(b))
                for a, b in lesion.pairs.items()  # type: ignore[attr-defined]
            )
        ),
        "repeat": lambda: together or (len(forms) == 1 and forms[0].keeps_shape),
        "reverse": lambda: together,
        "shuffle": lambda: together,
        "parallel": lambda: (
            together
            and all(form.shortcut for form in forms)
            and not (len(forms) > 1 and any(form.closed for form in forms))
        ),
    }
    return rules[lesion.kind]() and flows(structure, lesion.program(len(structure)))


@settings(max_examples=400, deadline=None)
@given(structures(), st.data())
def test_checks_agree_with_a_walk_along_the_shapes(
    structure: Structure, data: st.DataObject
) -> None:
    n = len(structure)
    lesion = data.draw(single_lesions(n).filter(lambda one: (one.blocks or (1,))[-1] <= n))
    by = lesion.pairs.values() if isinstance(lesion, Replace) else ()
    assume(all(other <= n for other in by))
    if allowed(lesion, structure):
        lesion.require(structure)
    else:
        with pytest.raises(LesionError) as error:
            lesion.require(structure)
        assert "\n" not in str(error.value)
        assert re.search(r"; |^branch|has no branches", str(error.value)), str(error.value)


SHORT = "it has no shortcut, so that its branch is all that there is; choose blocks with a shortcut"
MEMBERS = (
    "the blocks are members of an average, whose order means nothing; delete or duplicate them"
)
TWO_KINDS = structure_of(
    [(WIDE, WIDE)] * 4, shortcut={3: False, 4: False}, kind={3: "plain", 4: "plain"}
)
PASSAGE = stage(4, passage={3: True})
CLOSED = stage(4, closed=True)
AVERAGE = stage(3, kind="member", shortcut=False, ordered=False)
WEIGHTLESS = stage(2, weights={2: False})
FORMS = structure_of([(WIDE, WIDE)] * 4, [1, 2, 3], prepared={1: True})


@pytest.mark.parametrize(
    ("lesion", "structure", "message"),
    [
        (
            Delete((3,)),
            structure_of([(WIDE, WIDE), (WIDE, NARROW), (NARROW, WIDE)], deletable={3: False}),
            "delete of block 3 (blocks.2): it maps 32x16x16 to 16x32x32, and no map without "
            "parameters does; leave it out",
        ),
        (
            Repeat((3,), 2),
            FIVE,
            "repeat of block 3 (blocks.2): it maps 16x32x32 to 32x16x16 and so cannot run again "
            "after itself; name blocks that keep the shape",
        ),
        *(
            (
                lesion,
                FIVE,
                f"{lesion}: block 3 (blocks.2) is a transition (16x32x32 to 32x16x16); choose a "
                "span within a stage of equal shape",
            )
            for lesion in (
                Repeat((2, 4), 2),
                Reverse((2, 4)),
                Shuffle((2, 4), 1),
                Parallel((2, 3)),
                Parallel((3,)),
            )
        ),
        (
            Reverse((1, 2)),
            structure_of([(WIDE, WIDE), (NARROW, NARROW)], passage={2: True}),
            "reverse 1-2: block 1 (blocks.0) maps 16x32x32 to 16x32x32, block 2 (blocks.1) "
            "32x16x16 "
            "to 32x16x16; choose a span within a stage of equal shape",
        ),
        (
            Shuffle((2, 3), 1),
            PASSAGE,
            "shuffle 2-3 seed1: something that is no block stands before block 3 (blocks.2) and "
            "keeps its place; choose a span on one side of it",
        ),
        (Scale((2, 3), 0.5), TWO_KINDS, f"scale of block 3 (blocks.2): {SHORT}"),
        (Noise((3,)), TWO_KINDS, f"noise of block 3 (blocks.2): {SHORT}"),
        (MeanBranch((3,)), TWO_KINDS, f"mean of block 3 (blocks.2): {SHORT}"),
        (
            Parallel((2, 3)),
            TWO_KINDS,
            "parallel 2 3: block 3 (blocks.2) has no shortcut, so that its branch cannot be "
            "added to "
            "others; choose blocks with a shortcut",
        ),
        (
            Parallel((1, 2)),
            stage(2, kind={2: "gated"}),
            "parallel 1 2: block 1 (blocks.0) is residual, block 2 (blocks.1) gated; choose blocks "
            "of one kind",
        ),
        (
            Parallel((1, 2)),
            CLOSED,
            "parallel 1 2: weights follow the sum in block 1 (blocks.0) (a norm after the "
            "addition), and blocks side by side have one sum; it has no meaning here",
        ),
        (
            Replace((1, 2), by=(2, 2)),
            FIVE,
            "replace 2<-2: block 2 (blocks.1) has that branch already; name another block",
        ),
        (
            Replace(1, by=3),
            TWO_KINDS,
            "replace 1<-3: block 1 (blocks.0) is residual, block 3 (blocks.2) plain; choose blocks "
            "of one kind",
        ),
        (
            Replace(1, by=3),
            FIVE,
            "replace 1<-3: block 1 (blocks.0) maps 16x32x32 to 16x32x32, block 3 (blocks.2) "
            "16x32x32 "
            "to 32x16x16; choose blocks of equal shape",
        ),
        (
            Replace(4, by=1),
            FORMS,
            "replace 4<-1: block 1 (blocks.0) is a transition of another form, so that the "
            "branches "
            "do not read the same; choose two blocks that are none",
        ),
        (
            Replace(2, by=1),
            FORMS,
            "replace 2<-1: block 2 (blocks.1) is a transition of another form",
        ),
        (Replace(2, by=9), FIVE, "block 9: the network has blocks 1 to 5"),
        (
            Reset((2,)),
            WEIGHTLESS,
            "reset of block 2 (blocks.1): its branch has no weights; choose other blocks",
        ),
        (Randomize((2,)), WEIGHTLESS, "randomize of block 2 (blocks.1): its branch has no weights"),
        (Reorder(((1, 2),)), AVERAGE, f"reorder of 1-2: {MEMBERS}"),
        (Reverse((1, 2)), AVERAGE, f"reverse 1-2: {MEMBERS}"),
        (Shuffle((1, 2)), AVERAGE, f"shuffle 1-2 seed0: {MEMBERS}"),
        (Parallel((1, 2)), AVERAGE, f"parallel 1 2: {MEMBERS}"),
        (Scale((1,), 0.5), AVERAGE, f"scale of block 1 (blocks.0): {SHORT}"),
        (
            Delete((1, 2, 3)),
            AVERAGE,
            "delete 1 2 3: deleting all 3 members leaves nothing to average; leave one",
        ),
        (
            Delete((1, 3)).then(Delete((2,))),
            AVERAGE,
            "delete 1 3 then delete 2: deleting all 3 members leaves nothing to average; leave one",
        ),
        (
            Drop(((1, 1),)),
            AVERAGE,
            "block 1 (blocks.0) is member and has no branches to drop one of; delete the block",
        ),
        (Drop(((1, 4),)), stage(2, roads=3), "branch 1.4: block 1 (blocks.0) has branches 1 to 3"),
        (
            Drop(((1, 1), (1, 2))),
            stage(2, roads=2),
            "all 2 branches of block 1 (blocks.0) are dropped; leave one, or delete the block",
        ),
        (
            Drop(((1, 1),)).then(Drop(((1, 2),))),
            stage(2, roads=2),
            "all 2 branches of block 1 (blocks.0) are dropped; leave one, or delete the block",
        ),
        (
            Recalibrated(Reverse((2, 4))),
            FIVE,
            "reverse 2-4: block 3 (blocks.2) is a transition",
        ),
    ],
    ids=str,
)
def test_what_a_network_does_not_allow(lesion: Lesion, structure: Structure, message: str) -> None:
    with pytest.raises(LesionError) as error:
        lesion.require(structure)
    assert str(error.value).startswith(message)


def test_a_kind_that_forgets_to_check_is_still_held_against_the_shapes() -> None:
    with pytest.raises(LesionError) as error:
        Lesion.require(_Moved(), FIVE)
    assert str(error.value) == (
        "moved 3 4: block 4 (blocks.3) (32x16x16 to 32x16x16) reads the shape 32x16x16, but would "
        "meet 16x32x32 after block 2 (blocks.1); choose blocks of equal shape"
    )


class _Moved(Lesion):
    kind = "moved"
    text = "3 4"
    blocks = (3, 4)

    @classmethod
    def parse(cls, text: str) -> _Moved:
        return cls()

    def rewrite(self, program: Program) -> Program:
        return (*program[:2], program[3], program[2], *program[4:])


def test_members_may_be_deleted_doubled_and_made_anew() -> None:
    for lesion in (Delete((1, 2)), Duplicate((1,)), Repeat((2,), 3), Reset((1,)), Randomize((1,))):
        lesion.require(AVERAGE)


def test_every_kind_says_what_it_is() -> None:
    for name, kind in KINDS.members().items():
        assert kind.kind == name
        assert kind.summary
        assert kind.summary[0].islower()
        assert all(kind.words)
        for one in kind.settings():
            assert one.help[0].isupper()
            assert one.help.endswith(".")
            assert one.type in ("int", "float", "str", "bool")


def test_a_field_that_hides_what_every_lesion_has_is_refused() -> None:
    with pytest.raises(TypeError, match="Fewer: a field 'count' hides what every lesion has; call"):

        class Fewer(Lesion):
            count: int


@pytest.mark.parametrize(
    ("name", "member", "message"),
    [
        (
            "moved",
            3,
            "lesion 'moved' of the program is 3; expected a subclass of ensembles.lesions.Lesion",
        ),
        ("move", _Moved, "lesion 'move' of the program calls itself 'moved'; expected one name"),
        ("delete", _Moved, "lesion 'delete' is there already; choose another name"),
    ],
)
def test_what_is_no_kind_is_not_registered(name: str, member: Any, message: str) -> None:
    with pytest.raises(LesionError) as error:
        KINDS.register(name, member)
    assert str(error.value) == message
