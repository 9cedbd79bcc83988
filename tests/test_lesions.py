from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau

from ensembles.errors import LesionError
from ensembles.lesions import (
    KINDS,
    Bypass,
    Choice,
    Form,
    Lesion,
    Reorder,
    Run,
    Structure,
    exchangeable,
    intact,
    parse_lesion,
    random_deletions,
    random_duplications,
    random_swaps,
    read_plan,
    single_deletions,
)
from ensembles.lesions.structure import Shape

N = 54
WIDE, NARROW = (16, 32, 32), (32, 16, 16)
SHAPES = [(WIDE, WIDE), (WIDE, WIDE), (WIDE, NARROW), (NARROW, NARROW), (NARROW, NARROW)]


def structure_of(shapes: Sequence[tuple[Shape, Shape]], transitions: Collection[int]) -> Structure:
    return Structure(
        tuple(
            Form(index, f"blocks.{index - 1}", "residual", a, b, transition=index in transitions)
            for index, (a, b) in enumerate(shapes, start=1)
        )
    )


FIVE = structure_of(SHAPES, [3])


@st.composite
def lesions(draw: st.DrawFn, n: int = N) -> Lesion:
    block = st.integers(1, n)
    kind = draw(st.sampled_from(["none", "delete", "reorder", "duplicate"]))
    if kind == "none":
        return intact()
    if kind == "reorder":
        pair = st.tuples(block, block).filter(lambda swap: swap[0] != swap[1])
        return Lesion("reorder", swaps=tuple(draw(st.lists(pair, min_size=1, max_size=10))))
    return Lesion(kind, tuple(draw(st.sets(block, min_size=1))))


def message(match: str) -> str:
    return f"^{re.escape(match)}$"


def test_programs_by_hand() -> None:
    one, two, three = Run(1), Run(2), Run(3)
    assert intact().program(3) == ((one,), (two,), (three,))
    assert Lesion("delete", (3, 1)).program(3) == ((Bypass(1),), (two,), (Bypass(3),))
    assert Lesion("duplicate", (2,)).program(3) == ((one,), (two, two), (three,))
    assert Lesion("reorder", swaps=((1, 3),)).program(3) == ((three,), (two,), (one,))
    repeated = Lesion("reorder", swaps=((1, 2), (2, 3)))
    assert repeated.order(3) == (2, 3, 1)
    assert repeated.kendall_tau(3) == pytest.approx(-1 / 3)
    assert Lesion("reorder", swaps=((1, 2), (2, 1))).kendall_tau(3) == pytest.approx(1)


@given(lesions())
def test_tau_against_scipy(lesion: Lesion) -> None:
    order = lesion.order(N)
    if order is not None:
        assert lesion.kind in ("none", "reorder")
        expected = kendalltau(range(N), order).statistic
        assert lesion.kendall_tau(N) == pytest.approx(expected, abs=1e-12)
    else:
        assert math.isnan(lesion.kendall_tau(N))


def test_text_count_and_tau() -> None:
    assert Lesion("delete", (17, 3)).text == "3 17"
    assert Lesion("delete", (17, 3)).count == 2
    assert Lesion("reorder", swaps=((3, 17), (20, 25))).text == "3-17 20-25"
    assert (intact().text, intact().count, intact().kendall_tau(N)) == ("", 0, 1.0)
    assert math.isnan(Lesion("delete", (1,)).kendall_tau(N))


@given(lesions())
def test_text_reads_back_and_programs_visit_every_block(lesion: Lesion) -> None:
    assert parse_lesion(lesion.kind, lesion.text) == lesion
    assert hash(lesion) == hash(parse_lesion(lesion.kind, lesion.text))
    program = lesion.program(N)
    assert len(program) == N
    assert sorted({step.block for steps in program for step in steps}) == list(range(1, N + 1))
    extra = lesion.count if lesion.kind == "duplicate" else 0
    assert sum(map(len, program)) == N + extra


