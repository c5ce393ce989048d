"""A learner against a scripted leader: how it comes, and what it promises (protocol.md sections 5.2, 5.3)."""

from __future__ import annotations

import pytest

from node.protocol.events import (
    Lost,
    StoreEpoch,
)
from node.protocol.messages import (
    ACKEPOCH,
    DIFF,
    FOLLOWERINFO,
    FOLLOWING,
    LEADERINFO,
    LOOKING,
    NEWLEADER,
    PROPOSAL,
    UPTODATE,
)
from node.wire import packets
from tests.node.following import following, following_undialled, leader_dials
from tests.node.probe import Probe, durable, shape, z

# ---- connecting ----------------------------------------------------------------------------------------------------


def test_a_follower_dials_its_leader_at_once() -> None:
    probe, _ = following()
    assert [d.address for d in leader_dials(probe)] == [("s3", 2888)]


def test_a_refused_dial_is_tried_again_soon_and_not_for_ever() -> None:
    """Section 5.2: within a second, from 5 ms to 100 ms apart."""
    probe = Probe(1)
    probe.vote(2, FOLLOWING, 3)
    probe.vote(3, 2, 3)
    began, times = probe.now, []
    while probe.server.role == FOLLOWING:
        times.append((probe.now - began) // 1_000_000)
        probe.step(Lost(leader_dials(probe)[-1].conn, "refused"))
        if probe.server.role == FOLLOWING:
            probe.advance(max(0.0, (probe.timers["leader-retry"] - probe.now) / 1e6))
        assert len(times) < 50
    assert times[:7] == [0, 5, 15, 35, 75, 155, 255]
    assert times[-1] < 1000
    assert probe.server.round == 2


def test_the_last_dial_of_a_leader_is_within_the_second_however_little_is_left() -> None:
    probe, _ = following_undialled()
    probe.advance(994.5)
    probe.step(Lost(leader_dials(probe)[-1].conn, "refused"))
    probe.advance(5)
    assert leader_dials(probe)[-1].timeout_ms == 1, "half a millisecond is left, and a dial takes whole ones"
    exactly, _ = following_undialled()
    exactly.advance(995)
    exactly.step(Lost(leader_dials(exactly)[-1].conn, "refused"))
    assert exactly.server.role == LOOKING, "the next one would begin when the time is over"


def test_a_dial_into_the_void_ends_within_a_second() -> None:
    probe, _ = following()
    assert leader_dials(probe)[0].timeout_ms == 1000
    wide = Probe(1, tick_ms=3000)
    wide.follow(3)
    assert leader_dials(wide)[0].timeout_ms == 3000


def test_a_learner_introduces_itself_with_its_accepted_epoch() -> None:
    """Section 5.3 step 1."""
    probe, conn = following(durable(6, 5, z(5, 1)))
    info = probe.packets(conn)[0]
    assert (info.type, info.zxid) == (FOLLOWERINFO, z(6, 0))
    assert packets.decode_learner_info(info.data) == (1, 0x10000, 0)


# ---- discovery -----------------------------------------------------------------------------------------------------


def test_an_epoch_is_on_disk_before_it_is_acknowledged() -> None:
    """Section 4.3; testNormalFollowerRun."""
    probe, conn = following(durable(4, 4, z(4, 2)))
    effects = probe.packet(conn, LEADERINFO, z(5, 0))
    assert shape(effects) == [StoreEpoch("acceptedEpoch", 5), ACKEPOCH]
    ack = probe.packets(conn, effects)[0]
    assert (ack.zxid, ack.data) == (z(4, 2), packets.encode_int32(4))
    assert (probe.server.accepted_epoch, probe.server.current_epoch) == (5, 4)


def test_an_epoch_that_was_accepted_before_is_answered_with_minus_one() -> None:
    """Section 5.3: one ack per epoch."""
    probe, conn = following(durable(5, 4))
    effects = probe.packet(conn, LEADERINFO, z(5, 0))
    assert shape(effects) == [ACKEPOCH]
    assert probe.packets(conn, effects)[0].data == packets.encode_int32(-1)


def test_a_lower_epoch_is_refused() -> None:
    probe, conn = following(durable(6, 4))
    effects = probe.packet(conn, LEADERINFO, z(5, 0))
    assert not [p for p in probe.packets(conn, effects) if p.type == ACKEPOCH]
    assert probe.hung_up(conn)
    assert (probe.server.role, probe.server.accepted_epoch) == (LOOKING, 6)


@pytest.mark.parametrize("kind", [NEWLEADER, DIFF, UPTODATE, PROPOSAL, 77])
def test_anything_but_leaderinfo_ends_the_discovery(kind: int) -> None:
    probe, conn = following()
    probe.packet(conn, kind, z(1, 0))
    assert probe.hung_up(conn)
    assert probe.server.role == LOOKING
