"""Stored procedures in SQL: CREATE, DROP and CALL.

Facts: docs.snowflake.com/en, sql-reference/sql/create-procedure, …/drop-procedure, …/call, sql-reference/transactions
(scoped transactions). What is called runs in the caller's session, and where a transaction is open, in that transaction: it
can neither end it ("Modifying a transaction that has started at a different scope is not allowed"), nor, here, begin one of
its own, nor run DDL in it, which would end it. It sees its arguments and none of the caller's variables. Only EXECUTE AS CALLER.
"""

from __future__ import annotations

import json

from . import dialect, errors
from .conversions import TEXT, Value
from .results import Result
from .statements import Reader, Statement
from .sftypes import Type

DEPTH_MAX = 5  # Snowflake: levels of nested calls are limited


def create(reader: Reader, replace: bool) -> Statement:
    """After CREATE [OR REPLACE] PROCEDURE."""
    facts = {"replace": replace, "path": reader.path(), "arguments": [], "comment": ""}
    reader.expect("(")
    while reader.word() != ")":
        facts["arguments"].append((reader.identifier(), reader.type()))
        if not reader.accept(","):
            break
    reader.expect(")")
    reader.expect("RETURNS")
    facts["returns"] = reader.type()
    reader.accept("NOT", "NULL")
    reader.expect("LANGUAGE", "SQL")
    if reader.accept("COMMENT", "="):
        facts["comment"] = reader.string()
    if not reader.accept("EXECUTE", "AS", "CALLER"):
        raise errors.unsupported("a procedure that is not EXECUTE AS CALLER")
    reader.expect("AS")
    facts["body"] = reader.string()
    return Statement("CREATE PROCEDURE", facts)


def drop(reader: Reader) -> Statement:
    """After DROP PROCEDURE. The arguments' types are part of the name."""
    facts = {"if_exists": reader.accept("IF", "EXISTS"), "path": reader.path(), "types": []}
    reader.expect("(")
    while reader.word() != ")":
        facts["types"].append(reader.type())
        if not reader.accept(","):
            break
    reader.expect(")")
    return Statement("DROP PROCEDURE", facts)


def call(reader: Reader) -> Statement:
    facts = {"path": reader.path(), "values": []}
    reader.expect("(")
    while reader.word() != ")":
        if reader.accept(":"):
            facts["values"].append((":", reader.identifier()))
        else:
            facts["values"].append(("", reader.string()))
        if not reader.accept(","):
            break
    reader.expect(")")
    return Statement("CALL", facts)


def _kinds(types: list[Type]) -> str:
    """Overloads differ in the types, not in their sizes."""
    return ", ".join(type_.kind for type_ in types)


def _block(body: str):
    from .scripting import Grammar, is_block

    tokens = dialect.tokenize(body)
    if not is_block(tokens):
        raise errors.compilation("001003", "42000", "a procedure's body must be a block")
    grammar = Grammar(tokens, body)
    block = grammar.block()
    grammar.accept(";")
    grammar.end()
    return block


async def do_create(objects, connection, statement: Statement) -> Result:
    database, schema, name = objects.session.complete((None,) * (3 - len(statement.path)) + tuple(statement.path))
    schema_id = await objects.storage.find_schema(connection, database, schema)
    if schema_id is None:
        raise errors.missing_object("Schema", f"{database}.{schema}")
    objects.session.privileges.require("CREATE PROCEDURE", "SCHEMA", database, schema)
    _block(statement.body)  # what is no block is refused here, not when it is called
    types = _kinds([type_ for _, type_ in statement.arguments])
    if statement.replace:
        await connection.execute("DELETE FROM snowbox.procedures WHERE schema_id = %s AND name = %s AND types = %s", (schema_id, name, types))
    arguments = json.dumps([[argument, type_.sql()] for argument, type_ in statement.arguments])
    cursor = await connection.execute(
        "INSERT INTO snowbox.procedures (schema_id, name, types, arguments, returns, body, comment) VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
        (schema_id, name, types, arguments, statement.returns.sql(), statement.body, statement.comment),
    )
    if cursor.rowcount != 1:
        raise errors.compilation("002002", "42710", f"Object '{name}' already exists.")
    return Result.status(f"Function {name} successfully created.")


async def do_drop(objects, connection, statement: Statement) -> Result:
    database, schema, name = objects.session.complete((None,) * (3 - len(statement.path)) + tuple(statement.path))
    schema_id = await objects.storage.find_schema(connection, database, schema)
    cursor = await connection.execute("DELETE FROM snowbox.procedures WHERE schema_id = %s AND name = %s AND types = %s", (schema_id, name, _kinds(statement.types)))
    if cursor.rowcount != 1 and not statement.if_exists:
        raise errors.missing_object("Procedure", name)
    return Result.status(f"{name} successfully dropped.")


async def do_call(session, statement: Statement, variables: dict[str, Value]) -> Result:
    from .scripting import Raised, Runner, Variable, _Return

    key = session.complete((None,) * (3 - len(statement.path)) + tuple(statement.path))
    schema_id = await session.storage.find_schema(session.connection, key[0], key[1])
    cursor = await session.connection.execute(
        "SELECT arguments, returns, body FROM snowbox.procedures WHERE schema_id = %s AND name = %s AND jsonb_array_length(arguments::jsonb) = %s",
        (schema_id, key[2], len(statement.values)),
    )
    found = await cursor.fetchall()
    if len(found) != 1:
        raise errors.compilation("002140", "42601", f"Unknown user-defined function {'.'.join(key)}")
    if session.procedure_depth == DEPTH_MAX:
        raise errors.unsupported(f"calls nested more than {DEPTH_MAX} deep")
    runner = Runner(session, found[0][2])
    for (argument, type_text), (mark, text) in zip(json.loads(found[0][0]), statement.values):
        if mark and text not in variables:
            raise errors.compilation("002211", "42601", f"Bind variable :{text} not set.")
        value = await session.evaluate(variables[text].sql) if mark else text
        runner.variables[0][argument] = Variable(Type.parse(type_text), value)
    block = _block(found[0][2])
    session.procedure_depth += 1
    try:
        await runner.run(block)
        rows = [[None]]
    except _Return as returned:
        rows = returned.result.rows
    except Raised as error:  # for the caller it is a statement that failed
        raise errors.SnowflakeError(error.code, error.sql_state, error.message) from None
    finally:
        session.procedure_depth -= 1
    return Result([(key[2], TEXT)], rows, "CALL")


def refuse(kind: str, is_ddl: bool) -> None:
    """A statement inside of a procedure while the caller's transaction is open."""
    if kind in ("COMMIT", "ROLLBACK") or is_ddl:
        raise errors.SnowflakeError("090232", "57P05", "Stored procedure execution error: Modifying a transaction that has started at a different scope is not allowed.")
    if kind == "BEGIN":
        raise errors.unsupported("a transaction of its own in a procedure that is called within one")
