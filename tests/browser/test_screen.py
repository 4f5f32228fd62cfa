"""The dashboard as a trading screen: time, candles, what is drawn over them, alerts, groups, and all of it in sight."""

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Opened, OpenPage
from tests.browser.test_dashboard import faults
from tests.service import Service, running_service

POINTS = 20_000
STEP_NS = 100_000_000
BEGIN_NS = 1_767_225_600 * 10**9
DESK = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}
TICKS = "?symbol=TICK&window=5m"


def walk(seed: int, start: float) -> Any:
    """Return prices of a random walk of cents."""
    return np.round(start + np.cumsum(np.random.default_rng(seed).normal(0, 0.02, POINTS)), 2)


def add_ticks(service: Service, symbol: str, prices: Any, first: int = 0, sizes: Any = None) -> None:
    """Append points a tenth of a second apart; `first` is the number of the first of them."""
    values = np.asarray(prices, dtype=float)
    times = BEGIN_NS + STEP_NS * np.arange(first, first + len(values))
    sizes = np.ones(len(values)) if sizes is None else np.asarray(sizes, dtype=float)
    body = {"symbol": symbol, "values": values.tolist(), "times": times.tolist(), "sizes": sizes.tolist()}
    answer = service.client.post("/add_batch", json=body)
    assert answer.status_code == 200, answer.text


