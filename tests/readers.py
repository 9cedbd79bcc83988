"""Every reader of files from another hand, with files that it takes, for fuzzing.

A reader may do two things with bytes: read them, or refuse them by an error of ours, in a line that
acts on no terminal. Both take little memory and time. Nothing else is allowed.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from safetensors.torch import save as save_safetensors
from stores import all_of
from version_1 import STORE

from ensembles.bounded import json_value, toml_table
from ensembles.cards import read_card
from ensembles.checkpoints.files import read_state_dict
from ensembles.data import dataset
from ensembles.errors import DataError, EnsemblesError
from ensembles.lesions import intact, parse_lesion, random_deletions, read_plan
from ensembles.metrics import Outcome
from ensembles.printable import printable
from ensembles.store import Context, Key, Store, seals
from ensembles.store.blobs import encode_labels
from ensembles.studies import read_study
from ensembles.tables import read_frame, write_frame
from ensembles.tables.git_head import git_head
from ensembles.text import read_blocks, read_counts, read_roads
from ensembles.training import load_recipe

__all__ = ["CORPUS", "READERS", "Reader", "mutations", "refusal"]

CORPUS = Path(__file__).parent.parent / "benchmarks" / "fuzz_corpus"
"""Bytes that a reader once did something else with, a folder for each reader."""


@dataclass(frozen=True)
class Reader:
    """A reader of one kind of file.

    Attributes:
        read: Reads a file in a folder of its own.
        ending: What the name of the file ends in.
        seeds: Makes the contents of files that it takes.
    """

    read: Callable[[Path], object]
    ending: str
    seeds: Callable[[], list[bytes]]

    def on(self, content: bytes, folder: Path) -> str | None:
        """Read some bytes; the line of a refusal, None where they were read.

        Raises:
            AssertionError: If the refusal is no line, or acts on a terminal.
        """
        path = folder / f"file{self.ending}"
        path.write_bytes(content)
        return refusal(lambda: self.read(path))


def refusal(read: Callable[[], object]) -> str | None:
    """The line of a refusal; any other error goes through."""
    try:
        read()
    except EnsemblesError as error:
        line = str(error)
        assert "\n" not in line, line
        assert printable(line) == line, line
        assert 0 < len(line) < 5000, line[:200]
        assert not re.match(r"unexpected", line), line
        return line
    return None


def _texts(*texts: str) -> Callable[[], list[bytes]]:
    return lambda: [text.encode() for text in texts]


def _words(path: Path) -> None:
    """What lists of blocks, counts and lesions mean, one a line."""
    text = path.read_bytes().decode("latin-1")
    kind, _, rest = text.partition(":")
    {"blocks": read_blocks, "counts": read_counts, "roads": read_roads}.get(
        kind, lambda text: parse_lesion(kind, text)
    )(rest)


def _weights() -> list[bytes]:
    state = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.zeros(2)}
    new, old = io.BytesIO(), io.BytesIO()
    torch.save({"state_dict": state, "epoch": 3}, new)
    torch.save(state, old, _use_new_zipfile_serialization=False)
    return [new.getvalue(), old.getvalue()]


def _tensors() -> list[bytes]:
    return [save_safetensors({"a": torch.arange(6.0), "b": torch.zeros(2, 2).half()})]


def _pictures() -> list[bytes]:
    found = []
    for kind, mode in (("PNG", "RGB"), ("PNG", "P"), ("JPEG", "L"), ("BMP", "RGB"), ("GIF", "P")):
        file = io.BytesIO()
        Image.new(mode, (9, 7), 3).save(file, kind)
        found.append(file.getvalue())
    return found


def _picture(path: Path) -> None:
    folder = path.parent / "set" / "test" / "class"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "a.png").write_bytes(path.read_bytes())
    opened = dataset(path.parent / "set", "test", normalize="none")
    next(opened.batches(1))


def _arrays() -> list[bytes]:
    file = io.BytesIO()
    np.savez(file, x=np.zeros((3, 3, 8, 8), np.uint8), y=np.arange(3))
    return [file.getvalue()]


def _array(path: Path) -> None:
    next(dataset(path, "test", normalize="none").batches(1))


def _written(ending: str) -> bytes:
    frame = pd.DataFrame({"lesion": ["none", "delete"], "blocks": ["", "3"], "error": [0.1, 0.2]})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"table{ending}")
        write_frame(frame, path)
        return path.read_bytes()


COMMIT = "0123456789abcdef0123456789abcdef01234567"
HEAD_FILES = (".git/HEAD", ".git/refs/heads/a", ".git/packed-refs", ".git/commondir", "inner/.git")


def _told(folder: Path) -> None:
    """What is told of a folder's commit is one, or nothing."""
    found = git_head(folder)
    assert found is None or re.fullmatch(r"[0-9a-f]{40}([0-9a-f]{24})?(-dirty)?", found), found


