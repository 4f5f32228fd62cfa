"""The machine and the software that a result was taken on, stored with each result."""

import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from perf import settings
from perf.lab import ROOT

_LIBRARIES = ("falcon", "httptools", "numba", "numpy", "orjson", "pyperf", "pysimdjson", "uvicorn", "uvloop")
GENERATED = ("perf/results", "perf/profiles", "perf/plots", "perf/**/*.md", "perf/**/*.png")
# What must reach the processes that pyperf starts; it gives them PATH, HOME, PYTHONPATH and little else.
_INHERITED_PREFIXES = ("APP_", "NUMBA_", "HFT_PERF_", "XDG_CACHE_HOME", "UV_", "MALLOC_", "LD_PRELOAD")


def inherited_variables() -> list[str]:
    """Return the names of the environment variables that a worker must get to measure what it says."""
    return sorted(name for name in os.environ if name.startswith(_INHERITED_PREFIXES))


def describe() -> dict[str, str]:
    """Return OS, kernel, CPU, cores, RAM, Python, libraries and commit, each as one text."""
    return {
        "env_os": _os_name(),
        "env_kernel": platform.release(),
        "env_cpu": _first_of("/proc/cpuinfo", "model name") or platform.processor(),
        "env_cores": str(os.cpu_count()),
        "env_ram": _ram(),
        "env_python": f"{platform.python_implementation()} {platform.python_version()}, {python_build()}",
        "env_libraries": " ".join(f"{name}={version(name)}" for name in _LIBRARIES),
        "env_commit": commit(),
        "env_branch": git("rev-parse", "--abbrev-ref", "HEAD") or "-",
    }


def stamp(effort: str) -> dict[str, str]:
    """Return what every result of one run carries: the description, how thoroughly it measures, with what settings."""
    return {**describe(), "env_effort": effort, "env_settings": settings.changed()}


def load_average() -> float:
    """Return how many processes ran or waited for a core in the last minute, on average; ours are among them."""
    return os.getloadavg()[0]


def python_build() -> str:
    """Return whose build of Python this is and how far its compiler optimised it, as far as it says so itself."""
    is_debians = sys.base_prefix == "/usr" and Path("/etc/debian_version").exists()
    whose = "Debian's build" if is_debians else f"built for {sys.base_prefix}"
    flags = str(sysconfig.get_config_var("CFLAGS") or "").split()
    level = next((flag for flag in reversed(flags) if flag.startswith("-O")), "no -O")
    asked = "--enable-optimizations" in str(sysconfig.get_config_var("CONFIG_ARGS"))
    debug = ", a debug build" if sysconfig.get_config_var("Py_DEBUG") else ""
    return f"{whose} ({level}, configured {'with' if asked else 'without'} --enable-optimizations{debug})"


def lines(found: Mapping[str, str]) -> list[str]:
    """Return a description as lines for people."""
    return [f"{key.removeprefix('env_'):10} {value}" for key, value in found.items()]


def rows(found: Mapping[str, object]) -> list[str]:
    """Return what a result says of its environment as rows of a Markdown table."""
    return [f"| {key.removeprefix('env_')} | {value} |" for key, value in found.items() if key.startswith("env_")]


def commit(root: Path = ROOT) -> str:
    """Return the commit of the project, with "+" where files that matter differ from it; "unknown" without git.

    What benchmarks write themselves (results, documents, plots) is no difference.
    """
    revision = git("rev-parse", "--short=12", "HEAD", directory=root)
    if revision is None:
        return "unknown"
    watched = ["hft_mmap", "api", "perf", *(f":(exclude){path}" for path in GENERATED)]
    return revision + ("+" if git("status", "--porcelain", "--", *watched, directory=root) else "")


def git(*args: str, directory: Path = ROOT) -> str | None:
    """Return what `git ARGS` prints, or None if it fails or there is no git."""
    program = shutil.which("git")
    if program is None:
        return None
    done = subprocess.run([program, *args], cwd=directory, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def _os_name() -> str:
    return platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())


def _ram() -> str:
    return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB"


def _first_of(file: str, key: str) -> str:
    """Return the value of the first line `key : value`."""
    for line in Path(file).read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return ""
