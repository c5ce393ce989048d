"""What the report takes from a history, held against the history itself."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checker.availability import Availability
from checker.history import ordered, read
from checker.promises.convergence import bound_ns
from checker.vocabulary import EnsembleSettings, RunOp, typed
from harness.replay.messages import Exchange
from harness.report import exchanged, ops
from harness.report.broken import FORMULA_0_1
from harness.report.build import ROWS_MAX, build
from harness.report.clients import ClientRows
from harness.report.columns import Strings, column, stat, visible
from harness.report.page import clock, lasting, render
from tests.browser.stories import MS, S, Story, a_minute, an_hour

HISTORIES = sorted((Path(__file__).parent.parent / "histories").glob("[!m]*.jsonl"))  # not the malformed ones
NOTHING: dict[str, Any] = {"valid": True, "summary": "Valid.", "results": {}}


def expand(written: Any) -> list[int]:
    """What the page's script makes of a column."""
    if isinstance(written, list):
        differences = written
    else:
        differences, place = [0] * written["n"], 0
        for further, difference in zip(written["d"][::2], written["d"][1::2], strict=True):
            place += further
            differences[place] = difference
    out, at = [], 0
    for difference in differences:
        at += difference
        out.append(at)
    return out


def lane(view: dict[str, Any], host: int, field: str) -> list[int]:
    return expand(view["data"]["lanes"][host][field])


def told(story: Story, tmp_path: Path, verdict: dict[str, Any] = NOTHING) -> dict[str, Any]:
    return build(story.write(tmp_path / "history.jsonl"), verdict)


@given(st.lists(st.one_of(st.just(0), st.integers(-5, 5), st.integers(-(2**63), 2**63))))
def test_a_column_is_read_as_it_was_written(numbers: list[int]) -> None:
    assert expand(column(numbers)) == numbers


def test_columns_of_what_seldom_changes_are_short() -> None:
    assert len(json.dumps(column([7] * 10_000))) < 100


@pytest.mark.parametrize("path", HISTORIES, ids=lambda p: p.stem)
def test_every_reported_state_is_in_the_lanes_and_every_established_leader_reigns(path: Path) -> None:
    ops = [op for op in read(path) if op.f == "state"]
    view = build(path, NOTHING)
    drawn = {
        (view["data"]["hosts"][h]["name"], index)
        for h in range(len(view["hosts"]))
        for index, state in zip(lane(view, h, "i"), lane(view, h, "s"), strict=True)
        if state >= 2
    }
    assert drawn == {(op.process, op.index) for op in ops}
    reigned = {(row["host"], row["epoch"]) for row in view["reigns"]["rows"]}
    established = [op for op in ops if op.value["role"] == "LEADING" and op.value.get("established")]
    assert reigned == {(op.process, op.value["epoch"]) for op in established}
    assert len(render(view, "onethrone check x")) > 10_000


@pytest.mark.parametrize("two_leaders", [False, True])
def test_the_throne_is_empty_exactly_when_nobody_reigns(tmp_path: Path, two_leaders: bool) -> None:
    view = told(a_minute(two_leaders=two_leaders), tmp_path)
    reigns = view["data"]["reigns"]
    for t in range(0, view["data"]["end"], 7_001):
        held = any(a <= t < b for a, b in zip(reigns["a"], reigns["b"], strict=True))
        empty = any(a <= t < b for a, b in view["data"]["empty"])
        assert held != empty, t


def test_two_leaders_of_one_epoch_are_marked_and_two_of_different_epochs_are_not(tmp_path: Path) -> None:
    wrong = told(a_minute(two_leaders=True), tmp_path)["reigns"]["rows"]
    assert [(r["epoch"], r["host"]) for r in wrong if r["shared"]] == [(1, "n5"), (1, "n4")]
    assert not any(r["shared"] for r in told(a_minute(), tmp_path)["reigns"]["rows"])


def test_an_epoch_shows_its_votes_its_acks_and_how_long_the_throne_was_empty(tmp_path: Path) -> None:
    view = told(a_minute(), tmp_path)
    second = view["reigns"]["rows"][1]
    assert (second["epoch"], second["host"]) == (2, "n4")
    assert second["votes"] == second["acks"] == second["newleader_acks"] == ["2", "3", "4"]
    assert second["faults"] == ["f1"]
    assert second["empty_before"] == second["since"] - view["reigns"]["rows"][0]["until"]
    assert second["serving"] > second["since"]
    assert second["ended_by"] == "stopped signal 9"


