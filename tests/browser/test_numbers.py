"""Every number on the dashboard is the one that was stored, and stands under the name that it belongs to."""

import re
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import OpenPage
from tests.conftest import StartService
from tests.service import Service

ALL_WINDOWS = "#windows tbody td"
STRIP = """() => {
  const { width, height } = document.querySelector('#navigator canvas');
  const pen = document.querySelector('#navigator canvas').getContext('2d');
  return width > 0 && pen.getImageData(0, 0, width, height).data.some((value) => value > 0);
}"""  # is anything drawn on it


def rate(page: Page) -> Any:
    """Return the expectation of what the page says about how fast points come."""
    return expect(page.locator("#facts > div").nth(2).locator("dd").first)


def refresh(page: Page, seconds: int) -> None:
    """Let the time of the page go on until it has asked again, which it does every ten seconds."""
    with page.expect_response("**/symbols?*") as answer:
        page.clock.run_for(1000 * max(seconds, 10))
        while not answer.is_done():
            page.clock.run_for(50)


def test_no_number_of_a_chart_runs_ahead_of_it(shared_service: Service, open_page: OpenPage, symbol: str) -> None:
    """The list of symbols knows of a point before the event that brings it: price, total and chart wait for that."""
    shared_service.add(symbol, [1.5] * 9)
    opened = open_page(f"{shared_service.url}/?symbol={symbol}&window=10", before=lambda page: page.clock.install())
    page = opened.page
    opened.wait_for_bars(0, 9)
    expect(page.locator(ALL_WINDOWS).first).to_have_attribute("title", re.compile(r"\d"))
    with page.expect_response(re.compile("/events.*interval_ms=10000")):
        page.locator("#refresh input[value='10']").check()

    page.evaluate(
        """() => {
          const total = document.querySelector('#facts dd'), seen = window.seen = [];
          new MutationObserver(() => seen.push([total.textContent, document.getElementById('plot').dataset.to]))
            .observe(total, { characterData: true, childList: true, subtree: true });
        }"""
    )

    def add_first(route: Route) -> None:
        shared_service.add(symbol, [2.5])
        shared_service.add(f"{symbol}-B", [1.0])
        route.continue_()

    page.route("**/symbols?*", add_first, times=1)
    refresh(page, 10)
    expect(page.locator(f"#picker option[value='{symbol}-B']")).to_have_count(1)
    expect(page.locator("#last")).to_have_text("2.5")
    opened.wait_for_bars(0, 10)
    seen = page.evaluate("seen")
    assert seen
    assert all(total == to for total, to in seen)


@pytest.mark.parametrize(
    ("prices", "last", "least"),
    [
        ([105432.17, 105432.19, 105432.18], "105,432.18", "105,432.17"),
        ([1234567.25, 0.125, 1234567.5], "1,234,567.500", "0.125"),
        ([1.0, 1.0000000005, 1.5], "1.5000000000", "1.0000000000"),
        ([0.5, 2.5e-9, 0.75], "0.7500000000", "2.5e-9"),
        ([1 / 3, 2 / 3, 1e15], "1000000000000000", "0.333333333333"),
    ],
)
def test_a_price_is_shown_with_all_its_digits(
    shared_service: Service, open_page: OpenPage, symbol: str, prices: list[float], last: str, least: str
) -> None:
    """In the head, the windows, the line below the tools and the table; as many for all prices of a symbol."""
    shared_service.add(symbol, prices)
    opened = open_page(f"{shared_service.url}/?symbol={symbol}&window=10")
    page = opened.page
    expect(page.locator("#last")).to_have_text(last)
    cells = page.locator("#windows tbody tr").first.locator("td")
    expect(cells.first).to_have_text(least)
    opened.wait_for_bars(0, 3)
    expect(page.locator("#readout")).to_contain_text(f"Min {least}")
    page.get_by_role("button", name="Table", exact=True).click()
    expect(page.locator("#table tbody tr").last.locator("td").last).to_have_text(last)


