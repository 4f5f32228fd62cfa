"""The dashboard in a real Chromium: when its chart is painted, what it weighs, what an open one costs the service.

The series has 1e8 points and gets ten more each tenth of a second, so that each refresh of the page finds new ones and
draws all it can draw. The generator shares the service's core, as in `throughput`; the browser has another, so
that its drawing is not taken for a cost of the service.
"""

import shutil
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from time import perf_counter

from playwright.sync_api import Browser, Page, sync_playwright

from perf import load, servers, wrk
from perf.case import Work, name
from perf.experiment import Effort, Experiment
from perf.experiments.throughput import CONNECTIONS, OTHER_CORE, SERVER_CORE
from perf.lab import SYMBOL, Lab
from perf.record import Benchmark, benchmark
from perf.requests import get
from perf.suites.decode import body

STORED = 10**8
PAIRS = 2
"""Measurements with and without the page in a round: a difference of 2 % needs many of them."""
_FEED_S = 0.1
PATIENCE_MS = 30_000
# The frame that shows the chart is done when a task runs that was posted from within it; so it is told late by a task
# or two, and never early.
_WATCH = """
new PerformanceObserver((_, observer) => {
  if (!performance.getEntriesByName("chart").length) return;
  observer.disconnect();
  requestAnimationFrame(() => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => { window.paintedAfterMs = performance.now(); };
    port2.postMessage(null);
  });
}).observe({ entryTypes: ["mark"] });
performance.setResourceTimingBufferSize(100000);
"""
_WEIGHT = """() => {
  const pieces = performance.getEntriesByType("resource").filter((one) => one.name.includes("/static/"));
  return [...performance.getEntriesByType("navigation"), ...pieces].map((one) => one.transferSize);
}"""
_SHOWN = "+document.getElementById('plot').dataset.to"
_REQUESTS = "performance.getEntriesByType('resource').length"


@dataclass(frozen=True, slots=True)
class Taken:
    """One measurement: seconds a request of the load, by the clock and by the server's processor time."""

    seconds: float
    cpu_seconds: float


@contextmanager
def chromium(executable: str) -> Iterator[Browser]:
    """Yield a browser on the core that the server has not."""
    with servers.on_cores([OTHER_CORE]), sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield launched
        launched.close()


