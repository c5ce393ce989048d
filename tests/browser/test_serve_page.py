"""`onethrone serve`, as somebody looks through the runs of a night, and at the one that goes on."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Dialog, Page, expect

from checker.verdict import check
from harness.report import write_report
from harness.serve.server import ResultsServer, serving
from tests.browser.conftest import globals_of

HISTORIES = Path(__file__).parents[1] / "histories"
EVIL = "<script>alert(1)<\\script><img src=x onerror=alert(2)>\"'&"

Look = Callable[..., Page]


def put_run(results: Path, name: str, stamp: str, history: str, *, judged: bool = True) -> Path:
    folder = results / name / stamp
    folder.mkdir(parents=True)
    (folder / "history.jsonl").write_text((HISTORIES / f"{history}.jsonl").read_text())
    if judged:
        verdict = check(folder)
        (folder / "results.json").write_text(verdict.to_json())
        write_report(folder, verdict, folder / "report.html", "onethrone run")
    return folder


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Two valid runs, an invalid one, one that is unknown, and a campaign."""
    folder = tmp_path / "results"
    put_run(folder, "nightly", "20261127T180000Z", "good-run")
    put_run(folder, "nightly", "20261127T190000Z", "bad-two-leaders-in-one-epoch")
    put_run(folder, "nightly", "20261127T200000Z", "unknown-cut-off")
    put_run(folder, "other", "20261127T170000Z", "good-late-reports")
    campaign = folder / "night" / "20261127T210000Z"
    campaign.mkdir(parents=True)
    (campaign / "summary.json").write_text(json.dumps({"valid": True, "summary": "Valid: 40 runs."}))
    (campaign / "report.html").write_text("<!doctype html><title>The morning</title><h1>Morning</h1>")
    return folder


@pytest.fixture
def server(results: Path) -> Iterator[ResultsServer]:
    with serving(results) as server:
        yield server


@pytest.fixture
def look(chromium: Browser, server: ResultsServer) -> Iterator[Look]:
    """Opens a page of the server; at the end, nothing failed and nothing came from elsewhere."""
    contexts = []
    complaints: list[str] = []
    requests: list[str] = []

    def dismiss(dialog: Dialog) -> None:
        complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def open_it(target: str = "/", **context: Any) -> Page:
        contexts.append(chromium.new_context(**{"viewport": {"width": 1280, "height": 900}, **context}))
        page = contexts[-1].new_page()
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", dismiss)
        page.on("request", lambda request: requests.append(request.url))
        page.goto(server.url[:-1] + target)
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert complaints == []
    assert all(url.startswith(server.url) for url in requests), requests


def verdicts(page: Page) -> list[str]:
    return [text.strip() for text in page.locator("#runs tbody td.verdict").all_inner_texts()]


def names(page: Page) -> list[str]:
    return page.locator("#runs tbody a.open").all_inner_texts()


def test_a_column_sorts_by_a_click_and_turns_around_by_another(look: Look) -> None:
    page = look()
    assert verdicts(page) == ["valid", "unknown", "invalid", "valid", "valid"]  # the newest first
    page.get_by_role("link", name="Verdict").click()
    expect(page.locator("th[aria-sort=ascending]")).to_contain_text("Verdict")
    assert verdicts(page) == ["invalid", "unknown", "valid", "valid", "valid"]
    page.get_by_role("link", name="Verdict").click()
    expect(page.locator("th[aria-sort=descending]")).to_contain_text("Verdict")
    assert verdicts(page) == ["valid", "valid", "valid", "unknown", "invalid"]
    page.go_back()
    expect(page.locator("th[aria-sort=ascending]")).to_contain_text("Verdict")
    page.reload()  # the address says it all
    assert verdicts(page) == ["invalid", "unknown", "valid", "valid", "valid"]


