"""How many requests there were, how they ended and how long they took: by route, in plain lists and dicts.

Counting is on the path of every request, rendering is not: see `api.routes.metrics`.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeAlias

from api.http.exchange import REFUSED, Scope

BUCKETS_S = (
    25e-6, 50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
)  # fmt: skip
"""Upper bounds of the latencies: a query takes some 20 us, a large batch milliseconds, a slow body seconds."""
OTHER = "other"
"""Stands for every route and method that the service does not have: made-up paths must not become labels."""

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_OK = 200
_SUM = len(BUCKETS_S) + 1

Latencies: TypeAlias = list[float]
"""So many requests in each of BUCKETS_S, so many above them, and the sum of the seconds of all."""


class RequestCounts(NamedTuple):
    """What was counted up to one moment: latencies by route and method, refusals by route, method and status."""

    latencies: Mapping[str, Mapping[str, Latencies]]
    refused: Mapping[tuple[str, str, int], int]

    def by_status(self, route: str, method: str) -> dict[int, int]:
        """Return how many requests ended with each status; what was not refused was answered with 200."""
        found = {status: n for (*labels, status), n in self.refused.items() if labels == [route, method]}
        answered = sum(self.latencies[route][method][:_SUM]) - sum(found.values())
        return dict(sorted((found | {_OK: int(answered)} if answered else found).items()))

    def by_bucket(self, route: str) -> tuple[list[float], float]:
        """Return how many requests, of all methods, fell in each bucket (not cumulated), and their seconds."""
        *counts, seconds = (sum(column) for column in zip(*self.latencies[route].values(), strict=True))
        return counts, seconds


def add(latencies: Latencies, duration_s: float) -> None:
    """Count one request among `latencies`."""
    latencies[bisect_left(BUCKETS_S, duration_s)] += 1
    latencies[_SUM] += duration_s


class RequestCounter:
    """Counts the requests of one event loop."""

    def __init__(self) -> None:
        """Begin with nothing, and with no route."""
        self._latencies: dict[str, dict[str, Latencies]] = {OTHER: {}}
        self._route_of: dict[str, str] = {}
        self._of_path: dict[str, dict[str, Latencies]] = {}
        self._refused: Counter[tuple[str, str, int]] = Counter()

    def know(self, routes: Iterable[str]) -> None:
        """Count these routes by name, with and without a slash at the end; whatever else is asked for is `OTHER`."""
        for route in routes:
            latencies = self._latencies[route] = {}
            for path in (route, f"{route}/"):
                self._route_of[path] = route
                self._of_path[path] = latencies

    def count(self, scope: Scope, duration_s: float) -> None:
        """Count one request that has been answered."""
        # PERF: 0.29 us a request. Counting the status here as well would double that, and nearly all are 200.
        try:
            latencies = self._of_path[scope["path"]][scope["method"]]
        except KeyError:
            latencies = self._unusual(scope)
        add(latencies, duration_s)

    def latencies_of(self, scope: Scope) -> Latencies:
        """Return where requests like this one are counted, for `add`."""
        return self._unusual(scope)

    def count_refusal(self, scope: Scope) -> None:
        """Count the status of a request that `count` has just counted, if it was refused."""
        if REFUSED in scope:
            self._refused[*self._labels(scope), scope[REFUSED]] += 1

    def copy(self) -> RequestCounts:
        """Return what was counted so far; by the event loop, so that no request is half counted."""
        latencies = {
            route: {method: counts.copy() for method, counts in methods.items()}
            for route, methods in self._latencies.items()
            if methods
        }
        return RequestCounts(latencies, self._refused.copy())

    def _labels(self, scope: Scope) -> tuple[str, str]:
        method: str = scope["method"]
        return self._route_of.get(scope["path"], OTHER), method if method in _METHODS else OTHER

    def _unusual(self, scope: Scope) -> Latencies:
        """Return where to count a method that is new to its route, or a route that is none."""
        route, method = self._labels(scope)
        return self._latencies[route].setdefault(method, [*([0] * _SUM), 0.0])
