"""The morning report, as somebody opens it at eight: from a file, in a real browser, without a network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from playwright.sync_api import Browser, Page, expect

from harness.campaign import outcome as outcomes
from harness.campaign import report
from harness.campaign.coverage import Coverage, CoverageStretch, Lengths
from harness.campaign.journal import CampaignJournal, Job
from harness.campaign.outcome import CountedOutcome, Failure, Trouble
from harness.campaign.plan import PLAN, SIMULATOR, CampaignPlan
from harness.campaign.signature import Signature
from harness.campaign.tally import Counted

HOSTILE = "<script>document.title='owned'</script><img src=x onerror=alert(1)>\u202e"
REAL = Signature("unique-leader", "epoch N has two established leaders: HOST", "onethrone")
PLANTED = Signature("epochs", "HOST's accepted epoch fell from N to N", "onethrone", "forgets-epoch")


def lengths(*ms: float) -> Lengths:
    found = Lengths()
    for one in ms:
        found.take(one)
    return found


class Told:
    """A campaign's folder, told job by job."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.journal = CampaignJournal(folder)
        (folder / PLAN).write_text(CampaignPlan(name="night").to_toml(), encoding="utf-8")
        self.journal.write("session", pid=1, length_s=28800)

    def job(self, id_: str, found: CountedOutcome, *, bug: str = "", canary: bool = False, seeds: int = 1) -> None:
        kind = "hosts" if id_.startswith("h") else "simulate"
        place = "lab:5" if kind == "hosts" else SIMULATOR
        job = Job(id_, kind, place, "plain", 5, "all", 7, seeds, "onethrone", bug, canary)
        (self.folder / "runs" / id_).mkdir(parents=True)
        outcomes.save(found, self.folder / "runs" / id_)
        self.journal.write("plan", job=msgspec.to_builtins(job))
        runs = Counted(
            found.valid,
            found.invalid,
            found.unknown,
            found.cut,
            len(found.harness),
            found.seconds,
            found.ops,
            found.bytes,
            found.groups,
            found.failures,
            {f.signature.key: [f.folder] for f in found.failures if f.folder},
        )
        self.journal.write("count", id=id_, runs=msgspec.to_builtins(runs))

    def follow(self, group: str, kind: str, **said: Any) -> None:
        job = Job(f"{group}-{kind}", kind, SIMULATOR, group=group)
        self.journal.write("plan", job=msgspec.to_builtins(job))
        self.journal.write("count", id=job.id, said=said)


def failed(signature: Signature, message: str, folder: str) -> CountedOutcome:
    found = CountedOutcome(invalid=1, seconds=60.0, folder=folder, summary=f"Invalid: {message}")
    found.failed(Failure(signature, message, 7, 12.5, ["convergence"], folder))
    return found


@pytest.fixture
def night(tmp_path: Path) -> Told:
    """A night with a real failure, a planted one, a harness that failed, and what hosts said in it."""
    told = Told(tmp_path)
    told.job("s00001", CountedOutcome(invalid=3, groups={"x": 3}), bug="half-quorum", canary=True)
    told.job("h00001", CountedOutcome(invalid=1), bug="half-quorum", canary=True)
    kept = tmp_path / "runs" / "h00002" / "h00002" / "20261128T000000Z"
    message = f"epoch 7 has two established leaders: n1 and n4 {HOSTILE}"
    told.job("h00002", failed(REAL, message, str(kept.relative_to(tmp_path))))
    kept.mkdir(parents=True)
    (kept / "report.html").write_text("<title>the run's report</title>")
    told.job("s00002", failed(PLANTED, "n2's accepted epoch fell from 2 to 1", ""), bug="forgets-epoch")
    coverage = Coverage(
        faults={"kill": {"leader": 1204}},
        victims={"kill": {"LOOKING": 3, "leading broadcast": 1201}},
        partitions={"isolate": {"clean 4+1, the leader alone": 2}},
        states={"1 leading broadcast, 4 following broadcast | whole": 900},
        elections={"kill": lengths(300, 310, 1200, 4000)},
        slowest=[CoverageStretch(4000.0, "kill", 12.0, "seed 3")],
        epochs=300,
    )
    told.job("s00003", CountedOutcome(valid=40, coverage=coverage, marks={"round-jump": 3}, seconds=2400.0), seeds=40)
    why = f"n2: no connection {HOSTILE}"
    trouble = Trouble(why, 9, "runs/h00003", "runs/h00003/log")
    told.job("h00003", CountedOutcome(unknown=1, harness=[trouble]))
    story = f"n3 leads epoch 1; n3 is cut off {HOSTILE}; and unique-leader is broken."
    told.follow("g1", "replay", ok=True, words="replayed")
    told.follow("g1", "shrink", ok=True, story=story, faults=2, faults_before=18, servers=3, folder="", test="")
    told.follow("g2", "replay", ok=False, words="replayed, and not the same")
    told.follow("g2", "shrink", ok=False, words="its 12 faults broke nothing in 102 simulated worlds")
    return told


