#!/usr/bin/env python3
"""A client of HTTPS for what wrk and h2load do not do: handshakes, full and resumed, and connections
that are open and idle.

    tls_client.py full|resumed PORT VERSION PATH SECONDS    one line of JSON: how many, how long
    tls_client.py idle PORT VERSION PATH COUNT              "open COUNT", then waits for its stdin's end
"""

import json
import resource
import socket
import ssl
import sys
import time

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0"
SETTINGS_ACK = b"\0\0\0\x04\x01\0\0\0\0"


def context_for(version):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols([version])
    return context


def connect(context, port, session=None):
    stream = socket.create_connection(("127.0.0.1", port))
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return context.wrap_socket(stream, server_hostname="localhost", session=session)


def ask_http1(stream, path):
    stream.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    got = b""
    while not got.endswith(b"Hello, World!"):
        more = stream.recv(4096)
        if not more:
            raise SystemExit(f"the connection ended: {got!r}")
        got += more
    return got


def ask_h2(stream, path):
    path = path.encode()
    # GET, https, and literals for the path and the authority (RFC 7541 §6.1, §6.2.2).
    block = b"\x82\x87" + b"\x04" + bytes([len(path)]) + path + b"\x01\x09localhost"
    head = len(block).to_bytes(3, "big") + b"\x01\x05\0\0\0\x01" + block
    stream.sendall(PREFACE + SETTINGS_ACK + head)
    got = b""
    while b"Hello, World!" not in got:
        more = stream.recv(4096)
        if not more:
            raise SystemExit(f"the connection ended: {got!r}")
        got += more


def ask(stream, version, path):
    return ask_h2(stream, path) if version == "h2" else ask_http1(stream, path)


def handshakes(mode, port, version, path, seconds):
    context = context_for(version)
    first = connect(context, port)
    # A ticket of TLS 1.3 comes with what follows the handshake.
    ask(first, version, path)
    session = first.session if mode == "resumed" else None
    first.close()
    times, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.monotonic()
        stream = connect(context, port, session)
        times.append((time.monotonic() - began) * 1e6)
        if stream.session_reused != (mode == "resumed"):
            raise SystemExit("the session was not resumed" if session else "it was resumed")
        stream.close()
    times.sort()
    quantile = lambda part: times[min(int(len(times) * part), len(times) - 1)]
    print(json.dumps({"count": len(times), "p50": quantile(0.5), "p99": quantile(0.99)}))


def idle(port, version, path, count):
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    context, held = context_for(version), []
    for _ in range(count):
        stream = connect(context, port)
        ask(stream, version, path)
        held.append(stream)
    print(f"open {len(held)}", flush=True)
    sys.stdin.read()


def main():
    mode, port, version, path, number = sys.argv[1:]
    if mode == "idle":
        idle(int(port), version, path, int(number))
    else:
        handshakes(mode, int(port), version, path, float(number))


main()