@pytest.fixture(scope="module")
def ticks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Yield a service with ticks of TICK and OTHER, and series that are hard to show; to look at only."""
    with running_service(tmp_path_factory.mktemp("ticks")) as service:
        add_ticks(service, "TICK", walk(1, 500), sizes=1 + np.arange(POINTS) % 7)
        add_ticks(service, "OTHER", walk(2, 50))
        for symbol, prices in HARD.items():
            service.add(symbol, prices)
        yield service


HARD = {
    "ONE": [42.0],
    "FLAT": [7.5] * 100,
    "TINY": [1e-9 * i for i in range(1, 50)],
    "HUGE": [1e18 * i for i in range(1, 50)],
}


def wait_for_chart(opened: Opened) -> None:
    """Wait until bars are drawn, and the windows are there."""
    opened.page.locator("#plot[data-to]").wait_for(state="attached")
    expect(opened.page.locator("#windows tbody td").first).not_to_be_empty()


def hover(page: Page, share: float) -> None:
    """Put the pointer into the chart."""
    box = page.locator("#plot").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + share * (box["width"] - 80), box["y"] + 0.4 * box["height"])


def test_the_axis_is_time_where_there_are_times(ticks: Service, open_page: OpenPage) -> None:
    """With points as a choice, of the same part; the address says which, and leads back to it."""
    opened = open_page(f"{ticks.url}/?symbol=TICK", viewport=DESK)
    page = opened.page
    wait_for_chart(opened)
    expect(page.locator("#caption")).to_contain_text("UTC · ")
    expect(page.locator("#presets [aria-pressed='true']")).to_have_text("5m")  # the shortest with a thousand points
    page.locator("#presets").get_by_role("button", name="15m", exact=True).click()
    expect(page).to_have_url(re.compile("window=15m"))
    expect(page.locator("#caption")).to_contain_text("2026-01-01 00:18:19 to 2026-01-01 00:33:19 UTC · 9,")
    page.locator("#axis").click()
    expect(page.locator("#caption")).to_contain_text(re.compile(r"Points 10,\d{3} to 19,999"))
    page.reload()
    expect(page.locator("#caption")).to_contain_text(re.compile(r"Points 10,\d{3} to 19,999"))
    expect(page.locator("#axis")).to_have_attribute("aria-pressed", "false")
    page.get_by_role("button", name="All", exact=True).click()
    expect(page.locator("#caption")).to_contain_text("Points 0 to 19,999")


def test_bars_by_time_are_those_of_the_service(ticks: Service, open_page: OpenPage) -> None:
    """Of the whole minutes that the address names; the table has their numbers and times."""
    begin = BEGIN_NS // 1000
    opened = open_page(f"{ticks.url}/?symbol=TICK&from={begin}us&to={begin + 600_000_000}us", viewport=DESK)
    page = opened.page
    wait_for_chart(opened)
    assert page.locator("#plot").get_attribute("data-to") == "6000"
    every = f"{int(page.locator('#plot').get_attribute('data-size') or 0)}us"
    page.get_by_role("button", name="Table", exact=True).click()
    stored = ticks.client.get("/bars", params={"symbol": "TICK", "every": every, "to": 6000}).json()
    rows = page.locator("#table tbody tr")
    expect(rows).to_have_count(len(stored["time"]))
    cells = rows.last.locator("th, td").all_inner_texts()
    assert [float(cell.replace(",", "")) for cell in cells[:6]] == [
        stored[name][-1] for name in ("index", "count", "open", "close", "low", "high")
    ]


def test_labels_stay_while_data_comes_in(shared_service: Service, open_page: OpenPage, symbol: str) -> None:
    """The crosshair says where it is on both axes, also after new points; the tag has the last price."""
    add_ticks(shared_service, symbol, walk(3, 100)[:600])
    opened = open_page(f"{shared_service.url}/?symbol={symbol}&window=1m", viewport=DESK)
    page = opened.page
    wait_for_chart(opened)
    page.get_by_role("button", name="Candles").click()
    hover(page, 0.5)
    expect(page.locator(".cross-x")).to_contain_text("2026-01-01 00:00:")
    where = page.locator("#readout .where")
    expect(where).to_contain_text("2026-01-01 00:00:")
    for i, price in enumerate((99.5, 100.25, 100.75)):
        add_ticks(shared_service, symbol, [price], first=600 + i)
        expect(page.locator("#last")).to_have_text(f"{price:.2f}")
        expect(page.locator(".last-tag")).to_have_text(f"{price:.2f}")
        expect(page.locator(".cross-x")).to_contain_text("2026-01-01 00:00:")
        expect(page.locator(".cross-y")).to_have_text(re.compile(r"^\d+\.\d+$"))
        expect(where).to_contain_text("2026-01-01 00:00:")
    opened.keep("candles")


def test_an_open_page_has_one_stream_and_one_moment(shared_service: Service, open_page: OpenPage, symbol: str) -> None:
    """New points bring no requests for statistics or bars; total, price, windows and chart change together."""
    add_ticks(shared_service, symbol, walk(4, 100)[:600])
    opened = open_page(f"{shared_service.url}/?symbol={symbol}&window=1m", viewport=DESK)
    page = opened.page
    with page.expect_request(re.compile("/events.*bars=")):
        wait_for_chart(opened)
    add_ticks(shared_service, symbol, [123.0], first=600)
    expect(page.locator("#last")).to_have_text("123.00")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.evaluate(
        """() => {
          const seen = window.seen = [];
          const text = (at) => document.querySelector(at).textContent.replaceAll(',', '');
          new MutationObserver(() => seen.push([
            text('#facts dd'), document.getElementById('plot').dataset.to,
            text('#last'), text('.last-tag'), text('#windows tbody td:nth-child(3)'),
          ])).observe(document.querySelector('#facts dd'), { characterData: true, childList: true, subtree: true });
        }"""
    )
    for i in range(1, 6):
        add_ticks(shared_service, symbol, [123.0 + i], first=600 + i)
        expect(page.locator("#last")).to_have_text(f"{123 + i}.00")
    seen = page.evaluate("seen")
    assert len(seen) >= 4
    for total, to, *prices in seen:
        assert total == to
        assert len(set(prices)) == 1
    strip = re.compile(r"points=\d+$")  # the whole history below the chart is drawn anew now and then
    assert [url for url in asked if re.search("/(bars|stats|events)", url) and not strip.search(url)] == []


def test_a_scale_by_shares_and_a_price_of_zero(shared_service: Service, open_page: OpenPage, symbol: str) -> None:
    """Log shows as many rows for a tenfold at the bottom as at the top; where a price is 0 it can't be chosen."""
    shared_service.add(symbol, [1.0, 10.0, 100.0, 1000.0])
    opened = open_page(f"{shared_service.url}/?symbol={symbol}&window=10", viewport=DESK)
    page = opened.page
    wait_for_chart(opened)
    page.get_by_role("button", name="Log").click()
    expect(page.get_by_role("button", name="Log")).to_have_attribute("aria-pressed", "true")
    places = page.evaluate("async () => (await import('/static/chart.js')).logSplits(1, 1000)")
    assert places == pytest.approx([1, 10, 100, 1000])
    shared_service.add(symbol, [0.0])
    expect(page.get_by_role("button", name="Log")).to_be_disabled()


