"""What reaches a terminal: nothing that acts on it, nothing lost, one line where it fails."""

from __future__ import annotations

import ast
import contextlib
import os
import signal
import subprocess
import sys
import time
import unicodedata
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensembles.cli import main, signals
from ensembles.cli.output import plain_warnings
from ensembles.cli.signals import interruptible
from ensembles.cli.tables import aligned
from ensembles.errors import DataError, EnsemblesError
from ensembles.open_set import Entry, Listing
from ensembles.printable import printable

ROOT = Path(__file__).parent.parent
ATTACKS = {
    "title": "\x1b]0;owned\x07",
    "clipboard": "\x1b]52;c;cm0gLXJm\x07",
    "screen": "\x1b[2J\x1b[H",
    "one byte": "\x9b2J\x90x\x9c",
    "return": "right\rwrong",
    "backspace": "abc\b\b\bxyz",
    "bell": "\x07",
    "direction": "a\u202eb\u2066c\u200f",
    "unseen": "pass\u200bword\u00ad\ufeff",
    "tags": "x\U000e0041",
    "lines": "a\u2028b\u2029c\x0bd\x0ce\x85f",
    "surrogate": "a\udcffb",
    "delete": "a\x7fb",
}


def acting(text: str) -> list[str]:
    """The characters of a text that a terminal would not just show."""
    kinds = ("Cc", "Cf", "Cs", "Zl", "Zp")
    return [one for one in text if unicodedata.category(one) in kinds and one != "\n"]


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_acts_on_a_terminal_is_escaped(attack: str) -> None:
    text = ATTACKS[attack]
    assert acting(text)
    assert not acting(printable(text))
    assert printable(printable(text)) == printable(text)


@given(st.text())
def test_no_text_acts_and_plain_text_stays(text: str) -> None:
    shown = printable(text, lines=False)
    assert not acting(shown) and "\n" not in shown
    if not acting(text) and not set("\n\ufe0f") & set(text):
        assert printable(text, lines=False).isprintable() or text == shown


@pytest.mark.parametrize("text", ["é ü ß", "日本語", "×√∑", "👍", "a\\u001b", "עברית", ""])
def test_other_writing_stays_as_it_is(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize("attack", ATTACKS)
def test_errors_and_tables_are_escaped(attack: str) -> None:
    text = ATTACKS[attack]
    assert not acting(str(DataError(f"class {text}")))
    lines = aligned(("name", "b"), [[f"{text}\nx", "1"], ["y", "22"]])
    assert len(lines) == 3 and not acting("".join(lines))
    assert {len(line.rstrip("12").rstrip()) > 0 for line in lines} == {True}


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_command_line_says_nothing_that_acts(attack: str, capsys, tmp_path: Path) -> None:
    text = ATTACKS[attack]
    card = tmp_path / "a.toml"
    card.write_text("name = ", encoding="utf-8")
    for arguments in (
        [text],
        ["lesion", "--model", f"x{text}"],
        ["study", "status", f"{tmp_path}/{text}.toml"],
        ["train", "resnet20", "digits", "--recipe", f"{text}"],
        ["lesion", "--plan", f"{tmp_path}/{text}"],
        ["--debug", "report", text],
    ):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        out, err = capsys.readouterr()
        assert stop.value.code in (1, 2)
        assert not acting(out + err)
        assert "--debug" in arguments or err.count("\n") == 1


def test_warnings_of_anyone_are_escaped(capsys) -> None:
    with plain_warnings():
        warnings.simplefilter("always")
        warnings.warn("file \x1b]0;x\x07", UserWarning, stacklevel=1)
    err = capsys.readouterr().err
    assert "\\u001b]0;x\\u0007" in err and not acting(err)


def test_text_leaves_in_one_place() -> None:
    """No command prints by other means, and bars that show names are made in few places."""
    wrong = []
    for folder in ("cli", "ensembles", "checkpoints"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                named = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
                if named in ("click.echo", "print", "sys.stdout.write", "sys.stderr.write"):
                    wrong.append(f"{path.relative_to(ROOT)}:{node.lineno}: {named}")
    there = {"cli/output.py", "ensembles/reproduction/derivation.py"}
    there |= {"ensembles/studies/members/slurm.py", "ensembles/studies/workers/worker.py"}
    assert [one for one in wrong if one.partition(":")[0] not in there] == []


posix = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full and a shell")


def shell(line: str, **environment: str) -> tuple[int, str]:
    """Exit status and standard error of a line of a shell, in which $E is the command line."""
    done = subprocess.run(
        ["bash", "-c", line], check=False,
        env={**os.environ, "E": sys.executable, **environment},
        capture_output=True, text=True, errors="surrogateescape", timeout=120,
    )  # fmt: skip
    return done.returncode, done.stderr


E = '"$E" -c "from ensembles.cli import main; main()"'


@posix
@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        (f"{E} --help >&-", 1, "ensembles: standard output is closed; "),
        (f"{E} --help > /dev/full", 1, "ensembles: standard output: cannot be written (No space"),
        (f"{E} --help | true; exit ${{PIPESTATUS[0]}}", 0, ""),
        (f"{E} --help >/dev/null 2>&-", 0, ""),
        (f"{E} nothing 2>/dev/full", 2, ""),
        (f"{E} nothing 2>&- >&-", 2, ""),
        (f"{E} $'\\xff\\xfe'", 2, "ensembles: no command '\\udcff\\udcfe'"),
        (f"LC_ALL=C PYTHONUTF8=0 PYTHONIOENCODING=ascii {E} é", 2, "ensembles: no command '"),
        (f"LC_ALL=nowhere {E} --help >/dev/null", 0, ""),
    ],
)
def test_streams_that_fail_cost_a_line(line: str, code: int, said: str) -> None:
    found, err = shell(line)
    assert (found, err[: len(said)]) == (code, said)
    assert err.count("\n") <= 1 and (said or not err)