@pytest.fixture
def page(chromium: Browser, night: Told) -> Iterator[Page]:
    """The report, opened; at the end nothing was asked for and nothing had failed."""
    night.journal.write("alive", rss_mb=41.5, free_mb=9)
    night.journal.write("over", why="the time is up")
    report.write(night.folder)
    complaints: list[str] = []
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    opened.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("request", lambda request: complaints.append(request.url) if "file://" not in request.url else None)
    opened.goto((night.folder / "report.html").as_uri())
    yield opened
    context.close()
    assert complaints == []


def test_the_verdict_comes_first_and_real_failures_stand_before_planted_ones(page: Page) -> None:
    expect(page.locator("h1")).to_contain_text("Invalid: 1 distinct failure, and 1 of planted bugs")
    expect(page).to_have_title("invalid · night · Onethrone")
    cards = page.locator("article.violation")
    expect(cards).to_have_count(2)
    expect(cards.nth(0)).to_contain_text("unique-leader")
    expect(cards.nth(0)).to_contain_text("not planted")
    expect(cards.nth(1)).to_contain_text("planted: forgets-epoch")
    expect(cards.nth(1)).to_contain_text("replayed, and not the same")
    expect(cards.nth(1)).to_contain_text("its 12 faults broke nothing in 102 simulated worlds")


def test_a_failure_is_told_by_its_shortest_story_and_leads_to_its_run(page: Page) -> None:
    card = page.locator("#g1")
    expect(card.locator(".told")).to_contain_text("n3 leads epoch 1; n3 is cut off")
    expect(card).to_contain_text("2 of 18 faults, 3 servers")
    expect(card).to_contain_text("the same, from its journals")
    card.get_by_role("link", name="plain, 5 servers, all, seed 7").click()
    expect(page).to_have_title("the run's report")


def test_nothing_that_came_from_a_host_is_markup(page: Page) -> None:
    expect(page.locator("#g1 .message")).to_contain_text("<script>document.title='owned'</script>")
    expect(page.locator("#harness")).to_contain_text("<img src=x onerror=alert(1)>")
    expect(page.locator("#g1 .message")).to_contain_text("\\u202e")
    assert page.locator("img, script").count() == 0
    expect(page).not_to_have_title("owned")


def test_coverage_shows_what_came_and_what_never_did(page: Page) -> None:
    row = page.locator("#coverage table.cells").first.locator(
        "tr", has=page.get_by_role("rowheader", name="kill", exact=True)
    )
    expect(row.locator("td").first).to_have_text("1\u202f204")
    assert row.locator("td.s0").count() > 3
    expect(page.locator("#never")).to_contain_text("kill of all")
    expect(page.locator("#never")).to_contain_text("majorities-ring")
    assert page.locator("#never li").get_by_text("kill of leader", exact=True).count() == 0
    expect(page.locator("#election-table")).to_contain_text("4.00 s")
    expect(page.locator("#election-table svg.hist rect").first).to_be_visible()


def test_what_failed_in_the_harness_is_told_apart_with_its_log(page: Page) -> None:
    expect(page.locator("#harness")).to_contain_text("n2: no connection")
    assert page.locator("#harness a", has_text="log").get_attribute("href") == "runs/h00003/log"
    expect(page.locator("#harness")).to_contain_text("42 MB")


def test_bars_over_time_have_a_colour_for_every_way_to_end(page: Page) -> None:
    for word in ("valid", "invalid", "planted", "unknown"):
        assert page.locator(f"svg.bars rect.w-{word}").count() >= 1, word
    colours = {
        page.locator(f"svg.bars rect.w-{word}").first.evaluate("e => getComputedStyle(e).fill")
        for word in ("valid", "invalid", "planted", "unknown")
    }
    assert len(colours) == 4


def test_the_keyboard_leads_through_the_page(page: Page) -> None:
    page.keyboard.press("Tab")
    expect(page.locator("nav a").first).to_be_focused()
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#failures"
    summary = page.locator("#never summary").last
    before = summary.locator("..").evaluate("e => e.open")
    summary.focus()
    page.keyboard.press("Enter")
    assert summary.locator("..").evaluate("e => e.open") is not before


def test_dark_narrow_and_printed_it_stays_within_the_page(page: Page) -> None:
    light = page.locator("body").evaluate("e => getComputedStyle(e).backgroundColor")
    page.emulate_media(color_scheme="dark")
    assert page.locator("body").evaluate("e => getComputedStyle(e).backgroundColor") != light
    page.set_viewport_size({"width": 400, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.locator("body").evaluate("e => getComputedStyle(e).backgroundColor") == "rgb(255, 255, 255)"
    expect(page.locator("nav")).to_be_hidden()


def test_a_campaign_that_goes_on_says_so(chromium: Browser, night: Told) -> None:
    report.write(night.folder)
    context = chromium.new_context()
    opened = context.new_page()
    opened.goto((night.folder / "report.html").as_uri())
    expect(opened.locator("#going-on")).to_contain_text("The campaign goes on")
    context.close()
