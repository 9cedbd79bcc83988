"""Give every reader changed files for as long as it is let, and keep what it should have refused.

    python benchmarks/fuzz.py [SECONDS] [READER ...]

Each reader gets its share of the time (an hour for all by default). With atheris installed, the
changes follow the coverage of the code; else they are drawn. What ends otherwise than by a refusal
in a line, or takes longer than `SLOW` seconds, or more than `LARGE` bytes, is written to
`benchmarks/fuzz_corpus/READER/`, which `tests/test_fuzz.py` gives to the reader from then on.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from types import FrameType

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

try:
    import atheris

    told = contextlib.redirect_stderr(io.StringIO())
    with told, atheris.instrument_imports(include=["ensembles"]):
        from readers import CORPUS, READERS, mutations
except ImportError:
    atheris = None
    from readers import CORPUS, READERS, mutations

SLOW, LARGE = 10, 4 << 30
ROUND = 60.0


class SlowError(Exception):
    """A reader took too long."""


def main(arguments: list[str]) -> None:
    """Share the time out among the readers, each in a process of its own."""
    seconds = float(arguments[0]) if arguments else 3600.0
    names = arguments[1:] or list(READERS)
    for name in names:
        end, tried, found = time.monotonic() + seconds / len(names), 0, 0
        while time.monotonic() < end:
            with tempfile.TemporaryDirectory() as folder:
                seed = random.SystemRandom().randrange(1 << 32)
                length = min(ROUND, end - time.monotonic())
                process = get_context("spawn").Process(
                    target=attack, args=(name, seed, length, folder)
                )
                process.start()
                while process.is_alive():
                    process.join(1)
                    if _stuck(Path(folder, "last")):  # in code that no signal interrupts
                        process.kill()
                last = Path(folder, "last")
                if process.exitcode and last.exists():
                    keep(name, last.read_bytes(), f"the process ended with {process.exitcode}")
                    found += 1
                done = Path(folder, "done")
                counts = done.read_text().split() if done.exists() else ["0", "0"]
                tried, found = tried + int(counts[0]), found + int(counts[1])
        print(f"{name:12} {tried:8} files tried, {found} findings", flush=True)


def _stuck(last: Path) -> bool:
    """Whether the file tried last has been tried for very long."""
    with contextlib.suppress(OSError):
        return time.time() - last.stat().st_mtime > 6 * SLOW
    return False


def attack(name: str, seed: int, seconds: float, folder: str) -> None:
    """Try changed files on one reader; the last one tried lies in a file, in case all ends."""
    resource.setrlimit(resource.RLIMIT_AS, (LARGE + (4 << 30), LARGE + (4 << 30)))
    os.environ["ENSEMBLES_CACHE"] = f"{folder}/cache"
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGALRM, _slow)
    reader, draw = READERS[name], random.Random(seed)
    place = Path(folder, "files")
    place.mkdir()
    tried = found = 0
    end = time.monotonic() + seconds

    def one(content: bytes) -> None:
        nonlocal tried, found
        tried += 1
        Path(folder, "last").write_bytes(content)
        signal.alarm(SLOW)
        try:
            reader.on(content, place)
        except Exception as error:
            places = traceback.extract_tb(error.__traceback__)
            ours = [place for place in places if "ensembles" in place.filename] or places
            where = f"{Path(ours[-1].filename).name}:{ours[-1].name}"
            found += keep(name, content, f"{type(error).__name__}: {error}", where)
        finally:
            signal.alarm(0)
        if not tried % 100 or time.monotonic() > end - 1:  # what follows coverage never returns
            Path(folder, "done").write_text(f"{tried} {found}")

    if atheris is not None:
        follow_coverage(reader.seeds(), one, seconds, folder)
    drawn = mutations(reader.seeds(), draw.randrange)
    while time.monotonic() < end:
        one(next(drawn))
    Path(folder, "done").write_text(f"{tried} {found}")


def follow_coverage(
    seeds: list[bytes], one: Callable[[bytes], None], seconds: float, folder: str
) -> None:
    """Let atheris find the changes, and end the process when the time is up."""
    known = Path(folder, "seeds")
    known.mkdir()
    for number, content in enumerate(seeds):
        (known / str(number)).write_bytes(content)
    quiet = ["-verbosity=0", "-print_final_stats=0", "-timeout=0", "-rss_limit_mb=0"]
    handled = [f"-handle_{name}=0" for name in ("int", "term", "usr1", "usr2")]
    kept = [f"-artifact_prefix={folder}/"]
    limits = [f"-max_total_time={int(seconds)}", "-max_len=200000", "-len_control=0"]
    atheris.Setup(["fuzz", *quiet, *handled, *kept, *limits, str(known)], one)
    atheris.Fuzz()


def keep(name: str, content: bytes, said: str, where: str = "") -> bool:
    """Write a finding down, once for each kind of error and place; whether it is new."""
    kind = hashlib.sha256(f"{said.partition(':')[0]} {where}".encode()).hexdigest()[:12]
    path = CORPUS / name / kind
    if path.exists():
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    print(f"{name}: {' '.join(said.split())[:300]} ({path})", flush=True)
    return True


def _slow(number: int, frame: FrameType | None) -> None:
    raise SlowError(f"longer than {SLOW} s")


if __name__ == "__main__":
    main(sys.argv[1:])
