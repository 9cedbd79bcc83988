"""What the time of a decomposition goes into, for ``--debug``."""

from __future__ import annotations

import logging
import time

__all__ = ["LOG", "Laps"]

LOG = logging.getLogger("ensembles.decomposition")


class Laps:
    """Measures steps one after the other.

    >>> laps = Laps()
    >>> laps.done("copied")
    >>> list(laps.seconds)
    ['copied']
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def done(self, step: str) -> None:
        """End a step."""
        now = time.perf_counter()
        self.seconds[step] = self.seconds.get(step, 0.0) + now - self._last
        self._last = now

    def tell(self, name: str, forward: float) -> None:
        """Log the steps of a network.

        Args:
            name: What it is called.
            forward: Seconds of a forward pass of the example, for comparison.
        """
        each = ", ".join(f"{step} {seconds:.2f} s" for step, seconds in self.seconds.items())
        whole = sum(self.seconds.values())
        LOG.debug(
            "%s taken apart in %.2f s (its forward pass takes %.3f s): %s",
            name,
            whole,
            forward,
            each,
        )