def test_filter_and_search_narrow_the_table_as_one_types(look: Look) -> None:
    page = look()
    page.get_by_label("verdict").select_option("valid")
    expect(page.locator("#count")).to_contain_text("3 of 5")
    assert set(verdicts(page)) == {"valid"}
    page.get_by_label("Search").press_sequentially("other")
    expect(page.locator("#count")).to_contain_text("1 of 5")
    assert names(page) == ["other"]
    page.get_by_label("Search").fill("two ESTABLISHED leaders")
    expect(page.locator("main")).to_contain_text("Nothing fits")
    page.get_by_label("verdict").select_option("")
    expect(page.locator("#count")).to_contain_text("1 of 5")
    expect(page.locator("#runs td.words")).to_contain_text("epoch 2 has two established leaders")
    assert "q=two" in page.url


def test_the_keyboard_alone_finds_a_run_and_opens_its_report(look: Look) -> None:
    page = look()
    page.keyboard.press("/")
    page.keyboard.type("nightly")
    expect(page.locator("#count")).to_contain_text("3 of 5")
    page.keyboard.press("ArrowDown")
    expect(page.locator("tr.here td.verdict")).to_contain_text("unknown")
    page.keyboard.press("j")
    expect(page.locator("tr.here td.verdict")).to_contain_text("invalid")
    page.keyboard.press("k")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url("**/report.html")
    expect(page.locator("#verdict")).to_contain_text("unique-leader broken")
    page.go_back()
    page.keyboard.press("Escape")
    expect(page.locator("#count")).to_contain_text("5 runs")
    expect(page.get_by_label("Search")).to_have_value("")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("f")
    page.wait_for_url("**/r/night/20261127T210000Z/")


def test_a_report_runs_its_own_script_in_a_sandbox_without_our_origin(look: Look) -> None:
    page = look("/r/nightly/20261127T190000Z/report.html")
    expect(page.locator("#lanes")).to_have_attribute("data-until", re.compile("."))  # its timeline is drawn
    assert page.evaluate("self.origin") == "null"


def test_a_folder_shows_the_verdict_and_leads_to_report_and_files(look: Look) -> None:
    page = look("/r/nightly/20261127T190000Z/")
    expect(page.locator("h1")).to_contain_text("unique-leader broken")
    page.get_by_role("link", name="history.jsonl").click()
    page.wait_for_url("**/history.jsonl")
    assert page.evaluate("document.contentType") == "text/plain"
    page.go_back()
    page.get_by_role("link", name="nightly", exact=True).click()
    expect(page.locator("#files tbody tr")).to_have_count(3)


def test_without_scripts_everything_is_there_too(look: Look) -> None:
    page = look("/", java_script_enabled=False)
    page.get_by_label("verdict").select_option("invalid")
    page.get_by_role("button", name="Show").click()
    assert verdicts(page) == ["invalid"]
    page.get_by_role("link", name="Verdict").click()
    assert verdicts(page) == ["invalid"]


def test_a_run_that_goes_on_is_shown_as_it_grows_and_its_end_too(look: Look, results: Path) -> None:
    lines = (HISTORIES / "bad-two-leaders-in-one-epoch.jsonl").read_text().splitlines(keepends=True)
    page = look("/live/")
    expect(page.locator("h1")).to_contain_text("No run is going on")
    folder = results / "nightly" / "20261128T100000Z"
    folder.mkdir()
    history = folder / "history.jsonl"
    history.write_text(lines[0])
    (results / "current").symlink_to("nightly/20261128T100000Z")
    page.wait_for_url("**/live/nightly/20261128T100000Z")
    expect(page.locator("#verdict")).to_contain_text("No violation found so far")
    expect(page.locator("#servers tbody tr")).to_have_count(3)
    begin = next(n for n, line in enumerate(lines) if '"established":true' in line)
    with history.open("a") as file:
        file.write("".join(lines[1 : begin + 1]))
    leader = json.loads(lines[begin])["process"]
    expect(page.locator("#leader")).to_have_text(leader)
    expect(page.locator("#servers tr.leading")).to_have_count(1)
    expect(page.locator("#servers tr.leading th")).to_contain_text(leader)
    with history.open("a") as file:
        file.write("".join(lines[begin + 1 : -1]))
    expect(page.locator("#verdict")).to_contain_text("epoch 2 has two established leaders")
    with history.open("a") as file:
        file.write(lines[-1])
    (folder / "results.json").write_text(check(folder).to_json())
    expect(page.locator("#verdict")).to_contain_text("Invalid: unique-leader broken")
    page.goto(page.url.split("/live")[0])
    expect(page.locator("#runs tbody tr").first).to_contain_text("invalid")


