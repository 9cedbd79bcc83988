"""The text of a lesion is its whole identity: it reads back, and nothing else does."""

from __future__ import annotations

import copy
import math
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lesion_values import any_lesions, single_lesions
from own_tests import without_own_test

from ensembles.errors import LesionError
from ensembles.lesions import (
    KINDS,
    Delete,
    Draw,
    Intact,
    Lesion,
    MeanBranch,
    Noise,
    Parallel,
    Randomize,
    Recalibrated,
    Reorder,
    Repeat,
    Replace,
    Reverse,
    Scale,
    Shuffle,
    Then,
    Transplant,
    parse_lesion,
)

TEXTS = [
    (Intact(), "none", ""),
    (Delete((17, 3)), "delete", "3 17"),
    (Reorder(((3, 17), (20, 25))), "reorder", "3-17 20-25"),
    (Lesion("drop", roads=((3, 2),)), "drop", "3.2"),
    (Lesion("duplicate", (4,)), "duplicate", "4"),
    (Scale((4,), 0.5), "scale", "4 x0.5"),
    (Scale((4, 3), 1e-7), "scale", "3 4 x1e-07"),
    (Scale((4,), -0.0), "scale", "4 x0.0"),
    (Noise((4,), 0.1, seed=3), "noise", "4 s0.1 seed3"),
    (MeanBranch((4,)), "mean", "4"),
    (MeanBranch((4,), 256), "mean", "4 on 256 of train"),
    (MeanBranch((4,), 1000, "val"), "mean", "4 on 1000 of val"),
    (Lesion("reset", (4,)), "reset", "4"),
    (Randomize((4,), seed=3), "randomize", "4 seed3"),
    (Randomize((4,), seed=3, how="permute"), "randomize", "4 seed3 permute"),
    (Replace(5, by=6), "replace", "5<-6"),
    (Replace((7, 5), by=(8, 6)), "replace", "5<-6 7<-8"),
    (Repeat((4,), 3), "repeat", "4 x3"),
    (Repeat((4, 7), 2), "repeat", "4-7 x2"),
    (Repeat((4, 4), 2), "repeat", "4 x2"),
    (Reverse((10, 20)), "reverse", "10-20"),
    (Shuffle((10, 20), seed=3), "shuffle", "10-20 seed3"),
    (Parallel((7, 8)), "parallel", "7 8"),
    (Parallel((7,)), "parallel", "7"),
    (Parallel(tuple(range(10, 21)), mean=True, loops=3), "parallel", "10-20 mean x3"),
    (Transplant((4,), "NAME of  it.pt"), "transplant", "4 from NAME of  it.pt"),
    (Delete((3,)).then(Scale((5,), 0.5)), "then", "delete 3 then scale 5 x0.5"),
    (Delete((3,)).recalibrated(), "recalibrated", "delete 3 | 8x128"),
    (Intact().recalibrated(2, 16), "recalibrated", "none | 2x16"),
    (
        Delete((3,)).then(Transplant((4,), "a | 1x1")).recalibrated(),
        "recalibrated",
        "delete 3 then transplant 4 from a | 1x1 | 8x128",
    ),
]


@pytest.mark.parametrize(("lesion", "kind", "text"), TEXTS, ids=lambda one: str(one)[:40])
def test_how_lesions_are_written(lesion: Lesion, kind: str, text: str) -> None:
    assert (lesion.kind, lesion.text) == (kind, text)
    assert parse_lesion(kind, text) == lesion


def test_every_kind_is_among_them() -> None:
    written = {kind for _, kind, _ in TEXTS}
    assert without_own_test("lesion", KINDS.names()) <= written <= set(KINDS.names())


@settings(max_examples=100)
@given(any_lesions())
def test_a_text_is_the_whole_identity(lesion: Lesion) -> None:
    read = parse_lesion(lesion.kind, lesion.text)
    assert type(read) is type(lesion)
    assert read == lesion
    assert hash(read) == hash(lesion)
    assert read.text == lesion.text
    assert pickle.loads(pickle.dumps(lesion)) == copy.deepcopy(lesion) == lesion
    assert lesion.text == " ".join(lesion.text.split(" "))
    assert lesion.text.isprintable()
    assert lesion.text.strip() == lesion.text


