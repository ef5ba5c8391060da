"""The Elasticsearch target on a real server; faults no server can be told to have come from a proxy before it."""

from __future__ import annotations

import http.client
import json
import logging
import pickle
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mappers.elasticsearch.records import IndexDocument
from stores.elasticsearch.target import ElasticsearchTarget
from stores.errors import PermanentError, PlanError, TransientError

Connection, Placement = ElasticsearchTarget.Connection, ElasticsearchTarget.Placement

SECRET = "kept-from-every-log"
"""A value of a document that no message may repeat."""


def document(identifier: str, **values: Any) -> IndexDocument:
    return IndexDocument(identifier, orjson.dumps(values))


def told(url: str, method: str, path: str, body: Any = None) -> Any:
    """Ask the server itself, past the target; the answer's JSON whatever its status."""
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url + path, data, {"content-type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return json.load(error)


def logged(caplog: pytest.LogCaptureFixture) -> str:
    """What a handler of the root logger sees: the client's log of bodies does not propagate, yet pytest reads it."""
    return "\n".join(record.getMessage() for record in caplog.records if logging.getLogger(record.name).propagate)


def sources(url: str, index: str) -> dict[str, Any]:
    """Everything the index holds, as the server lists it."""
    told(url, "POST", f"/{index}/_refresh")
    found = told(url, "POST", f"/{index}/_search", {"size": 1000})
    return {hit["_id"]: hit["_source"] for hit in found["hits"]["hits"]}


# The proxy


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def lines(self) -> list[bytes]:
        return self.body.splitlines()


@dataclass(frozen=True)
class Reply:
    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=lambda: {"X-Elastic-Product": "Elasticsearch"})


Forward = Callable[[Request], Reply]
Fault = Callable[[Request, Forward], "Reply | None"]
"""Answers a request in the server's stead; None for one that is not meant for it."""
HANG_UP = Reply(0, b"")


def canned(path: str, status: int, body: Any, **headers: str) -> Fault:
    """Answer the next request whose path holds this with this, without asking the server."""
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    reply = Reply(status, text, headers or {"X-Elastic-Product": "Elasticsearch"})
    return lambda request, forward: reply if path in request.path else None


def error(status: int, kind: str, reason: str = "", **more: Any) -> dict[str, Any]:
    return {"error": {"type": kind, "reason": reason, **more}, "status": status}


def hang_up(path: str) -> Fault:
    return lambda request, forward: HANG_UP if path in request.path else None


def edited(path: str, edit: Callable[[Any], object]) -> Fault:
    """Let the server answer the next request whose path holds this, and change what it says."""

    def fault(request: Request, forward: Forward) -> Reply | None:
        if path not in request.path:
            return None
        reply = forward(request)
        content = json.loads(reply.body)
        edit(content)
        return Reply(reply.status, json.dumps(content).encode())

    return fault


def withheld(place: int, status: int, kind: str, reason: str = "", **more: Any) -> Fault:
    """Carry out a bulk request but for the action at this place, which is refused and never reaches the server."""

    def fault(request: Request, forward: Forward) -> Reply | None:
        if "/_bulk" not in request.path:
            return None
        lines = request.body.split(b"\n")
        index, identifier = request.path.split("/")[1], json.loads(lines[2 * place])["index"]["_id"]
        body = b"\n".join(lines[: 2 * place] + lines[2 * place + 2 :])
        content: dict[str, Any] = {"items": []}
        if body.strip():
            content = json.loads(forward(Request(request.method, request.path, request.headers, body)).body)
        refused = {"_index": index, "_id": identifier, **error(status, kind, reason, **more)}
        content["items"].insert(place, {"index": refused})
        return Reply(200, json.dumps({**content, "errors": True}).encode())

    return fault