def _git_index(path: Path) -> None:
    place = path.parent / "r" / ".git"
    place.mkdir(parents=True, exist_ok=True)
    (place / "HEAD").write_text(f"{COMMIT}\n")
    (place / "index").write_bytes(path.read_bytes())
    _told(place.parent)


def _git_head(path: Path) -> None:
    """The small files of git, one after another, parted by a byte that none of them holds."""
    top = path.parent / "h"
    for name, content in zip(HEAD_FILES, path.read_bytes().split(b"\x1e"), strict=False):
        place = top / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        if not content:
            place.unlink()
    _told(top)
    _told(top / "inner")


def _indices() -> list[bytes]:
    """Index files of the versions 2, 3 and 4, with three entries each."""
    made = []
    for version in (2, 3, 4):
        content, before = b"DIRC" + version.to_bytes(4, "big") + b"\0\0\0\3", b""
        for name in (b"a.txt", b"a/b.txt", b"a/c.txt"):
            flags = len(name) | (0x4000 if version == 3 else 0)
            entry = bytes(24) + b"\0\0\x81\xa4" + bytes(8) + b"\0\0\0\5" + bytes(20)
            entry += flags.to_bytes(2, "big") + (b"\x20\0" if version == 3 else b"")
            if version == 4:
                alike = 2 if before.startswith(b"a/") else before[:1] == name[:1]
                entry += bytes([len(before) - alike]) + name[alike:] + b"\0"
            else:
                entry += name + bytes(8 - (len(entry) + len(name)) % 8)
            content, before = content + entry, name
        made.append(content + bytes(20))
    return made


@cache
def _store() -> tuple[bytes, str]:
    """A store of made-up counts, and all that it tells."""
    names = tuple((f"block{i}", "residual") for i in range(1, 4))
    key = Key("w", "a", names, "d", "test", 6, (1, 4, 4), "[[0], [1]]", "fp32", "shared", 1)
    about = {"model": "m", "dataset": "d", "num_classes": 2, "classes": ["a", "b"]}
    labels = encode_labels([0, 1, 0, 1, 1, 0])
    context = Context(key, {**about, "transitions": [], "adapted": {}}, labels)
    lesions = [intact(), *random_deletions(3, [1, 2], 2)]
    states = {"top1": np.array([4.0]), "loss": np.array([2.5]), "classes": np.array([1.0, 3, 3, 3])}
    table = pd.DataFrame({"length": [0, 1], "accuracy": [0.5, 0.25]})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.db")
        with Store(path) as store:
            asked = store.ask(context, lesions, metrics=("top1", "loss", "classes"))
            run = store.begin({"command": "made up"})
            predicted = np.array([0, 1, 1, 1, 1, 1], np.int32)
            for number, one in enumerate(asked.lesions):
                given = predicted if number == 1 else None
                asked.add([Outcome(one, 6, 0, dict(states), given)], run)
            asked.fail({asked.lesions[-1]: "it was too large"}, run)
            store.keep_analysis(context, "paths", {"signs": 2}, table, run)
            store.keep_note("study", {"a": [1]})
        return path.read_bytes(), all_of(path)


def _sound_store(path: Path) -> None:
    """Whatever is not refused is what was stored."""
    told = all_of(path)
    assert told == _store()[1], "other results, in silence"


def _edited_store(path: Path) -> None:
    """Statements of somebody who knows how rows are sealed."""
    edits, path = path.read_bytes().decode("latin-1"), path.with_suffix(".db")
    path.write_bytes(_store()[0])
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as raw:
        raw.create_function("sealed", -1, seals.checksum)
        left = iter(range(1000))
        raw.set_progress_handler(lambda: next(left, None) is None, 1000)
        with contextlib.suppress(sqlite3.Error, sqlite3.Warning, ValueError, OverflowError):
            raw.executescript(edits)
        left = iter(range(1000))
        for table in ("contexts", "runs", "lesions", "draws", "states", "predictions", "notes"):
            with contextlib.suppress(sqlite3.Error, ValueError, OverflowError):
                names = [row[1] for row in raw.execute(f"PRAGMA table_info({table})")][:-1]
                raw.execute(f"UPDATE {table} SET checksum = sealed({', '.join(names)})")
    all_of(path)


STUDY = """name = "s"
seeds = [0, 1]
[[models]]
name = "resnet20"
[[data]]
name = "digits"
limit = 8
[[lesions]]
kind = "delete"
count = "1-3"
trials = 2
blocks = [3, 4]
[[lesions]]
plan = [["delete", "3 17"], ["reorder", "3-5"]]
[[paths]]
direction = "logits"
"""
CARD = """name = "a"
architecture = "resnet20"
num_classes = 2
classes = ["a", "b"]
normalization = "0.5/0.5"
[[measured]]
dataset = "digits"
split = "test"
correct = 3
total = 4
"""
RECIPE = """description = "x"
epochs = 3
batch_size = 8
learning_rate = 0.1
momentum = 0.9
nesterov = true
weight_decay = 0.0
schedule = "steps"
milestones = [1, 2]
flip = true
crop_padding = 4
"""

