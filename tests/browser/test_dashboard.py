"""The dashboard, as a person uses it."""

import json
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, expect

from hft_mmap.files.head import Head
from hft_mmap.files.live import FLAG_SYNC_FAILED
from hft_mmap.tree.words import FLAGS
from tests.browser.conftest import POINTS, SPIKE, Opened, OpenPage, fill, prices
from tests.conftest import StartService
from tests.service import PATIENCE_S, Service, run_command, running_service
from tests.small_disk import SmallDisk

BIG = "?symbol=BIG-USD"


def chart(opened: Opened) -> Locator:
    """Return the area of the chart that takes the pointer."""
    return opened.page.locator("#plot .u-over")


def preset(opened: Opened, name: str) -> None:
    """Press a button above the chart."""
    opened.page.get_by_role("group", name="Newest points").get_by_role("button", name=name, exact=True).click()


def wheel(opened: Opened, pixels: int, share: float) -> None:
    """Turn the wheel with the pointer at `share` of the width of the chart."""
    box = chart(opened).bounding_box()
    assert box is not None
    opened.page.mouse.move(box["x"] + share * box["width"], box["y"] + 50)
    opened.page.mouse.wheel(0, pixels)


def wait_for_points(opened: Opened, most: int) -> tuple[int, int]:
    """Wait until the chart shows at most `most` points; return the first and the last of them."""
    opened.page.wait_for_function(
        "most => +document.getElementById('plot').dataset.to - document.getElementById('plot').dataset.from <= most",
        arg=most,
    )
    return opened.range()


def faults(opened: Opened, rule: str | None = None) -> list[tuple[str, str]]:
    """Return what axe finds wrong with the page, by the rules of WCAG 2.1 A and AA, or by one of them."""
    opened.page.evaluate("document.getAnimations().forEach((one) => one.finish())")
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]
    rules = {"type": "rule", "values": [rule]} if rule else {"type": "tag", "values": tags}
    found = Axe().run(opened.page, options={"runOnly": rules, "resultTypes": ["violations"]})
    return [(fault["id"], node["html"]) for fault in found.response["violations"] for node in fault["nodes"]]


def test_the_overview_lists_every_symbol(filled: Service, open_page: OpenPage) -> None:
    """With its newest price, total and age, in both themes and on a telephone; a click opens it, Back leads back."""
    opened = open_page(filled.url, color_scheme="dark")
    page = opened.page
    row = page.get_by_role("row", name="BIG-USD")
    expect(row).to_contain_text(f"{POINTS:,}")
    expect(row).to_contain_text("ago")
    expect(page.locator("#health")).to_have_text("Ready")
    opened.keep("overview-dark")
    assert faults(opened) == []
    page.emulate_media(color_scheme="light")
    assert faults(opened, "color-contrast") == []
    page.set_viewport_size({"width": 360, "height": 900})
    page.wait_for_function("() => innerWidth === 360")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    assert faults(opened) == []
    opened.keep("overview-360")
    row.get_by_role("link").click()
    expect(page.locator("#symbol")).to_have_text("BIG-USD")
    assert "symbol=BIG-USD" in page.url
    page.go_back()
    expect(page.get_by_role("heading", name="Symbols").first).to_be_visible()


def test_windows_and_facts_are_those_of_the_service(filled: Service, open_page: OpenPage) -> None:
    """The table of windows has the numbers of /stats, the facts those of /symbols."""
    opened = open_page(f"{filled.url}/{BIG}")
    stats = filled.client.get("/stats", params={"symbol": "BIG-USD"}).json()["windows"]
    for exponent in (1, 5, 8):
        cells = opened.page.locator("#windows tbody tr").nth(exponent - 1).locator("td")
        expect(cells.nth(0)).to_have_attribute("title", re.compile(r"\d"))
        shown = [float(cells.nth(i).get_attribute("title") or "nan") for i in (0, 1, 2, 4)]
        assert shown == [stats[str(exponent)][name] for name in ("min", "max", "avg", "var")]
        expect(cells.nth(6)).to_have_text(f"{min(10**exponent, POINTS):,}")
    expect(opened.page.locator("#facts")).to_contain_text(f"{POINTS:,}")