@pytest.mark.parametrize(
    ("build", "error"),
    [
        (lambda: Lesion("delete", (3, 3)), "delete: block 3 is named twice; name each block once"),
        (lambda: Lesion("delete", (0,)), "block 0: blocks are numbered from 1"),
        (lambda: Lesion("delete"), "lesion 'delete' needs one block or more, no swaps"),
        (lambda: Lesion("none", (1,)), "lesion 'none' names no blocks"),
        (
            lambda: Lesion("reorder", swaps=((4, 4),)),
            "swap 4-4 exchanges a block with itself: name two blocks",
        ),
        (
            lambda: Lesion("reorder", (4,)),
            "lesion 'reorder' needs one swap or more, such as 3-17, and no other blocks",
        ),
        (
            lambda: parse_lesion("delet", "4"),
            f"lesion 'delet' is unknown; expected {', '.join(KINDS.names())}; "
            "did you mean delete or reset?",
        ),
        (lambda: Lesion("delete", (55,)).program(N), "block 55: the network has blocks 1 to 54"),
        (
            lambda: Lesion("reorder", swaps=((2, 55),)).kendall_tau(N),
            "block 55: the network has blocks 1 to 54",
        ),
        (lambda: single_deletions(3, skip=[4]), "block 4: the network has blocks 1 to 3"),
        (lambda: single_deletions(2, skip=[1, 2]), "no blocks left: all 2 are skipped"),
        (lambda: random_deletions(3, [4], 1), "count 4: the network has 3 blocks"),
        (
            lambda: random_duplications(3, [3], 1, skip=[2]),
            "count 3: the network has 3 blocks, of which 2 may be chosen",
        ),
        (lambda: random_deletions(3, [0], 1), "count 0: expected 1 or more"),
        (lambda: random_deletions(3, [1], 0), "trials 0: expected 1 or more"),
        (
            lambda: random_swaps([[1], [2]], [1], 1),
            "no two blocks can change places: reorder needs two blocks of equal shape that are "
            "no transitions",
        ),
    ],
)
def test_errors(build: Callable[[], object], error: str) -> None:
    with pytest.raises(LesionError, match=message(error)):
        build()


def test_single_deletions_skip() -> None:
    assert single_deletions(4, skip={3}) == [Lesion("delete", (b,)) for b in (1, 2, 4)]


def test_random_draws_are_the_same_everywhere() -> None:
    deletions = random_deletions(N, [3], 2, seed=0)
    assert [lesion.text for lesion in deletions] == ["14 32 52", "12 49 53"]
    assert [(lesion.trial, lesion.seed) for lesion in deletions] == [(0, 0), (1, 0)]
    swaps = random_swaps([(2, 3, 4), (6, 7)], [3], 2, seed=0)
    assert [lesion.text for lesion in swaps] == ["6-7 6-7 2-4", "3-4 6-7 6-7"]


@given(st.integers(0, 10), st.integers(1, 8), st.integers(1, 5))
def test_a_draw_depends_on_nothing_else_that_is_asked_for(
    seed: int, count: int, trial: int
) -> None:
    alone = random_deletions(N, [count], trial, seed)[-1]
    assert alone in random_deletions(N, range(1, 9), 5, seed)
    groups = [range(2, 19), range(20, 37)]
    assert random_swaps(groups, [count], trial, seed)[-1] in random_swaps(
        groups, [9, count], 5, seed
    )


def test_random_sets_are_uniform() -> None:
    drawn = [lesion.blocks for lesion in random_deletions(5, [2], 4000)]
    counts = [drawn.count((a, b)) for a in range(1, 6) for b in range(a + 1, 6)]
    assert sum(counts) == 4000
    assert sum((count - 400) ** 2 / 400 for count in counts) < 27.9  # chi squared, 9 df, p = 0.001


def test_all_blocks_of_a_pool_can_be_drawn() -> None:
    (lesion,) = random_deletions(6, [4], 1, skip=[2, 3])
    assert lesion.blocks == (1, 4, 5, 6)


def test_exchangeable_groups() -> None:
    assert exchangeable(SHAPES, transitions=[3]) == ((1, 2), (4, 5))
    assert exchangeable(SHAPES, transitions=[1, 3, 4]) == ()


def test_check_shapes() -> None:
    for lesion in (
        intact(),
        Lesion("delete", (3,)),
        Lesion("duplicate", (1, 5)),
        Lesion("reorder", swaps=((4, 5), (1, 2))),
    ):
        lesion.require(FIVE)
    with pytest.raises(
        LesionError,
        match=message(
            "swap 1-4: block 1 maps 16x32x32 to 16x32x32, block 4 32x16x16 to 32x16x16; "
            "reorder exchanges blocks of equal shape"
        ),
    ):
        Lesion("reorder", swaps=((1, 4),)).require(FIVE)
    with pytest.raises(
        LesionError,
        match=message(
            "swap 2-3: block 3 is a transition (16x32x32 to 32x16x16); "
            "reorder exchanges blocks that are none"
        ),
    ):
        Lesion("reorder", swaps=((2, 3),)).require(FIVE)
    with pytest.raises(LesionError, match="duplicate of block 3: it maps 16x32x32 to 32x16x16"):
        Lesion("duplicate", (3,)).require(FIVE)
    with pytest.raises(LesionError, match="block 6: the network has blocks 1 to 5"):
        Lesion("delete", (6,)).require(FIVE)


