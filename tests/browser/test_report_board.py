"""What the report lets a reader do: find, look at an instant, follow messages, read lines of the history."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from harness.simulator.run import simulate
from harness.simulator.simulated_run import SimulatorSettings
from tests.browser.conftest import Open
from tests.browser.stories import a_minute
from tests.browser.test_report_page import VALID, invalid, lane_point, view


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The folder of a simulated run that broke promises, and its verdict."""
    folder = tmp_path_factory.mktemp("failed")
    simulate(7, bug="half-quorum", settings=SimulatorSettings(duration_s=35), keep=folder)
    return folder, json.loads((folder / "results.json").read_text())


def test_what_led_to_the_first_violation_is_told_in_order_before_anything_else(open_report: Open) -> None:
    story = a_minute(two_leaders=True)
    page = open_report(story, invalid(story))
    led = page.locator(".violation.first .led li")
    told = led.all_inner_texts()
    assert "n5 is established as the leader of epoch 1" in told[0]
    assert "f1 begins: partition halves of n1 n2 n3 n4 n5" in told[1]
    assert "n4 is established as the leader of epoch 1" in told[-1]
    first, timeline = page.locator(".violation.first").bounding_box(), page.locator("#timeline").bounding_box()
    assert first
    assert timeline
    assert first["y"] + first["height"] < min(900, timeline["y"])  # on the first screen


def test_a_story_in_the_runs_folder_is_told_in_its_place_and_is_no_markup(
    open_report: Open, failed: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "history.jsonl").write_bytes((failed[0] / "history.jsonl").read_bytes())
    (folder / "story.txt").write_text("n3 leads epoch 4; <script>document.title='owned'</script>; and it breaks.\n")
    page = open_report(folder, failed[1])
    expect(page.locator(".violation.first .story")).to_have_text(
        "n3 leads epoch 4; <script>document.title='owned'</script>; and it breaks."
    )
    assert page.locator(".led ol").count() == 0
    assert page.title() != "owned"
    expect(page.locator("#spacetime")).to_contain_text("keeps no journal")  # it has no messages, and says so


@pytest.mark.parametrize(
    ("asked", "offered", "pinned"),
    [
        ("n2", "n2, sid 2", "n2: "),
        ("f3", "f3: ", " f3"),
        ("partition", "f1: partition halves", "partition f1"),
        ("epoch 2", "epoch 2, n4", "Epoch 2: n4 is the established leader"),
        ("not heard", "n1: the leader was not heard", "the leader was not heard"),
    ],
)
def test_find_offers_places_by_name_fault_epoch_and_words_and_enter_goes_there(
    open_report: Open, asked: str, offered: str, pinned: str
) -> None:
    page = open_report(a_minute(), VALID)
    page.keyboard.press("/")
    page.keyboard.type(asked)
    expect(page.locator("#found button").first).to_contain_text(offered)
    page.keyboard.press("Enter")
    expect(page.locator("#pinned")).to_contain_text(pinned)
    page.keyboard.press("Escape")
    expect(page.locator("#found")).to_be_hidden()


def test_find_goes_to_a_time_and_to_an_op_and_says_when_there_is_nothing(open_report: Open) -> None:
    page = open_report(a_minute(), VALID)
    page.locator("#find").fill("24.5s")
    page.keyboard.press("Enter")
    assert view(page)[0] < 24.5e6 < view(page)[1] < 60e6
    expect(page.locator("#instant-says")).to_contain_text("At 24.500 s.")
    page.locator("#find").fill("op 12")
    page.keyboard.press("Enter")
    expect(page.locator("#lines .here .line")).to_have_text("13")
    page.locator("#find").fill("no such thing")
    expect(page.locator("#found")).to_have_text("Nothing found")


def test_the_graph_shows_who_hears_whom_at_the_instant_under_the_pointer_and_keeps_the_one_that_was_clicked(
    open_report: Open,
) -> None:
    page = open_report(a_minute(), VALID)
    row = page.locator("#instant-table tbody tr")
    page.mouse.move(*lane_point(page, 4, 10.0))
    expect(page.locator("#instant-says")).to_contain_text("n2 n3 n4 are a healthy majority")
    assert page.locator("#graph .cut").count() == 12  # each of n1, n5 and each of the other three, both ways
    assert page.locator("#graph .whole").count() == 8
    assert page.locator("#graph .ring").count() == 3
    expect(row.nth(0)).to_contain_text("n2 n3 n4")
    page.mouse.move(*lane_point(page, 4, 24.0))
    expect(row.nth(4)).to_contain_text("paused")
    assert page.locator("#graph .poor").count() == 1
    page.mouse.down()
    page.mouse.up()
    page.mouse.move(2, 2)
    expect(page.locator("#instant-says")).to_contain_text("At 24.0")
    page.mouse.move(*lane_point(page, 4, 42.0))
    expect(row.nth(2)).to_contain_text("down")
    expect(page.locator("#graph .node.leading")).to_have_count(1)


def arrows(page: Page) -> int:
    view(page)
    return int(page.locator("#lanes").get_attribute("data-messages") or 0)


