"""Servers as processes on loopback: they elect, serve, die, come back, and stop when they are told to."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.hosts.archive import build
from harness.workloads.zookeeper import Failed, Unknown, ZooKeeperClient, four_letter_word
from nemesis.injector import clocks, linux
from node.agent.agent import Agent, EventsFile
from node.agent.journal import Journal, JournalStep, Start, digest, read, repeat
from node.agent.storage import Storage
from node.config import Config, Member
from node.protocol.events import Accepted, Event, InitialMessage, Received
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
    return socket.create_connection((servers.places[host].address, servers.systems[host].client_port), DEADLINE_S)


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


# ---- one server ----------------------------------------------------------------------------------------------------


class One:
    """A server that is alone in its ensemble, and its files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = f"{network()}.1"
        self.client = (self.address, 22181)
        self.archive = folder / "onethrone-node.pyz"
        self.archive.write_bytes(build("node"))
        (folder / "myid").write_text("1\n")
        self.config = folder / "zoo.cfg"
        self.config.write_text(
            f"tickTime=200\ninitLimit=5\nsyncLimit=5\ndataDir={folder}\nclientPort={self.client[1]}\n"
            f"clientPortAddress={self.address}\nserver.1={self.address}:22888:23888\n"
        )
        self.command = [sys.executable, str(self.archive), "serve", "--config", str(self.config)]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [*self.command, *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)

    def ask(self, word: str) -> str:
        try:
            return four_letter_word(socket.create_connection(self.client, 20), word, 20)
        except (OSError, Failed):
            return ""

    def wait_until_it_serves(self) -> None:
        end = time.monotonic() + DEADLINE_S
        while self.ask("isro") != "rw":
            assert time.monotonic() < end, "it does not serve"
            time.sleep(0.05)


@pytest.fixture
def one(tmp_path: Path) -> One:
    return One(tmp_path)


def events(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("rate", ["+1d", "+0 x0.5", "2001-02-03 04:05:06"], ids=["jumped", "slow", "frozen"])
def test_host_time_is_the_hosts_clock_even_in_a_process_whose_clock_is_bent(one: One, rate: str) -> None:
    """libfaketime bends what the server believes, and not what its events file says."""
    library = clocks.library()
    assert library is not None
    environment = {**os.environ, "LD_PRELOAD": library, "FAKETIME": rate}
    path = one.folder / "events"
    before = time.monotonic_ns()
    process = subprocess.Popen([*one.command, "--events", str(path)], env=environment, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + DEADLINE_S
        while not (path.exists() and path.read_text().count("\n") >= 2):
            assert time.monotonic() < end
            time.sleep(0.05)
        if rate != "2001-02-03 04:05:06":
            while not (answer := one.ask("clck")):
                assert time.monotonic() < end
                time.sleep(0.05)
            bent = json.loads(answer)["wall_ns"] - time.time_ns()
            assert bent > 80_000e9 if rate == "+1d" else bent < 0
        times = [event["host_time"] for event in events(path)]
        assert before < times[0] <= times[-1] < time.monotonic_ns()
    finally:
        process.kill()
        process.wait(DEADLINE_S)
        linux.forget_shared_memory(process.pid)


def test_a_cut_line_of_the_events_file_is_removed_at_the_next_start(one: One) -> None:
    path = one.folder / "events"
    path.write_bytes(b'{"host_time":1,"f":"state","value":{}}\n{"host_ti')
    with subprocess.Popen([*one.command, "--events", str(path)], stderr=subprocess.DEVNULL) as process:
        one.wait_until_it_serves()
        process.terminate()
        assert process.wait(DEADLINE_S) == 0
    assert [event["f"] for event in events(path)][:2] == ["state", "started"]
    assert events(path)[-1]["f"] == "stopped"


def test_a_wrong_configuration_ends_with_254_and_one_line_that_names_it(one: One) -> None:
    one.config.write_text(one.config.read_text().replace("tickTime=200", "tickTime=soon"))
    done = one.run()
    assert done.returncode == 254
    assert done.stderr == (
        f"onethrone-node: {one.config}:1: tickTime: 'soon' is no whole number from -2^31 to 2^31-1; correct the value\n"
    )
    done = one.run("--bug", "no-such-bug")
    assert done.returncode == 254
    assert "no bug is called 'no-such-bug'" in done.stderr
    assert done.stderr.count("\n") == 1
    assert one.run("--nonsense").returncode == 254
    one.config.write_text(one.config.read_text().replace("soon", "200"))
    done = one.run("--events", "/no/such/folder/events")
    assert (done.returncode, done.stderr.count("\n")) == (254, 1)
    assert "/no/such/folder/events" in done.stderr


def test_a_damaged_log_ends_with_254_and_one_line_that_names_file_and_offset(one: One) -> None:
    with subprocess.Popen(one.command, stderr=subprocess.DEVNULL) as process:
        one.wait_until_it_serves()
        with ZooKeeperClient.connect(socket.create_connection(one.client, 20)) as client:
            for number in range(3):
                client.create(f"/{number}", b"x")
        process.kill()
    log = one.folder / "version-2/txnlog"
    data = bytearray(log.read_bytes())
    data[40] ^= 1
    log.write_bytes(data)
    done = one.run()
    assert done.returncode == 254
    assert f"{log}: damaged at offset 19, and records follow" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_port_in_use_ends_with_14_after_a_few_tries(one: One) -> None:
    with socket.create_server(one.client):
        done = one.run()
    assert done.returncode == 14
    assert f"client port: cannot listen on {one.address} port {one.client[1]}: Address already in use" in done.stderr


def test_a_write_that_fails_stops_the_server_at_once_with_10(one: One) -> None:
    """Fail-stop: a file may not grow over 4 KiB, and no create that did not fit is acknowledged."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    with subprocess.Popen(one.command, stderr=-3, preexec_fn=limit) as process:  # noqa: PLW1509 - one system call
        one.wait_until_it_serves()
        done = 0
        client = ZooKeeperClient.connect(socket.create_connection(one.client, 20))
        with contextlib.suppress(Unknown):
            for done in range(100):
                client.create(f"/{done}", bytes(200))
        assert process.wait(DEADLINE_S) == 10
    with subprocess.Popen(one.command, stderr=subprocess.DEVNULL) as process:
        one.wait_until_it_serves()
        with ZooKeeperClient.connect(socket.create_connection(one.client, 20)) as client:
            assert len(client.get_children("/")) == done > 5
        process.kill()


@pytest.mark.parametrize(("file_bytes", "says"), [(0, "File too large"), (100, "events: short write")])
def test_a_disk_that_is_full_at_the_start_ends_with_10_and_one_line_that_says_so(
    one: One, file_bytes: int, says: str
) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))

    command = [*one.command, "--events", str(one.folder / "events")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False, preexec_fn=limit)
    assert done.returncode == 10, done.stderr
    line = next(line for line in done.stderr.splitlines() if "a write failed: " in line)
    assert says in line


def test_words_outside_the_whitelist_are_refused_as_zookeeper_refuses_them(one: One) -> None:
    one.config.write_text(one.config.read_text() + "4lw.commands.whitelist=ruok\n")
    with subprocess.Popen(one.command, stderr=subprocess.DEVNULL) as process:
        end = time.monotonic() + DEADLINE_S
        while one.ask("ruok") != "imok":
            assert time.monotonic() < end
            time.sleep(0.05)
        assert one.ask("mntr").strip() == "mntr is not executed because it is not in the whitelist."
        process.kill()
