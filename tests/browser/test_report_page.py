"""The report, as somebody opens it in the morning: from a file, in a real browser, without a network."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import RERUN, Open, globals_of
from tests.browser.stories import S, Story, a_minute, an_hour

VALID: dict[str, Any] = {
    "valid": True,
    "summary": "Valid: each of 5 epochs had one leader.",
    "results": {"unique-leader": {"valid": True, "violations": [], "stats": {"epochs": 5}}},
}


def invalid(story: Story, message: str = "epoch 1 has two established leaders, n5 and n4") -> dict[str, Any]:
    """The verdict that a story with two leaders of epoch 1 deserves."""
    proofs = [op for op in story.ops if op["f"] == "state" and op["value"]["established"] and op["value"]["epoch"] == 1]
    by_n5, by_n4 = (next(op for op in proofs if op["process"] == host) for host in ("n5", "n4"))
    violation = {
        "promise": "unique-leader",
        "message": message,
        "ops": [by_n5["index"], by_n4["index"]],
        "servers": ["n4", "n5"],
        "faults": [{"fault": "f1", "f": "partition", "hosts": ["n1"], "surely": True}],
        "time": by_n4["time"],
    }
    return {
        "valid": False,
        "summary": "Invalid: epoch 1 had two leaders.",
        "results": {"unique-leader": {"valid": False, "violations": [violation], "stats": {}}},
    }


def view(page: Page) -> tuple[float, float]:
    """The window of the timeline, in microseconds of the run, when all that was asked for is drawn."""
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    from_, until = page.evaluate(
        "() => { const d = document.getElementById('lanes').dataset; return [d.from, d.until] }"
    )
    return float(from_), float(until)


def lane_point(page: Page, host: int, second: float) -> tuple[float, float]:
    """Where on the screen a host's lane shows that second."""
    canvas = page.locator("#lanes")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box
    data = canvas.evaluate("e => ({gutter: +e.dataset.gutter, lanes: e.dataset.lanes.split(' ').map(Number)})")
    from_, until = view(page)
    share = (second * 1e6 - from_) / (until - from_)
    return box["x"] + data["gutter"] + share * (box["width"] - data["gutter"]), box["y"] + data["lanes"][host] + 10


def pixels(page: Page, colour: str) -> int:
    """How many of the timeline's pixels have exactly the colour of that custom property of the page."""
    return int(
        page.evaluate(
            """(name) => {
              const probe = document.createElement('span');
              probe.style.color = `var(${name})`;
              document.body.append(probe);
              const [r, g, b] = getComputedStyle(probe).color.match(/\\d+/g).map(Number);
              probe.remove();
              const canvas = document.getElementById('lanes');
              const copy = new OffscreenCanvas(canvas.width, canvas.height);
              const context = copy.getContext('2d', {willReadFrequently: true});
              context.drawImage(canvas, 0, 0);
              const data = context.getImageData(0, 0, copy.width, copy.height).data;
              let n = 0;
              for (let i = 0; i < data.length; i += 4) n += data[i] === r && data[i + 1] === g && data[i + 2] === b;
              return n;
            }""",
            colour,
        )
    )


def test_the_verdict_comes_first_and_the_command_that_runs_it_again_is_there_to_copy(open_report: Open) -> None:
    page = open_report(a_minute(), VALID)
    expect(page.locator("h1")).to_contain_text("Valid: each of 5 epochs had one leader.")
    expect(page).to_have_title(re.compile("valid"))
    expect(page.locator("#rerun")).to_have_text(RERUN)
    page.locator("#copy").click()
    expect(page.locator("#copy")).to_have_text("Copied")


def test_the_script_leaves_no_name_in_the_page(open_report: Open) -> None:
    page = open_report(a_minute(), VALID)
    assert globals_of(page) == []


def test_the_timeline_is_drawn_with_a_colour_for_each_epoch(open_report: Open) -> None:
    page = open_report(a_minute(), VALID)
    for epoch in range(1, 6):  # five epochs
        assert pixels(page, f"--e{epoch % 6}") > 500, epoch
    assert pixels(page, "--e0") < 100  # nobody reigned in epoch 0 or 6
    assert pixels(page, "--gold") > 100
    assert pixels(page, "--fault") > 100


