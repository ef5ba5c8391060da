"""A plan over collections of its own, the commands that hosts run of it, and what must be true in the end."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain
from typing import Any

import yaml
from chaos import reference
from chaos.commands import Running
from chaos.documents import Document, Shape, new_document
from chaos.forms import RouteCase
from chaos.judge import Findings, Outcome, compare, judge_claim, judge_ending
from chaos.readers import Readers
from waiting import until

from flows import exit_codes
from hosts.host import Host
from hosts.postgresql import url
from hosts.site import PREFECT, TARGETS, Site
from hosts.witness import Change

LEASE_S = 5.0
"""The least that a plan may say."""
DOCUMENTS = 1200
LIMIT_S = 120.0
_FORMS = {"redis": "string", "dynamodb": "item", "elasticsearch": "document"}
_PLACES = {"redis": "key", "dynamodb": "table", "elasticsearch": "index"}
_TEXT_BYTES = 4_000
"""Batches are cut by their size, so that a partition has several."""
_PARTITIONS = 3


class Migration:
    """A collection for each target, and a plan that moves them."""

    def __init__(self, site: Site, name: str, run: Mapping[str, Any]) -> None:
        """Make the collections; `run` is the plan's `run`."""
        self._site = site
        self.name = name
        self._routes = [_route(name, target) for target in TARGETS]
        self._run: Mapping[str, Any] = {"workers": 3, "lease_s": LEASE_S, **run}
        self._plan: Mapping[str, Any] = {
            "name": name,
            "source": {"uri": "${MONGODB_URL}", "database": name, "retry_deadline_s": 15},
            "state": url(name),
            "targets": {
                "redis": {"url": "${REDIS_URL}", "retry_deadline_s": 15},
                "dynamodb": {"region": "eu-west-1", "endpoint": "${DYNAMODB_ENDPOINT}", "retry_deadline_s": 15},
                "elasticsearch": {"url": "${ELASTICSEARCH_URL}", "retry_deadline_s": 15},
            },
            "routes": {route.name: dict(route.keys) for route in self._routes},
        }
        self._started = 0
        self._started_at = 0.0
        with self._site.readers() as readers:
            _fill(readers, name, [route.collection for route in self._routes])

    def start(self, host: Host, command: str, *options: str, **run: Any) -> Running:
        """Start a command on a host, which has the plan there; `run` are other keys of the plan's `run`."""
        plan = {**self._plan, "run": {**self._run, **run}}
        path = host.folder / f"{self.name}.yaml"
        path.write_text(yaml.safe_dump(plan), encoding="utf-8")
        self._started += 1
        self._started_at = time.monotonic()
        log = f"{self.name}-{self._started}-{command}"
        environment = PREFECT if plan["run"]["runner"] in ("dask", "ray") else {}
        return self._site.run(
            host, "-m", "flows.cli.main", command, path.name, *options, "--json", log=log, environment=environment
        )

    @contextmanager
    def running(self, host: Host, command: str, **run: Any) -> Iterator[Running]:
        """Start a command; it has ended after the body."""
        started = self.start(host, command, **run)
        try:
            yield started
        finally:
            started.kill()

    def ended(self, running: Running) -> Outcome:
        """Return how a command ends; fail if it does not, or says what cannot be."""
        assert running.ended(LIMIT_S), f"no end: {running.err.read_text()[-3000:]}"
        outcome = running.outcome()
        findings = Findings()
        judge_ending(outcome, exit_codes.OF_VERDICT, findings)
        assert not findings.by_class, findings.by_class
        return outcome

    def resumed(self, host: Host, before: Outcome | None = None) -> None:
        """See the same command come to a good end, as often as it takes; none is needed where the run before did."""
        outcomes = [] if before is None else [before]

        def has_end() -> bool:
            if not outcomes or outcomes[-1].code == exit_codes.FAILED:
                with self.running(host, "backfill") as running:
                    outcomes.append(self.ended(running))
            return outcomes[-1].code != exit_codes.FAILED

        until(has_end, "end of the same command", limit_s=LIMIT_S)
        assert outcomes[-1].code == exit_codes.CLEAN, (outcomes[-1].reasons, outcomes[-1].err)

    def under_way(self, *hosts: Host) -> None:
        """Wait until each of the hosts has written documents since the last command was started."""
        for host in hosts:
            until(partial(self._wrote, host), f"documents by {host.name}", limit_s=LIMIT_S)

    def taken_over(self, host: Host, **run: Any) -> Running:
        """Return a started command that has written documents, by a lease that another run had before."""

        def began() -> list[Running]:
            running = self.start(host, "backfill", **run)
            until(lambda: running.ended(0) or self._wrote(host), f"documents by {host.name}", limit_s=LIMIT_S)
            if not running.ended(0):
                return [running]
            refused = self.ended(running)
            assert "E-LEASE-HELD" in refused.err + refused.out, refused.err
            return []

        return until(began, "lease of the other run that is over", limit_s=LIMIT_S)[0]

    def changes(self, *senders: Host, since: float, before: float = float("inf")) -> Sequence[Change]:
        """Return the changes of any target that these hosts sent and that arrived in this time, by its witness."""
        found = [each.changes(*senders, since=since, before=before) for each in self._site.witnesses.values()]
        return sorted(chain.from_iterable(found))

    def quiet_s(self, *senders: Host) -> float:
        """Return the seconds since one of these hosts last changed something."""
        return time.monotonic() - max((each.at for each in self.changes(*senders, since=self._started_at)), default=0.0)

    @contextmanager
    def within_a_batch(self, *senders: Host) -> Iterator[Callable[[Host], object]]:
        """Let the hosts get no answer to what they write to DynamoDB, whose batches are of many requests, in the body.

        Gives what waits until the next to come of a host is kept back so: in the middle of a batch, with more to send.
        """
        witness = self._site.witnesses["dynamodb"]
        began = time.monotonic()

        def is_within(host: Host) -> bool:
            return any(each.size > _TEXT_BYTES for each in witness.changes(host, since=began))

        with witness.keeping_back(*senders, above=_TEXT_BYTES):
            yield lambda host: until(partial(is_within, host), f"request of {host.name}", limit_s=LIMIT_S)

    def _wrote(self, host: Host) -> bool:
        """Return whether the host has written documents: what prepares a place is small."""
        return any(change.size > _TEXT_BYTES for change in self.changes(host, since=self._started_at))

    def prove(self, host: Host) -> None:
        """All is where it must be, once: by the tool's own full verification, and by a reader that shares no code."""
        with self.running(host, "verify", runner="threads", address=None) as running:
            outcome = self.ended(running)
        assert outcome.code == exit_codes.CLEAN, (outcome.reasons, outcome.err)
        findings = Findings()
        with self._site.readers() as readers:
            for route in self._routes:
                expected = route.expected(readers.documents(self.name, route.collection))
                found = compare(expected.records, readers.held(route))
                assert found.right, f"{route.name}: {found}"
                judge_claim(outcome, route.name, expected, found, findings)
                row = outcome.route(route.name)
                counts = [row[figure] for figure in ("read", "copied", "records", "held")]
                assert counts == [DOCUMENTS] * 4, f"{route.name}: counted {counts}"
        assert not findings.by_class, findings.by_class


def _route(name: str, target: str) -> RouteCase:
    place = f"{name}-{target}"
    # A text so long is kept, and cannot be searched.
    extra = {"accept_ignored": True} if target == "elasticsearch" else {}
    key = f"{place}:{{_id}}" if target == "redis" else place
    return RouteCase(
        name=target,
        collection=target,
        target=target,
        form=_FORMS[target],
        place=place,
        keys={"target": target, "mapper": _FORMS[target], _PLACES[target]: key, "partitions": _PARTITIONS, **extra},
        matches=lambda document: True,
        change=lambda document: [document],
        identify=reference.typed_id,
        expires=False,
        by_group=False,
        needs_images=False,
    )


def _fill(readers: Readers, database: str, collections: Sequence[str]) -> None:
    chance = random.Random(database)
    shape = Shape("int", wild_numbers=False, odd_names=False)
    for collection in collections:
        documents: list[Document] = [new_document(chance, shape, number, 0) for number in range(DOCUMENTS)]
        for document in documents:
            document["text"] = "x" * _TEXT_BYTES
        readers.mongodb[database][collection].insert_many(documents)
