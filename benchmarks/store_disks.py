"""Full disks, files that may not grow, folders that take nothing: old data stay, all is said.

    python benchmarks/store_disks.py                   # every 32 KB of room from none to 512 KB
    python benchmarks/store_disks.py --step 256

Each case runs one command in a process of its own, beside a store and tables that are there: a
sweep into the store, a study, an export, a merge, a table or a figure of a single call. The process
must either do its work or exit with 1 and name the file in its last line; the old store must then
hold what it held, the old files be what they were, and nothing else lie in the folder. Places: a
disk of 8 MB with little room (needs the right to mount it), a limit on the size of files
(RLIMIT_FSIZE), /dev/full, a folder and files that are read-only (as another user, where run by
root), and a disk that is mounted read-only. Afterwards, with room again, the same sweep must end
as one that nobody disturbed.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from machine import describe, parser
from store_faults import forked, said

import ensembles
from ensembles.cli import main as command_line
from ensembles.store import Store

STUDY = """
[[models]]
name = "resnet20"
checkpoint = "weights.pt"
[[data]]
name = "digits"
limit = 8
[[lesions]]
"""
SWEEP = ["lesion", "--model", "resnet20", "--checkpoint", "{apart}/weights.pt", "--dataset",
         "digits", "--limit", "8", "--predictions"]  # fmt: skip
SINGLE = ["lesion", "--model", "resnet20", "--checkpoint", "{apart}/weights.pt", "--dataset",
          "digits", "--limit", "8", "--blocks", "1"]  # fmt: skip
COMMANDS = {
    "sweep": ("study.db", [*SWEEP, "--store", "{here}/study.db"]),
    "new store": ("new.db", [*SWEEP, "--store", "{here}/new.db"]),
    "study": ("study.db", ["study", "run", "{apart}/study.toml", "--store", "{here}/study.db"]),
    "merge": ("study.db", ["study", "merge", "{here}/study.db", "{apart}/whole.db"]),
    "export": ("old", ["study", "export", "{apart}/study.toml", "--store", "{apart}/whole.db",
                       "--out", "{here}/old.csv"]),
    "parquet": ("old.parquet", [*SINGLE, "--out", "{here}/old.parquet"]),
    "json": ("old.json", [*SINGLE, "--out", "{here}/old.json"]),
    "figure": ("old.png", [*SINGLE, "--plot", "{here}/old.png"]),
}  # fmt: skip
OLD = ("old-lesions.csv", "old.parquet", "old.json", "old.png")


def table(path: Path) -> pd.DataFrame:
    with Store(path, mode="r") as store:
        [context] = store.contexts()
        return store.frame(context)


class House:
    """A folder apart with all that is read, and places that are made like each other."""

    def __init__(self, apart: Path) -> None:
        self.apart = apart
        (apart / "study.toml").write_text(STUDY)
        torch.manual_seed(0)
        torch.save(ensembles.create_model("resnet20").state_dict(), apart / "weights.pt")
        told = contextlib.redirect_stdout(sys.stderr)
        with told, contextlib.suppress(SystemExit):  # imports for all processes that follow
            command_line(self.command([*SINGLE, "--out", "{apart}/x.csv"], apart))
        self.done(["study", "run", "{apart}/study.toml", "--store", "{apart}/whole.db"])
        self.done([*SWEEP, "--store", "{apart}/whole.db"])
        self.done([*SWEEP, "--blocks", "1-3", "--store", "{apart}/part.db"])
        self.whole, self.part = table(apart / "whole.db"), table(apart / "part.db")

    def fill(self, here: Path) -> None:
        """Put a store of some lesions and old files into a folder."""
        for path in here.iterdir():
            path.unlink()
        shutil.copyfile(self.apart / "part.db", here / "study.db")
        for name in OLD:
            (here / name).write_text(f"old {name}")

    def command(self, words: list[str], here: Path) -> list[str]:
        return [word.format(here=here, apart=self.apart) for word in words]

    def run(
        self, words: list[str], here: Path, before: Callable[[], None] = lambda: None
    ) -> tuple[int, list[str]]:
        """Run a command in a process; its status, and what it wrote to standard error."""

        def work(pipe: int) -> None:
            os.dup2(pipe, 2)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
            before()
            try:
                command_line(self.command(words, here))
            except SystemExit as stop:
                sys.stderr.flush()
                os._exit(int(stop.code or 0))

        child, pipe = forked(work)
        lines = said(pipe)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), lines

    def done(self, words: list[str]) -> None:
        status, lines = self.run(words, self.apart)
        assert status == 0, lines

    def attempt(self, name: str, here: Path, before: Callable[[], None] = lambda: None) -> bool:
        """Run a command that may be refused; whether it did its work."""
        file, words = COMMANDS[name]
        status, lines = self.run(words, here, before)
        what = f"{name} in {here}: {status}, {lines[-3:]}"
        assert status in (0, 1), what
        if status:
            assert lines[-1].startswith("ensembles: "), what
            assert f"{here}/{file}" in lines[-1], what
        assert not any("Traceback" in line for line in lines), what
        self.check(name, here, bool(status), what)
        return status == 0

    def check(self, name: str, here: Path, refused: bool, what: str) -> None:
        """Old data are there, whole, and nothing else is."""
        there = {path.name for path in here.iterdir()} - {"ballast", "new.db"}
        beside = {f"{old}.attrs.json" for old in OLD if not refused}
        assert there - beside == {"study.db", *OLD}, f"{what}: {sorted(there)}"
        found = table(here / "study.db")
        known = found.merge(self.part, on=["lesion", "blocks", "correct", "loss", "total"])
        assert len(known) == len(self.part), what
        for old in OLD:
            if refused:
                assert (here / old).read_text() == f"old {old}", f"{what}: {old} was changed"

    def mended(self, name: str, here: Path) -> None:
        """With room again, the sweep ends as if nothing had been."""
        if COMMANDS[name][0] != "study.db":
            return
        status, lines = self.run(COMMANDS["sweep"][1], here)
        assert status == 0, lines
        pd.testing.assert_frame_equal(table(here / "study.db"), self.whole)


@contextlib.contextmanager
def disk(folder: Path) -> Iterator[Path]:
    """A disk of 8 MB."""
    place = folder / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)]
    subprocess.run(command, check=True, capture_output=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)
        place.rmdir()


def leave(here: Path, room: int) -> None:
    """Fill a disk but for some room."""
    with (here / "ballast").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    size = (here / "ballast").stat().st_size
    os.truncate(here / "ballast", max(size - room, 0))


def full_disk(house: House, folder: Path, rooms: range, names: list[str]) -> str:
    try:
        with disk(folder) as here:
            ended: list[bool] = []
            for room in rooms:
                for name in names:
                    house.fill(here)
                    leave(here, room)
                    ended.append(house.attempt(name, here))
                    (here / "ballast").unlink()
                    house.mended(name, here)
    except (OSError, subprocess.CalledProcessError):
        return "disk of 8 MB: not tried, no right to mount one"
    return f"disk of 8 MB: {said_of(ended)}"


def limited(house: House, here: Path, rooms: range, names: list[str]) -> str:
    ended = []
    for room in rooms:
        for name in names:
            house.fill(here)

            def before(room: int = room) -> None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

            ended.append(house.attempt(name, here, before))
            house.mended(name, here)
    return f"limit on the size of files: {said_of(ended)}"


def said_of(ended: list[bool]) -> str:
    return (
        f"{len(ended)} commands, {sum(ended)} did their work, {len(ended) - sum(ended)} were "
        "refused by name; no old data lost, nothing left behind"
    )


def devices(house: House, here: Path) -> str:
    """A device as the store, as a table (through a link), and as standard output."""
    if not Path("/dev/full").exists():
        return "/dev/full: there is none"
    house.fill(here)
    (here / "link.csv").symlink_to("/dev/full")

    def no_output() -> None:
        sys.stdout = os.fdopen(os.open("/dev/full", os.O_WRONLY), "w")

    cases = [
        ([*SINGLE, "--store", "/dev/full"], "/dev/full", lambda: None),
        ([*SINGLE, "--out", "{here}/link.csv"], "link.csv", lambda: None),
        (["study", "status", "{apart}/study.toml"], "standard output", no_output),
    ]
    for words, named, before in cases:
        status, lines = house.run(words, here, before)
        assert status == 1, (words, status, lines)
        assert lines[-1].startswith("ensembles: "), lines
        assert named in lines[-1], lines
    assert Path("/dev/full").is_char_device(), "/dev/full was replaced"
    (here / "link.csv").unlink()
    house.check("", here, True, "/dev/full")
    return f"/dev/full: {len(cases)} commands, all refused by name"


def protected(house: House, here: Path, names: list[str]) -> str:
    """A folder whose owner has taken the right to write into it."""

    def as_nobody(name: str) -> None:
        trial = here.parent / f"trial-{name}"
        trial.mkdir()
        with contextlib.suppress(SystemExit):  # everything is imported, as root may
            command_line(house.command(COMMANDS[name][1], trial))
        if os.getuid() == 0:
            os.setgid(65534)
            os.setuid(65534)

    house.fill(here)
    for path in (*here.iterdir(), here):
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        for name in names:
            refused = not house.attempt(name, here, partial(as_nobody, name))
            assert refused, f"{name} was not refused"
    finally:
        here.chmod(0o755)
    return f"read-only folder: {len(names)} commands, all refused by name; the store can be read"


def mounted(house: House, folder: Path, names: list[str]) -> str:
    """A disk that is mounted read-only, which binds root too."""
    try:
        with disk(folder) as here:
            house.fill(here)
            subprocess.run(["mount", "-o", "remount,ro", str(here)], check=True)
            for name in names:
                assert not house.attempt(name, here), f"{name} was not refused"
    except (OSError, subprocess.CalledProcessError):
        return "read-only disk: not tried, no right to mount one"
    return f"read-only disk: {len(names)} commands, all refused by name; the store can be read"


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--step", type=int, default=32, help="KB of room between two cases")
    options.add_argument("--most", type=int, default=512, help="KB of room in the last case")
    options.add_argument("--only", nargs="*", choices=[*COMMANDS], default=[*COMMANDS])
    chosen = options.parse_args()
    torch.set_num_threads(1)
    print(describe())
    rooms = range(0, chosen.most * 1024 + 1, chosen.step * 1024)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        for place in ("apart", "here"):
            (folder / place).mkdir()
        house = House(folder / "apart")
        print(full_disk(house, folder, rooms, chosen.only), flush=True)
        print(limited(house, folder / "here", rooms, chosen.only), flush=True)
        print(devices(house, folder / "here"), flush=True)
        print(protected(house, folder / "here", chosen.only), flush=True)
        print(mounted(house, folder, chosen.only), flush=True)


if __name__ == "__main__":
    try:
        main()
    except AssertionError as error:
        sys.exit(f"failed: {error}")
