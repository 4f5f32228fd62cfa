"""nginx and HAProxy, as processes of a test, with the configurations that docs/proxies.md shows."""

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.docs.markdown import blocks
from tests.service import PATIENCE_S, ROOT, wait_until

NAME = "prices.example.com"
"""What the document calls the service."""
PROGRAMS = {"nginx": "/usr/sbin/nginx", "haproxy": "/usr/sbin/haproxy"}

_NGINX = """
daemon off;
pid {directory}/nginx.pid;
user root;
worker_processes 1;
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory}/bodies;
    proxy_temp_path {directory}/answers;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    include {directory}/hft-mmap.conf;
}}
"""
"""What Debian's nginx.conf is beside the file of the document."""


def shown(language: str) -> str:
    """Return the configuration that the document has in this language."""
    (block,) = (block for block in blocks(ROOT / "docs" / "proxies.md") if block.language == language)
    return f"{block.text}\n"


def replaced(text: str, *pairs: tuple[str, str]) -> str:
    """Return `text` with other places in it; each of the old ones must be there."""
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new)
    return text


def missing(program: str) -> str:
    """Return why a proxy can't be started here, or nothing if it can."""
    if not Path(PROGRAMS[program]).exists() and shutil.which(program) is None:
        return f"needs the Debian package {program}"
    return ""


@contextmanager
def proxy(program: str, directory: Path, listener: socket.socket) -> Iterator[int]:
    """Yield the port of a proxy in front of whoever accepts on `listener`, for the name NAME."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    directory.mkdir()
    path = PROGRAMS[program]
    if program == "nginx":
        where = ("/run/hft-mmap/http.sock", listener.getsockname())
        (directory / "hft-mmap.conf").write_text(
            replaced(shown(program), where, ("listen 80", f"listen 127.0.0.1:{port}"))
        )
        (directory / "nginx.conf").write_text(_NGINX.format(directory=directory))
        command = [path, "-p", f"{directory}/", "-c", "nginx.conf", "-e", str(directory / "error.log")]
    else:
        where = ("127.0.0.1:8080", "{}:{}".format(*listener.getsockname()))
        # The first check waits for the service to start, which on a busy machine takes longer than where it is served.
        check = ("timeout check 10s", f"timeout check {PATIENCE_S:.0f}s")
        bind = ("bind :80", f"bind 127.0.0.1:{port}")
        (directory / "haproxy.cfg").write_text(replaced(shown(program), where, bind, check))
        command = [path, "-db", "-f", str(directory / "haproxy.cfg")]
    with (directory / "said").open("w") as said, subprocess.Popen(command, stdout=said, stderr=said) as process:
        try:
            wait_until(lambda: process.poll() is not None or _listens(port), f"{program} to listen")
            assert process.poll() is None, (directory / "said").read_text()
            yield port
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


def _listens(port: int) -> bool:
    with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S):
        return True
    return False
