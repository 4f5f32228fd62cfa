"""Keys, links, refresh and themes: what the dashboard does in the hands of a person."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import OpenPage
from tests.service import Service, running_service


@pytest.fixture(scope="module")
def letters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Yield a service with a hundred points of A, B and C, to look at only."""
    with running_service(tmp_path_factory.mktemp("letters")) as service:
        for symbol in "ABC":
            service.add(symbol, [float(i) for i in range(100)])
        yield service


def test_keys_work_wherever_one_has_clicked(letters: Service, open_page: OpenPage) -> None:
    """On a refresh button, in a table: all but what the focused thing itself takes."""
    opened = open_page(f"{letters.url}/?symbol=A&window=10")
    page = opened.page
    opened.wait_for_bars(90, 100)
    page.locator("#refresh input[value='5']").check()
    page.keyboard.press("2")
    opened.wait_for_bars(0, 100)
    page.keyboard.press("ArrowRight")
    expect(page.locator("#refresh input:checked")).to_have_value("10")
    page.get_by_role("region", name="Windows").focus()
    page.keyboard.press("1")
    opened.wait_for_bars(90, 100)
    page.keyboard.press("Home")
    opened.wait_for_bars(90, 100)
    page.keyboard.press("]")
    expect(page.locator("#symbol")).to_have_text("B")


def test_the_symbol_before_the_first_is_the_last(letters: Service, open_page: OpenPage) -> None:
    """From the overview, the next one is the first and the one before is the last."""
    page = open_page(letters.url).page
    expect(page.get_by_role("link", name="A", exact=True)).to_be_visible()
    for key, symbol in (("[", "C"), ("]", "A")):
        page.keyboard.press(key)
        expect(page.locator("#symbol")).to_have_text(symbol)
        page.keyboard.press("o")
        expect(page.locator("#overview")).to_be_visible()


def test_a_link_to_a_symbol_is_a_link(letters: Service, open_page: OpenPage) -> None:
    """It has an address, and with Ctrl it opens beside this page, which stays."""
    page = open_page(letters.url).page
    link = page.locator("#overview-table").get_by_role("link", name="B")
    expect(link).to_have_attribute("href", "?symbol=B")
    with page.context.expect_page() as other:
        link.click(modifiers=["Control"])
    expect(other.value.locator("#symbol")).to_have_text("B")
    expect(page.locator("#overview")).to_be_visible()
    other.value.close()
    link.click()
    expect(page.locator("#symbol")).to_have_text("B")
    with page.context.expect_page() as other:
        page.locator("#home").click(modifiers=["Control"])
    expect(other.value.locator("#overview")).to_be_visible()
    expect(page.locator("#symbol")).to_have_text("B")


def hide(page: Page, hidden: str) -> None:
    """Make the page think that it is hidden, or seen again."""
    page.evaluate(
        """(hidden) => {
          Object.defineProperty(document, 'hidden', { configurable: true, get: () => hidden === 'hidden' });
          document.dispatchEvent(new Event('visibilitychange'));
        }""",
        hidden,
    )


def test_off_asks_nothing_and_the_age_goes_on(letters: Service, open_page: OpenPage) -> None:
    """In an hour of the page's own time, and not when one comes back to its tab either; 1 s asks again."""
    opened = open_page(f"{letters.url}/?symbol=A&window=10", before=lambda page: page.clock.install())
    page = opened.page
    opened.wait_for_bars(90, 100)
    page.get_by_label("Off", exact=True).check()
    page.wait_for_load_state("networkidle")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.clock.fast_forward("01:00:00")
    page.clock.run_for(20_000)
    hide(page, "hidden")
    hide(page, "visible")
    page.clock.run_for(2000)
    expect(page.locator("#facts")).to_contain_text(re.compile("6[0-9] min ago"))
    assert asked == []
    with page.expect_response(re.compile("/symbols")):
        page.locator("#refresh input[value='1']").check()


def test_off_holds_from_its_moment(shared_service: Service, open_page: OpenPage, symbol: str) -> None:
    """What was about to be asked a moment before is not asked any more: no number moves after it."""
    shared_service.add(symbol, [1.5] * 9)
    opened = open_page(f"{shared_service.url}/?symbol={symbol}&window=10", before=lambda page: page.clock.install())
    page = opened.page
    opened.wait_for_bars(0, 9)
    page.wait_for_function("document.querySelector('#windows tbody td[title]') !== null")
    page.clock.pause_at(page.evaluate("Date.now() / 1000 + 1"))
    shared_service.add(symbol, [2.5])
    expect(page.locator("#last")).to_have_text("2.5")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.get_by_label("Off", exact=True).check()
    shared_service.add(symbol, [3.5])
    page.clock.run_for(20_000)
    expect(page.locator("#last")).to_have_text("2.5")
    assert asked == []


def test_small_pictures_take_the_colours_of_the_theme(letters: Service, open_page: OpenPage) -> None:
    """They are drawn anew when it changes."""
    # Reading pixels back is what Chromium warns of.
    page = open_page(letters.url, expected_errors=True, color_scheme="dark").page
    drawn = """() => {
      const canvas = document.querySelector('#overview-table canvas');
      const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
      let blue = null;
      for (let i = 0; i < data.length; i += 4) if (data[i + 3] === 255) blue = [data[i], data[i + 1], data[i + 2]];
      return blue;
    }"""
    page.wait_for_function(drawn)
    assert page.evaluate(drawn) == [88, 166, 255]
    page.get_by_label("Off", exact=True).check()
    for name in ("Dark", "Light"):
        page.locator("#theme").click()
        expect(page.locator("#theme")).to_have_text(name)
    assert page.evaluate(drawn) == [11, 92, 196]


def test_the_table_keeps_its_rows_and_the_place_is_told(
    shared_service: Service, open_page: OpenPage, symbol: str
) -> None:
    """New points come as new rows below those that are being read; a status tells of moves, not of points."""
    shared_service.add(symbol, [1.0, 2.0])
    opened = open_page(f"{shared_service.url}/?symbol={symbol}&window=all")
    page = opened.page
    page.get_by_role("button", name="Table", exact=True).click()
    rows = page.locator("#table tbody tr")
    expect(rows).to_have_count(2)
    expect(page.locator("#state")).to_contain_text(f"{symbol}, points 0 to 1")
    page.evaluate("() => { document.querySelector('#table tbody tr').dataset.mine = '1'; }")
    shared_service.add(symbol, [3.0])
    expect(rows).to_have_count(3)
    expect(rows.first).to_have_attribute("data-mine", "1")
    expect(page.locator("#state")).to_contain_text(f"{symbol}, points 0 to 1")
    shared_service.add(symbol, [4.0] * 20)
    expect(rows).to_have_count(23)
    page.keyboard.press("1")
    expect(page.locator("#state")).to_contain_text(f"{symbol}, points 13 to 22")
