"""The page in a real Chromium: it draws, complains of nothing and asks nothing of a network."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from causalopt.report import write_report

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]


@pytest.fixture(scope="module")
def browser() -> Iterator[sync_api.Browser]:
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield started
        started.close()


def open_page(browser: sync_api.Browser, path: Path, **context: object) -> tuple[sync_api.Page, list[str], list[str]]:
    page = browser.new_context(**context).new_page()
    complaints: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(path.as_uri())
    return page, complaints, requests


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_draws_offline_without_complaint(browser: sync_api.Browser, full_run: Path, width: int) -> None:
    path = write_report(full_run)
    viewport = {"width": width, "height": 844}
    page, complaints, requests = open_page(browser, path, viewport=viewport, offline=True)
    page.wait_for_function("document.querySelectorAll('.plot .main-svg').length > 0")
    assert [heading.inner_text()[:2] for heading in page.locator("h2").all()] == ["1.", "2.", "3.", "Ho"]
    # Each plot has drawn marks, not merely an empty frame.
    assert page.locator(".plot").count() == 7
    for plot in page.locator(".plot").all():
        assert plot.locator(".trace path").count() > 0, plot.get_attribute("id")
    assert complaints == []
    assert [url for url in requests if not url.startswith(("data:", "blob:"))] == [path.as_uri()]
    assert page.evaluate("window.hacked") is None
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "the page scrolls sideways"


def test_text_and_tables_are_there_without_javascript(browser: sync_api.Browser, full_run: Path) -> None:
    page, complaints, _ = open_page(browser, write_report(full_run), java_script_enabled=False)
    assert "The policy is better than the reference" in page.locator("h1").inner_text()
    assert page.locator("main table").count() >= 11
    for name in ("Covariates as benchmarks", "Placebo checks", "Balance"):
        assert page.get_by_role("region", name=name).is_visible()
    assert page.get_by_text("The plots need JavaScript").is_visible()
    assert complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_background(browser: sync_api.Browser, full_run: Path, scheme: str) -> None:
    """WCAG 2 AA: at least 4.5 to 1, on the page and on a panel."""
    page, _, _ = open_page(browser, write_report(full_run), color_scheme=scheme)

    def luminance(name: str) -> float:
        value = page.evaluate(f"getComputedStyle(document.documentElement).getPropertyValue('{name}').trim()")
        parts = [int(value[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for ground in ("--paper", "--panel"):
        for ink in ("--ink", "--soft", "--link", "--better", "--worse", "--unclear"):
            low, high = sorted((luminance(ground), luminance(ink)))
            assert (high + 0.05) / (low + 0.05) >= 4.5, (scheme, ink, ground)
    axis = page.locator(".xtick text").first
    expected = page.evaluate("getComputedStyle(document.body).color")
    assert axis.evaluate("node => getComputedStyle(node).fill") == expected
