"""What goes wrong in the simulated world is what was asked for: links, servers, disks, clocks."""

from __future__ import annotations

from typing import Any

import pytest

from harness.simulator.carriers import Delayed
from harness.simulator.clock import MS, SECOND, SimulatedClock
from harness.simulator.ground import SimulatedProcess
from harness.simulator.knobs import Knobs
from harness.simulator.network import WINDOW
from nemesis.faults import KINDS, Fault
from node.agent.storage import ACCEPTED, CURRENT
from node.protocol.events import AppendTxns, Dial, Effect, HangUp, Lost, Received, StoreEpoch, TimerDue
from node.protocol.messages import ELECTION, PING, QuorumPacket, Txn
from tests.harness.simulated import Ensemble

# ---- links -----------------------------------------------------------------------------------------------------------


def test_a_cut_path_delivers_nothing_and_the_other_direction_a_window_of_messages_at_most() -> None:
    ensemble = Ensemble()
    leader = ensemble.settle()
    other = next(name for name in ensemble.world.hosts if name != leader)
    _, pipe = ensemble.connection(leader, other)
    while pipe.queue:
        ensemble.run(0.001)
    cut_at = ensemble.world.now
    ensemble.world.network.paths[other, leader].blocked += 1
    packets = [QuorumPacket(PING, number, None) for number in range(1000, 1030)]
    for packet in packets:
        ensemble.world.network.send(pipe, packet)
    ensemble.run(10)
    assert ensemble.deliveries(cut_at + 1, other, leader) == []
    assert [m for m in ensemble.deliveries(cut_at, leader, other) if m in packets] == packets[:WINDOW]


def test_what_a_cut_path_held_back_arrives_in_order_when_it_is_whole_again() -> None:
    ensemble = Ensemble()
    leader = ensemble.settle()
    other = next(name for name in ensemble.world.hosts if name != leader)
    path = ensemble.world.network.paths[leader, other]
    path.blocked += 1
    cut_at = ensemble.world.now
    _, pipe = ensemble.connection(leader, other)
    ensemble.run(0.8)  # shorter than a follower's patience
    held = list(pipe.queue)
    assert len(held) > 1
    assert ensemble.deliveries(cut_at, leader, other) == []
    path.blocked -= 1
    ensemble.until(lambda: len(ensemble.deliveries(cut_at, leader, other)) >= len(held))
    assert ensemble.deliveries(cut_at, leader, other)[: len(held)] == held


def test_messages_of_one_connection_never_overtake_each_other_however_their_delay_varies() -> None:
    ensemble = Ensemble(knobs=Knobs(delay=5 * MS, delay_tail="heavy"))
    leader = ensemble.settle()
    other = next(name for name in ensemble.world.hosts if name != leader)
    path = ensemble.world.network.paths[leader, other]
    path.faults["f"] = (Delayed.disturb, {"delay_ms": 50, "jitter_ms": 50})
    path.add_up()
    _, pipe = ensemble.connection(leader, other)
    since = ensemble.world.now
    packets = [QuorumPacket(PING, number, None) for number in range(1000, 1100)]
    for packet in packets:
        ensemble.world.network.send(pipe, packet)
        ensemble.run(0.001)
    ensemble.run(2)
    assert [m for m in ensemble.deliveries(since, leader, other) if m in packets] == packets


def test_a_message_that_is_late_is_not_hurried_by_one_behind_it() -> None:
    ensemble = Ensemble()
    leader = ensemble.settle()
    other = next(name for name in ensemble.world.hosts if name != leader)
    path = ensemble.world.network.paths[leader, other]
    _, pipe = ensemble.connection(leader, other)
    since = ensemble.world.now
    late, quick = QuorumPacket(PING, 1000, None), QuorumPacket(PING, 1001, None)
    path.faults["f"] = (Delayed.disturb, {"delay_ms": 400})
    path.add_up()
    ensemble.world.network.send(pipe, late)
    path.faults.clear()
    path.add_up()
    ensemble.world.network.send(pipe, quick)
    ensemble.run(0.39)
    assert late not in ensemble.deliveries(since, leader, other)
    ensemble.run(0.1)
    assert [m for m in ensemble.deliveries(since, leader, other) if m in (late, quick)] == [late, quick]


