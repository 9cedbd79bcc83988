"""The tree of shared prefixes: every node once, nothing recomputed, nothing held in vain."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ensembles.engine.prefix_tree import flat_keys, passage_key, plan_routes
from ensembles.lesions import (
    Delete,
    Drop,
    Parallel,
    Reorder,
    Scale,
    intact,
    random_deletions,
    random_swaps,
    single_deletions,
)

STEP = st.tuples(st.sampled_from(["before", "bypass", "run"]), st.integers(1, 3))
SEQUENCES = st.lists(st.lists(STEP, max_size=6).map(tuple), min_size=1, max_size=12)


@given(SEQUENCES)
def test_a_walk_gives_each_lesion_its_own_steps(sequences):
    held = {0: ()}
    seen = {}
    for route in plan_routes(sequences):
        held = {depth: prefix for depth, prefix in held.items() if depth <= route.shared}
        if route.shared == len(route.keys) and route.shared not in held:
            assert route.keys in seen.values()  # the same lesion again: its logits are at hand
            prefix = route.keys
        else:
            prefix = held[route.shared]
        for depth in range(route.shared, len(route.keys)):
            prefix = (*prefix, route.keys[depth])
            if depth + 1 in route.keep:
                held[depth + 1] = prefix
        if route.shared not in route.keep:
            held.pop(route.shared, None)
        assert prefix == sequences[route.lesion]
        seen[route.lesion] = prefix
    assert sorted(seen) == list(range(len(sequences)))


@given(SEQUENCES)
def test_each_node_of_the_tree_is_run_once(sequences):
    nodes = {steps[:depth] for steps in sequences for depth in range(1, len(steps) + 1)}
    routes = plan_routes(sequences)
    assert sum(len(route.keys) - route.shared for route in routes) == len(nodes)


@given(SEQUENCES)
def test_only_depths_that_a_later_lesion_starts_from_are_held(sequences):
    routes = plan_routes(sequences)
    for i, route in enumerate(routes):
        starts = set()
        lowest = len(route.keys)
        for later in routes[i + 1 :]:
            lowest = min(lowest, later.shared)
            starts.add(lowest)
        assert route.keep == starts


def test_single_deletions_cost_half_of_the_plain_loop():
    n = 54
    sweep = [intact(), *single_deletions(n)]
    routes = plan_routes(
        [flat_keys(one.program(n), frozenset(), frozenset(range(1, n + 1))) for one in sweep]
    )
    run = sum(len(route.keys) - route.shared for route in routes)
    assert run == n + n * (n - 1) // 2


def test_five_thousand_lesions_hold_no_more_than_the_depth_of_the_network():
    n = 54
    sweep = [
        *random_deletions(n, range(1, 21), 125, seed=1),
        *random_swaps([range(2, 19), range(20, 37)], range(1, 11), 250, seed=2),
    ]
    assert len(sweep) == 5000
    routes = plan_routes([flat_keys(one.program(n), frozenset(), frozenset()) for one in sweep])
    assert max(len(route.keep) for route in routes) <= n


def test_what_stands_between_blocks_keeps_its_place():
    program = Reorder(((1, 3),)).program(3)
    assert flat_keys(program, frozenset({2}), frozenset()) == (
        ("run", 3), passage_key(2), ("run", 2), ("run", 1),
    )  # fmt: skip


def test_a_deleted_block_that_leaves_nothing_takes_no_step():
    program = Delete((2,)).program(3)
    assert flat_keys(program, frozenset(), frozenset({2})) == (("run", 1), ("run", 3))


def test_the_walk_goes_as_in_version_1():
    """Of steps at one place: passages first, then blocks without branches, and whole blocks."""
    n = 3
    sweep = [intact(), Delete((1,)), Drop(((1, 1),)), Scale((1,), 0.5), Delete((2,)), Delete((3,))]
    programs = [one.program(n) for one in [*sweep, Parallel((1, 2))]]
    routes = plan_routes([flat_keys(one, frozenset({3}), frozenset({1, 2, 3})) for one in programs])
    assert [route.lesion for route in routes] == [6, 2, 4, 5, 0, 1, 3]
