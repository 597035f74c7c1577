"""One measurement: a fresh server on its core, the load on another, the report as it was printed."""

import json
import os
import resource
import socket
import subprocess
import time
from contextlib import contextmanager

from .place import INSTALLED, LOAD_CORE, SERVER_CORE

# How long a server may take to listen, and to end.
START_PATIENCE = 20.0
END_PATIENCE = 5.0
# What a load may take beyond its own duration: opening connections, and draining.
LOAD_PATIENCE = 180.0


class Failure(Exception):
    """Why there is no figure."""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def prepare(cores, realtime=False):
    """In the child: its cores, its class, and as many descriptors as it may have."""

    def call():
        os.sched_setaffinity(0, cores)
        if realtime:
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

    return call


@contextmanager
def serving(rival, cores=(SERVER_CORE,), **asked):
    """A server of its own for one measurement, so that none pays for what came before. Gives the port
    and the process id."""
    port = free_port()
    INSTALLED.mkdir(exist_ok=True)
    log = INSTALLED / f"{rival.name}.log"
    with log.open("w") as sink:
        process = subprocess.Popen(
            rival.command(port, **asked), stdout=sink, stderr=sink, preexec_fn=prepare(cores)
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


def await_port(process, port, log):
    end = time.monotonic() + START_PATIENCE
    while time.monotonic() < end:
        if process.poll() is not None:
            lines = log.read_text().strip().splitlines() or ["it says nothing"]
            raise Failure(f"the server ended at once: {lines[-1]}")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            # What a start still has to do is not the load's.
            time.sleep(0.2)
            return
        except OSError:
            time.sleep(0.05)
    raise Failure(f"the server does not listen after {START_PATIENCE:.0f} s")


def load(binary, rival, port, path, options, cores=(LOAD_CORE,), pid=None):
    """Runs the load generator and gives its report."""
    url = f"ws://127.0.0.1:{port}{rival.paths[path]}"
    command = [binary, "bench", "ws", url, "--quiet", "--protocol", rival.protocol, *options]
    if pid is not None:
        command += ["--pid", pid]
    try:
        done = subprocess.run(
            [str(word) for word in command],
            capture_output=True,
            text=True,
            preexec_fn=prepare(cores),
            timeout=LOAD_PATIENCE + seconds_of(options),
        )
    except subprocess.TimeoutExpired:
        raise Failure("the load generator did not come to an end") from None
    try:
        return json.loads(done.stdout)
    except ValueError:
        lines = done.stderr.strip().splitlines() or ["it says nothing"]
        raise Failure(lines[-1]) from None


def seconds_of(options):
    words = [str(word) for word in options]
    text = words[words.index("--duration") + 1]
    return float(text[:-2]) / 1000 if text.endswith("ms") else float(text[:-1])


def figure(scenario, report):
    """What is compared: microseconds of server CPU for each unit, or bytes for each connection."""
    if report.get("problem"):
        raise Failure(report["problem"])
    if scenario.deflate and not report.get("deflate", {}).get("messages"):
        raise Failure("it did not compress")
    if scenario.unit == "connection":
        value = report.get("bytes_per_connection")
    else:
        value = (report["server"]["cpu"] or {}).get(f"us_per_{scenario.unit}")
    if value is None:
        raise Failure("the server's process was not found")
    return value


def details(scenario, report):
    """What stands beside the figure in a table."""
    names = {
        "message": ("messages_per_second", "round_trip_us"),
        "delivery": ("deliveries_per_second", "publish_to_delivery_us"),
        "cycle": ("cycles_per_second", "cycle_us"),
    }
    if scenario.unit == "connection":
        memory = report["server"]["resident_bytes"]
        return {key: memory[key] for key in ("before", "loaded", "after")}
    rate, times = names[scenario.unit]
    return {
        "rate": report[rate],
        "p50": report[times]["p50"],
        "p99": report[times]["p99"],
        "server_share": report["server"]["cpu"]["share_of_core"],
        "load_share": report["client"]["cpu"]["share_of_core"],
    }