def test_a_reset_connection_delivers_nothing_more_and_a_half_open_end_learns_of_it_when_it_sends() -> None:
    ensemble = Ensemble(knobs=Knobs(half_open=1.0))
    leader = ensemble.settle()
    other = next(name for name in ensemble.world.hosts if name != leader)
    link, _ = ensemble.connection(leader, other)
    since = ensemble.world.now
    ensemble.world.network.kill(link, silently=True)  # nobody is told
    ensemble.run(0.001)
    lost = [event for name in (leader, other) for event in ensemble.steps(since, name) if isinstance(event, Lost)]
    assert lost == []
    ensemble.until(lambda: any(isinstance(event, Lost) for event in ensemble.steps(since, leader)))
    assert [m for m in ensemble.deliveries(since, leader, other) if type(m).__name__ == "QuorumPacket"] == []


def test_unacknowledged_data_on_the_election_port_ends_the_connection_after_the_patience_and_only_there() -> None:
    ensemble = Ensemble()
    leader = ensemble.settle()
    a, b = (name for name in ensemble.world.hosts if name != leader)
    low, high = sorted((a, b))
    link, pipe = ensemble.connection(low, high, ELECTION)
    for one, other in ((low, high), (high, low)):
        ensemble.world.network.paths[one, other].blocked += 1
    since = ensemble.world.now
    process = ensemble.process(low)
    message = process.server.present_notification(int(high[1:]))
    ensemble.world.network.send(pipe, message)
    patience = ensemble.world.network.patience / SECOND
    ensemble.run(patience * 0.9)
    assert not link.dead
    ensemble.run(patience)
    assert link.dead
    assert ensemble.world.marks["unacknowledged-too-long"] == 1
    assert any(isinstance(event, Lost) for event in ensemble.steps(since, low))
    assert not any(isinstance(event, Lost) for event in ensemble.steps(since, high))


def test_a_connection_whose_wait_for_an_acknowledgement_was_over_once_times_out_the_next_time() -> None:
    ensemble = Ensemble()
    leader = ensemble.settle()
    a, b = sorted(name for name in ensemble.world.hosts if name != leader)
    link, pipe = ensemble.connection(a, b, ELECTION)
    there, back = ensemble.world.network.paths[a, b], ensemble.world.network.paths[b, a]
    message = ensemble.process(a).server.present_notification(int(b[1:]))
    patience = ensemble.world.network.patience / SECOND
    there.blocked += 1
    back.blocked += 1
    ensemble.world.network.send(pipe, message)
    ensemble.run(0.1)
    there.blocked -= 1  # the message gets through now, and its acknowledgement later
    ensemble.run(0.5)
    back.blocked -= 1
    ensemble.world.network.send(pipe, message)
    ensemble.run(2 * patience)
    assert not link.dead
    there.blocked += 1
    ensemble.world.network.send(pipe, message)
    ensemble.run(1.5 * patience)
    assert link.dead


def test_of_what_is_under_way_when_a_server_dies_only_a_beginning_arrives() -> None:
    lengths = set()
    for seed in range(8):
        ensemble = Ensemble(seed=seed)
        leader = ensemble.settle()
        other = next(name for name in ensemble.world.hosts if name != leader)
        _, pipe = ensemble.connection(leader, other)
        while pipe.queue:
            ensemble.run(0.001)
        packets = [QuorumPacket(PING, number, None) for number in range(1000, 1006)]
        since = ensemble.world.now
        for packet in packets:
            ensemble.world.network.send(pipe, packet)
        ensemble.world.kill(ensemble.process(leader))
        left = [message for message in pipe.queue if message in packets]
        ensemble.run(0.5)
        arrived = [message for message in ensemble.deliveries(since, leader, other) if message in packets]
        assert left == packets[: len(left)]
        assert arrived == left[: len(arrived)]
        assert any(isinstance(event, Lost) for event in ensemble.steps(since, other))
        lengths.add(len(left))
    assert len(packets) in lengths
    assert min(lengths) < len(packets)


