"""A leader against scripted learners: their histories become its own (protocol.md section 5.5, LearnerHandlerTest)."""

from __future__ import annotations

import pytest

from node.protocol.events import Durable, Send
from node.protocol.messages import (
    ACK,
    COMMIT,
    DIFF,
    INFORM,
    LEADERINFO,
    NEWLEADER,
    OBSERVERINFO,
    PING,
    PROPOSAL,
    SNAP,
    TRUNC,
    UPTODATE,
    QuorumPacket,
    SnapshotStream,
)
from node.wire import packets
from tests.node.leading import create, elected, serving, types
from tests.node.probe import durable, txn, z

HISTORY = (z(2, 1), z(2, 2), z(4, 1), z(4, 2))


@pytest.mark.parametrize(
    ("theirs", "expected"),
    [
        (z(4, 2), [(DIFF, z(4, 2))]),
        (0, [(DIFF, z(4, 2)), *((PROPOSAL, x) for x in HISTORY)]),
        (z(2, 2), [(DIFF, z(4, 2)), (PROPOSAL, z(4, 1)), (PROPOSAL, z(4, 2))]),
        (z(4, 9), [(TRUNC, z(4, 2))]),
        (z(5, 9), [(TRUNC, z(4, 2))]),
        (z(2, 7), [(TRUNC, z(2, 2)), (PROPOSAL, z(4, 1)), (PROPOSAL, z(4, 2))]),
        (z(4, 0), [(DIFF, z(4, 2)), (PROPOSAL, z(4, 1)), (PROPOSAL, z(4, 2))]),
        (z(6, 0), [(DIFF, z(6, 0))]),
        (z(3, 7), [(SNAP, z(4, 2))]),
        (z(7, 0), [(SNAP, z(4, 2))]),
    ],
)
def test_the_sync_decision(theirs: int, expected: list[tuple[int, int]]) -> None:
    """Section 5.5, the table, for a leader of epoch 6 in broadcast; every PROPOSAL of history has its COMMIT."""
    probe, _ = serving(disk=durable(5, 5, *HISTORY))
    conn = probe.learner(2, accepted=5)
    probe.ack_epoch(conn, 3, theirs)
    sent = probe.packets(conn)[1:]
    assert [(p.type, p.zxid) for p in sent if p.type != COMMIT] == [*expected, (NEWLEADER, z(6, 0))]
    proposed = [p.zxid for p in sent if p.type == PROPOSAL]
    assert [p.zxid for p in sent if p.type == COMMIT] == proposed
    for p in sent:
        if p.type == PROPOSAL:
            assert packets.decode_txn(p.data) == txn(p.zxid)


def test_a_learner_from_before_our_snapshot_gets_ours_and_what_followed() -> None:
    nodes = packets.encode_snapshot({"/": b"", "/old": b"1"})
    disk = Durable(5, 5, z(4, 7), nodes, (txn(z(5, 1)),))
    probe, _ = serving(disk=disk)
    create(probe, 1)
    probe.packet(2, ACK, z(6, 1))
    conn = probe.learner(2, accepted=0)
    effects = probe.ack_epoch(conn, 0, z(3, 1))
    assert (SNAP, z(6, 1)) in [(p.type, p.zxid) for p in probe.packets(conn, effects)]
    stream = next(e.message for e in effects if isinstance(e, Send) and isinstance(e.message, SnapshotStream))
    assert set(packets.decode_snapshot(stream.stream)) == {"/", "/old", f"/{z(5, 1):x}", "/c1"}


def test_newleader_carries_the_configuration_and_uptodate_no_zxid() -> None:
    """Sections 5.5 and 5.6: a 3.8 learner reads the one, and a real leader's UPTODATE has zxid -1."""
    probe, conn = serving()
    sent = {p.type: p for p in probe.packets(conn)}
    assert sent[NEWLEADER].data == probe.server.config_text.encode()
    assert sent[UPTODATE] == QuorumPacket(UPTODATE, -1, None)


def test_what_a_learner_has_logged_and_nobody_committed_is_taken_back_and_proposed_again() -> None:
    """Section 5.5: it is beyond our last committed one, though not beyond our history."""
    probe, _ = serving()
    create(probe, 1)
    late = probe.learner(2, accepted=1)
    probe.ack_epoch(late, -1, z(1, 1))
    sent = probe.packets(late)[1:]
    assert [(p.type, p.zxid) for p in sent] == [(TRUNC, 0), (PROPOSAL, z(1, 1)), (NEWLEADER, z(1, 0))]
    assert packets.decode_txn(sent[1].data).cxid == 1


def test_the_start_of_the_new_epoch_is_no_history_before_service() -> None:
    probe = elected(disk=durable(5, 5, z(5, 1)))
    conn = probe.learner(1, accepted=5)
    probe.ack_epoch(conn, 4, z(6, 0))
    assert types(probe.packets(conn))[1] == SNAP


def test_outstanding_proposals_come_without_commit_and_their_acks_count_anew() -> None:
    """Trap 8, ZOOKEEPER-4394: no COMMIT between NEWLEADER and UPTODATE."""
    probe, first = serving()
    create(probe, 1)
    late = probe.learner(2)
    probe.ack_epoch(late, 0)
    assert types(probe.packets(late)) == [LEADERINFO, DIFF, PROPOSAL, NEWLEADER]
    probe.packet(first, ACK, z(1, 1))
    assert types(probe.packets(late))[-1] == NEWLEADER, "the COMMIT is held"
    assert "commit-held" in probe.marks()
    probe.packet(late, ACK, z(1, 0))
    assert types(probe.packets(late))[-2:] == [UPTODATE, COMMIT]


def test_an_observer_hears_of_a_transaction_when_it_is_committed() -> None:
    """Section 5.5: outstanding proposals are for participants only; section 5.6: INFORM."""
    probe, first = serving()
    create(probe, 1)
    observer = probe.learner(9, accepted=1, kind=OBSERVERINFO)
    probe.ack_epoch(observer, -1)
    probe.packet(observer, ACK, z(1, 0))
    create(probe, 2)
    assert types(probe.packets(observer)) == [LEADERINFO, DIFF, NEWLEADER, UPTODATE]
    probe.packet(first, ACK, z(1, 1))
    informed = probe.packets(observer)[-1]
    assert (informed.type, packets.decode_txn(informed.data).zxid) == (INFORM, z(1, 1))


def test_what_a_learner_acknowledged_before_it_came_again_does_not_count() -> None:
    """Its synchronisation may cut the transaction off and log it again; in between it must not be committed by it."""
    probe, first = serving(servers=5)
    create(probe, 1)
    probe.packet(first, ACK, z(1, 1))
    again = probe.learner(1, accepted=1)
    assert probe.hung_up(first)
    probe.ack_epoch(again, -1, z(1, 1))
    assert probe.server.leading is not None
    assert probe.server.leading.outstanding[z(1, 1)].acks == {5}


def test_an_ack_of_another_epoch_is_not_counted_for_newleader() -> None:
    probe = elected()
    conn = probe.learner(1)
    probe.ack_epoch(conn, 0)
    probe.packet(conn, ACK, z(9, 0))
    assert not probe.server.serving


def test_anything_but_an_ack_after_newleader_ends_the_connection() -> None:
    probe = elected()
    conn = probe.learner(1)
    probe.ack_epoch(conn, 0)
    probe.packet(conn, PING)
    assert probe.hung_up(conn)
