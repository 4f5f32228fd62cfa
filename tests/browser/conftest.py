"""One Chromium for all tests, a page for each, and what no page may do: log an error, or ask another host."""

import hashlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urljoin, urlsplit

import numpy as np
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from hft_mmap import Limits, Store
from tests.service import PATIENCE_S, ROOT, Service, running_service

ARTEFACTS = ROOT / ".screenshots"
POINTS = 10_000_000
SPIKE = 6_543_210
VIEWPORT = {"width": 1280, "height": 900}
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

expect.set_options(timeout=PATIENCE_S * 1000)  # 5 s else


# For the package, not the session: playwright's loop runs in this thread while it is open, and other tests have their
# own. A browser, ten million points and a service take seconds to begin with.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Yield Debian's Chromium; playwright's own builds are never downloaded."""
    if CHROMIUM is None:
        pytest.skip("needs Chromium (apt-get install chromium)")
    with sync_playwright() as playwright:
        # Root may start it only without its sandbox; it sees nothing but the service under test.
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--process-per-site"], timeout=PATIENCE_S * 1000
        )
        yield chromium
        chromium.close()


def prices(points: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return a walk of cents around 500, with one price far off."""
    walk = np.round(500 + np.cumsum(np.random.default_rng(1).normal(0, 0.01, points)), 2)
    walk[SPIKE % points] = 900.0
    return walk


def fill(data: Path, points: int = POINTS) -> None:
    """Write the series that most tests look at: a large one and a small one."""
    with Store(data, limits=Limits(starting_capacity=0), durability="process") as store:
        for part in np.array_split(prices(points), max(points // 1_000_000, 1)):
            store.append("BIG-USD", part)
        store.append("EUR/USD", [1.0841, 1.0843, 1.0842])


@pytest.fixture(scope="package")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Yield a service with ten million points of BIG-USD and three of EUR/USD; tests append to EUR/USD only."""
    directory = tmp_path_factory.mktemp("filled")
    fill(directory / "data")
    with running_service(directory) as service:
        yield service


@pytest.fixture(scope="package")
def shared_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Yield a service for all tests that have a series of their own (`symbol`) and don't look at the others."""
    with running_service(tmp_path_factory.mktemp("shared"), store__max_symbols=100) as service:
        yield service


@pytest.fixture
def symbol(request: pytest.FixtureRequest) -> str:
    """Return a symbol that no other test has."""
    return f"S{hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:8]}"


class Opened:
    """A page, with everything that went wrong in it."""

    def __init__(self, page: Page) -> None:
        """Listen from the beginning."""
        self.page = page
        self.hosts: set[str] = set()
        self.errors: list[str] = []
        self.faults: list[str] = []
        page.set_default_timeout(PATIENCE_S * 1000)
        page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("console", lambda line: self.errors.append(line.text) if line.type in {"error", "warning"} else None)

    def range(self) -> tuple[int, int]:
        """Return the first and the last point that the caption of the chart names."""
        words = self.page.locator("#caption").inner_text().replace(",", "").split()
        return int(words[1]), int(words[3])

    def wait_for_bars(self, first: int, end: int) -> int:
        """Wait until the bars of these points are drawn; return how many points a bar has."""
        plot = self.page.locator(f'#plot[data-from="{first}"][data-to="{end}"]')
        plot.wait_for(state="attached")
        return int(plot.get_attribute("data-size") or 0)

    def keep(self, name: str) -> None:
        """Keep a picture of the page among the artefacts of the tests."""
        self.page.evaluate("document.getAnimations().forEach((one) => one.finish())")
        self.page.screenshot(path=ARTEFACTS / f"{name}.png", full_page=True)


class OpenPage(Protocol):
    """What the fixture `open_page` gives to a test."""

    def __call__(
        self, url: str, *, expected_errors: bool = False, before: Callable[[Page], object] | None = None, **options: Any
    ) -> Opened:
        """Open `url`; a page with `expected_errors` may log them (a refused request is one), and never fail itself.

        `before` prepares the page while it is still empty: a clock, a route.
        """
        ...


class Profile:
    """What pages with the same permissions have in common: a process, what it has compiled, a cache.

    PERF: a page of a profile of its own takes 1.7 s of a processor, one more of this 0.5 s.
    """

    def __init__(self, browser: Browser, options: dict[str, Any]) -> None:
        """Begin one, and keep a page open in it: its process would end with the last."""
        self.context = browser.new_context(**{"viewport": VIEWPORT, **options})
        self._kept = self.context.new_page()
        self._storage = self.context.new_cdp_session(self._kept)

    def page(self, url: str, viewport: Any = VIEWPORT, color_scheme: Any = None) -> Page:
        """Return a new page, for `url`."""
        if self._kept.url == "about:blank":
            self._kept.goto(urljoin(url, "/health"))
        page = self.context.new_page()
        page.set_viewport_size(viewport)
        page.emulate_media(color_scheme=color_scheme)
        return page

    def clear(self, hosts: set[str]) -> None:
        """Close all pages, and forget what those of `hosts` have stored: nothing of it reaches the next test."""
        for page in self.context.pages:
            if page != self._kept:
                page.close()
        self.context.clear_cookies()
        for host in hosts:
            self._storage.send("Storage.clearDataForOrigin", {"origin": f"http://{host}", "storageTypes": "all"})


@pytest.fixture(scope="package")
def profiles(browser: Browser) -> Callable[[dict[str, Any]], Profile]:
    """Return what gives the profile of pages with these options."""
    made: dict[str, Profile] = {}

    def profile(options: dict[str, Any]) -> Profile:
        key = repr(sorted(options.items()))
        if key not in made:
            made[key] = Profile(browser, options)
        return made[key]

    return profile


@pytest.fixture
def open_page(browser: Browser, profiles: Callable[[dict[str, Any]], Profile]) -> Iterator[OpenPage]:
    """Return how to open pages; at the end of the test none may have logged an error or asked another host."""
    opened: list[tuple[Opened, str, bool]] = []
    own: list[BrowserContext] = []
    used: dict[Profile, set[str]] = {}

    def open_(
        url: str, *, expected_errors: bool = False, before: Callable[[Page], object] | None = None, **options: Any
    ) -> Opened:
        host = urlsplit(url).netloc
        if before is None:
            of_page = {name: options.pop(name) for name in ("viewport", "color_scheme") if name in options}
            profile = profiles(options)
            used.setdefault(profile, set()).add(host)
            found = Opened(profile.page(url, **of_page))
        else:  # a clock is that of a whole context
            own.append(browser.new_context(**{"viewport": VIEWPORT, **options}))
            found = Opened(own[-1].new_page())
            before(found.page)
        opened.append((found, host, expected_errors))
        found.page.goto(url)
        return found

    yield open_
    for context in own:
        context.close()
    for profile, hosts in used.items():
        profile.clear(hosts)
    for found, host, expected_errors in opened:
        assert found.hosts <= {host}
        assert not found.faults
        assert expected_errors or not found.errors