def test_a_dial_that_is_answered_by_a_server_that_dies_at_once_is_lost() -> None:
    ensemble = Ensemble(knobs=Knobs(delay=5 * MS))
    ensemble.settle()
    network, since = ensemble.world.network, ensemble.world.now
    process = ensemble.process("n1")
    dial = Dial(process.server.new_conn(), ELECTION, 2, ("10.0.0.2", 3888), 900)
    network.dial(process, dial)
    link = next(reversed(process.links))
    ensemble.until(lambda: link.procs[1] is not None)
    assert not link.up
    ensemble.world.kill(ensemble.process("n2"))
    ensemble.run(0.1)
    assert Lost(dial.conn, "reset by the peer") in ensemble.steps(since, "n1")


def test_weather_holds_paths_back_and_resets_connections_and_ends_in_time() -> None:
    ensemble = Ensemble(knobs=Knobs(stalls=3.0, resets=3.0, half_open=0.5))
    ensemble.settle()
    ends = ensemble.world.now + 20 * SECOND
    ensemble.world.network.begin_weather(ends)
    ensemble.run(19)
    assert any(path.disturbed for path in ensemble.world.network.paths.values()) or ensemble.world.marks["half-open"]
    assert ensemble.world.marks["half-open"] > 0
    ensemble.run(5)
    marks, seen = dict(ensemble.world.marks), len(ensemble.delivered)
    assert not any(path.disturbed for path in ensemble.world.network.paths.values())
    ensemble.run(10)
    assert ensemble.world.marks.get("half-open") == marks["half-open"]
    assert len(ensemble.delivered) > seen
    ensemble.settle()


# ---- servers ---------------------------------------------------------------------------------------------------------


def test_a_paused_server_executes_nothing_and_then_what_waited_in_order() -> None:
    ensemble = Ensemble()
    leader = ensemble.settle()
    host = ensemble.host(next(name for name in ensemble.world.hosts if name != leader))
    host.paused["f1"] = None
    ensemble.world.pause(host)
    since = ensemble.world.now
    ensemble.run(0.9)
    assert ensemble.steps(since, host.name) == []
    waiting = [event for event in ensemble.process(host.name).backlog if isinstance(event, Received)]
    assert len(waiting) > 1
    del host.paused["f1"]
    ensemble.world.resume(host)
    assert [event for event in ensemble.steps(since, host.name) if isinstance(event, Received)] == waiting


def test_a_server_that_syncs_executes_nothing_and_its_write_is_there_when_it_is_done() -> None:
    ensemble = Ensemble(knobs=Knobs(sync=200 * MS))
    process = ensemble.process("n1")
    ensemble.until(lambda: process.busy is not None)
    assert process.busy is not None
    effect, rest = process.busy
    before, since = dict(ensemble.host("n1").disk.epochs), ensemble.world.now
    ensemble.world.tell(process, TimerDue("something"))
    while process.busy is not None and process.busy[0] is effect:
        assert ensemble.steps(since, "n1") == []
        assert ensemble.host("n1").disk.epochs == before
        ensemble.run(0.005)
    assert rest
    assert ensemble.host("n1").disk.epochs == before | {effect.name: effect.epoch}
    assert ensemble.world.now - since >= 0.3 * 200 * MS
    ensemble.until(lambda: TimerDue("something") in ensemble.steps(since, "n1"))


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_server_doomed_around_its_next_write_dies_with_or_without_it_and_lets_nothing_more_out(when: str) -> None:
    ensemble = Ensemble()
    ensemble.settle()
    host = ensemble.host("n1")
    process = ensemble.process(host.name)
    process.doomed_by_disk = when
    before, sent = dict(host.disk.epochs), []
    ensemble.world.network.send = lambda pipe, message: sent.append(message)  # type: ignore[method-assign]
    ensemble.world.perform(process, [StoreEpoch(ACCEPTED, 9), HangUp(1)])
    assert not process.alive
    assert host.process is None
    assert host.disk.epochs == (before | {ACCEPTED: 9} if when == "after" else before)


