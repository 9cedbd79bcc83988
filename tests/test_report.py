"""The page of a report: what is in it, and that it needs nothing else."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from calls import exit_status

from ensembles.analyses.base import Analysis, Options
from ensembles.analyses.kinds import ANALYSES
from ensembles.errors import OutputError, UsageError
from ensembles.plots import plot_lesions
from ensembles.plots.layout import new_figure
from ensembles.report import Page, Section, drawing, page, section_of, table, write_page
from ensembles.report.parts import flat, number, percent
from ensembles.report.stores import store_frames
from ensembles.tables import split_frames, stack_frames, write_frame

pytestmark = pytest.mark.usefixtures("unplaced")  # pages are looked at, not where legends stand
VOID = {"meta", "link", "br", "path", "use", "rect"}


class Reader(HTMLParser):
    """Collects identifiers, addresses and text, and checks that elements nest."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.addresses, self.open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.ids += [value for name, value in attrs if name == "id"]
        self.addresses += [v for name, v in attrs if name in ("href", "src", "xlink:href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag


RUN = "document.title='ran-by-itself';document.documentElement.dataset.ran='yes'"
ATTACKS = (
    f"<script>{RUN}</script>", f"</title><script>{RUN}</script>", f"</script><script>{RUN}//",
    f"<img src=x onerror=\"{RUN}\">", f"\" onmouseover=\"{RUN}", f"' onfocus='{RUN}' autofocus='",
    f"<svg onload=\"{RUN}\"/>", f"javascript:{RUN}", f"]]><script>{RUN}</script>",
    f"--><script>{RUN}</script>", "<iframe src=//example.org></iframe>",
    "<meta http-equiv=refresh content='0;url=//example.org'>", "<base href=//example.org>",
    f"</svg><script>{RUN}</script>", f"</style><script>{RUN}</script>", "{{ 7*7 }}",
)  # fmt: skip
"""Texts that would run, load or lead away if a page took them for markup."""


def attacked(attacks):
    """A report in which every text is an attack."""
    sections = []
    for place, text in enumerate((attacks[1], attacks[3], attacks[13])):
        frame = pd.DataFrame(
            {
                "lesion": ["none", "delete", "delete"], "count": [0, 1, 1],
                "blocks": ["", "1", "2"], "block_names": ["", text, text],
                "kendall_tau": 1.0, "correct": [9, 8, 7], "total": 10, "error": [0.1, 0.2, 0.3],
                text: [1.0, 2.0, 3.0],
            }
        )  # fmt: skip
        frame.attrs = {"model": text, "dataset": text, "provenance": {"command": text, text: text}}
        sections.append(section_of(frame, f"{place}{text}"))
    cells = pd.DataFrame({text: list(attacks) for text in attacks})
    sections.append(section_of(cells, "1.csv"))
    return Page(attacks[0], tuple(attacks), tuple(sections))


@pytest.fixture
def lesions():
    kinds = ["none"] + ["delete"] * 4 + ["reorder"] * 6
    blocks = ["", "1", "2", "3", "1 2", "1-2", "2-3", "1-3", "1-2 2-3", "1-3 1-2", "1-2 1-3"]
    frame = pd.DataFrame(
        {
            "lesion": kinds,
            "count": [0, 1, 1, 1, 2, 1, 1, 1, 2, 2, 2],
            "blocks": blocks,
            "kendall_tau": [1.0] * 5 + [0.9, 0.9, 0.8, 0.7, 0.6, 0.6],
            "correct": [90, 80, 70, 60, 50, 88, 85, 80, 70, 60, 55],
            "total": 100,
        }
    )
    frame["error"] = 1 - frame["correct"] / 100
    frame.attrs = {
        "model": "tiny & small",
        "dataset": "digits",
        "provenance": {"command": "ensembles lesion --x '<y>'", "versions": {"torch": "2"},
                       "images": 1000, "precision": None},
    }  # fmt: skip
    return frame


def test_the_page_is_whole_and_needs_nothing_else(lesions):
    text = page(Page("A <title>", ("Lead & more.",), (section_of(lesions, "lesions.csv"),)))
    found = Reader(text)
    assert found.open == []
    assert len(found.ids) == len(set(found.ids))
    assert all(a.startswith(("#", "data:")) for a in found.addresses)
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    targets = {a[1:] for a in found.addresses if a.startswith("#")}
    assert targets <= set(found.ids)
    assert "<title>A &lt;title&gt;</title>" in text
    assert "ensembles lesion --x &#39;&lt;y&gt;&#39;" in text
    assert "tiny &amp; small on digits (1,000 images): intact error 10.00 %." in text
    assert "<dt>versions torch</dt><dd>2</dd>" in text
    assert "<dt>precision</dt>" not in text


def test_two_figures_do_not_share_identifiers(lesions):
    parts = tuple(section_of(lesions, name) for name in ("one.csv", "two.csv"))
    found = Reader(page(Page("Two", (), parts)))
    assert len(found.ids) == len(set(found.ids))
    assert "#one.csv" in found.addresses and "#two.csv" in found.addresses


def test_a_drawing_keeps_text_and_fits_its_place(lesions):
    made = drawing(plot_lesions(lesions), "key", 'Error "of" a network')
    assert made.svg.startswith("<svg") and made.svg.endswith("</svg>")
    opening = made.svg[: made.svg.index(">")]
    assert "viewBox=" in opening and "width" not in opening
    assert 'aria-label="Error &quot;of&quot; a network"' in opening
    assert "Kendall tau of the order of the blocks" in made.svg
    assert "<metadata>" not in made.svg and "sans-serif" in made.svg
    assert set(re.findall(r'href="#(.{4})', made.svg)) == {"key-"}


def test_lesions_are_laid_out_with_intervals_and_quartiles(lesions):
    quartiles, ranks, every = section_of(lesions, "x.csv").tables
    assert quartiles.head == ("lesion", "count", "lesions", "q1 %", "median %", "q3 %")
    assert [cell.text for cell in quartiles.rows[0]] == [
        "delete", "1", "3", "25.00", "30.00", "35.00",
    ]  # fmt: skip
    assert ranks.caption.startswith("Rank correlation")
    assert every.folded and every.head[-1] == "kendall_tau"
    first = {name: cell.text for name, cell in zip(every.head, every.rows[0], strict=True)}
    assert (first["error %"], first["from %"], first["to %"]) == ("10.00", "5.52", "17.44")


def test_a_table_says_what_it_leaves_out_and_sorts_by_numbers():
    frame = pd.DataFrame({"x": [2.0, np.nan, 10.0], "word": ["holds", "b", "c"]})
    made = table(frame, "Numbers", tones={"holds": "good"}, rows=2)
    assert made.caption == "Numbers (the first 2 of 3 rows)"
    assert made.numeric == (True, False)
    assert [cell.order for cell in (row[0] for row in made.rows)] == [2.0, ""]
    assert made.rows[0][1].tone == "good"


def test_paths_have_their_effective_interval():
    lengths = range(5)
    frame = pd.DataFrame({"length": lengths, "paths": pd.Series([1, 4, 6, 4, 1], dtype=object)})
    for name, level in {"coherent": 2.0, "rms": 3.0, "mean": 1.0}.items():
        frame[f"gradient_{name}"] = [level / 4**k for k in lengths]
        frame[f"gradient_{name}_log10"] = np.log10(frame[f"gradient_{name}"])
    frame["gradient_rms_se"] = 0.0
    frame["gradient_mean_low"] = frame["gradient_mean_high"] = frame["gradient_mean"]
    frame.attrs = {"direction": "gradient", "model": "tiny", "weight_layers": []}
    bare = section_of(frame.drop(columns="gradient_rms_log10"), "bare.csv")
    assert bare.tables[-1].head[:2] == ("length", "paths")
    lost = frame.copy()
    lost.attrs = {}
    assert section_of(lost, "lost.csv").tables[-1].head[:2] == ("length", "paths")
    section = section_of(frame, "paths.csv")
    effective, every = section.tables
    assert effective.caption == "Effective paths, tiny"
    assert [row[0].text for row in effective.rows] == ["coherent", "rms", "mean"]
    assert "gradient_rms_log10" not in every.head and every.folded
    assert len(section.drawings) == 1


KINDS = {
    "scale": ["1 x0.5", "2 x0.5"], "noise": ["1 s0.1 seed0", "1 s0.1 seed1"], "mean": ["1", "2"],
    "repeat": ["1-2 x2", "2-3 x2"], "reverse": ["1-2", "1-3"], "parallel": ["1 2", "2 3"],
    "replace": ["1<-2"], "then": ["delete 1 then scale 2 x0.5"], "zap": ["of another package"],
    "recalibrated": ["none | 8x128", "delete 1 | 8x128"], "drop": ["1.1", "1.2"],
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_its_figure_and_tables(kind):
    texts = KINDS[kind]
    frame = pd.DataFrame(
        {
            "lesion": ["none", *[kind] * len(texts)],
            "count": [0, *range(1, len(texts) + 1)],
            "blocks": ["", *texts],
            "kendall_tau": 1.0,
            "error": [0.1, *[0.3] * len(texts)],
            "kl": [0.0, *[0.5] * len(texts)],
            "class_correct": [[1, 2]] * (len(texts) + 1),
            "correct": 70,
            "total": 100,
        }
    )
    frame.attrs = {"model": "tiny", "metrics": ["top1", "kl", "classes"], "analysis": "lesion"}
    section = section_of(frame, "lesions.csv")
    assert section.text == ("tiny: intact error 10.00 %.",)
    first, second = section.drawings
    assert first.caption.startswith("tiny: ") and "Top-1 error" in first.svg
    assert second.caption == "KL(intact || lesioned) (nats) of tiny." and "nats" in second.svg
    every = section.tables[-1]
    assert every.head[:2] == ("lesion", "blocks") and "kl" in every.head
    assert "class_correct" not in every.head
    assert [row[1].text for row in every.rows] == ["", *texts]
    captions = [one.caption for one in section.tables]
    assert captions[0] == "Error by number of blocks or swaps, tiny: quartiles"
    assert (
        captions[1] == "KL(intact || lesioned) (nats) by number of blocks or swaps, tiny: quartiles"
    )
    Reader(page(Page("x", (), (section,))))


def test_settings_and_recalibration_are_told_apart():
    rows = ["none ", "scale 1 x0.5", "scale 2 x0.5", "scale 1 x2", "recalibrated none | 8x128",
            "recalibrated scale 1 x2 | 8x128"]  # fmt: skip
    parts = [row.partition(" ") for row in rows]
    frame = pd.DataFrame(
        {"lesion": [kind for kind, _, _ in parts], "count": [0, 1, 1, 1, 0, 1],
         "blocks": [text for _, _, text in parts], "correct": 5, "total": 10, "error": 0.5}
    )  # fmt: skip
    quartiles, every = section_of(frame, "x.csv").tables
    assert [[row[0].text, row[2].text] for row in quartiles.rows] == [
        ["scale, factor 0.5", "2"],
        ["scale, factor 2", "1"],
        ["scale, factor 2, recalibrated", "1"],
    ]  # fmt: skip
    assert len(every.rows) == 6


def test_lesions_without_an_error_have_the_measures_that_there_are():
    frame = pd.DataFrame(
        {"lesion": ["none", "delete"], "count": [0, 1], "blocks": ["", "1"], "kl": [0.0, 0.5],
         "total": 9}
    )  # fmt: skip
    section = section_of(frame, "x.csv")
    assert len(section.drawings) == 1 and section.text == ()
    assert section.tables[-1].head == ("lesion", "blocks", "kl", "total")


def test_several_networks_have_one_figure_and_a_table_each(lesions):
    other = lesions.copy()
    other.attrs = {"model": "other", "dataset": "digits", "provenance": {"command": "make other"}}
    section = section_of(stack_frames([lesions, other]), "both.csv")
    assert len(section.drawings) == 1
    assert "tiny &amp; small" in section.drawings[0].svg and "other" in section.drawings[0].svg
    assert section.text[1] == "other on digits: intact error 10.00 %."
    assert [one.caption.count("other") for one in section.tables] == [0, 0, 0, 1, 1, 1]
    assert section.command == "ensembles lesion --x '<y>'"
    assert list(section.provenance) == ["tiny & small (1):", "other (2):"]


class Widths(Analysis):
    """An analysis that a program adds."""

    name = "widths"
    summary = "How wide each block is."
    options = Options
    label = ("block",)
    shown = ("block", "width")

    def measure(self, net, data, options, run):
        raise NotImplementedError

    def draw(self, frames):
        if any(frame.empty for frame in frames):
            raise UsageError("no widths to draw")
        figure, (ax,) = new_figure()
        ax.plot(frames[0]["block"], frames[0]["width"])
        return figure

    def views(self, frame):
        return {"Widest block": frame[frame["width"] == frame["width"].max()]}

    def notes(self, frame):
        return [f"the widest block has {frame['width'].max()} channels"]


def test_any_analysis_has_a_section():
    frame = pd.DataFrame({"block": [1, 2], "width": [16, 32], "more": [0.5, 0.25]})
    frame.attrs = {"analysis": "widths", "model": "tiny", "provenance": {"command": "x"}}
    ANALYSES.register("widths", Widths())
    try:
        section = section_of(frame, "widths.json")
        together = section_of(stack_frames([frame, frame]), "both.json")
        assert section_of(frame[:0], "none.json").drawings == ()
    finally:
        ANALYSES.forget("widths")
    assert section.text == ("tiny.", "The widest block has 32 channels.")
    assert section.drawings[0].caption == "tiny: How wide each block is."
    assert [one.caption for one in section.tables] == ["Widest block, tiny", "2 rows, tiny"]
    assert section.tables[1].head == ("block", "width") and section.tables[1].folded
    assert together.text[-1] == "tiny: the widest block has 32 channels."
    unknown = section_of(frame, "widths.json")
    assert unknown.drawings == () and unknown.tables[0].head == ("block", "width", "more")
    assert unknown.text[1].startswith("Shown as a table alone: analysis 'widths' is unknown")


def test_whole_numbers_of_any_size_are_written():
    frame = pd.DataFrame({"paths": pd.Series([7, 2**60, 2**2000], dtype=object)})
    (made,) = section_of(frame, "x.csv").tables
    assert [row[0].text for row in made.rows] == ["7", "1.153e+18", "10^602"]


def test_attributes_of_another_type_are_a_line(lesions):
    lesions.attrs["transitions"] = "all"
    with pytest.raises(UsageError, match=r"^attribute transitions: expected a list, found 'all'$"):
        section_of(lesions, "x.csv")


def test_other_tables_are_shown_as_they_are():
    section = section_of(pd.DataFrame({"a": ["x"], "b": [1]}), "odd.csv")
    assert section.drawings == () and section.tables[0].caption == "1 rows"


def test_the_intact_network_alone_has_no_figure(lesions):
    section = section_of(lesions.head(1), "intact.csv")
    assert section.drawings == () and len(section.tables) == 1


def test_numbers_are_written_for_readers():
    assert number(0.00123456) == "0.001235" and number([1, 2.5]) == "1, 2.5"
    assert percent(float("nan")) == ""
    assert flat({"a_b": {"c": [1], "d": ""}, "e": 0}) == [("a b c", "[1]"), ("e", "0")]


def test_the_page_is_written_whole_with_a_known_ending(tmp_path):
    report = Page("Empty", (), (Section("a", "A"),))
    with pytest.raises(UsageError, match=r"'\.pdf' tells no known format; expected \.html"):
        write_page(report, tmp_path / "report.pdf")
    assert "Empty" in write_page(report, tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_missing_template_engine_is_a_line(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(OutputError, match="needs the package jinja2; pip install"):
        page(Page("x", (), ()))


def test_the_command_makes_a_page_of_files_and_folders(lesions, tmp_path, capsys):
    folder = tmp_path / "results"
    folder.mkdir()
    write_frame(lesions, folder / "a.csv")
    write_frame(lesions, folder / "b.json")
    out = tmp_path / "page.html"
    assert exit_status("report", folder, folder / "a.csv", "--out", out, "--title", "Mine") == 0
    assert f"wrote {out}" in capsys.readouterr().err
    text = out.read_text(encoding="utf-8")
    assert all(name in text for name in ("Mine", "a.csv (1)", "a.csv (2)", "b.json"))
    assert len(Reader(text).ids) == len(set(Reader(text).ids))


def test_the_command_refuses_what_holds_no_results(tmp_path, capsys):
    assert exit_status("report", tmp_path, "--out", tmp_path / "x.html") == 2
    assert "holds no tables of results (.csv, .parquet, .json)" in capsys.readouterr().err
    assert exit_status("report", tmp_path / "none.csv", "--out", tmp_path / "x.html") == 2
    assert "cannot be read" in capsys.readouterr().err
    assert exit_status("report", "a.csv", "--out", tmp_path / "x.txt") == 2
    assert "expected .html or .htm" in capsys.readouterr().err


def test_the_templates_are_package_data():
    import configparser

    setup = configparser.ConfigParser()
    setup.read(Path(__file__).parent.parent / "setup.cfg")
    patterns = setup["options.package_data"]["ensembles.report"]
    assert all(ending in patterns for ending in ("*.jinja", "*.css", "*.js"))


def test_the_command_makes_a_page_of_a_store(tmp_path):
    import torch
    from networks import build

    import ensembles

    data = [(torch.zeros(4, 3, 8, 8), torch.zeros(4, dtype=torch.int64))]
    net = ensembles.decompose(build([("post", 6, 1), ("post", 6, 1)]), torch.zeros(2, 3, 8, 8))
    about = {"store": tmp_path / "study.db", "model": "tiny", "device": "cpu"}
    ensembles.lesion(net, data, metrics=("top1", "loss", "kl"), **about)
    ensembles.paths(net, data, images=2, signs=2, **about)
    ensembles.analyze(net, data, "influence", **about)
    assert exit_status("report", tmp_path / "study.db", "--out", tmp_path / "page.html") == 0
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    for title in ("tiny, lesions", "tiny, paths of gradient exact", "tiny, influence"):
        assert f">{title}</h2>" in text
    assert "KL(intact || lesioned) (nats)" in text and "Effective paths, tiny" in text
    assert "Rank correlation of proxies with damage" in text
    assert text.count("<tr>") > len(net)


def test_a_store_shows_its_networks_together_and_tells_seeds_apart(tmp_path):
    import torch
    from networks import build

    import ensembles

    data = [(torch.zeros(4, 3, 8, 8), torch.zeros(4, dtype=torch.int64))]
    path = tmp_path / "study.db"
    for model, blocks in (("tiny", 4), ("small", 3)):
        spec = [("post", 6, 1)] * blocks
        net = ensembles.decompose(build(spec), torch.zeros(2, 3, 8, 8))
        about = {"store": path, "model": model, "device": "cpu"}
        pairs = [ensembles.lesions.Delete((b, b + 1)) for b in range(1, blocks)]
        ensembles.lesion(net, data, **about)
        ensembles.lesion(net, data, pairs, **about)
        for seed in (0, 1):
            ensembles.paths(net, data, images=2, signs=2, seed=seed, **about)
    frames = dict(store_frames(path))
    assert set(frames) == {"lesions", "paths of gradient exact"}
    spectra = [one.attrs["model"] for one in split_frames(frames["paths of gradient exact"])]
    assert spectra == ["tiny, seed 0", "tiny, seed 1", "small, seed 0", "small, seed 1"]
    drawn = plot_lesions(frames["lesions"])
    assert [ax.get_xlabel() for ax in drawn.axes] == ["Deleted block", "Number of deleted blocks"]
    singles = [line for line in drawn.axes[0].lines if line.get_label() == "_single"]
    assert [len(line.get_xdata()) for line in singles] == [4, 3]
    assert exit_status("report", path, "--out", tmp_path / "page.html") == 0
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert text.count("<figure>") == 2 and "tiny, seed 1" in text


def test_an_empty_store_is_a_line(tmp_path, capsys):
    from ensembles.store import Store

    with Store(tmp_path / "study.db"):
        pass
    assert exit_status("report", tmp_path / "study.db", "--out", tmp_path / "x.html") == 2
    assert "holds no results yet" in capsys.readouterr().err


class Active(HTMLParser):
    """Collects what a page runs, loads or leads to."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.found, self.scripts, self.inside, self.policy = [], [], False, ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag == "script":
            self.inside = True
        if given.get("http-equiv") == "Content-Security-Policy":
            self.policy = given["content"]
        elif "http-equiv" in given:
            self.found.append((tag, "http-equiv"))
        if tag in (
            "iframe",
            "object",
            "embed",
            "base",
            "form",
            "frame",
            "foreignobject",
            "animate",
        ):
            self.found.append((tag, ""))
        for name, value in attrs:
            address = (value or "").strip().lower()
            leads = name in ("href", "src", "xlink:href", "action", "formaction", "srcdoc", "data")
            inner = address.startswith(("#", "data:,"))
            if name.startswith("on") or (leads and not inner):
                self.found.append((tag, name))

    handle_startendtag = handle_starttag

    def handle_endtag(self, tag):
        self.inside = self.inside and tag != "script"

    def handle_data(self, data):
        if self.inside:
            self.scripts.append(data)


@pytest.mark.filterwarnings("ignore:constrained_layout")
def test_a_page_holds_nothing_active_of_what_it_shows():
    text = page(attacked(ATTACKS))
    seen = Active(text)
    assert seen.found == []
    [script] = ["".join(seen.scripts)]
    own = (Path(str(resources.files("ensembles.report"))) / "page.js").read_text(encoding="utf-8")
    assert script == own and "ran-by-itself" not in script
    named = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{named}'" in seen.policy and "default-src 'none'" in seen.policy
    assert "49" not in re.findall(r"<p>([^<]*)</p>", text) and "{{ 7*7 }}" in text


NAMES = ("1.csv", "2026-11-26.csv", "0", "\\1.csv", "9\\g<0>.csv", 'a"b.csv', "\u00e9 1.csv")


def test_a_report_of_any_file_name_is_the_same_figure(lesions):
    plain = section_of(lesions, "plain.csv")
    for name in NAMES:
        made = section_of(lesions, name)
        assert made.title == name
        for one, other in zip(plain.drawings, made.drawings, strict=True):
            assert other.svg.count("<path") == one.svg.count("<path") > 0
            uses = re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", other.svg)
            assert uses and set(uses) <= set(re.findall(r'\bid="([^"]+)', other.svg)), name
