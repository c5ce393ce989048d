"""Servers as processes on loopback: they elect, serve, die, come back, and stop when they are told to."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.workloads.base import Failed, Unknown
from harness.workloads.zookeeper import ZooKeeperClient
from node.agent.agent import Agent, EventsFile
from node.agent.journal import Journal, JournalStep, Start, digest, read, repeat
from node.agent.storage import Storage
from node.config import Config, Member
from node.protocol.events import Accepted, Event, Received
from node.protocol.messages import InitialMessage
from node.protocol.server import Server
from node.wire import packets
from node.wire.frames import V1, encode
from tests.addresses import network
from tests.ensembles import Servers

THREE = dict.fromkeys(("n1", "n2", "n3"), "onethrone")
DEADLINE_S = 90.0


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with Servers(tmp_path_factory.mktemp("three"), THREE) as servers:
        servers.start()
        servers.wait_until_all_serve()
        yield servers


def test_a_new_leader_serves_after_kill_9_and_the_killed_server_rejoins(three: Servers) -> None:
    leader = three.wait_until_all_serve()
    followers = [host for host in three.hosts if host != leader]
    with three.client(followers[0]) as client:
        client.create("/before", b"1")
    three.kill(leader)
    three.wait_for("another leader", lambda: three.leader() in followers)
    three.wait_until_all_serve(*followers)
    with three.client(followers[1]) as client:
        client.sync("/")
        assert client.get_data("/before") == b"1"
        client.create("/after", b"2")
    three.start(leader)
    three.wait_until_all_serve()
    with three.client(leader) as client:
        client.sync("/")
        assert (client.get_data("/before"), client.get_data("/after")) == (b"1", b"2")
        assert set(client.get_children("/")) >= {"before", "after"}


def test_what_was_acknowledged_outlives_kill_9_of_all_servers_at_once(three: Servers) -> None:
    three.wait_until_all_serve()
    with three.client("n2") as client:
        for number in range(20):
            client.create(f"/outlives-{number}", b"%d" % number)
    for host in three.hosts:
        three.processes[host].kill()
    for host in three.hosts:
        three.kill(host)
    three.start()
    three.wait_until_all_serve()
    for host in three.hosts:
        with three.client(host) as client:
            client.sync("/")
            assert [client.get_data(f"/outlives-{number}") for number in range(20)] == [b"%d" % n for n in range(20)]


def test_clients_are_told_what_zookeeper_tells_them(three: Servers) -> None:
    leader = three.wait_until_all_serve()
    for host in (leader, next(host for host in three.hosts if host != leader)):
        with three.client(host) as client:
            path = f"/told-by-{host}"
            assert client.create(path, b"x") == path
            assert client.get_data(path) == b"x"
            assert client.exists(path) is not None
            assert client.exists("/absent") is None
            client.create(path + "/child", b"")
            assert client.get_children(path) == ["child"]
            client.ping()
            with pytest.raises(Failed) as caught:
                client.create(path, b"y")
            assert caught.value.code == packets.NODE_EXISTS
            with pytest.raises(Failed) as caught:
                client.create("/absent/child", b"y")
            assert caught.value.code == packets.NO_NODE
            with pytest.raises(Failed) as caught:
                client.get_data("/absent")
            assert caught.value.code == packets.NO_NODE


def frame(record: bytes) -> bytes:
    return struct.pack(">i", len(record)) + record


def raw(servers: Servers, host: str) -> socket.socket:
    return socket.create_connection((servers.places[host].address, servers.client_port), DEADLINE_S)


def receive(connection: socket.socket, count: int) -> list[bytes]:
    """That many frames, or those that came before the end."""
    file = connection.makefile("rb")
    frames: list[bytes] = []
    while len(frames) < count and len(head := file.read(4)) == 4:
        frames.append(file.read(struct.unpack(">i", head)[0]))
    return frames


CONNECT = struct.pack(">iqiqi16s", 0, 0, 4000, 0, 16, bytes(16))


def test_pipelined_requests_are_answered_in_order_and_a_read_sees_the_write_before_it(three: Servers) -> None:
    """Rule 3 of client_port.py; the connect request has 44 bytes here, without the flag for reading only."""
    three.wait_until_all_serve()
    with raw(three, "n1") as connection:
        requests = b""
        for number in range(200):
            path = f"/pipelined-{number}"
            requests += frame(
                struct.pack(">ii", 2 * number, packets.CREATE2)
                + packets.encode_create_request(packets.CreateRequest(path, b"data"))
            )
            get = struct.pack(">ii", 2 * number + 1, packets.GET_DATA) + packets.encode_path(path) + b"\0"
            requests += frame(get)
        connection.sendall(frame(CONNECT) + requests + frame(struct.pack(">ii", 400, packets.CLOSE_SESSION)))
        greeting, *replies = receive(connection, 402)
        assert len(greeting) == 36
        headers = [struct.unpack_from(">iqi", reply) for reply in replies]
        assert [header[0] for header in headers] == list(range(401))
        assert {header[2] for header in headers} == {0}
        assert all(reply[16:24] == b"\0\0\0\4data" for reply in replies[1:400:2])
        assert len(replies[0]) == 16 + 4 + len("/pipelined-0") + 68
        assert receive(connection, 1) == []


def test_unknown_requests_and_flags_are_unimplemented_and_an_old_session_has_expired(three: Servers) -> None:
    three.wait_until_all_serve()
    with raw(three, "n2") as connection:
        ephemeral = packets.encode_create_request(packets.CreateRequest("/e", b"", flags=1))
        requests = [struct.pack(">ii", 1, 104), struct.pack(">ii", 2, packets.CREATE) + ephemeral]
        requests += [struct.pack(">ii", 3, packets.GET_DATA) + b"\0\0", struct.pack(">ii", 4, packets.CREATE) + b"?"]
        connection.sendall(b"".join(map(frame, [CONNECT + b"\0", *requests])))
        greeting, *replies = receive(connection, 5)
        assert len(greeting) == 37
        assert [struct.unpack(">iqi", reply)[::2] for reply in replies] == [(1, -6), (2, -6), (3, -5), (4, -5)]
    with raw(three, "n2") as connection:
        connection.sendall(frame(struct.pack(">iqiqi16s", 0, 0, 4000, 77, 16, bytes(16))))
        assert receive(connection, 2) == [struct.pack(">iiqi16s", 0, 0, 0, 16, bytes(16))]


def test_four_letter_words_of_a_serving_ensemble(three: Servers) -> None:
    leader = three.wait_until_all_serve()
    follower = next(host for host in three.hosts if host != leader)
    assert three.ask(leader, "ruok") == "imok"
    assert three.ask(leader, "isro") == "rw"
    srvr = three.ask(leader, "srvr")
    assert srvr.startswith("Zookeeper version: 3.8.0")
    assert "Mode: leader\n" in srvr
    assert "Mode: follower\n" in three.ask(follower, "stat")
    assert "Clients:\n /127." in three.ask(follower, "stat")
    mntr = dict(line.split("\t") for line in three.ask(leader, "mntr").splitlines())
    assert mntr["zk_server_state"] == "leader"
    assert mntr["zk_peer_state"] == "leading - broadcast"
    assert (mntr["zk_learners"], mntr["zk_synced_followers"], mntr["zk_quorum_size"]) == ("2", "2", "3")
    conf = three.ask(follower, "conf").splitlines()
    assert f"serverId={three.places[follower].sid}" in conf
    assert conf[-1] == "version=0"
    assert json.loads(three.ask(leader, "clck")).keys() == {"monotonic_ns", "wall_ns"}


def test_a_lone_server_does_not_serve_and_says_so_and_its_clients_are_closed(three: Servers) -> None:
    leader = three.wait_until_all_serve()
    followers = [host for host in three.hosts if host != leader]
    client = three.client(leader)
    for host in followers:
        three.kill(host)
    three.wait_for("the leader to step down", lambda: three.ask(leader, "isro") == "null")
    for word in ("srvr", "stat", "mntr"):
        assert three.ask(leader, word) == "This ZooKeeper instance is not currently serving requests\n"
    assert three.ask(leader, "ruok") == "imok"
    with pytest.raises(Unknown):
        client.get_data("/")
    with pytest.raises(Failed, match="no session"):
        three.client(leader)
    three.start(*followers)
    three.wait_until_all_serve()


def test_sigterm_stops_with_0_and_the_last_event_is_stopped(three: Servers) -> None:
    leader = three.wait_until_all_serve()
    three.kill(leader, signal.SIGTERM)
    assert three.processes[leader].returncode == 0
    assert three.events(leader)[-1]["f"] == "stopped"
    assert three.events(leader)[-1]["value"]["code"] == 0
    three.start(leader)
    three.wait_until_all_serve()


def test_every_journal_repeats_step_by_step_across_crashes(three: Servers) -> None:
    """The journals of all that the tests above did to these servers, with the starts after kill -9."""
    three.wait_until_all_serve()
    leader = three.leader() or ""
    with three.client(leader) as client:
        client.create("/journalled", b"1")
    for host in three.hosts:
        three.kill(host)
    for host in three.hosts:
        starts = steps = 0
        for entry, effects in repeat(read(str(Path(three.places[host].directory) / "journal.jsonl"))):
            assert digest(effects) == entry.effects, entry
            starts += isinstance(entry, Start)
            steps += not isinstance(entry, Start)
        started = [event for event in three.events(host) if event["f"] == "started"]
        assert starts == len(started) > 0
        assert steps > 10
    three.start()
    three.wait_until_all_serve()


def test_a_long_log_becomes_a_snapshot_from_which_servers_restart_and_are_synchronised(tmp_path: Path) -> None:
    """snapCount; with processes, disks and sockets: compaction, a SNAP to a server that was down, kill -9 of all."""
    written: dict[str, bytes] = {}

    def write(client: ZooKeeperClient, count: int) -> None:
        for _ in range(count):
            path = f"/written-{len(written)}"
            written[path] = path.encode()
            client.create(path, written[path])

    def check(servers: Servers) -> None:
        servers.wait_until_all_serve()
        for host in servers.hosts:
            with servers.client(host) as client:
                client.sync("/")
                assert {path: client.get_data(path) for path in written} == written
                assert set(client.get_children("/")) == {path[1:] for path in written}

    def history(servers: Servers, host: str) -> tuple[int, int]:
        storage = Storage(str(servers.directories[host] / "data"), lambda level, text: None)
        try:
            durable = storage.load()
            return durable.snapshot_zxid, len(durable.log)
        finally:
            storage.close()

    with Servers(tmp_path, THREE) as servers:
        for host in servers.hosts:
            with open(servers.directories[host] / "zoo.cfg", "a") as file:
                file.write("snapCount=16\n")
        servers.start()
        leader = servers.wait_until_all_serve()
        away = "n1" if leader != "n1" else "n2"
        with servers.client(leader) as client:
            write(client, 5)
            servers.kill(away)
            write(client, 60)
        servers.start(away)
        check(servers)
        reasons = [event["value"].get("reason", "") for event in servers.events(away) if event["f"] == "state"]
        assert any(reason.endswith("by SNAP") for reason in reasons), reasons
        with servers.client(away) as client:
            write(client, 45)
        for host in servers.hosts:
            servers.processes[host].kill()
        for host in servers.hosts:
            servers.kill(host)
            snapshot_zxid, length = history(servers, host)
            assert snapshot_zxid > 0
            assert length < 16 + 3 + 4
        servers.start()
        check(servers)
        for host in servers.hosts:
            servers.kill(host)
            for entry, effects in repeat(read(str(servers.directories[host] / "journal.jsonl"))):
                assert digest(effects) == entry.effects, entry


def test_what_a_peer_says_before_the_core_has_started_waits_for_the_start(tmp_path: Path) -> None:
    """We listen before we start, since a port in use has to be known first; a peer may be quick."""
    place = network()
    members = tuple(Member(sid, f"{place}.{sid}", 22888, 23888) for sid in (1, 2, 3))
    config = Config(3, members, data_dir=str(tmp_path))
    journal = tmp_path / "journal.jsonl"

    async def dialled_early() -> None:
        agent = Agent(config, Server, bug="", events=EventsFile(None), journal=Journal(str(journal)))
        told: list[Event] = []
        tell = agent.links.tell

        def overhear(event: Event) -> None:
            told.append(event)
            tell(event)

        agent.links.tell = overhear
        await agent.links.start()
        _, writer = await asyncio.open_connection(*members[2].election_address)
        writer.write(encode(InitialMessage(V1, 2, (members[1].election_address,))))
        async with asyncio.timeout(DEADLINE_S):
            while not any(isinstance(event, Received) for event in told):
                await asyncio.sleep(0.01)
        agent.begin()
        agent.stop(0, "the test is over")
        writer.close()
        agent.links.close()
        agent.storage.close()

    asyncio.run(dialled_early())
    entries = list(repeat(read(str(journal))))
    assert isinstance(entries[0][0], Start)
    assert [type(entry.event) for entry, _ in entries[1:3] if isinstance(entry, JournalStep)] == [Accepted, Received]
    for entry, effects in entries:
        assert digest(effects) == entry.effects, entry
