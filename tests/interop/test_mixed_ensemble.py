"""One ensemble of two real ZooKeeper 3.8.0 servers and one of ours (protocol sections 1, 2, 3 and 5).

Each test is a story, since every start of a JVM costs a second: servers come and go in the orders that matter, and
after each change the ZooKeeper logs and our events must agree on who leads, and on whose votes it was elected.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.workloads.base import Unknown
from harness.workloads.zookeeper import ZooKeeperClient
from tests.ensembles import SETTINGS, Servers

OURS, ZOOKEEPER = "onethrone", "zookeeper"


@pytest.fixture
def largest(tmp_path: Path) -> Iterator[Servers]:
    """Ours is n3, with the largest sid."""
    with Servers(tmp_path, {"n1": ZOOKEEPER, "n2": ZOOKEEPER, "n3": OURS}) as servers:
        yield servers


@pytest.fixture
def smallest(tmp_path: Path) -> Iterator[Servers]:
    """Ours is n1, with the smallest sid."""
    with Servers(tmp_path, {"n1": OURS, "n2": ZOOKEEPER, "n3": ZOOKEEPER}) as servers:
        yield servers


def test_ours_with_the_largest_sid_leads_joins_and_leads_again(largest: Servers) -> None:
    # Two empty servers, together: the larger sid wins, by both votes.  The third finds a leader.
    largest.start("n1", "n3")
    assert largest.wait_until_all_serve("n1", "n3") == "n3"
    assert set(last_election(largest, "n1")) == {"1", "3"}, "ZooKeeper took our vote"
    assert set(last_election(largest, "n3")) == {"1", "3"}, "ours took ZooKeeper's"
    largest.start("n2")
    assert largest.wait_until_all_serve() == "n3"
    writes_reach_everybody(largest, "/ours-leads")

    # Ours goes: the two ZooKeeper servers elect.  Ours comes back to an established leader.
    largest.kill("n3")
    leader = largest.wait_until_all_serve("n1", "n2")
    largest.start("n3")
    assert largest.wait_until_all_serve() == leader
    follows(largest, "n3", leader)
    a_client_of_ours_outlives_its_time_out(largest, "n3")
    writes_reach_everybody(largest, "/zookeeper-leads")

    # The ZooKeeper leader goes: ours and the other have the same history, and ours has the larger sid.
    other = {"n1": "n2", "n2": "n1"}[leader]
    largest.kill(leader)
    assert largest.wait_until_all_serve("n3", other) == "n3"
    assert last_election(largest, other)["3"]["state"] == "LOOKING", "ZooKeeper took the vote of this election"
    assert set(last_election(largest, "n3")) == {"3", other[1:]}

    # A ZooKeeper server joins an ensemble that ours leads.
    writes_reach_everybody(largest, "/one-is-missing", "n3", other)
    largest.start(leader)
    assert largest.wait_until_all_serve() == "n3"
    writes_reach_everybody(largest, "/ours-leads-again")


def test_ours_with_the_smallest_sid_follows_and_leads_when_its_history_is_longer(smallest: Servers) -> None:
    # Ours waits alone; the second to start has the larger sid and wins; the third finds a leader.
    smallest.start("n1")
    smallest.wait_for("ours to vote for itself", lambda: [op for op in states(smallest, "n1") if op["vote"]])
    smallest.start("n2")
    assert smallest.wait_until_all_serve("n1", "n2") == "n2"
    assert set(last_election(smallest, "n2")) == {"1", "2"}, "without our vote n2 has no quorum"
    follows(smallest, "n1", "n2")
    smallest.start("n3")
    assert smallest.wait_until_all_serve() == "n2"
    writes_reach_everybody(smallest, "/zookeeper-leads")

    # n2 misses a write; when the leader is gone too, ours has the longer history than n2, and wins by zxid.
    smallest.kill("n2")
    assert smallest.wait_until_all_serve("n1", "n3") == "n3"
    follows(smallest, "n1", "n3")
    writes_reach_everybody(smallest, "/n2-is-missing", "n1", "n3")
    smallest.kill("n3")
    smallest.start("n2")
    assert smallest.wait_until_all_serve("n1", "n2") == "n1"
    assert last_election(smallest, "n2")["1"]["state"] == "LOOKING"
    assert set(last_election(smallest, "n1")) == {"1", "2"}
    with smallest.client("n2") as client:
        client.sync("/")
        assert client.exists("/n2-is-missing") is not None, "our leader synchronised ZooKeeper's history"
    writes_reach_everybody(smallest, "/ours-leads", "n1", "n2")

    # Ours ends in good order: the others elect at once.
    smallest.start("n3")
    smallest.wait_until_all_serve()
    smallest.kill("n1")
    smallest.wait_until_all_serve("n2", "n3")


@pytest.mark.parametrize(
    ("systems_by_host", "sync"),
    [
        ({"n1": ZOOKEEPER, "n2": OURS, "n3": ZOOKEEPER}, "TRUNC from ours to ZooKeeper"),
        ({"n1": ZOOKEEPER, "n2": ZOOKEEPER, "n3": OURS}, "TRUNC from ZooKeeper to ours"),
    ],
    ids=["ours-leads", "zookeeper-leads"],
)
def test_what_only_a_dead_leader_had_logged_is_taken_back(
    tmp_path: Path, systems_by_host: dict[str, str], sync: str
) -> None:
    def is_logged() -> bool:
        data = servers.directories["n3"] / "data"
        return any(b"/logged-by-n3-alone" in path.read_bytes() for path in data.rglob("*") if path.is_file())

    # The followers are stopped, then killed: what the leader sent them is never read.  It notices after syncLimit.
    settings = msgspec.structs.replace(SETTINGS, sync_limit=40)
    with Servers(tmp_path, systems_by_host, settings) as servers:
        servers.start("n1", "n3")
        assert servers.wait_until_all_serve("n1", "n3") == "n3"
        servers.start("n2")
        assert servers.wait_until_all_serve() == "n3"
        with servers.client("n3") as client:
            client.create("/committed", b"")
            wait_for_one_history(servers, servers.hosts)
            for follower in ("n1", "n2"):
                servers.kill(follower, signal.SIGSTOP)
            with pytest.raises(Unknown):
                client.create("/logged-by-n3-alone", b"", deadline_s=0.5)
            servers.wait_for("the leader's log to have it", is_logged)
        for host in servers.hosts:
            servers.kill(host)
        servers.start("n1", "n2")
        assert servers.wait_until_all_serve("n1", "n2") == "n2"
        servers.start("n3")
        assert servers.wait_until_all_serve() == "n2"
        if systems_by_host["n3"] == ZOOKEEPER:
            assert "Truncating log to get in sync with the leader" in servers.log("n3"), sync
        else:
            assert "TRUNC" in servers.log("n3"), sync
        writes_reach_everybody(servers, "/afterwards")
        for host in servers.hosts:
            with servers.client(host) as client:
                client.sync("/")
                assert client.exists("/committed") is not None
                assert client.exists("/logged-by-n3-alone") is None


@pytest.mark.parametrize("observer", [OURS, ZOOKEEPER])
def test_an_observer_of_the_other_system_hears_what_is_committed(tmp_path: Path, observer: str) -> None:
    with Servers(tmp_path, {"n1": ZOOKEEPER, "n2": OURS, "n3": observer}, observers=("n3",)) as servers:
        servers.start()
        assert servers.wait_until_all_serve() == "n2"
        assert servers.peer_state("n3") == "observing - broadcast"
        writes_reach_everybody(servers, "/through-an-observer")


def a_client_of_ours_outlives_its_time_out(servers: Servers, ours: str) -> None:
    """ZooKeeper's leader ends a session that nobody names to it; our PING replies name those of our clients."""
    with ZooKeeperClient.connect(servers.connect(ours), 10, session_timeout_ms=1000) as client:
        assert client.session_timeout_ms == 1000
        end = time.monotonic() + 3 * client.session_timeout_ms / 1000
        while time.monotonic() < end:
            client.ping()
            time.sleep(0.2)
        client.create("/outlived", b"")


