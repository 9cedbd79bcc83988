"""The additive model of joint damage, on sums that are known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ensembles.errors import UsageError
from ensembles.statistics import additive_by_size, additive_deletions


def deletions(factor: float, sets: int = 10) -> pd.DataFrame:
    """Single deletions, and pairs and triples that cost so many times the sum."""
    single = {block: 0.01 * block**2 for block in range(1, 9)}
    draw = np.random.default_rng(0)
    rows = [("none", 0, "", 0.1)]
    rows += [("delete", 1, str(block), 0.1 + rise) for block, rise in single.items()]
    for size in (2, 3):
        for _ in range(sets):
            blocks = sorted(draw.choice(8, size, replace=False) + 1)
            rise = factor * sum(single[block] for block in blocks)
            rows.append(("delete", size, " ".join(map(str, blocks)), 0.1 + rise))
    rows.append(("reorder", 2, "1-2", 0.9))
    return pd.DataFrame(rows, columns=["lesion", "count", "blocks", "error"])


def test_sums_are_found_to_be_sums() -> None:
    table = additive_deletions(deletions(1.0))
    assert table["blocks"].tolist() == ["all", "2", "3"]
    assert table["sets"].tolist() == [20, 10, 10]
    assert table["r2"].to_list() == pytest.approx([1, 1, 1])
    assert table["spearman"].to_list() == pytest.approx([1, 1, 1])
    assert table["measured"].to_list() == pytest.approx(table["predicted"].to_list())


def test_ranks_agree_where_sizes_do_not() -> None:
    table = additive_deletions(deletions(3.0))
    assert table["spearman"].to_list() == pytest.approx([1, 1, 1])
    assert table["measured"].to_list() == pytest.approx([3 * one for one in table["predicted"]])
    assert (table["r2"] < 0.5).all()


def test_sets_without_all_single_deletions_are_left_out() -> None:
    frame = deletions(1.0)
    kept = frame[frame["blocks"] != "8"]
    with_8 = frame["blocks"].str.split().apply(lambda one: "8" in one) & (frame["count"] > 1)
    row = additive_deletions(kept).iloc[0]
    assert row["sets"] == 20 - int(with_8.sum()) < 20


def test_few_sets_and_constant_rises_have_no_number() -> None:
    assert additive_deletions(deletions(1.0, sets=3)).empty
    [row, _] = additive_by_size(np.full(9, 2), np.ones(9), np.arange(9.0))
    assert (row["r2"], row["spearman"], row["low"]) == (None, None, None)
    with pytest.raises(UsageError, match="loss"):
        additive_deletions(deletions(1.0), "loss")
