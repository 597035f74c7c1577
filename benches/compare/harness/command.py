"""The command line: installs, measures in turns, writes the results and prints the tables."""

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

from . import check, http, http_rival, measure, place, rival, scenario, table
from .place import tell

# Which servers there are, and what is asked of them.
SUITES = {"websocket": (rival, scenario), "http": (http_rival, http)}

EXAMPLES = """\
examples:
  benches/compare/run --quick                      is everything there, and does it work
  benches/compare/run                              three rounds of the usual scenarios
  benches/compare/run --rounds 9 --only roomwire,uws,epoll --uws ~/uws --scenarios echo,fanout
  benches/compare/run --scenarios slow             1,000 members and 50 that never read
  benches/compare/run --suite http --realtime      HTTP and TLS, beside nginx, hyper and h2o

Groups of scenarios: default, echo, fanout, checks, all; of http: default, http1, https, h2, h2c,
handshakes, idles. A server that cannot be installed is named and
left out. Tables go to stdout, progress to stderr, and everything that was measured to --out.
Exit codes: 0 measured, 1 nothing could be measured, 2 usage.
"""


def arguments():
    parser = argparse.ArgumentParser(
        prog="benches/compare/run",
        description="Compares Roomwire with other servers of WebSocket, or of HTTP.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    words = lambda text: [word for word in text.split(",") if word]
    add = parser.add_argument
    add("--suite", choices=list(SUITES), default="websocket", help="what is compared [websocket]")
    add("--rounds", type=int, default=3, metavar="N", help="of every scenario [3]")
    add("--seconds", type=float, default=3.0, metavar="S", help="of load in a measurement [3]")
    add("--only", type=words, default=[], metavar="NAMES", help="servers; of http: " + ",".join(http_rival.RIVALS) + "; else: " + ",".join(rival.RIVALS))
    add("--scenarios", type=words, default=["default"], metavar="NAMES", help="or groups [default]")
    add("--quick", action="store_true", help="one round of half a second; figures mean nothing")
    add("--uws", type=Path, metavar="PATH", help="a server built from uws/server.cpp")
    add("--roomwire", type=Path, metavar="PATH", help="a gateway that is already built")
    add("--embedded", type=Path, metavar="PATH", help="the example hello, already built")
    add("--hyper", type=Path, metavar="PATH", help="rust/hyper, already built")
    add("--realtime", action="store_true", help="http: nothing else runs meanwhile; needs root")
    add("--out", type=Path, metavar="FILE", help="where the results go [target/result.json]")
    add("--show", type=Path, metavar="FILE", help="only print the tables of results that were kept")
    args = parser.parse_args()
    rivals, scenarios = (it for it in SUITES[args.suite])
    try:
        known = [*scenarios.COMPARED, *getattr(scenarios, "CHECKS", ())]
        args.scenarios = scenario.chosen(args.scenarios, scenarios.GROUPS, known)
    except ValueError as error:
        parser.error(str(error))
    for name in args.only:
        if name not in rivals.RIVALS:
            parser.error(f"there is no server {name}; there are {', '.join(rivals.RIVALS)}")
    if args.rounds < 1 or not 0.1 <= args.seconds <= 3600:
        parser.error("--rounds is at least 1, --seconds from 0.1 to 3600")
    if args.quick:
        args.rounds, args.seconds = 1, 1.0 if args.suite == "http" else 0.5
    return args


class Comparison:
    """A run: what is there, and what was measured so far."""

    def __init__(self, args):
        self.args = args
        self.options = rival.Options(args.roomwire, args.uws, args.embedded, args.hyper)
        self.scenarios = SUITES[args.suite][1].COMPARED
        self.facts = place.machine()
        self.results = {}
        self.checks = {}
        self.done = 0

    def install(self):
        names = list(self.args.only or rival.RIVALS)
        if "roomwire" not in names:
            names.append("roomwire")
        self.present, self.missing = rival.install(names, self.options)
        self.gateway = next((it for it in self.present if it.name == "roomwire"), None)
        if self.gateway is not None:
            self.binary = rival.build_roomwire(self.options)
        if self.args.only and "roomwire" not in self.args.only:
            # It is there for its load generator alone.
            self.present = [it for it in self.present if it.name != "roomwire"]

    def measure_all(self):
        names = [name for name in self.args.scenarios if name in self.scenarios]
        self.total = self.args.rounds * sum(len(self.servers(self.scenarios[it])) for it in names)
        for name in names:
            it = self.scenarios[name]
            servers = self.servers(it)
            self.results[name] = {
                "title": it.title,
                "rivals": {server.name: {"title": server.title, "rounds": []} for server in servers},
            }
            for number in range(self.args.rounds):
                # Each round begins with another server, so that none is always the first.
                turn = number % len(servers)
                for server in servers[turn:] + servers[:turn]:
                    self.measure(it, server, number)

    def servers(self, it):
        """Those that can take part."""
        return [server for server in self.present if server.compresses or not it.deflate]

    def measure(self, it, server, number):
        self.done += 1
        entry = self.results[it.name]["rivals"][server.name]
        record = {"round": number}
        try:
            record.update(self.one(it, server))
            unit = "B" if it.unit == "connection" else "µs"
            said = f"{record['figure']:.3f} {unit} for each {it.unit}"
        except measure.Failure as failure:
            record["failure"] = entry["failure"] = str(failure)
            said = f"NO FIGURE: {failure}"
        entry["rounds"].append(record)
        of = f"round {number + 1} of {self.args.rounds}"
        tell(f"[{self.done}/{self.total}] {it.name}, {of}, {server.name}: {said}")

    def one(self, it, server):
        """A measurement: its figure, what stands beside it, and the whole report."""
        asked = {"deflate": True} if it.deflate else {}
        with measure.serving(server, **asked) as (port, _):
            report = measure.load(self.binary, server, port, it.path, self.options_of(it))
        return {
            "report": report,
            "figure": measure.figure(it, report),
            "details": measure.details(it, report),
        }

    def options_of(self, it):
        if "--duration" in it.load:
            return it.load
        return [*it.load, "--duration", f"{self.args.seconds * 1000:.0f}ms"]

    def check_all(self):
        for name in self.args.scenarios:
            if name in check.ALL and self.gateway is not None:
                try:
                    record, text = check.ALL[name](self.binary, self.gateway, self.args.quick)
                except measure.Failure as failure:
                    record, text = {"failure": str(failure)}, f"**{name}**: no figure, {failure}"
                    tell(f"{name}: NO FIGURE: {failure}")
                self.checks[name] = {"record": record, "text": text}

    def everything(self):
        return {
            "suite": self.args.suite,
            "date": date.today().isoformat(),
            "command": self.command(),
            "rounds": self.args.rounds,
            "seconds": self.args.seconds,
            "machine": self.facts,
            "rivals": {it.name: {"title": it.title, "version": it.version} for it in self.present},
            "missing": self.missing,
            "scenarios": self.results,
            "checks": self.checks,
        }

    def write(self):
        path = self.args.out or place.INSTALLED / "result.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.everything(), indent=1) + "\n")
        tell(f"everything that was measured is in {path}")

    def command(self):
        # Where a program lies is of no interest to a reader.
        words, hides_next = ["benches/compare/run"], False
        for word in sys.argv[1:]:
            if hides_next:
                word, hides_next = Path(word).name, False
            elif word in ("--uws", "--roomwire", "--embedded", "--hyper", "--out"):
                hides_next = True
            words.append(word)
        return shlex.join(words)


class HttpComparison(Comparison):
    """The same for HTTP."""

    gateway = None

    def install(self):
        names = list(self.args.only or http_rival.RIVALS)
        self.present, self.missing = http_rival.install(names, self.options)

    def servers(self, it):
        return [server for server in self.present if it.source in server.sources]

    def one(self, it, server):
        try:
            with http.serving(server, it, self.args.realtime) as (port, pid):
                return http.load(it, port, pid, self.args.seconds, self.args.realtime)
        except (OSError, subprocess.SubprocessError) as error:
            raise measure.Failure(str(error)) from None


def show(path):
    kept = json.loads(path.read_text())
    scenarios = SUITES[kept.get("suite", "websocket")][1].COMPARED
    print(table.document(kept, scenarios))


def main():
    args = arguments()
    if args.show is not None:
        show(args.show)
        return 0
    if len(os.sched_getaffinity(0)) < 2:
        tell("one core for the server and one for the load are needed")
        return 1
    comparison = HttpComparison(args) if args.suite == "http" else Comparison(args)
    began = time.monotonic()
    comparison.install()
    if args.suite == "websocket" and comparison.gateway is None:
        tell("without Roomwire there is no load generator: " + comparison.missing["roomwire"])
        return 1
    try:
        comparison.measure_all()
        comparison.check_all()
    except KeyboardInterrupt:
        tell("interrupted; what was measured so far follows")
    comparison.write()
    print(table.document(comparison.everything(), comparison.scenarios))
    tell(f"{time.monotonic() - began:.0f} s")
    return 0
