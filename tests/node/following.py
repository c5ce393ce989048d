"""A learner to test with: following, synchronising or in service; see probe.py."""

from __future__ import annotations

from node.protocol.events import (
    Dial,
    Durable,
    Effect,
)
from node.protocol.messages import (
    DIFF,
    FOLLOWING,
    LEADERINFO,
    NEWLEADER,
    PROPOSAL,
    QUORUM,
    UPTODATE,
)
from node.wire import packets
from tests.node.probe import Probe, durable, txn, z


def following(disk: Durable | None = None, sid: int = 1) -> tuple[Probe, int]:
    """A server that has dialled its leader 3; and the connection."""
    probe = Probe(sid, 3, disk or durable(0, 0))
    return probe, probe.follow(3)


def following_undialled() -> tuple[Probe, int]:
    """The same, and its dial is in flight."""
    probe = Probe(1)
    probe.vote(2, FOLLOWING, 3)
    probe.vote(3, 2, 3)
    return probe, leader_dials(probe)[-1].conn


def synchronizing(disk: Durable | None = None, epoch: int = 1) -> tuple[Probe, int]:
    probe, conn = following(disk)
    probe.packet(conn, LEADERINFO, z(epoch, 0), packets.encode_int32(0x10000))
    return probe, conn


def serving(disk: Durable | None = None, epoch: int = 1) -> tuple[Probe, int]:
    probe, conn = synchronizing(disk, epoch)
    probe.packet(conn, DIFF, 0)
    probe.packet(conn, NEWLEADER, z(epoch, 0))
    probe.packet(conn, UPTODATE, -1)
    assert probe.server.serving
    return probe, conn


def propose(probe: Probe, conn: int, zxid: int) -> list[Effect]:
    return probe.packet(conn, PROPOSAL, zxid, packets.encode_txn(txn(zxid)))


def leader_dials(probe: Probe) -> list[Dial]:
    return [e for e in probe.effects if isinstance(e, Dial) and e.port == QUORUM]
