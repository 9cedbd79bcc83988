"""Lesions held against the intact network, image by image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from ensembles.errors import UsageError
from ensembles.statistics.shares import paired_difference
from ensembles.statistics.significance import holm, mcnemar
from ensembles.tables.schema import WHOLE

if TYPE_CHECKING:
    from ensembles.lesions import Lesion

__all__ = ["correct_by_image", "network_tests", "paired_tests"]


def correct_by_image(
    labels: ArrayLike, predictions: Mapping[Lesion, NDArray[np.int32]]
) -> pd.DataFrame:
    """Say of each image and lesion whether the prediction was right.

    Args:
        labels: Class number of each image, (images,).
        predictions: For each lesion the predicted class numbers, (images,); a negative one, where
            logits were not finite, is wrong. As ``Store.labels`` and ``Store.predictions`` give
            them.

    Returns:
        Truth values: a row an image, a column a lesion, named by the pair of its ``lesion`` and
        ``blocks`` as in tables of results (``("none", "")``, ``("delete", "3 17")``).

    Raises:
        UsageError: A lesion has predictions for another number of images.
    """
    truth = np.asarray(labels)
    for lesion, predicted in predictions.items():
        if np.shape(predicted) != truth.shape:
            raise UsageError(
                f"{lesion.kind} {lesion.text}: {len(predicted)} predictions, {len(truth)} labels; "
                "expected one prediction an image"
            )
    names = [(lesion.kind, lesion.text) for lesion in predictions]
    columns = pd.MultiIndex.from_tuples(names, names=["lesion", "blocks"])
    right = [np.asarray(predicted) == truth for predicted in predictions.values()]
    cells = np.stack(right, axis=1) if right else np.empty((len(truth), 0), bool)
    return pd.DataFrame(cells, columns=columns)


def paired_tests(correct: pd.DataFrame, confidence: float = 0.95) -> pd.DataFrame:
    """Test for each lesion whether it changes the error: McNemar's test against the intact network.

    Only the images count on which the two differ: ``b`` that the intact network alone gets right,
    ``c`` that the lesioned one alone gets right. Without an effect, b is binomial(b + c, 1/2).
    Below 25 such images the test is exact, ``min(1, 2 P(X <= min(b, c)))``; from there on
    ``(|b - c| - 1)^2 / (b + c)`` is held against chi-squared with one degree of freedom.

    The interval for the difference of the errors, ``(b - c) / n``, is built from Wilson's intervals
    of both errors and their correlation (Newcombe's method 10).

    Args:
        correct: As :func:`correct_by_image` gives it, with the column ``("none", "")``.
        confidence: Level of confidence of the interval.

    Returns:
        One row for each lesion: ``lesion``, ``blocks``, ``only_intact`` (b), ``only_lesioned`` (c),
        ``difference`` (error of the lesioned network less that of the intact one), ``low``,
        ``high``, ``p_value``, ``p_holm`` (adjusted for the number of lesions: Holm's step-down,
        valid however the lesions depend on each other) and ``test`` (``exact`` or
        ``chi-squared``).

    Raises:
        UsageError: The intact network is missing, or there are no images.

    Source:
        Q. McNemar, Psychometrika 12 (1947); A. L. Edwards, Psychometrika 13 (1948) for the
        continuity correction; R. G. Newcombe, Statistics in Medicine 17 (1998), 2635; S. Holm,
        Scandinavian Journal of Statistics 6 (1979).
    """
    require_intact(correct)
    intact = correct[WHOLE].to_numpy(bool)[:, None]
    others = [name for name in names_of(correct) if name != WHOLE]
    b, c, columns = _pairs(intact, correct[others].to_numpy(bool), confidence)
    return pd.DataFrame(
        {
            "lesion": pd.Series([kind for kind, _ in others], dtype="str"),
            "blocks": pd.Series([text for _, text in others], dtype="str"),
            "only_intact": b,
            "only_lesioned": c,
            **columns,
        }
    )


def network_tests(
    first: pd.DataFrame, second: pd.DataFrame, confidence: float = 0.95
) -> pd.DataFrame:
    """Test for each lesion whether two networks differ under it: McNemar's test, image by image.

    Args:
        first: As :func:`correct_by_image` gives it for one network.
        second: The same for another network, on the same images in the same order.
        confidence: Level of confidence of the interval.

    Returns:
        One row for each lesion that both have, in the order of the first: ``lesion``, ``blocks``,
        ``only_first`` (images that the first network alone gets right), ``only_second``,
        ``difference`` (error of the second less that of the first), ``low``, ``high`` (Newcombe's
        interval for pairs), ``p_value``, ``p_holm`` (adjusted for the number of lesions) and
        ``test``, as :func:`paired_tests` has them.

    Raises:
        UsageError: The tables have other numbers of images, none, or no lesion in common.
    """
    if len(first) != len(second):
        raise UsageError(
            f"{len(first)} images for one network and {len(second)} for the other; expected the "
            "same images, in the same order"
        )
    shared = [name for name in names_of(first) if name in set(names_of(second))]
    if not shared or first.empty:
        raise UsageError("the two networks have no lesion in common; expected one or more")
    b, c, columns = _pairs(first[shared].to_numpy(bool), second[shared].to_numpy(bool), confidence)
    return pd.DataFrame(
        {
            "lesion": pd.Series([kind for kind, _ in shared], dtype="str"),
            "blocks": pd.Series([text for _, text in shared], dtype="str"),
            "only_first": b,
            "only_second": c,
            **columns,
        }
    )


def _pairs(
    first: NDArray[np.bool_], second: NDArray[np.bool_], confidence: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], dict[str, Any]]:
    """Counts of what only one gets right, and the columns of the test, column by column."""
    b, c = (first & ~second).sum(0), (~first & second).sum(0)
    both, neither = (first & second).sum(0), (~first & ~second).sum(0)
    difference, low, high = paired_difference(neither, b, c, both, confidence)
    p_value, exact = mcnemar(b, c)
    columns = {
        "difference": difference,
        "low": low,
        "high": high,
        "p_value": p_value,
        "p_holm": holm(p_value),
        "test": pd.Series(np.where(exact, "exact", "chi-squared"), dtype="str"),
    }
    return b, c, columns


def names_of(correct: pd.DataFrame) -> list[tuple[str, str]]:
    """Kind and blocks of the lesion of each column.

    Raises:
        UsageError: A lesion has two columns, as where tables of two networks were put together.
    """
    names = [(str(one[0]), str(one[1])) for one in correct.columns]
    again = correct.columns[correct.columns.duplicated()]
    if len(again):
        raise UsageError(
            f"two columns of {' '.join(again[0]).strip()}, as of two networks: give a table for "
            "each (network_tests holds two networks against each other)"
        )
    return names


def require_intact(correct: pd.DataFrame) -> None:
    """Refuse a table without the intact network, or without images.

    Raises:
        UsageError: Saying which.
    """
    if WHOLE not in names_of(correct):
        raise UsageError(
            "predictions without the intact network: expected the lesion none among them, as "
            "correct_by_image gives it"
        )
    if correct.empty:
        raise UsageError("predictions of no image; expected one or more")
