"""Connections over real sockets: what the core is told of them, and what peers may do to them (links.py)."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import pytest

from node.agent.links import MAX_ACCEPTED, MAX_CONFIG, MAX_UNSENT, SLOW_FROM, Links
from node.config import Config, Member
from node.protocol.events import Accepted, Connected, Dial, Event, HangUp, Lost, Received, Send
from node.protocol.messages import (
    ELECTION,
    PING,
    QUORUM,
    REQUEST,
    InitialMessage,
    Notification,
    QuorumPacket,
    SnapshotStream,
)
from node.wire.frames import V1, encode
from node.wire.packets import encode_snapshot
from tests.addresses import network

DEADLINE_S = 30.0
HELLO = InitialMessage(V1, 9, (("127.0.0.1", 3888),))
VOTE = Notification(0, 1, 2, 3, 4, 2, "version=0")


class LinksAlone:
    """Links without a core: what it would be told, and what is logged."""

    def __init__(self, tick_ms: int) -> None:
        self.address = f"{network()}.1"
        self.ports = {ELECTION: 23888, QUORUM: 22888}
        self.config = Config(
            sid=1,
            members=(Member(1, self.address, self.ports[QUORUM], self.ports[ELECTION]),),
            tick_ms=tick_ms,
            sync_limit=1,
        )
        self.told: list[Event] = []
        self.lines: list[str] = []
        self.links = Links(self.config, self.told.append, lambda level, text: self.lines.append(text))

    async def connect(self, port: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(self.address, self.ports[port])

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def world(tick_ms: int = 60_000) -> AsyncIterator[LinksAlone]:
    it = LinksAlone(tick_ms)
    await it.links.start()
    try:
        yield it
    finally:
        it.links.close()


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(2 * DEADLINE_S):
            await main()

    asyncio.run(bounded())


def test_an_accepted_connection_is_told_with_its_first_message_and_lost_once() -> None:
    async def main() -> None:
        async with world() as w:
            _, writer = await w.connect(ELECTION)
            data = encode(HELLO) + encode(VOTE)
            for at in range(len(data)):
                assert w.told == [] or at >= len(encode(HELLO))
                writer.write(data[at : at + 1])
                await writer.drain()
            await w.until(lambda: len(w.told) == 3)
            assert w.told == [Accepted(2, ELECTION), Received(2, HELLO), Received(2, VOTE)]
            writer.close()
            await w.until(lambda: len(w.told) == 4)
            assert w.told[3] == Lost(2, "closed by the peer")
            assert w.lines == []
            assert not w.links.all

    run(main)


def test_a_dial_is_answered_once_and_connects_both_ways() -> None:
    async def main() -> None:
        async with world() as w:
            w.links.dial(Dial(1, QUORUM, 1, (w.address, w.ports[QUORUM]), 5000))
            await w.until(lambda: w.told)
            assert w.told == [Connected(1)]
            ping = QuorumPacket(PING, 7, None)
            w.links.send(Send(1, ping))
            await w.until(lambda: len(w.told) == 3)
            assert w.told[1:] == [Accepted(2, QUORUM), Received(2, ping)]
            stream = encode_snapshot({"/a": bytes(200_000)})
            w.links.send(Send(2, QuorumPacket(15, 9, None)))
            w.links.send(Send(2, SnapshotStream(9, stream)))
            w.links.hang_up(HangUp(2))
            await w.until(lambda: len(w.told) == 6)
            assert w.told[3:5] == [Received(1, QuorumPacket(15, 9, None)), Received(1, SnapshotStream(9, stream))]
            assert w.told[5] == Lost(1, "closed by the peer")

    run(main)


def test_a_dial_that_fails_or_times_out_is_lost_once_and_one_hung_up_is_never_told() -> None:
    async def main() -> None:
        async with world() as w:
            with socket.create_server((w.address, 0), backlog=0) as full:
                address = full.getsockname()
                fillers = [socket.socket() for _ in range(4)]  # the backlog is full then, and further SYNs are dropped
                for filler in fillers:
                    filler.setblocking(False)
                    filler.connect_ex(address)
                w.links.dial(Dial(1, ELECTION, 3, address, 300))
                w.links.dial(Dial(3, ELECTION, 3, address, 60_000))
                await w.until(lambda: w.told)
                assert w.told == [
                    Lost(1, f"cannot connect to server 3 at {address[0]}:{address[1]}: no connection within 300 ms")
                ]
                w.links.hang_up(HangUp(3))
                for filler in fillers:
                    filler.close()
            w.links.dial(Dial(5, ELECTION, 3, address, 5000))
            w.links.dial(Dial(7, ELECTION, 3, ("no..host", 1), 20_000))
            await w.until(lambda: len(w.told) == 3)
            assert {event.conn for event in w.told[1:] if isinstance(event, Lost)} == {5, 7}
            assert not w.links.dials
            assert not w.links.conns

    run(main)


@pytest.mark.parametrize("sent", [b"", encode(HELLO)[:9], encode(HELLO)[:-1], encode(HELLO) + encode(VOTE)[:9]])
def test_a_peer_that_stalls_is_closed_within_its_patience_with_one_line(sent: bytes) -> None:
    """Section 1.4: the handshake's deadline; here half a frame has the same."""

    async def main() -> None:
        async with world(tick_ms=300) as w:
            reader, writer = await w.connect(ELECTION)
            writer.write(sent)
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
            assert len(w.lines) == 1
            assert "within 0.3 s" in w.lines[0]
            writer.close()

    run(main)


