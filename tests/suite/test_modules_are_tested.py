"""Each module of the program is imported by a test, or the table says through which tests it is tested."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

TESTED_THROUGH = {
    # Commands, as a user types them.
    "program/test_end_to_end.py": [
        "flows.cli.backfill",
        "flows.cli.options",
        "flows.cli.running",
        "flows.replication.forecast",
    ],
    "program/test_restart.py": ["flows.copying.own_records", "flows.run.restart_preview"],
    "program/test_secrets.py": ["flows.plan.secret_values"],
    "program/test_dynamodb_keys.py": ["flows.connect.key_proof", "flows.connect.remaking", "stores.state.made_places"],
    "program/test_check.py": [
        "flows.cli.check",
        "flows.connect.place_fit",
        "flows.connect.sample_mapping",
        "flows.run.check",
        "flows.run.check_text",
    ],
    "program/test_verification.py": ["flows.cli.verify"],
    "program/test_sync_each_route.py": ["flows.replication.refusals"],
    "program/test_redis_moves.py": ["flows.connect.moved_server"],
    "program/test_sync.py": ["flows.cli.sync", "flows.sync"],
    "program/test_rejects.py": ["flows.cli.rejects", "flows.cli.status", "flows.repair.retry_rejects"],
    "program/test_repair.py": ["flows.cli.repair", "flows.repair.recopy", "flows.repair.repair"],
    "program/test_state.py": ["flows.cli.state"],
    "stores/state/test_state_move.py": ["stores.state.move_file"],
    "program/test_report.py": [
        "flows.cli.report",
        "flows.reporting.entries",
        "flows.reporting.others",
        "flows.run.history",
        "flows.run.places",
    ],
    "program/test_report_elsewhere.py": ["flows.run.kept_runs"],
    "stores/test_s3_folder.py": ["stores.s3"],
    "program/test_demo.py": ["flows.cli.demo", "flows.demo.live_writer"],
    "program/test_dask_elsewhere.py": [
        "flows.orchestration.clusters",
        "flows.orchestration.dask_worker",
        "flows.run.attempts",
    ],
    "program/test_deploy.py": ["flows.cli.deploy", "flows.orchestration.events"],
    "program/test_prefect_flows.py": ["flows.orchestration.server_faults"],
    "program/test_prefect_privacy.py": ["flows.orchestration.report_ending", "flows.orchestration.run_log"],
    "docs/test_errors_page.py": ["flows.cli.explain", "flows.generated_file", "stores.error_codes"],
    # What a run does around copying.
    "program/test_index_design.py": ["flows.connect.design", "flows.connect.staging"],
    "program/test_expires_from_index.py": ["flows.connect.expires_from_index"],
    "program/test_plain_ids.py": ["flows.connect.plain_ids"],
    "program/test_hard_cases.py": ["flows.connect.lease_renewal", "flows.connect.preflight", "flows.connect.session"],
    "program/test_overtaken.py": ["flows.connect.recopy", "stores.state.late_writes"],
    "program/test_processes.py": ["flows.run.logs"],
    "program/test_source_probe.py": ["flows.run.source_probe", "stores.mongodb.constructs", "stores.mongodb.probe"],
    "program/test_redis_use_cases.py": ["flows.run.conclude"],
    "program/test_runners.py": ["flows.orchestration.ray_cluster"],
    "flows/replication/test_sync_model.py": ["flows.replication.positions", "flows.replication.sweep"],
    "program/test_transforms.py": ["flows.plan.needed_fields", "flows.plan.transforms", "mappers.transforms.privacy"],
    "flows/plan/test_load.py": ["flows.plan.query", "flows.plan.routes", "flows.plan.yaml_file"],
    "flows/reporting/test_html_page.py": [
        "flows.reporting.css",
        "flows.reporting.html_charts",
        "flows.reporting.html_elements",
        "flows.reporting.html_routes",
        "flows.reporting.html_tables",
    ],
    "program/test_losses.py": ["flows.reporting.losses"],
    # Names that plug-ins import, as the pages for their authors do.
    "plugins/test_plugin_pages.py": ["mappers.decoding", "mappers.redis_json", "mappers.redis_shapes"],
    "mappers/dynamodb/test_key_faults.py": ["mappers.dynamodb.key_faults"],
    "mappers/dynamodb/test_items.py": ["mappers.dynamodb.indexes", "mappers.dynamodb.sets", "mappers.dynamodb.size"],
    "mappers/redis/test_strings_and_hashes.py": ["mappers.redis.own_key"],
    "mappers/elasticsearch/test_reshape.py": ["mappers.elasticsearch.reshape"],
    "mappers/transforms/test_steps.py": [
        "mappers.transforms.fields",
        "mappers.transforms.paths",
        "mappers.transforms.shape",
    ],
    # The modules behind a target, a source and the state, through these.
    "stores/dynamodb/test_retries.py": ["stores.dynamodb.concurrency", "stores.dynamodb.error_codes"],
    "stores/mongodb/test_connection_errors.py": ["stores.mongodb.answer_codes", "stores.mongodb.client"],
    "stores/dynamodb/test_preparation.py": ["stores.dynamodb.configuration", "stores.dynamodb.territory"],
    "stores/dynamodb/test_writing_and_reading.py": ["stores.dynamodb.items"],
    "stores/dynamodb/test_import_files.py": ["stores.dynamodb.import_from_s3", "stores.dynamodb.s3"],
    "stores/dynamodb/test_oversize.py": ["stores.dynamodb.oversize", "stores.dynamodb.oversize_parts"],
    "stores/elasticsearch/test_configuration.py": ["stores.elasticsearch.client", "stores.elasticsearch.configuration"],
    "stores/elasticsearch/test_designs_and_versions.py": ["stores.elasticsearch.aliases"],
    "stores/elasticsearch/test_documents.py": ["stores.elasticsearch.documents", "stores.elasticsearch.spots"],
    "stores/elasticsearch/test_index.py": [
        "stores.elasticsearch.ingest",
        "stores.elasticsearch.inspection",
    ],
    "stores/elasticsearch/test_opensearch.py": ["stores.elasticsearch.aws_signing"],
    "stores/elasticsearch/test_places.py": ["stores.elasticsearch.places"],
    "stores/elasticsearch/test_reading_and_listing.py": ["stores.elasticsearch.listing"],
    "stores/elasticsearch/test_retries.py": ["stores.elasticsearch.bulk", "stores.elasticsearch.error_codes"],
    "stores/mongodb/test_bounds.py": ["stores.mongodb.ranges"],
    "stores/mongodb/test_change_stream.py": ["stores.mongodb.change_batches", "stores.mongodb.errors"],
    "stores/mongodb/test_collection.py": ["stores.mongodb.access", "stores.mongodb.ids", "stores.mongodb.partitioning"],
    "stores/redis/test_checks_and_listing.py": ["stores.redis.keys", "stores.redis.server_checks"],
    "stores/redis/test_iam_login.py": ["stores.aws_credentials"],
    "stores/redis/test_retries.py": ["stores.redis.connections", "stores.redis.error_codes"],
    "stores/redis/test_cluster.py": ["stores.redis.cluster"],
    "stores/redis/test_server_health.py": ["stores.redis.memory_usage", "stores.redis.server_health"],
    "stores/state/test_database.py": [
        "stores.state.backend",
        "stores.state.sqlite_file",
        "stores.state.tables",
    ],
    "stores/state/test_rejects.py": ["stores.state.column_types", "stores.state.postgresql_keys"],
    "stores/state/test_postgresql.py": [
        "stores.state.postgresql",
        "stores.state.postgresql_transactions",
    ],
    "stores/state/test_claims.py": ["stores.state.claims"],
    "stores/state/test_partitions.py": ["stores.state.journal"],
    "stores/state/test_steps.py": ["stores.state.steps"],
    "stores/state/test_sync_positions.py": ["stores.state.document_hashes"],
    "stores/state/test_work_requests.py": ["stores.state.work_requests"],
}
"""The test file, and the modules that no test imports but it uses through another."""


UNTESTED = {"flows.run.bars": "drawn on a terminal alone, and a test has none"}
"""Modules that no test runs, each with the reason."""


def modules() -> Iterator[str]:
    for package in ("flows", "mappers", "stores"):
        for path in sorted((TESTS.parent / package).rglob("*.py")):
            if path.name != "__init__.py":
                yield ".".join(path.relative_to(TESTS.parent).with_suffix("").parts)


def imported_names() -> Iterator[str]:
    """Yield every name that a test or its support imports, with its module before it."""
    for path in TESTS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield node.module
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


def untested(names: Iterator[str]) -> list[str]:
    """Return those of the modules that no test imports and the table does not name."""
    tested = {*imported_names(), *(module for listed in TESTED_THROUGH.values() for module in listed), *UNTESTED}
    return [name for name in names if name not in tested]


def test_each_module_is_imported_by_a_test_or_tested_through_another() -> None:
    assert untested(modules()) == [], "import it in a test, or name in TESTED_THROUGH the test that uses it"


def test_a_module_that_no_test_knows_is_noticed() -> None:
    assert untested(iter(["stores.redis.target", "stores.redis.not_there"])) == ["stores.redis.not_there"]


@pytest.mark.parametrize("path", TESTED_THROUGH)
def test_the_table_names_files_and_modules_that_are_there(path: str) -> None:
    assert (TESTS / path).is_file()
    assert set(TESTED_THROUGH[path]) <= set(modules())