@contextmanager
def _feed(port: int) -> Iterator[None]:
    """Append to the series while the context lasts."""
    stop = threading.Event()
    content, headers = body(10), {"Content-Type": "application/json"}

    def append() -> None:
        with closing(HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
            while not stop.wait(_FEED_S):
                connection.request("POST", "/add_batch/", content, headers)
                answer = connection.getresponse()
                said = answer.read()
                assert answer.status == 200, said

    thread = threading.Thread(target=append)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _open(page: Page, port: int) -> float:
    """Open the symbol's page over all its points; return the seconds until its chart was painted."""
    page.goto(f"http://127.0.0.1:{port}/?symbol={SYMBOL}&window=all")
    page.wait_for_function("() => window.paintedAfterMs > 0", timeout=PATIENCE_MS)
    return float(page.evaluate("window.paintedAfterMs")) / 1000


def _first_paints(browser: Browser, port: int, rounds: int) -> tuple[list[float], list[int]]:
    """Open the page so often in a browser that has seen nothing; return the seconds to the chart, and bytes sent."""
    seconds, sizes = [], []
    for _ in range(rounds):
        with closing(browser.new_context(viewport={"width": 1280, "height": 900})) as context:
            page = context.new_page()
            page.add_init_script(_WATCH)
            seconds.append(_open(page, port))
            pieces = page.evaluate(_WEIGHT)
            assert all(pieces), f"not all of the page came from the service: {pieces}"
            sizes.append(sum(pieces))
    return seconds, sizes


def _take(server: servers.Server, seconds: float, scratch: Path) -> Taken:
    path = f"/stats/?symbol={SYMBOL}&exponent=5"
    cpu_before, begin = server.cpu_seconds(), perf_counter()
    if wrk.installed():
        url = f"http://127.0.0.1:{server.port}{path}"
        rate = wrk.rate(url, seconds, body=None, connections=CONNECTIONS, cores=[SERVER_CORE], scratch=scratch)
    else:
        with servers.on_cores([SERVER_CORE]):
            stream = load.Stream("all", [get(path)], CONNECTIONS)
            rate = load.run(server.port, [stream], seconds)["all"].rate
    requests = rate * (perf_counter() - begin)
    return Taken(1 / rate, (server.cpu_seconds() - cpu_before) / requests)


def _take_beside(page: Page, server: servers.Server, seconds: float, scratch: Path) -> tuple[Taken, float]:
    """Measure with the page open, and closed again afterwards; return the requests a second of the page as well."""
    _open(page, server.port)
    before, shown, begin = page.evaluate(_REQUESTS), page.evaluate(_SHOWN), perf_counter()
    taken = _take(server, seconds, scratch)
    asked = (page.evaluate(_REQUESTS) - before) / (perf_counter() - begin)
    assert page.evaluate(_SHOWN) > shown, "the chart stood still: the page was not at work"
    page.goto("about:blank")
    return taken, asked


def _measure(lab: Lab, effort: Effort) -> Iterator[Benchmark]:
    executable = shutil.which("chromium") or shutil.which("chromium-browser")
    if executable is None:
        print("dashboard: needs Chromium (apt-get install chromium)")
        return
    with ExitStack() as stack:
        scratch = stack.enter_context(lab.scratch())
        data = stack.enter_context(lab.borrowed(STORED))
        server = stack.enter_context(servers.service(scratch, data, cores=[SERVER_CORE]))
        browser = stack.enter_context(chromium(executable))
        stack.enter_context(_feed(server.port))
        _first_paints(browser, server.port, 1)  # warms up
        paints, sizes = _first_paints(browser, server.port, effort.rounds)
        yield benchmark(name("dashboard", "first_chart", stored=STORED), [[one] for one in paints])
        yield benchmark(name("dashboard", "bytes_sent"), [[float(one)] for one in sizes], unit="byte")
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.add_init_script(_WATCH)
        _take(server, 1.0, scratch)
        rounds = []
        for i in range(effort.rounds * PAIRS):
            if i % 2:
                alone = _take(server, 2 * effort.seconds, scratch)
                beside, asked = _take_beside(page, server, 2 * effort.seconds, scratch)
            else:
                beside, asked = _take_beside(page, server, 2 * effort.seconds, scratch)
                alone = _take(server, 2 * effort.seconds, scratch)
            rounds.append((alone, beside, asked))
    yield from _costs(rounds)


def _costs(rounds: list[tuple[Taken, Taken, float]]) -> Iterator[Benchmark]:
    """Yield what the load got alone and beside the page, and the shares of the same round."""
    metadata = {"generator": "wrk" if wrk.installed() else "own", "connections": CONNECTIONS}

    def made(what: str, values: list[float], unit: str, work: Work | None = None) -> Benchmark:
        runs = [[value] for value in values]
        return benchmark(
            name("dashboard", "stats", stored=STORED, what=what), runs, unit=unit, work=work, metadata=metadata
        )

    request = Work(1, "requests")
    yield made("alone", [alone.seconds for alone, _, _ in rounds], "second", request)
    yield made("beside", [beside.seconds for _, beside, _ in rounds], "second", request)
    yield made("share", [alone.seconds / beside.seconds for alone, beside, _ in rounds], "integer")
    yield made("cpu_share", [alone.cpu_seconds / beside.cpu_seconds for alone, beside, _ in rounds], "integer")
    yield made("page_requests_a_second", [asked for _, _, asked in rounds], "integer")


EXPERIMENTS = (Experiment("dashboard.", _measure, "interval", setup_s=15.0, round_s=4.0, loads=8, most_rounds=3),)
