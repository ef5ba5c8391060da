"""What a PostgreSQL must be and allow, looked at before a state on it is used: version, encoding and rights."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy.engine import Connection

from stores.errors import PlanError
from stores.state.postgresql_faults import only_reads
from stores.state.postgresql_url import PostgresqlUrl

OLDEST_SERVER = 15
"""The oldest major version that this was tested with."""

# Each operator and function is PostgreSQL's own for exactly these types. For others a schema in the search path may
# have one that fits better, which runs with the rights of who calls it (CVE-2018-1058). The owner of `public` is an
# administrator: of the server, of the database or of a service.
_LOOK = """
SELECT version() AS product, current_setting('server_version_num')::int AS version,
    current_setting('transaction_read_only') = 'on' AS only_reads, pg_encoding_to_char(d.encoding) AS encoding,
    current_user::text AS "user", d.datname::text AS database,
    has_database_privilege(d.oid, 'CREATE') AS may_make_schema, n.oid IS NOT NULL AS there,
    coalesce(has_schema_privilege(n.oid, 'USAGE'), false) AS may_use,
    coalesce(has_schema_privilege(n.oid, 'CREATE'), false) AS may_make_tables,
    EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = n.oid AND c.relkind = 'r') AS tables,
    EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = n.oid AND NOT CASE c.relkind
        WHEN 'r' THEN has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT')
            AND has_table_privilege(c.oid, 'UPDATE') AND has_table_privilege(c.oid, 'DELETE')
        WHEN 'S' THEN has_sequence_privilege(c.oid, 'USAGE') ELSE true END) AS closed,
    (SELECT min(p.nspname::text) FROM pg_namespace p JOIN pg_roles o ON o.oid = p.nspowner
        WHERE p.nspname = ANY (current_schemas(false)) AND (
            NOT (o.rolname = current_user OR o.rolsuper OR p.nspname = 'public')
            OR EXISTS (SELECT FROM aclexplode(p.nspacl) a LEFT JOIN pg_roles g ON g.oid = a.grantee
                WHERE a.privilege_type = 'CREATE' AND a.grantee <> p.nspowner
                AND NOT coalesce(g.rolname = current_user OR g.rolsuper, false)))) AS open_to_others
FROM pg_database d LEFT JOIN pg_namespace n ON n.nspname = %(schema)s
WHERE d.datname = current_database()
"""


def look(db: Connection, url: PostgresqlUrl) -> bool:
    """Return whether the schema is there; raises PlanError where the server or rights do not suffice, or are unsafe.

    Raises TransientError E-STATE-BUSY where nothing can be written.
    """
    found = db.exec_driver_sql(_LOOK, {"schema": url.schema}).one()
    if not found.product.startswith("PostgreSQL ") or found.version < OLDEST_SERVER * 10_000:
        raise _refused(url, f"it is {found.product.split(',')[0]}; PostgreSQL {OLDEST_SERVER} or later is needed")
    if found.encoding != "UTF8":
        raise _refused(url, f"the database's encoding is {found.encoding}; make one with ENCODING 'UTF8'")
    if found.open_to_others is not None:
        raise PlanError(
            "E-STATE-UNSAFE",
            f"state {url.place}: other users may put functions into the schema {found.open_to_others!r}, which the"
            " search path of this user names, and they would run with this user's rights; run ALTER ROLE"
            f" {sql.Identifier(found.user).as_string()} SET search_path = ''; as this user, who may",
        )
    if found.only_reads:
        raise only_reads(url.place)
    schema, user = (sql.Identifier(name).as_string() for name in (url.schema, found.user))
    database = sql.Identifier(found.database).as_string()
    if not found.there:
        if not found.may_make_schema:
            raise _refused(
                url,
                f"the schema is not there, and the user may not make it; let an administrator run CREATE SCHEMA"
                f" {schema} AUTHORIZATION {user}; or GRANT CREATE ON DATABASE {database} TO {user};",
            )
        return False
    if not found.may_use or (not found.tables and not found.may_make_tables):
        raise _refused(
            url,
            f"the user may not use the schema; let an administrator run GRANT USAGE, CREATE ON SCHEMA {schema} TO"
            f" {user};",
        )
    if found.closed:
        raise _refused(
            url,
            f"the user may not read and write the tables; let their owner run GRANT SELECT, INSERT, UPDATE, DELETE"
            f" ON ALL TABLES IN SCHEMA {schema} TO {user}; GRANT USAGE ON ALL SEQUENCES IN SCHEMA {schema} TO"
            f" {user};",
        )
    return True


def driver_of(db: Connection) -> psycopg.Connection[Any]:
    """Return the driver's connection: a statement that it executes may be several, and its % is no parameter."""
    found: psycopg.Connection[Any] = db.connection.driver_connection  # type: ignore[assignment]
    return found


def _refused(url: PostgresqlUrl, what: str) -> PlanError:
    return PlanError("E-STATE-OPEN", f"state {url.place} cannot be used: {what}")
