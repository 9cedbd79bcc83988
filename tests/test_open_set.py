"""Open sets: members by name, from a program, from packages, and what is said when one is wrong."""

from __future__ import annotations

import signal
import sys
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from ensembles import open_set
from ensembles.errors import LesionError, UsageError, nearest
from ensembles.open_set import Entry, Listing, OpenSet, PluginWarning

GROUP = "ensembles.test_set"


@dataclass(frozen=True)
class Shape:
    name: str
    summary: str = "a shape"


CIRCLE, SQUARE = Shape("circle", "round"), Shape("square", "with four corners")


FOLDER = "shapes_of_the_tests"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package whose files are the built-in members."""
    home = tmp_path / "built_in" / FOLDER
    home.mkdir(parents=True)
    (home / "__init__.py").write_text("")
    for name in ("square", "circle"):
        text = f"import {__name__} as shapes\nMEMBER = shapes.{name.upper()}\n"
        (home / f"{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, f"{FOLDER}.{name}", raising=False)
    monkeypatch.delitem(sys.modules, FOLDER, raising=False)
    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])
    monkeypatch.syspath_prepend(str(home.parent))
    return home


def new_set(base: str = "", first: tuple[str, ...] = ()) -> OpenSet[Shape]:
    """A set whose built-in members lie in that package."""
    return OpenSet("shape", GROUP, FOLDER, first=first, base=base)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Install a package: a module, and the entry points of the set's group."""

    def add(package: str, source: str, **points: str) -> None:
        home = tmp_path / package
        info = home / f"{package}-1.0.dist-info"
        info.mkdir(parents=True)
        (home / f"{package}.py").write_text(source)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = "".join(f"{name} = {value}\n" for name, value in points.items())
        (info / "entry_points.txt").write_text(f"[{GROUP}]\n{lines}")
        monkeypatch.syspath_prepend(str(home))

    return add


def test_members_are_there_by_name_and_in_order() -> None:
    shapes = new_set()
    assert shapes.names() == ("circle", "square") == tuple(shapes)
    assert shapes.get("circle") is CIRCLE and "square" in shapes and "oval" not in shapes
    assert shapes.members() == {"circle": CIRCLE, "square": SQUARE}
    assert repr(shapes) == "<open set of the shapes circle, square>"
    assert new_set(first=("square",)).names() == ("square", "circle")


def test_a_file_in_the_folder_is_a_member(folder: Path) -> None:
    (folder / "oval.py").write_text(f"import {__name__} as shapes\nMEMBER = shapes.Shape('oval')\n")
    assert new_set().names() == ("circle", "oval", "square")
    assert new_set().get("oval") == Shape("oval")


def test_an_unknown_name_offers_the_nearest() -> None:
    with pytest.raises(
        UsageError,
        match=r"shape 'cirkle' is unknown; expected circle, square; did you mean circle\?",
    ):
        new_set().get("cirkle")


@pytest.mark.parametrize(
    ("written", "known", "hint"),
    [
        ("agr", ["margin", "agreement"], "agreement"),
        ("AGREEMENT", ["margin", "agreement"], "agreement"),
        ("ag", ["margin", "agreement"], ""),
        ("path", ["bath", "paths-of-blocks", "paths"], "paths, paths-of-blocks or bath"),
        ("rest", ["restoration", "restored", "resting", "rests"], "rests, resting or restored"),
        ("cirkle", ["square", "circle"], "circle"),
    ],
)
def test_a_beginning_is_enough_of_a_name(written: str, known: list[str], hint: str) -> None:
    assert nearest(written, known) == (f"; did you mean {hint}?" if hint else "")


def test_the_error_is_that_of_the_set() -> None:
    shapes: OpenSet[Shape] = OpenSet("shape", GROUP, error=LesionError)
    with pytest.raises(LesionError, match="shape 'x' is unknown"):
        shapes.get("x")


def test_a_program_adds_a_member_and_takes_it_out() -> None:
    shapes, oval = new_set(), Shape("oval")
    assert shapes.register("oval", oval) is oval
    assert shapes.register("oval", oval) is oval  # once more is no harm
    assert shapes.names() == ("circle", "square", "oval") and shapes.get("oval") is oval
    with pytest.raises(UsageError, match="shape 'oval' is there already; choose another name"):
        shapes.register("oval", Shape("oval", "another"))
    with pytest.raises(UsageError, match="shape 'circle' is there already"):
        shapes.register("circle", Shape("circle"))
    shapes.forget("oval")
    assert shapes.names() == ("circle", "square")


def test_what_is_no_member_is_refused() -> None:
    shapes = new_set(f"{__name__}:Shape")
    with pytest.raises(
        UsageError,
        match=r"shape 'oval' of the program is 3; expected an instance of a subclass of .*Shape",
    ):
        shapes.register("oval", 3)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="'oval' of the program is the class Shape; expected an"):
        shapes.register("oval", Shape)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="shape 'oval' of the program calls itself 'round'"):
        shapes.register("oval", Shape("round"))


class Form(ABC):
    """A base whose members are classes."""

    kind = "form"

    @abstractmethod
    def area(self) -> float: ...


