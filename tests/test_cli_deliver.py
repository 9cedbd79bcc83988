"""What a command leaves where its figure fails."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
import pandas as pd
import pytest
from matplotlib.figure import Figure

from ensembles.cli.results import deliver


def test_a_figure_that_fails_does_not_cost_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = pd.DataFrame({"length": [1, 2]})
    frame.attrs["model"] = "small"

    def draw(frames: Sequence[pd.DataFrame]) -> Figure:
        raise RuntimeError("no figure today")

    with click.Context(click.Command("paths")), pytest.raises(RuntimeError, match="no figure"):
        deliver(
            [frame], None, str(tmp_path / "x.png"), False,
            draw=draw, lines=lambda frames: ["the table"], notes=["a note"],
        )  # fmt: skip
    shown = capsys.readouterr()
    assert shown.out == "the table\n"
    assert shown.err == "a note\n"