def test_a_server_doomed_to_die_after_so_many_effects_performs_just_these() -> None:
    ensemble = Ensemble()
    ensemble.settle()
    host = ensemble.host("n2")
    process = ensemble.process(host.name)
    process.doom = 2
    effects: list[Effect] = [StoreEpoch(ACCEPTED, 7), StoreEpoch(CURRENT, 7), StoreEpoch(ACCEPTED, 8)]
    ensemble.world.perform(process, effects)
    assert not process.alive
    assert host.disk.epochs == {ACCEPTED: 7, CURRENT: 7}
    assert ensemble.world.marks["died-between-two-effects"] == 1


def test_a_write_that_a_crash_interrupts_is_there_as_a_whole_or_not_at_all_and_both_happen() -> None:
    found = set()
    for seed in range(12):
        ensemble = Ensemble(seed=seed, knobs=Knobs(sync=100 * MS))
        host = ensemble.host("n1")
        while ensemble.process("n1").busy is None:
            ensemble.run(0.001)
        effect = AppendTxns((Txn(1, 1, 1, 1, 1, b""), Txn(2, 1, 2, 1, 1, b"")))
        ensemble.process("n1").busy = [effect, []]
        ensemble.world.kill(ensemble.process("n1"))
        found.add(tuple(txn.zxid for txn in host.disk.log))
    assert found == {(), (1, 2)}


