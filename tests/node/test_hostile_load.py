"""Servers as processes under load that is meant to hurt: no election, and every server answers meanwhile.

A server has one thread.  What a client or a learner sends in one burst must not keep it from what its peers and its
timers need (`node/agent/turns.py`), and nobody who reads slowly may cost a follower its place (`node/agent/links.py`).
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from node.agent.complaints import BURST
from node.agent.journal import JournalStep, digest, read, repeat
from node.protocol.messages import ACK, ACKEPOCH, LEADERINFO, NEWLEADER, OBSERVERINFO, REQUEST, UPTODATE, QuorumPacket
from node.wire import packets
from node.wire.frames import QuorumDecoder, encode
from tests.ensembles import SETTINGS, Servers

THREE = dict.fromkeys(("n1", "n2", "n3"), "onethrone")
DEADLINE_S = 120.0
CONNECT = struct.pack(">iqiqi16s", 0, 0, 10_000, 0, 16, bytes(16))


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Servers]:
    with Servers(tmp_path, THREE) as servers:
        servers.start()
        servers.wait_until_all_serve()
        yield servers


def frame(record: bytes) -> bytes:
    return struct.pack(">i", len(record)) + record


def request(xid: int, kind: int, record: bytes) -> bytes:
    return frame(struct.pack(">ii", xid, kind) + record)


def create(xid: int, path: str, data: bytes = b"") -> bytes:
    return request(xid, packets.CREATE, packets.encode_create_request(packets.CreateRequest(path, data)))


def session(servers: Servers, host: str) -> socket.socket:
    connection = socket.create_connection((servers.places[host].address, servers.client_port), DEADLINE_S)
    connection.sendall(frame(CONNECT))
    return connection


def answers(connection: socket.socket, count: int) -> Iterator[tuple[int, int]]:
    """xid and error of so many answers, after that of the connection itself."""
    file = connection.makefile("rb")
    for _ in range(count + 1):
        head = file.read(4)
        assert len(head) == 4, "the server has closed the connection"
        answer = file.read(struct.unpack(">i", head)[0])
        if len(answer) != 36:
            xid, _, error = struct.unpack_from(">iqi", answer)
            yield xid, error


class Watched:
    """Asks a server `ruok` all the time; the longest that an answer took, in s."""

    def __init__(self, servers: Servers, *hosts: str) -> None:
        self.servers, self.hosts = servers, hosts
        self.longest_s = 0.0
        self.oversleep_s = 0.0
        """How late this thread itself was woken: what the machine does to everybody."""
        self.elections = {host: self._looking(host) for host in servers.hosts}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def _looking(self, host: str) -> int:
        return sum(event["value"].get("role") == "LOOKING" for event in self.servers.events(host))

    def _ask(self) -> None:
        while not self._over.is_set():
            for host in self.hosts:
                began = time.monotonic()
                answered = self.servers.ask(host, "ruok") == "imok"
                self.longest_s = max(self.longest_s, time.monotonic() - began if answered else DEADLINE_S)
            began = time.monotonic()
            self._over.wait(0.02)
            self.oversleep_s = max(self.oversleep_s, time.monotonic() - began - 0.02)

    def __enter__(self) -> Watched:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(DEADLINE_S)

    def nothing_happened(self) -> None:
        bound_s = 1.0 + 10 * self.oversleep_s
        assert self.longest_s < bound_s, f"ruok was answered after {self.longest_s:.2f} s, not {bound_s:.2f}"
        for host, before in self.elections.items():
            assert self._looking(host) == before, f"{host} was in an election:\n{self.servers.log(host)[-2000:]}"


def at_the_same_time(*work: Callable[[], None]) -> None:
    failures: list[BaseException] = []

    def guarded(one: Callable[[], None]) -> None:
        try:
            one()
        except BaseException as error:  # noqa: BLE001 - raised again below
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(one,)) for one in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
        assert not thread.is_alive()
    if failures:
        raise failures[0]


def test_a_burst_of_reads_of_a_wide_node_delays_nobody(three: Servers) -> None:
    """10,000 reads in one write, on a node with 5,000 children; the answers come all the same, in their order."""
    leader = three.wait_until_all_serve()
    with session(three, leader) as connection:
        paths = ["/wide", *(f"/wide/{number}" for number in range(5000))]
        connection.sendall(b"".join(create(xid, path) for xid, path in enumerate(paths)))
        assert {error for _, error in answers(connection, len(paths))} == {0}
    exists = packets.encode_path("/wide") + b"\0"
    with session(three, leader) as connection, Watched(three, leader) as watched:
        burst = b"".join(request(xid, packets.EXISTS, exists) for xid in range(10_000))
        at_the_same_time(
            lambda: connection.sendall(burst),
            lambda: next_is_ordered(connection, 10_000),
        )
    watched.nothing_happened()
    with session(three, leader) as greedy, session(three, leader) as modest, Watched(three, leader) as watched:
        greedy.sendall(b"".join(request(xid, packets.GET_CHILDREN2, exists) for xid in range(400)))
        time.sleep(0.05)  # the greedy one is served first
        began = time.monotonic()
        modest.sendall(request(0, packets.EXISTS, exists))
        assert list(answers(modest, 1)) == [(0, 0)]
        assert time.monotonic() - began < 1.0 + 10 * watched.oversleep_s
        next_is_ordered(greedy, 400)
    watched.nothing_happened()


def next_is_ordered(connection: socket.socket, count: int) -> None:
    assert list(answers(connection, count)) == [(xid, 0) for xid in range(count)]


class Observer:
    """A stranger who has registered with the leader as an observer."""

    def __init__(self, servers: Servers, leader: str) -> None:
        address = (servers.places[leader].address, SETTINGS.quorum_port)
        self.socket = socket.create_connection(address, DEADLINE_S)
        self.decoder = QuorumDecoder()
        self.heard: list[QuorumPacket] = []
        info = packets.encode_learner_info(packets.LearnerInfo(77, packets.PROTOCOL_VERSION, 0))
        self.send(QuorumPacket(OBSERVERINFO, 0, info))
        epoch = self.wait_for(LEADERINFO).zxid
        self.send(QuorumPacket(ACKEPOCH, 0, packets.encode_int32(0)))
        self.wait_for(NEWLEADER)
        self.send(QuorumPacket(ACK, epoch, None))
        self.wait_for(UPTODATE)

    def send(self, *sent: QuorumPacket) -> None:
        self.socket.sendall(b"".join(map(encode, sent)))

    def wait_for(self, kind: int, count: int = 1) -> QuorumPacket:
        end = time.monotonic() + DEADLINE_S
        while sum(packet.type == kind for packet in self.heard) < count:
            assert time.monotonic() < end
            data = self.socket.recv(1 << 16)
            assert data, "the leader has closed the connection"
            self.heard += [message for message in self.decoder.feed(data) if isinstance(message, QuorumPacket)]
        return next(packet for packet in reversed(self.heard) if packet.type == kind)


def test_a_burst_of_forwarded_requests_delays_nobody_and_shares_its_syncs(three: Servers) -> None:
    """3,000 creates in one write, from a stranger who observes; one sync each would take the leader many seconds."""
    leader = three.wait_until_all_serve()
    observer = Observer(three, leader)
    requests = [
        packets.encode_request(
            1, xid, packets.CREATE, packets.encode_create_request(packets.CreateRequest(f"/{xid}", b""))
        )
        for xid in range(3000)
    ]
    with Watched(three, *three.hosts) as watched, observer.socket:
        observer.send(*(QuorumPacket(REQUEST, -1, data) for data in requests))
        three.wait_for("all creates", lambda: f"znode_count\t{len(requests) + 1}\n" in three.ask(leader, "mntr"))
    watched.nothing_happened()
    behind = 0
    three.kill(leader)
    for entry, effects in repeat(read(str(three.directories[leader] / "journal.jsonl"))):
        assert digest(effects) == entry.effects
        behind += isinstance(entry, JournalStep) and entry.behind
    assert behind > len(requests) / 2


def test_a_leader_that_is_killed_in_a_burst_comes_back_with_what_it_had_acknowledged(three: Servers) -> None:
    """Between the journal's lines of a batch and their sync, or after it; its journal repeats all the same."""
    for attempt in range(3):
        leader = three.wait_until_all_serve()
        burst = [f"/{attempt}-{number}" for number in range(2000)]
        with session(three, leader) as one, session(three, leader) as two:
            for at, connection in enumerate((one, two)):
                connection.sendall(b"".join(create(xid, path) for xid, path in enumerate(burst[at::2])))
            acknowledged = [burst[::2][xid] for xid, _ in answers(one, 100 * attempt + 1)]
            three.kill(leader)
        three.start(leader)
        three.wait_until_all_serve()
        with three.client(leader) as client:
            client.sync("/")
            assert all(client.exists(path) is not None for path in acknowledged)
        three.kill(leader)
        for entry, effects in repeat(read(str(three.directories[leader] / "journal.jsonl"))):
            assert digest(effects) == entry.effects
        three.start(leader)


