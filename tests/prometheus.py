"""A real Prometheus over samples of a test, where Debian's package is installed."""

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.service import PATIENCE_S, wait_until

PROGRAMS = ("prometheus", "promtool")
Samples = Mapping[tuple[str, str], Sequence[tuple[int, float]]]
"""By metric and symbol: times in milliseconds, and values."""
_LISTENS = re.compile(r'msg="Listening on" address=(\S+)')


def is_installed() -> bool:
    """Say whether there is one."""
    return all(shutil.which(program) for program in PROGRAMS)


def is_exact(time_ms: int) -> bool:
    """Say whether promtool reads this time back as it is written: it cuts seconds times a thousand."""
    return int(float(_seconds(time_ms)) * 1000) == time_ms


def _seconds(time_ms: int) -> str:
    return f"{time_ms // 1000}.{time_ms % 1000:03d}"


def openmetrics(samples: Samples) -> str:
    """Return samples as promtool reads them."""
    lines = []
    for metric in dict.fromkeys(metric for metric, _ in samples):
        lines.append(f"# TYPE {metric} gauge")
        for (name, symbol), points in samples.items():
            if name == metric:
                lines += [f'{metric}{{symbol="{symbol}"}} {value!r} {_seconds(time)}' for time, value in points]
    return "\n".join([*lines, "# EOF", ""])


@contextmanager
def running_prometheus(directory: Path, samples: Samples) -> Iterator[httpx.Client]:
    """Yield a client of a Prometheus that has `samples`, and ends with the block."""
    text, config, log = directory / "samples", directory / "prometheus.yml", directory / "log"
    text.write_text(openmetrics(samples))
    config.write_text("")
    blocks = ["promtool", "tsdb", "create-blocks-from", "openmetrics", str(text), str(directory / "blocks")]
    subprocess.run(blocks, check=True, capture_output=True, timeout=PATIENCE_S)
    command = [
        "prometheus", f"--config.file={config}", f"--storage.tsdb.path={directory / 'blocks'}",
        "--storage.tsdb.retention.time=100y", "--web.listen-address=127.0.0.1:0",
    ]  # fmt: skip
    with log.open("w") as errors, subprocess.Popen(command, stdout=errors, stderr=errors, cwd=directory) as process:
        try:
            wait_until(lambda: _LISTENS.search(log.read_text()) or process.poll() is not None, "Prometheus")
            found = _LISTENS.search(log.read_text())
            assert found is not None, log.read_text()
            with httpx.Client(base_url=f"http://{found[1]}", timeout=PATIENCE_S) as client:
                wait_until(lambda: client.get("/-/ready").is_success, "Prometheus to be ready")
                yield client
        finally:
            process.terminate()
            process.wait(PATIENCE_S)
