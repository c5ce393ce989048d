"""Who is fit, who hears whom, and which faults are in force: the interval rules of checker/availability.py."""

from __future__ import annotations

from typing import Any

import pytest

from checker.availability import Availability
from checker.history import Op
from checker.quorums import Quorum
from checker.vocabulary import RunOp, ValueProblem, typed
from tests.checker.story import SETTINGS, cut

ISOLATE_N1 = cut("n1", "n2 n3")


class Told:
    """A world of n hosts, told ops one by one."""

    def __init__(self, n: int = 3, started: bool = True, **run: Any) -> None:
        value = {"ensemble": {f"n{i}": {"sid": i} for i in range(1, n + 1)}, "settings": SETTINGS} | run
        op = Op(0, 0, "controller", "info", "run", value)
        typed(op, None)
        self.run: RunOp = op.value
        self.world = Availability(self.run)
        self.index = 0
        for host in self.run.ensemble if started else ():
            self.start(host)

    def __call__(self, process: str, type: Any, f: str, value: Any, **fields: Any) -> Availability:
        self.index += 1
        op = Op(self.index, fields.pop("time", self.index), process, type, f, value, **fields)
        assert typed(op, self.run)
        self.world.feed(op)
        return self.world

    def start(self, host: str) -> Availability:
        """It starts and reports that it looks for a leader."""
        self(host, "info", "started", {})
        return self(host, "info", "state", {"role": "LOOKING", "phase": "election"})

    def fault(self, type: Any, step: str, effects: Any, name: str = "f1") -> Availability:
        return self("nemesis", type, "fault", {"fault": name, "step": step, "effects": effects})

    @property
    def majority(self) -> str | None:
        majority = self.world.majority()
        return None if majority is None else " ".join(sorted(majority))


def test_a_majority_is_owed_a_leader_only_while_the_fault_is_surely_there_or_surely_over() -> None:
    told = Told()
    seen = [told.majority]
    for type, step in [("invoke", "start"), ("ok", "start"), ("invoke", "stop"), ("ok", "stop")]:
        told.fault(type, step, ISOLATE_N1)
        seen.append(told.majority)
    assert seen == ["n1 n2 n3", None, "n2 n3", None, "n1 n2 n3"]


@pytest.mark.parametrize(("type", "after"), [("ok", "n2 n3"), ("fail", "n1 n2 n3"), ("info", None), ("invoke", None)])
def test_the_answer_to_a_start_says_what_is_known(type: Any, after: str | None) -> None:
    told = Told()
    told.fault("invoke", "start", ISOLATE_N1)
    told.fault(type, "start", ISOLATE_N1)
    assert told.majority == after


@pytest.mark.parametrize(("type", "after"), [("ok", "n1 n2 n3"), ("fail", "n2 n3"), ("info", None)])
def test_the_answer_to_a_stop_says_what_is_known(type: Any, after: str | None) -> None:
    told = Told()
    told.fault("ok", "start", ISOLATE_N1)
    told.fault("invoke", "stop", [])
    told.fault(type, "stop", [])
    assert told.majority == after
    if type == "info":
        told.fault("ok", "stop", [])
        assert told.majority == "n1 n2 n3"


def test_a_toggle_of_a_flap_keeps_sure_what_both_states_share() -> None:
    told = Told()
    told.fault("ok", "start", ISOLATE_N1)
    told.fault("invoke", "change", cut("n1", "n2", "n3"))
    assert ("drops", "n1", "n2") in told.world.sure
    assert ("drops", "n2", "n3") not in told.world.sure
    assert ("drops", "n2", "n3") in told.world.possible
    told.fault("ok", "change", cut("n1", "n2", "n3"))
    assert told.majority is None
    told.fault("ok", "change", [])
    assert told.majority == "n1 n2 n3"
    assert [fault["fault"] for fault in told.world.faults_now()] == ["f1"]
    told.fault("ok", "stop", [])
    assert told.world.faults_now() == []


