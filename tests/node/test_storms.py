"""Whole ensembles in storms of faults: no promise is broken, and planted bugs are found."""

from __future__ import annotations

import pytest

from node.bugs import load, names
from node.protocol.server import Server
from tests.node.chaos import Storm, storm
from tests.node.promises import Broken
from tests.node.world import SmallWorld

STORMS = 1000


@pytest.mark.parametrize("part", range(4))
def test_storms_break_no_promise(part: int) -> None:
    """Cuts, crashes between effects, resets, pauses and writes; unique leaders, epochs, prefixes, convergence."""
    for seed in range(part, STORMS, 4):
        try:
            storm(seed)
        except Broken as broken:
            raise AssertionError(f"seed {seed}: {broken}") from broken


def test_storms_break_no_promise_when_logs_become_snapshots() -> None:
    """With a snapshot every few transactions SNAP is as common as DIFF."""
    marks: set[str] = set()
    for seed in range(9000, 9120):
        try:
            marks |= Storm(seed, snap_count=4).run().marks
        except Broken as broken:
            raise AssertionError(f"seed {seed}: {broken}") from broken
    assert {"log-compacted", "snapshot-sync"} <= marks


def test_a_log_that_became_a_snapshot_is_found_again_after_a_crash() -> None:
    world = SmallWorld(3, snap_count=4)
    world.start_all()
    world.run_until(world.settled, 2)
    for _ in range(11):
        world.create(1)
        world.run(0.05)
    for sid, host in world.hosts.items():
        assert len(host.disk.log) < 4
        world.restart(sid)
        world.run_until(world.settled, 3)
        world.run(0.1)
        assert len(world.server(sid).database.nodes) == 12


RARE = {
    "back-off-reset", "better-vote-in-finalize-wait", "commit-held", "dial-back-waits", "dial-overtaken",
    "disloyal-voters", "epoch-answered-minus-one", "handshake-timed-out", "joined-in-round", "joined-out-of-election",
    "leader-dial-retried", "learner-held", "lower-round-answered", "non-voter-asks",
    "quorum-lost-in-finalize-wait", "round-jump", "silent-connection", "snapshot-sync", "truncation",
}  # fmt: skip


def test_storms_reach_the_rare_branches() -> None:
    marks: set[str] = set()
    for seed in range(5000, 5400):
        marks |= storm(seed).marks
        if marks >= RARE:
            return
    assert marks >= RARE, f"never reached: {sorted(RARE - marks)}"


@pytest.mark.parametrize(
    ("bug", "promises"),
    [
        ("half-quorum", {"unique-leader", "best-history", "prefix"}),
        ("forgets-epoch", {"epochs"}),
        ("never-steps-down", {"stepping-down"}),
    ],
)
def test_storms_find_each_planted_bug(bug: str, promises: set[str]) -> None:
    for seed in range(60):
        try:
            storm(seed, load(bug))
        except Broken as broken:
            if broken.promise in promises:
                return
    pytest.fail(f"{bug} was not found in 60 storms")


def test_the_catalogue_names_its_bugs_and_nothing_else() -> None:
    assert {"forgets-epoch", "half-quorum", "never-steps-down"} <= set(names())
    for name in names():
        assert issubclass(load(name), Server)
    with pytest.raises(KeyError, match="no bug is called 'nosuch'"):
        load("nosuch")
