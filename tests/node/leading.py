"""A leader to test with: elected, or in service; see probe.py."""

from __future__ import annotations

from typing import Any

from node.protocol.events import ClientRequest, Durable, Effect
from node.protocol.messages import ACK, LEADING, QuorumPacket
from node.wire import packets
from tests.node.probe import Probe, durable, z


def elected(sid: int = 3, servers: int = 3, disk: Durable | None = None, **settings: Any) -> Probe:
    probe = Probe(sid, servers, disk or durable(0, 0), **settings)
    probe.elect_self()
    assert probe.server.role == LEADING
    return probe


def serving(servers: int = 3, disk: Durable | None = None, **settings: Any) -> tuple[Probe, int]:
    """A leader in broadcast, and its follower 1's connection."""
    probe = elected(servers, servers, disk, **settings)
    own = probe.server.current_epoch, probe.server.database.last_zxid
    conns = [probe.learner(sid, probe.server.accepted_epoch) for sid in range(1, servers // 2 + 1)]
    for conn in conns:
        probe.ack_epoch(conn, *own)
    for conn in conns:
        probe.packet(conn, ACK, z(probe.server.current_epoch, 0))
    assert probe.server.serving
    return probe, conns[0]


def create(probe: Probe, cxid: int, path: str = "") -> list[Effect]:
    payload = packets.encode_create_request(packets.CreateRequest(path or f"/c{cxid}", b"v"))
    return probe.step(ClientRequest(7, cxid, packets.CREATE, payload, 1000))


def types(sent: list[QuorumPacket]) -> list[int]:
    return [p.type for p in sent]
