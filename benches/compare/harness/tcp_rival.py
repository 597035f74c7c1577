"""Servers and proxies of TCP: how each is installed and started.

Echoes answer on one port. A proxy stands before an echo of its own, the C loop, which runs beside the
load and is not what is measured.
"""

import os
import shutil
from dataclasses import dataclass
from functools import lru_cache

from .place import HERE, INSTALLED, output_of, tell
from .rival import Missing, build_roomwire, need, run


@dataclass
class TcpRival:
    """A server that is there. `command` takes a port and, for a proxy, the upstream's."""

    name: str
    title: str
    version: str
    command: object
    # Of "echo" and "proxy".
    roles: tuple
    leaves: object = lambda port: ()


def written(name, port, text):
    INSTALLED.mkdir(exist_ok=True)
    path = INSTALLED / f"{name}-{port}.conf"
    path.write_text(text)
    return path


def configured(name, port):
    return (INSTALLED / f"{name}-{port}.conf",)


@lru_cache(None)
def build_epoll():
    compiler = shutil.which("cc") or need("gcc", "it compiles c/epoll_tcp.c")
    INSTALLED.mkdir(exist_ok=True)
    binary = INSTALLED / "epoll_tcp"
    run("cc -O3 c/epoll_tcp.c", compiler, "-O3", "-o", binary, HERE / "c" / "epoll_tcp.c")
    return compiler, binary


def epoll(_options):
    compiler, binary = build_epoll()
    command = lambda port, upstream=None: [str(binary), str(port)]
    version = output_of(compiler, "--version") or ""
    return TcpRival("epoll", "C epoll loop", version, command, ("echo",))


CONFIGURATION = """\
[gateway]
workers = 1
instance = "compare-{port}"
page = false

[[listener]]
name = "tcp"
protocol = "tcp"
bind = "127.0.0.1:{port}"
{more}
"""


def roomwire(options):
    binary = build_roomwire(options)

    def command(port, upstream=None):
        more = 'handler = "echo"'
        if upstream is not None:
            more = f'handler = "proxy"\nproxy.upstreams = ["127.0.0.1:{upstream}"]'
        path = written("roomwire", port, CONFIGURATION.format(port=port, more=more))
        return [str(binary), "serve", "--config", str(path)]

    version = output_of(str(binary), "--version") or ""
    leaves = lambda port: configured("roomwire", port)
    return TcpRival("roomwire", "Roomwire", version, command, ("echo", "proxy"), leaves)


HAPROXY = """\
global
    nbthread 1
    maxconn 4000
defaults
    mode tcp
    timeout connect 5s
    timeout client 60s
    timeout server 60s
{splice}listen door
    bind 127.0.0.1:{port}
    server echo 127.0.0.1:{upstream}
"""


def haproxy(name, title, splice):
    def install(_options):
        binary = need("haproxy", "on Debian: apt install haproxy")

        def command(port, upstream=None):
            text = HAPROXY.format(port=port, upstream=upstream, splice=splice)
            return [binary, "-db", "-q", "-f", str(written(name, port, text))]

        version = output_of(binary, "-v") or ""
        return TcpRival(name, title, version, command, ("proxy",), lambda it: configured(name, it))

    return install


NGINX = """\
daemon off;
master_process off;
worker_processes 1;
{load}
pid {installed}/nginx-{port}.pid;
error_log stderr crit;
events {{ worker_connections 20000; }}
stream {{
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        tcp_nodelay on;
        proxy_pass 127.0.0.1:{upstream};
    }}
}}
"""


def nginx(_options):
    binary = need("nginx", "on Debian: apt install nginx libnginx-mod-stream")
    module = "/usr/lib/nginx/modules/ngx_stream_module.so"
    load = f"load_module {module};" if os.path.exists(module) else ""

    def command(port, upstream=None):
        text = NGINX.format(installed=INSTALLED, port=port, upstream=upstream, load=load)
        return [binary, "-p", str(INSTALLED), "-c", str(written("nginx", port, text))]

    version = (output_of(binary, "-v") or "").rpartition("/")[2]
    leaves = lambda port: (*configured("nginx", port), INSTALLED / f"nginx-{port}.pid")
    return TcpRival("nginx", "nginx, stream", version, command, ("proxy",), leaves)


def socat(_options):
    binary = need("socat", "on Debian: apt install socat")

    def command(port, upstream=None):
        door = f"TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork,backlog=4096,nodelay"
        to = "PIPE" if upstream is None else f"TCP:127.0.0.1:{upstream},nodelay"
        return [binary, door, to]

    version = output_of(binary, "-V") or ""
    return TcpRival("socat", "socat, a process each", version, command, ("echo", "proxy"))


# In the order of the tables: the yardsticks first.
RIVALS = {
    "epoll": epoll,
    "haproxy": haproxy("haproxy", "HAProxy", ""),
    "haproxy-splice": haproxy("haproxy-splice", "HAProxy, splicing", "    option splice-auto\n"),
    "roomwire": roomwire,
    "nginx": nginx,
    "socat": socat,
}


def install(names, options):
    """The servers of these names that can be had, and why the others cannot."""
    present, missing = [], {}
    for name in names:
        tell(f"installing {name}")
        try:
            present.append(RIVALS[name](options))
        except Missing as reason:
            missing[name] = str(reason)
            tell(f"SKIPPED {name}: {reason}")
    return present, missing
