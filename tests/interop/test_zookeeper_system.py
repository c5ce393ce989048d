"""Real ZooKeeper's log, translated: it must say what the servers did, in time, and nothing else."""

from __future__ import annotations

import signal
import time
from typing import Any

from harness.systems.base import Ensemble, Place, Said
from harness.systems.zookeeper.log import ZooKeeperLog
from harness.systems.zookeeper.settings import ZooKeeperSettings
from harness.systems.zookeeper.system import ZooKeeper
from tests.ensembles import Servers

PLACES = {f"n{sid}": Place(f"n{sid}", sid, f"10.0.0.{sid}", "/run") for sid in range(1, 6)}


def test_a_lost_quorum_and_the_next_epoch_are_in_the_log_with_their_evidence(zookeeper: Servers) -> None:
    first = zookeeper.wait_until_all_serve()
    with zookeeper.client(first) as client:
        client.create("/before-the-leader-is-killed", b"")
    before = time.time_ns()
    zookeeper.kill(first)
    second = zookeeper.wait_for("the next leader", zookeeper.leader)
    # It leads before its log says so.
    zookeeper.wait_for("the log of it", lambda: [host for _, host, _ in established(zookeeper)][-1] == second)
    after = time.time_ns()
    terms = established(zookeeper)
    epochs = [value["epoch"] for _, _, value in terms]
    assert epochs == sorted(set(epochs)), "one leader per epoch, in order"
    wall_ns, _, value = terms[-1]
    assert before - 1_000_000 <= wall_ns <= after + 1_000_000
    survivors = {zookeeper.places[host].sid for host in zookeeper.hosts if host != first}
    assert set(value["evidence"]["votes"]) == survivors
    assert set(value["evidence"]["acked_zxids"]) | set(value["evidence"]["epoch_acks"]) == {str(s) for s in survivors}
    assert value["current_epoch"] == value["accepted_epoch"] == value["epoch"]
    own_epoch, own_zxid = value["evidence"]["own"]
    assert own_epoch == value["epoch"] - 1
    assert own_zxid >> 32 == own_epoch

    zookeeper.start(first)
    zookeeper.wait_until_all_serve()
    zookeeper.wait_for("the log of it", lambda: states(zookeeper, first)[-1]["value"]["phase"] == "broadcast")
    back = zookeeper.events(first)
    begin = max(n for n, op in enumerate(back) if op["f"] == "started") + 1
    assert back[begin]["value"]["reason"] == "the server started"
    assert (back[begin]["value"]["role"], back[begin]["value"]["accepted_epoch"]) == ("LOOKING", None)
    last = back[-1]["value"]
    assert (last["role"], last["phase"], last["leader"]) == ("FOLLOWING", "broadcast", zookeeper.places[second].sid)
    assert (last["epoch"], last["accepted_epoch"], last["current_epoch"]) == (value["epoch"],) * 3

    others = [host for host in zookeeper.hosts if host != second]
    for host in others:
        zookeeper.kill(host, signal.SIGSTOP)
    try:
        zookeeper.wait_for("the leader to step down", lambda: zookeeper.peer_state(second) == "")
    finally:
        for host in others:
            zookeeper.kill(host, signal.SIGCONT)

    def steps_down() -> list[Any]:
        return [op["value"] for op in states(zookeeper, second) if op["value"]["reason"].startswith("Not suffic")]

    # It steps down before its log says so.
    down = zookeeper.wait_for("the log of it", steps_down)[-1]
    assert (down["role"], down["established"], down["epoch"]) == ("LOOKING", False, None)
    assert down["reason"].endswith(f"only synced with sids: [ [{zookeeper.places[second].sid}] ]")
    zookeeper.wait_until_all_serve()


def states(servers: Servers, host: str) -> list[dict[str, Any]]:
    return [op for op in servers.events(host) if op["f"] == "state"]


def established(servers: Servers) -> list[tuple[int, str, dict[str, Any]]]:
    """The first op of each established term: wall time, host, value; in time's order."""
    found = []
    for host in servers.hosts:
        was = False
        for op in states(servers, host):
            if op["value"]["established"] and not was:
                found.append((op["wall_ns"], host, op["value"]))
            was = op["value"]["established"]
    return sorted(found, key=lambda term: term[0])


def test_every_file_of_a_member_names_the_whole_ensemble() -> None:
    ensemble = Ensemble(PLACES, observers=("n5",), groups=(("n1", "n2"), ("n3", "n4")), weights={"n1": 2})
    files = ZooKeeper(ZooKeeperSettings(tick_ms=250), ensemble).files("n5")
    lines = files["zoo.cfg"].decode().splitlines()
    assert "tickTime=250" in lines
    assert "server.1=10.0.0.1:2888:3888:participant" in lines
    assert "server.5=10.0.0.5:2888:3888:observer" in lines
    assert {"group.1=1:2", "group.2=3:4", "weight.1=2"} <= set(lines)
    assert files["data/myid"] == b"5\n"
    assert "dataDir=/run/data" in lines


def test_a_line_carries_its_time_to_the_millisecond_and_others_give_nothing() -> None:
    log = ZooKeeperLog(ZooKeeperSettings(), Ensemble(PLACES), "n1")
    note = (
        "2026-11-23 23:06:17,049 [myid:1] - INFO  [WorkerReceiver[myid=1]:FastLeaderElection] - Notification: "
        "my state:LOOKING; n.sid:1, n.state:LOOKING, n.leader:1, n.round:0x1, n.peerEpoch:0xa, n.zxid:0xa0000000f, "
        "message format version:0x2, n.config version:0x0"
    )
    (said,) = log.read(note)
    assert isinstance(said, Said)
    assert (said.at.wall_ns, said.at.error_ns) == (1795475177_049_500_000, 500_000)
    assert said.more["vote"] == {"leader": 1, "zxid": 0xA0000000F, "round": 1, "epoch": 10}
    assert (said.more["current_epoch"], said.more["last_zxid"]) == (10, 0xA0000000F)
    assert list(log.read(note)) == [], "nothing changed"
    for line in (
        "",
        "java.io.EOFException",
        "\tat java.base/x",
        "garbage \x00\xff",
        note[:80],
        "2026-99-99 " + note[11:],
    ):
        assert list(log.read(line)) == []
