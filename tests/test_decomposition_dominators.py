"""Immediate dominators, against networkx on random graphs without circles."""

from __future__ import annotations

import networkx as nx
from hypothesis import given
from hypothesis import strategies as st

from ensembles.decomposition.dominators import immediate_dominators


@st.composite
def graphs(draw: st.DrawFn) -> list[list[int]]:
    """The sources of each node from 1 on; some nodes have none, so that no way leads there."""
    size = draw(st.integers(1, 25))
    return [
        draw(st.lists(st.integers(0, node - 1), max_size=4, unique=True))
        for node in range(1, size + 1)
    ]


@given(graphs())
def test_dominators_are_those_of_networkx(sources: list[list[int]]) -> None:
    graph: nx.DiGraph = nx.DiGraph()
    graph.add_node(0)
    graph.add_edges_from((a, b) for b, some in enumerate(sources, 1) for a in some)
    expected = nx.immediate_dominators(graph, 0)
    expected[0] = 0  # None in newer versions
    nodes = range(1, len(sources) + 1)
    assert immediate_dominators(0, nodes, lambda node: sources[node - 1]) == expected
