"""Whole ensembles in a world of virtual time: what a crash at any instant leaves, and a long log."""

from __future__ import annotations

import copy
from itertools import pairwise

import pytest

from node.agent.storage import ACCEPTED, CURRENT, Disk
from node.protocol.core import SYNCHRONIZATION
from node.protocol.events import Durable, StoreSnapshot
from node.wire import packets
from tests.node.chaos import CONVERGENCE_S
from tests.node.probe import txn, z
from tests.node.world import SmallWorld, established


def effects_of_an_election(seed: int) -> dict[int, int]:
    """How many effects each server performs from its start until all serve."""
    world = SmallWorld(3, seed=seed)
    world.trace = []
    world.start_all()
    world.run_until(world.settled, 3)
    return {sid: sum(who == sid for _, who, _ in world.trace) for sid in world.hosts}


@pytest.mark.parametrize("sid", [1, 2, 3])
def test_a_crash_between_any_two_effects_of_an_election_is_survived(sid: int) -> None:
    """Restarted at once, and in other runs after the others went on; every promise holds all the way."""
    for point in range(effects_of_an_election(1)[sid] + 1):
        for downtime_s in (0.0, 0.7):
            world = SmallWorld(3, seed=1)
            for host in world.hosts.values():
                host.disk.epochs = {ACCEPTED: 1, CURRENT: 1}
            world.hosts[1].disk.log = [txn(z(1, 1)), txn(z(1, 2))]
            world.hosts[2].disk.log = [txn(z(1, 1)), txn(z(1, 2))]
            world.hosts[3].disk.log = [txn(z(1, 1)), txn(z(1, 2)), txn(z(1, 3))]
            for other in world.hosts:
                world.start(other)
                if other == sid:
                    world.hosts[sid].crash_in = point
            world.run(0.3)
            if world.hosts[sid].server is None:
                world.run(downtime_s)
                world.start(sid)
            world.hosts[sid].crash_in = None
            world.run_until(world.settled, CONVERGENCE_S)
            world.run(0.1)
            assert len({tuple(host.disk.log) for host in world.hosts.values()}) == 1


def test_a_crash_between_any_two_effects_of_a_write_loses_nothing_that_was_answered() -> None:
    for sid in (1, 3):
        for point in range(14):
            world = established()
            world.hosts[sid].crash_in = point
            cxid = world.create(3, "/w")
            world.run(0.05)
            answered = world.reply(cxid)
            if world.hosts[sid].server is None:
                world.run(0.5)
                world.start(sid)
            world.hosts[sid].crash_in = None
            world.run_until(world.settled, CONVERGENCE_S)
            world.run(0.1)
            trees = [world.server(other).database.nodes for other in world.hosts]
            assert all(tree == trees[0] for tree in trees)
            if answered is not None and answered.error == 0:
                assert "/w" in trees[0]


def test_a_crash_between_any_two_effects_of_a_snapshot_sync_loses_nothing_that_was_committed() -> None:
    """A restarted leader's snapshot may be older than the learner's: what follows it is on the disk at the same time.

    1 and 3 hold what epoch 1 committed; 3 has it as a snapshot of epoch 2's start, from a ZooKeeper leader.
    """
    history = [txn(z(1, counter)) for counter in (1, 2, 3)]
    snapshot = packets.encode_snapshot({"/": b"", **{f"/{t.zxid:x}": b"" for t in history}})
    disks = {
        1: Disk(Durable(2, 2, 0, b"", tuple(history))),
        2: Disk(Durable(1, 1, 0, b"", tuple(history[:1]))),
        3: Disk(Durable(2, 2, z(2, 0), snapshot, ())),
    }
    crashes = 0
    for point in range(30):
        world = SmallWorld(3)
        world.promises.committed = list(history)
        for sid, disk in disks.items():
            world.hosts[sid].disk = copy.deepcopy(disk)
        world.start(1)
        world.start(2)
        world.run_until(lambda world=world: world.server(1).phase == SYNCHRONIZATION, 5)  # type: ignore[misc]
        world.cut |= {(1, 2), (2, 1)}
        world.start(3)
        world.hosts[3].crash_in = point
        world.run(1)
        crashes += world.hosts[3].server is None
        world.reset_connections(1, 2)
        world.crash(1)
        world.heal()
        world.restart(3)
        world.run_until(lambda world=world: world.settled([2, 3]), CONVERGENCE_S)  # type: ignore[misc]
        world.run(0.1)
        assert set(world.server(2).database.nodes) == {"/", *(f"/{t.zxid:x}" for t in history)}
    assert crashes > 20


def test_a_server_that_accepted_epochs_of_failed_attempts_joins() -> None:
    """Server 3 was about to lead, twice, and died both times with the new epoch on its disk and told to nobody."""
    world = SmallWorld(3)
    world.hosts[3].disk.epochs[ACCEPTED] = 2
    world.start(1)
    world.start(2)
    world.run_until(lambda: world.settled([1, 2]), 2)
    assert world.server(2).current_epoch == 1
    world.start(3)
    assert world.run_until(world.settled, CONVERGENCE_S) < 2
    assert world.server(3).current_epoch == 3


def test_a_server_that_was_away_for_less_than_half_the_log_needs_no_snapshot() -> None:
    world = SmallWorld(3, snap_count=40)
    world.start_all()
    world.run_until(world.settled, 2)
    for _ in range(30):
        world.create(3)
    world.run(0.1)
    world.crash(1)
    for _ in range(19):
        world.create(3)
    world.run(0.1)
    assert "log-compacted" in world.marks
    world.start(1)
    world.run_until(world.settled, CONVERGENCE_S)
    world.run(0.1)
    assert "snapshot-sync" not in world.marks
    assert len(world.server(1).database.nodes) == 50


def test_a_log_stays_short_while_something_is_always_outstanding() -> None:
    """Also if there is no moment at which all of it is committed; and the servers do not write at the same moment."""
    world = SmallWorld(5, snap_count=128)
    world.start_all()
    world.run_until(world.settled, 2)
    world.trace = []
    leader = world.server(5).database
    for _ in range(2500):
        while len(leader.log) - leader.applied < 3:
            world.create(5)
        world.run(0.0003)
        assert leader.applied < len(leader.log), "something is outstanding"
    writers = [who for _, who, effect in world.trace if isinstance(effect, StoreSnapshot)]
    assert len(writers) > 20
    assert all(who == before % 5 + 1 for before, who in pairwise(writers)), "they take turns"
    for host in world.hosts.values():
        assert host.server is not None
        assert len(host.disk.log) == len(host.server.database.log) < 128 + 40 + 16
