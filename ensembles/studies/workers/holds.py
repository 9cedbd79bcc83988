"""Who measures what: a worker holds a part until it is done, or until the worker is gone."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from ensembles.studies.workers.shared_files import names_in, put_once, read_json, writable
from ensembles.studies.workers.work_folder import WorkFolder

__all__ = ["Hold", "Holds", "Pulse"]


class Hold(NamedTuple):
    """What a worker holds.

    Attributes:
        name: Of the part.
        worker: Who holds it.
        attempt: How many workers have held it, this one included.
    """

    name: str
    worker: str
    attempt: int


class Pulse:
    """Tells workers that are gone by their beats, which stop.

    A beat is a number that a worker counts up. Only the clock of the observer is used, so that the
    clocks of machines may differ by any amount.

    Args:
        folder: The shared folder.
        lease: Seconds without a beat after which a worker counts as gone.
        clock: Seconds that never run backwards.
    """

    def __init__(
        self, folder: WorkFolder, lease: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._folder, self._lease, self._clock = folder, lease, clock
        self._seen: dict[str, tuple[object, float]] = {}

    def gone(self, worker: str) -> bool:
        """Whether a worker was lost, or has not counted on for so long.

        One that has ended in order lets go of what it has not done; what it still holds is done,
        and a network disk may show that late.
        """
        told = read_json(self._folder / "workers" / f"{worker}.json")
        if isinstance(told, dict) and told.get("state") == "lost":
            return True
        beat = told.get("beat") if isinstance(told, dict) else None
        now = self._clock()
        seen, since = self._seen.get(worker, (object(), now))
        if beat != seen:
            self._seen[worker] = beat, now
            return False
        return now - since > self._lease


class Holds:
    """The holds of one worker; they stay where what was held is done.

    Args:
        folder: The shared folder.
        worker: The worker.
        pulse: Tells who is gone.
    """

    def __init__(self, folder: WorkFolder, worker: str, pulse: Pulse) -> None:
        self._folder, self._worker, self._pulse = folder, worker, pulse

    def all(self) -> dict[str, Hold]:
        """What is held, by the name of the part."""
        found = {name: self._read(name) for name in names_in(self._folder / "holds")}
        return {name: hold for name, hold in found.items() if hold is not None}

    def take(self, name: str) -> Hold | None:
        """Hold a part, unless another worker does that is not gone.

        Returns:
            The hold; None where another worker has it.
        """
        path, attempt = self._folder / "holds" / name, 1
        if path.exists():
            before = self._read(name)
            if before is not None:
                if before.worker != self._worker and not self._pulse.gone(before.worker):
                    return None
                attempt = before.attempt + (before.worker != self._worker)
            elif not self._pulse.gone(f"?{name}"):  # not whole yet, or damaged
                return None
            aside = path.with_name(f".{name}.{secrets.token_hex(4)}.gone")
            try:
                path.rename(aside)  # of several that find it stale, one succeeds
            except OSError:
                return None
            with suppress(OSError):
                aside.unlink()
        hold = Hold(name, self._worker, attempt)
        told = json.dumps({"worker": hold.worker, "attempt": hold.attempt})
        with writable(self._folder.root):
            return hold if put_once(path, told.encode()) else None

    def release(self, hold: Hold) -> None:
        """Let go of a part, unless another worker has taken it over."""
        if self._read(hold.name) == hold:
            with suppress(OSError):  # it is taken over in the end
                (self._folder / "holds" / hold.name).unlink(missing_ok=True)

    def _read(self, name: str) -> Hold | None:
        told = read_json(self._folder / "holds" / name)
        try:
            return Hold(name, str(told["worker"]), int(told["attempt"]))
        except (TypeError, KeyError, ValueError):
            return None
