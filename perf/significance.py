"""Is it slower, or was the machine busy? Tests that are exact on few samples and assume no normal distribution."""

from collections.abc import Sequence
from itertools import combinations, product
from math import comb, erfc, sqrt
from statistics import median

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
    """Return how likely differences at least so positive are if their signs were chance; one-sided.

    The permutation test of all signs, exact up to 16 pairs, where no difference counts for more than the middle one:
    a pair that went far astray is one vote, not the election.
    """
    sizes = [abs(one) for one in differences]
    most = median(sizes) if sizes else 0.0
    votes = [max(-most, min(most, one)) for one in differences if one]
    if not any(votes):
        return 1.0
    found = sum(votes)
    if len(votes) > _MOST_EXACT_PAIRS:
        return erfc(found / sqrt(2 * sum(vote * vote for vote in votes))) / 2
    least = found - 1e-9 * most
    ways = [sum(signs) >= least for signs in product(*((-vote, vote) for vote in votes))]
    return sum(ways) / len(ways)


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
