#!/usr/bin/env python3
"""Reads a gateway's counter page, with nothing but Python's standard library.

The page is a file in shared memory; docs/counter-page.md describes it, and this program is written
from that description alone. It never writes, and the gateway does not notice it. With --json it
prints what `roomwire stats --json` prints, byte for byte.

    python3 read_counters.py                        the gateway called "default"
    python3 read_counters.py --instance edge --all  another one, also what is zero
    python3 read_counters.py --page FILE --json     any page, as one line of JSON
    python3 read_counters.py --watch 1              once a second, following restarts

Exit codes: 0 read, 1 there is no page that this program understands, 2 usage.
"""

import argparse
import fcntl
import json
import math
import mmap
import os
import re
import stat
import sys
import tempfile
import time

MAGIC = b"roomwire"
LAYOUT_VERSION = 1
HEADER_BYTES = 512
WORD = 8
MAX_PAGE_BYTES = 256 << 20
MAX_LANES = 1025
MAX_ROWS = 4096
MAX_BLOCKS = 1024
LABEL_BYTES = 256
BLOCK_KINDS = {1: "listener", 2: "rooms", 3: "room"}

# The scale of histograms that the arithmetic below is made for.
SUB_BITS = 5
EXPONENT = 36
SUB_BUCKETS = 1 << SUB_BITS
BUCKETS = (EXPONENT - SUB_BITS + 1) * SUB_BUCKETS
FIRST_BUCKET = 8
SLOTS = {"counter": 1, "gauge": 1, "high": 1, "histogram": FIRST_BUCKET + BUCKETS}

STALLED_AFTER_MS = 5_000
PHASES = {0: "starting", 1: "running", 3: "stopped"}

ROLE_WORKER = 1
# How often a block that is being changed is read again.
TRIES = 100
NAME = re.compile(r"[a-z](?:_?[a-z0-9])*")
UNIT = re.compile(r"[a-z]+")
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class PageError(Exception):
    """What is wrong with a page, and what to do."""


def require(condition, what):
    if not condition:
        raise PageError(f"the counter page is damaged ({what}): a restart of the gateway replaces it")


def fnv1a(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value


def default_path(instance):
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "_" for c in instance)
    directory = "/dev/shm" if sys.platform == "linux" else tempfile.gettempdir()
    return os.path.join(directory, f"roomwire.{safe}")


