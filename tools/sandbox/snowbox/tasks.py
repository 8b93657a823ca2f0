"""Tasks: CREATE, ALTER … RESUME and SUSPEND, DROP and SHOW. What a task would run is kept as text and never run.

Facts: docs.snowflake.com/en, sql-reference/sql/create-task, …/alter-task, …/drop-task, …/show-tasks. A task is made
suspended. Who may alter one has OWNERSHIP or OPERATE on it, who may drop one OWNERSHIP; SHOW TASKS shows those on which the
role has some privilege. Only tasks with a schedule of their own: no AFTER, no WHEN, no serverless ones.
"""

from __future__ import annotations

import re
import uuid

from sqlglot.tokens import Token

from . import errors, grants
from .conversions import TEXT, TIMESTAMP_LTZ
from .results import Result
from .statements import DML_WORDS, QUERY_WORDS, Reader, Statement

TASK_OPTIONS = {"SCHEDULE": "text", "COMMENT": "text", "ALLOW_OVERLAPPING_EXECUTION": "boolean"}
_SCHEDULE = re.compile(r"\s*(\d+)\s+(SECONDS?|MINUTES?|HOURS?|S|M|H)\s*\Z", re.IGNORECASE)
_SECONDS = {"S": 1, "M": 60, "H": 3600}
SCHEDULE_SECONDS = (10, 691_200)  # 8 days
BODY_WORDS = QUERY_WORDS | DML_WORDS | {"BEGIN", "DECLARE", "CALL", "EXECUTE", "TRUNCATE", "CREATE", "ALTER", "DROP"}


def body(tokens: list[Token]) -> list[Token]:
    """What stands behind the AS of a CREATE TASK; nothing for other statements."""
    words = [token.text.upper() for token in tokens]
    if words[:2] != ["CREATE", "TASK"] and words[:4] != ["CREATE", "OR", "REPLACE", "TASK"] or "AS" not in words:
        return []
    return tokens[words.index("AS") + 1 :]


def create(reader: Reader, replace: bool) -> Statement:
    """After CREATE [OR REPLACE] TASK."""
    facts = {"replace": replace, "if_not_exists": reader.accept("IF", "NOT", "EXISTS"), "path": reader.path(), "warehouse": None}
    if replace and facts["if_not_exists"]:
        raise errors.compilation("002184", "42601", "options IF NOT EXISTS and OR REPLACE are incompatible.")
    options = {}
    while reader.word() != "AS":
        if reader.word() == "WAREHOUSE" and facts["warehouse"] is None:
            reader.index += 1
            reader.expect("=")
            facts["warehouse"] = reader.identifier()
            continue
        found = reader.options(TASK_OPTIONS)
        if not found or set(found) & set(options):
            raise reader.fail()
        options.update(found)
    facts["options"] = options
    reader.expect("AS")
    first = reader.index
    if reader.word() not in BODY_WORDS:
        raise reader.fail()
    reader.index = len(reader.tokens)
    facts["body"] = reader.source(first, reader.index)
    return Statement("CREATE TASK", facts)


def alter(reader: Reader) -> Statement:
    """After ALTER TASK."""
    facts = {"if_exists": reader.accept("IF", "EXISTS"), "path": reader.path(), "state": "started"}
    if not reader.accept("RESUME"):
        reader.expect("SUSPEND")
        facts["state"] = "suspended"
    return Statement("ALTER TASK", facts)


def drop(reader: Reader) -> Statement:
    """After DROP TASK."""
    return Statement("DROP TASK", {"if_exists": reader.accept("IF", "EXISTS"), "path": reader.path()})


def _check_schedule(text: str | None) -> None:
    found = _SCHEDULE.match(text) if text is not None else None
    if found is None:
        raise errors.compilation("001008", "22023", f"invalid value [{text}] for parameter 'SCHEDULE'")
    seconds = int(found.group(1)) * _SECONDS[found.group(2)[0].upper()]
    if not SCHEDULE_SECONDS[0] <= seconds <= SCHEDULE_SECONDS[1]:
        raise errors.compilation("001008", "22023", f"invalid value [{text}] for parameter 'SCHEDULE'")


async def _find(objects, connection, path) -> tuple[int, str] | None:
    """Its number and its owner, if the role may know of it."""
    database, schema, name = objects.session.complete((None,) * (3 - len(path)) + tuple(path))
    schema_id = await objects.storage.find_schema(connection, database, schema)
    cursor = await connection.execute("SELECT task_id, owner FROM snowbox.tasks WHERE schema_id = %s AND name = %s", (schema_id, name))
    found = await cursor.fetchone()
    if found is None or not await grants.has_any(objects.session, connection, "TASK", found[0], found[1]):
        return None
    return found


