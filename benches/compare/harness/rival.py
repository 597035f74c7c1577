"""The servers: how each is installed, started and spoken to.

Whatever cannot be had on this machine raises Missing with a reason; the run goes on without it.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from .place import HERE, INSTALLED, REPOSITORY, output_of, tell


class Missing(Exception):
    """Why a server cannot take part."""


@dataclass
class Options:
    """What the command line says about servers."""

    roomwire: Path = None
    uws: Path = None
    embedded: Path = None
    hyper: Path = None


@dataclass
class Rival:
    """A server that is there. `command` takes a port and what is asked of the server."""

    name: str
    title: str
    version: str
    command: object
    protocol: str = "raw"
    paths: dict = field(default_factory=lambda: {"echo": "/echo", "room": "/room"})
    compresses: bool = False
    # Files that a server on this port may leave behind.
    leaves: object = lambda port: ()


def run(what, *command, cwd=None, env=None):
    """Runs one step of an installation; its output is told only when it fails."""
    tell(f"  {what}")
    environment = {**os.environ, **(env or {})}
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=environment, capture_output=True, text=True
    )
    if done.returncode != 0:
        end = (done.stderr or done.stdout).strip().splitlines()[-5:]
        raise Missing(f"{what} failed: " + " / ".join(end))


def need(program, why):
    found = shutil.which(program)
    if not found:
        raise Missing(f"there is no `{program}` here ({why})")
    return found


def build_roomwire(options):
    """The gateway that is measured, which is the load generator as well."""
    binary = options.roomwire or build_ours("-p", "roomwire") / "roomwire"
    if not os.access(binary, os.X_OK):
        raise Missing(f"{binary} is no program")
    return binary.resolve()


def build_roomwire_example(name):
    return build_ours("-p", "roomwire-examples", "--example", name) / "examples" / name


def build_ours(*what):
    """Builds something of this repository, and gives where it lies."""
    need("cargo", "it builds the gateway")
    words = ["build", "--release", "--locked", *what]
    run("cargo " + " ".join(words), "cargo", *words, cwd=REPOSITORY)
    metadata = subprocess.run(
        ["cargo", "metadata", "--format-version", "1", "--no-deps", "--locked"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    return Path(json.loads(metadata.stdout)["target_directory"]) / "release"


CONFIGURATION = """\
[gateway]
workers = {workers}
instance = "compare-{port}"
data_dir = "{data}"