def test_all_is_in_sight_on_a_desk(ticks: Service, open_page: OpenPage) -> None:
    """Chart and windows at 1440 x 900, without scrolling in any direction; axe has nothing to say."""
    opened = open_page(f"{ticks.url}/{TICKS}", viewport=DESK, color_scheme="dark")
    page = opened.page
    wait_for_chart(opened)
    for at in ("#windows", "#plot", "#navigator"):
        box = page.locator(at).bounding_box()
        assert box is not None
        assert box["y"] + box["height"] <= DESK["height"]
    aside = page.locator(".aside").first
    assert aside.evaluate("({ scrollWidth, clientWidth }) => scrollWidth - clientWidth") <= 0
    assert page.evaluate("document.documentElement.scrollWidth") == DESK["width"]
    page.get_by_role("group", name="Windows by").get_by_role("button", name="Time").click()
    expect(page.locator("#windows tbody th").nth(4)).to_have_text("5m")
    stored = ticks.client.get("/stats", params={"symbol": "TICK"}).json()["by_time"]["5m"]
    expect(page.locator("#windows tbody tr").nth(4).locator("td").first).to_have_attribute("title", str(stored["min"]))
    opened.keep("screen-1440")
    assert faults(opened) == []


SMALL = """() => [...document.querySelectorAll('button, select, input, a, summary')].filter((node) => {
  const is_ticked = node.matches('input[type=radio], input[type=checkbox]');
  const touched = is_ticked ? node.parentElement.querySelector('span') ?? node : node;
  const { width, height } = touched.getBoundingClientRect();
  return width > 1 && height > 1 && (width < 44 || height < 44) && !node.closest('.foot, p') && !node.matches('.skip');
}).map((node) => node.outerHTML.slice(0, 120))"""  # what a finger would miss; links in a text are as high as a line


def test_a_telephone_shows_the_chart_first(ticks: Service, open_page: OpenPage) -> None:
    """In the first screen, with room for a finger on all that can be touched, and nothing that sticks out."""
    opened = open_page(f"{ticks.url}/{TICKS}", viewport=PHONE, color_scheme="light")
    page = opened.page
    wait_for_chart(opened)
    box = page.locator("#plot").bounding_box()
    assert box is not None
    assert box["y"] + box["height"] <= PHONE["height"]
    assert box["height"] >= 240
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    assert page.evaluate(SMALL) == []
    opened.keep("screen-phone")
    page.goto(ticks.url)
    expect(page.get_by_role("row", name="TICK")).to_be_visible()
    assert page.evaluate(SMALL) == []
    assert faults(opened) == []


