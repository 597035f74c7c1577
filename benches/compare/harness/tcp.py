"""TCP: echoes, proxies and connection churn, under the load of `roomwire bench tcp`."""

import argparse
import json
import os
import resource
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from .measure import Failure, await_port, free_port
from .place import INSTALLED, LOAD_CORE, SERVER_CORE, machine, tell
from .rival import Options, build_roomwire
from .table import short
from .tcp_rival import RIVALS, build_epoll, install

END_PATIENCE = 5.0
LOAD_PATIENCE = 120.0


@dataclass(frozen=True)
class Scenario:
    name: str
    title: str
    # Options of `roomwire bench tcp`.
    load: tuple
    # "echo" or "proxy".
    role: str
    unit: str
    # At most so many times the figure of the base.
    target: float = None
    base: str = "epoll"


SIZES = {"64B": "64 B", "16KiB": "16 KiB"}


def exchange(role, size, connections, in_flight, target, base):
    what = "Echo" if role == "echo" else "Proxied echo"
    many = "1 connection" if connections == 1 else f"{connections:,} connections"
    return Scenario(
        name=f"{role}-{size}-c{connections}-w{in_flight}",
        title=f"{what} of {SIZES[size]}, {many}, {in_flight} in flight",
        load=("--mode", "echo", "--size", size, "-c", connections, "-w", in_flight),
        role=role,
        unit="message",
        target=target,
        base=base,
    )


def churn(role, target, base):
    what = "Connect, echo 64 B, close" + (", proxied" if role == "proxy" else "")
    load = ("--mode", "churn", "-c", 16)
    return Scenario(f"{role}-churn", what, load, role, "cycle", target, base)


ECHOES = [
    exchange("echo", size, connections, in_flight, 1.05, "epoll")
    for size in SIZES
    for connections in (1, 100, 1000)
    for in_flight in (1, 16)
]
PROXIES = [
    exchange("proxy", size, connections, in_flight, 1.0, "haproxy")
    for size in SIZES
    for connections in (1, 100)
    for in_flight in (1, 16)
]
CHURNS = [churn("echo", 1.1, "epoll"), churn("proxy", 1.0, "haproxy")]

COMPARED = {it.name: it for it in [*ECHOES, *PROXIES, *CHURNS]}
GROUPS = {
    "default": list(COMPARED),
    "echo": [it.name for it in ECHOES],
    "proxy": [it.name for it in PROXIES],
    "churn": [it.name for it in CHURNS],
}


def prepare(core, realtime):
    """In the child: its core, its class, and as many descriptors as it may have."""

    def call():
        os.sched_setaffinity(0, (core,))
        if realtime:
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

    return call


