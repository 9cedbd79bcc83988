"""Text files from another hand: refused in a line, or read; never waited for, never let grow."""

from __future__ import annotations

import os
import re
import socket
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensembles.bounded import MOST_BYTES, json_value, read_bytes, read_text, toml_table
from ensembles.errors import CheckpointError

posix = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes and devices")


def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "pipe")
    return folder / "pipe"


def socketed(folder: Path) -> Path:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(folder / "s"))
    return folder / "s"


def looped(folder: Path) -> Path:
    (folder / "loop").symlink_to(folder / "loop")
    return folder / "loop"


@posix
@pytest.mark.parametrize(
    ("place", "said"),
    [
        (pipe, "it is a pipe"),
        (looped, "Too many levels of symbolic links"),
        (lambda _: Path("/dev/zero"), "it is a device"),
        (lambda folder: folder, "Is a directory"),
        (lambda folder: folder / ("x" * 300), "File name too long"),
        (lambda folder: Path("/".join(["d"] * 3000)), "File name too long"),
        (lambda folder: folder / "a\0b", "embedded null byte"),
        (lambda folder: folder / "\ud800", "surrogates not allowed"),
        (socketed, "No such device or address"),
    ],
)
def test_what_is_no_plain_file_is_refused_without_waiting(place, said, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=rf"^card .*: cannot be read \(.*{said}") as caught:
        read_bytes(place(tmp_path), "card", error=CheckpointError)
    assert "\n" not in str(caught.value)


def test_size_and_encoding_are_held(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"\xff")
    with pytest.raises(CheckpointError, match=r"cannot be read \(it is no text file\)"):
        read_text(path, "card", error=CheckpointError)
    path.write_bytes(b"\xef\xbb\xbfa\r\nb\rc")
    assert read_text(path, "card", error=CheckpointError, encoding="utf-8-sig") == "a\nb\nc"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # with holes: takes no room
    with pytest.raises(CheckpointError, match=f"is larger than {MOST_BYTES} bytes"):
        read_text(path, "card", error=CheckpointError)


DEEP = r"more than 16 levels"
ATTACKS = {
    "dotted key": (".".join("a" * 29_000) + " = 1", DEEP),
    "dotted key of texts": (".".join(['"a.b"'] * 9_000) + " = 1", DEEP),
    "dotted header": ("[" + ".".join("a" * 29_000) + "]", DEEP),
    "dotted key after a text of five quotes": (
        'x = {a = """b""""", ' + ".".join("a" * 9_000) + " = 1}",
        DEEP,
    ),
    "arrays": ("a = " + "[" * 50_000, DEEP),
    "arrays over lines": ("a = " + "[\n" * 50_000, DEEP),
    "tables": ("a = " + "{a = " * 50_000, DEEP),
    "many keys": ("\n".join(f"a{i} = 1" for i in range(20_001)), "at most 20000 keys"),
    "many values": ("a = [" + "1," * 200_001 + "]", "200000 values"),
    "quotes that do not end": ('a = "' + '\\"' * 50_000, "is no TOML"),
    "triple quotes that do not end": ("a = '''" + "''x" * 50_000, "is no TOML"),
    "digits": ("a = " + "9" * 50_000, "is no TOML"),
    "hexadecimal digits": ("a = 0x" + "f" * 50_000, "more than 64 bits"),
    "no day": ("a = 2026-02-30", "is no TOML"),
    "NUL": ('a = "b\\u0000"', "holds a NUL"),
    "NUL in a key": ('"b\\u0000" = [{c = 1}]', "holds a NUL"),
    "surrogate": ('a = "\\ud800"', "is no TOML"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_toml_that_would_grow_is_refused_before_it_is_parsed(attack: str) -> None:
    text, said = ATTACKS[attack]
    with pytest.raises(CheckpointError, match=f"^card x.*{said}") as caught:
        toml_table(text, "card x", error=CheckpointError)
    assert len(str(caught.value)) < 400


def test_what_the_bounds_let_through_takes_little_memory() -> None:
    text = "\n".join(".".join([f"a{i}", *"bcdefghijklmnop"]) + " = 1" for i in range(100))
    tracemalloc.start()
    try:
        assert len(toml_table(text, "card x", error=CheckpointError)) == 100
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 2000 * len(text)


@pytest.mark.parametrize(
    "text",
    [
        'a.b.c = "x.y.z"  # [[[[[[[[[[[[[[[[[[[[[',
        "a = [\n  [1.5, 2.5],\n  [3.5, 4.5],\n]\n[b.c]\nd = {e.f = 1, g = 'h'}",
        "a = " + "[" * 16 + "]" * 16,
        ".".join("a" * 16) + " = 1",
        "a = [" + "0.25, " * 200 + "]",
        'a = """x""y"""""\nb = 1',
        "a = '" + "[" * 100 + "'",
        "a = 9223372036854775807",
    ],
)
def test_toml_within_the_bounds_is_read(text: str) -> None:
    assert "a" in toml_table(text, "card x", error=CheckpointError)


@given(st.text(alphabet="ab.[]{}=,\"'\\#\n 1-T:_", max_size=200))
def test_any_text_is_a_table_or_one_line(text: str) -> None:
    try:
        assert isinstance(toml_table(text, "card x", error=CheckpointError), dict)
    except CheckpointError as error:
        assert re.match(r"card x is no TOML: |card x, line \d+: ", str(error))
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 100_000, "lie too deep"),
        ('{"a": ' * 100_000, "lie too deep"),
        ("9" * 10_000, "is no JSON"),
        ("{", "is no JSON"),
        (b"\xff\xfe", "is no JSON"),
        ("", "is no JSON"),
    ],
)
def test_json_is_read_or_refused_in_a_line(text: str | bytes, said: str) -> None:
    with pytest.raises(CheckpointError, match=f"^note x .*{said}"):
        json_value(text, "note x", error=CheckpointError)
    assert json_value('{"a": [1]}', "note x", error=CheckpointError) == {"a": [1]}
