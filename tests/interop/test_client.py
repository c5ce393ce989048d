"""The client against real ZooKeeper 3.8.0."""

from __future__ import annotations

import signal

import pytest

from harness.workloads.base import Failed, Unknown
from harness.workloads.zookeeper import NO_NODE, NODE_EXISTS
from tests.ensembles import Servers


def test_what_is_created_through_one_server_is_read_through_another(zookeeper: Servers) -> None:
    with zookeeper.client("n1") as one, zookeeper.client("n2") as two:
        assert one.create("/client", b"parent") == "/client"
        for name in ("a", "b"):
            one.create(f"/client/{name}", name.encode())
        two.sync("/client")
        assert sorted(two.get_children("/client")) == ["a", "b"]
        assert two.get_data("/client/b") == b"b"
        stat = two.exists("/client/a")
        assert stat is not None
        assert stat.czxid == stat.mzxid > 0
        assert stat.version == 0
        assert two.last_zxid >= stat.czxid
        two.ping()


def test_what_zookeeper_refuses_surely_did_not_happen(zookeeper: Servers) -> None:
    with zookeeper.client("n3") as client:
        client.create("/refused", b"")
        with pytest.raises(Failed) as twice:
            client.create("/refused", b"")
        assert twice.value.code == NODE_EXISTS
        with pytest.raises(Failed) as orphan:
            client.create("/no-such-parent/child", b"")
        assert orphan.value.code == NO_NODE
        assert client.exists("/no-such-parent") is None
        with pytest.raises(Failed):
            client.create("not a path", b"")


def test_a_stopped_server_leaves_a_write_unknown_within_the_deadline(zookeeper: Servers) -> None:
    with zookeeper.client("n1") as client:
        zookeeper.kill("n1", signal.SIGSTOP)
        try:
            with pytest.raises(Unknown):
                client.create("/stopped", b"", deadline_s=0.5)
            assert not client.usable
        finally:
            zookeeper.kill("n1", signal.SIGCONT)
    zookeeper.wait_until_all_serve()


def test_four_letter_words_answer(zookeeper: Servers) -> None:
    zookeeper.wait_until_all_serve()
    assert zookeeper.ask("n1", "ruok") == "imok"
    assert "Mode: " in zookeeper.ask("n1", "srvr")
    assert sorted(zookeeper.states().values()) == ["following - broadcast"] * 2 + ["leading - broadcast"]