def test_what_was_verified_counts_not_what_was_asked() -> None:
    told = Told()
    told.fault("invoke", "start", ISOLATE_N1)
    told.fault("ok", "start", [])
    assert told.majority == "n1 n2 n3"


def test_overlapping_faults_hold_each_on_its_own() -> None:
    told = Told()
    told.fault("ok", "start", ISOLATE_N1, "f1")
    told.fault("ok", "start", ISOLATE_N1, "f2")
    told.fault("ok", "stop", [], "f1")
    assert told.majority == "n2 n3"
    told.fault("ok", "stop", [], "f2")
    assert told.majority == "n1 n2 n3"


@pytest.mark.parametrize(
    ("effects", "after"),
    [
        ([{"down": ["n1"]}], "n2 n3"),
        ([{"paused": ["n1"]}], "n2 n3"),
        ([{"clock": ["n1"]}], None),  # it still talks
        ([{"clock": ["n1"]}, *ISOLATE_N1], "n2 n3"),
        ([{"disk": ["n1"]}], None),
        ([{"drops": {"n1": ["n2", "n3"]}}], None),  # one way: neither together nor apart
        ([{"drops": {"n1": ["n2"], "n2": ["n1"]}}], None),  # n3 is a bridge
        ([{"degraded": {"n2": ["n3"]}}], None),
        ([{"degraded": {"n1": ["n3"]}}, *ISOLATE_N1], "n2 n3"),
        ([{"degraded": {"n2": {"n3": 30}}}], None),
        (cut("n1", "n2", "n3"), None),
        ([{"gremlins": ["n1"]}], None),  # nobody knows what they do
        ([], "n1 n2 n3"),
        (None, None),
    ],
)
def test_effects_decide_who_is_owed_a_leader(effects: Any, after: str | None) -> None:
    told = Told()
    told.fault("ok", "start", effects)
    assert told.majority == after


def test_a_clock_that_runs_ordinarily_again_after_a_jump_disturbs_nobody() -> None:
    told = Told()
    value = {"fault": "f1", "step": "start", "effects": [{"clock": ["n1"]}], "runs_ordinarily": True}
    told("nemesis", "ok", "clock", value)
    assert told.majority == "n1 n2 n3"


def test_a_killed_server_is_up_again_when_it_says_so() -> None:
    told = Told()
    told.fault("ok", "start", [{"down": ["n1"]}])
    assert told.majority == "n2 n3"
    told.fault("invoke", "stop", [])
    assert told.majority is None  # it may be starting
    told.start("n1")
    told.fault("ok", "stop", [])
    assert told.majority == "n1 n2 n3"


@pytest.mark.parametrize("started", [True, False])
def test_a_server_that_is_up_before_the_others_of_its_kill_has_told_what_it_is(started: bool) -> None:
    told = Told()
    told.fault("ok", "start", [{"down": ["n1", "n2"]}])
    told.fault("invoke", "stop", [])
    if started:
        told("n1", "info", "started", {})
    told("n1", "info", "state", {"role": "LOOKING"})
    told.start("n2")
    told.fault("ok", "stop", [])
    assert (told.world.states["n1"] is not None) is started
    assert told.majority == ("n1 n2 n3" if started else None)


def test_a_started_report_ends_a_kill_that_is_never_stopped() -> None:
    told = Told()
    told.fault("ok", "start", [{"down": ["n1"]}])
    told.start("n1")
    told.fault("ok", "start", [], "f2")
    assert told.majority == "n1 n2 n3"


def test_a_server_that_stopped_by_itself_is_down() -> None:
    told = Told()
    told("n2", "info", "stopped", {"how": "exit", "code": 13})
    assert told.majority == "n1 n3"


def test_a_late_state_report_does_not_raise_the_dead() -> None:
    told = Told()
    told("n2", "info", "stopped", {"how": "signal", "code": 9})
    told("n2", "info", "state", {"role": "LOOKING"})
    assert told.majority == "n1 n3"
    assert told.world.states["n2"] is None