READERS: dict[str, Reader] = {
    "study": Reader(read_study, ".toml", _texts(STUDY)),
    "card": Reader(read_card, ".toml", _texts(CARD)),
    "recipe": Reader(load_recipe, ".toml", _texts(RECIPE)),
    "toml": Reader(
        lambda path: toml_table(path.read_bytes().decode("latin-1"), "x", error=DataError),
        ".toml", _texts(STUDY, 'a = """x""" # y\n"b.c".d = [1.5, {e = \'f\'}]'),
    ),
    "json": Reader(
        lambda path: json_value(path.read_bytes(), "x", error=DataError),
        ".json", _texts(json.dumps({"a": [1, {"b": None}], "c": "\u2028"})),
    ),
    "plan": Reader(read_plan, ".csv", _texts('lesion,blocks\ndelete,3 17\nreorder,"3-5"\n')),
    "words": Reader(
        _words, ".txt",
        _texts("blocks:1-5,9", "counts:1-20", "roads:3.2,5", "delete:3 17", "reorder:3-17",
               "drop:3.2", "scale:4 x0.5", "replace:5 <- 6", "parallel:7 8", "shuffle:1-9 seed1",
               "then:delete 3 then scale 5 x0.5"),
    ),
    "csv": Reader(read_frame, ".csv", lambda: [_written(".csv")]),
    "parquet": Reader(read_frame, ".parquet", lambda: [_written(".parquet")]),
    "table": Reader(read_frame, ".json", lambda: [_written(".json")]),
    "weights": Reader(read_state_dict, ".pt", _weights),
    "safetensors": Reader(read_state_dict, ".safetensors", _tensors),
    "picture": Reader(_picture, ".png", _pictures),
    "arrays": Reader(_array, ".npz", _arrays),
    "store": Reader(_sound_store, ".db", lambda: [_store()[0]]),
    "old store": Reader(all_of, ".db", lambda: [STORE.read_bytes()]),
    "edited store": Reader(
        _edited_store, ".sql",
        _texts("UPDATE states SET total = 7", "UPDATE contexts SET about = '{\"model\": 3}'",
               "UPDATE contexts SET labels = x'0102'", "UPDATE states SET state = x'180102'",
               "UPDATE lesions SET text = '1 2', kind = 'scale' WHERE id = 2",
               "UPDATE draws SET seed = 5, trial = 2", "UPDATE runs SET provenance = '{\"a\": 1}'",
               "UPDATE predictions SET classes = x'78da'", "UPDATE notes SET value = '[1]'",
               "INSERT INTO lesions VALUES (99, 1, 'noise', '3 x0.1 seed2', '', 0)",
               "CREATE VIEW v AS SELECT * FROM states", "ALTER TABLE notes ADD COLUMN x",
               "UPDATE contexts SET key = replace(key, '6', '7')"),
    ),
    "git index": Reader(_git_index, ".bin", _indices),
    "git head": Reader(
        _git_head, ".bin",
        _texts(f"{COMMIT}\n",
               f"ref: refs/heads/a\n\x1e{COMMIT}\n\x1e\x1e\x1egitdir: ../.git\n",
               f"ref: refs/heads/a\n\x1e\x1e# pack-refs with: peeled\n{COMMIT} refs/heads/a\n",
               "ref: refs/heads/a\n\x1eref: refs/heads/b\n"
               f"\x1e{COMMIT} refs/heads/b\n\x1e../.git\n"),
    ),
}  # fmt: skip


TOKENS = (
    b"\x00", b"\xff", b"\x1b]0;x\x07", b"\xe2\x80\xae", b"[", b"{", b"]", b"}", b"\"", b"'", b"=",
    b",", b".", b"\n", b"-", b"9" * 40, b"9" * 5000, b"-1", b"1e999", b"nan", b"true", b"null",
    b"\xed\xa0\x80", b"\x80\x02", b"PK\x05\x06", b"..", b"/", b"\\u0000", b"=1+1",
    b"0x", b"a" * 300,
)  # fmt: skip


def mutations(seeds: list[bytes], choose: Callable[[int], int], most: int = 4) -> Iterator[bytes]:
    """Changed contents, one after another without end.

    Args:
        seeds: What is changed.
        choose: Gives a number below its argument.
        most: Changes at most in each.
    """
    while True:
        content = bytearray(seeds[choose(len(seeds))])
        for _ in range(1 + choose(most)):
            place = choose(len(content) + 1)
            act = choose(6)
            if act == 0 and content:
                content[place % len(content)] ^= 1 << choose(8)
            elif act == 1:
                content[place:place] = TOKENS[choose(len(TOKENS))]
            elif act == 2:
                del content[place : place + 1 + choose(8)]
            elif act == 3:
                del content[place:]
            elif act == 4:
                piece = content[place : place + 1 + choose(40)]
                content[place:place] = piece * (1 + choose(20))
            else:
                token = TOKENS[choose(len(TOKENS))]
                content[place : place + len(token)] = token
        yield bytes(content)
