"""Every harness holds on its corpus, so that a harness that no longer fits the code is seen before somebody fuzzes."""

import pytest

from tests.fuzz.harness import CORPUS, check_of, names, seeds


@pytest.mark.parametrize("name", names())
def test_the_corpus_passes(name: str) -> None:
    """Also cut short at every eighth of it, and with bytes of its beginning changed."""
    check = check_of(name)
    assert seeds(name)
    for path in seeds(name):
        data = path.read_bytes()
        check(data)
        for eighth in range(8):
            check(data[: len(data) * eighth // 8])
        for index in range(0, min(len(data), 64), 5):
            check(data[:index] + bytes([data[index] ^ 0x10]) + data[index + 1 :])


def test_every_corpus_has_its_harness() -> None:
    """A folder that no harness reads would be forgotten."""
    assert sorted(path.name for path in CORPUS.iterdir()) == names()