def test_new_points_show_while_one_looks(filled: Service, open_page: OpenPage) -> None:
    """Price, total, windows and chart follow within a refresh, with no hand on the page."""
    opened = open_page(f"{filled.url}/?symbol=EUR%2FUSD&window=10")
    last, total = opened.page.locator("#last"), opened.page.locator("#facts dd").first
    for price in (1.0851, 1.0862):
        added = filled.add("EUR/USD", [price]).json()["total"]
        expect(last).to_have_text(str(price))
        expect(total).to_have_text(str(added))
        opened.wait_for_bars(max(added - 10, 0), added)
        expect(opened.page.locator("#windows tbody tr").first.locator("td").nth(1)).to_have_text(str(price))
    expect(opened.page.locator("#facts")).to_contain_text(re.compile(r"\d\.\d s ago"))
    opened.page.get_by_label("Off", exact=True).check()
    before = last.inner_text()
    filled.add("EUR/USD", [1.0999])
    preset(opened, "100")
    expect(opened.page.locator("#presets [aria-pressed='true']")).to_have_text("100")
    expect(last).to_have_text(before)


def test_ten_million_points_down_to_single_ones_and_back(filled: Service, open_page: OpenPage) -> None:
    """The spike shows in the whole, can be zoomed in to by the wheel, and every point is the one that was stored."""
    zoom_to_the_spike(open_page(f"{filled.url}/{BIG}&window=all"), POINTS)


@pytest.mark.stress
def test_a_hundred_million_points_down_to_single_ones_and_back(tmp_path: Path, open_page: OpenPage) -> None:
    """The same over 1e8 points; when they are painted is a benchmark (perf.experiments.dashboard)."""
    fill(tmp_path / "data", 10**8)
    with running_service(tmp_path) as service:
        zoom_to_the_spike(open_page(f"{service.url}/{BIG}&window=all"), 10**8)


def zoom_to_the_spike(opened: Opened, points: int) -> None:
    """Zoom in from all points to some twenty around the spike, look at them one by one, and go back."""
    size = opened.wait_for_bars(0, points)
    assert size >= points // 2000
    expect(opened.page.locator("#readout")).to_contain_text("900.00")
    box = chart(opened).bounding_box()
    assert box is not None
    first, last = 0, points - 1
    while last - first > 40:
        wheel(opened, -900, (SPIKE - first) / (last - first))
        first, last = wait_for_points(opened, max(int((last - first) * 0.4), 20))
        assert first <= SPIKE <= last
    assert opened.wait_for_bars(first, last + 1) == 1
    opened.page.get_by_role("button", name="Table", exact=True).click()
    rows = opened.page.locator("#table tbody tr").all_inner_texts()
    stored = prices(points)
    shown = {int(cells[0].replace(",", "")): float(cells[6].replace(",", "")) for cells in map(str.split, rows)}
    assert shown == {i: stored[i] for i in range(first, last + 1)}
    opened.keep("single-points")
    preset(opened, "All")
    assert opened.wait_for_bars(0, points) == size


def test_drag_zooms_and_shift_drag_moves(filled: Service, open_page: OpenPage) -> None:
    """A marked part fills the chart; shift and drag takes it along; the address has the range, and leads back to it."""
    opened = open_page(f"{filled.url}/{BIG}&window=all")
    opened.wait_for_bars(0, POINTS)
    box = chart(opened).bounding_box()
    assert box is not None
    x, y, mouse = box["x"], box["y"] + 100, opened.page.mouse
    mouse.move(x + 0.25 * box["width"], y)
    mouse.down()
    mouse.move(x + 0.5 * box["width"], y, steps=4)
    mouse.up()
    first, last = wait_for_points(opened, int(POINTS * 0.3))
    assert [first / POINTS, last / POINTS] == pytest.approx([0.25, 0.5], abs=0.01)
    opened.page.keyboard.down("Shift")
    mouse.down()
    mouse.move(x + 0.25 * box["width"], y, steps=4)
    mouse.up()
    opened.page.keyboard.up("Shift")
    opened.page.wait_for_function("first => +document.getElementById('plot').dataset.from > first", arg=first)
    moved_first, moved_last = opened.range()
    assert moved_last - moved_first == last - first
    assert moved_first == pytest.approx(first + (last - first) / 4, rel=0.02)
    assert f"from={moved_first}&to={moved_last + 1}" in opened.page.url
    opened.page.reload()
    opened.wait_for_bars(moved_first, moved_last + 1)


