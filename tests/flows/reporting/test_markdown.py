"""report.md shows what a name or a value is, whatever Markdown or HTML it is made of."""

from __future__ import annotations

import json
import re

import pytest
import reports
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from flows.reporting.markdown import as_markdown
from flows.reporting.markdown_text import code, plain, prose, table
from flows.reporting.model import Pace
from flows.reporting.text import as_text
from flows.visible_text import visible

PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
TEXTS = st.one_of(st.text(), st.text("<>|`\\[]()!*_~#-+=&;:/.@w1) \n\t"))


def inner(tokens: list[Token]) -> list[Token]:
    return [child for token in tokens for child in (token, *inner(token.children or []))]


def shown(tokens: list[Token]) -> str:
    return "".join(token.content for token in inner(tokens) if token.type in ("text", "code_inline"))


def kinds(tokens: list[Token]) -> set[str]:
    return {token.type for token in inner(tokens)}


@pytest.mark.parametrize("text", reports.HOSTILE)
def test_hostile_text_is_text(text: str) -> None:
    tokens = PARSER.parse(f"before {plain(text)} after")
    assert kinds(tokens) <= {"paragraph_open", "paragraph_close", "inline", "text"}
    assert shown(tokens) == f"before {visible(text)} after"
    assert not re.search(r"://|www\.|@", plain(text))


@given(TEXTS)
@example("`" * 7)
def test_text_is_shown_as_it_is(text: str) -> None:
    tokens = PARSER.parse(f"before {plain(text)} after")
    assert kinds(tokens) <= {"paragraph_open", "paragraph_close", "inline", "text"}
    assert shown(tokens) == f"before {visible(text)} after"


@given(TEXTS)
def test_code_is_shown_as_it_is(text: str) -> None:
    tokens = PARSER.parse(f"before {code(text)} after")
    assert kinds(tokens) <= {"paragraph_open", "paragraph_close", "inline", "text", "code_inline"}
    assert shown(tokens).split() == f"before {visible(text)} after".split()


@given(TEXTS)
def test_a_sentence_is_a_list_item_of_its_own(text: str) -> None:
    tokens = PARSER.parse(f"- {prose(text)}\n- next")
    assert [token.type for token in tokens].count("list_item_open") == 2
    assert kinds(tokens) <= {
        *("bullet_list_open", "bullet_list_close", "list_item_open", "list_item_close"),
        *("paragraph_open", "paragraph_close", "inline", "text", "code_inline"),
    }


@given(TEXTS, TEXTS)
def test_a_cell_stays_in_its_column(first: str, second: str) -> None:
    tokens = PARSER.parse("\n".join(table([{"a": plain(first), "b": code(second)}, {"a": "x", "b": "y"}])))
    assert [token.type for token in tokens].count("tr_open") == 3
    assert [token.type for token in tokens].count("td_open") == 4
    cells = [token for token in tokens if token.type == "inline"]
    assert cells[2].content.strip() == plain(first).strip() or "\\" in first or "|" in first
    assert shown(tokens).endswith("xy")


@pytest.mark.parametrize("text", [text for text in reports.HOSTILE if text.strip()])
def test_a_report_of_hostile_text_has_no_markup_of_it(text: str) -> None:
    tokens = PARSER.parse(as_markdown(reports.of_text(text)))
    assert not kinds(tokens) & {
        *("html_inline", "html_block", "link_open", "image", "s_open", "strong_open", "em_open"),
        *("fence", "code_block", "blockquote_open", "hr"),
    }
    assert [token.tag for token in tokens if token.type == "heading_open"] == ["h1", *["h2"] * 5]
    rows = [token.type for token in tokens]
    # Two routes and their sums, and four differences of each, each below its headings.
    assert rows.count("tr_open") == 4 + 2 * 5
    assert visible(text).strip() in shown(tokens)


def test_a_clean_route_is_told_in_a_line_and_its_sums_stand_in_the_table_alone() -> None:
    page = as_markdown(reports.whole(reports.row("sessions"), reports.damaged()))
    sections = {section.split(":")[0]: section.splitlines() for section in page.split("\n## ")[1:]}
    told = [line for line in sections["sessions"] if line.startswith("- ")]
    assert told == ["- From sessions to redis, `keys sessions:*`; verified: full"]
    assert page.count(": does not close\n") == 3, "the sums of the other route"
    assert ": closes\n" not in page


def test_the_report_in_json_is_json() -> None:
    text = "".join(reports.HOSTILE)
    assert json.loads(reports.of_text(text).as_bytes())["plan"] == text


def test_addresses_are_read_in_the_text_of_a_report_too_and_make_no_link() -> None:
    for sentence, expected in (
        ("E-ES-AWAY http://127.0.0.1:9200: timed out", "E-ES-AWAY `http://127.0.0.1:9200`: timed out"),
        ("sent to ada@example.com, twice", "sent to `ada@example.com`, twice"),
        ("see (www.example.com).", "see `(www.example.com`)."),
    ):
        assert prose(sentence) == expected
        assert kinds(PARSER.parse(prose(sentence))) <= {
            *("paragraph_open", "paragraph_close", "inline", "text", "code_inline"),
        }
    page = as_markdown(reports.whole(reports.row("r", location="keys session:*")))
    assert "&#" not in page
    assert "`keys session:*`" in page


def test_the_page_says_what_the_canary_found() -> None:
    assert "- canary: found all" in as_markdown(reports.whole(reports.row("r", canary="canary: found all of 10")))


@pytest.mark.parametrize(
    ("pace", "sentence"),
    [
        (
            Pace(2, 61.5, 3.0, 880.0),
            "throttled 2 times by its target, its partitions waited 61.5 s to write and 3.0 s to read;"
            " 880 units a second in the end",
        ),
        (Pace(1, 0.0, 0.0, None), "throttled 1 time by its target"),
        (Pace(0, 0.0, 3.0, None), "its partitions waited 3.0 s to read"),
    ],
)
def test_what_slowed_a_route_down_is_a_sentence_of_both_forms(pace: Pace, sentence: str) -> None:
    report = reports.whole(reports.row("r", verdict="mismatches", missing=1, pace=pace))
    assert f"- {sentence}\n" in as_markdown(report)
    assert f"r: {sentence}\n" in as_text(report)
