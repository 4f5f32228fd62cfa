"""Fixtures that every part of the tests may use."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest

from tests.service import Service, running_service
from tests.small_disk import SmallDisk, small_disk


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
