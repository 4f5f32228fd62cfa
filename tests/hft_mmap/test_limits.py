"""The limits of a store: each named, checked alone and against the others."""

from dataclasses import FrozenInstanceError

import pytest

from hft_mmap import Durability, InvalidValues, Limits


def test_the_defaults_are_the_documented_ones() -> None:
    """150,000,000 points trigger a cleanup, 100,000,000 are kept, for 10 symbols."""
    assert Limits() == Limits(150_000_000, 100_000_000, 10, 1_000_000, 4_194_304)


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("max_data_retention", 0, "from 1, not 0"),
        ("max_data_retention", 1.5, "whole number"),
        ("max_data_retention", True, "whole number"),
        ("cleanup_keep_count", -1, "from 0, not -1"),
        ("max_symbols", 0, "from 1, not 0"),
        ("max_symbols", "10", "whole number"),
        ("starting_capacity", -1, "from 0, not -1"),
        ("chunk_points", 0, "from 1, not 0"),
        ("chunk_points", 100, "multiple of 64 from 64 to 1099511627776, not 100"),
        ("cleanup_keep_count", 150_000_001, r"cleanup_keep_count \(150000001\) must be at most max_data_retention"),
    ],
)
def test_a_bad_limit_is_refused_by_name(field: str, value: object, reason: str) -> None:
    """ValueError says the field, the value and what is allowed."""
    with pytest.raises(ValueError, match=reason) as refusal:
        Limits(**{field: value})  # type: ignore[arg-type]
    assert field in str(refusal.value)


def test_limits_do_not_change() -> None:
    """A limit can't be set after the store has checked it."""
    with pytest.raises(FrozenInstanceError):
        Limits().max_symbols = 11  # type: ignore[misc]


def test_a_batch_that_could_not_be_kept_alone_is_refused() -> None:
    """The largest batch is max_data_retention."""
    limits = Limits(max_data_retention=100, cleanup_keep_count=50)
    limits.check_batch(100)
    with pytest.raises(InvalidValues, match=r"101 values is larger than max_data_retention \(100\)"):
        limits.check_batch(101)


def test_a_tier_is_its_name() -> None:
    """The tiers are written in settings as "process", "interval" and "sync"."""
    assert [str(tier) for tier in Durability] == ["process", "interval", "sync"]
