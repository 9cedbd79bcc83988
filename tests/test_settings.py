"""Settings that several kinds share under one option arrive as the type of the chosen kind."""

from __future__ import annotations

import click
import pytest

from ensembles.cli.settings import settings_of
from ensembles.errors import UsageError


@pytest.mark.parametrize(
    ("text", "value"),
    [("no", False), ("False", False), ("0", False), ("yes", True), ("true", True), (True, True)],
)
def test_words_of_a_shared_option_become_truth_values(text: object, value: bool) -> None:
    assert settings_of("parallel", {"mean": text}) == {"mean": value}


def test_numbers_of_a_shared_option_become_numbers() -> None:
    given = {"factor": "0.5", "count": "3"}
    assert settings_of("scale", given) == {"factor": 0.5}
    assert given == {"count": "3"}  # which is no setting
    with pytest.raises(click.UsageError, match="'x' is not a valid float"):
        settings_of("scale", {"factor": "x"})


def test_a_setting_that_a_kind_has_not_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^--factor is a setting of scale; parallel takes --"):
        settings_of("parallel", {"factor": 0.5})
