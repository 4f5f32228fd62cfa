"""wrk, where it is installed (Debian package wrk): the cheapest generator there is, for the ceiling of throughput."""

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from perf.load import LoadError
from perf.servers import on_cores

_SCRIPT = """
local file = io.open("{file}", "rb")
local body = file:read("*all")
file:close()
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = body
"""


def installed() -> bool:
    """Say whether there is a wrk."""
    return shutil.which("wrk") is not None


def rate(
    url: str, seconds: float, *, body: bytes | None, connections: int, cores: Sequence[int], scratch: Path
) -> float:
    """Return the requests a second of a closed loop with a thread a core: GET, or POST of `body`. LoadError."""
    command = [str(shutil.which("wrk")), f"-t{len(cores)}", f"-c{connections}", f"-d{max(round(seconds), 1)}s"]
    if body is not None:
        (scratch / "body.json").write_bytes(body)
        (scratch / "post.lua").write_text(_SCRIPT.format(file=scratch / "body.json"))
        command += ["-s", str(scratch / "post.lua")]
    with on_cores(cores):
        said = subprocess.run([*command, url], capture_output=True, text=True, check=True).stdout
    found = re.search(r"Requests/sec:\s+([\d.]+)", said)
    if found is None or "Non-2xx" in said or "Socket errors" in said:
        raise LoadError(said)
    return float(found[1])
