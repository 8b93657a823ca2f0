#!/usr/bin/env python3
"""The server that test_http_client talks to: HTTP/1.1 by hand, so that it can misbehave.

    http_server.py CERTIFICATE KEY OTHER_CERTIFICATE OTHER_KEY

OTHER is a certificate for another host name. Prints one line with the ports: tls plain wrong_name old_tls silent.
Ends when standard input is closed. Only what comes with Python is used.
"""
import asyncio
import gzip
import json
import os
import socket
import ssl
import struct
import sys
import time
import warnings
from email.utils import formatdate
from urllib.parse import parse_qsl, urlsplit

connection_count = 0
request_count = 0
hanging = []


def answer(status, body=b"", **headers):
    lines = [f"HTTP/1.1 {status} Some Reason"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if "Content_Length" not in headers:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def reset(writer):
    """RST instead of FIN."""
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def respond(method, path, options, headers, body, writer):
    """Writes the answer; False when the connection is at its end."""
    if path == "/echo":
        told = {"method": method, "headers": headers, "size": len(body), "sum": sum(body) % 65521,
                "connections": connection_count, "requests": request_count}
        writer.write(answer(200, json.dumps(told).encode(), Content_Type="application/json"))
    elif path == "/status":
        extra = {"Retry_After": options["retry_after"]} if "retry_after" in options else {}
        if "retry_in" in options:
            extra = {"Retry_After": formatdate(time.time() + int(options["retry_in"]), usegmt=True)}
        writer.write(answer(int(options["code"]), b"told", **extra))
    elif path == "/redirect":
        writer.write(answer(302, b"", Location="/echo"))
    elif path == "/gzip":
        writer.write(answer(200, gzip.compress(b"x" * 1000), Content_Encoding="gzip"))
    elif path == "/slow":
        await asyncio.sleep(int(options["ms"]) / 1000)
        writer.write(answer(200, b"slow"))
    elif path == "/large":
        writer.write(answer(200, b"y" * int(options["size"])))
    elif path == "/drip":
        writer.write(answer(200, b"", Content_Length=10))
        for _ in range(10):
            await writer.drain()
            await asyncio.sleep(0.005)
            writer.write(b"d")
    elif path == "/close":
        writer.write(answer(200, b"bye", Connection="close"))
        return False
    elif path == "/close_unannounced":
        writer.write(answer(200, b"bye"))
        return False
    elif path == "/hang":
        await asyncio.sleep(3600)
    elif path == "/hang_in_headers":
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Le")
        await asyncio.sleep(3600)
    elif path == "/hang_in_body":
        writer.write(answer(200, b"half", Content_Length=8))
        await asyncio.sleep(3600)
    elif path == "/reset":
        reset(writer)
        return False
    elif path == "/reset_in_body":
        writer.write(answer(200, b"half", Content_Length=8))
        await writer.drain()
        await asyncio.sleep(0.02)
        reset(writer)
        return False
    elif path == "/cut":
        writer.write(answer(200, b"half", Content_Length=8))
        return False
    elif path == "/nothing":
        return False
    elif path == "/nonsense":
        writer.write(b"this is not HTTP at all\r\n\r\n")
        return False
    else:
        writer.write(answer(404, b"no such path"))
    await writer.drain()
    return True


async def serve(reader, writer):
    global connection_count, request_count
    connection_count += 1
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            method, target, _ = head[0].split(" ")
            headers = dict(line.split(": ", 1) if ": " in line else (line.rstrip(":"), "") for line in head[1:-2])
            lower = {name.lower(): value for name, value in headers.items()}
            url = urlsplit(target)
            if url.path == "/hang_before_body":
                await asyncio.sleep(3600)
            body = await reader.readexactly(int(lower.get("content-length", "0")))
            request_count += 1
            if not await respond(method, url.path, dict(parse_qsl(url.query)), headers, body, writer):
                break
    except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
        pass
    finally:
        writer.close()


async def serve_silent(reader, writer):
    """Takes the connection and never says a word: a TLS handshake that hangs."""
    hanging.append((reader, writer))


async def main():
    certificate, key, other_certificate, other_key = sys.argv[1:]
    good = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    good.load_cert_chain(certificate, key)
    wrong = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    wrong.load_cert_chain(other_certificate, other_key)
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    old.load_cert_chain(certificate, key)
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.minimum_version = ssl.TLSVersion.TLSv1
    old.maximum_version = ssl.TLSVersion.TLSv1_1
    ports, servers = [], []
    for handler, context in ((serve, good), (serve, None), (serve, wrong), (serve, old), (serve_silent, None)):
        server = await asyncio.start_server(handler, "127.0.0.1", 0, ssl=context, backlog=1024, limit=1 << 20)
        servers.append(server)
        ports.append(server.sockets[0].getsockname()[1])
    print(*ports, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    os._exit(0)  # whatever still hangs, hangs on purpose


warnings.simplefilter("ignore")  # the old TLS versions are deprecated, and wanted here
asyncio.run(main())
