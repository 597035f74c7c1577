"""Results as Markdown. Ratios are of one round each, and their median is told: what disturbs a machine
disturbs neighbours in a round alike."""

from datetime import date
from statistics import median


def figures(results, scenario, rival):
    """By round; a round without a figure is left out."""
    rounds = results[scenario]["rivals"].get(rival, {}).get("rounds", [])
    return {it["round"]: it for it in rounds if "figure" in it}


def ratio(results, scenario, rival, other):
    """The median of the ratios in each round, or None."""
    ours, theirs = figures(results, scenario, rival), figures(results, scenario, other)
    shared = [
        ours[it]["figure"] / theirs[it]["figure"]
        for it in ours
        if it in theirs and theirs[it]["figure"] > 0
    ]
    return median(shared) if shared else None


def short(value):
    """Three digits, as a person would write them."""
    if value >= 1000:
        return f"{value:,.0f}"
    if value >= 100:
        return f"{value:.0f}"
    if value >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def time_text(microseconds):
    if microseconds >= 1e6:
        return f"{short(microseconds / 1e6)} s"
    if microseconds >= 1e3:
        return f"{short(microseconds / 1e3)} ms"
    return f"{short(microseconds)} µs"


def count_text(value):
    if value >= 1e6:
        return f"{short(value / 1e6)} M"
    return f"{short(value / 1e3)} k" if value >= 1e4 else f"{value:,.0f}"


def bytes_text(value):
    return f"{value / 1048576:.1f} MiB" if value >= 1e6 else f"{value:,.0f} B"


def ratio_text(value):
    return "–" if value is None else f"{short(value)}×"


BASES = ("epoll", "uws", "ws", "nginx")


def row(results, name, scenario, rival, bases):
    found = figures(results, name, rival)
    title = results[name]["rivals"][rival]["title"]
    if not found:
        reason = results[name]["rivals"][rival].get("failure", "no figure")
        return f"| {title} | – {reason} |"
    values = [it["figure"] for it in found.values()]
    middle = lambda key: median(it["details"][key] for it in found.values())
    text = bytes_text if scenario.unit == "connection" else lambda it: f"{short(it)} µs"
    cells = [title, text(median(values)), f"{text(min(values))} to {text(max(values))}"]
    cells += [ratio_text(ratio(results, name, rival, base)) for base in bases]
    if scenario.unit == "connection":
        cells += [bytes_text(middle(key)) for key in ("before", "loaded", "after")]
    else:
        rate = count_text(middle("rate")) + ("\\*" if middle("load_share") > 0.9 else "")
        cells += [rate, time_text(middle("p50")), time_text(middle("p99"))]
    return "| " + " | ".join(cells) + " |"


def compared(results, scenarios):
    """One table for each scenario."""
    blocks = []
    for name, result in results.items():
        scenario = scenarios[name]
        bases = [it for it in BASES if figures(results, name, it)]
        if scenario.unit == "connection":
            head = ["server", "for each connection", "from, to"]
            tail = ["before", "open", "after all left"]
            bases = [it for it in bases if it in ("ws", "nginx")]
        else:
            head = ["server", f"CPU for each {scenario.unit}", "from, to"]
            tail = ["per second", "p50", "p99"]
        columns = head + [f"to {base}" for base in bases] + tail
        lines = [f"**{scenario.title}**", ""]
        lines.append("| " + " | ".join(columns) + " |")
        lines.append("|" + "---|" * len(columns))
        lines += [row(results, name, scenario, rival, bases) for rival in result["rivals"]]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def targets(results, scenarios):
    """How Roomwire stands to its targets, most of which are multiples of another server's figure. Where
    that is not there, nothing is claimed."""
    lines = ["| scenario | Roomwire's figure to | | target | |", "|---|---|---|---|---|"]
    for name in results:
        target, base = scenarios[name].target, scenarios[name].base
        ours = next((it for it in ("roomwire", "embedded") if it in results[name]["rivals"]), None)
        value = ratio(results, name, ours, base)
        if target is not None and value is not None:
            verdict = "met" if value <= target else "**above**"
            lines.append(f"| {name} | {base} | {ratio_text(value)} | at most {target}× | {verdict} |")
    lines += memory_targets(results, scenarios)
    return "\n".join(lines) if len(lines) > 2 else ""


def memory_targets(results, scenarios):
    """What idle connections may cost stands for itself."""
    stands_alone = "idle" in results and scenarios["idle"].target is None
    found = figures(results, "idle", "roomwire").values() if stands_alone else []
    if not found:
        return []
    each = median(it["figure"] for it in found)
    kept = median(it["details"]["after"] / it["details"]["before"] - 1 for it in found)
    verdict = lambda holds: "met" if holds else "**above**"
    return [
        f"| idle, for each connection | | {each:,.0f} B | at most 1,024 B | {verdict(each <= 1024)} |",
        f"| idle, memory after all left | | {kept:+.0%} | at most +10% | {verdict(kept <= 0.1)} |",
    ]


def summary(kept, scenarios):
    """All servers and scenarios in one table: the figure, and how it stands to uWebSockets or, where
    that did not take part, to the C loop."""
    results, servers = kept["scenarios"], kept["rivals"]
    base = next((it for it in ("uws", "epoll", "nginx") if it in servers), None)
    if len(results) < 2 or base is None:
        return ""
    titles = [servers[name]["title"] for name in servers]
    lines = [f"Server CPU, or memory where it is idle; in brackets the ratio to {servers[base]['title']}:", ""]
    lines += ["| | " + " | ".join(titles) + " |", "|" + "---|" * (len(titles) + 1)]
    for name in results:
        cells = [cell(results, name, scenarios[name], rival, base) for rival in servers]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def cell(results, name, scenario, rival, base):
    values = [it["figure"] for it in figures(results, name, rival).values()]
    if not values:
        return "–"
    text = bytes_text if scenario.unit == "connection" else lambda it: f"{short(it)} µs"
    value = ratio(results, name, rival, base)
    return text(median(values)) + ("" if value is None else f" ({short(value)})")


def machine(kept):
    facts = kept["machine"]
    many = "1 round" if kept["rounds"] == 1 else f"{kept['rounds']} rounds"
    day = date.fromisoformat(kept["date"]).strftime("%-d %B %Y")
    lines = ["| | |", "|---|---|"]
    lines.append(f"| CPU, cores | {facts['cpu']}, {facts['cores']} |")
    lines.append(f"| kernel | {facts['kernel']} |")
    lines.append(f"| Rust | {facts['rust']} |")
    lines.append(f"| date | {day} |")
    lines.append(f"| load average before | {facts['load_average_at_start']:.1f} |")
    lines.append(f"| command | `{kept['command']}`: {many} of {kept['seconds']:g} s |")
    lines += [f"| {it['title']} | {it['version']} |" for it in kept["rivals"].values()]
    lines += [f"| not there: {name} | {reason} |" for name, reason in kept["missing"].items()]
    return "\n".join(lines)


def document(kept, scenarios):
    """All tables of a run, from what is written to its file."""
    blocks = [
        machine(kept),
        targets(kept["scenarios"], scenarios),
        summary(kept, scenarios),
        compared(kept["scenarios"], scenarios),
        *(it["text"] for it in kept["checks"].values()),
    ]
    if any("\\*" in block for block in blocks):
        blocks.append("\\* The load generator had no more than its core: the rate is its own.")
    return "\n\n".join(block for block in blocks if block)
