"""Where documents lie and what changes them on the way: routing, indices by date, ingest pipelines."""

from __future__ import annotations

import datetime as dt
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from bson.datetime_ms import DatetimeMS
from http_servers import Reply, Request, serving
from plans import Stores, offramp, write_plan
from pymongo.database import Database

from flows.plan.load import load
from mappers.contract import Losses, MappingError, Record
from mappers.elasticsearch.date_indices import Periods
from mappers.elasticsearch.mapper import DocumentMapper
from mappers.elasticsearch.records import IndexDocument
from stores.elasticsearch.target import ElasticsearchTarget
from stores.errors import PlanError
from stores.testing.laws import TargetLaws

Connection, Placement = ElasticsearchTarget.Connection, ElasticsearchTarget.Placement
PERIODS = "-{at:%Y.%m}"


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


def hits(url: str, index: str) -> list[Any]:
    told(url, "POST", f"/{index}/_refresh")
    found = told(url, "POST", f"/{index}/_search", {"size": 5000})
    return list(found["hits"]["hits"])


class TestRoutedAndByDate(TargetLaws):
    """The laws where an address is an index, a routing and an id; the same id lies in several places."""

    @pytest.fixture
    def target(self, opensearch_url: str, unique: str) -> Iterator[ElasticsearchTarget]:
        with closing(self.made(opensearch_url, unique)) as target:
            target.prepare()
            yield target
        told(opensearch_url, "DELETE", f"/{unique}*")

    @pytest.fixture
    def another(self, opensearch_url: str, unique: str) -> Iterator[ElasticsearchTarget]:
        with closing(self.made(opensearch_url, unique)) as target:
            yield target

    @staticmethod
    def made(url: str, name: str) -> ElasticsearchTarget:
        placement = Placement(index=name + PERIODS, routing="tenant", undated_index=f"{name}-undated", shards=3)
        return ElasticsearchTarget(Connection(url, flavour="opensearch"), placement, "logs")

    @pytest.fixture
    def records(self, unique: str) -> list[IndexDocument]:
        return [
            IndexDocument("same", b'{"n":1}', "a", f"{unique}-2024.01"),
            IndexDocument("same", b'{"n":2}', "a", f"{unique}-2024.02"),
            IndexDocument("same", b'{"n":3}', "b,é/?", f"{unique}-undated"),
            IndexDocument('"é', b'{"n":4}', "b,é/?", f"{unique}-2024.02"),
        ]

    @pytest.fixture
    def changed(self, records: list[IndexDocument]) -> list[IndexDocument]:
        return [IndexDocument(one.id, b'{"new":true}', one.routing, one.index) for one in records]

    @pytest.fixture
    def many(self, unique: str) -> Callable[[int], list[IndexDocument]]:
        return lambda n: [
            IndexDocument(f"m{number}", b'{"n":%d}' % number, str(number % 7), f"{unique}-2023.{1 + number % 3:02}")
            for number in range(n)
        ]

    @pytest.fixture
    def peek(self, opensearch_url: str, unique: str) -> Callable[[str], Record | None]:
        def look(address: str) -> Record | None:
            index, routing, identifier = json.loads(address)
            for hit in hits(opensearch_url, index) if index in told(opensearch_url, "GET", f"/{unique}*") else ():
                if (hit["_id"], hit["_routing"]) == (identifier, routing):
                    return IndexDocument(identifier, json.dumps(hit["_source"]).encode(), routing, index)
            return None

        return look

    @pytest.fixture
    def count(self, opensearch_url: str, unique: str) -> Callable[[], int]:
        return lambda: int(told(opensearch_url, "GET", f"/{unique}*/_count").get("count", 0))


# Routing


def routed(url: str, index: str, **keys: Any) -> ElasticsearchTarget:
    keys = {"routing": "tenant", **keys}
    return ElasticsearchTarget(Connection(url, flavour="opensearch"), Placement(index=index, **keys), "orders")


