"""What is inside the packets, held against literal bytes and garbage (protocol.md sections 5.1, 5.3, 5.5)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.protocol.messages import Txn
from node.wire import jute, packets
from node.wire.jute import Reader, WireError
from node.wire.packets import CreateRequest, CreateTxn, LearnerInfo, Stat

INT64 = st.integers(-(2**63), 2**63 - 1)
INT32 = st.integers(-(2**31), 2**31 - 1)
TXNS = st.builds(Txn, INT64, INT64, INT32, INT64, INT32, st.binary(max_size=40))


def test_learner_info_is_read_by_its_length() -> None:
    data = bytes.fromhex("0000000000000002 00010000 0000000000000007")
    assert packets.encode_learner_info(LearnerInfo(2, 0x10000, 7)) == data
    assert packets.decode_learner_info(data) == LearnerInfo(2, 0x10000, 7)
    assert packets.decode_learner_info(data[:12]) == LearnerInfo(2, 0x10000, 0)
    assert packets.decode_learner_info(data[:8]) == LearnerInfo(2, 1, 0)
    for bad in (None, b"", data[:7]):
        with pytest.raises(WireError, match="serverid"):
            packets.decode_learner_info(bad)


def test_txn_header_has_zookeepers_order_of_fields() -> None:
    txn = Txn(zxid=0x100000001, session=0x0300000000000000, cxid=5, time_ms=1000, type=1, record=b"rec")
    data = bytes.fromhex("0300000000000000 00000005 0000000100000001 00000000000003e8 00000001") + b"rec"
    assert packets.encode_txn(txn) == data
    assert packets.decode_txn(data) == txn


def test_create_txn_has_the_bytes_of_zookeeper() -> None:
    txn = CreateTxn("/a", b"v", parent_cversion=1)
    data = (
        bytes.fromhex("00000002") + b"/a" + bytes.fromhex("00000001") + b"v"
        + bytes.fromhex("00000001 0000001f 00000005") + b"world" + bytes.fromhex("00000006") + b"anyone"
        + bytes.fromhex("00 00000001")
    )  # fmt: skip
    assert packets.encode_create_txn(txn) == data
    assert packets.decode_create_txn(data + b"a digest, left unread") == txn


def test_ping_sessions_are_twelve_bytes_each_and_never_null() -> None:
    data = bytes.fromhex("0100000000000001 00000fa0")
    assert packets.encode_ping_sessions({0x0100000000000001: 4000}) == data
    assert packets.decode_ping_sessions(data) == {0x0100000000000001: 4000}
    assert packets.encode_ping_sessions({}) == b""
    for bad in (None, b"x"):
        with pytest.raises(WireError, match="PING"):
            packets.decode_ping_sessions(bad)


def test_snapshot_of_an_empty_tree_is_its_root() -> None:
    stream = packets.encode_snapshot({})
    assert stream == (
        bytes(8) + bytes.fromhex("00000000 00000000 ffffffffffffffff") + bytes(60)
        + bytes.fromhex("00000001") + b"/" + bytes.fromhex("0000000a") + b"BenWasHere"
    )  # fmt: skip
    assert packets.decode_snapshot(stream) == {"/": b""}


def test_snapshot_writes_missing_parents_before_their_children() -> None:
    stream = packets.encode_snapshot({"/a/b/c": b"1", "/a.x": b"2"})
    nodes = packets.decode_snapshot(stream)
    assert nodes == {"/": b"", "/a": b"", "/a.x": b"2", "/a/b": b"", "/a/b/c": b"1"}
    order = list(nodes)
    assert all(order.index(path.rpartition("/")[0] or "/") < order.index(path) for path in order[1:])
    assert stream.count(bytes(60)) == len(nodes), "each is written once"


def test_snapshot_with_bytes_behind_its_signature_is_refused() -> None:
    with pytest.raises(WireError, match="1 bytes too many"):
        packets.decode_snapshot(packets.encode_snapshot({}) + b"x")


def test_client_connect_request_has_44_or_45_bytes() -> None:
    data = bytes.fromhex("00000000 0000000000000000 00000fa0 0000000000000000 00000010") + bytes(16)
    assert len(data) == 44
    assert packets.decode_connect_request(data) == (0, 0, 4000, 0, bytes(16), None)
    assert packets.decode_connect_request(data + b"\1") == (0, 0, 4000, 0, bytes(16), True)


def test_connect_response_answers_read_only_only_when_asked() -> None:
    response = packets.encode_connect_response(4000, 7, bytes(16), None)
    assert response == bytes.fromhex("00000000 00000fa0 0000000000000007 00000010") + bytes(16)
    assert packets.encode_connect_response(4000, 7, bytes(16), False) == response + b"\0"
    assert packets.encode_connect_response(4000, 7, bytes(16), True) == response + b"\1"


@pytest.mark.parametrize("count", [-2, 3])
def test_a_vector_with_a_count_that_cannot_be_is_refused(count: int) -> None:
    """-1 is null, and an element takes at least one byte."""
    with pytest.raises(WireError, match=f"v has the unreasonable count {count}"):
        Reader(jute.int32(count) + b"ab", "record").vector("v", lambda reader: reader.take(1, "byte"))
    assert Reader(jute.int32(-1), "record").vector("v", lambda reader: reader.take(1, "byte")) == []
    assert Reader(jute.int32(2) + b"ab", "record").vector("v", lambda r: r.take(1, "byte")) == [b"a", b"b"]


def test_a_client_request_is_its_header_and_the_record_after_it() -> None:
    data = bytes.fromhex("00000007 00000001") + b"record"
    assert packets.decode_request_header(data) == (packets.RequestHeader(7, 1), b"record")
    assert packets.decode_request_header(data[:8]) == (packets.RequestHeader(7, 1), b"")


def test_a_reply_header_is_xid_zxid_and_error() -> None:
    assert packets.encode_reply_header(7, 0x100000002, -110) == bytes.fromhex("00000007 0000000100000002 ffffff92")


def test_stat_has_68_bytes() -> None:
    assert len(packets.encode_stat(Stat(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11))) == 68


@given(TXNS)
def test_a_txn_comes_back(txn: Txn) -> None:
    assert packets.decode_txn(packets.encode_txn(txn)) == txn


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=9), st.binary(max_size=9), INT32)
def test_create_requests_and_txns_come_back(path: str, data: bytes, number: int) -> None:
    request = CreateRequest(path, data, flags=number)
    assert packets.decode_create_request(packets.encode_create_request(request)) == request
    txn = CreateTxn(path, data, parent_cversion=number)
    assert packets.decode_create_txn(packets.encode_create_txn(txn)) == txn


@given(INT64, INT32, INT32, st.binary(max_size=9))
def test_a_request_comes_back(session: int, cxid: int, type_: int, payload: bytes) -> None:
    assert packets.decode_request(packets.encode_request(session, cxid, type_, payload)) == (
        session, cxid, type_, payload,
    )  # fmt: skip


DECODERS: list[Callable[[bytes], Any]] = [
    packets.decode_learner_info, packets.decode_int32, packets.decode_ping_sessions, packets.decode_txn,
    packets.decode_request, packets.decode_create_txn, packets.decode_error_txn, packets.decode_snapshot,
    packets.decode_connect_request, packets.decode_request_header, packets.decode_create_request, packets.decode_path,
]  # fmt: skip
GOOD = [
    packets.encode_learner_info(LearnerInfo(1, 2, 3)), packets.encode_ping_sessions({1: 2}),
    packets.encode_txn(Txn(1, 2, 3, 4, 5, b"6")), packets.encode_create_txn(CreateTxn("/a", b"b")),
    packets.encode_snapshot({"/a/b": b"c"}), packets.encode_create_request(CreateRequest("/a", b"b")),
]  # fmt: skip


@pytest.mark.parametrize("decode", DECODERS, ids=lambda decode: decode.__name__)
@given(
    data=st.one_of(
        st.binary(max_size=200), st.tuples(st.sampled_from(GOOD), st.integers(0, 250), st.binary(max_size=4))
    )
)
def test_garbage_gives_a_value_or_a_wire_error_and_nothing_else(decode: Callable[[bytes], Any], data: Any) -> None:
    if not isinstance(data, bytes):
        good, where, change = data
        data = good[:where] + change + good[where + len(change) + 1 :]
    with suppress(WireError):
        decode(data)