def test_a_server_whose_host_was_killed_without_a_word_is_down_until_it_reports_again(tmp_path: Path) -> None:
    story = Story(servers=3)
    story.start(0, "n1", "n2", "n3")
    story.elect(100 * MS, "n3", ["n1", "n2"])
    story.fault("host-kill", 5 * S, 8 * S, ["n3"], [{"down": ["n3"]}])
    story.start(9 * S, "n3")
    story.end(10 * S)
    view = told(story, tmp_path)
    states = list(zip(lane(view, 2, "t"), lane(view, 2, "s"), strict=True))
    assert (5_021_000, 0) in states  # verified 21 ms after it was asked for
    assert view["reigns"]["rows"][-1]["until"] == 5 * S + 21 * MS


def test_a_server_that_reported_its_end_is_not_taken_down_a_second_time(tmp_path: Path) -> None:
    view = told(a_minute(), tmp_path)
    states = lane(view, 3, "s")
    assert states.count(0) == 2  # killed once, and its host once
    assert all(a or b for a, b in pairwise(states))


def test_a_fault_that_did_not_happen_is_told_and_not_drawn(tmp_path: Path) -> None:
    view = told(a_minute(), tmp_path)
    refused = next(f for f in view["faults"]["rows"] if f["kind"] == "delay")
    assert refused["outcome"] == "failed"
    assert "Operation not permitted" in refused["error"]
    assert "delay" not in {f["kind"] for f in view["data"]["faults"]}
    assert (view["faults"]["verified"], view["faults"]["failed"], view["faults"]["all"]) == (7, 1, 8)


def test_a_fault_that_is_never_undone_lasts_to_the_end_and_one_never_answered_is_unknown(tmp_path: Path) -> None:
    story = Story(servers=3)
    value = {"fault": "f1", "step": "start", "hosts": ["n1"], "effects": [{"paused": ["n1"]}]}
    story.op(1 * S, "nemesis", "invoke", "pause", value)
    story.end(9 * S)
    view = told(story, tmp_path)
    assert view["faults"]["rows"][0]["outcome"] == "unknown"
    assert view["data"]["faults"][0]["t"][3] == view["data"]["end"]


def test_the_order_of_a_hosts_own_clock_beats_the_jitter_of_its_mapping(tmp_path: Path) -> None:
    story = Story(servers=3)
    story.start(0, "n1", "n2", "n3")
    early = story.state(2 * S, "n1", "first")
    late = story.state(2 * S, "n1", "second")
    story.ops[early].update(host_time=9_000 * S, time=2 * S + 300)
    story.ops[late].update(host_time=9_001 * S, time=2 * S)
    story.end(3 * S)
    with (tmp_path / "history.jsonl").open("w") as out:
        for op in story.ops:
            out.write(json.dumps(op) + "\n")
    view = build(tmp_path / "history.jsonl", NOTHING)
    assert lane(view, 0, "i")[-2:] == [early, late]


def test_writes_are_counted_and_what_was_never_answered_is_unknown(tmp_path: Path) -> None:
    story = a_minute()
    story.op(59 * S, 55, "invoke", "create", 99_999, server="n1")
    view = told(story, tmp_path)
    ops = [op for op in story.ops if op["f"] == "create"]
    row = next(row for row in view["clients"] if row["f"] == "create")
    assert row["asked"] == sum(op["type"] == "invoke" for op in ops)
    assert row["ok"] == sum(op["type"] == "ok" for op in ops) == sum(view["data"]["clients"]["ok"])
    assert row["unknown"] == sum(op["type"] == "info" for op in ops) + 1
    assert row["asked"] == row["ok"] + row["fail"] + row["unknown"]


def test_clients_bins_stay_few_however_long_the_run(tmp_path: Path) -> None:
    clients = ClientRows()
    for op in read(an_hour(240).write(tmp_path / "history.jsonl")):
        if isinstance(op.process, int):
            clients.feed(op)
    columns = clients.columns()
    assert len(columns["n"]) <= 2_000
    assert sum(columns["ok"]) > 5_000


def test_the_convergence_bound_is_stated_as_the_checker_computes_it() -> None:
    for tick, init, sync, most in [(500, 10, 4, 2000), (100, 5, 2, 500), (2000, 10, 5, 60_000)]:
        run = RunOp(
            name="x",
            ensemble={},
            settings=EnsembleSettings(tick, init, sync, most),
        )
        stated = re.sub(r"(\d+) s\b", r"\1 * 1000", FORMULA_0_1["convergence"])
        names = {"init_limit": init, "sync_limit": sync, "tick": tick, "max_notification_interval": most}
        for name, number in names.items():
            stated = re.sub(rf"\b{name}\b", str(number), stated)
        assert re.fullmatch(r"[\d +*]+", stated)
        assert sum(_product(term) for term in stated.split("+")) * MS == bound_ns(run)


