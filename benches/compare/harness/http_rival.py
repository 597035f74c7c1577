"""Servers of HTTP: how each is installed and started.

All serve the same on one port, in clear or over TLS with the same certificate: `small.txt` of 13 bytes
and `large.txt` of 10 KiB, as files below `/file/` and from memory below `/route/`, where they can.
"""

from dataclasses import dataclass
from pathlib import Path

from .place import INSTALLED, REPOSITORY, output_of, tell
from .rival import Missing, build_roomwire, build_roomwire_example, build_rust, need, run, version_in_lock

SITE = INSTALLED / "site"
CERTIFICATE, KEY = INSTALLED / "server.pem", INSTALLED / "server.key"
SIZES = {"small": b"Hello, World!", "large": b"x" * 10 * 1024}


@dataclass
class HttpRival:
    """A server that is there. `command` takes a port and whether it is to speak TLS."""

    name: str
    title: str
    version: str
    command: object
    # Of "file" and "route".
    sources: tuple = ("file", "route")
    leaves: object = lambda port: ()


def prepare_site():
    """The files, and a certificate that all servers have."""
    SITE.mkdir(parents=True, exist_ok=True)
    (SITE / "file").mkdir(exist_ok=True)
    for name, content in SIZES.items():
        (SITE / "file" / f"{name}.txt").write_bytes(content)
    if not CERTIFICATE.exists():
        openssl = need("openssl", "it makes the certificate")
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
        files = ["-days", "30", "-keyout", KEY, "-out", CERTIFICATE]
        run("openssl req", openssl, "req", "-x509", *curve, *names, *files)
    KEY.chmod(0o600)


def written(name, port, text):
    path = INSTALLED / f"{name}-{port}.conf"
    path.write_text(text)
    return path


NGINX = """\
daemon off;
master_process off;
worker_processes 1;
pid {installed}/nginx-{port}.pid;
error_log stderr crit;
events {{ worker_connections 20000; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000000;
    default_type text/plain;
    client_body_temp_path {installed}/nginx-temp;
    proxy_temp_path {installed}/nginx-temp;
    fastcgi_temp_path {installed}/nginx-temp;
    uwsgi_temp_path {installed}/nginx-temp;
    scgi_temp_path {installed}/nginx-temp;
    ssl_certificate {certificate};
    ssl_certificate_key {key};
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_session_cache shared:sessions:10m;
    server {{
        listen 127.0.0.1:{port}{options} backlog=4096 reuseport;
        root {site};
        set $kibibyte "{kibibyte}";
        location = /route/small.txt {{ return 200 "{small}"; }}
        location = /route/large.txt {{ return 200 "{large}"; }}
    }}
}}
"""


def nginx(_options):
    binary = need("nginx", "on Debian: apt install nginx")
    version = (output_of(binary, "-v") or "").rpartition("/")[2]

    def command(port, tls=False, h2=False):
        options = (" ssl" if tls else "") + (" http2" if h2 else "")
        text = NGINX.format(
            installed=INSTALLED,
            port=port,
            options=options,
            site=SITE,
            certificate=CERTIFICATE,
            key=KEY,
            small=SIZES["small"].decode(),
            # No word of its configuration may have more than 4 KiB.
            kibibyte=SIZES["large"].decode()[:1024],
            large="$kibibyte" * 10,
        )
        return [binary, "-p", str(INSTALLED), "-c", str(written("nginx", port, text))]

    leaves = lambda port: (INSTALLED / f"nginx-{port}.conf", INSTALLED / f"nginx-{port}.pid")
    return HttpRival("nginx", "nginx", version, command, leaves=leaves)


H2O = """\
num-threads: 1
max-connections: 20000
listen:
  host: 127.0.0.1
  port: {port}
{tls}
hosts:
  default:
    paths:
      /: {{ file.dir: {site} }}
"""


def h2o(_options):
    binary = need("h2o", "on Debian: apt install h2o")
    version = (output_of(binary, "--version") or "").rpartition(" ")[2]

    def command(port, tls=False, h2=False):
        tls = f"  ssl: {{ certificate-file: {CERTIFICATE}, key-file: {KEY} }}" if tls else ""
        text = H2O.format(port=port, tls=tls, site=SITE)
        return [binary, "-c", str(written("h2o", port, text))]

    leaves = lambda port: (INSTALLED / f"h2o-{port}.conf",)
    return HttpRival("h2o", "h2o", version, command, sources=("file",), leaves=leaves)


CONFIGURATION = """\
[gateway]
workers = 1
instance = "compare-{port}"
data_dir = "{data}"

[[listener]]
name = "web"
protocol = "{protocol}"
bind = "127.0.0.1:{port}"
handler = "http"
{tls}routes = {{ "/file/" = {{ static = "{site}/file" }} }}
"""


def gateway(name, title, binary, source, *words):
    def command(port, tls=False, h2=False):
        pair = f'certificate = "{CERTIFICATE}"\nkey = "{KEY}"\n' if tls else ""
        text = CONFIGURATION.format(
            port=port,
            data=INSTALLED / "data",
            site=SITE,
            protocol="https" if tls else "http",
            tls=pair,
        )
        return [str(binary), *words, str(written(name, port, text))]

    leaves = lambda port: (
        INSTALLED / f"{name}-{port}.conf",
        Path(f"/dev/shm/roomwire.compare-{port}"),
    )
    version = output_of("git", "-C", str(REPOSITORY), "describe", "--always", "--dirty") or ""
    return HttpRival(name, title, version, command, sources=(source,), leaves=leaves)


def roomwire(options):
    return gateway("roomwire", "Roomwire", build_roomwire(options), "file", "serve", "--config")


def embedded(options):
    """The same gateway in a program whose routes answer."""
    binary = options.embedded or build_roomwire_example("hello")
    return gateway("embedded", "Roomwire, a route of a program", binary, "route")


def hyper(options):
    binary = options.hyper or build_rust("compare-hyper")

    def command(port, tls=False, h2=False):
        return [str(binary), str(port)] + ([str(CERTIFICATE), str(KEY)] if tls else [])

    return HttpRival("hyper", "hyper, hello", version_in_lock("hyper"), command)


# In the order of the tables: the yardstick first.
RIVALS = {
    "nginx": nginx,
    "roomwire": roomwire,
    "embedded": embedded,
    "hyper": hyper,
    "h2o": h2o,
}


def install(names, options):
    """The servers of these names that can be had, and why the others cannot."""
    present, missing = [], {}
    prepare_site()
    for name in names:
        tell(f"installing {name}")
        try:
            present.append(RIVALS[name](options))
        except Missing as reason:
            missing[name] = str(reason)
            tell(f"SKIPPED {name}: {reason}")
    return present, missing
