"""A real Chromium, started once per module: while Playwright's loop is alive, this thread can run no other."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Dialog, Page, expect, sync_playwright

from harness.report import write_report
from tests.browser.stories import Story

ARGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

Open = Callable[..., Page]

expect.set_options(timeout=30_000)  # five seconds are too few for a page on a machine that does something else


def globals_of(page: Page) -> list[str]:
    """The names that the page's scripts add to those that every page has; reloads the page."""
    page.add_init_script("window.before = new Set(Object.getOwnPropertyNames(window))")
    page.reload()
    names = page.evaluate("() => Object.getOwnPropertyNames(window).filter((name) => !window.before.has(name))")
    session = page.context.new_cdp_session(page)
    session.send("Runtime.enable")
    lexical = session.send("Runtime.globalLexicalScopeNames")["names"]  # const, let and class: not on the window
    session.detach()
    return sorted({*names, *lexical} - {"before"})


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    where = shutil.which("chromium")
    assert where, "these tests need Debian's package chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=where, args=ARGS)
        yield browser
        browser.close()


@pytest.fixture
def open_report(chromium: Browser, tmp_path: Path) -> Iterator[Open]:
    """Writes the report of a run and opens it from its file; at the end, nothing was asked for and nothing failed."""
    contexts = []
    complaints: list[str] = []
    requests: list[str] = []

    def dismiss(dialog: Dialog) -> None:
        complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def open_it(told: Story | Path, verdict: dict[str, Any], **context: Any) -> Page:
        """`told`: a story, or the folder of a run."""
        history = told if isinstance(told, Path) else told.write(tmp_path / "history.jsonl")
        report = write_report(history, verdict, tmp_path / "report.html", RERUN)
        contexts.append(chromium.new_context(**{"viewport": {"width": 1280, "height": 900}, **context}))
        page = contexts[-1].new_page()
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", dismiss)
        page.on("request", lambda request: requests.append(request.url))
        page.goto(report.as_uri())
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert complaints == []
    assert all(url.startswith("file://") and url.endswith("/report.html") for url in requests), requests


RERUN = "onethrone run --schedule 'results/a minute/20261123T230000Z'"
