"""What networks of each size have learned, over their seeds, and what is claimed of it."""

from __future__ import annotations

from functools import partial
from typing import Any

import pandas as pd

from ensembles.reproduction.entropies import BITS_A_WEIGHT
from ensembles.reproduction.judgements import Claim, Finding, Frames
from ensembles.reproduction.named import NotMeasured
from ensembles.statistics import mean_interval

__all__ = ["MEMORISED", "capacity_claims", "capacity_table"]

MEMORISED = 0.99
"""The share of random labels that is answered right where they count as memorised."""
_FACTOR = 2


def capacity_table(trainings: pd.DataFrame) -> pd.DataFrame:
    """One row for each network, over its seeds.

    Args:
        trainings: A row for each training.

    Returns:
        ``accuracy`` on test images after true labels, ``learned`` on the training images
        themselves, ``random`` on all random labels, each with Student's interval over seeds;
        ``bits`` that it holds of random labels, the most over their numbers, and ``bits_each`` a
        parameter; ``labels_memorised``, the greatest number of random labels of which it answers
        99 % right with every seed, 0 where there is none.
    """
    rows = []
    for keys, group in trainings.groupby(["family", "model", "depth", "parameters"], sort=False):
        family, model, depth = keys[:3]
        parameters = int(group["parameters"].iloc[0])
        true, random = (group[group["labels"] == kind] for kind in ("true", "random"))
        row: dict[str, Any] = {
            "family": family,
            "model": model,
            "depth": depth,
            "parameters": parameters,
            "seeds": group["seed"].nunique(),
        }
        whole = random[random["images"] == random["images"].max()]
        for name, values in (
            ("accuracy", true["test_accuracy"]),
            ("learned", true["train_accuracy"]),
            ("random", whole["train_accuracy"]),
            ("bits", random.groupby("seed")["bits"].max()),
        ):
            row[name], row[f"{name}_low"], row[f"{name}_high"] = mean_interval(values)
        for end in ("", "_low", "_high"):
            row[f"bits_each{end}"] = row[f"bits{end}"] / parameters
        held = random.groupby("images")["train_accuracy"].min()
        row["labels_memorised"] = int(max(held[held >= MEMORISED].index, default=0))
        rows.append(row)
    table = pd.DataFrame(rows).sort_values("parameters", ignore_index=True)
    table.attrs = dict(trainings.attrs)
    return table


def capacity_claims(accuracy: float) -> tuple[Claim, ...]:
    """The claims.

    Args:
        accuracy: The accuracy on test images that a network is to reach.
    """
    goal = (
        f"the smallest network whose mean accuracy on test images is {100 * accuracy:g} % or more"
    )
    return (
        Claim(
            "No network holds more than two bits a parameter of random labels",
            "the bits that a network holds of random labels (the information that its answers give "
            "of them, mean over seeds) are at most twice its parameters, at each size",
            "a neuron remembers two labels of two classes for each weight (MacKay 2003)",
            ("capacity",),
            _two_bits,
            "random labels",
        ),
        Claim(
            "True labels take a smaller network than random ones",
            f"{goal} has fewer parameters than the smallest that answers 99 % of all random labels "
            "right with every seed; or no network does",
            "a network that generalises needs not hold every label",
            ("capacity",),
            partial(_true_before_random, accuracy),
            "MNIST",
        ),
        *(
            Claim(
                f"Two bits a weight and the entropy of the {of} say how large a network must be",
                f"{goal} has between half and twice as many parameters as the entropy of all "
                f"training {of} ({estimate}) over two bits",
                "an estimate of the size from the entropy of the data",
                ("capacity", "entropy"),
                partial(_as_estimated, accuracy, of, estimate),
                "MNIST",
            )
            for of, estimate in (
                ("images", "mean image"),
                ("images", "WebP"),
                ("labels", "class frequencies"),
            )
        ),
    )


def _two_bits(frames: Frames) -> Finding:
    table = frames["capacity"]
    top = table.iloc[int(table["bits_each"].to_numpy().argmax())]
    over = table["bits"] > BITS_A_WEIGHT * table["parameters"]
    low, high = (top[f"bits_each_{end}"] for end in ("low", "high"))
    return Finding(
        f"at most {top['bits_each']:.2f} bits a parameter ({top['model']})",
        "" if pd.isna(low) else f"{low:.2f} to {high:.2f}",
        not bool(over.any()),
    )


def _smallest(frames: Frames, accuracy: float) -> pd.Series[Any]:
    """The smallest network that reaches an accuracy.

    Raises:
        NotMeasured: None does.
    """
    table = frames["capacity"]
    good = table[table["accuracy"] >= accuracy]
    if good.empty:
        raise NotMeasured(
            f"no network reaches {100 * accuracy:g} % on test images; the best, "
            f"{table['parameters'].iloc[table['accuracy'].argmax()]:,} parameters, "
            f"{100 * table['accuracy'].max():.1f} %"
        )
    return good.sort_values("parameters").iloc[0]


def _true_before_random(accuracy: float, frames: Frames) -> Finding:
    table, found = frames["capacity"], _smallest(frames, accuracy)
    images = frames["trainings"]["images"].max()
    all_of_them = table[table["labels_memorised"] == images].sort_values("parameters")
    told = f"{found['parameters']:,} parameters reach {100 * found['accuracy']:.1f} %"
    if all_of_them.empty:
        return Finding(f"{told}; none memorises all {images:,} random labels", "", True)
    other = all_of_them.iloc[0]
    return Finding(
        f"{told}; {other['parameters']:,} memorise all {images:,} random labels",
        "",
        bool(found["parameters"] < other["parameters"]),
    )


def _as_estimated(accuracy: float, of: str, estimate: str, frames: Frames) -> Finding:
    table, found = frames["entropy"], _smallest(frames, accuracy)
    row = table[(table["of"] == of) & (table["estimate"] == estimate)].iloc[0]
    ratio = found["parameters"] / row["weights"]
    return Finding(
        f"{row['weights']:,.0f} weights estimated, {found['parameters']:,} parameters needed: "
        f"{ratio:.3g} times as many",
        "",
        bool(1 / _FACTOR <= ratio <= _FACTOR),
    )