def test_a_document_under_another_routing_of_its_shard_is_neither_read_nor_deleted(
    opensearch_url: str, unique: str
) -> None:
    with closing(routed(opensearch_url, unique)) as target:  # one shard, so every routing leads there
        target.prepare()
        there, elsewhere = IndexDocument("1", b"{}", "a"), IndexDocument("1", b"{}", "b")
        assert not target.write([there])
        assert target.read([elsewhere.address]) == {}
        target.delete([elsewhere.address])
        assert list(target.read([there.address])) == list(target.addresses()) == ['["a","1"]']
        described = told(opensearch_url, "GET", f"/{unique}")[unique]
        assert described["mappings"]["_routing"] == {"required": True}


def test_a_record_with_a_routing_of_its_own_choice_is_rejected(opensearch_url: str, unique: str) -> None:
    with closing(routed(opensearch_url, unique, routing=None)) as target:
        target.prepare()
        assert [one.code for one in target.write([IndexDocument("1", b"{}", "a")])] == ["E-ES-ROUTING"]
    with closing(routed(opensearch_url, unique)) as target, pytest.raises(PlanError, match="does not require routing"):
        target.prepare()


@pytest.mark.parametrize(("text", "key"), [("tenant.id", "7%{}"), ("{kind}/{tenant.id}", "x/7%25%7B%7D")])
def test_routing_is_a_fields_value_or_a_filled_text(text: str, key: str) -> None:
    mapper = DocumentMapper(DocumentMapper.Options(routing=text), "route", Losses())
    (record,) = mapper({"_id": 1, "kind": "x", "tenant": {"id": "7%{}"}})
    assert (record.routing, record.address) == (key, f'["{key}","n:1"]')
    for document in ({"_id": 1, "kind": "x"}, {"_id": 1, "kind": "x", "tenant": {"id": [1]}}):
        with pytest.raises(MappingError):
            mapper(document)
    with pytest.raises(MappingError):
        DocumentMapper(DocumentMapper.Options(routing="t"), "route", Losses())({"_id": 1, "t": ""})


@pytest.fixture
def opensearch(mongodb_url: str, opensearch_url: str) -> Stores:
    return Stores(mongodb_url, "", "", opensearch_url)


def planned(folder: Path, stores: Stores, database: str, flavour: str, **route: Any) -> Path:
    connection = {"url": stores.elasticsearch, "flavour": flavour, "retry_deadline_s": 10}
    routes = {"things": {"use_case": "log", **route}}
    return write_plan(folder, stores, database, routes, targets={"elasticsearch": connection})