@pytest.mark.parametrize(
    ("symbol", "last", "change"),
    [("ONE", "42", "0 (0.00 %)"), ("FLAT", "7.5", "0.0 (0.00 %)"), ("TINY", "4.9e-8", "▲"), ("HUGE", "4.9e+19", "▲")],
)
def test_hard_numbers_look_right(ticks: Service, open_page: OpenPage, symbol: str, last: str, change: str) -> None:
    """One point, no change, tiny and huge ones: a line, a price that can be read, nothing that sticks out."""
    opened = open_page(f"{ticks.url}/?symbol={symbol}", viewport=DESK)
    page = opened.page
    wait_for_chart(opened)
    expect(page.locator("#last")).to_have_text(last)
    expect(page.locator("#change")).to_contain_text(change)
    expect(page.locator(".last-tag")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == DESK["width"]
    assert "NaN" not in page.locator("main").inner_text()
    opened.keep(f"hard-{symbol}")


def test_bands_and_vwap_are_exact(ticks: Service, open_page: OpenPage) -> None:
    """Those of the points themselves: mean and sigma of the newest twenty bars, VWAP of all from a bar on."""
    page = open_page(f"{ticks.url}/docs").page
    found = page.evaluate(
        """async () => {
          const [{ taken }, { rolling, vwap }] = [await import('/static/bars.js'), await import('/static/overlays.js')];
          const bars = taken(await (await fetch('/bars?symbol=TICK&every=7s&to=9000')).json());
          return { ...rolling(bars), vwap: vwap(bars, 5), index: bars.index, count: bars.count };
        }"""
    )
    prices, sizes = walk(1, 500), 1 + np.arange(POINTS) % 7
    begin = found["index"]
    assert found["mean"][:19] == [None] * 19
    for i in (19, 20, 77, len(begin) - 1):
        end = begin[i] + found["count"][i]
        part = prices[begin[i - 19] : end]
        assert found["mean"][i] == pytest.approx(part.mean(), rel=1e-12)
        assert found["std"][i] == pytest.approx(part.std(), rel=1e-9)
        traded = slice(begin[5], end)
        assert found["vwap"][i] == pytest.approx(np.average(prices[traded], weights=sizes[traded]), rel=1e-12)
    assert found["vwap"][4] is None


def test_what_is_drawn_over_the_prices(ticks: Service, open_page: OpenPage) -> None:
    """Bands, VWAP, and another symbol in per cent beside this one; each can be taken away again."""
    opened = open_page(f"{ticks.url}/{TICKS}", viewport=DESK)
    page = opened.page
    wait_for_chart(opened)
    page.get_by_label("Bands of mean and sigma").select_option("± 2 σ")  # noqa: RUF001
    page.get_by_role("button", name="VWAP").click()
    hover(page, 0.6)
    for name in ("Mean of 20 bars", "−2 σ", "+2 σ", "VWAP from the left"):  # noqa: RUF001
        expect(page.locator("#readout")).to_contain_text(name)
    page.get_by_label("Compare with").select_option("OTHER")
    hover(page, 0.5)
    expect(page.locator("#readout")).to_contain_text(re.compile(r"OTHER [+−]\d+\.\d\d %"))  # noqa: RUF001
    expect(page.locator(".cross-y")).to_contain_text("%")
    opened.keep("compared")
    page.get_by_role("button", name="Do not compare with OTHER").click()
    expect(page.locator("#compared button")).to_have_count(0)
    hover(page, 0.6)
    expect(page.locator(".cross-y")).not_to_contain_text("%")
    page.reload()
    expect(page.get_by_label("Bands of mean and sigma")).to_have_value("2")  # how one likes it is kept


def test_distances_are_measured(ticks: Service, open_page: OpenPage) -> None:
    """In price, per cent, time and bars, between two places of the chart."""
    opened = open_page(f"{ticks.url}/{TICKS}", viewport=DESK)
    page = opened.page
    wait_for_chart(opened)
    page.get_by_role("button", name="Measure").click()
    box = page.locator("#plot .u-over").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 0.7 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 0.2 * box["height"], steps=4)
    page.mouse.up()
    expect(page.locator(".ruler-tag")).to_have_text(re.compile(r"^\+\d+\.\d\d \(\+\d\.\d\d %\) · 2\.5 min · \d+ bars$"))
    page.get_by_role("button", name="Measure").click()
    expect(page.locator(".ruler-tag")).to_be_hidden()


