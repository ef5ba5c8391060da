"""A plan of many routes: what a run opens is for the servers there are, not for the routes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from plans import Stores, offramp, write_plan
from pymongo import monitoring
from pymongo.database import Database


class Topologies(monitoring.TopologyListener):
    """Counts the MongoDB clients that this process makes."""

    def __init__(self) -> None:
        self.opened_count = 0

    def opened(self, event: monitoring.TopologyOpenedEvent) -> None:
        self.opened_count += 1

    def description_changed(self, event: monitoring.TopologyDescriptionChangedEvent) -> None:
        pass

    def closed(self, event: monitoring.TopologyClosedEvent) -> None:
        pass


def test_the_number_of_source_clients_does_not_grow_with_the_routes(
    stores: Stores, database: Database[dict[str, Any]], tmp_path: Path, unique: str
) -> None:
    counts: dict[int, int] = {}
    for routes in (2, 9):
        for number in range(routes):
            database[f"{routes}_{number}"].insert_many([{"_id": n} for n in range(3)])
        folder = tmp_path / str(routes)
        folder.mkdir()
        plan = write_plan(
            folder,
            stores,
            database.name,
            {
                f"r{number}": {
                    "collection": f"{routes}_{number}",
                    "target": "redis",
                    "mapper": "string",
                    "key": f"{unique}:{routes}:{number}:{{_id}}",
                }
                for number in range(routes)
            },
        )
        topologies = Topologies()
        monitoring.register(topologies)
        ended = offramp("backfill", plan, "--json", folder=folder)
        assert ended.code == 0, ended.err
        assert [route["held"] for route in ended.json["routes"]] == [3] * routes
        counts[routes] = topologies.opened_count
    assert counts[9] == counts[2]
