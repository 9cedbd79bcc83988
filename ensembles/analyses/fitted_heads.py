"""A head after every block, fitted on a training split: what can be read out there."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

__all__ = ["Readout", "fitted_readouts"]

_ROUNDS = 500
_STRENGTH = 1.0


@dataclass(frozen=True)
class Readout:
    """What a fitted head says of some rows.

    Attributes:
        loss: Cross-entropy of each, in nats, (rows,).
        right: Whether its likeliest class is right, alike.
    """

    loss: NDArray[np.float64]
    right: NDArray[np.float64]


def fitted_readouts(train: list[Any], labels: Any, test: list[Any], targets: Any) -> list[Readout]:
    """Fit a head at every depth on some rows, and read out others.

    The head is a multinomial logistic regression on standardised features, with a ridge penalty
    (scikit-learn, C = 1); the fit is convex, so that nothing is drawn.

    Args:
        train: Features at each depth, (rows, features).
        labels: Classes of these rows, (rows,).
        test: Features of other rows at each depth, alike.
        targets: Their classes, all of which are among the labels.
    """
    labels, targets = np.asarray(labels), np.asarray(targets)
    return [
        _readout(np.asarray(known, float), labels, np.asarray(other, float), targets)
        for known, other in zip(train, test, strict=True)
    ]


def _readout(train: Any, labels: Any, test: Any, targets: Any) -> Readout:
    scale = StandardScaler().fit(train)
    head = LogisticRegression(C=_STRENGTH, max_iter=_ROUNDS)
    with warnings.catch_warnings():  # a few rounds short of the optimum is near enough to read out
        warnings.simplefilter("ignore", ConvergenceWarning)
        head.fit(scale.transform(train), labels)
    logs = head.predict_log_proba(scale.transform(test))
    places = np.searchsorted(head.classes_, targets)
    loss = -logs[np.arange(len(targets)), places]
    return Readout(loss, (logs.argmax(1) == places).astype(float))
