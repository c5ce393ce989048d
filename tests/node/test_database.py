"""The log and the committed tree (node/protocol/database.py)."""

from __future__ import annotations

from node.protocol.database import Database
from node.protocol.events import Durable
from node.protocol.messages import Txn
from node.wire import packets
from tests.node.probe import durable, txn, z

LOG = (z(1, 1), z(1, 2), z(2, 1))


def test_what_is_logged_is_applied_when_it_is_committed() -> None:
    database = Database(durable(2, 2, *LOG))
    assert (database.last_zxid, database.committed_zxid, set(database.nodes)) == (z(2, 1), 0, {"/"})
    assert [t.zxid for t in database.commit(z(1, 2))] == [z(1, 1), z(1, 2)]
    assert database.commit(z(1, 2)) == []
    assert set(database.nodes) == {"/", f"/{z(1, 1):x}", f"/{z(1, 2):x}"}


def test_points_of_the_history() -> None:
    nodes = packets.encode_snapshot({"/": b"", "/s": b""})
    database = Database(Durable(2, 2, z(1, 5), nodes, (txn(z(2, 1)), txn(z(2, 2)))))
    assert [database.has(x) for x in (z(1, 4), z(1, 5), z(2, 0), z(2, 1), z(9, 9))] == [False, True, False, True, False]
    assert [database.floor(x) for x in (z(1, 4), z(1, 9), z(2, 1), z(9, 9))] == [None, z(1, 5), z(2, 1), z(2, 2)]
    assert [t.zxid for t in database.after(z(2, 1))] == [z(2, 2)]


def test_a_leader_that_takes_back_what_was_committed_is_obeyed() -> None:
    """Only one with a planted bug does; the checkers must see what comes of it, not a server that broke down."""
    database = Database(durable(2, 2, *LOG))
    database.commit(z(2, 1))
    database.truncate(z(1, 1))
    assert set(database.nodes) == {"/", f"/{z(1, 1):x}"}
    assert (database.last_zxid, database.committed_zxid, database.applied) == (z(1, 1), z(1, 1), 1)


def test_a_compacted_log_goes_on_from_its_snapshot() -> None:
    database = Database(durable(2, 2, *LOG))
    database.commit(z(2, 1))
    nodes = dict(database.nodes)
    database.compact(2)
    assert (database.snapshot_zxid, database.zxids, database.applied) == (z(1, 2), [z(2, 1)], 1)
    assert (set(database.base), database.nodes) == (nodes.keys() - {f"/{z(2, 1):x}"}, nodes)
    database.append((txn(z(2, 2)),))
    database.commit(z(2, 2))
    assert set(database.nodes) == {*nodes, f"/{z(2, 2):x}"}
    assert database.floor(z(1, 1)) is None


def test_every_kind_of_transaction_is_passed_or_applied_alike() -> None:
    path = packets.encode_path("/a")
    data, null = path + b"\0\0\0\1y" + b"\0\0\0\1", path + b"\xff\xff\xff\xff" + b"\0\0\0\2"
    kinds = [
        (packets.CREATE, packets.encode_create_txn(packets.CreateTxn("/a", b"x")), {"/": b"", "/a": b"x"}),
        (packets.SET_DATA, data, {"/": b"", "/a": b"y"}),
        (packets.CREATE_SESSION, packets.encode_int32(4000), {"/": b"", "/a": b"y"}),
        (packets.ERROR, packets.encode_error_txn(-110), {"/": b"", "/a": b"y"}),
        (packets.CREATE, b"garbage", {"/": b"", "/a": b"y"}),
        (packets.SET_DATA, null, {"/": b"", "/a": b""}),
        (packets.DELETE, path, {"/": b""}),
        (packets.DELETE, path, {"/": b""}),
    ]
    database = Database(durable(0, 0))
    for counter, (kind, record, expected) in enumerate(kinds, 1):
        database.append((Txn(z(1, counter), 1, counter, 0, kind, record),))
        database.commit(z(1, counter))
        assert database.nodes == expected