def test_the_strip_moves_through_the_history(filled: Service, open_page: OpenPage) -> None:
    """A press at its middle shows the middle of the history."""
    opened = open_page(f"{filled.url}/{BIG}&window=1000000")
    opened.wait_for_bars(POINTS - 10**6, POINTS)
    opened.page.locator("#navigator").click()
    opened.wait_for_bars(POINTS // 2 - 500_000, POINTS // 2 + 500_000)
    expect(opened.page.get_by_role("button", name="Live")).to_have_attribute("aria-pressed", "false")
    opened.page.get_by_role("button", name="Live").click()
    opened.wait_for_bars(POINTS - 10**6, POINTS)


def test_an_answer_that_comes_too_late_is_dropped(filled: Service, open_page: OpenPage) -> None:
    """The chart shows what was asked for last, in whatever order the answers come."""
    opened = open_page(f"{filled.url}/{BIG}&window=1000")
    opened.wait_for_bars(POINTS - 1000, POINTS)
    held: list[Any] = []

    def hold(route: Any) -> None:
        held.append(route)

    opened.page.route(re.compile(r"/bars\?.*from=9900000"), hold)
    with opened.page.expect_request(re.compile("from=9900000")):
        preset(opened, "100k")
    preset(opened, "10")
    opened.wait_for_bars(POINTS - 10, POINTS)
    assert len(held) == 1
    opened.page.unroute_all(behavior="ignoreErrors")


def keys_listed(opened: Opened) -> set[str]:
    """Return the keys that the list has, which is being shown, and close it."""
    page = opened.page
    expect(page.get_by_role("heading", name="Keyboard")).to_be_visible()
    listed = set(page.locator("#keys kbd").all_inner_texts())
    assert faults(opened) == []
    page.get_by_role("button", name="Close").click()
    expect(page.locator("#keys")).to_be_hidden()  # while it closes, keys are still its own
    return listed


def press_those_of_the_screen(opened: Opened, press: Callable[[str], None]) -> None:
    """Press the keys of what is drawn, and those that lead back."""
    page = opened.page
    press("Home")
    opened.wait_for_bars(0, 100)
    for back in ("Backspace", "b"):
        press("1")
        opened.wait_for_bars(POINTS - 10, POINTS)
        press(back)
        opened.wait_for_bars(0, 100)
    press("x")  # no times, no other axis
    for key, button in (("s", "style"), ("g", "log"), ("m", "measure")):
        press(key)
        expect(page.locator(f"#{button}")).to_have_attribute("aria-pressed", "true")
    press("w")  # no sizes
    expect(page.locator("#vwap")).to_have_attribute("aria-pressed", "false")


def test_every_key_does_what_the_list_says(filled: Service, open_page: OpenPage) -> None:
    """Each key that the list has, one by one."""
    url = f"{filled.url}/{BIG}&window=1000"
    opened = open_page(url, accept_downloads=True, permissions=["clipboard-read", "clipboard-write"])
    page = opened.page
    pressed = set()

    def press(key: str) -> None:
        pressed.add({"ArrowLeft": "←", "ArrowRight": "→"}.get(key, key))
        page.keyboard.press(key)

    opened.wait_for_bars(POINTS - 1000, POINTS)
    press("?")
    listed = keys_listed(opened)
    for key in "134567280":
        press(key)
        expect(page.locator("#presets [aria-pressed='true']")).to_have_attribute(
            "data-window", "all" if key == "0" else str(10 ** int(key))
        )
    press("2")
    opened.wait_for_bars(POINTS - 100, POINTS)
    for zoom in "+=":
        press(zoom)
        opened.wait_for_bars(POINTS - 50, POINTS)
        press("-")
        opened.wait_for_bars(POINTS - 100, POINTS)
    press("ArrowLeft")
    opened.wait_for_bars(POINTS - 125, POINTS - 25)
    press("ArrowLeft")
    opened.wait_for_bars(POINTS - 150, POINTS - 50)
    press("ArrowRight")
    opened.wait_for_bars(POINTS - 125, POINTS - 25)
    for newest in ("End", "l"):
        press("Home")
        opened.wait_for_bars(0, 100)
        press(newest)
        opened.wait_for_bars(POINTS - 100, POINTS)
    press_those_of_the_screen(opened, press)
    press("c")
    expect(page.locator("#toast")).to_have_text("Copied")
    assert "/bars/?" in page.evaluate("navigator.clipboard.readText()")
    for key, suffix in (("d", "csv"), ("p", "png")):
        with page.expect_download() as download:
            press(key)
        assert download.value.suggested_filename.endswith(f".{suffix}")
    press("v")
    expect(page.locator("#table")).to_be_visible()
    for seconds in ("5", "10", "0", "1"):
        press("r")
        expect(page.locator("#refresh input:checked")).to_have_value(seconds)
    for key, symbol in (("]", "EUR/USD"), ("[", "BIG-USD"), ("j", "EUR/USD"), ("k", "BIG-USD")):
        press(key)
        expect(page.locator("#symbol")).to_have_text(symbol)
    press("o")
    expect(page.locator("#overview")).to_be_visible()
    press("t")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    press("/")  # the last one: what is typed from here on is searched for
    expect(page.get_by_role("searchbox", name="Search")).to_be_focused()
    assert pressed == listed


def test_keys_can_be_switched_off(filled: Service, open_page: OpenPage) -> None:
    """Until they are switched on again, also after the page was loaded anew."""
    page = open_page(filled.url).page
    page.keyboard.press("?")
    page.get_by_label("Switch single keys off").check()
    page.get_by_role("button", name="Close").click()
    page.reload()
    expect(page.get_by_role("row", name="BIG-USD")).to_be_visible()
    page.keyboard.press("t")
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_hidden()
    assert page.locator("html").get_attribute("data-theme") is None
    page.locator("#help").click()
    page.get_by_label("Switch single keys off").uncheck()
    page.get_by_role("button", name="Close").click()
    expect(page.locator("#keys")).to_be_hidden()
    page.keyboard.press("t")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")


def test_what_is_shown_can_be_taken_away(filled: Service, open_page: OpenPage) -> None:
    """As a CSV with every digit, as a picture, and as a command that gives the same."""
    opened = open_page(
        f"{filled.url}/{BIG}&window=10", accept_downloads=True, permissions=["clipboard-read", "clipboard-write"]
    )
    page = opened.page
    opened.wait_for_bars(POINTS - 10, POINTS)
    with page.expect_download() as csv:
        page.get_by_role("button", name="CSV").click()
    lines = Path(csv.value.path()).read_text(encoding="utf-8").splitlines()
    assert lines[0] == "index,points,first,last,min,max,mean"
    stored = prices(POINTS)[-10:]
    assert [float(line.split(",")[6]) for line in lines[1:]] == stored.tolist()
    with page.expect_download() as png:
        page.get_by_role("button", name="PNG").click()
    picture = Path(png.value.path()).read_bytes()
    assert picture.startswith(b"\x89PNG")
    # The chart as it is, with 44 px for the symbol and the caption above it.
    width, height = page.evaluate("(({ width, height }) => [width, height])(document.querySelector('#plot canvas'))")
    assert struct.unpack(">2I", picture[16:24]) == (width, height + 44)
    assert width > 800
    page.get_by_role("button", name="Copy as curl").click()
    expect(page.locator("#toast")).to_have_text("Copied")
    command: str = page.evaluate("navigator.clipboard.readText()")
    url = re.fullmatch(r"curl -s '(.*)'", command)
    assert url
    assert httpx.get(url[1], timeout=PATIENCE_S).json()["close"] == stored.tolist()


@pytest.mark.parametrize(("scheme", "width"), [("dark", 1920), ("light", 360)])
def test_both_themes_at_every_width(filled: Service, open_page: OpenPage, scheme: Any, width: int) -> None:
    """Nothing sticks out, and axe has nothing to say; the theme is that of the system until one chooses."""
    opened = open_page(f"{filled.url}/{BIG}&window=all", color_scheme=scheme, viewport={"width": width, "height": 900})
    opened.wait_for_bars(0, POINTS)
    expect(opened.page.locator("#windows tbody td").first).not_to_be_empty()
    assert opened.page.evaluate("document.documentElement.scrollWidth") == width
    background = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == {"dark": "rgb(12, 16, 22)", "light": "rgb(243, 245, 248)"}[scheme]
    opened.keep(f"symbol-{scheme}-{width}")
    assert faults(opened) == []


def test_the_theme_that_was_chosen_stays(filled: Service, open_page: OpenPage) -> None:
    """Also where the system is of the other one, and after the page was loaded again."""
    opened = open_page(filled.url, color_scheme="dark")
    for name in ("Dark", "Light"):
        opened.page.locator("#theme").click()
        expect(opened.page.locator("#theme")).to_have_text(name)
    opened.page.reload()
    expect(opened.page.locator("html")).to_have_attribute("data-theme", "light")


def test_an_empty_service_says_how_to_begin(service: Service, open_page: OpenPage) -> None:
    """With a command that works as it stands; what it adds shows by itself."""
    opened = open_page(service.url)
    page = opened.page
    command = page.locator("#message pre").inner_text()
    opened.keep("empty")
    assert faults(opened) == []
    body = re.search(r"-d '(.*)'", command)
    assert body
    assert f"{service.url}/add_batch/" in command
    assert service.client.post("/add_batch/", json=json.loads(body[1])).status_code == 200
    expect(page.get_by_role("row", name="ABC-USD")).to_contain_text("5")


def test_an_unknown_symbol_says_so_and_leads_on(filled: Service, open_page: OpenPage) -> None:
    """It names the symbol, as text and never as markup, and those there are."""
    opened = open_page(f"{filled.url}/?symbol=%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E")
    page = opened.page
    expect(page.get_by_role("heading", name="Symbol not found: <img src=x onerror=alert(1)>")).to_be_visible()
    opened.keep("unknown-symbol")
    assert faults(opened) == []
    page.locator("#message").get_by_role("link", name="BIG-USD").click()
    expect(page.locator("#symbol")).to_have_text("BIG-USD")


def test_a_service_that_is_gone_is_told_and_found_again(start_service: StartService, open_page: OpenPage) -> None:
    """What it said last stays on the page, marked as such; when it is back, so is the page."""
    service = start_service()
    service.add("A", [1.0, 2.0])
    opened = open_page(f"{service.url}/?symbol=A", expected_errors=True)
    expect(opened.page.locator("#last")).to_have_text("2")
    service.kill()
    expect(opened.page.locator("#notice")).to_contain_text("The service does not answer")
    expect(opened.page.locator("#health")).to_have_text("Unreachable")
    expect(opened.page.locator("#last")).to_have_text("2")
    opened.keep("service-gone")
    assert faults(opened) == []
    opened.page.emulate_media(color_scheme="dark")
    assert faults(opened, "color-contrast") == []
    again = start_service(server__port=service.port)
    expect(opened.page.locator("#notice")).to_be_hidden()
    expect(opened.page.locator("#health")).to_have_text("Ready")
    again.add("A", [3.0])
    expect(opened.page.locator("#last")).to_have_text("3")


def test_what_does_not_serve_is_told_with_its_reason(start_service: StartService, open_page: OpenPage) -> None:
    """A series that was set aside or is read-only turns the light, and a press on it says why."""
    before = start_service()
    before.add("DAMAGED", [1.0])
    before.add("GOOD", [1.0])
    assert before.stop() == 0
    (before.data_dir / "DAMAGED" / "head").write_bytes(bytes(4096))
    after = start_service()
    opened = open_page(after.url, expected_errors=True)
    expect(opened.page.locator("#health")).to_have_text("Not ready: 1 reason")
    opened.page.locator("#health").click()
    expect(opened.page.locator("#reasons")).to_contain_text("DAMAGED: set aside")
    Head(after.data_dir / "GOOD", writable=True).store(FLAGS, FLAG_SYNC_FAILED)
    assert after.add("GOOD", [1.0]).status_code == 503
    expect(opened.page.locator("#health")).to_have_text("Not ready: 2 reasons")
    expect(opened.page.locator("#reasons")).to_contain_text("GOOD: read only")
    expect(opened.page.locator("#reasons")).to_contain_text("check the disk, then restart the service")
    opened.keep("not-ready")
    assert faults(opened) == []


def test_a_full_disk_is_told_and_taken_back(start_service: StartService, disk: SmallDisk, open_page: OpenPage) -> None:
    """Before any batch was refused, and while all series can still be read."""
    service = start_service(store__data_dir=disk.path / "data", store__starting_capacity=0)
    service.add("A", [1.0, 2.0])
    opened = open_page(f"{service.url}/?symbol=A", expected_errors=True)
    expect(opened.page.locator("#health")).to_have_text("Ready")
    opened.page.locator("#health").click()
    disk.fill()
    expect(opened.page.locator("#health")).to_have_text("Not ready: 1 reason")
    expect(opened.page.locator("#reasons")).to_contain_text("store: disk full")
    expect(opened.page.locator("#last")).to_have_text("2")
    disk.clear()
    expect(opened.page.locator("#health")).to_have_text("Ready")
    expect(opened.page.locator("#reasons")).to_contain_text("Every series serves reads and takes writes.")


def test_a_token_is_asked_for_where_the_service_wants_one(
    start_service: StartService, open_page: OpenPage, tmp_path: Path
) -> None:
    """A wrong one, and one that may not read, are refused in the words of the service; the right one is kept."""
    tokens = tmp_path / "tokens"
    token, writer = make_token(tmp_path, tokens), make_token(tmp_path, tokens, "feed", "write")
    service = start_service(auth__tokens_file=tokens)
    add = {"symbol": "A", "values": [1.0, 2.0]}
    assert service.client.post("/add_batch", json=add, headers={"Authorization": f"Bearer {token}"}).status_code == 200
    opened = open_page(f"{service.url}/?symbol=A", expected_errors=True)
    page = opened.page
    expect(page.locator("#notice")).to_contain_text("A token is needed")
    opened.keep("token")
    assert faults(opened) == []
    page.get_by_label("Token").fill("hft_wrong")
    page.get_by_role("button", name="Use").click()
    expect(page.locator("#notice")).to_contain_text("not known")
    page.get_by_label("Token").fill(writer)
    page.get_by_role("button", name="Use").click()
    expect(page.locator("#notice")).to_contain_text("The token feed has the scope write; this needs read")
    expect(page.locator("#health")).to_have_text("Token needed")
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Use").click()
    expect(page.locator("#last")).to_have_text("2")
    page.reload()
    expect(page.locator("#last")).to_have_text("2")
    assert token not in page.content()
    assert token not in page.url


def make_token(directory: Path, tokens: Path, name: str = "desk", *scopes: str) -> str:
    """Return a new token that may read and write, or what `scopes` say."""
    options = [option for scope in scopes or ("read", "write") for option in ("--scope", scope)]
    done = run_command(directory, "token", name, *options, "--file", str(tokens))
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