def test_a_host_that_healed_itself_is_no_longer_surely_cut() -> None:
    told = Told()
    told.fault("ok", "start", ISOLATE_N1)
    told("n1", "info", "healed", {"faults": ["f1"]})
    assert ("drops", "n1", "n2") not in told.world.sure
    assert ("drops", "n2", "n1") in told.world.sure
    assert told.majority is None
    told.fault("ok", "stop", [])
    assert told.majority == "n1 n2 n3"


def test_observers_are_owed_nothing_and_hinder_nobody() -> None:
    ensemble = {"n1": {"sid": 1}, "n2": {"sid": 2}, "n3": {"sid": 3}, "n4": {"sid": 4, "role": "observer"}}
    told = Told(ensemble=ensemble)
    told.fault("ok", "start", [{"drops": {"n4": ["n1"]}}])
    assert told.majority == "n1 n2 n3"


def test_a_window_opens_no_earlier_than_the_error_bounds_allow() -> None:
    told = Told(started=False)
    for host, error in (("n1", 50), ("n2", 5), ("n3", 1)):
        told(host, "info", "started", {}, time=100, host_time=1, time_error=error)
    op = Op(9, 101, "nemesis", "ok", "kill", None)
    assert told.world.settled(op, ["n1", "n2"]) == 150
    assert told.world.settled(op, ["n2", "n3"]) == 105
    told("n1", "info", "stopped", {}, time=102, host_time=2, time_error=70)
    assert told.world.settled(op, ["n2", "n3"]) == 172  # the two are owed a leader because n1 is gone
    told.fault("ok", "start", [{"down": ["n1"]}])
    assert told.world.settled(op, ["n2", "n3"]) == 105


def test_hierarchical_quorums_decide_who_is_a_majority() -> None:
    groups = {"kind": "hierarchical", "groups": {"a": [1, 2, 3], "b": [4, 5, 6], "c": [7, 8, 9]}}
    told = Told(9, quorum=groups)
    told.fault("ok", "start", cut("n1 n2 n4 n5", "n3 n6 n7 n8 n9"))
    assert told.majority == "n1 n2 n4 n5"


def test_a_quorum_is_more_than_half_of_distinct_voters() -> None:
    quorum = Quorum({1, 2, 3, 4})
    assert not quorum.of([1, 2])
    assert not quorum.of([1, 1, 1, 2, 9])
    assert not quorum.of([])
    assert quorum.of([4, 2, 1])


def test_groups_and_weights() -> None:
    """The examples of QuorumHierarchical: two of three in two of three groups; a group without weight is left out."""
    quorum = Quorum(range(1, 10), [{1, 2, 3}, {4, 5, 6}, {7, 8, 9}], {7: 0, 8: 0, 9: 0})
    assert quorum.of([1, 2, 4, 5])
    assert not quorum.of([1, 2, 7, 8, 9])
    heavy = Quorum({1, 2, 3}, [{1, 2, 3}], {1: 3})
    assert heavy.of([1])
    assert not heavy.of([2, 3])


@pytest.mark.parametrize(
    ("run", "words"),
    [
        ({"schema": 2}, "schema 2 is not known"),
        ({"ensemble": {"a": {"sid": 1}, "b": {"sid": 1}}}, "two servers of the ensemble have the same sid"),
        ({"ensemble": {"a": {"sid": 1, "role": "observer"}}}, "no participant"),
        (
            {"quorum": {"kind": "hierarchical", "groups": {"a": [1, 2]}}},
            "every participant has to be in exactly one group",
        ),
        ({"settings": SETTINGS | {"tick_ms": 0}}, "settings.tick_ms has to be more than 0"),
        ({"settings": {"tick_ms": 100}}, "settings.init_limit has to be more than 0"),
        ({"settings": {}, "bounds": {"convergence_s": 3.0}}, "settings.tick_ms has to be more than 0"),
        ({"settings": SETTINGS | {"max_notification_interval_ms": -1}}, "max_notification_interval_ms"),
        ({"bounds": {"convergence_s": -1}}, "bounds.convergence_s"),
        ({"bounds": {"stepping_down_s": 1e300}}, "bounds.stepping_down_s"),
        ({"quorum": {"weights": {"1": -1}}}, "quorum.weights"),
        (
            {"quorum": {"kind": "hierarchical", "groups": {"a": [1, 2, 3]}, "weights": {"1": 0, "2": 0, "3": 0}}},
            "quorum.weights: all are 0",
        ),
        ({"unjudged": ["durabillity"]}, "unjudged: 'durabillity' is not a promise"),
        ({"ensemble": {"controller": {"sid": 1}}}, "no host may be called 'controller'"),
        ({"ensemble": {"nemesis": {"sid": 1}}}, "no host may be called 'nemesis'"),
    ],
)
def test_a_run_that_cannot_be_meant_is_refused(run: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueProblem, match=words):
        Told(**run)


