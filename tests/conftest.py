"""Fixtures that every part of the tests may use."""

import gc
import os
import sys
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest

from tests.service import Service, running_service
from tests.small_disk import SmallDisk, small_disk

# PERF: where it is set, each of the hundreds of processes that the tests start compiles every module of ours anew, for
# a third of a second.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# PERF: nor does each worker rewrite the assertions of all tests anew, for five seconds.
sys.dont_write_bytecode = False

REQUIRED = bool(os.environ.get("HFT_TESTS_REQUIRED"))
"""Whether a test that skips for want of a tool or a permission fails instead, as in `.ci/run`."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure where everything has to be there: a proof that is left out is none."""
    report = yield
    if REQUIRED and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        # Only root can mount, boot a systemd or unmount: a gate that is run by somebody else goes without those.
        if os.geteuid() == 0 or "root" not in reason:
            report.outcome = "failed"
            report.longrepr = f"HFT_TESTS_REQUIRED is set, and this test would be skipped: {reason}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for no garbage while the tests are listed, and never again at what that makes: a tenth of its time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


# Of the tests on all cores the longest files begin first: one that begins last keeps a core while all others idle.
# Those of the browser follow each other, so that each process begins one browser, and fills one store for it, once.
LONGEST = (
    "torture/test_calls.py", "systemd/test_service.py", "browser/test_docs_page.py", "browser/test_dashboard.py",
    "browser/test_screen.py", "browser/test_numbers.py", "browser/test_many_symbols.py", "browser/test_failures.py",
    "browser/test_hands.py", "docs/test_examples.py", "http_clients/test_clients.py", "perf/test_run.py",
    "api/test_openapi.py", "proxies/test_proxies.py", "systemd/test_activate.py", "systemd/test_instances.py",
    "cluster/test_faults.py", "perf/test_gate.py", "perf/test_peers.py", "cluster/test_demo.py",
    "hft_mmap/test_warm.py", "api/test_transfer.py", "perf/test_latency.py", "perf/test_servers.py",
    "cluster/test_service.py", "hft_mmap/test_groups.py", "hft_mmap/test_histories.py", "api/test_systemd.py",
)  # fmt: skip
_PLACE = {str(Path(__file__).parent / name): place for place, name in enumerate(LONGEST)}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; tests of a file stay in their order."""
    items.sort(key=lambda item: _PLACE.get(str(item.path), len(_PLACE)))


class StartService(Protocol):
    """What the fixture `start_service` gives to a test."""

    def __call__(self, directory: Path | None = None, **settings: object) -> Service:
        """Start a service in `directory` (the test's own by default); it ends with the test at the latest."""
        ...


@pytest.fixture
def start_service(tmp_path: Path) -> Iterator[StartService]:
    """Return a function that starts real services, with settings such as `log__level="debug"`."""
    with ExitStack() as stack:

        def start(directory: Path | None = None, **settings: object) -> Service:
            return stack.enter_context(running_service(directory or tmp_path, **settings))

        yield start


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """Yield a small disk, unmounted when the test ends."""
    place = tmp_path / "small"
    place.mkdir()
    with small_disk(place) as disk:
        yield disk


@pytest.fixture
def service(start_service: StartService) -> Service:
    """Return a real service with the settings that tests use, in the test's own directory."""
    return start_service()


@pytest.fixture(scope="module")
def shared_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Yield one real service for all tests of a module that asks for it, with room for 10,000 symbols."""
    with running_service(tmp_path_factory.mktemp("service"), store__max_symbols=10_000) as service:
        yield service
