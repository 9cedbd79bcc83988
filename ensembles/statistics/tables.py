"""What the statistics ask of the tables that they are given."""

from __future__ import annotations

import pandas as pd

from ensembles.errors import UsageError

__all__ = ["require_columns"]


def require_columns(frame: pd.DataFrame, *columns: str) -> None:
    """Refuse a table that lacks what is asked of it.

    Raises:
        UsageError: A column is missing.
    """
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise UsageError(
            f"table without the column {' and the column '.join(missing)}: expected a table of "
            "lesions, as ensembles.lesion returns or ensembles lesion --out writes it"
        )
