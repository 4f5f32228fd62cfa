"""What every harness is made of: a function of bytes that asserts, a corpus to begin with, and two ways to run it.

    make fuzz SECONDS=60                every harness for its share of the time, guided by coverage (atheris, libFuzzer)
    make fuzz SECONDS=60 HARNESS=body   one of them
    tests/fuzz/test_corpus.py           every harness over its corpus, as part of `make test`, without atheris

A harness is a module `tests/fuzz/fuzz_NAME.py` with `check(data: bytes) -> None`; whatever it raises is a finding.
Its corpus is `tests/fuzz/corpus/NAME/`, small files that are kept in git; an input that was once a finding belongs
there too. What the fuzzer itself discovers goes to `build/fuzz/NAME/`, and findings to `build/fuzz/NAME-crash-*`.
"""

import asyncio
import atexit
import importlib
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

HERE = Path(__file__).resolve().parent
CORPUS = HERE / "corpus"

Check = Callable[[bytes], None]
Result = TypeVar("Result")

_runner = asyncio.Runner()
atexit.register(_runner.close)


def run(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Return what `coroutine` does, on one event loop for all inputs."""
    return _runner.run(coroutine)


def names() -> list[str]:
    """Return the names of all harnesses."""
    return sorted(path.stem.removeprefix("fuzz_") for path in HERE.glob("fuzz_*.py"))


def check_of(name: str) -> Check:
    """Return the check of one harness."""
    check: Check = importlib.import_module(f"tests.fuzz.fuzz_{name}").check
    return check


def seeds(name: str) -> list[Path]:
    """Return the files of its corpus."""
    return sorted((CORPUS / name).iterdir())
