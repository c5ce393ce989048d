"""Small histories in which a verdict once accused the innocent, missed the guilty, or took what makes no sense.

Each begins with three servers: n3 is established in epoch 1 with full evidence, n1 and n2 follow it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from checker.history import HistoryError, Op, encode
from checker.verdict import Verdict, check
from tests.checker.story import CONVERGENCE_S, STEPPING_DOWN_S, Story, cut, good

ALONE = cut("n3", "n1 n2")
EVIDENCE = {"votes": [2, 3], "epoch_acks": {"2": [0, 0], "3": [0, 0]}, "own": [0, 0], "newleader_acks": [2, 3]}
THRONE = {"leader": 3, "epoch": 1, "established": True}


def led(n: int = 3, **run: Any) -> Story:
    story = Story(n, **run)
    story.elect("n3", epoch=1, at=0.5)
    return story


def broken(verdict: Verdict) -> set[str]:
    return set(verdict.broken)


def result(verdict: Verdict, name: str) -> Any:
    return next(r for r in verdict.results if r.name == name)


# ---- the innocent ----------------------------------------------------------------------------------------------------


def test_a_server_that_was_only_perhaps_killed_need_not_tell_its_state_again(tmp_path: Path) -> None:
    story = led()
    value = {"fault": "k", "effects": [{"down": ["n1"]}]}
    for at, type, step in (
        (1.0, "invoke", "start"),
        (1.02, "info", "start"),
        (1.1, "invoke", "stop"),
        (1.2, "ok", "stop"),
    ):
        story.tell("nemesis", type, "kill", value | {"step": step}, at=at)
    story.end(at=9.0)
    assert broken(story.check(tmp_path)) == set()


@pytest.mark.parametrize("unrelated", [True, False])
def test_an_unrelated_op_does_not_show_that_a_leader_still_leads(unrelated: bool, tmp_path: Path) -> None:
    """The bound is over at 2.72 s, and n3 steps down at 2.721 s, give or take 2 ms."""
    story = led()
    story.fault("p", "partition", ALONE, begin=1.0)
    if unrelated:
        story.phase("storm", at=1.02 + STEPPING_DOWN_S + 0.0005)
    story.tell("n3", "info", "state", {"role": "LOOKING"}, at=1.02 + STEPPING_DOWN_S + 0.001, time_error=2_000_000)
    story.end(at=3.0)
    assert broken(story.check(tmp_path)) == set()


@pytest.mark.parametrize("unrelated", [True, False])
def test_an_unrelated_op_does_not_show_that_a_majority_still_has_no_leader(unrelated: bool, tmp_path: Path) -> None:
    story = led()
    story.state("n1", at=1.0)
    story.state("n1", "FOLLOWING", "broadcast", at=1.0 + CONVERGENCE_S + 0.01).time_error = 20_000_000
    if unrelated:
        story.phase("storm", at=1.0 + CONVERGENCE_S + 0.005)
    story.end(at=5.0)
    assert broken(story.check(tmp_path)) == set()


@pytest.mark.parametrize(("error", "valid"), [(0.3, True), (0.01, False)])
def test_two_reports_in_an_unlucky_order_may_have_overlapped(error: float, valid: bool, tmp_path: Path) -> None:
    """n2 leaves 50 ms before n1 comes back, as far as the clocks know: all may have had n3 for a moment."""
    story = led()
    story.state("n1", at=1.0)
    story.state("n2", at=3.95).time_error = round(error * 1e9)
    story.follow("n1", "n3", 1, at=4.0).time_error = round(error * 1e9)
    story.follow("n2", "n3", 1, at=6.0)
    story.end(at=7.0)
    assert (broken(story.check(tmp_path)) == set()) is valid


@pytest.mark.parametrize("complete", [True, False])
@pytest.mark.parametrize("received", [7, None])
def test_missing_events_accuse_nobody_whether_or_not_the_run_was_complete(
    complete: bool, received: int | None, tmp_path: Path
) -> None:
    story = led()
    story.fault("p", "partition", ALONE, begin=1.0)
    story.state("n3", at=6.0)
    streams = {host: {"sent": 9, "received": 9} for host in story.hosts} | {"n3": {"sent": 9, "received": received}}
    story.end(at=6.1, complete=complete, streams=streams)
    verdict = story.check(tmp_path)
    assert verdict.valid == "unknown"
    assert {r.name for r in verdict.results if any("not held against" in why for why in r.reasons)} == {
        "convergence",
        "stepping-down",
    }


def test_a_run_that_ended_early_with_all_its_events_is_judged(tmp_path: Path) -> None:
    story = led()
    story.fault("p", "partition", ALONE, begin=1.0)
    story.state("n3", at=6.0)
    story.end(at=6.1, complete=False)
    assert broken(story.check(tmp_path)) == {"convergence", "stepping-down"}


@pytest.mark.parametrize(("last", "valid"), [(1.5, "unknown"), (100.0, False)])
def test_a_leader_whose_evidence_may_be_on_its_way_at_the_cut_is_not_accused(
    last: float, valid: Any, tmp_path: Path
) -> None:
    story = Story(3)
    story.state("n3", "LEADING", "broadcast", at=0.5, **THRONE)
    story.phase("storm", at=last)
    assert result(story.check(tmp_path), "evidence").valid == valid


@pytest.mark.parametrize(("end", "valid"), [(0.9, "unknown"), (3.0, False)])
def test_a_leader_of_the_last_second_may_have_come_to_show_nothing(end: float, valid: Any, tmp_path: Path) -> None:
    story = Story(3)
    story.state("n3", "LEADING", "broadcast", at=0.5, **THRONE)
    story.end(at=end)
    assert result(story.check(tmp_path), "evidence").valid == valid


@pytest.mark.parametrize(("effect", "valid"), [("gremlins", True), ("disk", True), ("degraded", False)])
def test_an_effect_that_nobody_knows_may_keep_a_leader_from_stepping_down(
    effect: str, valid: bool, tmp_path: Path
) -> None:
    story = led()
    what = {"n1": ["n2"]} if effect == "degraded" else ["n3"]
    story.fault("g", "gremlins", [{effect: what}], begin=0.9)
    story.fault("p", "partition", ALONE, begin=1.0)
    story.state("n3", at=6.0)
    story.end(at=6.1)
    assert ("stepping-down" not in broken(story.check(tmp_path))) is valid


@pytest.mark.parametrize("established", [True, False])
def test_only_a_leader_that_was_established_has_to_have_the_best_history(established: bool, tmp_path: Path) -> None:
    story = led()
    shown = {"votes": [1, 2], "own": [1, 5], "epoch_acks": {"1": [1, 6], "2": [1, 5]}, "newleader_acks": [1, 2]}
    story.state("n2", "LEADING", "discovery", at=2.0, evidence=shown)
    if established:
        story.state("n2", "LEADING", "synchronization", at=2.05, epoch=2, established=True)
    story.state("n2", at=2.1)
    story.end(at=2.2)
    assert broken(story.check(tmp_path)) == ({"leader-history"} if established else set())


def test_reports_of_a_host_out_of_their_own_order_show_no_fall(tmp_path: Path) -> None:
    story = led()
    for at, host_time, epoch in ((2.0, 20, 1), (2.1, 10, 0)):
        value = {"role": "LOOKING", "accepted_epoch": epoch, "current_epoch": epoch}
        story.tell("n1", "info", "state", value, at=at, host_time=host_time)
    story.end(at=3.0)
    verdict = story.check(tmp_path)
    assert result(verdict, "epochs").valid == "unknown"
    assert any("out of their host's own order" in reason for reason in verdict.reasons)


def test_late_reports_do_not_hide_what_one_report_shows(tmp_path: Path) -> None:
    story = led()
    for at, host_time, accepted in ((2.0, 20, 1), (2.1, 10, 0)):
        value = {"role": "LOOKING", "accepted_epoch": accepted, "current_epoch": 1}
        story.tell("n1", "info", "state", value, at=at, host_time=host_time)
    story.end(at=3.0)
    assert broken(story.check(tmp_path)) == {"epochs"}


def test_followers_without_leader_or_epoch_follow_whoever_leads(tmp_path: Path) -> None:
    """A log of level INFO does not say which epoch a follower follows."""
    story = good()
    for _, _, op in story.told:
        if op.f == "state" and op.value["role"] == "FOLLOWING":
            for field in ("leader", "epoch", "phase"):
                del op.value[field]
    verdict = story.check(tmp_path)
    assert verdict.valid is True, verdict.summary


def test_evidence_may_be_shown_in_pieces_and_before_the_throne(tmp_path: Path) -> None:
    story = Story(3)
    pieces = ({"votes": [3], "epoch_acks": {"3": [0, 0]}}, {"votes": [2], "epoch_acks": {"2": [0, 0]}})
    for n, evidence in enumerate(pieces):
        story.state("n3", "LEADING", "discovery", at=0.5 + n / 10, evidence=evidence)
    for n, sid in enumerate((3, 2)):
        evidence = {"newleader_acks": [sid]}
        story.state("n3", "LEADING", "broadcast", at=1 + n / 10, evidence=evidence, **THRONE)
    story.state("n3", at=2.0)
    story.end(at=3.0)
    assert result(story.check(tmp_path), "evidence").valid is True


@pytest.mark.parametrize(("voters", "valid"), [([2, 3], True), ([3], False)])
def test_who_acknowledged_the_epoch_did_not_elect_for_that(voters: list[int], valid: bool, tmp_path: Path) -> None:
    story = Story(3)
    story.state("n3", "LEADING", "discovery", at=0.5, evidence={"votes": voters})
    story.state("n3", "LEADING", "broadcast", at=0.6, evidence=EVIDENCE, **THRONE)
    story.state("n3", at=2.0)
    story.end(at=3.0)
    assert result(story.check(tmp_path), "evidence").valid is valid


# ---- the guilty ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["observer", "nobody"])
def test_a_bad_clock_of_somebody_else_does_not_hide_a_leader_without_a_quorum(who: str, tmp_path: Path) -> None:
    ensemble = {f"n{sid}": {"sid": sid} for sid in (1, 2, 3)} | {"o": {"sid": 9, "role": "observer"}}
    story = led(ensemble=ensemble)
    if who == "observer":
        story.tell("o", "info", "started", {}, at=0.1, time_error=100_000_000_000)
    story.fault("p", "partition", ALONE, begin=1.0)
    story.state("n3", at=9.0)
    story.end(at=9.1)
    assert broken(story.check(tmp_path)) == {"stepping-down", "convergence"}


def test_a_bad_clock_of_a_voter_outside_does_not_hide_a_majority_without_a_leader(tmp_path: Path) -> None:
    story = led()
    story.tell("n3", "info", "state", {"role": "LOOKING"}, at=0.9, time_error=100_000_000_000)
    story.fault("p", "partition", ALONE, begin=1.0)
    story.state("n1", at=1.5)
    story.state("n2", at=1.5)
    story.end(at=9.0)
    assert broken(story.check(tmp_path)) == {"convergence"}


@pytest.mark.parametrize("looking", [True, False])
def test_each_epoch_needs_evidence_of_its_own(looking: bool, tmp_path: Path) -> None:
    story = led()
    if looking:
        story.state("n3", at=1.9)
    few = {"votes": [3], "epoch_acks": {"3": [0, 0]}, "newleader_acks": [3]}
    story.epochs["n3"] = (2, 2)
    story.state("n3", "LEADING", "broadcast", at=2.0, **THRONE | {"epoch": 2}, evidence=few)
    story.end(at=4.0)
    assert broken(story.check(tmp_path)) == {"evidence"}


VOTE = {"leader": 3, "round": 5, "state": "LOOKING"}


@pytest.mark.parametrize(
    ("vote", "counts"),
    [
        (VOTE, True),
        ({}, True),
        (VOTE | {"leader": 1}, False),
        (VOTE | {"round": 4}, False),
        (VOTE | {"round": 6}, True),
        (VOTE | {"round": 4, "state": "FOLLOWING"}, True),
        ({"round": None, "leader": None}, True),
    ],
)
def test_the_content_of_a_vote_counts(vote: dict[str, Any], counts: bool, tmp_path: Path) -> None:
    story = Story(3)
    evidence = EVIDENCE | {"votes": {"2": vote, "3": VOTE}}
    story.state("n3", "LEADING", "broadcast", at=0.5, round=5, evidence=evidence, **THRONE)
    story.end(at=3.0)
    assert (broken(story.check(tmp_path)) == set()) is counts


@pytest.mark.parametrize("read_first", [True, False])
@pytest.mark.parametrize("f", ["read", "read-all"])
def test_a_value_whose_create_failed_is_never_read(f: str, read_first: bool, tmp_path: Path) -> None:
    story = good()
    story.tell(1, "invoke", "create", 9, at=3.1, server="n1")
    story.tell(1, "fail", "create", 9, at=3.3 if read_first else 3.15, server="n1")
    story.tell(3, "invoke", f, at=3.2, server="n1")
    story.tell(3, "ok", f, [9, 9] if f == "read" else [[9, 9]], at=3.21, server="n1")
    for host in story.hosts:
        story.read_all(host, [[1, 5], [9, 9]], at=8.2)
    verdict = story.check(tmp_path)
    assert broken(verdict) == {"durability"}
    assert any("9 was read although the create failed" in v.message for v in verdict.violations)


@pytest.mark.parametrize("reads", [([[1, 5]], [[1, 4]]), ([[1, 4]], [[1, 5]]), ([[1, 5]], [[1, 5]])])
def test_every_final_read_of_a_server_counts(reads: Any, tmp_path: Path) -> None:
    story = good()
    for n, ranges in enumerate(reads):
        story.read_all("n1", ranges, at=8.2 + n / 10)
    lacking = any(ranges == [[1, 4]] for ranges in reads)
    assert broken(story.check(tmp_path)) == ({"durability"} if lacking else set())


@pytest.mark.parametrize(("accepted", "valid"), [(1, False), (2, True)])
def test_a_current_epoch_bounds_the_accepted_ones_that_follow(accepted: int, valid: bool, tmp_path: Path) -> None:
    story = led()
    story.tell("n1", "info", "state", {"role": "LOOKING", "current_epoch": 2}, at=2.0)
    story.tell("n1", "info", "state", {"role": "LOOKING", "accepted_epoch": accepted}, at=2.1)
    story.end(at=3.0)
    assert (broken(story.check(tmp_path)) == set()) is valid


def test_a_follower_stuck_in_synchronization_has_not_converged(tmp_path: Path) -> None:
    story = led()
    story.state("n1", "FOLLOWING", "synchronization", at=1.0, leader=3, epoch=1)
    story.end(at=1.0 + CONVERGENCE_S + 0.1)
    assert broken(story.check(tmp_path)) == {"convergence"}


# ---- unknown ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("storm", "reasons"),
    [
        ([("majority", 5.0, 5.1)], 0),  # the fault holds from 5.12 on, and n1 and n2 go on
        ([("majority", 5.0, None)], 0),
        ([("majority", 5.0, 6.99)], 1),  # nobody is seen after it
        ([("everyone", 7.0, 7.98)], 1),  # not over before the act
    ],
)
def test_an_act_is_shown_only_after_its_faults_hold(storm: Any, reasons: int, tmp_path: Path) -> None:
    ((act, _, begin),) = storm
    story = led()
    story.phase("majority", at=5.0)
    story.phase("everyone", at=7.0)
    story.follow("n1", "n3", 1, at=7.01)
    story.phase("end", at=8.0)
    if begin is not None:
        value = {"fault": "p", "step": "start", "effects": cut("n1", "n2 n3")}
        story.tell("nemesis", "invoke", "partition", value, at=begin)
        story.tell("nemesis", "ok", "partition", value, at=begin + 0.02)
        value = value | {"step": "stop"}
        story.tell("nemesis", "invoke", "partition", value, at=max(begin, 7.0) + 0.03)
        story.tell("nemesis", "ok", "partition", value, at=max(begin, 7.0) + 0.05)
        story.follow("n1", "n3", 1, at=7.3)
    story.end(at=9.0)
    found = result(story.check(tmp_path), "convergence").reasons
    assert len(found) == reasons
    assert all(repr(act) in reason for reason in found)


def test_a_run_in_which_no_promise_is_judged_is_never_valid(tmp_path: Path) -> None:
    story = good()
    story.told[0][2].value["unjudged"] = [r.name for r in good().check(tmp_path).results]
    (again := tmp_path / "again").mkdir()
    verdict = story.check(again)
    assert verdict.valid == "unknown"
    assert "no promise is judged" in verdict.reasons


def test_counts_of_a_host_are_compared_with_each_other_and_not_with_the_history(tmp_path: Path) -> None:
    story = good()
    story.drop("end", 9.0)
    story.end(at=9.0, streams={host: {"sent": 1000, "received": 1000} for host in story.hosts})
    assert story.check(tmp_path).valid is True


def test_clients_ops_count_in_the_order_of_their_index(tmp_path: Path) -> None:
    """The read of 7 stands before its create, and says of itself that it was later."""
    story = good()
    told = [Op(0, 0, 3, "ok", "read", [7, 7]), Op(0, 0, 3, "invoke", "create", 7), Op(0, 0, 3, "info", "create", 7)]
    for n, op in enumerate(told):
        story.told.append((3.1 + n / 100, 1000 + n, op))
        op.time = round((3.3 - n / 100) * 1e9)
    assert broken(story.check(tmp_path)) == {"durability"}


# ---- what makes no sense ---------------------------------------------------------------------------------------------

STATE: tuple[str, Any, str] = ("n1", "info", "state")
START: tuple[str, Any, str] = ("nemesis", "invoke", "kill")


@pytest.mark.parametrize(
    ("process", "type", "f", "value", "fields", "words"),
    [
        (*STATE, {"role": "LOOKING", "accepted_epoch": -1}, {}, "$.accepted_epoch"),
        (*STATE, {"role": "LOOKING", "current_epoch": -1}, {}, "$.current_epoch"),
        (*STATE, {"role": "LEADING", "epoch": -1}, {}, "$.epoch"),
        (*STATE, {"role": "LEADING", "evidence": {"votes": ["--1"]}}, {}, "evidence.votes: '--1' is not a sid"),
        (*STATE, {"role": "LEADING", "evidence": {"votes": [True]}}, {}, "evidence.votes: True is not a sid"),
        (*STATE, {"role": "LEADING", "evidence": {"epoch_acks": {"x": 1}}}, {}, "evidence.epoch_acks: 'x'"),
        (*STATE, {"role": "LEADING", "evidence": {"newleader_acks": 3}}, {}, "evidence.newleader_acks has to be"),
        (*STATE, {"role": "LOOKING"}, {"time_error": -1}, "$.time_error"),
        (*STATE, {"role": "LOOKING"}, {"host_time": 1 << 61}, "$.host_time"),
        (*START, {"step": "start"}, {}, "`fault`"),
        ("nemesis", "info", "gossip", None, {}, "`fault`"),
        (
            3,
            "invoke",
            "read",
            1,
            {"server": "server"},
            "\"server\" has to be a host of the run's ensemble, not 'server'",
        ),
        (3, "invoke", "create", 1, {"server": "n1"}, "'create' of 1 was invoked before"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_with_its_line(
    process: Any, type: Any, f: str, value: Any, fields: Any, words: str, tmp_path: Path
) -> None:
    story = good()
    op = story.tell(process, type, f, value, at=3.5, **fields)
    with pytest.raises(HistoryError) as caught:
        story.check(tmp_path)
    assert words in str(caught.value)
    assert caught.value.line == op.index + 1


@pytest.mark.parametrize("time", [-(1 << 70), 1 << 62])
def test_a_time_beyond_all_clocks_is_refused(time: int, tmp_path: Path) -> None:
    path = good().write(tmp_path / "history.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    lines[3] = lines[3].replace(b'"time":100000000', b'"time":%d' % time)
    path.write_bytes(b"".join(lines))
    with pytest.raises(HistoryError, match=r"\$\.time") as caught:
        check(path)
    assert caught.value.line == 4


@pytest.mark.parametrize("process", ["n1", "controller", 3])
def test_an_op_after_the_end_is_refused(process: Any, tmp_path: Path) -> None:
    path = good().write(tmp_path / "history.jsonl")
    count = len(path.read_bytes().splitlines())
    told = {"n1": ("state", {"role": "LOOKING"}), "controller": ("phase", {"phase": "end"}), 3: ("read", 1)}
    f, value = told[process]
    with path.open("ab") as file:
        file.write(encode(Op(count, 10**10, process, "invoke" if process == 3 else "info", f, value)))
    with pytest.raises(HistoryError, match='an op after "end"') as caught:
        check(path)
    assert caught.value.line == count + 1
