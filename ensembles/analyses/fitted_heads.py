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

__all__ = ["Readout", "fitted_readout"]

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


def fitted_readout(train: Any, labels: Any, test: Any, targets: Any) -> Readout:
    """Fit a head on some rows, and read out others.

    The head is a multinomial logistic regression on standardised features, with a ridge penalty
    (scikit-learn, C = 1); the fit is convex, so that nothing is drawn.

    Args:
        train: Features, (rows, features).
        labels: Classes of these rows, (rows,).
        test: Features of other rows, alike.
        targets: Their classes, all of which are among the labels.
    """
    train, test = np.asarray(train, float), np.asarray(test, float)
    labels, targets = np.asarray(labels), np.asarray(targets)
    scale = StandardScaler().fit(train)
    head = LogisticRegression(C=_STRENGTH, max_iter=_ROUNDS)
    with warnings.catch_warnings():  # a few rounds short of the optimum is near enough to read out
        warnings.simplefilter("ignore", ConvergenceWarning)
        head.fit(scale.transform(train), labels)
    logs = head.predict_log_proba(scale.transform(test))
    places = np.searchsorted(head.classes_, targets)
    loss = -logs[np.arange(len(targets)), places]
    return Readout(loss, (logs.argmax(1) == places).astype(float))
