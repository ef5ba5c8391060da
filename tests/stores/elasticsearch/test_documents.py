"""What is written is held, read back and deleted; a refused document spoils no other."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
import pytest
from elasticsearch_indexes import SECRET, document, logged, sources
from elasticsearch_proxy import Proxy, withheld
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mappers.elasticsearch.records import IndexDocument
from stores.elasticsearch.target import ElasticsearchTarget

Connection, Placement = ElasticsearchTarget.Connection, ElasticsearchTarget.Placement
Make = Callable[..., ElasticsearchTarget]


# What is held


@pytest.mark.parametrize(
    "values",
    [
        {"float": [1.0, 1e22, -0.0, 5e-324, 1 / 3, 0.1, 1.7976931348623157e308]},
        {"int": [0, -1, 2**53 + 1, 2**63 - 1, -(2**63)]},
        {"one": 1, "as double": 1.0},
        {"text": 'é 😀 \x00 \x1f \u2028 \u2029 \\ " </script>', "": ""} | {"名": "\U0010ffff"},
        {"empty": {}, "list": [], "nested": [[], {}, [[{}]]], "null": None, "yes": True, "no": False},
        {"deep": json.loads('{"a":' * 60 + "[" * 30 + "1" + "]" * 30 + "}" * 60)},
        {},
    ],
    ids=["floats", "integers", "number types", "text", "containers", "depth", "empty"],
)
def test_what_was_written_is_read_back(make: Make, values: Mapping[str, Any]) -> None:
    target = make()
    target.prepare()
    written = IndexDocument("s:é 1/2?#\n\x00", orjson.dumps(values))
    assert target.write([written]) == []
    (held,) = target.read([written.id]).values()
    assert held.id == written.id
    assert held.canonical() == written.canonical()


# Elasticsearch gives back the text it was given; the server of these tests reads some doubles of 16 and 17 digits one
# step off (2.2753216543649267e+92), which a comparison finds, rightly.
DOUBLES = st.builds(lambda digits, places: digits / 10**places, st.integers(-(10**15), 10**15), st.integers(0, 22))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | DOUBLES | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abé", min_size=1), inner, max_size=4),
    max_leaves=12,
)


@given(batch=st.lists(st.dictionaries(st.text("xyz", min_size=1), VALUES, max_size=5), min_size=1, max_size=5))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_json_is_read_back(target: ElasticsearchTarget, batch: list[dict[str, Any]]) -> None:
    written = [IndexDocument(str(number), orjson.dumps({"free": values})) for number, values in enumerate(batch)]
    assert target.write(written) == []
    held = target.read([record.id for record in written])
    assert {key: record.canonical() for key, record in held.items()} == {r.id: r.canonical() for r in written}


def test_a_field_that_left_the_source_is_gone_from_the_document(
    target: ElasticsearchTarget, elasticsearch_url: str, unique: str
) -> None:
    target.write([document("a", n=1, gone={"x": 1})])
    target.write([document("a", n=2)])
    assert sources(elasticsearch_url, unique) == {"a": {"n": 2}}


def test_the_last_of_an_id_wins_however_far_apart_they_stand(
    target: ElasticsearchTarget, proxy: Proxy, elasticsearch_url: str, unique: str
) -> None:
    others = [document(f"{number}", n=number) for number in range(999)]
    records = [document("a", n=-1), *others, document("b", n=-1), document("a", n=-2), document("a", n=-3)]
    assert target.write(records) == []
    assert sources(elasticsearch_url, unique)["a"] == {"n": -3}
    sent = [json.loads(line)["index"]["_id"] for asked in proxy.asked("/_bulk") for line in asked.lines[::2]]
    assert len(sent) == len(set(sent)) == 1001
    assert len(proxy.asked("/_bulk")) == 2


def test_where_the_last_of_an_id_is_refused_the_one_before_it_is_held(
    target: ElasticsearchTarget, elasticsearch_url: str, unique: str
) -> None:
    records = [
        document("a", n=1),
        document("a", n=2),
        document("a", n="no number"),
        document("b", n="no number"),
        document("c", n=3),
        document("a", n="no number"),
    ]
    assert [refused.index for refused in target.write(records)] == [2, 3, 5]
    assert sources(elasticsearch_url, unique) == {"a": {"n": 2}, "c": {"n": 3}}


def test_several_threads_write_at_once(target: ElasticsearchTarget, elasticsearch_url: str, unique: str) -> None:
    shares = [[document(f"{share}-{n}", n=n) for n in range(100)] for share in range(6)]
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(target.write, shares)) == [[]] * 6
    assert len(sources(elasticsearch_url, unique)) == 600


def test_deleted_documents_are_gone_and_absent_ones_no_fault(
    target: ElasticsearchTarget, elasticsearch_url: str, unique: str
) -> None:
    target.write([document(f"{number}", n=number) for number in range(5)])
    target.delete(["1", "never", "1", "3", "", "x" * 600])
    target.delete([])
    assert set(sources(elasticsearch_url, unique)) == {"0", "2", "4"}


# Refused documents


def test_a_refused_document_spoils_no_other_and_is_named_without_its_values(
    target: ElasticsearchTarget, elasticsearch_url: str, unique: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    records = [
        document("a", n=1),
        document("b", n=SECRET),
        document("c", at=SECRET),
        document("d", place=SECRET),
        IndexDocument("e", b'{"n":' + SECRET.encode()),
        document("f", n=2, free=SECRET),
    ]
    refused = target.write(records)
    assert [refusal.index for refusal in refused] == [1, 2, 3, 4]
    assert {refusal.code for refusal in refused} == {"E-ES-REJECTED"}
    for refusal, named in zip(refused, ("[n]", "[at]", "[place]", "x_content_parse_exception"), strict=True):
        assert named in refusal.reason
    assert SECRET not in str(refused)
    assert set(sources(elasticsearch_url, unique)) == {"a", "f"}
    assert SECRET in target.read(["f"])["f"].source.decode()
    assert SECRET not in logged(caplog)


@pytest.mark.parametrize(
    ("reason", "field"),
    [
        ("failed to parse field [a.b] of type [date] in document with id '1'.", "a.b"),
        ("mapping set to strict, dynamic introduction of [x] within [_doc] is not allowed", "x"),
        ("mapping set to strict, dynamic introduction of [x] within [a.b] is not allowed", "a.b.x"),
        ("object mapping for [a] tried to parse field [a] as object, but found a concrete value", "a"),
        ('Document contains at least one immense term in field="f._valueAndPath" (whose UTF8', "f"),
        ('Document contains at least one immense term in field="f._value" (whose UTF8', "f"),
        ('DocValuesField "f._valueAndPath" is too large, must be <= 32766', "f"),
        ("Field [_index] is a metadata field and cannot be added inside a document. Use", "_index"),
        ("Name length (50001) exceeds the maximum allowed (50000, from `StreamReadConstraints", ""),
        ("Limit of total fields [1000] has been exceeded while adding new field [x]", ""),
        ("something else about [x]", ""),
    ],
)
def test_the_field_that_the_server_names_is_that_of_the_reject(
    target: ElasticsearchTarget, proxy: Proxy, reason: str, field: str
) -> None:
    proxy.faults = [
        withheld(0, 400, "mapper_parsing_exception", "failed to parse", caused_by={"type": "x", "reason": reason})
    ]
    (refused,) = target.write([document("a", n=1)])
    assert refused.field == field
    assert (reason[:20] in refused.reason) == (not reason.startswith("something"))


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        (f"[1:9] failed to parse field [a.b] of type [date] in document with id '{SECRET}'. Preview of field's value:"
         f" '{SECRET}'", "failed to parse field [a.b] of type [date]"),
        (f'Document contains at least one immense term in field="k" (whose UTF8 encoding is longer than the max length'
         f" 32766), all of which were skipped. The prefix of the first immense term is: '[{SECRET}]...'", 'field="k"'),
        (f"failed to parse date field [{SECRET}] with format [strict_date_optional_time]", ""),
        (f'For input string: "{SECRET}"', ""),
        (f"[1:9] mapping set to strict, dynamic introduction of [x] within [y] is not allowed {SECRET}", "within [y]"),
        (f"Limit of total fields [1000] has been exceeded while adding new field {SECRET}", "total fields [1000]"),
    ],
)  # fmt: skip
def test_no_words_of_the_server_repeat_a_value(
    target: ElasticsearchTarget, proxy: Proxy, reason: str, told: str
) -> None:
    cause = {"type": "some_cause", "reason": SECRET, "caused_by": {"type": "deeper_cause", "reason": SECRET}}
    proxy.faults = [withheld(0, 400, "document_parsing_exception", reason, caused_by=cause)]
    (refused,) = target.write([document("a", n=1)])
    assert SECRET not in refused.reason
    assert told in refused.reason
    assert "document_parsing_exception" in refused.reason
    assert "deeper_cause" in refused.reason


def test_a_record_that_would_spoil_its_request_is_refused_alone(
    target: ElasticsearchTarget, proxy: Proxy, elasticsearch_url: str, unique: str
) -> None:
    records = [
        document("", n=1),
        document("é" * 256, n=2),
        document("é" * 256 + "x", n=3),
        IndexDocument("a", b'{"n":4}\n{"delete":{"_id":"held"}}'),
        IndexDocument("b", b""),
        IndexDocument("c", b"[5]"),
        document("held", n=6),
    ]
    refused = target.write(records)
    assert [(refusal.index, refusal.code) for refusal in refused] == [
        (0, "E-ES-ID"),
        (2, "E-ES-ID"),
        (3, "E-ES-JSON"),
        (4, "E-ES-JSON"),
        (5, "E-ES-JSON"),
    ]
    assert set(sources(elasticsearch_url, unique)) == {"é" * 256, "held"}
    assert all(request.body.endswith(b"}\n") for request in proxy.asked("/_bulk"))


def test_strict_refuses_unmapped_fields_but_keeps_a_shortened_id(
    make: Make, elasticsearch_url: str, unique: str
) -> None:
    target = make(mapping={"n": "long"}, dynamic="strict")
    target.prepare()
    refused = target.write([document("a", n=1, offramp_id="s:long"), document("b", n=1, other=SECRET)])
    assert [refusal.index for refusal in refused] == [1]
    assert "[other]" in refused[0].reason
    assert sources(elasticsearch_url, unique) == {"a": {"n": 1, "offramp_id": "s:long"}}
