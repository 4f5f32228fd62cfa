"""The lists of the dashboard with thousands of symbols: found, put in order, and scrolled through."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import pytest
from playwright.sync_api import Page, Route, expect

from hft_mmap import Limits, Store
from tests.browser.conftest import OpenPage
from tests.service import Service, running_service

COUNT = 700
MOST = 599  # the number of the symbol with the most points
IN_ALL = Limits(max_symbols=2 * COUNT, starting_capacity=0, chunk_points=64)
KEEP_NOTICES = """
  window.notices = [];
  addEventListener('DOMContentLoaded', () => {
    const notice = document.getElementById('notice');
    new MutationObserver(() => { if (notice.innerText) notices.push(notice.innerText); })
      .observe(notice, { attributes: true, childList: true, subtree: true, characterData: true });
  });
"""


def name(number: int) -> str:
    """Return the symbol of this number; its price is the number and a half, its total one more, up to `MOST`."""
    return f"S{number:04}-USD"


@contextmanager
def _service_of_many(directory: Path) -> Iterator[Service]:
    # No power is cut here: to wait for the disk 2,000 times would take longer than all else.
    with (
        patch("os.fsync"),
        patch("os.fdatasync"),
        Store(directory / "data", limits=IN_ALL, durability="process") as store,
    ):
        for number in range(COUNT):
            store.append_nowait(name(number), [number + 0.5] * (700 if number == MOST else min(number + 1, MOST)))
    with running_service(directory, store__max_symbols=2 * COUNT) as service:
        yield service


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Yield a service with 700 symbols; what tests add leaves the greatest and the least of each column as they are."""
    with _service_of_many(tmp_path_factory.mktemp("many")) as service:
        yield service


def test_thousands_are_listed_and_few_of_them_are_there(many: Service, open_page: OpenPage) -> None:
    """The page has as many rows as are in sight; scrolled to its end it has the last ones, with their numbers."""
    page = open_page(many.url).page
    expect(page.locator("#found")).to_have_text(f"{COUNT:,}")
    expect(page.get_by_role("row", name=name(0))).to_contain_text("0.5")
    assert page.locator("#overview-table tbody tr").count() < 200
    assert page.locator("#overview-table table").get_attribute("aria-rowcount") == str(COUNT + 1)
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    row = page.get_by_role("row", name=name(COUNT - 1))
    expect(row).to_contain_text(f"{COUNT - 0.5:,}")
    assert row.get_attribute("aria-rowindex") == str(COUNT + 1)
    assert page.locator("#overview-table tbody tr").count() < 200
    # A row in sight follows the service, though it comes with none of the next pages.
    many.add(name(COUNT - 1), [7777.25])
    expect(row).to_contain_text("7,777.25")


def test_a_symbol_is_searched_for_and_opened(many: Service, open_page: OpenPage) -> None:
    """By a part of its name, in any case; the list beside the chart has what was found too."""
    page = open_page(many.url).page
    expect(page.locator("#found")).to_have_text(f"{COUNT:,}")
    page.keyboard.press("/")
    page.keyboard.type("s012")
    expect(page.locator("#found")).to_have_text(f"10 of {COUNT:,}")
    rows = page.locator("#overview-table tbody tr:has(th)")
    expect(rows).to_have_count(10)
    page.get_by_role("link", name=name(123)).first.click()
    expect(page.locator("#symbol")).to_have_text(name(123))
    expect(page.locator("#watch li")).to_have_count(10)
    page.locator("#main").press("j")
    expect(page.locator("#symbol")).to_have_text(name(124))


