"""What is measured: the load, the figure that counts, and what the target for Roomwire is."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Scenario:
    name: str
    title: str
    # Options of `roomwire bench ws`.
    load: tuple
    # "echo" or "room".
    path: str
    # What the server's CPU is told for; for "connection" the figure is memory.
    unit: str
    deflate: bool = False
    # At most so many times the base's figure; None where the target is no ratio.
    target: float = None
    base: str = "uws"


def echo(size, connections, in_flight):
    size_text = {"64B": "64 B", "1KiB": "1 KiB", "16KiB": "16 KiB"}[size]
    return Scenario(
        name=f"echo-{size}-c{connections}-w{in_flight}",
        title=f"Echo of {size_text}, {connections:,} connections, {in_flight} in flight",
        load=("--mode", "echo", "--size", size, "-c", connections, "-w", in_flight),
        path="echo",
        unit="message",
        target=1.05,
    )


def fanout(name, title, target, *pace):
    return Scenario(
        name=name,
        title=f"Fan-out of 64 B to 1,000 members, {title}",
        load=("--mode", "fanout", "-c", 1000, *pace),
        path="room",
        unit="delivery",
        target=target,
    )


ECHOES = [
    echo(size, connections, in_flight)
    for size in ("64B", "1KiB", "16KiB")
    for connections in (100, 1000)
    for in_flight in (1, 16)
]

FANOUTS = [
    fanout("fanout-100", "100 publishes a second", 0.9, "--rate", 100),
    fanout("fanout-w16", "16 always in flight", 1.0, "-w", 16),
    fanout("fanout-w256", "256 always in flight", 0.08, "-w", 256),
]

DEFLATE = Scenario(
    name="deflate",
    title="Fan-out of 512 B of JSON to 1,000 members, compressed, 16 always in flight",
    load=("--mode", "fanout", "-c", 1000, "-w", 16)
    + ("--size", "512B", "--content", "json", "--deflate"),
    path="room",
    unit="delivery",
    deflate=True,
    target=0.4,
)

CHURN = Scenario(
    name="churn",
    title="Connect, handshake and close, 16 at a time",
    load=("--mode", "churn", "-c", 16),
    path="echo",
    unit="cycle",
    target=1.1,
)

IDLE = Scenario(
    name="idle",
    title="Memory of 10,000 idle connections",
    load=("--mode", "idle", "-c", 10_000, "--duration", "1s"),
    path="echo",
    unit="connection",
)

COMPARED = {it.name: it for it in [*ECHOES, *FANOUTS, DEFLATE, CHURN, IDLE]}

# Checks of Roomwire alone, in check.py.
CHECKS = ("slow", "scale", "crowd")

GROUPS = {
    "default": [
        "echo-64B-c100-w1",
        "echo-64B-c100-w16",
        "echo-16KiB-c100-w16",
        *(it.name for it in FANOUTS),
        "deflate",
        "churn",
        "idle",
    ],
    "echo": [it.name for it in ECHOES],
    "fanout": [it.name for it in FANOUTS],
    "checks": list(CHECKS),
    "all": [*COMPARED, *CHECKS],
}


def chosen(words, groups=None, known=None):
    """The names that words of the command line stand for; ValueError for one that is unknown."""
    groups = GROUPS if groups is None else groups
    known = [*COMPARED, *CHECKS] if known is None else known
    names = []
    for word in words:
        if word in groups:
            found = groups[word]
        elif word in known:
            found = [word]
        else:
            all_known = ", ".join([*groups, *known])
            raise ValueError(f"there is no scenario {word}; there are {all_known}")
        names.extend(name for name in found if name not in names)
    return names
