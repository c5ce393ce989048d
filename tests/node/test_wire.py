"""The bytes of both ports, held against literal vectors (protocol.md sections 1.1, 1.5, 2, 5.1, 5.5) and garbage."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.protocol.messages import (
    NEWLEADER,
    PING,
    SNAP,
    InitialMessage,
    Message,
    Notification,
    QuorumPacket,
    SnapshotStream,
)
from node.wire import packets
from node.wire.frames import V1, V2, ElectionDecoder, QuorumDecoder, WireError, encode

CONFIG = (
    "server.1=127.0.0.1:22888:23888:participant\n"
    "server.2=127.0.0.1:22889:23889:participant\n"
    "server.3=127.0.0.1:22890:23890:participant\n"
    "version=0"
)
INT64 = st.integers(-(2**63), 2**63 - 1)
INT32 = st.integers(-(2**31), 2**31 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
HOSTS = st.sampled_from(["127.0.0.1", "n1", "db-3.example", "::1", "fe80::1%eth0"])
ADDRESSES = st.lists(st.tuples(HOSTS, st.integers(1, 65535)), min_size=1, max_size=3).map(tuple)
INITIALS = st.one_of(
    st.builds(InitialMessage, st.sampled_from([V1, V2]), st.integers(0, 2**63 - 1), ADDRESSES),
    st.builds(InitialMessage, st.just(0), st.integers(0, 2**63 - 1), st.just(())),
)
NOTIFICATIONS = st.builds(Notification, st.integers(0, 3), INT64, INT64, INT64, INT64, st.just(2), TEXT)
PACKETS = st.builds(
    QuorumPacket,
    st.integers(1, 19).filter(lambda type_: type_ != SNAP),
    INT64,
    st.one_of(st.none(), st.binary(max_size=80)),
)
PATHS = st.lists(st.text("abcé/", min_size=1, max_size=6).filter(lambda s: "/" not in s), max_size=3).map(
    lambda names: "/" + "/".join(names)
)
TREES = st.dictionaries(PATHS, st.binary(max_size=30), max_size=6)


def in_pieces(decoder: ElectionDecoder | QuorumDecoder, data: bytes, sizes: list[int]) -> list[Message]:
    messages: list[Message] = []
    while data:
        size = sizes.pop() if sizes else len(data)
        messages += decoder.feed(data[:size])
        data = data[size:]
    return messages


def test_initial_message_v1_has_the_bytes_of_quorum_cnx_manager() -> None:
    data = bytes.fromhex("ffffffffffff0000 0000000000000002 0000000e") + b"127.0.0.1:3889"
    message = InitialMessage(V1, 2, (("127.0.0.1", 3889),))
    assert encode(message) == data
    assert ElectionDecoder(expect_initial=True).feed(data) == [message]


def test_initial_message_v2_joins_addresses_and_brackets_ipv6() -> None:
    message = InitialMessage(V2, 3, (("::1", 3888), ("n3", 65535)))
    data = bytes.fromhex("ffffffffffff0001 0000000000000003 00000013") + b"[::1]:3888|n3:65535"
    assert encode(message) == data
    assert ElectionDecoder(True).feed(data) == [message]


def test_initial_message_of_a_3_4_server_is_its_sid_alone() -> None:
    assert ElectionDecoder(True).feed(bytes.fromhex("0000000000000007")) == [InitialMessage(0, 7, ())]
    assert encode(InitialMessage(0, 7, ())) == bytes.fromhex("0000000000000007")


def test_a_wildcard_address_is_dropped_as_zookeeper_2164_asks() -> None:
    data = bytes.fromhex("ffffffffffff0000 0000000000000002 0000000c") + b"0.0.0.0:3889"
    assert ElectionDecoder(True).feed(data) == [InitialMessage(V1, 2, ())]


def initial(version: int, sid: int, length: int, address: bytes) -> bytes:
    return (
        version.to_bytes(8, "big", signed=True)
        + sid.to_bytes(8, "big", signed=True)
        + (length.to_bytes(4, "big", signed=True) + address)
    )


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (initial(-1, 2, 5, b"n:123"), "unrecognized protocol version -1"),
        (initial(-65534, 2, 5, b"n:123"), "unrecognized protocol version -65534"),
        (initial(V1, 2, 0, b""), "unreasonable address length 0"),
        (initial(V1, 2, -1, b""), "unreasonable address length -1"),
        (initial(V1, 2, 2049, b""), "unreasonable address length 2049"),
        (initial(V1, -3, 5, b"n:123"), "sid -3 is negative"),
        (initial(V1, 2, 3, b"abc"), "badly formed address"),
        (initial(V1, 2, 5, b"n:x23"), "bad port number"),
        (initial(V1, 2, 7, b"n:70000"), "bad port number"),
        (initial(V1, 2, 3, b"n:0"), "bad port number"),
        (initial(V1, 2, 5, b":1234"), "badly formed address"),
        (initial(V1, 2, 8, b"::1:3888"), "badly formed address"),
        (initial(V1, 2, 6, "n:²345".encode()), "bad port number"),
        (initial(V1, 2, 6, b"n:123|"), "badly formed address"),
        (initial(V1, 2, 6, b"\xff:1234"), "not UTF-8"),
    ],
)
def test_a_bad_initial_message_is_refused_with_the_reason(data: bytes, says: str) -> None:
    decoder = ElectionDecoder(True)
    with pytest.raises(WireError, match=says):
        decoder.feed(data)
    with pytest.raises(WireError, match=says):
        decoder.feed(b"more")


def test_notification_of_3_8_has_44_bytes_and_its_config() -> None:
    message = Notification(0, 3, 0x100000002, 7, 1, 2, CONFIG)
    data = bytes.fromhex(
        "000000b6 00000000 0000000000000003 0000000100000002 0000000000000007 0000000000000001 00000002 0000008a"
    ) + (CONFIG.encode())
    assert len(data) == 186  # observed live, protocol.md section 2.4
    assert encode(message) == data
    assert ElectionDecoder(False).feed(data) == [message]


HEAD = "0000000000000000000000030000000500000002 0000000000000007"  # 28 bytes: LOOKING, leader 3, zxid, round 7


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (HEAD, Notification(0, 3, 0x500000002, 7, 5, 0, None)),
        (HEAD + "0000000000000004 00000001", Notification(0, 3, 0x500000002, 7, 4, 0, None)),
        (HEAD + "0000000000000004 00000009", Notification(0, 3, 0x500000002, 7, 4, 0, None)),
        (HEAD + "0000000000000004 00000001 00000000", Notification(0, 3, 0x500000002, 7, 4, 1, None)),
        (HEAD + "0000000000000004 00000002 00000000", Notification(0, 3, 0x500000002, 7, 4, 2, "")),
        (HEAD + "0000000000000004 00000002 00000001 61 6262", Notification(0, 3, 0x500000002, 7, 4, 2, "a")),
    ],
)
def test_older_and_longer_notifications_are_read_as_section_2_3_says(payload: str, message: Notification) -> None:
    data = bytes.fromhex(payload)
    assert ElectionDecoder(False).feed(len(data).to_bytes(4, "big") + data) == [message]


@pytest.mark.parametrize(
    "payload",
    [
        "00",
        HEAD[:-2],
        HEAD + "0000000000000004",  # 36 bytes: servers 3.4.0 to 3.4.5, refused by 3.5.8 and later
        HEAD + "0000000000000004 00000002 00",
        HEAD + "0000000000000004 00000002 00000005 61",
        HEAD + "0000000000000004 00000002 ffffffff",
        "00000004" + HEAD[8:],
    ],
)
def test_a_malformed_notification_is_refused(payload: str) -> None:
    data = bytes.fromhex(payload)
    with pytest.raises(WireError, match="notification"):
        ElectionDecoder(False).feed(len(data).to_bytes(4, "big") + data)


@pytest.mark.parametrize("length", [0, -1, 512 * 1024 + 1, 2**31 - 1, -(2**31)])
def test_a_frame_length_outside_512_kib_is_refused_before_its_bytes(length: int) -> None:
    with pytest.raises(WireError, match="frame length"):
        ElectionDecoder(False).feed(length.to_bytes(4, "big", signed=True))


def test_a_frame_of_512_kib_is_taken() -> None:
    message = Notification(0, 1, 0, 1, 0, 2, "x" * (512 * 1024 - 44))
    assert ElectionDecoder(False).feed(encode(message)) == [message]


def test_ping_without_data_has_the_20_bytes_of_section_5_1() -> None:
    data = bytes.fromhex("00000005 0000000100000000 ffffffff ffffffff")
    assert encode(QuorumPacket(PING, 0x100000000, None)) == data
    assert QuorumDecoder().feed(data) == [QuorumPacket(PING, 0x100000000, None)]


def test_followerinfo_has_the_bytes_of_a_learner() -> None:
    info = packets.encode_learner_info(packets.LearnerInfo(2, 0x10000, 0))
    data = bytes.fromhex("0000000b 0000000500000000 00000014 0000000000000002 00010000 0000000000000000 ffffffff")
    assert encode(QuorumPacket(11, 0x500000000, info)) == data


def test_authinfo_is_read_and_dropped() -> None:
    data = bytes.fromhex("0000000a 0000000100000000 00000000 00000001 00000001 61 00000002 6262")
    assert QuorumDecoder().feed(data + data) == [QuorumPacket(NEWLEADER, 0x100000000, b"")] * 2


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("00000000 0000000000000000 ffffffff", "unknown type 0"),
        ("00000014 0000000000000000 ffffffff", "unknown type 20"),
        ("ffffffff 0000000000000000 ffffffff", "unknown type -1"),
        ("00000005 0000000000000000 fffffffe", "unreasonable data length -2"),
        ("00000005 0000000000000000 001fffff", "unreasonable data length 2097151"),
        ("00000005 0000000000000000 ffffffff fffffffe", "authinfo count -2"),
        ("00000005 0000000000000000 ffffffff 00000011", "authinfo of 17 ids"),
        ("00000005 0000000000000000 ffffffff 00000001 7fffffff", "unreasonable length"),
        ("0000000f 0000000000000000 ffffffff ffffffff fffffff0", "session count"),
        ("0000000f 0000000000000000 ffffffff ffffffff 00000000 fffffff0", "ACL count"),
        ("0000000f 0000000000000000 ffffffff ffffffff 00000000 00000000 00200000", "node path"),
        ("0000000f 0000000000000000 ffffffff ffffffff 00000000 00000000 00000001 2f 00000001 42", "missing signature"),
    ],
)
def test_a_malformed_packet_is_refused_with_the_reason(data: str, says: str) -> None:
    decoder = QuorumDecoder()
    with pytest.raises(WireError, match=says):
        decoder.feed(bytes.fromhex(data))
    with pytest.raises(WireError, match=says):
        decoder.feed(b"")


def test_a_learner_may_not_send_a_snapshot() -> None:
    with pytest.raises(WireError, match="SNAP from a learner"):
        QuorumDecoder(expect_snapshot=False).feed(encode(QuorumPacket(SNAP, 1, None)))


def test_an_endless_snapshot_is_refused_at_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.wire.frames.MAX_SNAPSHOT", 1 << 16)
    decoder = QuorumDecoder()
    decoder.feed(encode(QuorumPacket(SNAP, 1, None)) + bytes.fromhex("7fffffff"))
    with pytest.raises(WireError, match="longer than 65536 bytes"):
        in_pieces(decoder, bytes(100 * 1024), [1024] * 100)


def test_a_real_snapshot_stream_is_cut_at_its_signature() -> None:
    """Sessions, an ACL and a node as ZooKeeper 3.8 writes them, then the next packet right behind."""
    stream = (
        bytes.fromhex("00000001 0100000000000001 00000fa0")
        + bytes.fromhex("00000001 0000000000000001 00000001 0000001f 00000005") + b"world"
        + bytes.fromhex("00000006") + b"anyone"
        + bytes.fromhex("00000000 ffffffff 0000000000000001") + bytes(60)
        + bytes.fromhex("00000002") + b"/a" + bytes.fromhex("00000003") + b"abc" + bytes.fromhex("ffffffffffffffff")
        + bytes(60)
        + bytes.fromhex("00000001") + b"/" + bytes.fromhex("0000000a") + b"BenWasHere"
    )  # fmt: skip
    after = QuorumPacket(NEWLEADER, 0x200000000, b"version=0")
    data = encode(QuorumPacket(SNAP, 0x100000005, None)) + stream + encode(after)
    expected = [QuorumPacket(SNAP, 0x100000005, None), SnapshotStream(0x100000005, stream), after]
    assert QuorumDecoder().feed(data) == expected
    assert in_pieces(QuorumDecoder(), data, [1] * len(data)) == expected
    assert packets.decode_snapshot(stream) == {"/": b"", "/a": b"abc"}


@given(st.none() | INITIALS, st.lists(NOTIFICATIONS, max_size=4), st.lists(st.integers(1, 70)))
def test_election_messages_come_back_from_any_pieces(
    first: InitialMessage | None, notifications: list[Notification], sizes: list[int]
) -> None:
    messages: list[Message] = [*([first] if first else []), *notifications]
    decoder = ElectionDecoder(first is not None)
    assert in_pieces(decoder, b"".join(map(encode, messages)), sizes) == messages
    assert not decoder.partial


@given(st.lists(st.one_of(PACKETS, TREES), max_size=4), st.lists(st.integers(1, 50)))
def test_quorum_messages_come_back_from_any_pieces(items: list[object], sizes: list[int]) -> None:
    messages: list[Message] = []
    for item in items:
        if isinstance(item, dict):
            messages += [QuorumPacket(SNAP, 9, None), SnapshotStream(9, packets.encode_snapshot(item))]
        else:
            assert isinstance(item, QuorumPacket)
            messages.append(item)
    decoder = QuorumDecoder()
    assert in_pieces(decoder, b"".join(map(encode, messages)), sizes) == messages
    assert not decoder.partial


@given(st.booleans(), st.binary(max_size=300), st.lists(st.integers(1, 50)))
def test_garbage_gives_messages_or_a_wire_error_and_nothing_else(first: bool, data: bytes, sizes: list[int]) -> None:
    for decoder in (ElectionDecoder(first), QuorumDecoder(), QuorumDecoder(False)):
        with suppress(WireError):
            in_pieces(decoder, data, list(sizes))


@given(
    st.one_of(INITIALS, NOTIFICATIONS, PACKETS, TREES.map(lambda t: SnapshotStream(1, packets.encode_snapshot(t)))),
    st.data(),
)
def test_a_damaged_message_gives_messages_or_a_wire_error_and_nothing_else(
    message: Message, data: st.DataObject
) -> None:
    """Nearer to the truth than garbage: a good message with a byte changed or cut out."""
    raw = bytearray(encode(message))
    if isinstance(message, SnapshotStream):
        raw[:0] = encode(QuorumPacket(SNAP, 1, None))
    where = data.draw(st.integers(0, len(raw) - 1))
    raw[where : where + data.draw(st.integers(0, 1))] = bytes([data.draw(st.integers(0, 255))])
    election = not isinstance(message, (QuorumPacket, SnapshotStream))
    decoder = ElectionDecoder(isinstance(message, InitialMessage)) if election else QuorumDecoder()
    with suppress(WireError):
        decoder.feed(bytes(raw))