@settings(max_examples=100)
@given(any_lesions(12), any_lesions(12))
def test_lesions_are_equal_where_their_texts_are(one: Lesion, other: Lesion) -> None:
    assert (one == other) == ((one.kind, one.text) == (other.kind, other.text))


@given(any_lesions(), st.integers(0, 9), st.integers(-5, 2**70))
def test_a_draw_is_no_part_of_a_lesion(lesion: Lesion, trial: int, seed: int) -> None:
    drawn = lesion.drawn(trial, seed)
    assert drawn == lesion
    assert hash(drawn) == hash(lesion)
    assert drawn.draw == Draw(trial, seed)
    assert (drawn.trial, drawn.text) == (trial, lesion.text)
    assert drawn.bare().draw is None
    assert parse_lesion(drawn.kind, drawn.text, (trial, seed)).draw == drawn.draw


@given(any_lesions())
def test_names_of_blocks_are_sorted_and_named_once(lesion: Lesion) -> None:
    assert list(lesion.blocks) == sorted(set(lesion.blocks))
    names = [f"m{number}" for number in range(1, 55)]
    described = lesion.described(names)
    assert all(1 <= int(found) <= 54 for found in re.findall(r"m(\d+)", described))
    assert bool(described) == bool(lesion.blocks)


@given(st.lists(single_lesions(), min_size=2, max_size=4))
def test_chains_are_flat_and_leave_the_intact_network_out(lesions: list[Lesion]) -> None:
    left, right = lesions[0], lesions[-1]
    for lesion in lesions[1:]:
        left = left.then(lesion)
    for lesion in reversed(lesions[:-1]):
        right = lesion.then(right)
    assert left == right
    meant = [lesion for lesion in lesions if lesion != Intact()]
    if len(meant) > 1:
        assert left == Then(tuple(meant))
        assert left.text == " then ".join(map(str, meant))
    else:
        assert left == (meant or [Intact()])[0]


def test_texts_of_users_hands() -> None:
    assert parse_lesion("delete", " 17\t3 ") == Delete((3, 17))
    assert parse_lesion("replace", "5 <- 6  7<-8") == Replace((5, 7), (6, 8))
    assert parse_lesion("scale", "4 x.5") == Scale((4,), 0.5)
    assert parse_lesion("scale", "4 x2") == Scale((4,), 2.0)
    assert parse_lesion("noise", "4 s1e-3") == Noise((4,), 0.001)
    assert parse_lesion("randomize", "4 permute") == Randomize((4,), how="permute")
    assert parse_lesion("parallel", "7-8") == Parallel((7, 8))
    assert parse_lesion("parallel", "7 8 9") == Parallel((7, 8, 9))
    assert parse_lesion("repeat", "4") == Repeat((4,))
    assert parse_lesion("mean", "4  on 5 of  val") == MeanBranch((4,), 5, "val")
    assert parse_lesion("recalibrated", "delete  3|2x4") == Delete((3,)).recalibrated(2, 4)
    assert parse_lesion("then", "delete 3  then  none then delete 4") == Delete((3,)).then(
        Delete((4,))
    )


def test_values_of_other_types() -> None:
    assert Delete(np.array([17, 3])) == Delete((3, 17)) == Delete([3, 17]) == Delete({3, 17})
    assert Delete(np.array([3])).text == "3"
    assert Scale((4,), np.float64(0.5)).text == "4 x0.5"
    assert Scale(4, 2).text == "4 x2.0"
    assert Delete(3) == Delete((3,))
    assert Parallel(range(7, 9)) == Parallel((7, 8))
    assert Repeat(4, 3) == Repeat((4,), 3)
    assert Reverse([10, 20]) == Reverse((10, 20))
    assert Reorder([[3, 17]]) == Reorder(((3, 17),))
    assert Transplant((4,), Path("a") / "b.pt").text == "4 from a/b.pt"


def test_lesions_of_version_1() -> None:
    assert Lesion("delete", (3, 17)) == Delete((3, 17))
    assert Lesion("reorder", swaps=((3, 17),)) == Reorder(((3, 17),))
    assert Lesion("none") == Intact()
    drawn = Lesion("delete", (3,), trial=2, seed=7)
    assert (drawn.trial, drawn.seed, drawn.draw) == (2, 7, Draw(2, 7))
    assert (Delete((3,)).trial, Delete((3,)).seed) == (None, None)
    assert isinstance(drawn, Lesion)
    assert Lesion("scale", (4,)) == Scale((4,), 0.5)


