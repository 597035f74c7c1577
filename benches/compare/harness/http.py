"""HTTP: what is asked of the servers, by wrk, h2load and `tls_client.py`, and what it cost them."""

import json
import re
import resource
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .http_rival import SIZES
from .measure import Failure, await_port, free_port, prepare
from .place import HERE, INSTALLED, LOAD_CORE, SERVER_CORE

END_PATIENCE = 5.0


@dataclass(frozen=True)
class Scenario:
    name: str
    title: str
    # "wrk", "h2load" or a mode of `tls_client.py`.
    tool: str
    unit: str
    tls: bool = False
    h2: bool = False
    path: str = "/"
    source: str = "route"
    # At most so many times nginx's figure; None where there is none.
    target: float = None
    base: str = "nginx"


WIRES = {
    "http1": ("HTTP/1.1", "wrk", False, False, 1.05),
    "https": ("HTTPS", "wrk", True, False, 0.75),
    "h2": ("HTTP/2 over TLS, 32 streams", "h2load", True, True, 0.7),
    "h2c": ("HTTP/2 in clear, 32 streams", "h2load", False, True, 0.7),
}
SOURCES = {"file": "a file", "route": "memory"}
BYTES = {"small": "13 B", "large": "10 KiB"}


def exchange(wire, size, source):
    title, tool, tls, h2, target = WIRES[wire]
    return Scenario(
        name=f"{wire}-{size}-{source}",
        title=f"{title}: {BYTES[size]} from {SOURCES[source]}",
        tool=tool,
        unit="request",
        tls=tls,
        h2=h2,
        path=f"/{source}/{size}.txt",
        source=source,
        target=target,
    )


def of_tls(name, title, unit, h2=False):
    # Files are what all of them have.
    path = "/file/small.txt"
    return Scenario(name, title, name, unit, tls=True, h2=h2, path=path, source="file", target=1.0)


EXCHANGES = [
    exchange(wire, size, source) for wire in WIRES for size in BYTES for source in SOURCES
]
HANDSHAKES = [
    of_tls("full", "TLS 1.3 handshakes, ECDSA P-256, full", "handshake"),
    of_tls("resumed", "TLS 1.3 handshakes, resumed", "handshake"),
]
IDLE = [
    of_tls("idle", "Memory of 10,000 idle HTTPS connections, HTTP/1.1", "connection"),
    of_tls("idle-h2", "Memory of 10,000 idle HTTPS connections, HTTP/2", "connection", h2=True),
]

COMPARED = {it.name: it for it in [*EXCHANGES, *HANDSHAKES, *IDLE]}
GROUPS = {
    "default": list(COMPARED),
    **{wire: [it.name for it in EXCHANGES if it.name.split("-")[0] == wire] for wire in WIRES},
    "handshakes": [it.name for it in HANDSHAKES],
    "idles": [it.name for it in IDLE],
}