def test_a_new_run_appears_in_the_table_by_itself_and_the_chosen_row_stays_chosen(look: Look, results: Path) -> None:
    page = look()
    page.keyboard.press("j")
    page.keyboard.press("j")
    expect(page.locator("tr.here td.verdict")).to_contain_text("unknown")
    put_run(results, "nightly", "20261128T100000Z", "good-run")
    expect(page.locator("#count")).to_contain_text("6 runs")
    expect(page.locator("tr.here td.verdict")).to_contain_text("unknown")
    assert verdicts(page)[0] == "valid"


def test_text_of_hosts_stays_text(look: Look, results: Path) -> None:
    """In a server's log line, a run's name, a reason, a fault, a file's name: nothing runs, everything is shown."""
    run = results / EVIL / "20261128T110000Z"
    (run / "n1").mkdir(parents=True)
    (run / "n1" / "server.log").write_text(EVIL)
    (run / "n1" / "server.html").write_text(EVIL)
    (run / EVIL).write_text(EVIL)
    first = json.loads((HISTORIES / "good-run.jsonl").read_text().splitlines()[0])
    first["value"] |= {"name": EVIL, "system": EVIL, "bug": EVIL, "seed": EVIL}
    state = {"role": "LOOKING", "phase": "election", "reason": EVIL}
    ops = [
        first,
        {"index": 1, "time": 10**9, "process": "n1", "type": "info", "f": "state", "value": state | {"phase": EVIL}},
        {"index": 2, "time": 2 * 10**9, "process": "nemesis", "type": "invoke", "f": EVIL,
         "value": {"fault": EVIL, "step": "start", "hosts": ["n1", EVIL], "effects": []}},
        {"index": 3, "time": 2 * 10**9, "process": "nemesis", "type": "fail", "f": EVIL, "error": EVIL,
         "value": {"fault": EVIL, "step": "start", "hosts": ["n1", EVIL], "effects": []}},
        {"index": 4, "time": 2 * 10**9, "process": 4, "type": "invoke", "f": EVIL},
    ]  # fmt: skip
    (run / "history.jsonl").write_text("".join(json.dumps(op) + "\n" for op in ops))
    page = look("/")
    row = page.locator("#runs tbody tr").first
    expect(row).to_contain_text(EVIL)
    row.locator("a.open").click()
    page.wait_for_url("**/live/**")
    expect(page.locator("#events")).to_contain_text(EVIL)
    expect(page.locator("#clients")).to_contain_text(EVIL)
    page.locator(".over a").last.click()
    expect(page.locator("#files")).to_contain_text(EVIL)
    page.get_by_role("link", name="n1/").click()
    for name in ("server.log", "server.html"):
        page.get_by_role("link", name=name).click()
        page.wait_for_url(f"**/{name}")
        assert page.evaluate("document.body.innerText").strip() == EVIL
        page.go_back()
    assert page.locator("script:not([src='/static/serve.js'])").count() == 0


def test_the_scripts_leave_no_name_in_the_page(look: Look) -> None:
    page = look("/")
    assert globals_of(page) == []
    assert page.evaluate("document.documentElement.className") == "js"  # they ran


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_usable_on_a_telephone_and_in_the_dark(look: Look, scheme: str) -> None:
    page = look("/", viewport={"width": 390, "height": 800}, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390  # the table scrolls, the page does not
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    red = int(re.findall(r"\d+", background)[0])
    assert red > 200 if scheme == "light" else red < 60
