"""One ensemble of two real ZooKeeper 3.8.0 servers and one of ours (protocol sections 1, 2, 3 and 5).

Each test is a story, since every start of a JVM costs a second: servers come and go in the orders that matter, and
after each change the ZooKeeper logs and our events must agree on who leads, and on whose votes it was elected.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.zkclient import Client
from tests.ensembles import Servers

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
    # All at once, all empty: the largest sid wins, and ZooKeeper voted for it.
    largest.start()
    assert largest.wait_until_all_serve() == "n3"
    took_our_vote(largest, "n1", of=3)
    term = our_last_term(largest, "n3")
    assert set(term["evidence"]["votes"]) >= {3}
    assert len(term["evidence"]["votes"]) >= 2, "a quorum, so at least one of ZooKeeper's votes"
    writes_reach_everybody(largest, "/ours-leads")

    # Ours goes: the two ZooKeeper servers elect.  Ours comes back to an established leader.
    largest.kill("n3")
    leader = largest.wait_until_all_serve("n1", "n2")
    largest.start("n3")
    assert largest.wait_until_all_serve() == leader
    follows(largest, "n3", leader)
    writes_reach_everybody(largest, "/zookeeper-leads")

    # The ZooKeeper leader goes: ours and the other have the same history, and ours has the larger sid.
    other = {"n1": "n2", "n2": "n1"}[leader]
    largest.kill(leader)
    assert largest.wait_until_all_serve("n3", other) == "n3"
    took_our_vote(largest, other, of=3)

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
    took_our_vote(smallest, "n2", of=1)
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
    took_our_vote(smallest, "n2", of=1)
    assert set(our_last_term(smallest, "n1")["evidence"]["votes"]) == {1, 2}
    with smallest.client("n2") as client:
        client.sync("/")
        assert client.exists("/n2-is-missing") is not None, "our leader synchronised ZooKeeper's history"
    writes_reach_everybody(smallest, "/ours-leads", "n1", "n2")

    # Ours ends in good order: the others elect at once.
    smallest.start("n3")
    smallest.wait_until_all_serve()
    smallest.kill("n1")
    smallest.wait_until_all_serve("n2", "n3")


def took_our_vote(servers: Servers, host: str, of: int) -> None:
    """ZooKeeper's log shows that a notification of ours arrived while it was looking for a leader."""
    log = servers.log(host)
    assert f"my state:LOOKING; n.sid:{of}, n.state:LOOKING, n.leader:" in log
    assert "Exception" not in "".join(
        line for line in log.splitlines() if f"RecvWorker:{of}" in line and "ERROR" in line
    )


def states(servers: Servers, host: str) -> list[dict[str, Any]]:
    return [op["value"] for op in servers.events(host) if op["f"] == "state"]


def our_last_term(servers: Servers, host: str) -> dict[str, Any]:
    """The op in which our server was last established."""
    terms = [
        value
        for before, value in zip([{}, *states(servers, host)], states(servers, host), strict=False)
        if value["established"] and not before.get("established")
    ]
    return terms[-1]


def follows(servers: Servers, ours: str, leader: str) -> None:
    """Our events say that we follow that leader in broadcast, elected by votes that ZooKeeper cast."""
    sid = servers.places[leader].sid
    last = states(servers, ours)[-1]
    assert (last["role"], last["phase"], last["leader"]) == ("FOLLOWING", "broadcast", sid)
    elected = [value for value in states(servers, ours) if "votes" in value["evidence"]][-1]
    votes = elected["evidence"]["votes"]
    assert str(sid) in votes
    assert len(votes) >= 2
    assert last["accepted_epoch"] == last["current_epoch"] == last["epoch"]


def writes_reach_everybody(servers: Servers, path: str, *hosts: str) -> None:
    """A write through each server is committed, and read through every other after a sync."""
    hosts = hosts or servers.hosts
    clients: dict[str, Client] = {host: servers.client(host) for host in hosts}
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
