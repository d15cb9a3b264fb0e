"""Chromium with the page open, and what went wrong in it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Locator, Page

ARTIFACTS = Path(__file__).parents[3] / "artifacts"
DESKTOP_WH = (1280, 800)
NARROW_WH = (390, 780)
PATIENCE_MS = 30_000  # models load at the first search, on a machine that has much else to do
# A container has no user namespaces to be put in, and little shared memory.
FLAGS = ("--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu")


def chromium() -> Path | None:
    """The Chromium to use: the one that $CHROMIUM names, or one that is installed."""
    named = os.environ.get("CHROMIUM", "/usr/bin/chromium")
    found = shutil.which(named) or shutil.which("chromium") or shutil.which("google-chrome")
    return Path(found) if found else None


@contextmanager
def launched() -> Iterator[Browser]:
    """Chromium, without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = chromium()
        assert path is not None
        browser = playwright.chromium.launch(executable_path=str(path), args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Visit:
    """A window on the page, and all that it complained about or asked others for."""

    page: Page
    address: str
    complaints: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    def open(self, path: str = "/") -> None:
        self.page.goto(self.address + path)

    @property
    def path(self) -> str:
        """What stands in the address bar behind the host."""
        parts = urlsplit(self.page.url)
        return f"{parts.path}?{parts.query}" if parts.query else parts.path

    @property
    def cells(self) -> Locator:
        """The photos or hits that are shown."""
        return self.page.locator("main .grid:visible .cell-link")

    def search(self, words: str) -> None:
        self.page.get_by_label("Words to search for").fill(words)
        self.page.keyboard.press("Enter")
        self.wait_for_hits()

    def wait_for_hits(self) -> None:
        self.page.locator("#results .grid:visible [data-segment]").first.wait_for()

    def hits(self) -> list[str]:
        """Ids of the segments that are shown, best first."""
        shown = self.page.locator("#results .grid:visible [data-segment]")
        return [str(each.get_attribute("data-segment")) for each in shown.all()]

    def point(self, x: float, y: float) -> tuple[float, float]:
        """Where on the screen a place of the opened photo is, in shares of its sides."""
        frame = self.page.locator(".stage-frame.is-shown")
        frame.wait_for()
        box = frame.bounding_box()
        assert box is not None
        return box["x"] + x * box["width"], box["y"] + y * box["height"]

    def overflows(self) -> bool:
        """Whether the page is wider than its window."""
        wide: bool = self.page.evaluate(
            "() => Math.max(...['html', '.viewer'].map("
            "(name) => document.querySelector(name).scrollWidth)) > innerWidth"
        )
        return wide

    def shoot(self, name: str) -> None:
        """Keep a picture of the window, once its own pictures are there."""
        self.page.wait_for_timeout(150)  # by then they are asked for
        self.page.wait_for_function(
            "() => [...document.images].every((one) => one.complete || !one.checkVisibility())"
        )
        self.page.wait_for_timeout(350)  # what fades in
        ARTIFACTS.mkdir(exist_ok=True)
        self.page.screenshot(path=str(ARTIFACTS / f"page-{name}.png"))


@contextmanager
def visiting(
    browser: Browser, address: str, size_wh: tuple[int, int] = DESKTOP_WH, **options: Any
) -> Iterator[Visit]:
    """A fresh window: no cookies, no kept pictures."""
    width, height = size_wh
    viewport = {"width": width, "height": height}
    context = browser.new_context(viewport=viewport, **options)  # type: ignore[arg-type]
    context.set_default_timeout(PATIENCE_MS)
    visit = Visit(context.new_page(), address)
    visit.page.on("pageerror", lambda error: visit.complaints.append(str(error)))
    visit.page.on("console", lambda said: _note_complaint(visit, said))
    visit.page.on("request", lambda asked: _note_foreign(visit, asked.url))
    try:
        yield visit
    finally:
        context.close()


def _note_complaint(visit: Visit, said: ConsoleMessage) -> None:
    url = str(said.location.get("url"))
    # Where a search takes long, as on a busy machine, the page asks whether models are loading.
    is_loading = urlsplit(url).path == "/ready" and "503" in said.text
    if said.type in ("error", "warning") and not is_loading:
        visit.complaints.append(f"{said.text} ({url})")


def _note_foreign(visit: Visit, url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("blob", "data") and parts.netloc != urlsplit(visit.address).netloc:
        visit.foreign.append(url)
