"""Which series there are for a query: for each symbol with times that its caller may read, the metrics of its points.

price    the price of each point
size     its size, below 0 where it was sold        where the series has sizes
volume   its absolute size                          likewise
value    its price times its absolute size          likewise
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from api.promql.parser import NAME
from api.promql.tree import Matcher
from hft_mmap import InvalidSymbol, Series, Store, SymbolNotFound
from hft_mmap.moment import Moment

SYMBOL = "symbol"
PRICE, SIZE, VOLUME, VALUE = "price", "size", "volume", "value"
METRICS: Mapping[str, str] = {
    PRICE: "The price of each point.",
    SIZE: "The size of each point, below 0 where it was sold.",
    VOLUME: "The absolute size of each point.",
    VALUE: "The price of each point times its absolute size.",
}
_MOST_NAMED = 3

Labels: TypeAlias = tuple[tuple[str, str], ...]
"""Names and values of the labels of one series, in the order of their names."""


class Found(NamedTuple):
    """One series: a metric of the points of a symbol."""

    metric: str
    moment: Moment

    @property
    def labels(self) -> Labels:
        """Its labels."""
        return ((NAME, self.metric), (SYMBOL, self.moment.symbol))


class Catalogue:
    """The series of one request. Each symbol is as it stood at one moment, however often a query names it."""

    def __init__(self, store: Store, may_read: Callable[[str], bool] | None) -> None:
        self._store = store
        self._may_read = may_read
        self._moments: dict[str, Moment | None] = {}
        self.warnings: list[str] = []
        """What is said beside the answer: symbols that were meant, and do not serve."""

    def find(self, matchers: Sequence[Matcher]) -> list[Found]:
        """Return the series that all `matchers` mean, in the order of symbols and metrics. SeriesSetAside, SeriesBusy.

        One that does not serve is an error where the query names it, and a warning where it is one of many.
        """
        others = [one for one in matchers if one.label not in {NAME, SYMBOL}]
        if not all(one.matches("") for one in others):
            return []
        metrics = [metric for metric in METRICS if all(one.matches(metric) for one in matchers if one.label == NAME)]
        return [
            Found(metric, moment)
            for moment in self._meant([one for one in matchers if one.label == SYMBOL])
            for metric in metrics
            if metric == PRICE or len(moment.view.sizes)
        ] if metrics else []  # fmt: skip

    def _meant(self, matchers: Sequence[Matcher]) -> Iterable[Moment]:
        named = next((one.equal for one in matchers if one.equal is not None), None)

        def is_meant(symbol: str) -> bool:
            return all(one.matches(symbol) for one in matchers) and (self._may_read is None or self._may_read(symbol))

        if named is None:
            return self._all(is_meant)
        return filter(None, [self._named(named) if is_meant(named) else None])

    def _named(self, symbol: str) -> Moment | None:
        if symbol not in self._moments:
            try:
                self._moments[symbol] = _timed(self._store.series(symbol))
            except (SymbolNotFound, InvalidSymbol):
                self._moments[symbol] = None
        return self._moments[symbol]

    def _all(self, is_meant: Callable[[str], bool]) -> Iterator[Moment]:
        wanted = [symbol for symbol in self._store if is_meant(symbol)]
        unknown = {symbol for symbol in wanted if symbol not in self._moments}
        for series in self._store.serving(where=unknown.__contains__):
            unknown.discard(series.symbol)
            self._moments[series.symbol] = _timed(series)
        if unknown:
            first = ", ".join(sorted(unknown)[:_MOST_NAMED])
            more = f" and {len(unknown) - _MOST_NAMED} more" if len(unknown) > _MOST_NAMED else ""
            self.warnings.append(f"not in this answer: {first}{more}, which can't be read now; GET /ready says why")
        return (moment for symbol in wanted if (moment := self._moments.get(symbol)) is not None)


def _timed(series: Series) -> Moment | None:
    """Return the series as it stands now; None where it has no points, or no times."""
    moment = series.moment()
    return moment if moment.start < moment.total and len(moment.view.times) else None