def _product(term: str) -> int:
    product = 1
    for factor in term.split("*"):
        product *= int(factor)
    return product


def test_long_tables_keep_the_rows_that_matter_and_say_how_many_there_are(tmp_path: Path) -> None:
    view = told(an_hour(10_000), tmp_path)
    assert len(view["reigns"]["rows"]) == ROWS_MAX < view["reigns"]["all"]
    assert "The timeline shows all of them." in render(view, "x")
    assert len(view["data"]["reigns"]["e"]) == view["reigns"]["all"]


# ---- what led there, who hears whom, elections, messages, lines ------------------------------------------------------


def test_what_led_to_a_violation_ends_with_it_and_has_the_last_things_only(tmp_path: Path) -> None:
    story = a_minute(two_leaders=True)
    proof = {"ops": [0], "time": 24 * S, "message": "m", "faults": [], "servers": ["n1"], "promise": "epochs"}
    verdict = {"valid": False, "summary": "s", "results": {"epochs": {"valid": False, "violations": [proof]}}}
    view = told(story, tmp_path, verdict)
    led = view["led_to"]
    assert len(led) == 10
    assert [row["at"] for row in led] == sorted(row["at"] for row in led)
    assert led[-1]["at"] <= 24 * S < min(f["began"] for f in view["faults"]["rows"] if (f["began"] or 0) > 24 * S)
    assert led[-1]["text"] == "begins: pause of n5"
    assert led[-1]["fault"] == "f5"