MANY = "delete expects block numbers such as 3 17"


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("delete", "3 x", f"blocks 'x': {MANY}"),
        ("delete", "3.0", f"blocks '3.0': {MANY}"),
        ("delete", "-3", f"blocks '-3': {MANY}"),
        ("delete", "٣", f"blocks '٣': {MANY}"),
        ("delete", "", "lesion 'delete' needs one block or more"),
        ("delete", "3 3", "delete: block 3 is named twice; name each block once"),
        ("none", "3", "blocks '3': none names no blocks"),
        ("reorder", "3", "blocks '3': reorder expects swaps such as 3-17 20-25"),
        ("drop", "3", "blocks '3': drop expects branches such as 3.2 5.1"),
        ("scale", "4 0.5", "blocks '0.5': scale expects blocks and a factor such as 4 x0.5"),
        ("scale", "4 xnan", "blocks 'xnan': scale expects blocks and a factor such as 4 x0.5"),
        ("scale", "4 x1 x2", "blocks 'x2': scale expects blocks and a factor such as 4 x0.5"),
        ("scale", "4 x1e999", "scale: factor inf: expected a finite number"),
        (
            "noise",
            "4 seed3 s0.1",
            "blocks 's0.1': noise expects blocks, a strength and a seed such as 4 s0.1 seed3",
        ),
        ("noise", "4 s0 seed3", "noise: strength 0.0: expected a number above 0"),
        ("noise", "4 seed9999999999999999999", "noise: seed 9999999999999999999: expected at most"),
        (
            "mean",
            "4 on 5",
            "blocks 'on 5': mean expects blocks, and a reference such as 4 on 256 of train",
        ),
        ("mean", "4 on 0 of x", "mean: reference size 0: expected 1 or more"),
        (
            "randomize",
            "4 anew",
            "blocks 'anew': randomize expects blocks and a seed such as 4 seed3, or 4 seed3 "
            "permute",
        ),
        ("replace", "5", "blocks '5': replace expects places and blocks such as 5<-6"),
        ("replace", "5<-0", "block 0: blocks are numbered from 1"),
        ("repeat", "x3", "blocks 'x3': repeat expects a block or a span, such as 4 x3 or 4-7 x2"),
        ("repeat", "4 x1", "repeat: times 1: expected 2 or more"),
        ("repeat", "7-4 x2", "repeat of 7-4: the span ends before it begins"),
        ("reverse", "10", "blocks '10': reverse expects a span such as 10-20"),
        ("reverse", "10-10", "reverse of 10-10: a span of one block stays as it is; name two or"),
        ("reverse", "0-3", "block 0: blocks are numbered from 1"),
        ("shuffle", "10-20 3", "blocks '3': shuffle expects a span and a seed such as 10-20 seed3"),
        ("parallel", "7 9", "parallel of 7 9: expected neighbours; name all blocks of a span"),
        ("parallel", "9-7", "parallel of 9-7: the span ends before it begins"),
        ("parallel", "7 8 x0", "parallel: loops 0: expected 1 or more"),
        (
            "parallel",
            "7 8 sum",
            "blocks 'sum': parallel expects neighbours such as 7 8, or a span such as 10-20 "
            "mean x3",
        ),
        (
            "transplant",
            "4",
            "blocks '4': transplant expects blocks and a checkpoint such as 4 from",
        ),
        ("transplant", "4 from", "blocks '4 from': transplant expects blocks and a checkpoint"),
        ("then", "delete 3", "lesion 'then' needs two lesions or more, one after the other"),
        ("then", "delete 3 then none", "lesion 'then' needs two lesions or more"),
        ("then", "delete 3 then scal 4 x1", "lesion 'scal' is unknown; expected none, delete"),
        (
            "recalibrated",
            "delete 3",
            "blocks 'delete 3': recalibrated expects a lesion, batches and their size, such as "
            "delete 3 | 8x128",
        ),
        ("recalibrated", "delete 3 | 0x128", "recalibrated: batches 0: expected 1 or more"),
        (
            "recalibrated",
            "recalibrated delete 3 | 1x1 | 8x128",
            "recalibrated: recalibrated delete 3 | 1x1 is recalibrated already; once is enough",
        ),
        ("scales", "4 x1", "did you mean scale?"),
        ("shufle", "10-20", "did you mean shuffle?"),
    ],
)
def test_texts_that_are_none(kind: str, text: str, message: str) -> None:
    with pytest.raises(LesionError) as error:
        parse_lesion(kind, text)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Delete("3"), "delete of '3': expected numbers of blocks, such as (3, 17)"),
        (lambda: Delete(None), "delete of None: expected numbers of blocks, such as (3, 17)"),
        (lambda: Delete((1.5,)), "delete: block 1.5: expected a whole number"),
        (lambda: Delete((True,)), "delete: block True: expected a whole number"),
        (lambda: Scale((4,), "0.5"), "scale: factor '0.5': expected a finite number"),
        (lambda: Scale((4,), math.nan), "scale: factor nan: expected a finite number"),
        (lambda: Noise((4,), -0.1), "noise: strength -0.1: expected a number above 0"),
        (lambda: Noise((4,), seed=-1), "noise: seed -1: expected 0 or more"),
        (lambda: MeanBranch((4,), 5, "a b"), "mean: reference split 'a b': expected a name such"),
        (lambda: Randomize((4,), how="zero"), "randomize: how 'zero'; expected init or permute"),
        (lambda: Replace(5), "replace of 5: expected the block whose branch comes in place, such"),
        (
            lambda: Replace((5, 6), 7),
            "replace: 2 places and 1 blocks; name one block for each place",
        ),
        (lambda: Replace((5, 5), (6, 7)), "replace: block 5 is named twice; name each block once"),
        (lambda: Reverse(10), "reverse of 10: expected both ends of a span, such as (10, 20)"),
        (lambda: Reverse((1, 2, 3)), "reverse of (1, 2, 3): expected both ends of a span"),
        (lambda: Repeat((4,), 2.5), "repeat: times 2.5: expected a whole number"),
        (lambda: Parallel((7, 8), mean="yes"), "parallel: mean 'yes'; expected True or False"),
        (lambda: Parallel(()), "lesion 'parallel' needs one block or more"),
        (lambda: Reorder((3, 4)), "swaps (3, 4): expected pairs such as ((3, 17),)"),
        (lambda: Reorder(((0, 4),)), "block 0: blocks are numbered from 1"),
        (lambda: Lesion("drop", roads=((3, 0),)), "branch 0: expected 1 or more"),
        (
            lambda: Transplant((4,), object()),
            "transplant: source object; expected a name, and the network itself as "
            "sources={name: network}",
        ),
        (lambda: Transplant((4,), " a"), "transplant: source ' a'; expected a name in one line"),
        (lambda: Transplant((4,), "a\nb"), r"transplant: source 'a\nb'; expected a name in one"),
        (
            lambda: Transplant((4,), "now then x"),
            "transplant: source 'now then x' holds the word that joins lesions; rename the file",
        ),
        (
            lambda: Delete((3,)).recalibrated().then(Delete((4,))),
            "then: recalibrated delete 3 | 8x128 is recalibrated; recalibrate the chain as a "
            "whole, "
            "as in a.then(b).recalibrated()",
        ),
        (lambda: Delete((3,)).then("delete 4"), "then: 'delete 4'; expected lesions"),
        (lambda: Then((Delete((3,)),)), "lesion 'then' needs two lesions or more"),
        (lambda: Repeat((3,), 10**9), "repeat: times 1000000000: expected at most 10000"),
        (lambda: Recalibrated(Delete((3,)), 8, 0), "recalibrated: batch size 0: expected 1 or"),
        (lambda: Recalibrated("delete 3"), "recalibrated: 'delete 3'; expected a lesion"),
        (lambda: Lesion("reset"), "lesion 'reset' needs one block or more, no swaps"),
        (lambda: Lesion("none", (1,)), "lesion 'none' names no blocks"),
    ],
)
def test_values_that_are_none(make: Callable[[], object], message: str) -> None:
    with pytest.raises(LesionError) as error:
        make()
    assert message in str(error.value)
