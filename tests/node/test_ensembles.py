"""Whole ensembles in a world of virtual time: who leads, how soon, and what a crash at any instant leaves."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from itertools import pairwise

import pytest

from node.agent.storage import ACCEPTED, CURRENT
from node.protocol.core import BROADCAST
from node.protocol.events import Durable, Report, TimerDue
from node.protocol.messages import LEADING, LOOKING, OBSERVING
from node.protocol.server import Server
from node.wire import packets
from tests.node.chaos import CONVERGENCE_S, Storm
from tests.node.probe import txn, z
from tests.node.world import SECOND, SmallWorld, established

# ---- who leads, and how soon ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("servers", "observers"), [(1, 0), (2, 0), (3, 0), (5, 0), (3, 2), (9, 0)])
def test_a_fault_free_start_elects_the_largest_sid_within_the_finalize_wait(servers: int, observers: int) -> None:
    """Section 12, the winner rule; the floor is 200 ms."""
    world = SmallWorld(servers, observers)
    world.start_all()
    assert world.run_until(world.settled, 2) < 0.23
    leader = world.leader()
    assert leader is not None
    assert leader.sid == servers
    assert all(world.server(sid).role == OBSERVING for sid in range(servers + 1, servers + observers + 1))


@pytest.mark.parametrize("servers", [3, 5])
def test_after_a_crash_of_the_leader_the_next_is_in_service_within_230_ms(servers: int) -> None:
    world = established(servers)
    world.run(3)
    world.crash(servers)
    took = world.run_until(lambda: world.settled(range(1, servers)), 2)
    assert 0.2 <= took < 0.23


def test_the_best_history_wins_whoever_has_it() -> None:
    """Votes are (epoch, zxid, sid): server 1 alone has the last transaction."""
    world = SmallWorld(3)
    world.hosts[1].disk.log = [txn(z(1, 1))]
    for host in world.hosts.values():
        host.disk.epochs = {ACCEPTED: 1, CURRENT: 1}
    world.start_all()
    world.run_until(world.settled, 2)
    leader = world.leader()
    assert leader is not None
    assert leader.sid == 1
    assert all(host.disk.log == [txn(z(1, 1))] for host in world.hosts.values())


def test_a_server_that_returns_joins_at_once_and_displaces_nobody() -> None:
    """testJoin, ZOOKEEPER-975; section 12, stability."""
    world = established()
    world.crash(3)
    world.run_until(lambda: world.settled([1, 2]), 2)
    world.run(30)
    world.start(3)
    assert world.run_until(world.settled, 1) < 0.1
    assert world.server(2).role == LEADING


def test_a_server_that_was_cut_off_for_a_minute_joins_within_seconds_of_the_heal() -> None:
    """ZooKeeper's back-off reaches a minute (section 3.4): deviation."""
    world = established(5)
    world.isolate([1])
    world.run(60)
    assert world.server(1).role == LOOKING
    world.heal()
    assert world.run_until(world.settled, 10) < 3


def test_everybody_cut_from_everybody_for_a_minute_converges_within_seconds_of_the_heal() -> None:
    world = established(5)
    for sid in world.hosts:
        world.isolate([sid])
    world.run(60)
    assert all(world.server(sid).role == LOOKING for sid in world.hosts)
    world.heal()
    assert world.run_until(world.settled, 10) < 4


def test_a_majority_elects_while_the_old_leader_is_cut_off_and_it_steps_down() -> None:
    world = established(5)
    world.isolate([5, 4])
    world.run_until(lambda: world.settled([1, 2, 3]), 5)
    world.run_until(lambda: world.server(5).role == LOOKING, 3)
    world.heal()
    world.run_until(world.settled, CONVERGENCE_S)
    assert world.server(3).role == LEADING


def test_groups_and_weights_decide_who_is_a_quorum() -> None:
    """Section 6: two groups of three must agree; the group of weight 0 neither counts nor leads (FLEZeroWeightTest)."""
    world = SmallWorld(9)
    groups = tuple((g, frozenset(range(3 * g + 1, 3 * g + 4))) for g in range(3))
    weights = tuple((sid, 0) for sid in (7, 8, 9))
    world.configs = {sid: replace(c, groups=groups, weights=weights) for sid, c in world.configs.items()}
    world.start_all()
    world.run_until(world.settled, 3)
    assert world.server(6).role == LEADING
    for sid in (5, 6):
        world.crash(sid)
    world.run(5)
    leader = world.leader()
    assert leader is None, "group 2 has lost its majority, and nine minus two is no quorum"
    world.start(5)
    world.run_until(lambda: world.settled([1, 2, 3, 4, 5, 7, 8, 9]), CONVERGENCE_S)
    assert world.server(5).role == LEADING


def test_an_observer_follows_and_lets_a_leader_without_followers_go() -> None:
    """ObserverLETest, ZOOKEEPER-1294."""
    world = established(3, 1)
    world.crash(1)
    world.crash(2)
    world.run_until(lambda: world.server(3).role == LOOKING, 2)
    world.run(1)
    assert world.server(4).role != OBSERVING or world.server(4).phase != BROADCAST


def test_an_observer_and_a_voter_without_a_quorum_do_not_talk_without_a_pause() -> None:
    """In ZooKeeper's dispatch (section 2.6) each answers the other: thousands of messages a second."""
    world = established(3, 1)
    world.crash(1)
    world.crash(2)
    world.run_until(lambda: world.server(3).role == LOOKING, 2)
    before = world.effects_done
    world.run(5)
    world.crash(3)
    world.start(3)
    world.run(5)
    assert world.server(3).round < world.server(4).round, "the voter's round is the lower one"
    assert world.effects_done - before < 500


