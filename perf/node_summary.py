"""Print how exact the variance is for each way a node could keep its mean: the table of docs/design/0001.

Run it as `python -m perf.node_summary`. Trees of fan-out 64 over 262,144 points, in plain numpy, against exact
rationals.
"""

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

FAN_OUT = 64
POINTS = FAN_OUT**3

Floats = NDArray[np.float64]


def exact_variance(values: Floats) -> Fraction:
    """Return the population variance of `values` without any rounding."""
    exact = [Fraction(value) for value in values.tolist()]
    mean = sum(exact, Fraction(0)) / len(exact)
    return sum((value * value for value in exact), Fraction(0)) / len(exact) - mean * mean


def by_running_sums(values: Floats) -> float:
    """Return E[x^2] - E[x]^2 from running sums, as a store that keeps sums would."""
    return float(np.cumsum(values**2)[-1] / POINTS - (np.cumsum(values)[-1] / POINTS) ** 2)


def by_tree(values: Floats, *, relative: bool) -> float:
    """Return the variance from a tree whose nodes keep the mean, or the mean minus the minimum if `relative`."""
    low = values.reshape(-1, FAN_OUT).min(axis=1) if relative else np.zeros(POINTS // FAN_OUT)
    above = values.reshape(-1, FAN_OUT) - low[:, None]
    mean = above.mean(axis=1)
    m2 = ((above - mean[:, None]) ** 2).sum(axis=1)
    points = FAN_OUT
    while mean.shape[0] > 1:
        lows = low.reshape(-1, FAN_OUT)
        low = lows.min(axis=1)
        means = (lows - low[:, None]) + mean.reshape(-1, FAN_OUT)
        mean = means.mean(axis=1)
        m2 = m2.reshape(-1, FAN_OUT).sum(axis=1) + points * ((means - mean[:, None]) ** 2).sum(axis=1)
        points *= FAN_OUT
    return float(m2[0]) / points


def main() -> None:
    """Print the table."""
    rng = np.random.default_rng(1)
    data = {
        "uniform in 1e9 ± 1": 1e9 + rng.uniform(-1, 1, POINTS),
        "uniform in 1e12 ± 1": 1e12 + rng.uniform(-1, 1, POINTS),
        "uniform in 100 … 200": rng.uniform(100, 200, POINTS),
        "random walk around 100, steps of 0.01": 100 + np.cumsum(rng.normal(0, 0.01, POINTS)),
        "log-normal, sigma 3": np.exp(rng.normal(0, 3, POINTS)),
    }
    print("| data | E[x²] - E[x]² | mean | mean - min |\n|---|---|---|---|")
    for name, values in data.items():
        exact = exact_variance(values)
        found = (by_running_sums(values), by_tree(values, relative=False), by_tree(values, relative=True))
        errors = (float(abs(Fraction(value) / exact - 1)) for value in found)
        print("|", name, "|", " | ".join(f"{error:.1e}" for error in errors), "|")


if __name__ == "__main__":
    main()
