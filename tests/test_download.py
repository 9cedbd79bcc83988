"""Downloads from servers that do what they should not, and what ends in the middle of one."""

from __future__ import annotations

import hashlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from stores import files, in_a_process, status_of

from ensembles.checkpoints import download as module
from ensembles.cli.signals import interruptible
from ensembles.errors import CheckpointError

CONTENT = os.urandom(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
unix = pytest.mark.skipif(os.name != "posix", reason="needs the signals of Unix")


class Handler(BaseHTTPRequestHandler):
    """Serves one file, as the address says: whole, or in a way of which nothing good comes."""

    ended: threading.Event
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        how = self.path.strip("/")
        if how == "stalls-before-the-answer":
            self.ended.wait(60)
            return
        if how == "leads-to-plain-http":
            self.send_response(302)
            self.send_header("Location", f"ftp://{self.headers['Host']}/whole")
            self.end_headers()
            return
        self.send_response(200)
        if how not in ("without-end", "unannounced"):
            self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        if how == "too-little":
            self.wfile.write(CONTENT[:1000])
        elif how == "too-much":
            self.wfile.write(CONTENT + bytes(5000))
        elif how == "stalls-in-the-middle":
            self.wfile.write(CONTENT[:200_000])
            self.wfile.flush()
            self.ended.wait(60)
        elif how == "drips":
            for byte in CONTENT:
                self.wfile.write(bytes([byte]))
                if self.ended.wait(0.02):
                    return
        elif how == "without-end":
            while not self.ended.is_set():
                self.wfile.write(bytes(100_000))
        else:
            self.ended.wait(1.0 if how == "slowly" else 0)
            self.wfile.write(CONTENT)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server on this machine, without TLS."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(module, "_SCHEME", "http://")
    Handler.ended, Handler.asked = threading.Event(), []
    monkeypatch.setattr(ThreadingHTTPServer, "handle_error", lambda *_: None)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{serving.server_port}/"
        finally:
            Handler.ended.set()
            serving.shutdown()
            thread.join()


def fetched(server: str, how: str, path: Path, sha256: str = SHA256) -> None:
    module.download(f"{server}{how}", path, sha256, progress=False)


@pytest.mark.parametrize(
    ("how", "line"),
    [
        ("too-little", r"cannot be downloaded \(it ended after 1,000 of 300,000 bytes\)"),
        ("stalls-in-the-middle", r"cannot be downloaded \((The read operation )?timed out\)"),
        ("stalls-before-the-answer", r"cannot be downloaded \(timed out\)"),
        ("without-end", r"gives more than 0 GiB; expected a file"),
        ("leads-to-plain-http", r"cannot be downloaded \(it leads to 'ftp://.*no https address\)"),
    ],
)
def test_what_is_not_the_file_is_refused(
    how: str, line: str, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_TIMEOUT", 0.5)
    monkeypatch.setattr(module, "_MOST", 2_000_000)
    for sha256 in (SHA256, ""):
        with pytest.raises(CheckpointError, match=line) as error:
            fetched(server, how, tmp_path / "a.pt", sha256)
        assert "\n" not in str(error.value)
        assert files(tmp_path) == []


@pytest.mark.parametrize("how", ["whole", "unannounced", "too-much"])
def test_the_file_is_what_was_announced(how: str, server: str, tmp_path: Path) -> None:
    fetched(server, how, tmp_path / "a.pt")
    assert (tmp_path / "a.pt").read_bytes() == CONTENT and files(tmp_path) == ["a.pt"]


@unix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    "how", ["stalls-before-the-answer", "stalls-in-the-middle", "drips", "without-end"]
)
def test_a_download_ends_when_it_is_asked_to(
    how: str, number: int, server: str, tmp_path: Path
) -> None:
    def waiting() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with interruptible():
            try:
                fetched(server, how, tmp_path / "a.pt")
            except KeyboardInterrupt:
                os._exit(7)

    child = in_a_process(waiting)
    end = time.monotonic() + 20
    while not Handler.asked and time.monotonic() < end:
        time.sleep(0.02)
    time.sleep(0.2)
    assert any(name.endswith(".part") for name in files(tmp_path))
    os.kill(child, number)
    began = time.monotonic()
    assert status_of(child) == 7
    assert time.monotonic() - began < 5
    assert files(tmp_path) == []
    fetched(server, "whole", tmp_path / "a.pt")
    assert (tmp_path / "a.pt").read_bytes() == CONTENT and files(tmp_path) == ["a.pt"]


@unix
def test_two_processes_fetch_it_once_and_read_the_same(server: str, tmp_path: Path) -> None:
    def reads(name: str) -> None:
        fetched(server, "slowly", tmp_path / "a.pt")
        (tmp_path / name).write_text(hashlib.sha256((tmp_path / "a.pt").read_bytes()).hexdigest())

    children = [in_a_process(lambda name=name: reads(name)) for name in ("first", "second")]
    assert [status_of(child) for child in children] == [0, 0]
    assert Handler.asked == ["/slowly"] and files(tmp_path) == ["a.pt", "first", "second"]
    assert (tmp_path / "first").read_text() == (tmp_path / "second").read_text() == SHA256


@unix
def test_one_that_waits_for_another_s_download_ends_too(server: str, tmp_path: Path) -> None:
    first = in_a_process(lambda: fetched(server, "drips", tmp_path / "a.pt"))

    def waiting() -> None:
        with interruptible():
            try:
                fetched(server, "whole", tmp_path / "a.pt")
            except KeyboardInterrupt:
                os._exit(7)

    end = time.monotonic() + 20
    while not Handler.asked and time.monotonic() < end:
        time.sleep(0.02)
    second = in_a_process(waiting)
    time.sleep(0.5)
    os.kill(second, signal.SIGTERM)
    assert status_of(second) == 7 and Handler.asked == ["/drips"]
    third = in_a_process(lambda: fetched(server, "whole", tmp_path / "a.pt"))
    time.sleep(0.3)
    assert Handler.asked == ["/drips"]
    os.kill(first, signal.SIGKILL)  # what it held is free
    assert status_of(first) == -signal.SIGKILL
    assert status_of(third) == 0 and (tmp_path / "a.pt").read_bytes() == CONTENT
    assert Handler.asked == ["/drips", "/whole"]