def test_however_many_transitions_share_a_pixel_an_established_leader_is_seen_on_it(open_report: Open) -> None:
    story = an_hour(20_000)
    page = open_report(story, VALID)
    hosts = sorted(story.servers)
    leading = [op for op in story.ops if op["f"] == "state" and op["value"]["established"]]
    # A leader's bar is lower before broadcast, and the mark of the instant stands on the first one.
    high = [op for op in leading if op["value"]["phase"] == "broadcast" and op["time"] - leading[0]["time"] > 20 * S]
    at = [(hosts.index(op["process"]), op["time"] // 1000) for op in high]
    missing, leaders = page.evaluate(
        """(leaders) => {
          const canvas = document.getElementById('lanes'), {gutter, from, until, lanes} = canvas.dataset;
          const tops = lanes.split(' ').map(Number);
          const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext('2d', {willReadFrequently: true});
          copy.drawImage(canvas, 0, 0);
          const cell = (until - from) / (canvas.width - gutter);
          const gold = getComputedStyle(document.documentElement).getPropertyValue('--gold').trim();
          let missing = 0;
          for (const [lane, t] of leaders) {
            const x = Number(gutter) + Math.floor(t / cell);
            const [r, g, b] = copy.getImageData(x, tops[lane] + 1, 1, 1).data;
            missing += (r << 16 | g << 8 | b) !== Number.parseInt(gold.slice(1), 16);
          }
          return [missing, leaders.length];
        }""",
        at,
    )
    assert leaders > 700
    assert missing == 0


def test_hovering_a_server_shows_the_op_with_its_values_and_a_click_keeps_it(open_report: Open) -> None:
    page = open_report(a_minute(), VALID)
    page.mouse.move(*lane_point(page, 4, 3.0))
    tip = page.locator("#tip")
    expect(tip).to_contain_text("n5: LEADING in broadcast, established")
    expect(tip).to_contain_text("a quorum acknowledged NEWLEADER")
    expect(tip).to_contain_text('{"newleader_acks":[5,1,2,3,4]}')
    expect(tip).to_contain_text("0x100000000")
    page.mouse.move(*lane_point(page, 3, 17.5))
    expect(tip).to_contain_text("n4: down")
    expect(tip).to_contain_text("stopped signal 9")
    page.mouse.down()
    page.mouse.up()
    expect(page.locator("#pinned")).to_contain_text("n4: down")
    page.mouse.move(2, 2)
    expect(tip).to_be_hidden()
    expect(page.locator("#pinned")).to_be_visible()


def test_hovering_a_fault_shows_from_whom_packets_are_dropped(open_report: Open) -> None:
    page = open_report(a_minute(), VALID)
    x, y = lane_point(page, 0, 10.0)
    page.mouse.move(x, y + 26)
    expect(page.locator("#tip")).to_contain_text("n1 hears nothing from n2, n3, n4")
    page.mouse.move(x, y + 40)
    expect(page.locator("#tip")).to_contain_text("partition f1")
    expect(page.locator("#tip")).to_contain_text("n2 n3 n4")


def test_the_wheel_zooms_about_the_pointer_and_a_drag_pans(open_report: Open) -> None:
    page = open_report(a_minute(), VALID)
    whole = view(page)
    x, y = lane_point(page, 2, 30.0)
    page.mouse.move(x - 5, y)
    page.mouse.move(x, y)
    page.mouse.wheel(0, -600)
    page.wait_for_function("() => document.getElementById('lanes').dataset.from > 0")
    from_, until = view(page)
    assert until - from_ < (whole[1] - whole[0]) / 2
    assert from_ < 30e6 < until
    assert abs(lane_point(page, 2, 30.0)[0] - x) < 3
    page.mouse.down()
    page.mouse.move(x + 100, y, steps=4)
    page.mouse.up()
    assert view(page)[0] < from_


def test_a_page_that_is_scrolled_past_the_timeline_scrolls_on(open_report: Open) -> None:
    page = open_report(a_minute(), VALID)
    whole = view(page)
    page.mouse.move(640, 450)
    page.evaluate("() => window.scrollTo({top: document.body.scrollHeight, behavior: 'instant'})")
    page.wait_for_function("() => window.scrollY > 900")
    for _ in range(60):  # upwards is where the wheel would zoom in
        page.mouse.wheel(0, -120)
    page.wait_for_function("() => window.scrollY === 0")
    assert view(page) == whole


def test_the_keyboard_zooms_pans_and_walks_from_op_to_op(open_report: Open) -> None:
    page = open_report(a_minute(), VALID)
    page.locator("#lanes").focus()
    whole = view(page)
    page.keyboard.press("+")
    zoomed = view(page)
    assert zoomed[1] - zoomed[0] == pytest.approx((whole[1] - whole[0]) * 0.6, rel=0.01)
    page.keyboard.press("ArrowRight")
    assert view(page)[0] > zoomed[0]
    page.keyboard.press("0")
    assert view(page) == whole
    page.keyboard.press("ArrowDown")
    expect(page.locator("#pinned")).to_contain_text("n1: ")
    before = page.locator("#pinned").inner_text()
    page.keyboard.press(".")
    assert page.locator("#pinned").inner_text() != before
    page.keyboard.press("ArrowDown")
    expect(page.locator("#pinned")).to_contain_text("n2: ")
    page.keyboard.press("n")
    expect(page.locator("#pinned")).to_contain_text("Epoch 1: n5 is the established leader")


@pytest.mark.parametrize("focused", ["nothing", "#copy", "#lanes"])
def test_the_keys_work_wherever_the_reader_is_and_bring_the_timeline_into_sight(
    open_report: Open, focused: str
) -> None:
    story = a_minute(two_leaders=True)
    page = open_report(story, invalid(story))
    if focused != "nothing":
        page.locator(focused).focus()
    page.keyboard.press("v")
    expect(page.locator("#pinned")).to_contain_text("Violation 1: unique-leader")
    expect(page.locator("#lanes")).to_be_in_viewport()
    assert view(page)[0] < 9.379e6 < view(page)[1] < 20e6
    page.keyboard.press("n")
    expect(page.locator("#pinned")).to_contain_text("Epoch 1: n5 is the established leader")
    page.keyboard.press("Escape")
    expect(page.locator("#pinned")).to_be_hidden()


def test_keys_that_are_typed_into_a_field_or_held_with_control_are_no_commands(open_report: Open) -> None:
    story = a_minute(two_leaders=True)
    page = open_report(story, invalid(story))
    whole = view(page)
    page.locator("#find").focus()
    page.keyboard.type("v0n")
    page.locator("#op-number").focus()
    page.keyboard.type("v")
    page.locator("#copy").focus()
    page.keyboard.press("Control+v")
    assert view(page) == whole
    expect(page.locator("#find")).to_have_value("v0n")
    expect(page.locator("#pinned")).to_be_hidden()


def test_arrow_and_paging_keys_scroll_the_page_unless_the_timeline_has_the_focus(open_report: Open) -> None:
    page = open_report(a_minute(), VALID)
    whole = view(page)
    page.keyboard.press("End")
    page.wait_for_function("() => window.scrollY > 900")
    page.keyboard.press("ArrowUp")
    assert view(page) == whole
    expect(page.locator("#pinned")).to_be_hidden()


def test_a_violation_says_what_when_who_and_under_which_faults_and_is_jumped_to(open_report: Open) -> None:
    story = a_minute(two_leaders=True)
    verdict = invalid(story)
    page = open_report(story, verdict)
    box = page.locator(".violation")
    for words in ("unique-leader", "two established leaders", "9.379 s", "n4 n5", "partition f1"):
        expect(box).to_contain_text(words)
    expect(page.locator("#reigns tr.alarm")).to_have_count(2)
    page.locator("[data-violation]").click()
    from_, until = view(page)
    assert from_ < 9.379e6 < until
    assert until - from_ < 15e6
    assert pixels(page, "--bad") > 100
    first = verdict["results"]["unique-leader"]["violations"][0]["ops"][0]
    box.get_by_role("link", name=f"op {first}").click()
    expect(page.locator(f"#op-{first} pre")).to_be_visible()
    expect(page.locator(f"#op-{first} pre")).to_contain_text('"epoch_acks"')


HOSTILE = "<script>document.title='owned'</script><img src=x onerror=alert(1)></script></noscript>\u202e\x1b[31m{{7*7}}"


def test_text_from_a_host_stays_text_wherever_it_stands(open_report: Open) -> None:
    story = a_minute(hostile=HOSTILE)
    for op in story.ops:
        if op["process"] == "n2":
            op["process"] = HOSTILE
        if op["process"] == "nemesis":
            op["value"]["shape"] = op["value"]["fault"] = HOSTILE
            op["value"]["evidence"] = {HOSTILE: HOSTILE}
            op["error"] = HOSTILE
        if op["f"] == "phase":
            op["value"]["phase"] += HOSTILE
        if op["f"] == "run":
            op["value"]["name"] = op["value"]["system"] = HOSTILE
    reason = next(op for op in story.ops if op["f"] == "state" and op["value"]["reason"] == HOSTILE)
    violation = {
        "promise": HOSTILE,
        "message": HOSTILE,
        "ops": [reason["index"]],
        "servers": [HOSTILE],
        "faults": [HOSTILE],
        "time": reason["time"],
    }
    page = open_report(
        story,
        {
            "valid": "unknown",
            "summary": HOSTILE,
            "notes": [HOSTILE],
            "reasons": [HOSTILE],
            "results": {
                HOSTILE: {"valid": False, "violations": [violation], "stats": {HOSTILE: HOSTILE}, "reasons": [HOSTILE]}
            },
        },
    )
    shown = HOSTILE.replace("\u202e", "\\u202e").replace("\x1b", "\\u001b")
    expect(page.locator("#verdict")).to_have_text(shown)
    expect(page.locator("#epochs")).to_contain_text(shown)
    expect(page.locator("#violation-1 .message span").last).to_have_text(shown)
    x, y = lane_point(page, 4, reason["time"] / 1e9 + 0.05)
    page.mouse.move(x, y)
    expect(page.locator("#tip .reason")).to_have_text(shown)
    page.locator("#find").fill("alert(1)")
    expect(page.locator("#found")).to_contain_text(shown)
    page.locator("#op-number").fill(str(reason["index"]))
    page.locator("#op-number").press("Enter")
    expect(page.locator("#lines .here")).to_contain_text(shown)
    assert page.title() != "owned"
    assert page.locator("img").count() == 0
    assert page.locator("script").count() == 1


def test_the_dark_is_dark_and_paper_is_light_even_then(open_report: Open) -> None:
    page = open_report(a_minute(), VALID, color_scheme="dark")

    def brightness() -> list[int]:
        return list(
            page.evaluate(
                """() => {
              const canvas = document.getElementById('lanes');
              const context = new OffscreenCanvas(1, 1).getContext('2d', {willReadFrequently: true});
              context.drawImage(canvas, -2, 3 - canvas.height);
              const corner = context.getImageData(0, 0, 1, 1).data;
              const body = getComputedStyle(document.body).color.match(/\\d+/g).map(Number);
              return [corner[0], body[0]];
            }"""
            )
        )

    canvas, ink = brightness()
    assert canvas < 60
    assert ink > 200
    # A browser tells the page of paper while the screen is still what it asks about.
    page.evaluate("() => window.dispatchEvent(new Event('beforeprint'))")
    assert brightness()[0] > 230
    page.evaluate("() => window.dispatchEvent(new Event('afterprint'))")
    assert brightness()[0] < 60
    page.emulate_media(media="print")
    page.wait_for_function("() => document.documentElement.classList.contains('print')")
    canvas, ink = brightness()
    assert canvas > 230
    assert ink < 60
    paper = page.evaluate(
        """async (png) => {
          const image = await createImageBitmap(new Blob([new Uint8Array(png)]));
          const context = new OffscreenCanvas(1, 1).getContext('2d');
          context.drawImage(image, 0, 0);
          return context.getImageData(0, 0, 1, 1).data[0];
        }""",
        list(page.screenshot()),
    )
    assert paper > 230
    expect(page.locator("nav")).to_be_hidden()
    expect(page.locator("#lanes")).to_be_visible()
    assert page.pdf(format="A4").startswith(b"%PDF")


@pytest.mark.parametrize("width", [1280, 800, 420])
def test_nothing_is_wider_than_the_window(open_report: Open, width: int) -> None:
    story = a_minute(two_leaders=True)
    page = open_report(story, invalid(story), viewport={"width": width, "height": 900})
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    for line in page.locator("h1, .violation, .command, #stage").all():
        box = line.bounding_box()
        assert box
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width


def test_a_link_to_a_row_leads_there_though_the_row_is_laid_down_after_the_timeline(open_report: Open) -> None:
    page = open_report(a_minute(), VALID)
    page.goto(f"{page.url}#fault-f3")
    page.reload()  # what the address names is not there when the page is parsed
    expect(page.locator("#fault-f3:target")).to_be_in_viewport()


def test_a_browser_that_cannot_read_the_data_says_so_and_shows_the_rest(open_report: Open) -> None:
    page = open_report(a_minute(), VALID)
    expect(page.locator("#unread")).to_be_hidden()
    page.add_init_script("delete window.DecompressionStream")
    page.reload()
    expect(page.locator("#unread")).to_be_visible()
    expect(page.locator("#faults tbody tr")).to_have_count(8)


def test_folded_violations_are_open_on_paper_and_folded_again_after_it(open_report: Open) -> None:
    story = a_minute(two_leaders=True)
    verdict = invalid(story)
    found = verdict["results"]["unique-leader"]
    found["violations"] = [found["violations"][0] | {"message": f"violation {n}"} for n in range(1, 8)]
    page = open_report(story, verdict)
    folded, last = page.locator("details.more"), page.get_by_text("violation 7", exact=True)
    expect(folded.locator("> summary")).to_have_text("6 more violations")
    expect(last).not_to_be_visible()
    page.evaluate("() => window.dispatchEvent(new Event('beforeprint'))")
    expect(last).to_be_visible()
    page.evaluate("() => window.dispatchEvent(new Event('afterprint'))")
    expect(last).not_to_be_visible()
    page.emulate_media(media="print")
    expect(last).to_be_visible()
    page.emulate_media(media="screen")
    expect(last).not_to_be_visible()
    folded.locator("> summary").click()
    page.emulate_media(media="print")
    page.emulate_media(media="screen")
    expect(last).to_be_visible()  # the reader had opened it


def test_a_page_that_has_loaded_is_whole_so_that_it_can_be_printed_at_once(open_report: Open) -> None:
    story = a_minute(two_leaders=True)
    page = open_report(story, invalid(story))
    page.add_init_script(
        "const read = Response.prototype.json; Response.prototype.json = async function () {"
        " await new Promise((done) => { setTimeout(done, 200); }); return read.call(this); }"
    )
    page.reload()  # until it has loaded, each part of its data takes a while now
    assert page.evaluate("() => performance.getEntriesByName('ready').length") == 1
    expect(page.locator("noscript.later, iframe")).to_have_count(0)


def test_without_javascript_everything_but_the_timeline_is_there(open_report: Open) -> None:
    story = a_minute(two_leaders=True)
    page = open_report(story, invalid(story), java_script_enabled=False)
    expect(page.locator("h1")).to_contain_text("Invalid")
    expect(page.locator("#reigns tbody tr")).to_have_count(5)
    expect(page.locator("#faults tbody tr")).to_have_count(8)
    expect(page.locator("#timeline noscript")).to_be_visible()