@contextmanager
def serving(rival, scenario, realtime):
    """A server of its own for one measurement. Gives the port and the process id."""
    port = free_port()
    log = INSTALLED / f"{rival.name}.log"
    with log.open("w") as sink:
        process = subprocess.Popen(
            rival.command(port, tls=scenario.tls, h2=scenario.h2),
            stdout=sink,
            stderr=sink,
            preexec_fn=prepare((SERVER_CORE,), realtime),
        )
    try:
        await_port(process, port, log)
        yield port, process.pid
    finally:
        process.terminate()
        try:
            process.wait(END_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for left in rival.leaves(port):
            left.unlink(missing_ok=True)


def cpu_seconds(pid):
    """What all threads of a process have used so far, to the nanosecond."""
    used = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        try:
            used += int((thread / "schedstat").read_text().split()[0])
        except OSError:
            pass
    return used / 1e9


def resident_bytes(pid):
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def load(scenario, port, pid, seconds, realtime):
    """One load on a server that runs, and what it cost."""
    if scenario.unit == "connection":
        return crowd(scenario, port, pid)
    scheme = "https" if scenario.tls else "http"
    url = f"{scheme}://127.0.0.1:{port}{scenario.path}"
    if scenario.tool == "wrk":
        command = ["wrk", "-t", "1", "-c", "64", "-d", f"{seconds:.0f}s", "--latency", url]
    elif scenario.tool == "h2load":
        command = ["h2load", "-t", "1", "-c", "8", "-m", "32", "-D", f"{seconds:.0f}", url]
    else:
        command = client(scenario, port, f"{seconds}")
    # The first answer of a server may cost more than the others: files, caches, code.
    warm_up(scenario, port)
    before, began = cpu_seconds(pid), time.monotonic()
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        preexec_fn=prepare((LOAD_CORE,), realtime),
        timeout=seconds + 60,
    )
    used, took = cpu_seconds(pid) - before, time.monotonic() - began
    load_used = resource.getrusage(resource.RUSAGE_CHILDREN)
    read = {"wrk": of_wrk, "h2load": of_h2load}.get(scenario.tool, of_client)
    count, p50, p99 = read(done.stdout, done.stderr)
    return {
        "figure": used * 1e6 / count,
        "details": {
            "rate": count / seconds,
            "p50": p50,
            "p99": p99,
            "server_share": used / took,
            "load_share": 0,
        },
        "said": done.stdout,
        "load_cpu": load_used.ru_utime + load_used.ru_stime,
    }


def client(scenario, port, *words):
    script = HERE / "python" / "tls_client.py"
    version = "h2" if scenario.h2 else "http/1.1"
    mode = "idle" if scenario.unit == "connection" else scenario.tool
    return [sys.executable, str(script), mode, str(port), version, scenario.path, *words]


def warm_up(scenario, port):
    scheme = "https" if scenario.tls else "http"
    url = f"{scheme}://127.0.0.1:{port}{scenario.path}"
    version = "--http1.1"
    if scenario.h2:
        version = "--http2" if scenario.tls else "--http2-prior-knowledge"
    command = ["curl", "-sSk", version, "-o", "-", url]
    done = subprocess.run(command, capture_output=True, timeout=10)
    size = "large" if "large" in scenario.path else "small"
    if done.stdout != SIZES[size]:
        raise Failure(f"the server answers {done.stdout[:60]!r} {done.stderr.decode()[:200]}")


UNITS = {"us": 1.0, "ms": 1e3, "s": 1e6}


def microseconds(text):
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()
    return float(number) * UNITS[unit]


def of_wrk(text, errors):
    count = re.search(r"(\d+) requests in", text)
    if not count or "Non-2xx" in text or "Socket errors" in text:
        raise Failure((errors or text).strip().splitlines()[-1:] or "wrk says nothing")
    quantile = lambda name: microseconds(re.search(rf"{name}%\s+(\S+)", text)[1])
    return int(count[1]), quantile(50), quantile(99)


def of_h2load(text, errors):
    count = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored", text)
    if not count or count[2] != "0" or int(count[1]) == 0:
        raise Failure(text[-200:] or errors[-200:])
    mean = re.search(r"time for request:\s+\S+\s+(\S+)\s+(\S+)", text)
    return int(count[1]), microseconds(mean[2]), microseconds(mean[1])


def of_client(text, errors):
    try:
        report = json.loads(text)
    except ValueError:
        raise Failure((errors.strip().splitlines() or ["it says nothing"])[-1]) from None
    return report["count"], report["p50"], report["p99"]


def crowd(scenario, port, pid):
    """Opens the connections, each with one answer, and looks at the server's memory."""
    warm_up(scenario, port)
    before = resident_bytes(pid)
    command = client(scenario, port, "10000")
    held = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=prepare((LOAD_CORE,))
    )
    try:
        said = held.stdout.readline().decode().split()
        if said[:1] != ["open"]:
            raise Failure("the connections could not be opened")
        time.sleep(1.0)
        loaded = resident_bytes(pid)
    finally:
        held.stdin.close()
        held.wait(60)
    time.sleep(1.0)
    after = resident_bytes(pid)
    each = (loaded - before) / int(said[1])
    return {"figure": each, "details": {"before": before, "loaded": loaded, "after": after}}
