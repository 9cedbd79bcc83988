"""What a table of drawn paths cannot show, in words."""

from __future__ import annotations

import numpy as np
import pandas as pd

__all__ = ["path_notes"]

_HEAVY = 10


def path_notes(frame: pd.DataFrame) -> list[str]:
    """Say where the drawn paths of a table miss the tail, so that their interval is too short.

    Args:
        frame: What `ensembles.paths` returned; of several places the first.

    Returns:
        Up to two sentences: the lengths whose greatest hundredth of the draws (at least one) holds
        more than ten times its equal part of the sum; and, where both are there, how far the RMS
        of the drawn paths lies from that of all paths.
    """
    if "gradient_mean_top" not in frame.columns or frame["gradient_mean_top"].isna().all():
        return []
    frame = frame[frame["at"] == frame["at"].iloc[0]]
    about = frame.attrs["provenance"]
    draws = -(-int(about["samples"]) // int(about["images"])) * int(about["images"])
    equal = max(1, draws // 100) / draws
    notes = []
    heavy = frame[frame["gradient_mean_top"] > _HEAVY * equal]
    if len(heavy):
        notes.append(
            f"heavy tails: at {len(heavy)} lengths ({_ranges(list(heavy['length']))}) the greatest "
            f"{100 * equal:.2g} % of the drawn paths hold up to "
            f"{100 * heavy['gradient_mean_top'].max():.0f} % of the sum, so the interval there is "
            "too short"
        )
    both = frame[(frame["gradient_rms"] > 0) & (frame["sampled_rms"] > 0)]
    if len(both):
        ratio = (both["sampled_rms"] / both["gradient_rms"]).to_numpy(dtype=np.float64)
        low, high = int(ratio.argmin()), int(ratio.argmax())
        notes.append(
            f"the RMS of the drawn paths is {100 * ratio[low]:.0f} % (length "
            f"{both['length'].iloc[low]}) to {100 * ratio[high]:.0f} % (length "
            f"{both['length'].iloc[high]}) of that of all paths"
        )
    return notes


def _ranges(lengths: list[int]) -> str:
    """Whole numbers in order, neighbours joined: 1 to 3, 5."""
    starts = [k for k in lengths if k - 1 not in lengths]
    stops = [k for k in lengths if k + 1 not in lengths]
    return ", ".join(
        str(a) if a == b else f"{a} to {b}" for a, b in zip(starts, stops, strict=True)
    )
