"""The client against a peer that misbehaves, over a real socket pair: what is `Failed`, what is `Unknown`, and when."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest

from harness.workloads.base import ClientError, Failed, Unknown
from harness.workloads.zookeeper import NO_NODE, WATCH_XID, ZooKeeperClient, four_letter_word

Pair = tuple[socket.socket, socket.socket]
CONNECTED = struct.pack(">iiqi16s?", 0, 6000, 77, 16, bytes(16), False)


def packet(body: bytes) -> bytes:
    return struct.pack(">i", len(body)) + body


def reply(xid: int, code: int = 0, body: bytes = b"", zxid: int = 5) -> bytes:
    return packet(struct.pack(">iqi", xid, zxid, code) + body)


def read_packet(peer: socket.socket) -> bytes:
    data = peer.recv(4, socket.MSG_WAITALL)
    return peer.recv(struct.unpack(">i", data)[0], socket.MSG_WAITALL) if len(data) == 4 else b""


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    theirs.settimeout(20)
    yield ours, theirs
    ours.close()
    theirs.close()


def connected(pair: Pair, deadline_s: float = 10.0) -> tuple[ZooKeeperClient, socket.socket]:
    ours, theirs = pair
    theirs.sendall(packet(CONNECTED))
    client = ZooKeeperClient.connect(ours, deadline_s)
    read_packet(theirs)
    return client, theirs


def test_a_session_takes_its_id_and_time_out_from_the_answer(pair: Pair) -> None:
    client, _ = connected(pair)
    assert (client.session, client.session_timeout_ms, client.usable) == (77, 6000, True)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        packet(b"short"),
        packet(struct.pack(">iiqi16s", 0, 0, 0, 16, bytes(16))),
        struct.pack(">i", -5),
        b"\x7f" * 4,
    ],
    ids=["closed", "short", "refused", "negative-length", "huge-length"],
)
def test_no_session_means_that_nothing_can_have_happened(pair: Pair, answer: bytes) -> None:
    ours, theirs = pair
    theirs.sendall(answer)
    theirs.shutdown(socket.SHUT_WR)
    with pytest.raises(Failed, match="no session"):
        ZooKeeperClient.connect(ours, 10)
    assert ours.fileno() == -1, "the connection is closed, not leaked"


def test_an_error_code_that_says_so_is_failed_and_the_session_lives_on(pair: Pair) -> None:
    client, theirs = connected(pair)
    theirs.sendall(reply(1, NO_NODE) + reply(2, body=struct.pack(">i1s", 1, b"x")))
    with pytest.raises(Failed, match=r"NoNode") as caught:
        client.get_data("/a")
    assert caught.value.code == NO_NODE
    assert client.get_data("/b") == b"x"


@pytest.mark.parametrize("code", [-1, -4, -7, -999], ids=["SystemError", "ConnectionLoss", "OperationTimeout", "new"])
def test_an_error_code_that_leaves_it_open_is_unknown_and_ends_the_session(pair: Pair, code: int) -> None:
    client, theirs = connected(pair)
    theirs.sendall(reply(1, code))
    with pytest.raises(Unknown):
        client.create("/a", b"")
    assert not client.usable
    with pytest.raises(Failed, match="not sent"):
        client.create("/b", b"")


@pytest.mark.parametrize(
    "answer",
    [b"", reply(1)[:10], reply(9), packet(b"\0" * 8), reply(1, body=struct.pack(">i", 99)), struct.pack(">i", -1)],
    ids=["closed", "cut", "another-xid", "short-header", "cut-body", "negative-length"],
)
def test_a_request_without_a_whole_answer_is_unknown(pair: Pair, answer: bytes) -> None:
    client, theirs = connected(pair)
    theirs.sendall(answer)
    theirs.shutdown(socket.SHUT_WR)
    with pytest.raises(Unknown):
        client.get_data("/a")
    assert not client.usable


def test_pings_and_watches_between_request_and_answer_are_passed_over(pair: Pair) -> None:
    client, theirs = connected(pair)
    theirs.sendall(reply(-2) + reply(WATCH_XID, body=b"event") + reply(1, body=struct.pack(">i1s", 1, b"x"), zxid=9))
    assert client.get_data("/a") == b"x"
    assert client.last_zxid == 9


def test_a_peer_that_drips_bytes_does_not_stretch_the_deadline(pair: Pair) -> None:
    client, theirs = connected(pair)
    stop = threading.Event()

    def drip() -> None:
        for byte in packet(bytes(100_000)):
            if stop.wait(0.02):
                return
            theirs.sendall(bytes([byte]))

    thread = threading.Thread(target=drip)
    thread.start()
    began = time.monotonic()
    try:
        with pytest.raises(Unknown, match="no answer in time"):
            client.get_data("/a", deadline_s=0.5)
        assert time.monotonic() - began < 10
    finally:
        stop.set()
        thread.join()


def test_a_peer_that_reads_nothing_does_not_hold_a_send_for_ever(pair: Pair) -> None:
    client, _ = connected(pair, deadline_s=0.5)
    with pytest.raises(Unknown, match="sending"):
        client.create("/a", bytes(32 << 20))


def test_abort_wakes_a_waiting_call(pair: Pair) -> None:
    client, theirs = connected(pair, deadline_s=120)

    def abort_when_asked() -> None:
        read_packet(theirs)
        client.abort()

    thread = threading.Thread(target=abort_when_asked)
    thread.start()
    with pytest.raises(Unknown):
        client.create("/a", b"")
    thread.join()


def test_a_four_letter_word_gives_the_whole_answer_and_an_endless_one_fails(pair: Pair) -> None:
    ours, theirs = pair
    theirs.sendall(b"Mode: leader\n")
    theirs.shutdown(socket.SHUT_WR)
    assert four_letter_word(ours, "srvr", 10) == "Mode: leader\n"
    assert theirs.recv(10) == b"srvr"

    ours, theirs = socket.socketpair()
    with theirs, pytest.raises(Failed):
        four_letter_word(ours, "srvr", 0.2)


def test_errors_of_every_kind_are_zookeeper_errors() -> None:
    assert issubclass(Failed, ClientError)
    assert issubclass(Unknown, ClientError)