def test_back_leads_through_the_zooms(ticks: Service, open_page: OpenPage) -> None:
    """Each movement is a step; where there is none left, the button is off."""
    opened = open_page(f"{ticks.url}/?symbol=TICK&window=16000", viewport=DESK)
    page = opened.page
    opened.wait_for_bars(4000, POINTS)
    back = page.get_by_role("button", name="Back")
    expect(back).to_be_disabled()
    page.locator("#presets").get_by_role("button", name="1k", exact=True).click()
    opened.wait_for_bars(POINTS - 1000, POINTS)
    expect(back).to_be_enabled()
    back.click()
    opened.wait_for_bars(4000, POINTS)
    expect(back).to_be_disabled()


def test_an_alert_tells_of_the_first_point_that_meets_it(
    shared_service: Service, open_page: OpenPage, symbol: str
) -> None:
    """Above, below and by sigma; what was there before does not count, and what is kept is kept."""
    shared_service.add(symbol, [100.0, 150.0, 100.0, 101.0, 99.0, 100.0])
    opened = open_page(f"{shared_service.url}/?symbol={symbol}", viewport=DESK)
    page = opened.page
    wait_for_chart(opened)
    for kind, bound in (("at or above", "120"), ("at or below", "50"), ("σ from the mean of 10k", "3")):  # noqa: RUF001
        page.get_by_label("Tell when the price is").select_option(kind)
        page.get_by_label("Bound").fill(bound)
        page.get_by_role("region", name="Alerts").get_by_role("button", name="Add").click()
    rows = page.locator("#alerts li")
    shared_service.add(symbol, [101.0])
    expect(page.locator("#last")).to_have_text("101")
    expect(rows.nth(0)).to_contain_text("waits")
    shared_service.add(symbol, [119.0, 121.5, 130.0, 100.0])
    expect(rows.nth(0)).to_contain_text("121.5 at point 8")
    expect(rows.nth(1)).to_contain_text("waits")
    shared_service.add(symbol, [100.0] * 200 + [900.0])
    expect(rows.nth(2)).to_contain_text("σ from the mean")  # noqa: RUF001
    expect(page.locator("#alert-news")).to_contain_text(symbol)
    page.reload()
    expect(rows.nth(0)).to_contain_text("121.5 at point 8")
    page.get_by_role("button", name=f"Set the alert of {symbol} again").first.click()
    expect(rows.nth(0)).to_contain_text("waits")
    for _ in range(3):
        rows.first.get_by_role("button", name="Remove the alert").click()
    expect(rows).to_have_count(0)


def test_symbols_are_put_into_groups(ticks: Service, open_page: OpenPage) -> None:
    """By the star of the row; a group is shown alone, beside the chart too, and kept until it is removed."""
    page = open_page(ticks.url, viewport=DESK).page
    star = page.get_by_role("button", name="OTHER in the group")
    expect(star).to_have_attribute("aria-pressed", "false")
    page.get_by_label("Name of a new group").fill("Mine")
    page.get_by_role("button", name="Add").click()
    star.click()
    page.get_by_role("button", name="FLAT in the group").click()
    page.get_by_role("button", name="Only this group").click()
    rows = page.locator("#overview-table tbody tr:has(th)")
    expect(rows).to_have_count(2)
    page.reload()
    expect(rows).to_have_count(2)
    expect(page.locator("#found")).to_have_text("2 of 6")
    page.get_by_role("link", name="OTHER").click()
    expect(page.locator("#watch li")).to_have_count(2)
    page.go_back()
    page.get_by_role("button", name="Remove it").click()
    expect(rows).to_have_count(6)


def test_the_list_has_change_and_picture_of_the_same_points(ticks: Service, open_page: OpenPage) -> None:
    """Of the newest 10,000, as /stats has it; red or green as it fell or rose."""
    page = open_page(ticks.url, viewport=DESK).page
    found = ticks.client.get("/stats", params={"symbol": "TICK", "window": 10_000, "stats": "return"}).json()["return"]
    cell = page.get_by_role("row", name="TICK").locator("td").nth(2)
    expect(cell).to_have_text(f"{'−' if found < 0 else '+'}{abs(found) * 100:.2f} %")  # noqa: RUF001
    expect(cell).to_have_class(f"number {'loss' if found < 0 else 'gain'}")
