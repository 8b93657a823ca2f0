"""Roles, and who may do what with a table or a task: CREATE ROLE, GRANT … TO ROLE, SHOW GRANTS ON.

Facts: docs.snowflake.com/en, sql-reference/sql/grant-privilege, …/show-grants, user-guide/security-access-control-privileges.
What is granted is kept and shown; it is enforced for tasks and for GRANT itself, and nowhere else: whoever may sign in may
use every table. A grant belongs to its object: it goes along with a new name, and another object of the old name has none.
"""

from __future__ import annotations

from . import errors
from .conversions import TEXT, TIMESTAMP_LTZ
from .results import Result
from .statements import Reader, Statement

PRIVILEGES = {
    "TABLE": ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "EVOLVE SCHEMA"),
    "TASK": ("MONITOR", "OPERATE"),
}


def create_role(reader: Reader) -> Statement:
    """After CREATE ROLE."""
    return Statement("CREATE ROLE", {"if_not_exists": reader.accept("IF", "NOT", "EXISTS"), "name": reader.identifier()})


def grant(reader: Reader) -> Statement:
    """After GRANT. Roles are not granted here, and no future privileges."""
    privileges = []
    if reader.accept("ALL"):
        reader.accept("PRIVILEGES")
    else:
        while True:
            privileges.append(_privilege(reader))
            if not reader.accept(","):
                break
    reader.expect("ON")
    kind = reader.word()
    if kind not in PRIVILEGES:
        raise reader.fail()
    reader.index += 1
    unknown = [name for name in privileges if name not in PRIVILEGES[kind]]
    if unknown:
        raise errors.compilation("003008", "42501", f"Invalid privilege '{unknown[0]}' for object type {kind}")
    facts = {"object": kind, "privileges": privileges or list(PRIVILEGES[kind]), "path": reader.path()}
    reader.expect("TO")
    reader.accept("ROLE")
    facts["role"] = reader.identifier()
    facts["with_option"] = reader.accept("WITH", "GRANT", "OPTION")
    return Statement("GRANT", facts)


def _privilege(reader: Reader) -> str:
    for kind in PRIVILEGES.values():
        for name in kind:
            if reader.accept(*name.split()):
                return name
    raise reader.fail()


def show(reader: Reader) -> Statement:
    """After SHOW GRANTS."""
    reader.expect("ON")
    kind = reader.word()
    if kind not in PRIVILEGES:
        raise reader.fail()
    reader.index += 1
    return Statement("SHOW GRANTS", {"object": kind, "path": reader.path()})


async def has_any(session, connection, kind: str, number: int, owner: str) -> bool:
    if owner == session.role:
        return True
    cursor = await connection.execute("SELECT FROM snowbox.grants WHERE kind = %s AND object_id = %s AND grantee = %s", (kind, number, session.role))
    return cursor.rowcount > 0


async def require(session, connection, kind: str, number: int, owner: str, privilege: str, name: str) -> None:
    if owner == session.role:
        return
    cursor = await connection.execute(
        "SELECT FROM snowbox.grants WHERE kind = %s AND object_id = %s AND grantee = %s AND privilege = %s", (kind, number, session.role, privilege)
    )
    if cursor.rowcount == 0:
        raise errors.insufficient_privileges(kind.lower(), name)


async def _object(objects, connection, statement: Statement) -> tuple[int, str, str]:
    """Number, owner and whole name of what is granted on."""
    database, schema, name = objects.session.complete((None,) * (3 - len(statement.path)) + tuple(statement.path))
    text = f"{database}.{schema}.{name}"
    if statement.object == "TABLE":
        table = await objects.storage.find_table(connection, database, schema, name)
        if table is None:
            raise errors.missing_object("Table", text)
        return table.id, table.owner, text
    schema_id = await objects.storage.find_schema(connection, database, schema)
    cursor = await connection.execute("SELECT task_id, owner FROM snowbox.tasks WHERE schema_id = %s AND name = %s", (schema_id, name))
    found = await cursor.fetchone()
    if found is None:
        raise errors.missing_object("Task", text)
    return found[0], found[1], text


async def do_create_role(objects, connection, statement: Statement) -> Result:
    cursor = await connection.execute("INSERT INTO snowbox.roles (name) VALUES (%s) ON CONFLICT DO NOTHING", (statement.name,))
    if cursor.rowcount != 1 and not statement.if_not_exists:
        raise errors.compilation("002002", "42710", f"Object '{statement.name}' already exists.")
    return Result.status(f"Role {statement.name} successfully created.")


async def do_grant(objects, connection, statement: Statement) -> Result:
    number, owner, text = await _object(objects, connection, statement)
    cursor = await connection.execute("SELECT FROM snowbox.roles WHERE name = %s", (statement.role,))
    if cursor.rowcount == 0 and statement.role not in objects.session.roles:
        raise errors.missing_object("Role", statement.role)
    for privilege in statement.privileges:
        cursor = await connection.execute(
            "SELECT FROM snowbox.grants WHERE kind = %s AND object_id = %s AND grantee = %s AND privilege = %s AND with_option",
            (statement.object, number, objects.session.role, privilege),
        )
        if owner != objects.session.role and cursor.rowcount == 0:
            raise errors.insufficient_privileges(statement.object.lower(), text)
        await connection.execute(
            "INSERT INTO snowbox.grants (kind, object_id, privilege, grantee, with_option, granted_by) VALUES (%s, %s, %s, %s, %s, %s) "
            "ON CONFLICT (kind, object_id, privilege, grantee) DO UPDATE SET with_option = grants.with_option OR excluded.with_option",
            (statement.object, number, privilege, statement.role, statement.with_option, owner),
        )
    return Result.status("Statement executed successfully.")


async def do_show(objects, connection, statement: Statement) -> Result:
    number, owner, text = await _object(objects, connection, statement)
    cursor = await connection.execute(
        "SELECT created_on::text, privilege, grantee, with_option, granted_by FROM snowbox.grants WHERE kind = %s AND object_id = %s ORDER BY privilege, grantee",
        (statement.object, number),
    )
    rows = [[None, "OWNERSHIP", statement.object, text, "ROLE", owner, "true", owner]]
    for created, privilege, grantee, with_option, granted_by in await cursor.fetchall():
        rows.append([created, privilege, statement.object, text, "ROLE", grantee, "true" if with_option else "false", granted_by])
    names = "privilege granted_on name granted_to grantee_name grant_option granted_by"
    return Result([("created_on", TIMESTAMP_LTZ)] + [(name, TEXT) for name in names.split()], rows, "SHOW", len(rows))