def test_messages_are_drawn_when_zoomed_in_and_say_what_they_are_under_the_pointer(
    open_report: Open, failed: tuple[Path, dict[str, Any]]
) -> None:
    page = open_report(*failed)
    assert arrows(page) == 0
    expect(page.locator("#window")).to_contain_text("zoom in to see messages")
    page.locator("#lanes").focus()
    page.keyboard.press("v")
    page.keyboard.press("+")
    assert arrows(page) > 20
    # The diagram below shows the same messages: where from, where to and when a vote went.
    page.keyboard.press("m")
    from_, until = view(page)
    inside = re.compile(r"n(\d) to n(\d): (.*)\. Sent at ([\d.]+) s, arrived ([\d.]+) ms later", re.DOTALL)
    told = [inside.fullmatch(words) for words in page.locator("#st .message.vote title").all_text_contents()]
    margin = (until - from_) / 140e6  # five pixels
    source, target, words, sent, took = next(
        found.groups() for found in told if found and from_ / 1e6 + margin < float(found[4]) < until / 1e6 - margin
    )
    start = lane_point(page, int(source) - 1, float(sent))
    end = lane_point(page, int(target) - 1, float(sent) + float(took) / 1e3)
    down = 13 if end[1] > start[1] else -13  # an arrow goes from the edge of a bar to the edge of another
    y0, y1 = start[1] + 3 + down, end[1] + 3 - down
    page.mouse.move(start[0] * 0.55 + end[0] * 0.45, y0 * 0.55 + y1 * 0.45)
    expect(page.locator("#tip")).to_contain_text(f"n{source} to n{target}: {words}")
    expect(page.locator("#tip")).to_contain_text("arrived")


def test_the_space_time_diagram_stands_around_the_violation_and_follows_the_timeline(
    open_report: Open, failed: tuple[Path, dict[str, Any]]
) -> None:
    page = open_report(*failed)
    diagram = page.locator("#st")
    expect(diagram.locator(".broken").first).to_be_attached()
    assert diagram.locator(".heads .host").all_text_contents() == ["n1", "n2", "n3", "n4", "n5"]
    plain = diagram.locator(".message").count()
    assert plain > 20
    assert any("vote for server" in told for told in diagram.locator(".message.vote title").all_text_contents())
    assert "never arrived" in page.locator("#st-says").inner_text() or not diagram.locator(".cross").count()
    before = page.locator("#st-says").inner_text()
    page.locator("[data-st=later]").click()
    assert page.locator("#st-says").inner_text() != before
    page.locator("[data-st=violation]").click()
    expect(page.locator("#st-says")).to_have_text(before)
    page.locator("#lanes").focus()
    page.keyboard.press("v")
    from_, until = view(page)
    page.keyboard.press("m")
    assert f"{from_ / 1e6:.1f}" in page.locator("#st-says").inner_text().replace(f"{until / 1e6:.1f}", "")
    without = diagram.locator(".message").count()
    page.locator("#st-routine").check()
    assert diagram.locator(".message").count() > without
    page.emulate_media(media="print")
    expect(diagram.locator("svg").last).to_be_visible()


OVERLAPS = """() => {
  const boxes = [...document.querySelectorAll('#st .body text')].map((e) => [e.textContent, e.getBoundingClientRect()]);
  const found = [];
  boxes.forEach(([one, a], n) => boxes.slice(0, n).forEach(([other, b]) => {
    const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
    const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
    if (wide > 1 && high > 3) found.push(`${one} | ${other}: ${wide} ${high}`);  // letters do not fill their line
  }));
  return [boxes.length, found];
}"""


@pytest.mark.parametrize("width", [1280, 700])
def test_no_words_in_the_space_time_diagram_cover_others(
    open_report: Open, failed: tuple[Path, dict[str, Any]], width: int
) -> None:
    page = open_report(*failed, viewport={"width": width, "height": 900})
    expect(page.locator("#st .broken").first).to_be_attached()
    seen: set[str] = set()
    in_all = 0
    while (says := page.locator("#st-says").inner_text()) not in seen and len(seen) < 8:
        seen.add(says)
        words, overlaps = page.evaluate(OVERLAPS)
        in_all += words
        assert overlaps == []
        page.locator("[data-st=later]").click()
    assert len(seen) == 8
    assert in_all > 80


def test_votes_and_epoch_messages_differ_in_the_legends_as_they_do_in_the_diagram(
    open_report: Open, failed: tuple[Path, dict[str, Any]]
) -> None:
    page = open_report(*failed)
    look = """(e) => {
      const {strokeDasharray} = getComputedStyle(e.querySelector('.shaft, line'));
      const isSolid = strokeDasharray === 'none', isOpen = getComputedStyle(e.querySelector('.head')).fill === 'none';
      return [isSolid, isOpen];
    }"""
    for section in ("#timeline .legend", "#spacetime .legend", "#st"):
        vote = page.locator(f"{section} .vote:not(.lost)").first.evaluate(look)
        packet = page.locator(f"{section} .packet:not(.lost)").first.evaluate(look)
        assert (vote, packet) == ([False, True], [True, False]), section


def test_an_op_that_is_named_anywhere_leads_to_its_line_with_what_stands_around_it(
    open_report: Open, failed: tuple[Path, dict[str, Any]]
) -> None:
    page = open_report(*failed)
    link = page.locator("#reigns a.op").first
    index = int(str(link.get_attribute("data-op")))
    lines = (failed[0] / "history.jsonl").read_text().splitlines()
    link.click()
    expect(page.locator("#lines .here .line")).to_have_text(str(index + 1))
    assert json.loads(page.locator("#lines .here code").inner_text()) == json.loads(lines[index])
    assert page.locator("#lines li").count() == 17
    page.locator("[data-lines='1']").click()
    expect(page.locator("#lines .here .line")).to_have_text(str(index + 9))
    page.locator("#lanes").focus()
    page.keyboard.press("ArrowDown")
    page.locator("#pinned a.op").click()
    expect(page.locator("#lines .here")).to_contain_text('"process":"n1"')
