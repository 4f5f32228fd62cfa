"""Take the pictures of the dashboard in README.md and docs/dashboard.md, of a running demo: `make screenshot`."""

import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, expect, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
DESK = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}
PICTURES: dict[str, dict[str, Any]] = {
    "dashboard": {"viewport": DESK, "color_scheme": "dark"},
    "dashboard-light": {"viewport": DESK, "color_scheme": "light"},
    "dashboard-phone": {"viewport": PHONE, "color_scheme": "dark", "has_touch": True, "is_mobile": True},
}
SYMBOL = "AAPL"


def take(browser: Browser, url: str, symbol: str, file: Path, options: dict[str, Any]) -> None:
    """Write what the dashboard at `url` shows of the newest year of `symbol`, once everything on it is there."""
    page = browser.new_page(**options)
    page.goto(f"{url}?symbol={symbol}&window=365d")
    for at in ("#style", "#vwap"):
        page.locator(at).click()
    page.locator("#sigma").select_option("2")
    page.evaluate("scrollTo(0, 0)")
    page.wait_for_function("() => performance.getEntriesByName('chart').length")
    expect(page.locator("#windows tbody td").last).not_to_be_empty()
    expect(page.locator("#facts")).to_contain_text(re.compile(r"[1-9][\d.]* ?k?/s"))  # the second answer tells the rate
    page.evaluate("document.getAnimations().forEach((one) => one.finish())")
    page.mouse.move(0, 0)
    page.screenshot(path=file)
    page.close()


def main() -> int:
    """Start the demo, take the pictures, and stop it."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        print("screenshot: needs Chromium (apt-get install chromium)", file=sys.stderr)
        return 1
    command = [sys.executable, "-u", "-m", "api.cli.command", "demo"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as demo:  # noqa: S603 - our own command
        try:
            url = next((line.split()[1] for line in demo.stdout or () if line.startswith("Dashboard")), None)
            if url is None:
                return 1
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
                for name, options in PICTURES.items():
                    take(browser, url, SYMBOL, ROOT / "docs" / f"{name}.png", options)
                browser.close()
        finally:
            demo.send_signal(signal.SIGINT)
    for name in PICTURES:
        print(f"docs/{name}.png: {(ROOT / 'docs' / f'{name}.png').stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
