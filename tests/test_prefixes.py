"""The tree of shared prefixes: every node once, nothing recomputed, nothing held in vain."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ensembles.engine.prefix_tree import plan_routes, steps_of
from ensembles.lesions import Lesion, intact, random_deletions, random_swaps, single_deletions

STEP = st.tuples(st.sampled_from(["before", "bypass", "whole"]), st.integers(1, 3))
SEQUENCES = st.lists(st.lists(STEP, max_size=6).map(tuple), min_size=1, max_size=12)


@given(SEQUENCES)
def test_a_walk_gives_each_lesion_its_own_steps(sequences):
    held = {0: ()}
    seen = {}
    for route in plan_routes(sequences):
        held = {depth: prefix for depth, prefix in held.items() if depth <= route.shared}
        if route.shared == len(route.steps) and route.shared not in held:
            assert route.steps in seen.values()  # the same lesion again: its logits are at hand
            prefix = route.steps
        else:
            prefix = held[route.shared]
        for depth in range(route.shared, len(route.steps)):
            prefix = (*prefix, route.steps[depth])
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
    assert sum(len(route.steps) - route.shared for route in routes) == len(nodes)


@given(SEQUENCES)
def test_only_depths_that_a_later_lesion_starts_from_are_held(sequences):
    routes = plan_routes(sequences)
    for i, route in enumerate(routes):
        starts = set()
        lowest = len(route.steps)
        for later in routes[i + 1 :]:
            lowest = min(lowest, later.shared)
            starts.add(lowest)
        assert route.keep == starts


def test_single_deletions_cost_half_of_the_plain_loop():
    n = 54
    sweep = [intact(), *single_deletions(n)]
    routes = plan_routes(
        [steps_of(one, n, frozenset(), frozenset(range(1, n + 1))) for one in sweep]
    )
    run = sum(len(route.steps) - route.shared for route in routes)
    assert run == n + n * (n - 1) // 2


def test_five_thousand_lesions_hold_no_more_than_the_depth_of_the_network():
    n = 54
    sweep = [
        *random_deletions(n, range(1, 21), 125, seed=1),
        *random_swaps([range(2, 19), range(20, 37)], range(1, 11), 250, seed=2),
    ]
    assert len(sweep) == 5000
    routes = plan_routes([steps_of(one, n, frozenset(), frozenset()) for one in sweep])
    assert max(len(route.keep) for route in routes) <= n


def test_what_stands_between_blocks_keeps_its_place():
    swapped = Lesion("reorder", swaps=((1, 3),))
    assert steps_of(swapped, 3, frozenset({2}), frozenset()) == (
        ("whole", 3), ("before", 2), ("whole", 2), ("whole", 1),
    )  # fmt: skip


def test_a_deleted_block_that_leaves_nothing_takes_no_step():
    assert steps_of(Lesion("delete", (2,)), 3, frozenset(), frozenset({2})) == (
        ("whole", 1), ("whole", 3),
    )  # fmt: skip