def test_members_may_be_classes_and_must_be_whole() -> None:
    forms: OpenSet[type[Form]] = OpenSet(
        "form", GROUP, {}, base=f"{__name__}:Form", classes=True
    )  # fmt: skip

    class Half(Form):
        kind, summary = "half", "half a form"

    class Whole(Half):
        kind = "whole"

        def area(self) -> float:
            return 1.0

    class Silent(Form):
        kind = "silent"
        area = Whole.area

    assert forms.register("whole", Whole) is Whole
    with pytest.raises(UsageError, match="form 'half' of the program lacks area; define what"):
        forms.register("half", Half)
    with pytest.raises(UsageError, match="form 'silent' of the program lacks summary"):
        forms.register("silent", Silent)
    with pytest.raises(UsageError, match=r"is <.*Whole.*>; expected a subclass of .*Form"):
        forms.register("whole2", Whole())  # type: ignore[arg-type]


def test_a_package_brings_members(install: Callable[..., None]) -> None:
    install("flat", f"from {__name__} import Shape\nOVAL = Shape('oval', 'long')", oval="flat:OVAL")
    shapes = new_set(f"{__name__}:Shape")
    assert "flat" not in sys.modules
    assert shapes.names() == ("circle", "square", "oval") and "flat" not in sys.modules
    assert shapes.get("oval").summary == "long"


def test_what_a_package_prints_as_it_is_imported_is_no_result(
    install: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    source = f"from {__name__} import Shape\nprint('hello')\nOVAL = Shape('oval', 'long')"
    install("loud", source, oval="loud:OVAL")
    assert new_set().get("oval").summary == "long"
    assert capsys.readouterr() == ("", "hello\n")


MISBEHAVIOUR = {
    "interrupts": ("raise KeyboardInterrupt", "RuntimeError: it interrupts the program"),
    "sends a signal": (
        "import signal, time\nsignal.raise_signal(signal.SIGALRM)\ntime.sleep(9)", "longer than"),
    "hangs": ("import time\ntime.sleep(60)", "RuntimeError: it takes longer than 0.2 s"),
    "goes elsewhere": ("import os\nos.chdir('/')\nraise OSError('no')", "OSError: no"),
    "writes past Python": ("import os\nos.write(1, b'seen')\n1 / 0", "ZeroDivisionError"),
}  # fmt: skip


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs the timers of Unix")
@pytest.mark.parametrize("what", MISBEHAVIOUR)
def test_a_package_that_misbehaves_is_named_and_changes_nothing(
    what: str,
    install: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    source, reason = MISBEHAVIOUR[what]
    monkeypatch.setattr(open_set, "PATIENCE", 0.2)
    install("rude", source, oval="rude:OVAL")
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)
    before = Path.cwd(), *map(signal.getsignal, numbers)
    with pytest.raises(UsageError, match=f"'oval' of the package rude cannot be .*{reason}"):
        new_set().get("oval")
    assert (Path.cwd(), *map(signal.getsignal, numbers)) == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    assert capfd.readouterr().out == ""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs the timers of Unix")
def test_somebody_who_asks_to_end_is_heard_while_a_package_hangs(
    install: Callable[..., None],
) -> None:
    install("slow", "import signal\nsignal.raise_signal(signal.SIGINT)", oval="slow:OVAL")
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            new_set().get("oval")
    finally:
        signal.signal(signal.SIGINT, handler)


def test_a_package_that_cannot_be_imported_is_named_and_the_rest_goes_on(
    install: Callable[..., None],
) -> None:
    install("torn", "import a_package_that_nobody_has", oval="torn:OVAL")
    install("gone", "raise SystemExit(3)", kite="gone:KITE")
    install("vain", "", star="vain:STAR")
    shapes = new_set()
    with pytest.warns(PluginWarning) as caught:
        assert list(shapes.members()) == ["circle", "square"]
    lines = sorted(str(one.message) for one in caught)
    assert len(lines) == 3
    assert "shape 'kite' of the package gone cannot be imported (SystemExit: 3)" in lines[0]
    assert "shape 'oval' of the package torn cannot be imported (ModuleNotFoundError" in lines[1]
    assert "mend or remove that package" in lines[1]
    assert "shape 'star' of the package vain cannot be imported (AttributeError" in lines[2]
    with pytest.raises(UsageError, match="package torn cannot be imported"):
        shapes.get("oval")
    with warnings.catch_warnings():  # what was told once is not told again
        warnings.simplefilter("error")
        assert shapes.listing().names == ("circle", "square")


def test_a_package_cannot_take_a_name(install: Callable[..., None]) -> None:
    source = f"from {__name__} import Shape\nFIRST, SECOND = Shape('oval', '1'), Shape('oval', '2')"
    install("one", source, oval="one:FIRST")
    install("two", source, oval="two:SECOND", circle="two:SECOND")
    shapes = new_set()
    with pytest.warns(PluginWarning) as caught:
        assert shapes.get("oval").summary in ("1", "2")
    lines = sorted(str(one.message) for one in caught)
    assert [line.partition(" of the package ")[0] for line in lines] == [
        "shape 'circle'", "shape 'oval'",
    ]  # fmt: skip
    assert all(line.endswith("is left out: the name is taken") for line in lines)
    assert shapes.get("circle") is CIRCLE


def test_a_listing_is_a_table_that_prints_itself() -> None:
    listing = new_set().listing()
    assert listing == Listing([Entry("circle", "round"), Entry("square", "with four corners")])
    assert listing != Listing([]) and listing.names == ("circle", "square") and len(listing) == 2
    assert repr(listing) == "circle  round\nsquare  with four corners"
    assert "circle" in listing and "oval" not in listing
    assert listing[0].summary == "round" and listing[:1] == (Entry("circle", "round"),)
    assert [name for name, _ in listing] == ["circle", "square"]
    assert "<td><code>circle</code></td><td>round</td>" in listing._repr_html_()
    assert "a &lt; b" in Listing([Entry("less", "a < b")])._repr_html_()
