"""The lists of the dashboard with ten thousand symbols, in a real Chromium: when they are painted, how they scroll.

The browser has a core of its own, as in `dashboard`. A frame's time is that of its work, from its first callback until
it is painted: a screen that shows one each 16.7 ms leaves it so long.
"""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
from playwright.sync_api import Browser, Page

from hft_mmap import Limits, Store
from perf import servers
from perf.case import name
from perf.experiment import Effort, Experiment
from perf.experiments.dashboard import PATIENCE_MS, chromium
from perf.experiments.throughput import SERVER_CORE
from perf.lab import Lab
from perf.record import Benchmark, benchmark

SYMBOLS = 10_000
POINTS = 100
FRAMES = 240
"""Frames of one scroll, each of which moves the list on by four rows or more: all rows in sight are others soon."""
_STEP_PX = 150
_SETTINGS = {"store.max_symbols": 2 * SYMBOLS, "store.starting_capacity": 0}
# Each frame looks whether there are rows, and whether it is all of them; a task posted from within it runs when it is
# painted.
_WATCH = """
(() => {
  const look = () => {
    const row = document.querySelector("#overview-table tbody tr[aria-rowindex]");
    const all = document.getElementById("found")?.textContent === ALL;
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      if (row) window.rowsAfterMs ??= performance.now();
      if (all) window.allAfterMs ??= performance.now();
    };
    port2.postMessage(null);
    if (!all) requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
})();
"""
_SCROLL = """([selector, step, frames]) => new Promise((resolve) => {
  const box = selector ? document.querySelector(selector) : document.scrollingElement;
  const taken = [];
  const frame = () => {
    const begin = performance.now();
    box.scrollTop += step;
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      taken.push(performance.now() - begin);
      if (taken.length < frames) requestAnimationFrame(frame); else resolve([taken, box.scrollTop]);
    };
    port2.postMessage(null);
  };
  requestAnimationFrame(frame);
})"""


def _fill(data: Path) -> None:
    prices = 100 + np.cumsum(np.random.default_rng(1).choice([-0.01, 0.0, 0.01], POINTS))
    limits = Limits(max_symbols=2 * SYMBOLS, starting_capacity=0)
    with Store(data, limits=limits, durability="process") as store:
        for number in range(SYMBOLS):
            store.append_nowait(f"S{number:05}-USD", prices)


def _opened(browser: Browser, port: int) -> tuple[Page, float, float]:
    """Open the list in a browser that has seen nothing; return it, and seconds to its first rows and to all."""
    page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    page.add_init_script(_WATCH.replace("ALL", repr(f"{SYMBOLS:,}")))
    page.goto(f"http://127.0.0.1:{port}/")
    page.wait_for_function("() => window.allAfterMs > 0", timeout=PATIENCE_MS)
    rows, everything = page.evaluate("[window.rowsAfterMs, window.allAfterMs]")
    return page, rows / 1000, everything / 1000


def _scrolled(page: Page, box: str | None) -> list[float]:
    """Scroll this box, or the page; return the seconds that each frame took."""
    taken, reached = page.evaluate(_SCROLL, [box, _STEP_PX, FRAMES])
    assert reached >= FRAMES * _STEP_PX / 2, f"the list came to its end too soon: {reached} pixels"
    return [ms / 1000 for ms in taken]


def _measure(lab: Lab, effort: Effort) -> Iterator[Benchmark]:
    executable = shutil.which("chromium") or shutil.which("chromium-browser")
    if executable is None:
        print("watchlist: needs Chromium (apt-get install chromium)")
        return
    first, whole = [], []
    frames: dict[str, list[list[float]]] = {"page": [], "beside_chart": []}
    with ExitStack() as stack:
        scratch = stack.enter_context(lab.scratch())
        _fill(scratch / "data")
        server = stack.enter_context(
            servers.service(scratch, scratch / "data", cores=[SERVER_CORE], settings=_SETTINGS)
        )
        browser = stack.enter_context(chromium(executable))
        _opened(browser, server.port)[0].context.close()  # warms up
        for _ in range(effort.rounds):
            page, rows, everything = _opened(browser, server.port)
            with closing(page.context):
                first.append(rows)
                whole.append(everything)
                frames["page"].append(_scrolled(page, None))
                page.goto(f"http://127.0.0.1:{server.port}/?symbol=S00000-USD")
                page.wait_for_function("() => window.allAfterMs > 0", timeout=PATIENCE_MS)
                frames["beside_chart"].append(_scrolled(page, "#watch .box"))
    yield benchmark(name("watchlist", "first_rows", symbols=SYMBOLS), [[one] for one in first])
    yield benchmark(name("watchlist", "all_known", symbols=SYMBOLS), [[one] for one in whole])
    for where, taken in frames.items():
        for share in (50, 99):
            quantile = [[float(np.percentile(one, share))] for one in taken]
            yield benchmark(name("watchlist", "frame", symbols=SYMBOLS, of=where, p=share), quantile)


EXPERIMENTS = (Experiment("watchlist.", _measure, "interval", setup_s=25.0, round_s=15.0),)
