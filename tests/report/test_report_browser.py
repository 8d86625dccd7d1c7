"""The page in a real Chromium: it draws, complains of nothing, asks nothing of a network, and is usable by all."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
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
    assert [heading.inner_text()[:2] for heading in page.locator(".card h2").all()] == ["1.", "2.", "3."]
    # Each chart has drawn marks within its frame, not merely an empty one.
    assert page.locator(".chart").count() == 6  # frontier, contour, weights, samples, and two of the training
    for chart in page.locator(".chart").all():
        frame, marks = chart.bounding_box(), chart.locator("path.curve, path.area, circle")
        assert marks.count() > 0
        for box in [mark.bounding_box() for mark in marks.all()]:
            assert box["x"] >= frame["x"] - 1
            assert box["x"] + box["width"] <= frame["x"] + frame["width"] + 1
    assert page.locator("td.drawn .bar circle").count() >= 10
    assert complaints == []
    assert [url for url in requests if not url.startswith(("data:", "blob:"))] == [path.as_uri()]
    assert page.evaluate("window.hacked") is None
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "the page scrolls sideways"


def test_the_first_screen_holds_the_three_answers(browser: sync_api.Browser, full_run: Path) -> None:
    page, _, _ = open_page(browser, write_report(full_run), viewport={"width": 1280, "height": 800})
    for card in page.locator(".card").all():
        box = card.bounding_box()
        assert box["y"] + box["height"] <= 800


def test_text_tables_and_charts_are_there_without_javascript(browser: sync_api.Browser, full_run: Path) -> None:
    page, complaints, _ = open_page(browser, write_report(full_run), java_script_enabled=False)
    assert "The optimised model is better" in page.locator("h1").inner_text()
    assert page.locator("main table").count() >= 11
    for name in ("Covariates as benchmarks", "Placebo checks", "Balance"):
        assert page.get_by_role("region", name=name).is_visible()
    assert page.locator(".chart .curve").first.is_visible()
    assert not page.get_by_role("searchbox").is_visible(), "a control that would do nothing"
    assert page.locator(".samples > li").count() == 120, "all of them, if nothing can turn the pages"
    page.get_by_role("link", name="estimator", exact=True).first.click()
    assert page.locator("#term-estimator").evaluate("node => node.matches(':target')")
    assert complaints == []


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_axe_finds_no_serious_fault(browser: sync_api.Browser, full_run: Path, scheme: str, width: int) -> None:
    axe = pytest.importorskip("axe_playwright_python")
    viewport = {"width": width, "height": 844}
    page, _, _ = open_page(browser, write_report(full_run), color_scheme=scheme, viewport=viewport, bypass_csp=True)
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    page.evaluate((Path(axe.__file__).parent / "axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("axe.run()")
    assert len(found["passes"]) > 20
    serious = [
        (fault["id"], fault["help"], fault["nodes"][0]["html"][:200])
        for fault in found["violations"]
        if fault["impact"] in ("serious", "critical", "moderate")
    ]
    assert serious == []


def test_a_term_is_explained_under_the_pointer_and_to_the_keyboard(browser: sync_api.Browser, full_run: Path) -> None:
    page, _, _ = open_page(browser, write_report(full_run), viewport={"width": 390, "height": 844})
    tip, term = page.locator("#tip"), page.locator("a.term").nth(2)
    meaning = page.locator(f"#{term.get_attribute('aria-describedby')}").inner_text()
    assert not tip.is_visible()
    term.focus()
    tip.wait_for(state="visible")
    assert tip.inner_text() == meaning
    box = tip.bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390
    page.keyboard.press("Escape")
    assert not tip.is_visible()
    term.hover()
    assert tip.inner_text() == meaning
    tip.hover()  # what is under the pointer can be read there
    assert tip.is_visible()
    page.mouse.move(1, 1)
    assert not tip.is_visible()


def test_everything_is_reached_by_the_keyboard(browser: sync_api.Browser, full_run: Path) -> None:
    page, _, _ = open_page(browser, write_report(full_run))
    reached = []
    for _ in range(150):
        page.keyboard.press("Tab")
        here = page.evaluate(
            "[document.activeElement.tagName, document.activeElement.id || document.activeElement.type]"
        )
        reached.append(tuple(here))
        if here[0] == "BODY":
            break
    else:
        pytest.fail("the page has more than 150 stops")
    page.keyboard.press("Tab")
    assert {("INPUT", "search"), ("SELECT", "order"), ("BUTTON", "button"), ("SUMMARY", "settings")} <= set(reached)
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#value"


def test_samples_are_searched_sorted_and_shown_by_pages(browser: sync_api.Browser, full_run: Path) -> None:
    page, _, _ = open_page(browser, write_report(full_run))
    items, status = page.locator(".samples > li"), page.locator("#count")
    assert (items.count(), status.inner_text()) == (10, "10 of 120 shown")
    page.get_by_role("button", name="Show more samples").press("Enter")
    assert items.count() == 20
    assert page.evaluate("document.activeElement.parentElement.className") == "samples", "the focus is on what is new"

    def gains() -> list[float]:
        return [float(item.get_attribute("data-gain")) for item in items.all()]

    everything = sorted(map(float, re.findall(r'data-gain="([^"]+)"', (full_run / "report.html").read_text())))
    page.get_by_label("Order").select_option("gain up")
    assert gains() == everything[:10]
    page.get_by_label("Order").select_option("gain down")
    assert gains() == everything[:-11:-1]
    page.get_by_label("Search the texts").fill("WINDOW.hacked")
    assert status.inner_text().endswith(f"of {items.count()} shown")
    assert 1 <= items.count() <= 2
    assert all("window.hacked" in item.inner_text() for item in items.all())
    page.get_by_label("Search the texts").fill("no text has this")
    assert (items.count(), status.inner_text()) == (0, "0 of 0 shown")


def test_tables_show_that_they_scroll_on_a_phone(browser: sync_api.Browser, full_run: Path) -> None:
    page, _, _ = open_page(browser, write_report(full_run), viewport={"width": 390, "height": 844})
    regions = page.locator(".scroll").all()
    wide = [one for one in regions if one.evaluate("node => node.scrollWidth > node.clientWidth")]
    assert wide
    for region in regions:
        assert region.get_attribute("tabindex") == "0"
        shadows = region.evaluate("node => getComputedStyle(node).backgroundAttachment")
        assert shadows == "local, local, scroll, scroll"
    first = wide[0]
    first.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_timeout(300)  # of smooth scrolling
    assert first.evaluate("node => node.scrollLeft") > 0


def test_fifty_thousand_samples_open_in_three_seconds(browser: sync_api.Browser, full_run: Path) -> None:
    n = 50_000
    words = np.random.default_rng(0).choice(["winter", "gift", "warm", "help", "<b>give</b>"], (n, 40))
    samples = pd.DataFrame(
        {"policy": np.repeat(["reference", "policy"], n // 2), "text": [" ".join(row) for row in words]}
    )
    samples.assign(prompt=None, g=np.linspace(0, 1, n)).to_parquet(full_run / "samples.parquet")
    path = write_report(full_run)
    assert path.stat().st_size < 1_500_000
    started = time.perf_counter()
    page, complaints, _ = open_page(browser, path)
    page.locator("#count").wait_for()
    assert time.perf_counter() - started < 3.0
    assert page.locator("#count").inner_text() == "10 of 150 shown"
    assert "All 50,000 texts are in samples.parquet" in page.locator("#shown").inner_text()
    assert complaints == []


def test_it_prints_on_five_pages(browser: sync_api.Browser, full_run: Path) -> None:
    page, _, _ = open_page(browser, write_report(full_run))
    printed = page.pdf(format="A4", print_background=True)
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) <= 5
    page.emulate_media(media="print")
    assert not page.locator("nav").is_visible()
    assert page.locator(".samples > li:visible").count() == 3
    assert page.locator("#glossary").is_visible()


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
    for series in ("--s0", "--s1", "--s2", "--s3", "--s4", "--s5"):  # graphical objects: 3 to 1
        low, high = sorted((luminance("--paper"), luminance(series)))
        assert (high + 0.05) / (low + 0.05) >= 3, (scheme, series)
    axis = page.locator(".chart text").first
    expected = page.evaluate("getComputedStyle(document.body).color")
    assert axis.evaluate("node => getComputedStyle(node).fill") == expected
