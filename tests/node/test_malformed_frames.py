"""Malformed frames on every port of a running leader, many at once: it leads on, and its memory is flat.

Each frame takes a connection of its own, since a malformed frame ends its connection: random bytes, cut frames, wrong
lengths, unknown versions and sids, packets that are out of place, and peers that stall.  A frame's fate is checked: the
server closes that connection, and writes one log line, or counts it.  Meanwhile a client writes, and every write
succeeds.

`ONETHRONE_MALFORMED_FRAMES` says how many frames each port gets (default 2,000).  The full proof is

    ONETHRONE_MALFORMED_FRAMES=100000 pytest tests/node/test_malformed_frames.py --timeout 3600 -s
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from node.protocol.messages import ACK, FOLLOWERINFO, PING, SNAP, InitialMessage, Notification, QuorumPacket
from node.wire.frames import V1, V2, encode
from tests.ensembles import SETTINGS, Servers

FRAMES = int(os.environ.get("ONETHRONE_MALFORMED_FRAMES", "2000"))
WORKERS = 4
STALL_SHARE = 0.02
MEMORY_GROWTH_MAX = 8 * 1024 * 1024
CLOSED_DEADLINE_S = 60.0
CLOSING = re.compile(r" WARN  (closing|Closing) ")
LEFT_OUT = re.compile(r"(\d+) more warnings were left out")


def initial(rng: random.Random) -> bytes:
    """Of a server that is no member."""
    return encode(InitialMessage(rng.choice((V1, V2)), rng.randrange(1000, 2**62), (("127.0.0.1", 1),)))


def election_frame(rng: random.Random) -> bytes:
    vote = encode(Notification(0, 1, 0, 1, 0, 2, "version=0"))
    payload = rng.randbytes(rng.randrange(1, 28))
    kinds: list[Callable[[], bytes]] = [
        lambda: bytes([rng.randrange(0x80, 0xFF)]) + rng.randbytes(rng.randrange(7, 400)),
        lambda: struct.pack(">qqi", V1, rng.randrange(2**62), rng.choice((0, -1, 2049, 2**31 - 1))),
        lambda: struct.pack(">qqi", V2, rng.randrange(2**62), 30) + rng.randbytes(29) + b"\xff",
        lambda: struct.pack(">qqi", V1, -rng.randrange(1, 2**62), 7) + b"n1:3888",
        lambda: encode(InitialMessage(V1, own_sid, (("127.0.0.1", 1),))),
        lambda: initial(rng) + struct.pack(">i", rng.choice((0, -1, 512 * 1024 + 1, 2**31 - 1, -(2**31)))),
        lambda: initial(rng) + struct.pack(">i", len(payload)) + payload,
        lambda: initial(rng) + vote + struct.pack(">i", -rng.randrange(2**31)),
    ]
    return rng.choice(kinds)()


def quorum_frame(rng: random.Random) -> bytes:
    kinds: list[Callable[[], bytes]] = [
        lambda: bytes([rng.randrange(1, 256)]) + rng.randbytes(rng.randrange(15, 400)),
        lambda: struct.pack(">iqi", rng.choice((0, 20, -1, 2**31 - 1)), 0, -1),
        lambda: struct.pack(">iqi", FOLLOWERINFO, 0, rng.choice((-2, 2**31 - 1, -(2**31), 2 * 0xFFFFF + 1))),
        lambda: struct.pack(">iqii", FOLLOWERINFO, 0, -1, rng.choice((-2, 17, 2**31 - 1))),
        lambda: encode(QuorumPacket(rng.choice((PING, ACK)), rng.randrange(2**62), rng.randbytes(20))),
        lambda: encode(QuorumPacket(FOLLOWERINFO, 0, rng.randbytes(rng.randrange(8)))),
        lambda: encode(QuorumPacket(SNAP, 0, None)) + rng.randbytes(200),
    ]
    return rng.choice(kinds)()


def client_frame(rng: random.Random) -> bytes:
    kinds: list[Callable[[], bytes]] = [
        lambda: bytes([rng.randrange(0x80, 0x100)]) + rng.randbytes(rng.randrange(3, 400)),
        lambda: struct.pack(">i", rng.choice((-1, 0x100000, 2**31 - 1))),
        lambda: struct.pack(">i", 20) + rng.randbytes(20),
        lambda: struct.pack(">iiqiqi", 44, 0, 0, 4000, 0, rng.choice((-2, 17, 2**31 - 1))) + rng.randbytes(16),
    ]
    return rng.choice(kinds)()


own_sid = 0
MAKERS = {"election": election_frame, "quorum": quorum_frame, "client": client_frame}


class Attack:
    """Sends frames to one port from several threads.  `left` counts down; `stalled` are held until they are closed."""

    def __init__(self, address: tuple[str, int], make: Callable[[random.Random], bytes], frames: int) -> None:
        self.address = address
        self.make = make
        self.left = frames
        self.lock = threading.Lock()
        self.errors: list[str] = []
        self.threads = [threading.Thread(target=self.run, args=(seed,)) for seed in range(WORKERS)]

    def run(self, seed: int) -> None:
        rng = random.Random(seed)
        stalled: list[socket.socket] = []
        try:
            while self.take():
                connection = self.connect()
                data = self.make(rng)
                kind = rng.random()
                if kind < STALL_SHARE:
                    connection.sendall(data[: rng.randrange(4)])
                    stalled.append(connection)
                    continue
                if kind < 0.2:  # cut: the frame's first bytes, and then the end
                    connection.sendall(data[: rng.randrange(1, 4)])
                    connection.shutdown(socket.SHUT_WR)
                else:
                    with contextlib.suppress(ConnectionError):  # closed before it has taken everything
                        connection.sendall(data)
                self.await_end(connection, data)
            for connection in stalled:
                self.await_end(connection, b"a stall")
        except Exception as error:  # noqa: BLE001 - it is reported by the test
            self.errors.append(repr(error))

    def take(self) -> bool:
        with self.lock:
            self.left -= 1
            return self.left >= 0

    def connect(self) -> socket.socket:
        connection = socket.create_connection(self.address, CLOSED_DEADLINE_S)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # no TIME_WAIT left behind
        return connection

    def await_end(self, connection: socket.socket, data: bytes) -> None:
        try:
            while connection.recv(65536):
                pass
        except ConnectionError:
            pass
        except TimeoutError:
            self.errors.append(f"not closed within {CLOSED_DEADLINE_S} s: {data[:80]!r}")
        connection.close()


def closed(log: str) -> int:
    """Connections that the log says were closed: in a line, or in the count of the lines that were left out."""
    return len(CLOSING.findall(log)) + sum(map(int, LEFT_OUT.findall(log)))


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Servers:  # type: ignore[misc]
    with Servers(tmp_path_factory.mktemp("malformed"), dict.fromkeys(("n1", "n2", "n3"), "onethrone")) as servers:
        servers.start()
        servers.wait_until_all_serve()
        yield servers


@pytest.mark.parametrize("port", MAKERS)
@pytest.mark.timeout(3600)
def test_malformed_frames_end_their_connection_with_a_line_or_count_and_disturb_nothing(
    servers: Servers, port: str
) -> None:
    global own_sid  # noqa: PLW0603 - the frame makers are plain functions
    leader = servers.wait_until_all_serve()
    own_sid = servers.places[leader].sid
    numbers = {"election": SETTINGS.election_port, "quorum": SETTINGS.quorum_port, "client": SETTINGS.client_port}
    address = (servers.places[leader].address, numbers[port])
    pid = servers.processes[leader].pid

    def attack(frames: int) -> int:
        """Runs it to its end; how many writes of a client succeeded meanwhile."""
        run = Attack(address, MAKERS[port], frames)
        with servers.client(follower, deadline_s=30.0) as client:
            for thread in run.threads:
                thread.start()
            written = 0
            while any(thread.is_alive() for thread in run.threads):
                client.create(f"/{port}-{frames}-{written}", b"")
                written += 1
                time.sleep(0.05)
        assert run.errors == []
        return written

    follower = next(host for host in servers.hosts if host != leader)
    lines = closed(servers.log(leader))
    warm_up = max(FRAMES // 10, 200)
    attack(warm_up)  # what is allocated once and kept
    before = {host: servers.events(host) for host in servers.hosts}
    memory, open_files = resident_bytes(pid), descriptors(pid)
    began = time.monotonic()
    written = attack(FRAMES)
    took_s = time.monotonic() - began
    grown = resident_bytes(pid) - memory
    servers.wait_for("a line or a count", lambda: closed(servers.log(leader)) - lines >= warm_up + FRAMES)
    logged = closed(servers.log(leader)) - lines - warm_up
    print(
        f"\n{port} port: {FRAMES} malformed frames in {took_s:.1f} s, {logged} log lines, memory {memory / 1e6:.1f} MB "
        f"{grown / 1e6:+.2f} MB, {written} writes meanwhile"
    )
    assert logged == FRAMES
    assert written > 0
    assert grown < MEMORY_GROWTH_MAX
    servers.wait_for("the descriptors to be closed", lambda: descriptors(pid) <= open_files)
    assert servers.leader() == leader
    assert {host: servers.events(host) for host in servers.hosts} == before, "a server changed its state"
