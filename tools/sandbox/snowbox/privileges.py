"""Roles, grants, and what they allow. A role that CREATE ROLE made may do what it was granted, what roles granted to it may, and what
it owns; every other role (the users' default) may do everything.

Kept here: grants on databases, schemas and warehouses, ownership, and grants of roles to roles and users; those on tables are in grants.py. As in Snowflake an object that the
role may not see answers as one that is not there, and an object is used only if the role has a privilege on its schema and database.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from . import errors
from .results import Result
from .statements import Statement

KINDS = {
    "DATABASE": frozenset({"USAGE", "CREATE SCHEMA", "MONITOR", "MODIFY", "OWNERSHIP"}),
    "SCHEMA": frozenset({"USAGE", "CREATE TABLE", "CREATE PROCEDURE", "MONITOR", "MODIFY", "OWNERSHIP"}),
    "WAREHOUSE": frozenset({"USAGE", "OPERATE", "MONITOR", "MODIFY", "OWNERSHIP"}),
    "TABLE": frozenset({"SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "EVOLVE SCHEMA", "OWNERSHIP"}),
}
_OWNERS = """
    SELECT 'DATABASE', ARRAY[name] FROM snowbox.databases WHERE owner = ANY(%(roles)s)
    UNION ALL SELECT 'SCHEMA', ARRAY[d.name, s.name] FROM snowbox.schemas s JOIN snowbox.databases d USING (database_id) WHERE s.owner = ANY(%(roles)s)
    UNION ALL SELECT 'WAREHOUSE', ARRAY[name] FROM snowbox.warehouses WHERE owner = ANY(%(roles)s)
    UNION ALL SELECT 'TABLE', ARRAY[d.name, s.name, t.name] FROM snowbox.tables t JOIN snowbox.schemas s USING (schema_id)
        JOIN snowbox.databases d USING (database_id) WHERE t.owner = ANY(%(roles)s)
