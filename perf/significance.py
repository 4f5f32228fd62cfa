"""Is it slower, or was the machine busy? Rank tests, exact on few samples; no normal distribution is assumed."""

from collections.abc import Sequence
from itertools import combinations, product
from math import comb, erfc, sqrt

_MOST_EXACT_PAIRS = 16
_MOST_EXACT_SPLITS = 20_000


def _ranks(values: Sequence[float]) -> list[float]:
    """Return the rank of each value, from 1; equal values share the mean of their ranks."""
    order = sorted(range(len(values)), key=values.__getitem__)
    ranks = [0.0] * len(values)
    i = 0
    while i < len(order):
        j = i
        while j + 1 < len(order) and values[order[j + 1]] == values[order[i]]:
            j += 1
        for k in range(i, j + 1):
            ranks[order[k]] = (i + j) / 2 + 1
        i = j + 1
    return ranks


def p_increase_paired(differences: Sequence[float]) -> float:
    """Return how likely differences at least so positive are if their signs were chance (Wilcoxon signed-rank).

    One-sided and exact up to 16 pairs. One pair that went far astray counts no more than its rank.
    """
    kept = [one for one in differences if one]
    n = len(kept)
    if not n:
        return 1.0
    ranks = _ranks([abs(one) for one in kept])
    found = sum(rank for rank, one in zip(ranks, kept, strict=True) if one > 0)
    if n > _MOST_EXACT_PAIRS:
        mean = sum(ranks) / 2
        deviation = sqrt(sum(rank * rank for rank in ranks) / 4)
        return erfc((found - 0.5 - mean) / deviation / sqrt(2)) / 2
    at_least = sum(
        sum(rank for rank, positive in zip(ranks, signs, strict=True) if positive) >= found - 1e-9
        for signs in product((False, True), repeat=n)
    )
    return float(at_least / 2**n)


def p_differ(a: Sequence[float], b: Sequence[float]) -> float:
    """Return how likely two samples differ at least so much if they came from one source (Mann-Whitney, two-sided).

    Exact while there are few ways to split the samples, else from the normal distribution.
    """
    ranks = _ranks([*a, *b])
    found = sum(ranks[: len(a)])
    mean = len(a) * (len(ranks) + 1) / 2
    distance = abs(found - mean)
    if comb(len(ranks), len(a)) > _MOST_EXACT_SPLITS:
        center = sum(ranks) / len(ranks)
        spread = sum((rank - center) ** 2 for rank in ranks) / (len(ranks) - 1)
        deviation = sqrt(spread * len(a) * len(b) / len(ranks))
        return erfc(max(distance - 0.5, 0.0) / deviation / sqrt(2)) if deviation else 1.0
    splits = list(combinations(ranks, len(a)))
    return sum(abs(sum(split) - mean) >= distance - 1e-9 for split in splits) / len(splits)