def test_the_list_beside_a_chart_scrolls_by_itself(many: Service, open_page: OpenPage) -> None:
    """It is no higher than the window, and all symbols are in it, to the last."""
    page = open_page(f"{many.url}/?symbol={name(0)}").page
    expect(page.locator("#watch li").first).to_have_attribute("aria-setsize", str(COUNT))
    box = page.locator("#watch .box")
    row = page.locator("#watch li", has_text=name(COUNT - 1))
    for _ in range(2):  # the room of rows that are not there is made with the first movement
        box.evaluate("async (box) => { box.scrollTop = box.scrollHeight; await new Promise(requestAnimationFrame); }")
    expect(row).to_be_in_viewport()
    assert box.evaluate("(box) => box.clientHeight < innerHeight && box.scrollHeight > 20 * innerHeight")
    assert page.locator("#watch li").count() < 200


@pytest.mark.parametrize(
    ("column", "first", "second"),
    [("Last", COUNT - 1, 0), ("Total", MOST, 0), ("Symbol", COUNT - 1, 0), ("Retained", MOST, 0)],
)
def test_the_columns_put_the_symbols_in_order(
    many: Service, open_page: OpenPage, column: str, first: int, second: int
) -> None:
    """The greatest first, or the other way round when the head of the column is pressed once more; its head says so."""
    page = open_page(many.url).page
    expect(page.locator("#found")).to_have_text(f"{COUNT:,}")
    head = page.locator("#overview-table th").filter(has=page.get_by_role("button", name=column, exact=True))
    top = page.locator("#overview-table tbody tr:has(th)").first.locator("th")
    head.get_by_role("button").click()
    expect(head).to_have_attribute("aria-sort", "descending")
    expect(top).to_have_text(name(first))
    head.get_by_role("button").click()
    expect(head).to_have_attribute("aria-sort", "ascending")
    expect(top).to_have_text(name(second))


def test_what_changes_comes_to_the_top(many: Service, open_page: OpenPage) -> None:
    """Ordered by change or by rate, a symbol far down the list that gets points is the first before long."""
    page = open_page(many.url).page
    expect(page.locator("#found")).to_have_text(f"{COUNT:,}")
    top = page.locator("#overview-table tbody tr:has(th)").first
    for column, number, price in (("Points a second", 434, 434.5), ("Change", 300, 5_000.0)):
        page.get_by_role("button", name=column, exact=True).click()
        many.add(name(number), [price] * 100)
        expect(top.locator("th")).to_have_text(name(number))
    expect(top).to_contain_text(f"+{(5_000.0 - 300.5) / 300.5 * 100:,.2f} %")


def test_a_symbol_that_is_removed_leaves_the_list(many: Service, open_page: OpenPage) -> None:
    """And one that is made comes into it, on whichever page of the answers it is."""
    many.add("A-NEW", [1.0])
    # It may ask for the picture of the one that is in no list yet, and a browser logs every refusal.
    page = open_page(many.url, expected_errors=True).page
    expect(page.locator("#found")).to_have_text(f"{COUNT + 1:,}")
    assert many.client.delete("/symbols/A-NEW").status_code == 200
    expect(page.locator("#found")).to_have_text(f"{COUNT:,}")
    expect(page.get_by_role("link", name="A-NEW")).to_have_count(0)


def test_a_symbol_that_is_removed_while_its_picture_is_asked_for_is_no_failure(
    shared_service: Service, open_page: OpenPage, symbol: str
) -> None:
    """The page says nothing of it, and shows the others."""
    removed, others = f"A-{symbol}", f"B-{symbol}"
    for one in (removed, others):
        shared_service.add(one, [1.0, 2.0])
    refused: list[int] = []

    def remove_first(route: Route) -> None:
        shared_service.client.delete(f"/symbols/{removed}")
        answer = route.fetch()
        refused.append(answer.status)
        route.fulfill(response=answer)

    def prepare(page: Page) -> None:
        page.route(re.compile(rf"/series\?.*symbol={removed}&"), remove_first)
        page.add_init_script(KEEP_NOTICES)

    page = open_page(shared_service.url, expected_errors=True, before=prepare).page
    expect(page.get_by_role("row", name=others)).to_be_visible()
    expect(page.get_by_role("link", name=removed)).to_have_count(0)
    assert set(refused) == {404}
    assert page.evaluate("notices") == []
