"""The page of a report in a browser: nothing breaks, nothing scrolls sideways, tables sort."""

from __future__ import annotations

import re
import shutil
import subprocess

import pandas as pd
import pytest
from test_report import ATTACKS, attacked

from ensembles.report import Page, Section, page, section_of, table

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PROBE = """
<script>
addEventListener("load", () => {
  for (const part of document.querySelectorAll("details")) part.open = true;
  const table = document.querySelector("table.numbers-first, table");
  const read = () => [...table.tBodies[0].rows].map((row) => row.cells[0].textContent).join(" ");
  const button = table.tHead.querySelector("button");
  button.click(); const up = read();
  button.click(); const down = read();
  const root = document.documentElement;
  document.title = `wide=${root.scrollWidth} room=${root.clientWidth} up=${up} down=${down}`;
});
</script>
"""


@pytest.fixture(scope="module")
def browser():
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip("needs Chromium or Chrome on the path")
    return found


@pytest.fixture(scope="module")
def report():
    lesions = pd.DataFrame(
        {
            "lesion": ["none"] + ["delete"] * 12,
            "count": [0] + [1] * 12,
            "blocks": ["", *map(str, range(1, 13))],
            "kendall_tau": 1.0,
            "correct": [99, *range(60, 84, 2)],
            "total": 100,
        }
    )
    lesions["error"] = 1 - lesions["correct"] / 100
    long = "a-very-long-name-without-a-place-to-break-" * 6
    lesions.attrs = {"model": "tiny", "provenance": {"command": f"ensembles {long}", long: long}}
    numbers = pd.DataFrame({"n": [10.0, 9.0, 100.0], "text": [long, "b", "c"]})
    prose = pd.DataFrame({"claim": ["deleting costs little " * 5], "verdict": ["holds"]})
    tables = (table(numbers, "Numbers"), table(prose, "Claims", cards=True))
    first = Section("first", "Numbers " + long, ("Text.",), (), tables, f"ensembles {long}")
    return page(Page("Report", ("Lead.",), (first, section_of(lesions, "lesions.csv"))))


def look(browser, text, folder, width):
    """Open a page in a frame of a width; what the probe found, and the console."""
    inner, outer = folder / "inner.html", folder / "outer.html"
    open_to_all = re.sub(r"script-src '[^']*'", "script-src 'unsafe-inline'", text)
    inner.write_text(open_to_all.replace("</body>", PROBE + "</body>"), encoding="utf-8")
    outer.write_text(
        f'<iframe id="f" src="inner.html" style="width:{width}px;height:30000px;border:0"></iframe>'
        "<script>f.onload = () => { document.body.textContent = f.contentDocument.title };</script>"
    )
    done = subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
         "--allow-file-access-from-files", f"--user-data-dir={folder / 'profile'}",
         "--virtual-time-budget=4000", "--dump-dom", outer.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return done.stdout, console


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.parametrize("width", [400, 1200])
def test_the_page_fits_its_window_and_sorts(browser, report, tmp_path, width):
    found, console = look(browser, report, tmp_path, width)
    assert console == []
    assert f"wide={width} room={width}" in found
    assert "up=9 10 100 down=100 10 9" in found


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.parametrize("policy", ["kept", "taken out"])
def test_nothing_of_a_result_is_run(browser, tmp_path, policy):
    """What runs would change the title; also where a reader of the page knows no policy."""
    text = page(attacked(ATTACKS))
    if policy == "taken out":
        text = re.sub(r"<meta http-equiv=[^>]*>", "", text)
    path = tmp_path / "page.html"
    path.write_text(text, encoding="utf-8")
    done = subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu",
         f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=3000", "--dump-dom",
         path.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    title = re.search(r"<title>(.*?)</title>", done.stdout, re.DOTALL)[1]
    assert title.strip() != "ran-by-itself" and "&lt;script&gt;" in title  # shown as text
    assert 'data-ran="yes"' not in done.stdout
