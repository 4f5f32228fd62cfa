"""perf.significance: exact probabilities, by hand and by definition."""

import random
from math import comb

import pytest

from perf.significance import p_differ, p_increase_paired


def test_pairs_that_all_rise_have_one_chance_in_two_to_the_n() -> None:
    """Only one of the 2^n ways to set the signs is as extreme."""
    assert p_increase_paired([0.1, 0.2, 0.3, 0.4, 0.5]) == 1 / 2**5


def test_pairs_that_all_fall_are_certain_not_to_rise() -> None:
    """Every way to set the signs is at least as extreme."""
    assert p_increase_paired([-0.1, -0.2, -0.3]) == 1.0


def test_a_pair_that_went_far_astray_is_one_vote() -> None:
    """Above the middle one size is like another."""
    near = [1.0, 2.0, 3.0, 4.0, -5.0]
    assert p_increase_paired(near) == p_increase_paired([*near[:4], -5000.0])
    assert p_increase_paired([0.2] * 10 + [-3.0]) == 12 / 2**11


def test_differences_of_zero_are_no_evidence() -> None:
    """Nothing moved."""
    assert p_increase_paired([]) == 1.0
    assert p_increase_paired([0.0, 0.0]) == 1.0


def test_many_pairs_use_the_normal_distribution_and_agree_with_the_exact_test() -> None:
    """Sixteen pairs are exact, seventeen are not; the answers must not jump."""
    rng = random.Random(5)
    exact = [rng.gauss(0.5, 1.0) for _ in range(16)]
    assert p_increase_paired([*exact, 1e-9]) == pytest.approx(p_increase_paired(exact), abs=0.02)


def test_samples_that_do_not_overlap_are_as_far_apart_as_can_be() -> None:
    """Two of all the ways to split them are so extreme: one each way round."""
    assert p_differ([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]) == 2 / comb(6, 3)


def test_a_sample_does_not_differ_from_itself() -> None:
    """Equal samples are as near as can be."""
    assert p_differ([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]) == 1.0


def test_large_samples_use_the_normal_distribution() -> None:
    """Thirty values that are moved differ, thirty that are not do not."""
    rng = random.Random(7)
    one, two = ([rng.gauss(0.0, 1.0) for _ in range(30)] for _ in range(2))
    assert p_differ(one, [value + 3.0 for value in two]) < 1e-6
    assert p_differ(one, two) > 0.05


def test_constant_samples_do_not_differ() -> None:
    """There is no spread to divide by."""
    assert p_differ([1.0] * 30, [1.0] * 30) == 1.0
