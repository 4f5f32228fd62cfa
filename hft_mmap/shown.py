"""How a store and its series show themselves in a notebook: a table and a small picture, HTML that needs nothing else.

What is shown is of one moment each; everything that comes from outside is escaped.
"""

from collections.abc import Iterable, Sequence
from html import escape

import numpy as np

from hft_mmap.stats import WindowStats
from hft_mmap.tree.buckets import Buckets

WIDE, HIGH = 240, 48
"""Of a picture, in pixels."""
MOST_SYMBOLS = 20
"""Of a store, that are shown."""
PARTS = 120
"""Of a picture."""


class Picture(str):
    """SVG, made here: all other text is escaped."""

    __slots__ = ()


def picture(buckets: Buckets) -> Picture:
    """Return the course of prices as SVG: the least to the most of each bucket, and a line through the averages."""
    lows, highs, middles = buckets.min, buckets.max, buckets.mean
    if not len(lows):
        return Picture()
    low, high = float(lows.min()), float(highs.max())
    x = np.linspace(1, WIDE - 1, len(lows)) if len(lows) > 1 else np.array([WIDE / 2])

    def points(xs: Iterable[float], prices: Iterable[float]) -> str:
        # In halves, so that no difference of two prices is infinite.
        spread = high / 2 - low / 2
        return " ".join(
            f"{at:.1f},{HIGH - 1 - ((price / 2 - low / 2) / spread if spread else 0.5) * (HIGH - 2):.1f}"
            for at, price in zip(xs, prices, strict=True)
        )

    band = f"{points(x, highs)} {points(x[::-1], lows[::-1])}"
    return Picture(
        f'<svg width="{WIDE}" height="{HIGH}" viewBox="0 0 {WIDE} {HIGH}" role="img" '
        f'aria-label="from {low:g} to {high:g}"><polygon points="{band}" fill="#8ab4f8" fill-opacity="0.4" '
        f'stroke="#8ab4f8"/><polyline points="{points(x, middles)}" fill="none" stroke="#1a56c4"/></svg>'
    )


def table(titles: Sequence[str], rows: Iterable[Sequence[str]], more: str = "") -> str:
    """Return an HTML table."""
    head = "".join(f"<th>{escape(title)}</th>" for title in titles)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    note = f"<p>{escape(more)}</p>" if more else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{note}"


def _cell(text: str) -> str:
    return f"<td>{text if isinstance(text, Picture) else escape(text)}</td>"


def of_series(named: str, windows: Sequence[WindowStats], buckets: Buckets) -> str:
    """Return a series: its standard windows, up to the first that holds all points, and the course of all."""
    whole = next((k for k, one in enumerate(windows) if one.points == windows[-1].points), 0)
    rows = [
        (f"{one.points:,}", *(f"{value:.6g}" for value in (one.min, one.max, one.last, one.avg, one.var**0.5)))
        for one in windows[: whole + 1]
    ]
    titles = ("newest points", "min", "max", "last", "avg", "std")
    return f"<div><p>{escape(named)}</p>{picture(buckets)}{table(titles, rows)}</div>"


def of_store(named: str, rows: Iterable[tuple[str, int, float | None, Picture]], symbols: int) -> str:
    """Return a store: its first symbols, each with its points, its newest price and the course of all."""
    shown = [
        (symbol, f"{points:,}", "" if last is None else f"{last!r}", course) for symbol, points, last, course in rows
    ]
    more = f"and {symbols - len(shown):,} other symbols" if symbols > len(shown) else ""
    return f"<div><p>{escape(named)}</p>{table(('symbol', 'points', 'last', ''), shown, more)}</div>"