def test_help_needs_no_docstrings() -> None:
    code = "from ensembles.cli import main; main()"
    for more, words in (
        ([], "Take trained networks apart"),
        (["lesion"], "Delete, move or change"),
    ):
        arguments = [sys.executable, "-OO", "-c", code, *more, "--help"]
        done = subprocess.run(arguments, capture_output=True, text=True, check=True)
        assert words in done.stdout


STUBBORN = """
import time
from ensembles.cli import signals
signals.GRACE = 1
with signals.interruptible():
    while True:
        try:
            print("there", flush=True)
            time.sleep(60)
        except BaseException:
            pass
"""


@pytest.mark.skipif(not hasattr(signal, "alarm"), reason="needs alarms")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_code_that_swallows_an_interruption_is_ended(number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == b"there\n"
            process.send_signal(number)
            assert process.wait(30) == -signal.SIGALRM
        finally:
            process.kill()


class Loud:
    """An object at whose end an interruption comes."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interruption_that_python_drops_comes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "AGAIN", 0.05)
    with pytest.raises(KeyboardInterrupt), interruptible():
        Loud()  # what is raised in `__del__` goes no further
        time.sleep(20)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interruption_does_not_come_again_where_nothing_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(signals, "AGAIN", 0.01)
    for wait in np.linspace(0, 0.02, 40):  # around the moment at which it would
        with contextlib.suppress(KeyboardInterrupt), interruptible():
            Loud()
            time.sleep(wait)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    time.sleep(0.1)  # a request that came now would kill this process


def test_an_interruption_that_is_heard_comes_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "AGAIN", 0.05)
    ended = []
    with pytest.raises(KeyboardInterrupt), interruptible():
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            time.sleep(0.5)  # work in hand is ended in order
            ended.append(True)
    time.sleep(0.2)
    assert ended == [True]


def test_an_interruption_leaves_no_alarm() -> None:
    if not hasattr(signal, "alarm"):
        pytest.skip("needs alarms")
    with pytest.raises(KeyboardInterrupt), interruptible():
        signal.raise_signal(signal.SIGTERM)
    assert signal.alarm(0) == 0


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "memory ran out"),
        (RecursionError("deep"), "nested too deep"),
        (BrokenPipeError(32, "Broken pipe"), "the operating system refuses: Broken pipe"),
        (PermissionError(13, "Permission denied", "a\x1bb"), r"a\u001bb: Permission denied"),
        (OSError("x\ny"), "the operating system refuses: x y"),
        (OSError(28, "No space left"), "No space left; free space"),
        (SystemExit("gone\x07"), r"code that was run for this command ended it (gone\u0007)"),
        (KeyError("k"), "this is a fault of the program, please report it (KeyError: 'k')"),
        (EnsemblesError("a\nb"), r"ensembles: a\u000ab"),
    ],
)
def test_every_error_is_one_line(error: BaseException, said: str, capsys, monkeypatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("ensembles.cli.command_line.main", fail)
    with pytest.raises(SystemExit) as stop:
        main([])
    err = capsys.readouterr().err
    assert stop.value.code == 1 and said in err and err.count("\n") == 1
    assert not acting(err) and "unexpected" not in err


def test_listings_of_members_are_escaped(capsys) -> None:
    from ensembles.cli.output import say

    say(Listing([Entry("a\x1b[2J", "b\x07")]))
    assert capsys.readouterr().out == "a\\u001b[2J  b\\u0007\n"


@pytest.mark.parametrize("option", ["--store", "--plan", "--out", "--model"])
def test_an_argument_with_a_nul_is_refused(option: str, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["lesion", option, "a\0b.csv"])
    assert ended.value.code == 2 and "holds a NUL" in capsys.readouterr().err