def last_election(servers: Servers, host: str) -> dict[str, Any]:
    """The votes by which this server's newest election was decided, as it says itself: of ours the event, of ZooKeeper
    what its log says of the notifications that it took."""
    decided = [value for value in states(servers, host) if isinstance(value["evidence"].get("votes"), dict)]
    votes: dict[str, Any] = decided[-1]["evidence"]["votes"]
    return votes


def states(servers: Servers, host: str) -> list[dict[str, Any]]:
    return [op["value"] for op in servers.events(host) if op["f"] == "state"]


def follows(servers: Servers, ours: str, leader: str) -> None:
    """Our events say that we follow that leader in broadcast, elected by votes that ZooKeeper cast."""
    sid = servers.places[leader].sid
    last = states(servers, ours)[-1]
    assert (last["role"], last["phase"], last["leader"]) == ("FOLLOWING", "broadcast", sid)
    votes = last_election(servers, ours)
    assert str(sid) in votes
    assert len(votes) >= 2
    assert last["accepted_epoch"] == last["current_epoch"] == last["epoch"]


def writes_reach_everybody(servers: Servers, path: str, *hosts: str) -> None:
    """A write through each server is committed, and read through every other after a sync."""
    hosts = hosts or servers.hosts
    clients: dict[str, ZooKeeperClient] = {host: servers.client(host) for host in hosts}
    try:
        clients[hosts[0]].create(path, b"")
        for host, client in clients.items():
            client.sync("/")
            client.create(f"{path}/{host}", host.encode())
        for client in clients.values():
            client.sync("/")
            assert sorted(client.get_children(path)) == sorted(hosts)
            assert [client.get_data(f"{path}/{host}") for host in hosts] == [host.encode() for host in hosts]
    finally:
        for client in clients.values():
            client.close()
    wait_for_one_history(servers, hosts)


def wait_for_one_history(servers: Servers, hosts: Sequence[str]) -> None:
    """Until all have applied the same: who wins the next election is then a matter of the sid."""

    def zxids() -> set[str]:
        return {servers.ask(host, "srvr").partition("Zxid: ")[2].partition("\n")[0] for host in hosts}

    servers.wait_for("one zxid everywhere", lambda: len(zxids()) == 1 and "" not in zxids())
