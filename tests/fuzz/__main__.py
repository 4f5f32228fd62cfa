"""Run the harnesses under atheris: python -m tests.fuzz SECONDS [NAME …]; the exit code is 1 after a finding.

Each runs in a process of its own: libFuzzer ends the process when its time is over or something was found.
"""

import re
import subprocess
import sys
from pathlib import Path

import atheris

from tests.fuzz.harness import CORPUS, check_of, names

FOUND = Path("build/fuzz")
_INSTRUMENTED = ["api", "hft_mmap"]
# numba reads their code.
_COMPILED = [
    "hft_mmap.tree.buckets",
    "hft_mmap.tree.fold",
    "hft_mmap.tree.kernels",
    "hft_mmap.tree.pointers",
    "hft_mmap.tree.writer",
]
_MAX_BYTES = 4096


def fuzz(name: str, seconds: int) -> None:
    """Fuzz one harness in this process, which ends with it."""
    with atheris.instrument_imports(include=_INSTRUMENTED, exclude=_COMPILED):
        check = check_of(name)
    (FOUND / name).mkdir(parents=True, exist_ok=True)
    options = [
        f"-max_total_time={seconds}", f"-max_len={_MAX_BYTES}", "-timeout=10", "-rss_limit_mb=4096",
        f"-artifact_prefix={FOUND}/{name}-", "-print_final_stats=1",
    ]  # fmt: skip
    atheris.Setup([sys.argv[0], *options, str(FOUND / name), str(CORPUS / name)], check)
    atheris.Fuzz()


def main() -> int:
    """Give each harness its share of the time, one after the other."""
    seconds, *wanted = sys.argv[1:]
    if wanted[:1] == ["--one"]:
        fuzz(wanted[1], int(seconds))
    chosen = wanted or names()
    failed = []
    for name in chosen:
        share = max(int(seconds) // len(chosen), 1)
        command = [sys.executable, "-m", "tests.fuzz", str(share), "--one", name]
        run = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
        done = re.search(r"stat::number_of_executed_units: (\d+)", run.stderr)
        print(f"{name}: {done[1] if done else 'no'} inputs in {share} s, exit code {run.returncode}", flush=True)  # noqa: T201
        if run.returncode:
            failed.append(name)
            print(run.stderr[-4000:])  # noqa: T201
    print(f"fuzz: {len(chosen)} harnesses, {len(failed)} with findings", *failed)  # noqa: T201
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
