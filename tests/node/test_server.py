"""What is said of a server, and the guards that no rule of the protocol lets anybody reach."""

from __future__ import annotations

import copy

from node.protocol.connections import Peer
from node.protocol.events import Connected, Dial, Log, Lost, Received
from node.protocol.messages import (
    ACK,
    ELECTION,
    LOOKING,
    OBSERVERINFO,
    PING,
    Notification,
    QuorumPacket,
    SnapshotStream,
)
from node.protocol.server import Server
from node.protocol.votes import Vote
from tests.node.leading import create, elected, serving
from tests.node.probe import EMPTY, Probe, z


def test_servers_are_equal_when_their_state_is() -> None:
    """Replay and exhaustive search stand on it."""
    probe, _ = serving()
    twin = copy.deepcopy(probe.server)
    assert twin == probe.server
    assert twin.database == probe.server.database
    create(probe, 1)
    assert twin != probe.server
    assert twin.database != probe.server.database
    assert twin.database != twin
    assert Probe(1).server != Server(Probe(2).config, EMPTY)

    class OtherServer(Server):
        """The same state, and other rules."""

    planted = copy.deepcopy(twin)
    planted.__class__ = OtherServer
    assert planted != twin
    assert twin != planted


def test_a_leader_counts_the_learners_that_are_synchronised() -> None:
    """As `mntr` tells them: followers and observers apart, nobody who is still on its way."""
    probe, _ = serving(5)
    probe.learner(8, accepted=1)
    for sid in (9, 10, 11):
        conn = probe.learner(sid, accepted=1, kind=OBSERVERINFO)
        probe.ack_epoch(conn, -1)
        probe.packet(conn, ACK, z(1, 0))
    probe.learner(12, accepted=1, kind=OBSERVERINFO)
    assert (probe.server.synced_followers, probe.server.synced_observers) == (2, 3)
    assert Probe(1).server.synced_followers == 0
    assert elected().server.synced_followers == 0


def test_events_of_a_connection_that_was_given_up_change_nothing() -> None:
    """They may be on their way when we hang up; whatever we are, and whatever they say."""
    looking, following, leading = Probe(1), Probe(1), serving()[0]
    following.follow(3)
    for probe in (looking, following, leading):
        unnamed = probe.accept(ELECTION)
        for conn in (98, 99, unnamed):
            for message in (SnapshotStream(0, b""), Notification(LOOKING, 3, 0, 9, 0, 2, None)):
                assert probe.step(Received(conn, message)) == []
        for event in (Connected(99), Lost(99, "reset"), Received(99, QuorumPacket(PING, 0, None))):
            assert probe.step(event) == []
        assert list(probe.server.pending) == [unnamed]


def test_an_election_of_somebody_unknown_is_repeated() -> None:
    """Votes for him are not counted (section 3.5); a bug that counts them leads to no dial into nowhere."""
    probe = Probe(1)
    probe.server.decide(Vote(9, 0, 1, 0), {}, "a quorum stands for server 9")
    effects = probe.take(probe.server.take_effects())
    assert probe.server.round == 2
    assert [e.level for e in effects if isinstance(e, Log)] == ["WARN"]
    assert [r["role"] for r in probe.reports()[1:]] == ["FOLLOWING", "LOOKING"]


def test_a_server_whose_address_nobody_knows_is_not_dialled() -> None:
    probe = Probe(1)
    probe.server.dial(77, Peer())
    effects = probe.take(probe.server.take_effects())
    assert [e.level for e in effects if isinstance(e, Log)] == ["WARN"]
    assert not [e for e in effects if isinstance(e, Dial)]