@given(lesions(5))
def test_swaps_within_groups_pass_the_check(lesion: Lesion) -> None:
    groups = [{1, 2}, {4, 5}]
    swaps = lesion.swaps if isinstance(lesion, Reorder) else ()
    allowed = all(set(pair) in groups for pair in swaps)
    allowed = allowed and not (lesion.kind == "duplicate" and 3 in lesion.blocks)
    if allowed:
        lesion.require(FIVE)
    else:
        with pytest.raises(LesionError):
            lesion.require(FIVE)


PLAN = "lesion,blocks,note\nnone,,x\ndelete,17 3,y\nreorder,3-17 20-25,\nduplicate,4,\n"


def test_plan(tmp_path: Path) -> None:
    expected = [
        intact(),
        Lesion("delete", (3, 17)),
        Lesion("reorder", swaps=((3, 17), (20, 25))),
        Lesion("duplicate", (4,)),
    ]
    assert read_plan(io.StringIO(PLAN)) == expected
    path = tmp_path / "plan.csv"
    path.write_text("\ufeff" + PLAN, encoding="utf-8")
    assert read_plan(path) == expected


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            "lesion,blocks\ndelete,3\ndelete,3 x\n",
            "plan p.csv, line 3: blocks 'x': delete expects block numbers such as 3 17",
        ),
        (
            "lesion,blocks\nreorder,3\n",
            "plan p.csv, line 2: blocks '3': reorder expects swaps such as 3-17 20-25",
        ),
        (
            "lesion,blocks\ndelete,55\n",
            "plan p.csv, line 2: block 55: the network has blocks 1 to 54",
        ),
        (
            "lesion,blocks\ndelete,5 5\n",
            "plan p.csv, line 2: delete: block 5 is named twice; name each block once",
        ),
        (
            "lesion,blocks\nshove,5\n",
            "plan p.csv, line 2: lesion 'shove' is unknown; expected " + ", ".join(KINDS.names()),
        ),
        (
            "lesion,blocks\ndelete\n",
            "plan p.csv, line 2: lesion 'delete' needs one block or more",
        ),
        (
            "lesion,block\ndelete,5\n",
            "plan p.csv: no column blocks among lesion, block; expected lesion,blocks",
        ),
        (
            "",
            "plan p.csv: no column lesion and no column blocks among none; expected lesion,blocks",
        ),
        ("lesion,blocks\n", "plan p.csv: no lesions below the header lesion,blocks"),
    ],
)
def test_plan_errors(
    text: str, error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("p.csv").write_text(text, encoding="utf-8")
    with pytest.raises(LesionError, match=message(error)):
        read_plan("p.csv", structure_of([(WIDE, WIDE)] * N, []))


def test_plan_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "plan.csv"
    path.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(LesionError, match="it is no text file"):
        read_plan(path)
    with pytest.raises(LesionError, match=r"absent.csv: cannot be read \(No such file"):
        read_plan(tmp_path / "absent.csv")


@pytest.mark.assets
def test_published_plan_reproduces_the_published_tau(assets: Path) -> None:
    path = assets / "reference" / "veit2016_lesions_preact_resnet110_cifar10.csv"
    plan = read_plan(path)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(plan) == len(rows) == 4647
    groups = [{*range(2, 19)}, {*range(20, 37)}, {*range(38, 55)}]
    shapes = [((g,), (g,)) for g in (1, 2, 3) for _ in range(18)]
    structure = structure_of(shapes, {1, 19, 37})
    assert structure.stages == tuple(tuple(sorted(group)) for group in groups)
    for lesion, row in zip(plan, rows, strict=True):
        assert lesion.count == int(row["count"])
        lesion.check(structure)
        tau = lesion.kendall_tau(N)
        if row["kendall_tau"]:
            assert tau == pytest.approx(float(row["kendall_tau"]), abs=1e-5)
        else:
            assert math.isnan(tau)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (Choice(blocks=(3,), skip_transitions=True), "no blocks left: all 1 are skipped"),
        (
            Choice("duplicate", blocks=(3,)),
            "duplicate of block 3: it maps 16x32x32 to 32x16x16 and so cannot run twice in a row; "
            "name blocks that keep the shape",
        ),
    ],
)
def test_a_choice_that_leaves_no_lesion(choice: Choice, message: str) -> None:
    with pytest.raises(LesionError) as error:
        choice.lesions(FIVE)
    assert str(error.value) == message


def test_a_plan_stands_alone() -> None:
    plan = (Lesion("delete", (3,)),)
    assert Choice(plan=plan, seed=3).lesions(FIVE) == [intact(), *plan]
    with pytest.raises(LesionError) as error:
        Choice("reorder", trials=2, plan=plan)
    assert str(error.value) == (
        "a plan names all lesions, found kind, trials beside it; leave out one or the other"
    )
