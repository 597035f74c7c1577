"""Checks of Roomwire alone: members that never read, a second worker, a crowd of idle connections.

Each gives a record for the file and lines of Markdown. They are no comparison, so each runs once.
"""

import json
import resource
import subprocess

from .measure import Failure, load, serving
from .place import LOAD_CORE, SERVER_CORE, tell
from .table import bytes_text, count_text, short, time_text

POLICIES = ("disconnect", "drop-oldest", "keep-latest")

# Descriptors that the server and the load generator need besides those of connections.
SPARE_DESCRIPTORS = 600


def counters(binary, port):
    """What the gateway that listens on this port has counted."""
    command = [str(binary), "stats", "--json", "--instance", f"compare-{port}"]
    done = subprocess.run(command, capture_output=True, text=True)
    try:
        return {name: it["value"] for name, it in json.loads(done.stdout)["counters"].items()}
    except (ValueError, KeyError):
        raise Failure("the gateway's counters cannot be read") from None


# What may become of a member that does not read.
OUTCOMES = {
    "session_close_slow_total": "ended as slow",
    "session_close_write_timeout_total": "ended by the write timeout",
    "hub_outbox_dropped_total": "messages dropped",
}


def slow(binary, gateway, is_quick):
    """A room with 1,000 members that read and 50 that never do."""
    seconds = 5 if is_quick else 60
    base = ["--mode", "fanout", "-c", 1000, "--rate", 1000, "--size", "1KiB"]
    base += ["--duration", f"{seconds}s"]
    record = {}
    head = ["policy", "members that never read", "lost to the others", "publishes", "p50", "p99"]
    lines = [
        f"**1,000 members and 50 that never read, 1,000 messages of 1 KiB a second, {seconds} s**",
        "",
        "| " + " | ".join([*head, "p99 to without", "memory before, highest"]) + " |",
        "|" + "---|" * 8,
    ]
    for policy in POLICIES:
        without = None
        for stalled in (0, 50):
            tell(f"slow: {policy}, {stalled} members that never read, {seconds} s")
            with serving(gateway, slow=policy) as (port, _):
                report = load(binary, gateway, port, "room", [*base, "--stalled", stalled])
                counted = counters(binary, port)
            report["outcomes"] = {name: counted[name] for name in OUTCOMES}
            record[f"{policy}-{stalled}"] = report
            if report.get("problem") and "whole_run" not in report:
                raise Failure(report["problem"])
            lines.append(slow_row(policy, stalled, report, without))
            without = report
    return record, "\n".join(lines)


def slow_row(policy, stalled, report, without):
    times, memory = report["publish_to_delivery_us"], report["server"]["resident_bytes"]
    # The client cannot count the closed ones: the end waits behind what it does not read.
    became = [f"{count:,} {OUTCOMES[name]}" for name, count in report["outcomes"].items() if count]
    many = "; ".join([f"{stalled}" if stalled else "none", *became])
    ratio = "" if without is None else times["p99"] / without["publish_to_delivery_us"]["p99"]
    times_text = f"{short(ratio)}×" if ratio else ""
    cells = [
        policy,
        many,
        f"{report['whole_run']['lost']:,}" + (f" ({report['problem']})" if report["problem"] else ""),
        f"{report['publishes_per_second']:,.0f} a second",
        time_text(times["p50"]),
        time_text(times["p99"]),
        times_text,
        f"{bytes_text(memory['before'])}, {bytes_text(memory['highest'] or 0)}",
    ]
    return "| " + " | ".join(cells) + " |"


def scale(binary, gateway, is_quick):
    """One worker and two, with the load generator on the cores that are left, or on the same."""
    seconds = 2 if is_quick else 5
    options = ["--mode", "fanout", "-c", 1000, "-w", 256, "--duration", f"{seconds}s"]
    record, reports = {}, {}
    for workers in (1, 2):
        tell(f"scale: {workers} workers, {seconds} s")
        cores = (SERVER_CORE,) if workers == 1 else (SERVER_CORE, LOAD_CORE)
        with serving(gateway, cores=cores, workers=workers) as (port, _):
            threads = ["--threads", workers]
            report = load(binary, gateway, port, "room", [*options, *threads], cores=(0, 1))
        if report.get("problem"):
            raise Failure(report["problem"])
        record[f"workers-{workers}"] = reports[workers] = report
    cpu = {key: it["server"]["cpu"] for key, it in reports.items()}
    lines = [
        "**One worker and two, fan-out of 64 B to 1,000 members, 256 always in flight**",
        "",
        "| workers | deliveries a second | server CPU for each | server | load generator | a worker "
        "with a core of its own would deliver |",
        "|---|---|---|---|---|---|",
    ]
    for workers, report in reports.items():
        each = cpu[workers]["us_per_delivery"]
        share, load_share = cpu[workers]["share_of_core"], report["client"]["cpu"]["share_of_core"]
        lines.append(
            f"| {workers} | {count_text(report['deliveries_per_second'])} | {each:.3f} µs "
            f"| {share * 100:.0f} % of a core | {load_share * 100:.0f} % | "
            f"{count_text(workers * 1e6 / each)} in all |"
        )
    seen = reports[2]["deliveries_per_second"] / reports[1]["deliveries_per_second"]
    free = 2 * cpu[1]["us_per_delivery"] / cpu[2]["us_per_delivery"]
    lines += [
        "",
        f"Two workers delivered {seen:.2f} times what one did, beside the load generator; by their CPU "
        f"for each delivery they would deliver {free:.2f} times as much where it is on other cores.",
    ]
    record.update(seen=seen, by_cpu=free)
    return record, "\n".join(lines)


def crowd(binary, gateway, is_quick):
    """Memory at 50,000 idle connections, and after they have left."""
    wanted = 2_000 if is_quick else 50_000
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1] - SPARE_DESCRIPTORS
    count = wanted if most < 0 else min(wanted, most)
    if count < wanted:
        tell(f"crowd: NOT {wanted:,} but {count:,} connections, all that `ulimit -Hn` allows")
    with serving(gateway) as (port, _):
        tell(f"crowd: {count:,} connections")
        options = ["--mode", "idle", "-c", count, "--duration", "5s"]
        report = load(binary, gateway, port, "echo", options)
        memory = report["server"]["resident_bytes"]
    if report.get("problem"):
        raise Failure(report["problem"])
    after = memory["after"] / memory["before"] - 1
    lines = [
        f"**{count:,} idle connections**" + (f" ({wanted:,} were wanted)" if count < wanted else ""),
        "",
        "| for each connection | before | open | after all left | after to before |",
        "|---|---|---|---|---|",
        f"| {report['bytes_per_connection']:,.0f} B | {bytes_text(memory['before'])} "
        f"| {bytes_text(memory['loaded'])} | {bytes_text(memory['after'])} | {after:+.1%} |",
    ]
    return report, "\n".join(lines)


ALL = {"slow": slow, "scale": scale, "crowd": crowd}