class Proxy:
    """Passes requests on to a server, but for those its faults answer: each once and in order, the constant always."""

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.faults: list[Fault] = []
        self.constant: Fault = lambda request, forward: None
        self.seen: list[Request] = []
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # headers and body in one packet, or each answer waits 40 ms for an acknowledgement

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                reply = proxy.reply(Request(self.command, self.path, headers, body))
                if reply is HANG_UP:
                    self.close_connection = True
                    return
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                self.wfile.write(reply.body)

            do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815

            def log_message(self, *args: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def reply(self, request: Request) -> Reply:
        self.seen.append(request)
        if reply := self.constant(request, self.forward):
            return reply
        if self.faults and (reply := self.faults[0](request, self.forward)):
            self.faults.pop(0)
            return reply
        return self.forward(request)

    def forward(self, request: Request) -> Reply:
        with closing(http.client.HTTPConnection(urlsplit(self.upstream).netloc)) as connection:
            headers = {name: value for name, value in request.headers.items() if name != "content-length"}
            connection.request(request.method, request.path, request.body or None, headers)
            answer = connection.getresponse()
            kept = {"X-Elastic-Product": answer.headers["X-Elastic-Product"]}
            return Reply(answer.status, answer.read(), kept)

    def asked(self, path: str) -> list[Request]:
        return [request for request in self.seen if path in request.path]


@pytest.fixture
def proxy(elasticsearch_url: str) -> Iterator[Proxy]:
    proxy = Proxy(elasticsearch_url)
    thread = threading.Thread(target=proxy.server.serve_forever, args=(0.01,))
    thread.start()
    yield proxy
    proxy.server.shutdown()
    thread.join()
    proxy.server.server_close()


Make = Callable[..., ElasticsearchTarget]


@pytest.fixture
def make(proxy: Proxy, unique: str) -> Iterator[Make]:
    """Make a target of the test's own index, reached through the proxy."""
    made: list[ElasticsearchTarget] = []

    def make(deadline_s: float = 30, **placement: Any) -> ElasticsearchTarget:
        connection = Connection(proxy.url, retry_deadline_s=deadline_s)
        made.append(ElasticsearchTarget(connection, Placement(**placement), unique))
        return made[-1]

    yield make
    for target in made:
        target.close()


@pytest.fixture
def target(make: Make) -> ElasticsearchTarget:
    """A prepared target with a mapped number, a date and an object."""
    target = make(mapping={"n": "long", "at": "date", "place.name": "text"})
    target.prepare()
    return target


# Options


def test_a_target_connects_to_nothing_before_it_is_asked() -> None:
    target = ElasticsearchTarget(Connection("http://127.0.0.1:1", index_prefix="p-"), Placement(), "orders")
    assert target.records == (IndexDocument,)
    assert target.territory == "p-orders\0"
    assert ElasticsearchTarget(Connection("http://h", index_prefix="p-"), Placement(index="own"), "x").territory == (
        "own\0"
    )


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("", "empty"),
        (".", "empty"),
        ("..", "empty"),
        ("Orders", "lowercase"),
        ("_orders", "begin"),
        ("-orders", "begin"),
        ("+orders", "begin"),
        *((f"a{letter}b", "hold") for letter in '\\/*?"<>| ,#:\0\n'),
        ("é" * 128, "255 bytes"),
    ],
)
def test_a_name_elasticsearch_does_not_take_is_refused(name: str, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        ElasticsearchTarget(Connection("http://h"), Placement(index=name), "route")


def test_a_name_of_255_bytes_is_taken() -> None:
    assert ElasticsearchTarget(Connection("http://h"), Placement(), "a" * 255).territory == "a" * 255 + "\0"


@pytest.mark.parametrize(
    "placement",
    [
        {"mapping": {"a": "text", "a.b": "keyword"}},
        {"mapping": {"a": {"properties": {"b": {"type": "long"}}}, "a.b": "keyword"}},
        {"mapping": {"a..b": "keyword"}},
        {"mapping": {"": "keyword"}},
        {"mapping": {"a": 1}},
        {"shards": 0},
        {"replicas": -1},
    ],
)
def test_a_placement_that_contradicts_itself_is_refused(placement: Mapping[str, Any]) -> None:
    with pytest.raises(ValueError):
        ElasticsearchTarget(Connection("http://h"), Placement(**placement), "route")


@pytest.mark.parametrize(
    "connection",
    [
        {"url": f"ftp://user:{SECRET}@h"},
        {"url": f"http://user:{SECRET}/@h"},
        {"url": f"http://user:1/{SECRET}@h"},
        {"url": f"user:{SECRET}@h"},
        {"url": f"http://user:{SECRET}@h", "api_key": SECRET},
        {"url": "http://h", "username": "user"},
        {"url": "http://h", "password": SECRET},
        {"url": "http://h", "username": "user", "password": SECRET, "api_key": SECRET},
        {"url": "http://h", "ca_certs": "ca.pem"},
    ],
)
def test_a_connection_that_cannot_be_is_refused_without_its_secrets(connection: Mapping[str, Any]) -> None:
    with pytest.raises(ValueError) as refused:
        ElasticsearchTarget(Connection(**connection), Placement(), "route")
    assert SECRET not in str(refused.value)


def test_a_connection_does_not_show_its_secrets() -> None:
    assert SECRET not in repr(Connection(f"http://user:{SECRET}@h"))
    assert SECRET not in repr(Connection("http://h", api_key=SECRET))
    assert SECRET not in repr(Connection("http://h", username="user", password=SECRET))


@pytest.mark.parametrize(
    ("login", "header"),
    [
        ({}, None),
        ({"api_key": "a2V5"}, "ApiKey a2V5"),
        ({"username": "user", "password": "pass"}, "Basic dXNlcjpwYXNz"),
    ],
)
def test_the_login_is_sent(proxy: Proxy, unique: str, login: Mapping[str, Any], header: str | None) -> None:
    with closing(ElasticsearchTarget(Connection(proxy.url, **login), Placement(), unique)) as target:
        target.check()
    assert proxy.seen[0].headers.get("authorization") == header


def test_the_login_in_the_url_is_sent_and_not_shown(proxy: Proxy, unique: str) -> None:
    url = proxy.url.replace("//", "//user:p%40ss@")
    proxy.faults = [canned("/", 401, error(401, "security_exception"))]
    with (
        closing(ElasticsearchTarget(Connection(url), Placement(), unique)) as target,
        pytest.raises(PlanError) as refused,
    ):
        target.check()
    assert proxy.seen[0].headers["authorization"] == "Basic dXNlcjpwQHNz"
    assert refused.value.code == "E-ES-AUTH"
    assert "p%40ss" not in str(refused.value)


# Making ready


def test_an_index_is_made_as_the_plan_says(make: Make, elasticsearch_url: str, unique: str) -> None:
    target = make(
        mapping={
            "name": "text",
            "code": "keyword",
            "at": "date",
            "price": "double",
            "spot": "geo_point",
            "tags": "flattened",
            "owner.name": "keyword",
            "owner.age": "integer",
            "lines": {"type": "nested", "properties": {"sku": {"type": "keyword"}}},
            "lines.count": "long",
        },
        shards=2,
        replicas=0,
    )
    assert [note for note in target.check() if "replicas" in note]
    identity = target.prepare()
    made = told(elasticsearch_url, "GET", f"/{unique}")[unique]
    assert made["settings"]["index"]["uuid"] == identity
    assert made["settings"]["index"]["number_of_shards"] == "2"
    assert made["settings"]["index"]["number_of_replicas"] == "0"
    keyword = {"type": "keyword", "ignore_above": 8191}
    assert made["mappings"] == {
        "dynamic": "false",
        "date_detection": False,
        "numeric_detection": False,
        "properties": {
            "name": {"type": "text"},
            "code": keyword,
            "at": {"type": "date", "format": "strict_date_optional_time||epoch_millis"},
            "price": {"type": "double", "coerce": False},
            "spot": {"type": "geo_point"},
            "tags": {"type": "flattened", "ignore_above": 8191},
            "owner": {"properties": {"name": keyword, "age": {"type": "integer", "coerce": False}}},
            "lines": {
                "type": "nested",
                "properties": {"sku": {"type": "keyword"}, "count": {"type": "long", "coerce": False}},
            },
        },
    }


def test_checking_writes_nothing(make: Make, proxy: Proxy, elasticsearch_url: str, unique: str) -> None:
    assert make().check() == ()
    assert {request.method for request in proxy.seen} == {"GET"}
    assert told(elasticsearch_url, "GET", f"/{unique}")["status"] == 404


def test_preparing_again_keeps_the_identity_until_the_index_is_made_anew(
    make: Make, elasticsearch_url: str, unique: str
) -> None:
    placement = {"mapping": {"a.b": "keyword", "c": "date"}}
    first = make(**placement).prepare()
    assert make(**placement).prepare() == first
    told(elasticsearch_url, "DELETE", f"/{unique}")
    assert make(**placement).prepare() not in ("", first)


FITTING: Mapping[str, Any] = {"dynamic": "false", "properties": {"n": {"type": "long"}}}


@pytest.mark.parametrize(
    ("existing", "code", "named"),
    [
        ({"mappings": {**FITTING, "_source": {"enabled": False}}}, "E-ES-SRC", ["disabled"]),
        ({"mappings": {**FITTING, "_source": {"mode": "synthetic"}}}, "E-ES-SRC", ["synthetic"]),
        ({"mappings": {**FITTING, "_source": {"excludes": ["a"]}}}, "E-ES-SRC", ["excludes"]),
        ({"mappings": {**FITTING, "_source": {"includes": ["a"]}}}, "E-ES-SRC", ["includes"]),
        (
            {"mappings": FITTING, "settings": {"index": {"mapping": {"source": {"mode": "synthetic"}}}}},
            "E-ES-SRC",
            ["synthetic"],
        ),
        ({"mappings": FITTING, "settings": {"index": {"mode": "logsdb"}}}, "E-ES-SRC", ["synthetic"]),
        ({"mappings": {**FITTING, "dynamic": "strict"}}, "E-ES-INDEX", ["dynamic is strict", "false"]),
        ({"mappings": {"properties": FITTING["properties"]}}, "E-ES-INDEX", ["dynamic is true", "false"]),
        (
            {"mappings": {"dynamic": "false", "properties": {"n": {"type": "float"}}}},
            "E-ES-INDEX",
            ["n is float", "the plan says long"],
        ),
        ({"mappings": {"dynamic": "false"}}, "E-ES-INDEX", ["n is not mapped", "the plan says long"]),
        ({"mappings": FITTING, "settings": {"index": {"default_pipeline": "p"}}}, "E-ES-INDEX", ["default_pipeline p"]),
        ({"mappings": FITTING, "settings": {"index": {"final_pipeline": "p"}}}, "E-ES-INDEX", ["final_pipeline p"]),
        ({"mappings": {**FITTING, "_routing": {"required": True}}}, "E-ES-INDEX", ["routing"]),
        (
            {"mappings": FITTING, "settings": {"index": {"translog": {"durability": "async"}}}},
            "E-ES-INDEX",
            ["async"],
        ),
    ],
)
def test_an_index_that_does_not_fit_is_refused_before_anything_is_written(
    make: Make,
    proxy: Proxy,
    elasticsearch_url: str,
    unique: str,
    existing: Mapping[str, Any],
    code: str,
    named: Sequence[str],
) -> None:
    assert told(elasticsearch_url, "PUT", f"/{unique}", existing).get("acknowledged")
    placement = {"mapping": {"n": "long"}, "dynamic": "false"}
    for use in (make(**placement).check, make(**placement).prepare):
        with pytest.raises(PlanError) as refused:
            use()
        assert refused.value.code == code
        for word in (unique, *named):
            assert word in str(refused.value)
    assert {request.method for request in proxy.seen} == {"GET"}


def test_every_difference_is_named_at_once(make: Make, elasticsearch_url: str, unique: str) -> None:
    told(elasticsearch_url, "PUT", f"/{unique}", {"mappings": {"properties": {"a": {"type": "text"}}}})
    with pytest.raises(PlanError) as refused:
        make(mapping={"a": "keyword", "b.c": "date"}).check()
    assert all(word in str(refused.value) for word in ("dynamic", "a is text", "b is not", "b.c is not"))


def test_an_index_that_fits_is_taken_with_what_it_has_beyond_the_plan(
    make: Make, elasticsearch_url: str, unique: str
) -> None:
    properties = {"n": {"type": "long"}, "more": {"type": "text"}, "o": {"properties": {"x": {"type": "keyword"}}}}
    told(elasticsearch_url, "PUT", f"/{unique}", {"mappings": {"dynamic": False, "properties": properties}})
    target = make(mapping={"n": "long", "o.x": "keyword"})
    assert target.prepare() == told(elasticsearch_url, "GET", f"/{unique}")[unique]["settings"]["index"]["uuid"]


def test_an_alias_is_refused(make: Make, elasticsearch_url: str, unique: str) -> None:
    told(elasticsearch_url, "PUT", f"/{unique}-behind", {"mappings": {"dynamic": "false"}})
    told(elasticsearch_url, "PUT", f"/{unique}-behind/_alias/{unique}")
    with pytest.raises(PlanError, match=f"{unique}-behind") as refused:
        make().check()
    assert refused.value.code == "E-ES-INDEX"


def test_an_index_a_template_spoils_is_refused(make: Make, elasticsearch_url: str, unique: str) -> None:
    template = {
        "index_patterns": [f"{unique}*"],
        "template": {"settings": {"index": {"default_pipeline": "stamp"}}},
    }
    assert told(elasticsearch_url, "PUT", f"/_index_template/{unique}", template)["acknowledged"]
    try:
        with pytest.raises(PlanError, match="stamp"):
            make().prepare()
    finally:
        told(elasticsearch_url, "DELETE", f"/_index_template/{unique}")


def test_a_mapping_the_server_does_not_know_is_refused_in_its_words(make: Make) -> None:
    with pytest.raises(PlanError, match="nosuchtype") as refused:
        make(mapping={"a": "nosuchtype"}).prepare()
    assert refused.value.code == "E-ES-INDEX"


def test_an_index_that_somebody_made_meanwhile_is_used_if_it_fits(
    make: Make, proxy: Proxy, elasticsearch_url: str, unique: str
) -> None:
    first = make(mapping={"n": "long"}).prepare()
    absent = canned(f"/{unique}", 404, error(404, "index_not_found_exception"))
    proxy.faults = [absent]
    assert make(mapping={"n": "long"}).prepare() == first
    proxy.faults = [absent]
    with pytest.raises(PlanError, match="n is long"):
        make(mapping={"n": "text"}).prepare()
    assert len([request for request in proxy.seen if request.method == "PUT"]) == 3


@pytest.mark.parametrize(
    ("root", "named"),
    [
        (canned("/", 200, {"version": {"number": "2.19.1", "distribution": "opensearch"}}, Server="x"), "opensearch"),
        (canned("/", 200, {"version": {"number": "8.15.0"}}, Server="x"), "nameless"),
        (canned("/", 200, b"<html>hello</html>", Server="x"), "nameless"),
        (canned("/", 404, b"not here", Server="x"), "nameless"),
        (canned("/", 200, {"version": {"number": "7.17.9"}}), "7.17"),
    ],
)
def test_another_product_is_refused(make: Make, proxy: Proxy, root: Fault, named: str) -> None:
    proxy.faults = [root]
    with pytest.raises(PlanError, match=named) as refused:
        make().check()
    assert refused.value.code == "E-ES-PRODUCT"


def test_vectors_that_newer_servers_leave_out_of_the_source_are_noticed(
    make: Make, proxy: Proxy, elasticsearch_url: str, unique: str
) -> None:
    newer = canned("/", 200, {"version": {"number": "9.2.0"}})
    vector = {"type": "dense_vector", "dims": 2}
    proxy.faults = [newer]
    make(mapping={"v": vector}).prepare()
    asked = next(request for request in proxy.seen if request.method == "PUT")
    assert json.loads(asked.body)["settings"]["index"]["mapping"] == {"exclude_source_vectors": False}
    told(elasticsearch_url, "DELETE", f"/{unique}")
    told(elasticsearch_url, "PUT", f"/{unique}", {"mappings": {"dynamic": "false", "properties": {"v": vector}}})
    assert make(mapping={"v": vector}).check() == ()
    proxy.faults = [newer]
    with pytest.raises(PlanError, match="vectors") as refused:
        make(mapping={"v": vector}).check()
    assert refused.value.code == "E-ES-SRC"


@pytest.mark.server
def test_a_server_that_is_not_there_is_a_transient_error_without_secrets(unique: str) -> None:
    connection = Connection(f"http://user:{SECRET}@127.0.0.1:1", retry_deadline_s=0)
    with pytest.raises(TransientError) as away:
        ElasticsearchTarget(connection, Placement(), unique).check()
    assert away.value.code == "E-ES-AWAY"
    assert SECRET not in str(away.value)
    assert pickle.loads(pickle.dumps(away.value)).message == away.value.message


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


# Push-back and failures


def test_plain_media_types_are_sent(target: ElasticsearchTarget, proxy: Proxy) -> None:
    target.write([document("a", n=1)])
    target.read(["a"])
    list(target.addresses())
    assert {request.headers["content-type"] for request in proxy.asked("/_bulk")} == {"application/x-ndjson"}
    assert {request.headers["accept"] for request in proxy.seen} == {"application/json"}
    assert "compatible-with" not in str([request.headers for request in proxy.seen])


@pytest.mark.parametrize(
    ("status", "kind", "reason"),
    [
        (429, "es_rejected_execution_exception", "rejected execution of coordinating operation"),
        (429, "circuit_breaking_exception", "[parent] Data too large"),
        (503, "unavailable_shards_exception", "primary shard is not active"),
        (500, "node_disconnected_exception", "disconnected"),
        (403, "cluster_block_exception", "index blocked by: [FORBIDDEN/12/index read-only / allow delete (api)];"),
        (429, "cluster_block_exception", "[TOO_MANY_REQUESTS/12/disk usage exceeded flood-stage watermark"),
    ],
)
def test_only_what_was_pushed_back_is_sent_again(
    target: ElasticsearchTarget, proxy: Proxy, elasticsearch_url: str, unique: str, status: int, kind: str, reason: str
) -> None:
    proxy.faults = [withheld(1, status, kind, reason), withheld(0, status, kind, reason)]
    assert target.write([document(name, n=1) for name in "abc"]) == []
    sent = [[json.loads(line)["index"]["_id"] for line in asked.lines[::2]] for asked in proxy.asked("/_bulk")]
    assert sent == [["a", "b", "c"], ["b"], ["b"]]
    assert set(sources(elasticsearch_url, unique)) == {"a", "b", "c"}


def test_a_document_pushed_back_and_then_refused_is_rejected_once(
    target: ElasticsearchTarget, proxy: Proxy, elasticsearch_url: str, unique: str
) -> None:
    proxy.faults = [withheld(1, 429, "es_rejected_execution_exception")]
    refused = target.write([document("a", n="x"), document("b", n="x"), document("c", n=1)])
    assert [refusal.index for refusal in refused] == [0, 1]
    assert set(sources(elasticsearch_url, unique)) == {"c"}


@pytest.mark.parametrize(
    "fault",
    [
        canned("/_bulk", 429, error(429, "es_rejected_execution_exception")),
        canned("/_bulk", 503, error(503, "cluster_block_exception", "blocked by: [SERVICE_UNAVAILABLE/2/no master]")),
        canned("/_bulk", 502, b"<html>bad gateway</html>", Server="x"),
        hang_up("/_bulk"),
    ],
    ids=["429", "503", "502", "dropped"],
)
def test_a_request_that_failed_in_passing_is_sent_again_then_given_up(
    make: Make, proxy: Proxy, elasticsearch_url: str, unique: str, fault: Fault
) -> None:
    target = make()
    target.prepare()
    proxy.faults = [fault, fault]
    assert target.write([document("a", n=1)]) == []
    assert sources(elasticsearch_url, unique) == {"a": {"n": 1}}
    proxy.faults = [fault]
    with pytest.raises(TransientError) as away:
        make(deadline_s=0).write([document("b", n=1)])
    assert away.value.code == "E-ES-AWAY"
    assert set(sources(elasticsearch_url, unique)) == {"a"}


def test_a_document_pushed_back_until_the_deadline_is_no_reject(make: Make, proxy: Proxy) -> None:
    target = make(deadline_s=0)
    target.prepare()
    proxy.faults = [withheld(0, 403, "cluster_block_exception", "blocked by: [FORBIDDEN/12/index read-only]")]
    with pytest.raises(TransientError) as away:
        target.write([document("a", n=1)])
    assert "cluster_block_exception" in str(away.value)


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (canned("/_bulk", 401, error(401, "security_exception", SECRET)), "E-ES-AUTH"),
        (canned("/_bulk", 403, error(403, "security_exception", SECRET)), "E-ES-AUTH"),
        (withheld(1, 403, "security_exception", SECRET), "E-ES-AUTH"),
        (withheld(1, 404, "index_not_found_exception", "no such index"), "E-ES-NOINDEX"),
        (withheld(1, 400, "index_closed_exception", "closed"), "E-ES-BLOCKED"),
        (withheld(1, 500, "some_new_exception", SECRET), "E-ES-ANSWER"),
        (withheld(1, 409, "version_conflict_engine_exception", SECRET), "E-ES-ANSWER"),
        (canned("/_bulk", 200, b"<html>welcome</html>"), "E-ES-ANSWER"),
        (canned("/_bulk", 200, {"errors": False}), "E-ES-ANSWER"),
        (edited("/_bulk", lambda answer: answer["items"].pop()), "E-ES-ANSWER"),
        (edited("/_bulk", lambda answer: answer["items"].reverse()), "E-ES-ANSWER"),
        (edited("/_bulk", lambda answer: answer["items"][1]["index"].update(_index="other")), "E-ES-ANSWER"),
        (edited("/_bulk", lambda answer: answer["items"][1]["index"].pop("status")), "E-ES-AWAY"),
    ],
)
def test_what_is_no_documents_fault_stops_the_route(
    make: Make, proxy: Proxy, fault: Fault, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    target = make(deadline_s=0)
    target.prepare()
    proxy.faults = [fault]
    with pytest.raises((PermanentError, TransientError)) as stopped:
        target.write([document("a", n=1), document("b", n=2)])
    assert stopped.value.code == code
    assert isinstance(stopped.value, TransientError) == (code == "E-ES-AWAY")
    assert SECRET not in str(stopped.value)
    assert SECRET not in logged(caplog)


def refusing(body: bytes) -> Fault:
    """Refuse each whole request that holds this, as a server does that cannot read one of its lines."""
    reply = Reply(400, json.dumps(error(400, "illegal_argument_exception", SECRET)).encode())
    return lambda request, forward: reply if "/_bulk" in request.path and body in request.body else None


def test_a_document_for_which_a_whole_request_is_refused_is_found_and_rejected_alone(
    target: ElasticsearchTarget, proxy: Proxy, elasticsearch_url: str, unique: str
) -> None:
    """R142: 2 of 100, next to each other; while they are looked for the server pushes back once."""
    busy = [Reply(503, b"{}")]
    poison = refusing(b"poison")

    def fault(request: Request, forward: Forward) -> Reply | None:
        refused = poison(request, forward)
        return busy.pop() if refused is not None and len(request.lines) < 40 and busy else refused

    proxy.constant = fault
    records = [document(f"{number}", text="poison" if number in (41, 42) else "good") for number in range(100)]
    refused = target.write(records)
    assert [(one.index, one.code) for one in refused] == [(41, "E-ES-REJECTED"), (42, "E-ES-REJECTED")]
    assert SECRET not in str(refused)
    assert set(sources(elasticsearch_url, unique)) == {f"{number}" for number in range(100)} - {"41", "42"}
    assert len(proxy.asked("/_bulk")) < 40


def test_requests_that_are_all_refused_whole_are_no_documents_fault(target: ElasticsearchTarget, proxy: Proxy) -> None:
    proxy.constant = refusing(b"")
    with pytest.raises(PermanentError) as stopped:
        target.write([document(f"{number}", text="good") for number in range(9)])
    assert stopped.value.code == "E-ES-ANSWER"
    assert SECRET not in str(stopped.value)


def test_a_write_block_somebody_set_stops_the_route(
    target: ElasticsearchTarget, elasticsearch_url: str, unique: str
) -> None:
    told(elasticsearch_url, "PUT", f"/{unique}/_settings", {"index": {"blocks": {"write": True}}})
    with pytest.raises(PermanentError, match="FORBIDDEN/8") as stopped:
        target.write([document("a", n=1)])
    assert stopped.value.code == "E-ES-BLOCKED"


def test_a_request_that_is_too_large_is_halved_and_a_document_that_is_too_large_rejected(
    target: ElasticsearchTarget, proxy: Proxy, elasticsearch_url: str, unique: str
) -> None:
    too_large = Reply(413, b"<html>Request Entity Too Large</html>", {"Server": "x"})
    proxy.constant = lambda request, forward: too_large if len(request.body) > 1000 else None
    records = [document(f"{number}", text="x" * 100) for number in range(40)]
    records[17] = document("17", text="x" * 1000)
    refused = target.write(records)
    assert [(refusal.index, refusal.code) for refusal in refused] == [(17, "E-ES-SIZE")]
    assert set(sources(elasticsearch_url, unique)) == {f"{number}" for number in range(40)} - {"17"}


def test_requests_are_cut_by_bytes(target: ElasticsearchTarget, proxy: Proxy) -> None:
    megabytes = [1, 1, 1, 1, 3, 3, 6, 1]
    records = [document(f"{place}", text="x" * (size << 20)) for place, size in enumerate(megabytes)]
    assert target.write(records) == []
    assert [len(request.lines) // 2 for request in proxy.asked("/_bulk")] == [4, 1, 1, 1, 1]


# An index that goes away


def test_a_write_never_makes_an_index_that_was_not_prepared(make: Make, elasticsearch_url: str, unique: str) -> None:
    for use in (
        lambda: make().write([document("a", n=1)]),
        lambda: make().delete(["a"]),
        lambda: make().read(["a"]),
        lambda: list(make().addresses()),
    ):
        with pytest.raises(PermanentError) as stopped:
            use()
        assert stopped.value.code == "E-ES-NOINDEX"
    assert told(elasticsearch_url, "GET", f"/{unique}")["status"] == 404


def test_an_index_deleted_since_it_was_prepared_is_noticed_though_every_write_is_acknowledged(
    target: ElasticsearchTarget, elasticsearch_url: str, unique: str
) -> None:
    target.write([document("a", n=1)])
    told(elasticsearch_url, "DELETE", f"/{unique}")
    with pytest.raises(PermanentError) as stopped:
        target.write([document("b", n=2)])
    assert stopped.value.code == "E-ES-NOINDEX"
    # The server did take it: into an index it made by itself.
    assert sources(elasticsearch_url, unique) == {"b": {"n": 2}}


def test_an_index_deleted_between_two_requests_of_a_write_is_noticed(
    make: Make, proxy: Proxy, elasticsearch_url: str, unique: str
) -> None:
    make().prepare()
    target = make()  # another process: it was not the one that prepared the index

    def delete_first(request: Request, forward: Forward) -> Reply | None:
        if len(proxy.asked("/_bulk")) < 2 or "/_bulk" not in request.path:
            return None
        told(elasticsearch_url, "DELETE", f"/{unique}")
        return forward(request)

    proxy.faults = [delete_first]
    with pytest.raises(PermanentError) as stopped:
        target.write([document(f"{number}", n=number) for number in range(1500)])
    assert stopped.value.code == "E-ES-NOINDEX"


def test_an_alias_put_in_the_place_of_the_index_is_noticed(
    target: ElasticsearchTarget, elasticsearch_url: str, unique: str
) -> None:
    told(elasticsearch_url, "DELETE", f"/{unique}")
    told(elasticsearch_url, "PUT", f"/{unique}-other", {"mappings": {"dynamic": "false"}})
    told(elasticsearch_url, "PUT", f"/{unique}-other/_alias/{unique}")
    for use in (lambda: target.write([document("a", n=1)]), lambda: target.read(["a"])):
        with pytest.raises(PermanentError):
            use()


# Reading


def test_a_read_sees_what_no_refresh_has_shown_yet(
    target: ElasticsearchTarget, elasticsearch_url: str, unique: str
) -> None:
    told(elasticsearch_url, "PUT", f"/{unique}/_settings", {"index": {"refresh_interval": "-1"}})
    target.write([document("a", n=1)])
    assert set(target.read(["absent", "a", "a", "", "x" * 600])) == {"a"}
    target.write([document("a", n=2)])
    assert target.read(["a"])["a"].canonical() == b'{"n":2}'
    target.delete(["a"])
    assert target.read(["a"]) == {}


def test_many_documents_are_read_in_parts(target: ElasticsearchTarget, proxy: Proxy) -> None:
    records = [document(f"{number}", n=number) for number in range(1100)]
    target.write(records)
    assert target.read([record.id for record in records]) == {record.id: record for record in records}
    assert [len(json.loads(request.body)["docs"]) for request in proxy.asked("/_mget")] == [500, 500, 100]


def failing_shard(answer: Any) -> None:
    hit = answer["docs"][1]
    answer["docs"][1] = {
        "_index": hit["_index"],
        "_id": hit["_id"],
        "error": {"type": "no_shard_available_action_exception", "reason": "No shard available"},
    }


def test_a_document_whose_shard_did_not_answer_is_asked_for_again_and_never_absent(make: Make, proxy: Proxy) -> None:
    target = make()
    target.prepare()
    records = [document(name, n=1) for name in "abc"]
    target.write(records)
    proxy.faults = [edited("/_mget", failing_shard)]
    assert set(target.read(["a", "b", "c"])) == {"a", "b", "c"}
    assert [[doc["_id"] for doc in json.loads(request.body)["docs"]] for request in proxy.asked("/_mget")] == [
        ["a", "b", "c"],
        ["b"],
    ]
    proxy.faults = [edited("/_mget", failing_shard)]
    with pytest.raises(TransientError) as away:
        make(deadline_s=0).read(["a", "b", "c"])
    assert away.value.code == "E-ES-AWAY"


@pytest.mark.parametrize(
    "edit",
    [
        lambda answer: answer["docs"].pop(),
        lambda answer: answer["docs"].reverse(),
        lambda answer: answer["docs"][0].pop("_source"),
        lambda answer: answer["docs"][0].pop("found"),
        lambda answer: answer["docs"][0].update(_index="other"),
        lambda answer: answer.clear(),
    ],
)
def test_an_answer_that_leaves_a_document_open_is_no_answer(
    target: ElasticsearchTarget, proxy: Proxy, edit: Callable[[Any], object]
) -> None:
    target.write([document("a", n=1), document("b", n=2)])
    proxy.faults = [edited("/_mget", edit)]
    with pytest.raises(PermanentError) as stopped:
        target.read(["a", "b"])
    assert stopped.value.code == "E-ES-ANSWER"


# Listing


@pytest.fixture
def listed(make: Make) -> ElasticsearchTarget:
    """A target that holds 10,050 documents, which is three pages and more than a search counts or skips by itself."""
    target = make(shards=2)
    target.prepare()
    assert target.write([document(f"{number}", n=number) for number in range(10_050)]) == []
    return target


def test_more_than_10000_documents_are_listed_and_the_listing_closed(
    listed: ElasticsearchTarget, proxy: Proxy, elasticsearch_url: str, unique: str
) -> None:
    assert sorted(listed.addresses()) == sorted(f"{number}" for number in range(10_050))
    assert [request.method for request in proxy.seen if request.path == "/_pit"] == ["DELETE"]


def test_a_listing_left_early_is_closed(listed: ElasticsearchTarget, proxy: Proxy) -> None:
    listing = listed.addresses()
    assert next(listing)
    listing.close()  # type: ignore[attr-defined]
    assert [request.method for request in proxy.seen if request.path == "/_pit"] == ["DELETE"]


def test_a_listing_shows_what_was_written_just_before(
    target: ElasticsearchTarget, elasticsearch_url: str, unique: str
) -> None:
    told(elasticsearch_url, "PUT", f"/{unique}/_settings", {"index": {"refresh_interval": "-1"}})
    assert list(target.addresses()) == []
    target.write([document("a", n=1), document("b", n=1)])
    target.delete(["b"])
    assert list(target.addresses()) == ["a"]


@pytest.mark.parametrize(
    "fault",
    [
        edited("/_refresh", lambda answer: answer["_shards"].update(failed=1)),
        edited("/_search", lambda answer: answer["_shards"].update(failed=1)),
        edited("/_search", lambda answer: answer.update(timed_out=True)),
        edited("/_search", lambda answer: answer["hits"]["hits"].pop(0)),
        edited("/_search", lambda answer: answer["hits"]["hits"].clear()),
        canned("/_search", 404, error(404, "search_phase_execution_exception", "all shards failed")),
    ],
    ids=["refresh", "shards", "timed out", "short page", "empty page", "lost"],
)
def test_a_listing_with_gaps_never_ends_as_if_it_were_whole(
    target: ElasticsearchTarget, proxy: Proxy, fault: Fault
) -> None:
    target.write([document("a", n=1), document("b", n=1)])
    proxy.faults = [fault]
    with pytest.raises(TransientError) as away:
        list(target.addresses())
    assert away.value.code == "E-ES-LIST"
    assert sorted(target.addresses()) == ["a", "b"]


def test_a_listing_the_server_let_go_of_must_begin_anew(listed: ElasticsearchTarget, proxy: Proxy) -> None:
    listing = listed.addresses()
    next(listing)
    held_open = json.loads(proxy.asked("/_search")[0].body)["pit"]["id"]
    assert told(proxy.upstream, "DELETE", "/_pit", {"id": held_open})["num_freed"] == 1
    with pytest.raises(TransientError) as away:
        list(listing)
    assert away.value.code == "E-ES-LIST"


def test_a_page_that_failed_in_passing_is_asked_for_again(listed: ElasticsearchTarget, proxy: Proxy) -> None:
    listing = listed.addresses()
    first = next(listing)
    proxy.faults = [hang_up("/_search"), canned("/_search", 503, error(503, "search_phase_execution_exception"))]
    assert sorted([first, *listing]) == sorted(f"{number}" for number in range(10_050))


# Designs, versions and settings for the load


def followed(target: ElasticsearchTarget, **wishes: Any) -> ElasticsearchTarget:
    target.follow(target.design(wishes))
    return target


def test_a_design_fills_in_what_the_plan_does_not_map(make: Make, elasticsearch_url: str, unique: str) -> None:
    census = {"a": {"properties": {"b": {"type": "long"}, "c": {"type": "long"}}}, "d": {"type": "text"}}
    target = followed(make(mapping={"a.b": "keyword", "e": "date"}), properties=census, reshape=[], notes=[])
    target.prepare()
    made = told(elasticsearch_url, "GET", f"/{unique}")[unique]["mappings"]
    assert made["dynamic"] == "strict"
    assert {name: one.get("type") for name, one in made["properties"].items()} == {
        "a": None,
        "d": "text",
        "e": "date",
        "offramp_id": "keyword",
        "offramp_raw": "binary",
    }
    assert {name: one["type"] for name, one in made["properties"]["a"]["properties"].items()} == {
        "b": "keyword",
        "c": "long",
    }


def test_the_plans_word_on_unmapped_fields_wins_over_the_design(
    make: Make, elasticsearch_url: str, unique: str
) -> None:
    followed(make(dynamic="false"), properties={"a": {"type": "long"}}).prepare()
    assert told(elasticsearch_url, "GET", f"/{unique}")[unique]["mappings"]["dynamic"] == "false"


def test_a_strict_index_that_a_census_may_have_made_passes_the_check_but_no_run_without_its_design(
    make: Make, elasticsearch_url: str, unique: str
) -> None:
    told(elasticsearch_url, "PUT", f"/{unique}", {"mappings": {"dynamic": "strict"}})
    assert make().check() == ()
    with pytest.raises(PlanError) as refused:
        make().prepare()
    assert refused.value.code == "E-ES-INDEX"


def test_an_index_of_more_fields_than_usual_is_allowed_them(make: Make, elasticsearch_url: str, unique: str) -> None:
    fields = {f"f{number}": {"type": "long"} for number in range(1200)}
    followed(make(), properties=fields).prepare()
    made = told(elasticsearch_url, "GET", f"/{unique}")[unique]
    assert made["settings"]["index"]["mapping"]["total_fields"]["limit"] == "1202"


def load_settings(url: str, index: str) -> tuple[str | None, str]:
    chosen = told(url, "GET", f"/{index}")[index]["settings"]["index"]
    return chosen.get("refresh_interval"), chosen["number_of_replicas"]


def test_an_index_is_tuned_for_the_load_and_put_back(make: Make, elasticsearch_url: str, unique: str) -> None:
    target = make(load_refresh_interval="-1", load_replicas=0)
    assert any("while copying" in note for note in target.check())
    identity = target.prepare()
    assert load_settings(elasticsearch_url, unique) == ("-1", "0")
    assert make(load_refresh_interval="-1", load_replicas=0).prepare() == identity
    target.restore()
    assert load_settings(elasticsearch_url, unique) == (None, "1")
    target.restore()
    assert load_settings(elasticsearch_url, unique) == (None, "1"), "restoring twice is once"


def test_a_crash_between_noting_and_setting_leaves_nothing_to_be_lost(
    make: Make, proxy: Proxy, elasticsearch_url: str, unique: str
) -> None:
    keys = {"load_refresh_interval": "-1", "load_replicas": 0}
    proxy.faults = [canned("/_settings", 403, error(403, "security_exception"))]
    with pytest.raises(PlanError):
        make(**keys).prepare()
    assert load_settings(elasticsearch_url, unique) == (None, "1")
    # The next run does not take settings for the load for those from before.
    again = make(**keys)
    again.prepare()
    make(**keys).prepare()
    make().restore()
    assert load_settings(elasticsearch_url, unique) == (None, "1"), (
        "put back by a run whose plan says nothing of a load"
    )


def test_documents_with_ignored_fields_are_told(make: Make, proxy: Proxy) -> None:
    target = make()
    target.prepare()
    assert target.audit() == ()
    # The local server never ignores a field, so the count is the proxy's.
    proxy.faults = [edited("/_count", lambda content: content.update(count=3))]
    (told_of,) = target.audit()
    assert told_of.startswith("3 documents")
    (asked,) = proxy.asked("/_count")[-1:]
    assert json.loads(asked.body) == {"query": {"exists": {"field": "_ignored"}}}
    proxy.faults = [edited("/_count", lambda content: content["_shards"].update(failed=1))]
    with pytest.raises(PermanentError):
        target.audit()
    proxy.faults = []
    asked_before = len(proxy.asked("/_count"))
    assert make(accept_ignored=True).audit() == ()
    assert len(proxy.asked("/_count")) == asked_before


def test_replicas_that_are_not_back_are_told(make: Make, proxy: Proxy) -> None:
    target = make(load_replicas=0)
    target.prepare()
    (left,) = [fault for fault in target.audit() if "settings of the load" in fault]
    assert "run backfill again" in left
    target.restore()
    # One node holds no second copy: the local server says so as Elasticsearch would.
    assert [fault for fault in target.audit() if "replica" in fault]
    proxy.faults = [canned("/_cluster/health", 200, {"status": "green", "timed_out": False})]
    assert target.audit() == ()


def test_versions_follow_each_other_and_never_take_a_place_that_is_taken(
    make: Make, elasticsearch_url: str, unique: str
) -> None:
    for taken in (f"{unique}__2", f"{unique}__9", f"{unique}__x", f"{unique}__10__3"):
        told(elasticsearch_url, "PUT", f"/{taken}")
    assert make(versioned=True).design({}) == {"index": f"{unique}__10"}
    assert make().design({"properties": {}}) == {"properties": {}}


def test_a_swap_is_one_call_of_all_actions_and_is_read_back(
    make: Make, proxy: Proxy, elasticsearch_url: str, unique: str
) -> None:
    for _ in range(2):
        target = followed(make(versioned=True))
        target.prepare()
        assert target.publish() == f"{unique} -> {target._name}"
        target.publish()
    first, second = proxy.asked("/_aliases")
    assert json.loads(first.body) == {
        "actions": [{"add": {"index": f"{unique}__1", "alias": unique, "is_write_index": True}}]
    }
    assert json.loads(second.body)["actions"][0] == {"remove": {"index": f"{unique}__1", "alias": unique}}
    third = followed(make(versioned=True))
    third.prepare()
    proxy.faults = [canned("/_aliases", 200, {"acknowledged": True})]
    with pytest.raises(PermanentError, match="was set to"):
        third.publish()
    proxy.faults = [canned("/_aliases", 400, error(400, "illegal_argument_exception", "why not"))]
    with pytest.raises(PermanentError, match="why not"):
        third.publish()
    assert list(told(elasticsearch_url, "GET", f"/_alias/{unique}")) == [f"{unique}__2"]


def test_a_version_nobody_chose_is_neither_read_nor_written(make: Make) -> None:
    target = make(versioned=True)
    for use in (
        lambda: target.read(["a"]),
        lambda: target.write([document("a")]),
        lambda: target.delete(["a"]),
        lambda: list(target.addresses()),
        target.prepare,
        target.audit,
        target.publish,
    ):
        with pytest.raises(PlanError) as refused:
            use()
        assert refused.value.code == "E-ES-VERSION"
    target.restore()


def test_versions_are_one_territory(unique: str) -> None:
    target = ElasticsearchTarget(Connection("http://h"), Placement(versioned=True), "orders")
    assert target.territory == "orders__"


@pytest.mark.parametrize(
    ("placement", "key"),
    [
        ({"load_refresh_interval": "soon"}, "load_refresh_interval"),
        ({"load_replicas": -1}, "load_replicas"),
        ({"replace": True}, "replace"),
        ({"versioned": True, "index": "a" * 241}, "index"),
    ],
)
def test_a_placement_that_cannot_be_is_refused_by_its_key(placement: Mapping[str, Any], key: str) -> None:
    with pytest.raises(ValueError, match=f"^{key}"):
        ElasticsearchTarget(Connection("http://h"), Placement(**placement), "route")
