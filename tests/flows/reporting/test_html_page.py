"""The page of a report, as a browser shows it: whole, alone, readable, and with the numbers of report.json."""

from __future__ import annotations

import dataclasses
import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import reports
from chromium import Chromium, asked_for, corner

from flows.reporting.files import write
from flows.reporting.html_page import as_html

WIDTHS = (1280, 500, 420)
_HARNESS = """<!DOCTYPE html><body>{frames}<script>
addEventListener("load", () => {{
  document.querySelectorAll("iframe").forEach(frame =>
    frame.contentDocument.querySelectorAll("details.route").forEach(folded => folded.open = true));
  const pages = [...document.querySelectorAll("iframe")].map(frame => {{
    const page = frame.contentDocument;
    return {{
      wide: page.documentElement.scrollWidth - page.documentElement.clientWidth,
      text: page.body.innerText,
      charts: [...page.querySelectorAll("svg")].map(
        one => [one.getBoundingClientRect().width, one.getAttribute("aria-label")]
      ),
      spilling: [...page.querySelectorAll("svg text")].filter(one => {{
        const outer = one.ownerSVGElement.getBoundingClientRect(), inner = one.getBoundingClientRect();
        return inner.left < outer.left - 1 || inner.right > outer.right + 1;
      }}).map(one => one.textContent),
      numbers: [...page.querySelectorAll("data")].map(one => [one.dataset.key, one.value, one.textContent]),
    }};
  }});
  document.body.textContent = JSON.stringify(pages);
}});
</script></body>"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    write(reports.whole(), folder)
    return folder


@pytest.fixture(scope="module")
def seen(folder: Path, chromium: Chromium) -> dict[str, Any]:
    """What a browser shows of the page at both widths, and what it asks for."""
    frames = "".join(f'<iframe src="report.html" style="width:{width}px;height:900px"></iframe>' for width in WIDTHS)
    harness = folder / "harness.html"
    harness.write_text(_HARNESS.format(frames=frames), encoding="utf-8")
    log = folder / "net.json"
    done = chromium(
        folder,
        "--allow-file-access-from-files",
        f"--log-net-log={log}",
        "--virtual-time-budget=5000",
        "--dump-dom",
        harness.as_uri(),
    )
    shown = re.search(r"<body>(\[.*\])</body>", done.stdout, re.DOTALL)
    assert shown, done.stdout
    return {"pages": json.loads(html.unescape(shown[1])), "messages": done.stderr, "asked_for": asked_for(log)}


def at(report: Any, key: str) -> Any:
    """Return what stands at a place of report.json, such as routes.0.read."""
    for part in key.split("."):
        report = report[int(part)] if isinstance(report, list) else report[part]
    return report


def test_every_number_is_the_one_of_report_json_at_both_widths(folder: Path, seen: dict[str, Any]) -> None:
    report = json.loads((folder / "report.json").read_text("utf-8"))
    for page in seen["pages"]:
        for key, value, words in page["numbers"]:
            assert float(value) == float(at(report, key)), key
            assert float(words.replace("\N{NO-BREAK SPACE}", "").replace(" ", "")) == float(value), key
        shown = {key for key, *_ in page["numbers"]}
        for number, route in enumerate(report["routes"]):
            counts = {f"routes.{number}.{name}" for name, value in route.items() if type(value) is int}
            rejects = {f"routes.{number}.accepted", f"routes.{number}.open_rejects"}
            assert counts - (rejects if not route["rejected"] else set()) <= shown
            assert {
                f"routes.{number}.{part}.{name}" for part in ("sizes", "losses", "rejects") for name in route[part]
            } <= shown
            for which, series in enumerate(route["throughput"]):
                places = {
                    f"routes.{number}.throughput.{which}.documents.{place}" for place in range(len(series["documents"]))
                }
                assert places <= shown


def test_the_page_is_whole_and_fits_at_both_widths(seen: dict[str, Any]) -> None:
    for page in seen["pages"]:
        assert page["wide"] == 0
        assert page["spilling"] == []
        assert len(page["charts"]) == 9
        assert all(width > 200 and label for width, label in page["charts"])
        order = [
            "Mismatches",
            "Next:",
            "Routes",
            "What was not checked",
            "orders <b>&amp;: mismatches",
            "The books",
            "sessions: clean",
            "Circumstances",
            "Approval",
        ]
        places = [page["text"].index(words) for words in order]
        assert places == sorted(places)
        assert "orders <b>&amp;" in page["text"]  # a route's name is text, never markup
        assert "does not close" in page["text"]
        for words in ("keys sessions:*", "db1:27017", "eu-west-1", "Valkey 9.1.2", "1 of 2 clean", "172 320"):
            assert words in page["text"]
        assert r"\x1b[31m" in page["text"]


def test_the_page_asks_for_nothing_and_has_nothing_to_complain_of(folder: Path, seen: dict[str, Any]) -> None:
    assert ":CONSOLE" not in seen["messages"]
    assert seen["asked_for"] == set()
    page = (folder / "report.html").read_text("utf-8")
    assert "<script" not in page
    assert not re.findall(r'(?:src|href)="(?!#)|url\(|@import', page)


def test_a_page_that_asks_for_something_would_be_seen(tmp_path: Path, chromium: Chromium) -> None:
    page = tmp_path / "page.html"
    page.write_text("<img src='http://127.0.0.1:1/x.png'><script>console.error('oh')</script>", encoding="utf-8")
    log = tmp_path / "net.json"
    done = chromium(tmp_path, f"--log-net-log={log}", "--virtual-time-budget=2000", "--dump-dom", page.as_uri())
    assert ":CONSOLE" in done.stderr
    assert asked_for(log) == {"http://127.0.0.1:1/x.png"}


def test_the_page_is_light_or_dark_as_the_reader_prefers(folder: Path, chromium: Chromium) -> None:
    for scheme, value in (("dark", 0), ("light", 1)):
        picture = folder / f"{scheme}.png"
        chromium(
            folder,
            f"--blink-settings=preferredColorScheme={value}",
            "--window-size=600,400",
            f"--screenshot={picture}",
            (folder / "report.html").as_uri(),
        )
    assert max(corner(folder / "dark.png")) < 60
    assert min(corner(folder / "light.png")) > 230


class _Elements(HTMLParser):
    """The elements of a page and the names of their attributes, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, ...]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, *(name for name, _ in attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def elements(text: str) -> _Elements:
    """Return what the page is made of in whose report every text is this one."""
    parser = _Elements()
    parser.feed(as_html(reports.of_text(text)))
    return parser


@pytest.mark.parametrize("text", [text for text in reports.HOSTILE if text.strip()])
def test_hostile_text_adds_no_element_and_no_attribute(text: str) -> None:
    # Pairs of backticks are code by intent.
    # Two words, as a command of the report names no route of such a name either.
    word = "`word` ``` `word`" if text.count("`") > 1 else "two words"
    assert elements(text).elements == elements(word).elements


@pytest.mark.parametrize(("examined", "words"), [(1, "record that was examined"), (4, "records that were examined")])
def test_the_records_whose_differences_are_shown_are_counted(examined: int, words: str) -> None:
    row = reports.damaged()
    assert row.differing is not None
    differing = dataclasses.replace(row.differing, examined=examined)
    assert words in as_html(reports.whole(dataclasses.replace(row, differing=differing)))
