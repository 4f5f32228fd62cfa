"""Take the picture of the dashboard that README.md shows, docs/dashboard.png, of a running demo: `make screenshot`."""

import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import Browser, expect, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "dashboard.png"
WIDTH, HEIGHT = 1280, 1100
SYMBOL = "AAPL"


def take(browser: Browser, url: str, symbol: str, file: Path) -> None:
    """Write what the dashboard at `url` shows of all points of `symbol`, once everything on it is there."""
    page = browser.new_page(viewport={"width": WIDTH, "height": 900}, color_scheme="dark")
    page.goto(f"{url}?symbol={symbol}&window=all")
    page.wait_for_function("() => performance.getEntriesByName('chart').length")
    expect(page.locator("#windows tbody td").last).not_to_be_empty()
    expect(page.locator("#facts")).to_contain_text(re.compile(r"[1-9][\d.]* ?k?/s"))  # the second answer tells the rate
    page.evaluate("document.getAnimations().forEach((one) => one.finish())")
    page.screenshot(path=file, full_page=True, clip={"x": 0, "y": 0, "width": WIDTH, "height": HEIGHT})
    page.close()


def main() -> int:
    """Start the demo, take the picture, and stop it."""
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
                take(browser, url, SYMBOL, PICTURE)
                browser.close()
        finally:
            demo.send_signal(signal.SIGINT)
    print(f"{PICTURE.relative_to(ROOT)}: {PICTURE.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
