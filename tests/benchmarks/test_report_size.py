"""The report of an hour: 100,000 transitions in one file below 10 MB, open within a second, zoomed within 50 ms."""

from __future__ import annotations

import shutil
import statistics
import time
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import sync_playwright

from harness.report import write_report
from tests.browser.conftest import ARGS
from tests.browser.stories import an_hour

TRANSITIONS = 100_000
VERDICT: dict[str, Any] = {"valid": True, "summary": "Valid.", "results": {}}


@pytest.mark.benchmark
def test_the_report_of_a_hundred_thousand_transitions_is_small_opens_fast_and_zooms_fast(tmp_path: Path) -> None:
    history = an_hour(TRANSITIONS).write(tmp_path / "history.jsonl")
    began = time.perf_counter()
    report = write_report(history, VERDICT, tmp_path / "report.html", "onethrone run --seed 1")
    written_s = time.perf_counter() - began
    size = report.stat().st_size
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGS)
        opened = []
        for _ in range(5):
            page = browser.new_page(viewport={"width": 1400, "height": 900})
            page.goto(report.as_uri())
            opened.append(page.evaluate("() => performance.getEntriesByName('drawn')[0].startTime"))
        transitions = page.evaluate(
            "() => JSON.parse(document.getElementById('data').textContent).lanes.reduce((n, l) => n + l.t.length, 0)"
        )
        page.locator("#lanes").focus()
        page.evaluate("() => performance.clearMeasures('draw')")
        frames = page.evaluate(
            """async () => {
              const frames = [], lanes = document.getElementById('lanes');
              const frame = () => new Promise(requestAnimationFrame);
              for (const key of [...'++++++++++++----------++++++', 'ArrowRight', 'ArrowRight', '0']) {
                await frame();
                const began = performance.now();
                lanes.dispatchEvent(new KeyboardEvent('keydown', {key}));
                await frame();
                lanes.getContext('2d').getTransform();
                frames.push(performance.now() - began);
              }
              return frames;
            }"""
        )
        draws = page.evaluate("() => performance.getEntriesByName('draw').map(e => e.duration)")
        browser.close()
    print(
        f"\n{transitions:,} transitions: written in {written_s:.1f} s, {size / 1e6:.2f} MB, "
        f"drawn {min(opened):.0f} to {max(opened):.0f} ms after the start of navigation; "
        f"{len(draws)} zooms: draw {statistics.median(draws):.1f} ms median, {max(draws):.1f} worst; "
        f"key to frame {statistics.median(frames):.1f} ms median, {max(frames):.1f} worst"
    )
    assert transitions >= TRANSITIONS * 0.99
    assert size < 10e6
    assert min(opened) < 1_000  # what the page costs, without what else this machine was doing
    assert len(draws) >= 30
    assert statistics.median(draws) < 50