def test_a_core_that_raises_ends_its_server_and_the_run_says_so() -> None:
    ensemble = Ensemble()
    ensemble.settle()
    process = ensemble.process("n1")
    setattr(process.server, "on_timer", lambda name: 1 // 0)  # noqa: B010 - a method of one server alone
    ensemble.until(lambda: ensemble.host("n1").process is None)
    assert "ZeroDivisionError" in ensemble.world.failures[0]
    assert ensemble.reports[-1][1:3] == ("n1", "stopped")


# ---- clocks ----------------------------------------------------------------------------------------------------------


def test_a_frozen_clock_fires_no_timer_and_a_thawed_one_goes_on() -> None:
    ensemble = Ensemble()
    leader = ensemble.settle()
    host = ensemble.host(leader)
    host.clock.bend(ensemble.world.now, 0)
    ensemble.world.clock_changed(host)
    reading, since = host.clock.read(ensemble.world.now), ensemble.world.now
    ensemble.run(5)
    assert host.clock.read(ensemble.world.now) == reading
    assert [event for event in ensemble.steps(since, leader) if isinstance(event, TimerDue)] == []
    thawed = ensemble.world.now
    host.clock.straighten(ensemble.world.now)
    ensemble.world.clock_changed(host)
    assert host.clock.read(ensemble.world.now) >= reading + 5 * SECOND
    ensemble.run(1)
    assert [event for event in ensemble.steps(thawed - 1, leader) if isinstance(event, TimerDue)]


def test_a_fast_clock_fires_its_timers_sooner() -> None:
    def timers(rate: float) -> int:
        ensemble = Ensemble()
        leader = ensemble.settle()
        host, since = ensemble.host(leader), ensemble.world.now
        host.clock.bend(since, round(rate * 1_000_000))
        ensemble.world.clock_changed(host)
        ensemble.run(20)
        return sum(event == TimerDue("leader") for event in ensemble.steps(since, leader))

    ordinary, doubled = timers(1.0), timers(2.0)
    assert ordinary == pytest.approx(80, abs=2)
    assert doubled == pytest.approx(160, abs=4)


def test_a_drifting_clock_is_off_by_its_drift_and_never_runs_backwards() -> None:
    clock = SimulatedClock(1_000, 500)
    readings = [clock.read(true * SECOND) for true in range(100)]
    assert readings == sorted(readings)
    assert readings[99] - readings[0] == 99 * SECOND * 1_000_500 // 1_000_000
    for reading in (readings[3], readings[50] + 17):
        when = clock.when(reading)
        assert when is not None
        assert clock.read(when) >= reading
        assert when == 0 or clock.read(when - 1) < reading + 1


# ---- faults: each takes what its effects say, and gives it back ------------------------------------------------------

PARAMS: dict[str, dict[str, Any]] = {
    "flap": {"cut_ms": 300, "whole_ms": 300},
    "loss": {"percent": 100},
    "rate": {"bytes_per_s": 100},
    "slow": {"bytes_per_s": 100},
    "delay": {"delay_ms": 400},
    "reorder": {"percent": 0.01, "delay_ms": 400},
    "duplicate": {"percent": 50},
    "corrupt": {"percent": 100},
    "clock": {"change": "freeze"},
}
HARMLESS_TO_TCP = ("duplicate",)


@pytest.mark.parametrize("kind", list(KINDS))
def test_while_a_fault_is_in_force_it_takes_what_its_effects_say_and_then_gives_it_back(kind: str) -> None:
    ensemble = Ensemble(servers=5, knobs=Knobs(fault_latency=20 * MS))
    leader = ensemble.settle()
    fault = Fault("f1", kind, 1.0, 4.0, "leader", "isolate" if KINDS[kind].shaped else "", PARAMS.get(kind, {}))
    ensemble.carry_out(fault)
    ensemble.until(lambda: ensemble.is_in_force("f1"))
    op = ensemble.record.ops[-1]
    assert op.value["effects"]
    assert all(at <= op.time for at in op.value["began"].values())
    since = ensemble.world.now
    ensemble.until(lambda: not ensemble.is_in_force("f1"))
    for effect in op.value["effects"]:
        for what, whom in effect.items():
            assert_taken(ensemble, kind, what, whom, since)
    ensemble.until(lambda: ensemble.is_over("f1"))
    host = ensemble.host(leader)
    assert (host.paused, host.down, host.bends) == ({}, {}, {})
    assert host.clock.rate == host.clock.rate_ordinary
    assert all(path.blocked == 0 and not path.disturbed for path in ensemble.world.network.paths.values())
    over = ensemble.world.now
    ensemble.settle()
    ensemble.run(3)
    assert ensemble.steps(over, leader)


def assert_taken(ensemble: Ensemble, kind: str, what: str, whom: Any, since: int) -> None:
    end = ensemble.world.now
    if what in ("down", "paused"):
        assert all(ensemble.steps(since, host) == [] for host in whom)
    elif what == "drops":
        assert whom
        assert all(ensemble.deliveries(since, b, a) == [] for a, others in whom.items() for b in others)
    elif what == "clock":
        for host in whom:
            assert not any(isinstance(event, TimerDue) for event in ensemble.steps(since, host))
    else:
        assert what == "degraded"
        through = [m for a, others in whom.items() for b in others for m in ensemble.deliveries(since, b, a)]
        if kind in ("loss", "corrupt"):
            assert through == []
        elif kind in ("rate", "slow"):
            pairs = sum(len(others) for others in whom.values())
            assert len(through) < pairs * (end - since) / SECOND * 100 / 66 + pairs
        elif kind == "flap":
            toggles = [value for at, _, f, value in ensemble.reports if f == "toggle" and at > since]
            assert {value["cut"] for value in toggles} == {True, False}
        elif kind in ("delay", "reorder"):
            # What was sent before is there soon, and what was sent since is not there yet.
            early = [at for at, a, b, _ in ensemble.delivered if a in whom.get(b, []) and at < since + 375 * MS]
            assert all(at <= since + 5 * MS for at in early)
            assert through
        else:
            assert kind in HARMLESS_TO_TCP


def test_two_faults_that_hold_one_server_give_it_back_when_the_last_is_over() -> None:
    ensemble = Ensemble()
    leader = ensemble.settle()
    ensemble.carry_out(Fault("a", "pause", 1.0, 2.0, "elected"), Fault("b", "pause", 1.5, 3.0, "elected"))
    ensemble.until(lambda: ensemble.is_over("a"))
    since = ensemble.world.now
    assert ensemble.is_in_force("b")
    ensemble.run(1)
    assert ensemble.steps(since, leader) == []
    ensemble.until(lambda: ensemble.is_over("b"))
    assert ensemble.host(leader).paused == {}
    assert ensemble.steps(since, leader)


def test_a_server_that_is_started_while_it_is_paused_begins_when_that_is_over() -> None:
    ensemble = Ensemble()
    host = ensemble.host(ensemble.settle())
    host.paused["p"] = None
    ensemble.world.kill(ensemble.process(host.name))
    ensemble.world.start(host)
    assert host.process is None
    del host.paused["p"]
    ensemble.world.resume(host)
    assert isinstance(host.process, SimulatedProcess)