[rooms]
slow = "{slow}"
{more}
[[listener]]
name = "http"
protocol = "http"
bind = "127.0.0.1:{port}"
handler = "http"
"""


def roomwire(options):
    binary = build_roomwire(options)
    version = output_of(str(binary), "--version") or ""
    if options.roomwire is None:
        version = output_of("git", "-C", str(REPOSITORY), "describe", "--always", "--dirty") or version
    INSTALLED.mkdir(exist_ok=True)

    def command(port, deflate=False, workers=1, slow="disconnect", more=""):
        # Whether compression is agreed on is the gateway's own choice; the client's offer decides.
        text = CONFIGURATION.format(
            workers=workers,
            port=port,
            data=INSTALLED / "data",
            slow=slow,
            more=more,
        )
        path = INSTALLED / f"roomwire-{port}.toml"
        path.write_text(text)
        return [str(binary), "serve", "--config", str(path)]

    return Rival(
        name="roomwire",
        title="Roomwire",
        version=version,
        command=command,
        protocol="roomwire",
        paths={"echo": "/echo", "room": "/ws"},
        compresses=True,
        leaves=lambda port: (
            INSTALLED / f"roomwire-{port}.toml",
            Path(f"/dev/shm/roomwire.compare-{port}"),
        ),
    )


def epoll(_options):
    compiler = shutil.which("cc") or need("gcc", "it compiles c/epoll_ws.c")
    INSTALLED.mkdir(exist_ok=True)
    binary = INSTALLED / "epoll_ws"
    run("cc -O3 c/epoll_ws.c", compiler, "-O3", "-o", binary, HERE / "c" / "epoll_ws.c")
    return Rival(
        name="epoll",
        title="C epoll loop",
        version=output_of(compiler, "--version") or "",
        command=lambda port, deflate=False: [str(binary), str(port)],
    )


def uws(options):
    if options.uws is None:
        raise Missing("no registry has it; uws/server.cpp says how to build it, for --uws PATH")
    binary = options.uws.resolve()
    if not os.access(binary, os.X_OK):
        raise Missing(f"{options.uws} is no program")
    return Rival(
        name="uws",
        title="uWebSockets",
        version="built by hand",
        command=lambda port, deflate=False: [str(binary), str(port)] + ["deflate"] * deflate,
        compresses=True,
    )


NODE_DIRECTORY = HERE / "node"
npm_is_done = False


def install_npm():
    global npm_is_done
    need("npm", "it installs ws, socket.io and bun")
    if not npm_is_done:
        run("npm ci", "npm", "ci", "--no-audit", "--no-fund", cwd=NODE_DIRECTORY)
        npm_is_done = True


def version_of(package):
    text = (NODE_DIRECTORY / "node_modules" / package / "package.json").read_text()
    return json.loads(text)["version"]


def ws(_options):
    node = need("node", "ws runs on it")
    install_npm()
    script = str(NODE_DIRECTORY / "ws.js")
    return Rival(
        name="ws",
        title="ws (Node.js)",
        version=f"{version_of('ws')}, Node.js {output_of(node, '--version')}",
        command=lambda port, deflate=False: [node, script, str(port)] + ["deflate"] * deflate,
        compresses=True,
    )


def socketio(_options):
    node = need("node", "Socket.IO runs on it")
    install_npm()
    script = str(NODE_DIRECTORY / "socketio.js")
    path = "/socket.io/?EIO=4&transport=websocket"
    return Rival(
        name="socketio",
        title="Socket.IO",
        version=f"{version_of('socket.io')}, Node.js {output_of(node, '--version')}",
        command=lambda port, deflate=False: [node, script, str(port)] + ["deflate"] * deflate,
        protocol="socketio",
        paths={"echo": path, "room": path},
        compresses=True,
    )


def bun(_options):
    install_npm()
    binary = str(NODE_DIRECTORY / "node_modules" / ".bin" / "bun")
    version = output_of(binary, "--version")
    if version is None:
        raise Missing("npm installed no program for this system")
    script = str(NODE_DIRECTORY / "bun.js")
    return Rival(
        name="bun",
        title="Bun",
        version=version,
        command=lambda port, deflate=False: [binary, script, str(port)] + ["deflate"] * deflate,
        compresses=True,
    )


def socketify(_options):
    directory = INSTALLED / "python"
    python = directory / "bin" / "python"
    if not python.exists():
        run("python -m venv", sys.executable, "-m", "venv", directory)
    requirements = HERE / "python" / "requirements.txt"
    run("pip install socketify", python, "-m", "pip", "install", "-q", "-r", requirements)
    check = subprocess.run([python, "-c", "import socketify"], capture_output=True, text=True)
    if check.returncode != 0:
        if "libuv.so.1" in check.stderr:
            raise Missing("it needs libuv.so.1 (on Debian: apt install libuv1)")
        raise Missing(check.stderr.strip().splitlines()[-1])
    version = requirements.read_text().strip().partition("==")[2]
    script = str(HERE / "python" / "server.py")
    return Rival(
        name="socketify",
        title="socketify (Python, uWebSockets)",
        version=version,
        command=lambda port, deflate=False: [str(python), script, str(port)]
        + ["deflate"] * deflate,
        compresses=True,
    )


def build_rust(package):
    need("cargo", "it builds the Rust servers")
    manifest = HERE / "rust" / "Cargo.toml"
    target = INSTALLED / "rust"
    build = ["build", "--release", "--locked", "-p", package, "--manifest-path", manifest]
    run(f"cargo build -p {package}", "cargo", *build, env={"CARGO_TARGET_DIR": str(target)})
    return str(target / "release" / package)


def version_in_lock(package):
    lock = (HERE / "rust" / "Cargo.lock").read_text()
    return lock.partition(f'name = "{package}"\nversion = "')[2].partition('"')[0]


def rust(package, title, depends):
    def install(_options):
        binary = build_rust(package)
        version = version_in_lock(depends)
        name = package.removeprefix("compare-")
        command = lambda port, deflate=False: [binary, str(port)]
        return Rival(name=name, title=title, version=version, command=command)

    return install


# In the order of the tables: the yardsticks first.
RIVALS = {
    "epoll": epoll,
    "uws": uws,
    "roomwire": roomwire,
    "bun": bun,
    "socketify": socketify,
    "fastwebsockets": rust("compare-fastwebsockets", "fastwebsockets", "fastwebsockets"),
    "naive": rust("compare-naive", "tokio-tungstenite, a task each", "tokio-tungstenite"),
    "ws": ws,
    "socketio": socketio,
}


def install(names, options):
    """The rivals of these names that can be had, and why the others cannot."""
    present, missing = [], {}
    for name in names:
        tell(f"installing {name}")
        try:
            present.append(RIVALS[name](options))
        except Missing as reason:
            missing[name] = str(reason)
            tell(f"SKIPPED {name}: {reason}")
    return present, missing