def test_a_peer_that_said_all_it_began_may_be_silent_for_long() -> None:
    async def main() -> None:
        async with world(tick_ms=500) as w:  # long enough for what is said at once to be heard in it, under load too
            _, idle = await w.connect(ELECTION)
            idle.write(encode(HELLO))
            await w.until(lambda: len(w.told) == 2)
            for _ in range(3):  # three strangers are put out meanwhile, each after the whole patience
                reader, writer = await w.connect(QUORUM)
                with contextlib.suppress(ConnectionError):
                    await reader.read()
                writer.close()
            assert len(w.told) == 2
            assert len(w.lines) == 3
            idle.close()

    run(main)


def test_a_peer_that_does_not_read_is_lost_at_a_bound_and_a_snapshot_may_pass_it() -> None:
    async def main() -> None:
        async with world() as w:
            _, writer = await w.connect(QUORUM)
            writer.write(encode(QuorumPacket(PING, 0, None)))
            await w.until(lambda: len(w.told) == 2)
            w.links.send(Send(2, SnapshotStream(1, bytes(3 * SLOW_FROM))))
            assert w.lines == []
            packet = Send(2, QuorumPacket(PING, 0, bytes(1 << 20)))
            for _ in range(MAX_UNSENT // (1 << 20) + 16):
                w.links.send(packet)
            await w.until(lambda: len(w.told) == 3)
            assert isinstance(w.told[2], Lost)
            assert "it does not read" in w.told[2].reason
            assert len(w.lines) == 1
            writer.close()

    run(main)


def test_of_a_long_configuration_in_a_notification_only_the_beginning_is_told() -> None:
    """The journal keeps what is told, and a stranger may send 500 kB at a time."""

    async def main() -> None:
        async with world() as w:
            _, writer = await w.connect(ELECTION)
            long = Notification(0, 1, 2, 3, 4, 2, "x" * 500_000)
            writer.write(encode(HELLO) + encode(long) + encode(VOTE))
            await w.until(lambda: len(w.told) == 4)
            cut = Notification(0, 1, 2, 3, 4, 2, "x" * MAX_CONFIG)
            assert w.told[2:] == [Received(2, cut), Received(2, VOTE)]
            writer.close()

    run(main)


def test_a_slow_reader_holds_up_requests_until_it_reads_and_never_what_else_is_said() -> None:
    async def main() -> None:
        async with world() as w:
            reader, slow = await w.connect(QUORUM)
            slow.write(encode(QuorumPacket(PING, 0, None)))
            await w.until(lambda: len(w.told) == 2)
            value = QuorumPacket(PING, 0, bytes(1 << 20))
            while not w.links.slow:
                w.links.send(Send(2, value))
            _, other = await w.connect(QUORUM)
            request = QuorumPacket(REQUEST, -1, b"x")
            other.write(encode(QuorumPacket(PING, 1, None)) + encode(request))
            await w.until(lambda: len(w.told) == 4)
            assert w.told[3] == Received(4, QuorumPacket(PING, 1, None))
            slow.write(encode(QuorumPacket(PING, 2, None)))  # it may speak itself, too
            await w.until(lambda: len(w.told) == 5)
            assert w.told[4] == Received(2, QuorumPacket(PING, 2, None))
            while len(w.told) == 5:
                assert await asyncio.wait_for(reader.read(1 << 20), DEADLINE_S)
            assert w.told[5] == Received(4, request)
            assert w.lines == []
            slow.close()
            other.close()

    run(main)


def test_a_reader_that_has_stopped_holds_up_requests_for_half_the_patience_at_most_and_is_lost() -> None:
    async def main() -> None:
        async with world(tick_ms=2000) as w:
            _, stopped = await w.connect(QUORUM)
            stopped.write(encode(QuorumPacket(PING, 0, None)))
            await w.until(lambda: len(w.told) == 2)
            while not w.links.slow:
                w.links.send(Send(2, QuorumPacket(PING, 0, bytes(1 << 20))))
            _, other = await w.connect(QUORUM)
            other.write(encode(QuorumPacket(REQUEST, -1, b"x")))
            await w.until(lambda: any(event == Received(4, QuorumPacket(REQUEST, -1, b"x")) for event in w.told))
            assert not w.links.slow
            await w.until(lambda: any(isinstance(event, Lost) for event in w.told))
            lost = [event for event in w.told if isinstance(event, Lost)]
            assert [event.conn for event in lost] == [2]
            assert "it does not read" in lost[0].reason
            other.close()

    run(main)


def test_silent_strangers_make_room_for_a_newcomer() -> None:
    async def main() -> None:
        async with world() as w:
            silent = [await w.connect(ELECTION) for _ in range(MAX_ACCEPTED + 20)]
            _, writer = await w.connect(ELECTION)
            writer.write(encode(HELLO))
            await w.until(lambda: len(w.told) == 2)
            assert w.told == [Accepted(2, ELECTION), Received(2, HELLO)]
            await w.until(lambda: len(w.links.all) == MAX_ACCEPTED)
            assert len(w.lines) == 21
            for _, stranger in silent:
                stranger.close()
            writer.close()

    run(main)


def test_a_hung_up_peer_that_never_reads_is_cut_off_at_last() -> None:
    async def main() -> None:
        async with world(tick_ms=300) as w:
            _, writer = await w.connect(QUORUM)
            writer.write(encode(QuorumPacket(PING, 0, None)))
            await w.until(lambda: len(w.told) == 2)
            w.links.send(Send(2, SnapshotStream(1, bytes(3 * SLOW_FROM))))
            w.links.hang_up(HangUp(2))
            assert w.links.all
            await w.until(lambda: not w.links.all)
            assert len(w.told) == 2
            writer.close()

    run(main)


def free_ports() -> list[int]:
    """Two that nobody uses on any address now; a server on all addresses cannot have an address of its own."""
    with socket.create_server(("", 0)) as first, socket.create_server(("", 0)) as second:
        return [first.getsockname()[1], second.getsockname()[1]]


def test_listening_on_all_addresses_is_possible() -> None:
    async def main() -> None:
        w = LinksAlone(60_000)
        w.ports = dict(zip((ELECTION, QUORUM), free_ports(), strict=True))
        own = Member(1, w.address, w.ports[QUORUM], w.ports[ELECTION])
        config = replace(w.config, members=(own,), listen_on_all_ips=True)
        links = Links(config, w.told.append, lambda level, text: None)
        await links.start()
        try:
            with socket.create_connection(("127.0.0.77", w.ports[ELECTION]), DEADLINE_S) as connection:
                connection.sendall(encode(HELLO))
                await w.until(lambda: len(w.told) == 2)
        finally:
            links.close()

    run(main)