def test_a_server_that_cannot_say_that_it_started_is_up_when_its_last_kill_is_over() -> None:
    """A ZooKeeper server reports no `started`; overlapping kills end with the last one."""
    told = Told(started=False)
    for host in ("n1", "n2", "n3"):
        told(host, "info", "state", {"role": "LOOKING"})
    told.fault("ok", "start", [{"down": ["n1"]}], "f1")
    told.fault("ok", "start", [{"down": ["n1"]}], "f2")
    told("n1", "info", "stopped", {"how": "signal", "code": 9})
    told.fault("ok", "stop", [], "f1")
    assert told.majority == "n2 n3"
    told.fault("ok", "stop", [], "f2")
    told("n1", "info", "state", {"role": "LOOKING"})
    assert told.majority == "n1 n2 n3"
    assert told.world.stopped_by_themselves == []


def test_a_server_is_fit_from_its_first_report_not_from_its_start() -> None:
    """A JVM boots for up to ten seconds on a loaded machine before it can look for a leader."""
    told = Told()
    told("n1", "info", "started", {})
    assert told.majority is None
    told("n1", "info", "state", {"role": "LOOKING"})
    assert told.majority == "n1 n2 n3"


def test_a_server_that_was_only_perhaps_killed_keeps_its_state() -> None:
    told = Told()
    told.fault("invoke", "start", [{"down": ["n1"]}])
    told.fault("info", "start", [{"down": ["n1"]}])
    told.fault("invoke", "stop", [])
    told.fault("ok", "stop", [])
    assert told.world.states["n1"] is not None
    assert told.majority == "n1 n2 n3"


def test_no_server_is_fit_under_an_effect_that_nobody_knows() -> None:
    told = Told()
    told.fault("invoke", "start", [{"gremlins": ["n1"]}])
    assert not any(told.world.fit(host) for host in told.run.ensemble)


FOLLOWER = {"role": "FOLLOWING", "phase": "broadcast", "leader": 3, "epoch": 2}


@pytest.mark.parametrize(
    ("reported", "follows"),
    [
        (FOLLOWER, True),
        ({"role": "FOLLOWING"}, True),
        ({k: v for k, v in FOLLOWER.items() if k != "epoch"}, True),
        ({k: v for k, v in FOLLOWER.items() if k != "leader"}, True),
        ({k: v for k, v in FOLLOWER.items() if k != "phase"}, True),
        (FOLLOWER | {"epoch": 1}, False),
        (FOLLOWER | {"leader": 2}, False),
        (FOLLOWER | {"phase": "synchronization"}, False),
        ({"role": "LOOKING"}, False),
    ],
)
def test_what_a_follower_does_not_say_differs_from_nothing(reported: dict[str, Any], follows: bool) -> None:
    told = Told()
    told("n3", "info", "state", {"role": "LEADING", "phase": "broadcast", "epoch": 2, "established": True})
    told("n2", "info", "state", FOLLOWER)
    told("n1", "info", "state", reported)
    assert told.world.leader_of(["n1", "n2", "n3"]) == ("n3" if follows else None)