def test_the_digits_of_a_bar_are_those_of_its_least_and_greatest_price(
    shared_service: Service, open_page: OpenPage, symbol: str
) -> None:
    """A price with more digits than the first one of its bar is not rounded."""
    shared_service.add(symbol, [*[1.5] * 1000, 1.50625, *[1.5] * 998, 1.5])
    url = f"{shared_service.url}/?symbol={symbol}&window=all"
    opened = open_page(url, viewport={"width": 700, "height": 900})
    assert opened.wait_for_bars(0, 2000) > 1
    expect(opened.page.locator("#readout")).to_contain_text("Max 1.50625")


@pytest.mark.parametrize("seconds", [1, 5, 10])
def test_the_rate_is_that_of_the_last_ten_seconds(shared_service: Service, open_page: OpenPage, seconds: int) -> None:
    """Whatever the refresh: what came between two answers, over the time between them."""
    page = open_page(f"{shared_service.url}/docs", before=lambda page: page.clock.install()).page
    page.clock.pause_at(page.evaluate("Date.now() / 1000 + 60"))  # further than it takes to say so
    page.evaluate("async () => { window.feed = new (await import('/static/feed.js')).Feed(); }")
    total, rates = 0, []
    for rate_now in [500] * (1 + 10 // seconds) + [0] * (10 // seconds):
        total += rate_now * seconds
        row = {"symbol": "S", "total": total, "appended_at": None}
        rates.append(page.evaluate("(row) => { feed.take({ symbols: [row] }); return feed.of('S').rate; }", row))
        page.clock.run_for(1000 * seconds)
    assert rates[0] is None  # one answer tells no rate
    assert rates[10 // seconds] == 500
    assert rates[-1] == 0


@pytest.mark.parametrize("seconds", [1, 5, 10])
def test_the_page_shows_at_which_rate_points_come(
    shared_service: Service, open_page: OpenPage, symbol: str, seconds: int
) -> None:
    """After two answers, and none any more when nothing has come for ten seconds."""
    shared_service.add(symbol, [1.0])
    url = f"{shared_service.url}/?symbol={symbol}&window=10"
    page = open_page(url, before=lambda page: page.clock.install()).page
    page.locator(f"#refresh input[value='{seconds}']").check()
    expect(page.locator("#last")).to_have_text("1")
    page.clock.pause_at(page.evaluate("Date.now() / 1000 + 60"))  # further than it takes to say so
    shared_service.add(symbol, [1.0] * 100_000)
    refresh(page, seconds)
    rate(page).to_have_text(re.compile(r"^[1-9].*/s$"))
    for _ in range(2):
        refresh(page, seconds)
    rate(page).to_have_text("0/s")


SHORT = {
    0: "0", 7: "7", 0.25: "0.250", 999: "999", 999.4: "999", 999.7: "1.00 k", 1000: "1.00 k", 12345: "12.3 k",
    999_499: "999 k", 999_600: "1.00 M", 2.5e9: "2.50 G", 1.2345e13: "12,345 G",
}  # fmt: skip


def test_numbers_in_short(shared_service: Service, open_page: OpenPage) -> None:
    """Three digits, and the unit that they have after rounding."""
    page = open_page(f"{shared_service.url}/docs").page
    shown = page.evaluate("async (all) => all.map((await import('/static/format.js')).short)", list(SHORT))
    assert dict(zip(SHORT, shown, strict=True)) == SHORT


BLUE = """() => {
  const canvas = document.querySelector('#plot canvas');
  const over = document.querySelector('#plot .u-over').getBoundingClientRect();
  const at = canvas.getBoundingClientRect();
  const { data, width } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  const column = (share) => {
    const x = Math.round(over.left - at.left + share * over.width);
    const rows = [];
    for (let y = Math.round(over.top - at.top); y < over.bottom - at.top; y++) {
      const i = 4 * (y * width + x);
      if (data[i + 3] > 0 && data[i + 2] - data[i] > 40) rows.push(y);
    }
    return rows;
  };
  return { height: over.height, wild: column(0.3), calm: column(0.8) };
}"""  # the rows in which line or band are drawn, in two columns without a line of the grid


def test_the_band_goes_from_the_least_to_the_greatest_price(
    shared_service: Service, open_page: OpenPage, symbol: str
) -> None:
    """In pixels: filled from 1 to 3 where prices go to and fro between them, no more than the line where they are 2."""
    shared_service.add(symbol, [1.0, 3.0] * 10_000 + [2.0] * 20_000)
    # Reading pixels back is what Chromium warns of.
    opened = open_page(f"{shared_service.url}/?symbol={symbol}&window=all", expected_errors=True, color_scheme="dark")
    assert opened.wait_for_bars(0, 40_000) >= 2
    opened.page.wait_for_function(f"() => ({BLUE})().wild.length > 0")
    found = opened.page.evaluate(BLUE)
    wild, calm = found["wild"], found["calm"]
    assert wild == list(range(wild[0], wild[-1] + 1))
    assert 0.6 * found["height"] < len(wild) <= found["height"]
    assert len(calm) <= 6
    middle = (wild[0] + wild[-1]) / 2
    assert all(abs(row - middle) <= 6 for row in calm)


def test_no_number_stands_under_the_name_of_another_symbol(start_service: StartService, open_page: OpenPage) -> None:
    """While the answers for the next symbol are under way, and if they never come, there are none."""
    service = start_service()
    service.add("A", [100.0, 200.0])
    service.add("B", [5.0, 6.0])
    opened = open_page(f"{service.url}/?symbol=A&window=10", expected_errors=True)
    page = opened.page
    opened.wait_for_bars(0, 2)
    expect(page.locator(ALL_WINDOWS).first).to_have_text("100")
    page.get_by_role("button", name="Table", exact=True).click()
    page.wait_for_function(STRIP)
    held: list[Route] = []
    page.route(re.compile(r"/(events|bars)\?symbol=B"), lambda route: held.append(route))  # noqa: PLW0108 - playwright marks it
    page.get_by_role("link", name=re.compile("^B")).click()
    expect(page.locator("#symbol")).to_have_text("B")
    expect(page.locator("#last")).to_have_text("6")
    assert "".join(page.locator(ALL_WINDOWS).all_inner_texts()) == ""
    assert page.locator("#table tbody tr").count() == 0
    assert [page.locator(name).inner_text() for name in ("#readout", "#change")] == ["", ""]
    assert page.locator("#plot canvas").count() == 0
    assert not page.evaluate(STRIP)
    for route in held:
        route.abort()
    page.unroute_all(behavior="ignoreErrors")
    expect(page.locator("#notice")).to_contain_text("does not answer")
    expect(page.locator(ALL_WINDOWS).first).to_have_text("5")
    page.wait_for_function(STRIP)
    opened.wait_for_bars(0, 2)


def test_the_strip_is_asked_for_again_when_it_did_not_come(
    shared_service: Service, open_page: OpenPage, symbol: str
) -> None:
    """A refusal of its bars leaves nothing behind that says it is there."""
    shared_service.add(symbol, [1.0, 2.0])

    def refuse(route: Route) -> None:
        route.fulfill(status=503, json={"detail": "Not now", "status": 503})

    opened = open_page(
        f"{shared_service.url}/?symbol={symbol}&window=10",
        expected_errors=True,
        before=lambda page: page.route(re.compile(r"points=1$"), refuse, times=1),
    )
    expect(opened.page.locator("#notice")).to_contain_text("Not now")
    opened.page.wait_for_function(STRIP)
    expect(opened.page.locator("#notice")).to_be_hidden()