"""


@dataclass
class Privileges:
    is_limited: bool
    roles: frozenset[str]  # the role, and those granted to it at any depth
    held: dict[tuple, set[str]] = field(default_factory=dict)  # (kind, name, …) → privileges

    def has(self, privilege: str, kind: str, *path: str) -> bool:
        held = self.held.get((kind, *path), ())
        return not self.is_limited or privilege in held or "OWNERSHIP" in held

    def sees(self, kind: str, *path: str) -> bool:
        """Any privilege will do, on the object and on what it is in."""
        if not self.is_limited:
            return True
        if kind == "TABLE":
            return bool(self.held.get((kind, *path))) and self.sees("SCHEMA", *path[:2])
        if kind == "SCHEMA":
            return bool(self.held.get((kind, *path))) and self.sees("DATABASE", path[0])
        return bool(self.held.get((kind, *path)))

    def require(self, privilege: str, kind: str, *path: str) -> None:
        if not self.sees(kind, *path):
            raise errors.missing_object(kind.capitalize(), ".".join(path))
        if not self.has(privilege, kind, *path):
            raise errors.insufficient_privileges(kind.lower(), path[-1])


async def read(connection, role: str) -> Privileges:
    cursor = await connection.execute(
        "WITH RECURSIVE r (name) AS (SELECT %s::text UNION SELECT g.name[1] FROM r JOIN snowbox.role_grants g ON g.role = r.name AND g.kind = 'ROLE') SELECT name FROM r", (role,)
    )
    roles = [name for (name,) in await cursor.fetchall()]
    cursor = await connection.execute("SELECT FROM snowbox.roles WHERE name = %s", (role,))
    found = Privileges(cursor.rowcount == 1, frozenset(roles))
    if found.is_limited:
        cursor = await connection.execute("SELECT kind, name, privilege FROM snowbox.role_grants WHERE role = ANY(%s) AND kind <> 'ROLE'", (roles,))
        for kind, name, privilege in await cursor.fetchall():
            found.held.setdefault((kind, *name), set()).add(privilege)
        cursor = await connection.execute(
            "SELECT 'TABLE', ARRAY[d.name, s.name, t.name], g.privilege FROM snowbox.grants g JOIN snowbox.tables t ON t.table_id = g.object_id "
            "JOIN snowbox.schemas s USING (schema_id) JOIN snowbox.databases d USING (database_id) WHERE g.kind = 'TABLE' AND g.grantee = ANY(%s)",
            (roles,),
        )
        for kind, name, privilege in await cursor.fetchall():
            found.held.setdefault((kind, *name), set()).add(privilege)
        cursor = await connection.execute(_OWNERS, {"roles": roles})
        for kind, name in await cursor.fetchall():
            found.held.setdefault((kind, *name), set()).add("OWNERSHIP")
    return found


# Statements


def _privilege(reader) -> str:
    words = [reader.word()]
    reader.index += 1
    if words[0] in ("CREATE", "EVOLVE"):
        words.append(reader.word())
        reader.index += 1
    return " ".join(words)


def grant(reader, is_revoke: bool) -> Statement:
    kind = "REVOKE" if is_revoke else "GRANT"
    side = "FROM" if is_revoke else "TO"
    if reader.accept("ROLE"):
        role = reader.identifier()
        reader.expect(side)
        to_user = reader.accept("USER")
        if not to_user:
            reader.expect("ROLE")
        return Statement(f"{kind} ROLE", {"role": role, "to_user": to_user, "to": reader.identifier()})
    names = [_privilege(reader)]
    while reader.accept(","):
        names.append(_privilege(reader))
    reader.expect("ON")
    of = reader.word()
    if of not in KINDS:
        raise reader.fail()
    reader.index += 1
    if not set(names) <= KINDS[of] or of == "TABLE" and names != ["OWNERSHIP"]:
        raise reader.fail()
    path = reader.path()
    reader.expect(side, "ROLE")
    facts = {"names": names, "of": of, "path": path, "role": reader.identifier()}
    if names == ["OWNERSHIP"] and not is_revoke:
        reader.accept("COPY", "CURRENT", "GRANTS") or reader.accept("REVOKE", "CURRENT", "GRANTS")
    elif "OWNERSHIP" in names:
        raise reader.fail()  # it is granted alone, and never revoked
    return Statement(f"{kind} PRIVILEGE", facts)


async def _path(objects, connection, statement: Statement) -> tuple[str, ...]:
    if statement.of == "TABLE":
        table = await objects._table(connection, statement)
        return table.database, table.schema, table.name
    if statement.of == "SCHEMA":
        database, schema = await objects._schema_key(connection, statement.path)
        if await objects.storage.find_schema(connection, database, schema) is None:
            raise errors.missing_object("Schema", f"{database}.{schema}")
        return database, schema
    name = objects._one(statement.path)
    cursor = await connection.execute(f"SELECT FROM snowbox.{statement.of.lower()}s WHERE name = %s", (name,))
    if cursor.rowcount != 1:
        raise errors.missing_object(statement.of.capitalize(), name)
    return (name,)


async def _known_role(objects, connection, name: str) -> None:
    cursor = await connection.execute("SELECT FROM snowbox.roles WHERE name = %s", (name,))
    known = {role for user in objects.session.auth.users.values() for role in user.roles} if objects.session.auth else set()
    if cursor.rowcount != 1 and name not in known:
        raise errors.missing_object("Role", name)


def _only_free_roles(objects) -> None:
    """Who grants is nobody that was limited here: that there are grants to grant on is not kept."""
    if objects.session.privileges.is_limited:
        raise errors.insufficient_privileges("account", objects.session.account)


async def do_grant(objects, connection, statement: Statement) -> Result:
    _only_free_roles(objects)
    await _known_role(objects, connection, statement.role)
    path = list(await _path(objects, connection, statement))
    for name in statement.names:
        if statement.kind == "REVOKE PRIVILEGE":
            await connection.execute(
                "DELETE FROM snowbox.role_grants WHERE role = %s AND kind = %s AND name = %s AND privilege = %s", (statement.role, statement.of, path, name)
            )
        elif name == "OWNERSHIP":
            await _give_ownership(connection, statement.of, path, statement.role)
        else:
            await connection.execute("INSERT INTO snowbox.role_grants VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING", (statement.role, statement.of, path, name))
    return Result.status("Statement executed successfully.")


async def _give_ownership(connection, kind: str, path: list[str], role: str) -> None:
    database = "database_id = (SELECT database_id FROM snowbox.databases WHERE name = %s)"
    text = {
        "DATABASE": "UPDATE snowbox.databases SET owner = %s WHERE name = %s",
        "WAREHOUSE": "UPDATE snowbox.warehouses SET owner = %s WHERE name = %s",
        "SCHEMA": f"UPDATE snowbox.schemas SET owner = %s WHERE {database} AND name = %s",
        "TABLE": f"UPDATE snowbox.tables SET owner = %s WHERE schema_id = (SELECT schema_id FROM snowbox.schemas WHERE {database} AND name = %s) AND name = %s",
    }
    await connection.execute(text[kind], (role, *path))


async def do_grant_role(objects, connection, statement: Statement) -> Result:
    _only_free_roles(objects)
    await _known_role(objects, connection, statement.role)
    if statement.to_user:
        objects.session.auth.change_roles(statement.to, statement.role, is_granted=statement.kind == "GRANT ROLE")
    elif statement.kind == "GRANT ROLE":
        await connection.execute("INSERT INTO snowbox.role_grants VALUES (%s, 'ROLE', ARRAY[%s], 'USAGE') ON CONFLICT DO NOTHING", (statement.to, statement.role))
    else:
        await connection.execute("DELETE FROM snowbox.role_grants WHERE role = %s AND kind = 'ROLE' AND name[1] = %s", (statement.to, statement.role))
    return Result.status("Statement executed successfully.")


async def do_alter_user(objects, connection, statement: Statement) -> Result:
    _only_free_roles(objects)
    objects.session.auth.alter_user(statement.name, statement.options)
    return Result.status("Statement executed successfully.")