@contextmanager
def running(command, port, core, realtime, log):
    with log.open("w") as sink:
        process = subprocess.Popen(
            command, stdout=sink, stderr=sink, preexec_fn=prepare(core, realtime)
        )
    try:
        await_port(process, port, log)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(END_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def serving(rival, scenario, realtime):
    """A server of its own for one measurement, and an upstream where it is a proxy. Gives the port and
    the process id."""
    INSTALLED.mkdir(exist_ok=True)
    port = free_port()
    log = INSTALLED / f"{rival.name}.log"
    if scenario.role == "echo":
        with running(rival.command(port), port, SERVER_CORE, realtime, log) as process:
            yield port, process.pid
    else:
        echo, upstream = build_epoll()[1], free_port()
        behind = [str(echo), str(upstream)]
        with running(behind, upstream, LOAD_CORE, realtime, INSTALLED / "upstream.log"):
            command = rival.command(port, upstream=upstream)
            with running(command, port, SERVER_CORE, realtime, log) as process:
                yield port, process.pid
    for left in rival.leaves(port):
        left.unlink(missing_ok=True)


def cpu_seconds(pid):
    """What a process, its threads and its children have used so far. A child that has ended is counted
    by the kernel's ticks, the others to the nanosecond."""
    used = 0.0
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    used += (int(stat[13]) + int(stat[14])) / os.sysconf("SC_CLK_TCK")
    for thread in Path(f"/proc/{pid}/task").iterdir():
        try:
            used += int((thread / "schedstat").read_text().split()[0]) / 1e9
            children = (thread / "children").read_text().split()
        except OSError:
            continue
        used += sum(cpu_seconds(int(child)) for child in children if Path(f"/proc/{child}").exists())
    return used


def load(binary, scenario, port, pid, seconds, realtime):
    """One load on a server that runs, and what it cost."""
    words = [*scenario.load, "--duration", f"{seconds * 1000:.0f}ms", "--warmup", "0s", "--quiet"]
    command = [binary, "bench", "tcp", f"tcp://127.0.0.1:{port}", *words, "--pid", pid]
    before = cpu_seconds(pid)
    try:
        done = subprocess.run(
            [str(word) for word in command],
            capture_output=True,
            text=True,
            preexec_fn=prepare(LOAD_CORE, realtime),
            timeout=LOAD_PATIENCE + seconds,
        )
    except subprocess.TimeoutExpired:
        raise Failure("the load generator did not come to an end") from None
    # Children of a server that forks end with their connections.
    time.sleep(0.2)
    used = cpu_seconds(pid) - before
    try:
        report = json.loads(done.stdout)
    except ValueError:
        raise Failure((done.stderr.strip().splitlines() or ["it says nothing"])[-1]) from None
    if report["problem"]:
        raise Failure(report["problem"])
    rate, times = {
        "message": ("messages", "round_trip_us"),
        "cycle": ("cycles", "cycle_us"),
    }[scenario.unit]
    count = report[rate]
    if not count:
        raise Failure("nothing came back")
    # One process is known to the nanosecond; of one that forks there is only the whole.
    exact = report["server"]["cpu"].get(f"us_per_{scenario.unit}")
    forks = used > 2 * exact * count / 1e6
    return {
        "figure": used * 1e6 / count if forks else exact,
        "details": {
            "rate": report[f"{rate}_per_second"],
            "p50": report[times]["p50"],
            "p99": report[times]["p99"],
            "server_share": report["server"]["cpu"]["share_of_core"],
            "load_share": report["client"]["cpu"]["share_of_core"],
        },
        "report": report,
    }


def row(scenario, servers, rounds):
    """One line of the table: each server's median, and the median of the rounds' ratios to the base."""
    cells = []
    base = rounds.get(scenario.base, {})
    for server in servers:
        found = rounds.get(server.name, {})
        if not found:
            cells.append("–")
            continue
        shared = [found[it] / base[it] for it in found if it in base]
        ratio = f" ({short(median(shared))})" if shared else ""
        cells.append(f"{short(median(found.values()))} µs{ratio}")
    return f"| {scenario.name} | " + " | ".join(cells) + " |"


def arguments():
    parser = argparse.ArgumentParser(
        prog="benches/compare/run-tcp",
        description="Compares Roomwire with other servers and proxies of TCP. Prints server CPU for each "
        "message or cycle; in brackets the ratio to the C loop, or of a proxy to HAProxy.",
    )
    words = lambda text: [word for word in text.split(",") if word]
    add = parser.add_argument
    add("--rounds", type=int, default=3, metavar="N", help="of every scenario [3]")
    add("--seconds", type=float, default=2.0, metavar="S", help="of load in a measurement [2]")
    add("--only", type=words, default=list(RIVALS), metavar="NAMES", help=",".join(RIVALS))
    add("--scenarios", type=words, default=["default"], metavar="NAMES", help=",".join(GROUPS))
    add("--roomwire", type=Path, metavar="PATH", help="a gateway that is already built")
    add("--realtime", action="store_true", help="nothing else runs meanwhile; needs root")
    args = parser.parse_args()
    chosen = [name for word in args.scenarios for name in GROUPS.get(word, [word])]
    for name in [*(it for it in chosen if it not in COMPARED), *(it for it in args.only if it not in RIVALS)]:
        parser.error(f"there is no {name}")
    args.scenarios = list(dict.fromkeys(chosen))
    return args


def main():
    args = arguments()
    options = Options(roomwire=args.roomwire)
    servers, missing = install(args.only, options)
    binary = build_roomwire(options)
    lines = ["| | " + " | ".join(it.title for it in servers) + " |", "|---" * (len(servers) + 1) + "|"]
    for name in args.scenarios:
        scenario, rounds = COMPARED[name], {}
        present = [it for it in servers if scenario.role in it.roles]
        for number in range(args.rounds):
            # Each round begins with another server, so that none is always the first.
            turn = number % max(len(present), 1)
            for server in present[turn:] + present[:turn]:
                try:
                    with serving(server, scenario, args.realtime) as (port, pid):
                        found = load(binary, scenario, port, pid, args.seconds, args.realtime)
                except Failure as failure:
                    tell(f"{name}, {server.name}: NO FIGURE: {failure}")
                    continue
                rounds.setdefault(server.name, {})[number] = found["figure"]
                tell(f"{name}, round {number + 1}, {server.name}: {short(found['figure'])} µs")
        lines.append(row(scenario, servers, rounds))
    print("\n".join(lines))
    for fact, value in machine().items():
        tell(f"{fact}: {value}")
    for it in servers:
        tell(f"{it.title}: {it.version}")
    for name, reason in missing.items():
        tell(f"not there: {name}, {reason}")
    return 0
