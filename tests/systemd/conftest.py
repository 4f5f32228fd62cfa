"""One machine for all tests of this folder; each finds it as if nothing had happened yet."""

from collections.abc import Iterator

import pytest

from tests.systemd.machine import Machine, booted, why_not


@pytest.fixture(scope="session")
def _booted() -> Iterator[Machine]:
    reason = why_not()
    if reason:
        pytest.skip(f"a systemd of the tests' own {reason}")
    with booted() as machine:
        yield machine


@pytest.fixture
def machine(_booted: Machine) -> Machine:
    """Return a machine on which nothing of ours runs or is stored."""
    _booted.reset()
    return _booted
