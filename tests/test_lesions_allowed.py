"""What a network allows of each kind of lesion, and what a kind has to be."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from lesion_values import (
    FIVE,
    NARROW,
    WIDE,
    single_lesions,
    stage,
    structure_of,
)

from ensembles.errors import LesionError
from ensembles.lesions import (
    KINDS,
    Beside,
    Delete,
    Drop,
    Duplicate,
    Form,
    Lesion,
    MeanBranch,
    Noise,
    Parallel,
    Program,
    Randomize,
    Recalibrated,
    Reorder,
    Repeat,
    Replace,
    Reset,
    Reverse,
    Scale,
    Shuffle,
    Structure,
)

N = 12


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