@pytest.mark.parametrize("path", HISTORIES, ids=lambda p: p.stem)
def test_who_hears_whom_and_the_majority_are_at_every_instant_what_the_checkers_know(path: Path) -> None:
    view = build(path, NOTHING)
    columns, hosts = view["data"]["hearing"], [h["name"] for h in view["data"]["hosts"]]
    changes = list(zip(expand(columns["t"]), expand(columns["a"]), expand(columns["l"]), strict=True))
    world = run = None
    compared = 0
    ops = [op for op in ordered(read(path)) if not isinstance(op.process, int)]
    for op, after in zip(ops, [*ops[1:], None], strict=True):
        if not typed(op, run):
            continue
        if isinstance(op.value, RunOp):
            run = op.value
            world = Availability(run)
            continue
        assert world is not None
        world.feed(op)
        if after is not None and after.time // 1000 <= world.now // 1000:
            continue  # the columns tell what holds after all ops of a microsecond
        compared += 1
        levels = {atom: level for t, atom, level in changes if t <= world.now // 1000}
        shown = {
            (columns["atoms"][a][0], *(hosts[h] for h in columns["atoms"][a][1:])): level
            for a, level in levels.items()
            if level
        }
        assert shown == dict.fromkeys(world.possible, 1) | dict.fromkeys(world.sure, 2)
        majority = [m for t, m in columns["majority"] if t <= world.now // 1000]
        owed = world.majority()
        assert (majority[-1] if majority else None) == (None if owed is None else sorted(map(hosts.index, owed)))
    assert compared > 1


def test_elections_are_counted_under_each_kind_of_fault_that_was_in_force_then(tmp_path: Path) -> None:
    view = told(a_minute(), tmp_path)
    rows = {row["kind"]: row for row in view["elections"]["rows"]}
    gaps = [r for r in view["reigns"]["rows"][1:] if r["empty_before"]]
    assert rows["all"]["count"] == len(gaps) == sum(bar["count"] for bar in rows["all"]["bars"])
    assert rows["all"]["most"] == max(r["empty_before"] for r in gaps)
    kinds = {f["id"]: f["kind"] for f in view["faults"]["rows"]}
    for kind in set(kinds.values()) & set(rows):
        assert rows[kind]["count"] == sum(kind in {kinds[f] for f in r["faults"]} for r in gaps)
    assert set(rows) == {"all"} | {kinds[f] for r in gaps for f in r["faults"]}
    assert next(iter(rows)) == "all"


def test_a_page_takes_so_many_messages_first_those_around_a_violation_then_those_of_elections(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = Exchange(["n1", "n2"], said=[("PING", "PING", "PING"), ("vote", "vote for server 1", "vote 1")])
    found.rows = [(n * S, n * S + MS if n % 2 else -1, 0, 1, n % 10 == 0, "election", 1, 1) for n in range(100)]
    monkeypatch.setattr(exchanged, "MESSAGES_MAX", 15)
    chosen = exchanged._chosen(found, [51 * S])
    assert set(range(48, 55)) <= set(chosen)  # within 3 s
    assert {0, 10, 20, 30, 40} <= set(chosen)
    assert len(chosen) == 15
    columns = exchanged.columns(found, ["n0", "n1", "n2"], chosen)
    assert expand(columns["f"]) == [1] * 15
    assert expand(columns["o"]) == [2] * 15
    assert set(expand(columns["w"])) == {-1, 1000}
    assert [columns["said"][k][0] for k in expand(columns["k"])] == ["vote" if n % 10 == 0 else "PING" for n in chosen]


def test_a_short_history_is_in_the_page_whole_and_of_a_long_one_what_matters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = a_minute()
    lines = told(story, tmp_path)["data"]["ops"]
    assert lines["all"]
    assert [json.loads(line)["index"] for line in lines["x"]] == expand(lines["i"]) == list(range(len(story.ops)))
    assert json.loads(lines["x"][40]) == {k: v for k, v in story.ops[40].items() if v is not None}
    monkeypatch.setattr(ops, "REST_BYTES_MAX", 10_000)
    few = told(story, tmp_path, {**NOTHING, "results": {"x": {"violations": [{"ops": [500], "time": 0}]}}})
    kept = set(expand(few["data"]["ops"]["i"]))
    assert not few["data"]["ops"]["all"]
    assert set(range(488, 513)) <= kept
    assert {op["index"] for op in story.ops if op["process"] == "nemesis"} <= kept
    assert len(kept) < len(story.ops) / 2


def test_rates_and_times_are_written_with_their_units() -> None:
    assert stat("bytes_per_s", 19262) == ("bytes", "19262/s")
    assert stat("bound_s", 3.25) == ("bound", "3.25 s")


def test_a_full_table_of_texts_says_so() -> None:
    strings = Strings(10)
    assert strings.add("12345678") == strings.add("12345678") == 1
    assert strings.add("abcdefgh") == -1
    assert strings.full


@pytest.mark.parametrize(
    ("text", "shown"),
    [("plain", "plain"), ("\x1b[31m", "\\u001b[31m"), ("a\u202eb", "a\\u202eb"), ("é – ♛\n", "é – ♛\n")],
)
def test_control_characters_are_written_out(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_times_are_written_for_people() -> None:
    assert [clock(ns) for ns in (9_350 * MS, 729_350 * MS, 3_729_350 * MS, None)] == [
        "9.350 s",
        "12:09.350",
        "1:02:09.350",
        "–",
    ]
    assert [lasting(ns) for ns in (412 * MS, 3_210 * MS, 125 * S, 3_725 * S)] == [
        "412 ms",
        "3.21 s",
        "2 min 5 s",
        "1 h 2 min",
    ]


junk = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)),
    max_leaves=6,
)
FIELDS = [
    "fault",
    "step",
    "hosts",
    "effects",
    "grudge",
    "links",
    "evidence",
    "role",
    "phase",
    "epoch",
    "established",
    "vote",
    "leader",
    "reason",
    "last_zxid",
    "ensemble",
    "settings",
    "bounds",
    "quorum",
    "complete",
    "how",
]


@settings(max_examples=200)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["n1", "nemesis", "controller", 3]),
            st.sampled_from(["invoke", "ok", "fail", "info"]),
            st.sampled_from(["state", "started", "stopped", "run", "phase", "end", "pause", "create", "odd"]),
            st.one_of(junk, st.dictionaries(st.sampled_from(FIELDS), junk, max_size=5)),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_no_value_of_any_op_keeps_the_report_from_being_written(
    tmp_path_factory: pytest.TempPathFactory, ops: list[tuple[Any, str, str, Any]]
) -> None:
    path = tmp_path_factory.mktemp("junk") / "history.jsonl"
    with path.open("w") as out:
        for index, (process, kind, f, value) in enumerate(ops):
            op = {"index": index, "time": index * S, "process": process, "type": kind, "f": f, "value": value}
            out.write(json.dumps(op) + "\n")
    proof = {"ops": [0], "time": 0, "message": "m", "faults": [{"fault": "f1"}, "f2"], "servers": ["n1"]}
    verdict = {"valid": False, "summary": "s", "results": {"epochs": {"valid": False, "violations": [proof]}}}
    page = render(build(path, verdict), "x")
    assert page.count("<script") == 4