class Page:
    """A page that was checked. Every place it names lies inside of it."""

    def __init__(self, path):
        self.path = path
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            self.file = os.open(path, flags)
        except FileNotFoundError:
            raise PageError("there is no counter page here: is a gateway running?") from None
        except OSError as error:
            raise PageError(f"the counter page cannot be opened: {error.strerror}") from None
        try:
            self._open()
        except BaseException:
            os.close(self.file)
            raise

    def _open(self):
        found = os.fstat(self.file)
        if not stat.S_ISREG(found.st_mode):
            raise PageError("this is not a regular file")
        self.identity = (found.st_dev, found.st_ino)
        self.bytes = found.st_size
        if self.bytes < HEADER_BYTES:
            raise PageError(f"{self.bytes} bytes are too short for a counter page")
        if self.bytes > MAX_PAGE_BYTES:
            raise PageError("this is not a counter page")
        self.map = mmap.mmap(self.file, self.bytes, access=mmap.ACCESS_READ)
        # Whole words only: an aligned load of eight bytes is never torn.
        self.words = memoryview(self.map)[: self.bytes // WORD * WORD].cast("Q")
        self._check_header()
        self.rows = self._read_catalogue()
        self.block_count, self.block_rows = 0, []
        if self.words[17] != 0:
            self._check_blocks()
        self.fixed = bytes(self.map[:256])

    def _check_header(self):
        words = self.words
        if self.map[:8] != MAGIC:
            raise PageError("this is not a counter page")
        version = words[1]
        if version == int.from_bytes(LAYOUT_VERSION.to_bytes(8, "little"), "big"):
            raise PageError("this page is from a machine of another byte order: read it there")
        if version != LAYOUT_VERSION:
            raise PageError(f"this page has layout {version}, and this program knows {LAYOUT_VERSION}")
        require(words[2] >= HEADER_BYTES, "the header's length")
        if words[3] > self.bytes:
            raise PageError(f"this page is cut off: {self.bytes} of {words[3]} bytes are there")
        require(words[3] >= words[2], "the page's length")
        require((words[13], words[14]) == (SUB_BITS, EXPONENT), "the scale of its histograms")

        self.lane_count, self.lane_slots = words[9], words[11]
        require(1 <= self.lane_count <= MAX_LANES, "the number of lanes")
        first, stride, header = (self._place(words[at], "a lane") for at in (8, 10, 12))
        require(first >= HEADER_BYTES // WORD and header > 2, "the place of the lanes")
        require(header + self.lane_slots <= stride, "the number of slots")
        require(first + self.lane_count * stride <= self.bytes // WORD, "the lanes do not fit")
        self.lanes = [first + lane * stride for lane in range(self.lane_count)]
        self.slots = [lane + header for lane in self.lanes]
        self.instance, self.version = self._name(384), self._name(448)

    def _place(self, value, what):
        require(value % WORD == 0 and value <= self.bytes, f"the place of {what}")
        return value // WORD

    def _name(self, offset):
        text = self._text(self.map[offset : offset + 64].split(b"\0")[0], "a name")
        require(not CONTROL.search(text), "a name")
        return text

    @staticmethod
    def _text(data, what):
        try:
            return data.decode()
        except UnicodeDecodeError:
            require(False, f"{what} is not UTF-8")

    def _read_catalogue(self):
        words = self.words
        rows = [self._read_line(line) for line in self._lines(words[5], words[6], words[7], words[4])]
        require(len({row["name"] for row in rows}) == len(rows), "a name is there twice")
        return rows

    def _lines(self, offset, length, count, seal):
        """The lines of a catalogue, which its hash seals."""
        require(offset % WORD == 0 and HEADER_BYTES <= offset <= self.bytes, "a catalogue's place")
        require(length <= self.bytes - offset, "a catalogue's length")
        data = self.map[offset : offset + length]
        require(fnv1a(data) == seal, "a catalogue's hash")
        lines = self._text(data, "a catalogue").removesuffix("\n").split("\n")
        require(len(lines) == count <= MAX_ROWS, "a catalogue's number of lines")
        return lines

    def _read_line(self, line):
        columns = line.split("\t")
        require(len(columns) >= 7, "a column is missing")
        name, kind, unit, level, slot, slots, meaning = columns[:7]
        require(NAME.fullmatch(name) and UNIT.fullmatch(unit), f"a name or unit: {name!r}")
        require(kind in SLOTS and level in ("info", "diag", "debug"), f"the kind or level of {name}")
        require(slot.isdecimal() and slots == str(SLOTS[kind]), f"the slots of {name}")
        require(int(slot) + SLOTS[kind] <= self.lane_slots, f"the slots of {name}")
        require(not CONTROL.search(meaning), f"the help of {name}")
        return dict(name=name, kind=kind, unit=unit, level=level, slot=int(slot), help=meaning)

    def _check_blocks(self):
        words = self.words
        self.block_count, self.block_slots = words[18], words[28]
        require(self.block_count <= MAX_BLOCKS, "the number of blocks")
        places = (self._place(words[at], "a block") for at in (17, 19, 27))
        self.first_block, self.block_stride, self.block_header = places
        require(self.first_block >= HEADER_BYTES // WORD, "the place of the blocks")
        require(self.block_header >= 8 + LABEL_BYTES // WORD, "the length of a block's header")
        parts = self.block_header + self.lane_count * self.block_slots
        require(parts <= self.block_stride, "the number of a block's slots")
        end = self.first_block + self.block_count * self.block_stride
        require(end <= self.bytes // WORD, "the blocks do not fit")
        rows = map(self._read_block_line, self._lines(words[23], words[24], words[25], words[26]))
        self.block_rows = [row for row in rows if row["block"] in BLOCK_KINDS.values()]

    def _read_block_line(self, line):
        columns = line.split("\t")
        require(len(columns) >= 7, "a column is missing")
        block, name, kind, _unit, _level, slot, _meaning = columns[:7]
        require(NAME.fullmatch(name) and kind in ("counter", "gauge", "high"), f"a name: {name!r}")
        require(slot.isdecimal() and int(slot) < self.block_slots, f"the slot of {name}")
        return dict(block=block, name=name, kind=kind, slot=int(slot))

    def check_still_there(self):
        """To be called before each round of reading.

        Loads from beyond the end of a file end this process with SIGBUS, so its length comes first.
        """
        if os.fstat(self.file).st_size < self.bytes:
            raise PageError("this page was cut off while it was read")
        if self.map[:256] != self.fixed:
            raise PageError("this page was overwritten while it was read")

    def is_replaced(self):
        """Whether the gateway was started again: the new one has made a new file."""
        try:
            found = os.stat(self.path, follow_symlinks=False)
        except OSError:
            return True
        return (found.st_dev, found.st_ino) != self.identity

    def is_alive(self):
        """Whether the gateway's process lives: it holds a lock that the kernel takes away."""
        try:
            fcntl.flock(self.file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        fcntl.flock(self.file, fcntl.LOCK_UN)
        return False

    def state(self, now_ms):
        phase = PHASES.get(self.words[33], "draining")
        if phase == "stopped":
            return "stopped"
        if not self.is_alive():
            return "dead"
        if now_ms - self.words[32] > STALLED_AFTER_MS:
            return "stalled"
        return phase

    def snapshot(self):
        self.check_still_there()
        words = self.words
        state = self.state(time.time_ns() // 1_000_000)
        return {
            "instance": self.instance,
            "pid": words[20],
            "version": self.version,
            "state": state,
            "ready": words[34] == 1,
            "start_unix_ms": words[21],
            "since_unix_ms": words[22],
            "heartbeat_unix_ms": words[32],
            "workers": self.lane_count - 1,
            "counters": {row["name"]: self._figure(row) for row in self.rows},
            "blocks": [block for block in map(self._block, range(self.block_count)) if block],
        }

    def _block(self, number):
        """A labelled block, or None for one that is free, of an unknown kind or never at rest.

        The labels of the busiest rooms change while they are read. Each change makes the version
        odd, and even again when it is done: with the same even version before and after, what was
        read in between belongs together.
        """
        words = self.words
        first = self.first_block + number * self.block_stride
        for _ in range(TRIES):
            version, kind = words[first + 2], BLOCK_KINDS.get(words[first])
            label = self.map[(first + 8) * WORD : (first + 8) * WORD + LABEL_BYTES]
            rows = [row for row in self.block_rows if row["block"] == kind]
            figures = {row["name"]: self._block_figure(first, row) for row in rows}
            others = words[first + 1] == 1
            if version % 2 == 0 and words[first + 2] == version:
                break
        else:
            return None
        try:
            label = label.split(b"\0")[0].decode()
        except UnicodeDecodeError:
            return None
        if kind is None or CONTROL.search(label):
            return None
        return {"kind": kind, "label": label, "others": others, "figures": figures}

    def _block_figure(self, first, row):
        at = first + self.block_header + row["slot"]
        parts = [self.words[at + lane * self.block_slots] for lane in range(self.lane_count)]
        if row["kind"] == "high":
            return max(parts)
        value = sum(parts) % 2**64
        return at_least_zero(value) if row["kind"] == "gauge" else value

    def _figure(self, row):
        figure = {key: row[key] for key in ("kind", "unit", "level", "help")}
        first = [lane + row["slot"] for lane in self.slots]
        if row["kind"] == "histogram":
            per_lane = self._read_histogram(first, figure)
        else:
            per_lane = [self.words[at] for at in first]
            if row["kind"] == "high":
                figure["value"] = max(per_lane)
            else:
                figure["value"] = sum(per_lane) % 2**64
            if row["kind"] == "gauge":
                # Signed; below zero is one lane's publication ahead of another's.
                figure["value"] = at_least_zero(figure["value"])
                per_lane = [at_least_zero(part) for part in per_lane]
        is_worker = [self.words[lane] == ROLE_WORKER for lane in self.lanes]
        figure["per_worker"] = [part for part, own in zip(per_lane, is_worker) if own]
        figure["shared"] = sum(part for part, own in zip(per_lane, is_worker) if not own) % 2**64
        return figure

    def _read_histogram(self, first, figure):
        parts = [self.words[at + FIRST_BUCKET : at + FIRST_BUCKET + BUCKETS].tolist() for at in first]
        buckets = [sum(values) % 2**64 for values in zip(*parts)]
        largest = max(self.words[at + 2] for at in first)
        figure["value"] = sum(buckets)
        figure["sum"] = sum(self.words[at + 1] for at in first) % 2**64
        figure["max"] = largest
        for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)):
            figure[name] = quantile(buckets, largest, share)
        return [sum(part) % 2**64 for part in parts]


def at_least_zero(word):
    return 0 if word >= 2**63 else word


def bounds(bucket):
    """The smallest and the largest value of a bucket."""
    if bucket < SUB_BUCKETS:
        return bucket, bucket
    octave = bucket // SUB_BUCKETS - 1
    low = (SUB_BUCKETS + bucket % SUB_BUCKETS) << octave
    return low, low + (1 << octave) - 1


def quantile(buckets, largest, share):
    """The value at or below which this share of all values lies, within 1.6 %; 0 without values."""
    rank = max(math.ceil(sum(buckets) * share), 1)
    below = 0
    for bucket, values in enumerate(buckets):
        below += values
        if below >= rank:
            if bucket == BUCKETS - 1 and largest >= 1 << EXPONENT:
                return largest
            low, high = bounds(bucket)
            middle = low + (high - low) // 2
            return min(middle, largest) if largest >= low else middle
    return 0


def as_json(snapshot):
    return json.dumps(snapshot, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def as_text(snapshot, everything):
    lines = ["{instance} (pid {pid}, version {version}, {workers} workers) {state}".format(**snapshot)]
    for name, figure in snapshot["counters"].items():
        if not everything and figure["value"] == 0:
            continue
        value = f"{figure['value']:,}"
        if figure["kind"] == "histogram":
            value = "p50 {p50:,}  p99 {p99:,}  max {max:,}".format(**figure)
        lines.append(f"{name:40} {value:>30} {figure['unit']}")
    for block in snapshot["blocks"]:
        shown = {name: value for name, value in block["figures"].items() if value or everything}
        if shown:
            figures = "  ".join(f"{name} {value:,}" for name, value in shown.items())
            lines.append(f"{block['kind']} {block['label']}: {figures}")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description="Reads a gateway's counter page.")
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--instance", default="default", help="the gateway's name")
    place.add_argument("--page", help="the page itself")
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    parser.add_argument("--all", action="store_true", help="also figures that are zero")
    parser.add_argument("--watch", type=float, metavar="SECONDS", help="go on until interrupted")
    arguments = parser.parse_args()
    path = arguments.page or default_path(arguments.instance)
    try:
        page = Page(path)
        while True:
            snapshot = page.snapshot()
            print(as_json(snapshot) if arguments.json else as_text(snapshot, arguments.all), flush=True)
            if arguments.watch is None:
                return 0
            time.sleep(max(arguments.watch, 0.05))
            if page.is_replaced():
                page = Page(path)
    except PageError as error:
        print(f"{path}: {error}", file=sys.stderr)
        return 1
    except (BrokenPipeError, KeyboardInterrupt):
        # Whoever read this has gone; nothing is left to be flushed to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


if __name__ == "__main__":
    sys.exit(main())