async def do_create(objects, connection, statement: Statement) -> Result:
    database, schema, name = objects.session.complete((None,) * (3 - len(statement.path)) + tuple(statement.path))
    schema_id = await objects.storage.find_schema(connection, database, schema)
    if schema_id is None:
        raise errors.missing_object("Schema", f"{database}.{schema}")
    _check_schedule(statement.options.get("SCHEDULE"))
    cursor = await connection.execute("SELECT FROM snowbox.warehouses WHERE name = %s", (statement.warehouse,))
    if cursor.rowcount != 1:
        raise errors.missing_object("Warehouse", statement.warehouse or "")
    if statement.replace:
        await connection.execute("DELETE FROM snowbox.tasks WHERE schema_id = %s AND name = %s", (schema_id, name))
    cursor = await connection.execute(
        "INSERT INTO snowbox.tasks (schema_id, name, owner, warehouse, schedule, comment, may_overlap, definition) VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
        (schema_id, name, objects.session.role, statement.warehouse, statement.options["SCHEDULE"], statement.options.get("COMMENT", ""))
        + (statement.options.get("ALLOW_OVERLAPPING_EXECUTION", False), statement.body),
    )
    if cursor.rowcount != 1 and not statement.if_not_exists:
        raise errors.compilation("002002", "42710", f"Object '{database}.{schema}.{name}' already exists.")
    return Result.status(f"Task {name} successfully created." if cursor.rowcount == 1 else f"{name} already exists, statement succeeded.")


async def do_alter(objects, connection, statement: Statement) -> Result:
    found = await _find(objects, connection, statement.path)
    if found is None and not statement.if_exists:
        raise errors.missing_object("Task", ".".join(statement.path))
    if found is not None:
        await grants.require(objects.session, connection, "TASK", found[0], found[1], "OPERATE", statement.path[-1])
        await connection.execute(
            "UPDATE snowbox.tasks SET state = %s, suspended_on = CASE WHEN %s = 'suspended' AND state = 'started' THEN clock_timestamp() ELSE suspended_on END WHERE task_id = %s",
            (statement.state, statement.state, found[0]),
        )
    return Result.status("Statement executed successfully.")


async def do_drop(objects, connection, statement: Statement) -> Result:
    found = await _find(objects, connection, statement.path)
    if found is None and not statement.if_exists:
        raise errors.missing_object("Task", ".".join(statement.path))
    if found is None:
        return Result.status("Drop statement executed successfully (already dropped).")
    if found[1] != objects.session.role:
        raise errors.insufficient_privileges("task", statement.path[-1])
    await connection.execute("DELETE FROM snowbox.tasks WHERE task_id = %s", (found[0],))
    return Result.status(f"{statement.path[-1]} successfully dropped.")


async def do_show(objects, connection, statement: Statement) -> Result:
    from .objects import _like

    wanted = (await objects._within(connection, statement) + (None, None))[:2]
    cursor = await connection.execute(
        "SELECT t.task_id, t.created_on::text, t.name, d.name, s.name, t.owner, t.comment, t.warehouse, t.schedule, t.state, t.definition, t.may_overlap::text, t.suspended_on::text "
        "FROM snowbox.tasks t JOIN snowbox.schemas s USING (schema_id) JOIN snowbox.databases d USING (database_id) ORDER BY d.name, s.name, t.name"
    )
    rows = []
    for number, created, name, database, schema, owner, comment, warehouse, schedule, state, definition, overlaps, suspended in await cursor.fetchall():
        if wanted[0] not in (None, database) or wanted[1] not in (None, schema) or not _like(name, statement.pattern):
            continue
        if not await grants.has_any(objects.session, connection, "TASK", number, owner):
            continue
        row = [created, name, str(uuid.uuid5(uuid.NAMESPACE_OID, str(number))), database, schema, owner, comment, warehouse, schedule, "[]", state, definition]
        row += [None, overlaps, "null", created, suspended, "ROLE", None, None, '{"Predecessors":[],"FinalizerTask":null}']
        rows.append(row + ["USER_SUSPENDED" if suspended and state == "suspended" else None, "null", None, None])
    names = "name id database_name schema_name owner comment warehouse schedule predecessors state definition condition allow_overlapping_execution"
    names += " error_integration last_committed_on last_suspended_on owner_role_type config budget task_relations last_suspended_reason success_integration"
    names += " scheduling_mode target_completion_interval"
    times = {"created_on", "last_committed_on", "last_suspended_on"}
    columns = [(name, TIMESTAMP_LTZ if name in times else TEXT) for name in ("created_on " + names).split()]
    return Result(columns, rows, "SHOW", len(rows))