def test_a_stopped_leader_is_replaced_within_sync_limit() -> None:
    """A pause: nothing is closed, so the followers' read time-out finds it."""
    world = established()
    world.pause(3, 10)
    assert world.run_until(lambda: world.settled([1, 2]), 5) < 1.0 + 0.3 + 0.1
    world.run_until(world.settled, 20)
    assert world.server(2).role == LEADING


# ---- transactions --------------------------------------------------------------------------------------------------


def test_writes_on_any_server_reach_every_tree() -> None:
    world = established(3, 1)
    cxids = [world.create(sid) for sid in world.hosts for _ in range(10)]
    world.run_until(lambda: all(world.reply(cxid) for cxid in cxids), 2)
    world.run(0.1)
    trees = [world.server(sid).database.nodes for sid in world.hosts]
    assert len(trees[0]) == 41
    assert all(tree == trees[0] for tree in trees)


def test_sync_then_read_sees_what_was_written_elsewhere() -> None:
    world = established()
    written = world.create(3, "/seen")
    world.run_until(lambda: world.reply(written) is not None, 2)
    synced = world.sync(1)
    world.run_until(lambda: world.reply(synced) is not None, 2)
    assert "/seen" in world.server(1).database.nodes


def test_a_transaction_that_only_the_dead_leader_has_exists_nowhere_later() -> None:
    """testEarlyLeaderAbandonment: TRUNC on its return."""
    world = established()
    world.isolate([3])
    world.create(3, "/alone")
    world.run(0.05)
    world.crash(3)
    world.run_until(lambda: world.settled([1, 2]), 5)
    written = world.create(2, "/together")
    world.run_until(lambda: world.reply(written) is not None, 2)
    world.heal()
    world.start(3)
    world.run_until(world.settled, CONVERGENCE_S)
    world.run(0.1)
    for host in world.hosts.values():
        assert host.server is not None
        assert set(host.server.database.nodes) == {"/", "/together"}
    assert "snapshot-sync" in world.marks or "truncation" in world.marks


def test_a_learner_far_behind_gets_a_snapshot_of_a_leader_whose_log_was_cut() -> None:
    world = SmallWorld(3)
    nodes = packets.encode_snapshot({"/": b"", "/old": b"1"})
    for sid in (2, 3):
        disk = world.hosts[sid].disk
        disk.epochs = {ACCEPTED: 4, CURRENT: 4}
        disk.snapshot_zxid, disk.snapshot = z(4, 9), nodes
    world.start_all()
    world.run_until(world.settled, 3)
    assert "snapshot-sync" in world.marks
    assert set(world.server(1).database.nodes) == {"/", "/old"}
    assert world.hosts[1].disk.snapshot_zxid == z(4, 9)
    world.restart(1)
    world.run_until(world.settled, 3)
    assert "/old" in world.server(1).database.nodes


def test_a_new_epoch_begins_with_every_leader_and_zxids_count_from_one() -> None:
    world = established()
    for expected in (1, 2, 3):
        leader = world.leader()
        assert leader is not None
        cxid = world.create(leader.sid)
        world.run(0.1)
        reply = world.reply(cxid)
        assert reply is not None
        assert reply.zxid == z(expected, 1)
        world.restart(leader.sid)
        world.run_until(world.settled, 3)


# ---- plain state ---------------------------------------------------------------------------------------------------


def test_a_copied_server_goes_on_exactly_as_the_original() -> None:
    """Replay and exhaustive search stand on it."""
    world = established()
    world.create(1)
    for host in world.hosts.values():
        assert host.server is not None
        twin = copy.deepcopy(host.server)
        assert twin == host.server
        for seconds in range(1, 5):
            for name in list(host.timers):
                now = world.now + seconds * SECOND
                assert host.server.step(now, TimerDue(name)) == twin.step(now, TimerDue(name))
        assert twin == host.server


def test_a_storm_is_a_function_of_its_seed() -> None:
    runs = []
    for _ in range(2):
        stormy = Storm(11)
        stormy.world.trace = []
        stormy.run()
        runs.append(stormy.world.trace)
    assert runs[0] == runs[1]


def test_reports_are_json_and_say_what_changed() -> None:
    world = established()
    world.run(20)
    assert [e["role"] for _, sid, e in world.reports if sid == 3] == ["LOOKING", *["LEADING"] * 4]
    phases = [e["phase"] for _, sid, e in world.reports if sid == 3]
    assert phases == ["election", "discovery", "discovery", "synchronization", "broadcast"]
    for sid in world.hosts:
        values = [value for _, who, value in world.reports if who == sid]
        assert json.loads(json.dumps(values)) == values
        bare = [{k: v for k, v in value.items() if k not in ("evidence", "reason")} for value in values]
        assert all(a != b for a, b in pairwise(bare)), "no report says what the last one said"
        assert bare[-1] == world.server(sid).state()


def test_a_server_alone_with_itself_reports_it() -> None:
    world = SmallWorld(1)
    server = Server(world.configs[1], Durable(0, 0, 0, b"", ()))
    first = next(e for e in server.start(0) if isinstance(e, Report)).value
    assert (first["role"], first["leader"], first["epoch"], first["established"]) == ("LOOKING", None, None, False)
