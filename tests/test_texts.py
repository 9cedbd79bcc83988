"""Texts: where they come from, tokens, windows, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import ensembles
from ensembles.data.texts import BYTES, Encoded, TextDataset, Windows, is_text, open_text
from ensembles.data.texts.hub_tokens import HubTokens, as_tokenizer
from ensembles.errors import DataError, EnsemblesError, UsageError
from ensembles.tasks.members.classification import MEMBER as CLASSIFICATION
from ensembles.tasks.members.language import MEMBER as LANGUAGE

TEXT = "The quick brown fox jumps over the lazy dog. " * 4


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENSEMBLES_CACHE", str(tmp_path / "cache"))


def written(path: Path, text: str = TEXT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_windows_lie_one_after_the_other_and_the_rest_is_left_out(tmp_path: Path) -> None:
    data = open_text(written(tmp_path / "a.txt"), window=16)
    assert data.split == "all"
    assert len(data) == len(TEXT) // 16
    assert bytes(data.windows.flatten().tolist()).decode() == TEXT[: 16 * len(data)]
    assert data.bytes_per_token == 1
    assert torch.equal(data[-1], data.windows[-1])
    assert "windows of 16 tokens of bytes, every 16 tokens, nothing in front" in data.told


@pytest.mark.parametrize(
    ("cut", "starts", "first"),
    [
        (Windows(8), [0, 8, 16], 0),
        (Windows(8, stride=4), [0, 4, 8, 12, 16], 0),
        (Windows(8, front=99), [0, 7, 14], 99),
        (Windows(8, stride=9), [0, 9], 0),
    ],
)
def test_strides_and_what_is_put_in_front(cut: Windows, starts: list[int], first: int) -> None:
    ids = torch.arange(24).numpy()
    data = TextDataset.of_text("x", "all", Encoded(ids, ids * 0 + 2), cut, tokenizer=BYTES)
    own = 1 if cut.front is not None else 0
    assert data.windows[:, own].tolist() == starts
    assert data.windows.shape[1] == 8
    assert data.windows[0, 0] == first
    assert data.sizes[0, 0] == (0 if own else 2)
    assert data.bytes_per_token == 2


def test_a_window_is_told_from_another_by_its_hash(tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt")
    options: list[dict[str, Any]] = [{}, {"stride": 8}, {"front": 0}, {"window": 8}]
    hashes = {open_text(path, **{"window": 16, **one}).content_hash for one in options}
    assert len(hashes) == 4
    data = open_text(path, window=16)
    assert data.limited(3).windows.equal(data.windows[[i * len(data) // 3 for i in range(3)]])
    assert data.taken([1, 0]).windows.equal(data.windows[[1, 0]])


def test_embedded_texts_have_two_parts() -> None:
    train, test = (ensembles.dataset("prose", split, window=64) for split in ("train", "test"))
    assert isinstance(train, TextDataset)
    assert isinstance(test, TextDataset)
    assert len(train) > len(test) > 10
    assert train.content_hash != test.content_hash
    assert test.of_split("train").content_hash == train.content_hash
    assert ensembles.dataset("prose", "val", window=64).split == "test"


def test_tokens_come_from_disk_the_second_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / "a.txt")
    first = open_text(path, window=16)
    monkeypatch.setattr("ensembles.data.texts.token_codes.ByteTokens.encode", None)
    assert open_text(path, window=16).content_hash == first.content_hash
    (kept,) = (tmp_path / "cache").glob("tokens-*")
    kept.write_bytes(kept.read_bytes()[:-1] + b"x")
    monkeypatch.undo()
    monkeypatch.setenv("ENSEMBLES_CACHE", str(tmp_path / "cache"))
    assert open_text(path, window=16).content_hash == first.content_hash


def test_folders_and_tables(tmp_path: Path) -> None:
    written(tmp_path / "flat" / "b.txt", "second " * 9)
    written(tmp_path / "flat" / "a.md", "first " * 9)
    written(tmp_path / "flat" / ".hidden.txt", "hidden " * 9)
    flat = open_text(tmp_path / "flat", window=8)
    assert bytes(flat.windows.flatten().tolist()).startswith(b"first first ")
    assert b"hidden" not in bytes(flat.windows.flatten().tolist())
    written(tmp_path / "parts" / "train" / "x.txt", "training text " * 4)
    written(tmp_path / "parts" / "test.txt", "text for testing " * 4)
    assert open_text(tmp_path / "parts", "train", window=8).split == "train"
    assert open_text(tmp_path / "parts", window=8).split == "test"
    lines = "\n".join(json.dumps({"body": "word " * 9, "n": 1}) for _ in range(3))
    table = written(tmp_path / "t.jsonl", lines)
    assert len(open_text(table, window=8, column="body")) == (3 * 45 + 4) // 8
    pq = pytest.importorskip("pyarrow.parquet")
    pa = pytest.importorskip("pyarrow")
    pq.write_table(pa.table({"text": ["word " * 9] * 3}), tmp_path / "t.parquet")
    assert len(open_text(tmp_path / "t.parquet", window=8)) == (3 * 45 + 4) // 8


@pytest.mark.parametrize(
    ("name", "text", "options", "message"),
    [
        ("a.txt", "short", {}, r"has 5 tokens \(bytes\), fewer than a window of 16; give a longer"),
        ("a.txt", " ", {}, "holds no text; expected at least one character"),
        ("a.txt", TEXT, {"window": 1}, "windows of 1 tokens; expected at least 2"),
        ("a.txt", TEXT, {"stride": 0}, "a stride of 0 tokens; expected at least 1"),
        ("a.txt", TEXT, {"limit": 0}, "a limit of 0"),
        ("a.txt", TEXT, {"column": "text"}, "is no table, so it has no column 'text'"),
        ("a.jsonl", '{"body": "x"}', {}, "has no column 'text', only body; name the one"),
        ("a.jsonl", '{"text": 3}', {}, "line 1: the column 'text' holds a int; expected text"),
        ("a.jsonl", "[", {}, "line 1: is no JSON object; expected one a line"),
        ("folder/train/a.txt", TEXT, {}, "has no split 'test'; it has train"),
        ("folder/b.png", TEXT, {}, "holds no texts; expected files that end in"),
        ("other", TEXT, {"path": "nowhere.txt"}, "there is no text .*nowhere.txt; expected a file"),
    ],
)
def test_bad_texts_are_refused_in_a_line(
    tmp_path: Path, name: str, text: str, options: dict[str, Any], message: str
) -> None:
    written(tmp_path / name, text)
    where = tmp_path / options.pop("path", name.partition("/")[0])
    with pytest.raises(EnsemblesError, match=message) as caught:
        open_text(where, **{"window": 16, **options})
    assert "\n" not in str(caught.value)


def test_names_that_are_none() -> None:
    with pytest.raises(DataError, match="no text or file ''; known are prose"):
        ensembles.dataset("", window=8)
    with pytest.raises(DataError, match=r"no text or file 'pros'; known are prose.*did you mean"):
        open_text("pros")
    assert is_text("prose")
    assert is_text("a.txt")
    assert not is_text("digits")
    with pytest.raises(UsageError, match="the tokenizer is a int; expected one of"):
        ensembles.dataset("prose", tokenizer=3)


def test_images_and_texts_are_not_mixed_up() -> None:
    text = ensembles.dataset("prose", window=16, limit=2)
    images = ensembles.dataset("digits", limit=2)
    with pytest.raises(DataError, match="prose is a text, and the network takes images"):
        next(CLASSIFICATION.batches(text, 2))
    with pytest.raises(DataError, match="digits holds images, and the network is a language mod"):
        next(LANGUAGE.batches(images, 2))
    batch = next(LANGUAGE.batches(text, 2))
    assert batch.targets.equal(text.windows[:, 1:])


class _Halves:
    """A backend whose tokens are pairs of characters, as one of tokenizers."""

    def encode(self, text: str, *, add_special_tokens: bool) -> Any:
        assert not add_special_tokens
        starts = range(0, len(text), 2)
        ids = [ord(text[start]) % 50 for start in starts]
        offsets = [(start, min(start + 2, len(text))) for start in starts]
        return type("Encoding", (), {"ids": ids, "offsets": offsets})

    def get_vocab_size(self, with_added_tokens: bool = True) -> int:
        return 50

    def to_str(self) -> str:
        return "halves"


def test_bytes_of_tokens_add_up_to_those_of_the_text() -> None:
    text = "aé€𝄞x" * 3
    found = HubTokens(_Halves(), "halves").encode(text)
    assert found.sizes.sum() == len(text.encode())
    assert found.sizes[:2].tolist() == [len("aé".encode()), len("€𝄞".encode())]
    assert as_tokenizer(_Halves()).size == 50
    assert BYTES.encode("né").ids.tolist() == [110, 195, 169]


def test_the_names_of_texts_are_those_of_the_embedded_ones():
    from ensembles.data.texts.embedded_texts import EMBEDDED
    from ensembles.text_names import TEXTS

    assert tuple(EMBEDDED) == TEXTS