def test_a_document_whose_routing_changed_does_not_hide_its_old_self(
    opensearch: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    database.things.insert_many([{"_id": number, "tenant": f"t{number % 5}"} for number in range(40)])
    database.things.insert_one({"_id": "none"})
    plan = planned(tmp_path, opensearch, database.name, "opensearch", index=unique, routing="tenant", shards=5)
    row = offramp("backfill", plan, "--json", folder=tmp_path).route("things")
    assert (row["held"], row["rejected"], row["missing"], row["extra"]) == (40, 1, 0, 0)
    assert {hit["_routing"] for hit in hits(opensearch.elasticsearch, unique)} == {f"t{number}" for number in range(5)}
    database.things.delete_one({"_id": "none"})
    for number in range(5):  # Some of these lead to the shard of the old routing, where a read by id finds them.
        database.things.update_one({"_id": number}, {"$set": {"tenant": f"moved{number}"}})
    row = offramp("verify", plan, "--json", folder=tmp_path).route("things")
    assert (row["missing"], row["extra"], row["verdict"]) == (5, 5, "mismatches")


def test_an_id_under_two_routings_is_listed_twice(unique: str) -> None:
    """As real servers hold it, on two shards; those of the tests keep ids apart over all shards."""
    twice = [{"_id": "1", "_routing": "a"}, {"_id": "1", "_routing": "b"}]
    whole = {"_shards": {"failed": 0}, "_scroll_id": "s"}

    def answer(request: Request) -> Reply:
        hits = twice if "_search?" in request.path else []
        return Reply(200, json.dumps({**whole, "hits": {"total": {"value": 2}, "hits": hits}}).encode())

    with serving(answer) as url, closing(routed(url, unique)) as target:
        listed = list(target.addresses())
    assert listed == ['["a","1"]', '["b","1"]']


def test_a_mapper_of_ones_own_has_no_routing(
    opensearch: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    (tmp_path / "own.py").write_text("def own(document):\n    return []\n")
    route = {"use_case": None, "target": "elasticsearch", "use": "own.py:own", "routing": "tenant"}
    refused = offramp("check", planned(tmp_path, opensearch, database.name, "opensearch", **route), folder=tmp_path)
    assert refused.code == 2
    assert "routing: no such key" in refused.err


# Indices by date


@pytest.mark.parametrize(
    ("index", "undated", "word"),
    [
        ("logs-{at}", None, "^index: .*%Y"),
        ("logs-{at:%m}", None, "^index: a date"),
        ("logs-{at:%Y-%d}", None, "^index: a date"),
        ("{at:%Y}", None, "^index: .*begin"),
        ("logs-{at:%Y}-{b:%m}", None, "^index: "),
        ("logs-{:%Y}", None, "^index: "),
        ("logs", "logs-undated", "^undated_index: is only"),
        ("logs-{at:%Y}", "other", "^undated_index: must begin"),
    ],
)
def test_a_name_by_date_that_cannot_be_is_refused(index: str, undated: str | None, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        Periods.parse(index, undated)
    with pytest.raises(ValueError, match=word):
        DocumentMapper(DocumentMapper.Options(index=index, undated_index=undated), "route", Losses())


@pytest.mark.parametrize(
    "placement",
    [
        {"index": "Logs-{at:%Y}"},
        {"index": "logs-{at:%Y}", "versioned": True},
        {"index": "logs", "alias": "all"},
        {"index": "logs-{at:%Y}", "alias": "All"},
        {"index": "logs-{at:%Y}", "undated_index": "logs-é ü"},
        {"index": "logs-{at:%Y}", "alias": "logs-2024"},
        {"index": "logs-{at:%Y}", "undated_index": "logs-none", "alias": "logs-none"},
        {"pipeline": "_none"},
    ],
)
def test_a_placement_by_date_that_contradicts_itself_is_refused(placement: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        ElasticsearchTarget(Connection("http://h"), Placement(**placement), "route")


def test_an_index_is_named_by_the_utc_date() -> None:
    periods = Periods.parse("logs-{at.start:%Y.%m.%d-%H}-x", "logs-undated")
    assert periods is not None
    east = dt.timezone(dt.timedelta(hours=2))
    for date, name in (
        (dt.datetime(2024, 3, 1, 1, 30, tzinfo=east), "logs-2024.02.29-23-x"),
        (DatetimeMS(-1), "logs-1969.12.31-23-x"),
        (dt.datetime(1, 1, 1, tzinfo=dt.UTC), "logs-0001.01.01-00-x"),
        (DatetimeMS(2**60), "logs-undated"),
        ("2024-01-01", "logs-undated"),
        (None, "logs-undated"),
    ):
        assert periods.index({"_id": 1, "at": {"start": date}}) == name
        assert periods.owns(name)
    for name in ("logs-2024.02-x", "logs-2024.02.29-23-x1", "logs-٢٠٢٤.02.29-23-x", "other"):
        assert not periods.owns(name)


def test_two_routes_by_date_with_one_beginning_overlap(tmp_path: Path, mongodb_url: str) -> None:
    stores = Stores(mongodb_url, "", "", "http://127.0.0.1:1")
    routes = {
        "a": {"use_case": "log", "index": "logs-{at:%Y.%m}"},
        "b": {"use_case": "log", "index": "logs-2024.01"},
    }
    refused = offramp("check", write_plan(tmp_path, stores, "d", routes), folder=tmp_path)
    assert refused.code == 2
    assert "its own place" in refused.err


def test_logs_go_to_an_index_a_month_and_all_of_them_are_verified(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    url = stores.elasticsearch
    database.things.insert_many(
        [{"_id": number, "at": dt.datetime(2024, 1 + number % 3, 5), "n": number} for number in range(30)]
    )
    database.things.insert_many([{"_id": "a", "at": "yesterday"}, {"_id": "b"}])
    told(url, "PUT", f"/{unique}-archive/_doc/mine?refresh=true", {"n": 0})  # matches the wildcard, and is not ours
    keys = {"index": unique + PERIODS, "alias": f"{unique}-all", "load_refresh_interval": "-1"}
    plan = planned(tmp_path, stores, database.name, "elasticsearch", **keys)
    row = offramp("backfill", plan, "--json", folder=tmp_path).route("things")
    assert (row["rejected"], row["held"], row["extra"], row["missing"]) == (2, 30, 0, 0)
    named = planned(tmp_path, stores, database.name, "elasticsearch", **keys, undated_index=f"{unique}-undated")
    row = offramp("backfill", named, "--restart", "--json", folder=tmp_path).route("things")
    assert (row["rejected"], row["held"], row["verdict"], row["place"]) == (0, 32, "clean", f"{unique}-all"), row
    ours = [f"{unique}-{part}" for part in ("2024.01", "2024.02", "2024.03", "undated")]
    described = told(url, "GET", f"/{unique}-all")
    assert sorted(described) == ours
    assert len({json.dumps({**one["mappings"], "_meta": 0}) for one in described.values()}) == 1
    assert {one["settings"]["index"].get("refresh_interval") for one in described.values()} == {None}

    # Extra in one, missing with its whole index, in the month of another date than the source has now.
    told(url, "PUT", f"/{ours[0]}/_doc/extra?refresh=true", {"n": 5})
    told(url, "DELETE", f"/{ours[1]}")
    database.things.update_one({"_id": 2}, {"$set": {"at": dt.datetime(2024, 1, 9)}})
    row = offramp("verify", named, "--json", folder=tmp_path).route("things")
    assert (row["missing"], row["extra"], row["verdict"]) == (11, 2, "mismatches")

    # The index is made anew by a run that begins again, which deletes what it did not write.
    row = offramp("backfill", named, "--restart", "--json", folder=tmp_path).route("things")
    assert (row["missing"], row["extra"]) == (0, 0)
    assert offramp("verify", named, folder=tmp_path).code == 0
    told(url, "POST", "/_aliases", {"actions": [{"remove": {"index": ours[3], "alias": f"{unique}-all"}}]})
    assert "does not have the alias" in offramp("verify", named, folder=tmp_path).err


# Ingest pipelines


def test_verification_expects_what_the_pipeline_makes(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    url = stores.elasticsearch
    database.things.insert_many([{"_id": number, "n": number, "name": "Ab"} for number in range(20)])
    plan = planned(tmp_path, stores, database.name, "elasticsearch", index=unique, pipeline=unique, census="none")
    missing = offramp("backfill", plan, folder=tmp_path)
    assert missing.code == 2
    assert "E-ES-PIPELINE" in missing.err
    pipeline = {"processors": [{"uppercase": {"field": "name"}}, {"set": {"field": "seen", "value": True}}]}
    told(url, "PUT", f"/_ingest/pipeline/{unique}", pipeline)
    row = offramp("backfill", plan, "--json", folder=tmp_path).route("things")
    assert (row["verdict"], row["held"]) == ("clean", 20), row
    assert hits(url, unique)[0]["_source"].items() >= {"name": "AB", "seen": True}.items()

    # A document written past the pipeline, one changed after it, and one it drops now.
    told(url, "PUT", f"/{unique}/_doc/n:3", {"n": 3, "name": "Ab"})
    told(url, "PUT", f"/{unique}/_doc/n:4", {"n": 4, "name": "AB", "seen": False})
    row = offramp("verify", plan, "--json", folder=tmp_path).route("things")
    assert (row["differs"], row["missing"], row["extra"]) == (2, 0, 0)
    dropping = {"processors": [*pipeline["processors"], {"drop": {"if": "ctx.n == 5"}}]}
    told(url, "PUT", f"/_ingest/pipeline/{unique}", dropping)
    row = offramp("verify", plan, "--json", folder=tmp_path).route("things")
    assert row["differs"] == 3
    told(url, "DELETE", f"/{unique}")
    row = offramp("backfill", plan, "--restart", "--json", folder=tmp_path).route("things")
    assert (row["rejected"], row["held"], row["differs"], row["missing"]) == (1, 19, 0, 0)
    rejects = offramp("status", plan, "--json", folder=tmp_path).json
    assert "E-ES-PIPELINE" in json.dumps(rejects)


def test_a_pipeline_cannot_spoil_the_exact_bson(elasticsearch_url: str, unique: str) -> None:
    remove = {"processors": [{"remove": {"field": "offramp_raw"}}]}
    told(elasticsearch_url, "PUT", f"/_ingest/pipeline/{unique}", remove)
    placement = Placement(pipeline=unique)
    with closing(ElasticsearchTarget(Connection(elasticsearch_url), placement, unique)) as target:
        target.prepare()
        record = IndexDocument("1", b'{"offramp_raw":"AA=="}')
        assert not target.write([record])
        (expected,) = target.converted([record])
        assert target.read(["1"])["1"].canonical() != expected.canonical()


def test_pipelines_of_the_index_are_refused_unless_named(elasticsearch_url: str, unique: str) -> None:
    pipeline = {"processors": [{"set": {"field": "a", "value": 1}}]}
    told(elasticsearch_url, "PUT", f"/_ingest/pipeline/{unique}", pipeline)
    for setting, named, refused in (
        ("default_pipeline", None, True),
        ("default_pipeline", unique, False),
        ("final_pipeline", unique, True),
    ):
        index = f"{unique}-{setting[0]}-{named is None}".lower()
        body = {"settings": {"index": {setting: unique}}, "mappings": {"dynamic": "false"}}
        told(elasticsearch_url, "PUT", f"/{index}", body)
        with closing(ElasticsearchTarget(Connection(elasticsearch_url), Placement(index, pipeline=named), "r")) as one:
            if refused:
                with pytest.raises(PlanError, match=setting):
                    one.check()
            else:
                one.check()


def test_an_index_that_rolls_over_is_refused(elasticsearch_url: str, opensearch_url: str, unique: str) -> None:
    for url, flavour, setting in (
        (elasticsearch_url, "elasticsearch", "index.lifecycle.rollover_alias"),
        (opensearch_url, "opensearch", "index.plugins.index_state_management.rollover_alias"),
    ):
        told(url, "PUT", f"/{unique}", {"settings": {setting: "logs"}, "mappings": {"dynamic": "false"}})
        connection = Connection(url, flavour=flavour)  # type: ignore[arg-type]
        target = ElasticsearchTarget(connection, Placement(unique), "r")
        with closing(target), pytest.raises(PlanError, match="rolls over"):
            target.check()


def test_fields_that_place_a_document_must_go_along(tmp_path: Path) -> None:
    stores = Stores("mongodb://127.0.0.1:1", "", "", "http://127.0.0.1:1")
    for key, value in (("routing", "{tenant.id}"), ("index", "logs-{at:%Y}")):
        routes = {"a": {"use_case": "log", key: value, "fields": {"drop": ["tenant", "at"]}}}
        with pytest.raises(PlanError, match=f"which {key} needs"):
            load(write_plan(tmp_path, stores, "d", routes))
