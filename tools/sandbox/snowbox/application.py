"""The command line: starts everything, prints one line of JSON when it is ready, ends cleanly on SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import json
import logging
import secrets
import signal
import sys
import urllib.parse
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from . import sqlapi
from .auth import Auth
from .channels import Channels
from .commits import Committer
from .control import Control
from .faults import FaultPlan
from .rows import ConverterPool
from .server import listen, make_app
from .storage import ClusterError, Storage
from .streaming import Streaming
from .tls import make_identity, write_private

DEFAULT_USER = "ETL"
RSA_BITS = 2048


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="snowbox", description="A local stand-in for Snowflake: Snowpipe Streaming's REST interface and the SQL API."
    )
    add = parser.add_argument
    add("--directory", type=Path, required=True, help="where everything is kept; made if it is not there")
    add("--template", type=Path, metavar="DIR", help="an empty cluster to begin with, made there if it is missing: a quicker first start")
    add("--host", default="127.0.0.1", help="loopback address to listen on (default %(default)s)")
    add("--port", type=int, default=0, help="HTTPS port (default: one that is free)")
    add("--control-port", type=int, default=0, help="port of the control interface, plain HTTP (default: one that is free)")
    add("--account", default="SANDBOX", help="account identifier (default %(default)s)")
    add("--user", action="append", default=[], metavar="NAME", help="a user; each needs a --public-key (may be repeated)")
    add("--public-key", action="append", default=[], type=Path, metavar="FILE", help="the RSA public key of the user before, PEM")
    add("--role", default="ETL_ROLE", help="default role of the users (default %(default)s)")
    add("--database", action="append", default=[], metavar="NAME", help="a database to make (default DEMO_DB; may be repeated)")
    add("--schema", default="PUBLIC", help="schema that the printed --to names (default %(default)s)")
    add("--warehouse", default="ETL_WH", help="warehouse to make (default %(default)s)")
    add("--commit-delay-ms", type=int, default=300, help="from the answer to an append until its commit (default %(default)s)")
    add("--token-life-seconds", type=int, default=600, help="life of scoped tokens (default %(default)s)")
    add("--binary-format", choices=("HEX", "BASE64"), default="HEX", help="how BINARY columns read strings (default %(default)s)")
    add("--verbose", action="store_true", help="log more, to standard error")
    options = parser.parse_args(arguments)
    if len(options.user) != len(options.public_key):
        parser.error("every --user needs one --public-key")
    if not ipaddress.ip_address(options.host).is_loopback:
        parser.error("--host must be a loopback address: this is a test part")
    options.database = options.database or ["DEMO_DB"]
    return options


def own_key(directory: Path) -> tuple[Path, bytes]:
    """The key of the user that is there when none was named: file of the private one, PEM of the public one."""
    file = directory / "etl_key.p8"
    if file.exists():
        key = serialization.load_pem_private_key(file.read_bytes(), None)
    else:
        key = rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)
        pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        write_private(file, pem)
    return file, key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def signing_key(directory: Path) -> bytes:
    """Kept, so that a scoped token outlives a restart, as it would outlive one of Snowflake's servers."""
    file = directory / "token.key"
    if not file.exists():
        write_private(file, secrets.token_bytes(32))
    return file.read_bytes()


def make_auth(options: argparse.Namespace) -> tuple[Auth, Path | None]:
    auth = Auth(options.account, token_life_seconds=options.token_life_seconds, signing_key=signing_key(options.directory))
    roles = {options.role, "PUBLIC"}
    key_file = None
    if options.user:
        for name, file in zip(options.user, options.public_key):
            auth.add_user(name, file.read_bytes(), role_default=options.role, roles=roles)
    else:
        key_file, public_key = own_key(options.directory)
        auth.add_user(DEFAULT_USER, public_key, role_default=options.role, roles=roles)
    return auth, key_file


def destination(options: argparse.Namespace, auth: Auth, key_file: Path | None, ca_file: Path) -> str:
    """What a pipeline is given as --to. Without a key of ours the key_file is left to the caller."""
    user = next(iter(auth.users))
    parameters = {"warehouse": options.warehouse, "role": options.role}
    if key_file:
        parameters["key_file"] = str(key_file)
    parameters |= {"host": auth.ingest_host, "ca_file": str(ca_file)}
    path = "/".join(urllib.parse.quote(name, safe="") for name in (options.database[0], options.schema))
    return f"snowflake://{user}@{auth.account}/{path}?{urllib.parse.urlencode(parameters, safe='/:')}"


async def run(options: argparse.Namespace, pool: ConverterPool) -> None:
    options.directory = options.directory.resolve()
    options.directory.mkdir(parents=True, exist_ok=True)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    faults = FaultPlan()
    auth, key_file = make_auth(options)
    identity = make_identity(options.directory / "tls", ["localhost", "127.0.0.1", "::1", f"{auth.account.lower()}.snowflakecomputing.com"])
    storage = await Storage.open(options.directory, options.template)
    runners, channels, committer = [], None, None
    try:
        async with storage.connection() as connection:
            for name in options.database:
                await storage.create_database(connection, name)
            await storage.create_warehouse(connection, options.warehouse)
        channels = Channels(storage)
        committer = Committer(storage, channels, faults, pool, delay_ms=options.commit_delay_ms, binary_format=options.binary_format)
        await channels.load()
        streaming = Streaming(storage, auth, channels, faults, binary_format=options.binary_format)
        sql = sqlapi.SqlApi(storage, auth, faults)
        app = make_app(faults, [*sql.routes(), *streaming.routes()], clock=auth.now)
        runner, port = await listen(app, options.host, options.port, identity.context)
        runners.append(runner)
        host = f"[{options.host}]" if ":" in options.host else options.host
        auth.ingest_host = f"{host}:{port}"
        control = Control(auth, channels, committer, streaming, faults, sql)
        runner, control_port = await listen(control.app(), options.host, options.control_port)
        runners.append(runner)
        ready = {
            "url": f"https://{auth.ingest_host}",
            "ca_file": str(identity.ca_file),
            "control": f"http://{host}:{control_port}",
            "account": auth.account,
            "user": next(iter(auth.users)),
            "key_file": str(key_file) if key_file else None,
            "to": destination(options, auth, key_file, identity.ca_file),
        }
        # For tools/sandbox/sql, which then needs no options.
        write_private(options.directory / "ready.json", json.dumps(ready).encode())
        print(json.dumps(ready), flush=True)
        await stop.wait()
    finally:
        for runner in runners:
            await runner.cleanup()
        if committer is not None:
            await committer.close()
        if channels is not None:
            await channels.close()
        await storage.close()


def main(arguments: list[str]) -> int:
    options = parse_arguments(arguments)
    logging.basicConfig(
        stream=sys.stderr, level=logging.DEBUG if options.verbose else logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s"
    )
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    pool = ConverterPool(fork=True)
    try:
        asyncio.run(run(options, pool))
    except (ClusterError, OSError, ValueError) as error:
        print(f"snowbox: {error}", file=sys.stderr)
        return 1
    finally:
        pool.close()
    return 0
