"""Where things lie, and what this machine is. Everything that is installed or built goes into one
directory that git ignores."""

import os
import platform
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
REPOSITORY = HERE.parent.parent
INSTALLED = HERE / "target"

SERVER_CORE = 0
LOAD_CORE = 1


def tell(text):
    """For the person who waits; what is for programs goes to files and stdout."""
    print(text, file=sys.stderr, flush=True)


def output_of(*command):
    """The first line that a command prints, or None where there is no such command."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    lines = (done.stdout or done.stderr).strip().splitlines()
    return lines[0] if lines else None


def processor():
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def machine():
    return {
        "cpu": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": f"{platform.system()} {platform.release()}",
        "rust": output_of("rustc", "--version"),
        "node": output_of("node", "--version"),
        "load_average_at_start": os.getloadavg()[0],
    }
