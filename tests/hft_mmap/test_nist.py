"""NIST's Statistical Reference Datasets for univariate statistics, generated from their definition.

https://www.itl.nist.gov/div898/strd/univ/homepage.html: NumAcc1 to NumAcc4, "numerical accuracy", with certified values
of the mean and of the standard deviation (divided by n - 1; ours is divided by n).
"""

import math
from typing import NamedTuple

import numpy as np
import pytest

from hft_mmap import Limits
from hft_mmap.testing import RELATIVE_ERROR
from tests.hft_mmap.conftest import OpenStore


class Dataset(NamedTuple):
    """A data set and its certified values."""

    values: list[float]
    mean: float
    standard_deviation: float


DATASETS = {
    "NumAcc1": Dataset([10000001.0, 10000003.0, 10000002.0], 10000002.0, 1.0),
    "NumAcc2": Dataset([1.2] + [1.1, 1.3] * 500, 1.2, 0.1),
    "NumAcc3": Dataset([1000000.2] + [1000000.1, 1000000.3] * 500, 1000000.2, 0.1),
    "NumAcc4": Dataset([10000000.2] + [10000000.1, 10000000.3] * 500, 10000000.2, 0.1),
}


@pytest.mark.parametrize("chunk_points", [64, 4096])
@pytest.mark.parametrize("name", DATASETS)
def test_certified_mean_and_standard_deviation(name: str, chunk_points: int, open_store: OpenStore) -> None:
    """The store finds the certified values as exactly as the data can be written in float64."""
    values, mean, standard_deviation = DATASETS[name]
    n = len(values)
    store = open_store(limits=Limits(chunk_points=chunk_points, starting_capacity=0))
    store.append("A", values)
    stats = store.stats("A", n)
    assert math.isclose(stats.avg, mean, rel_tol=RELATIVE_ERROR)
    # 1.3 and 10000000.3 are no float64: the rounded data have another deviation than the certified decimal ones.
    rounding = np.spacing(max(values)) / standard_deviation if n > 3 else 0.0
    found = math.sqrt(stats.var * n / (n - 1))
    assert math.isclose(found, standard_deviation, rel_tol=RELATIVE_ERROR + float(rounding))
