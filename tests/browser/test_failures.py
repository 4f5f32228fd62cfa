"""What the dashboard does when answers are late, wrong or missing: it says so, and goes on asking."""

import re
import signal

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import OpenPage
from tests.service import Service

HTML = {"status": 200, "content_type": "text/html", "body": "<!doctype html><p>Please log in to the hotel"}


def test_a_service_that_hangs_is_unreachable(service: Service, open_page: OpenPage) -> None:
    """It takes connections and answers nothing: after ten seconds the light is red, and green when it goes on."""
    service.add("A", [1.0, 2.0])
    opened = open_page(f"{service.url}/?symbol=A", expected_errors=True, before=lambda page: page.clock.install())
    page = opened.page
    expect(page.locator("#health")).to_have_text("Ready")
    expect(page.locator("#last")).to_have_text("2")
    service.process.send_signal(signal.SIGSTOP)
    try:
        with page.expect_request("**/symbols?*"):
            page.clock.run_for(10_100)
        page.clock.run_for(11_000)
        expect(page.locator("#health")).to_have_text("Unreachable")
        expect(page.locator("#notice")).to_contain_text("The service does not answer")
    finally:
        service.process.send_signal(signal.SIGCONT)
    page.clock.run_for(3000)
    expect(page.locator("#health")).to_have_text("Ready")
    expect(page.locator("#notice")).to_be_hidden()


def test_bars_that_do_not_come_are_told(shared_service: Service, open_page: OpenPage, symbol: str) -> None:
    """A refused /series is on the page, though all else is answered, until it is answered again."""
    shared_service.add(symbol, [1.0] * 200)
    opened = open_page(f"{shared_service.url}/?symbol={symbol}&window=100", expected_errors=True)
    page = opened.page
    opened.wait_for_bars(100, 200)

    def refuse(route: Route) -> None:
        route.fulfill(status=503, json={"detail": "The series is set aside", "status": 503})

    page.route(re.compile(r"/bars\?.*from="), refuse)
    page.keyboard.press("+")
    expect(page.locator("#notice")).to_contain_text("The series is set aside")
    with page.expect_response(re.compile("/symbols")), page.expect_response(re.compile("from=")):
        pass
    expect(page.locator("#notice")).to_contain_text("The series is set aside")
    page.unroute_all(behavior="ignoreErrors")
    expect(page.locator("#notice")).to_be_hidden()
    opened.wait_for_bars(150, 200)


@pytest.mark.parametrize(
    ("path", "answer"),
    [("symbols", HTML), ("ready", HTML), ("events", HTML), ("bars", {"json": {"other": 1}})],
)
def test_an_answer_of_somebody_else_is_no_answer(
    filled: Service, open_page: OpenPage, path: str, answer: dict[str, object]
) -> None:
    """A page of a proxy or JSON of another shape is told like a failure, and the page goes on asking."""

    def other(route: Route) -> None:
        route.fulfill(**answer)  # type: ignore[arg-type]

    def prepare(page: Page) -> None:
        page.route(re.compile(rf"/{path}(\?|$)"), other)

    opened = open_page(f"{filled.url}/?symbol=BIG-USD&window=10", expected_errors=True, before=prepare)
    expect(opened.page.locator("#notice")).to_contain_text(f"What answers at /{path} is not this service")
    opened.page.unroute_all(behavior="ignoreErrors")
    opened.page.get_by_role("button", name="Ask now").click()
    expect(opened.page.locator("#notice")).to_be_hidden()
    expect(opened.page.locator("#health")).to_have_text("Ready")


def test_a_failure_is_told_once(service: Service, open_page: OpenPage) -> None:
    """The notice and its button stay as they are while the page tries again: who is on the button stays there."""
    service.add("A", [1.0])
    opened = open_page(f"{service.url}/?symbol=A", expected_errors=True)
    page = opened.page
    expect(page.locator("#last")).to_have_text("1")
    service.kill()
    again = page.get_by_role("button", name="Ask now")
    again.focus()
    watched = """() => {
      window.changes = 0;
      new MutationObserver((all) => { window.changes += all.length; })
        .observe(document.getElementById('notice'), { childList: true, subtree: true, characterData: true });
    }"""
    page.evaluate(watched)
    for _ in range(2):
        with page.expect_event("requestfailed"):
            page.keyboard.press("Enter")
    expect(again).to_be_focused()
    assert page.evaluate("window.changes") == 0


@pytest.mark.parametrize("storage", ["localStorage", "sessionStorage"])
def test_a_browser_that_keeps_nothing_will_do(
    shared_service: Service, open_page: OpenPage, symbol: str, storage: str
) -> None:
    """Without storage the page works, and the theme goes through all three as long as the page is there."""
    shared_service.add(symbol, [1.0])
    script = f"Object.defineProperty(window, '{storage}', {{ get() {{ throw new DOMException('denied'); }} }})"
    opened = open_page(f"{shared_service.url}/?symbol={symbol}", before=lambda page: page.add_init_script(script))
    expect(opened.page.locator("#last")).to_have_text("1")
    for name in ("Dark", "Light", "Auto", "Dark"):
        opened.page.locator("#theme").click()
        expect(opened.page.locator("#theme")).to_have_text(name)