def test_strangers_do_not_fill_the_log(three: Servers) -> None:
    leader = three.wait_until_all_serve()
    address = (three.places[leader].address, SETTINGS.election_port)
    before = three.log(leader).count("\n")
    for _ in range(10 * BURST):
        with socket.create_connection(address, DEADLINE_S) as connection:
            connection.sendall(b"\xff" * 64)
            connection.recv(1)
    three.wait_for("the lines", lambda: three.log(leader).count("closing election connection") >= BURST / 2)
    assert three.log(leader).count("\n") - before <= 5 * BURST  # a window may end meanwhile, and another one begin


def test_clients_with_values_of_a_megabyte_at_a_follower_cost_it_nothing(three: Servers) -> None:
    """20 at once: more than a connection may hold back, as long as each waits for those before it to be read."""
    leader = three.wait_until_all_serve()
    follower = next(host for host in three.hosts if host != leader)
    value = bytes(1_000_000)

    def writes(number: int) -> None:
        with session(three, follower) as connection:
            connection.sendall(create(0, f"/{number}", value))
            assert list(answers(connection, 1)) == [(0, 0)]

    with Watched(three, *three.hosts) as watched:
        at_the_same_time(*(lambda number=number: writes(number) for number in range(20)))
    watched.nothing_happened()
    for host in three.hosts:
        assert "does not read" not in three.log(host)
