"""One server as a process, alone in its ensemble: its files, its ports, and every way in which it ends."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from harness.hosts.archive import build
from harness.workloads.base import Failed, Unknown
from harness.workloads.zookeeper import ZooKeeperClient, four_letter_word
from nemesis.injector import abilities, linux
from tests.addresses import network

DEADLINE_S = 90.0


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
    library = abilities.faketime_library()
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


def full_after(count: int) -> None:
    """No file may grow over `count` bytes; for the process that is about to be started."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, count))


@pytest.mark.parametrize("unwritable", ["log", "events", "journal", "log and events"])
def test_a_server_that_cannot_write_ends_with_10_at_once_whatever_it_cannot_write(one: One, unwritable: str) -> None:
    """Fail-stop: a file is full already, and only this one.  The log, if it can be written, says why it ended."""
    one.config.write_text(one.config.read_text().replace("tickTime=200", "tickTime=100"))
    limit_bytes = 1 << 16
    files = {name: one.folder / name for name in ("log", "events", "journal")}
    arguments = ["--events", str(files["events"])]
    if unwritable == "journal":
        arguments += ["--journal", str(files["journal"])]
    for name in ("log", "events"):
        line = b'{"host_time":1,"f":"state","value":{}}\n'
        content = line * (limit_bytes // len(line) + 1)
        files[name].write_bytes(content[-limit_bytes:] if name in unwritable else b"")
    files["journal"].write_bytes(b'{"crc":"00000000","event"}' + b" " * limit_bytes + b"\n")
    with (
        open(files["log"], "ab") as log,
        subprocess.Popen([*one.command, *arguments], stderr=log, preexec_fn=lambda: full_after(limit_bytes)) as process,  # noqa: PLW1509
    ):
        assert process.wait(DEADLINE_S) == 10
    if unwritable in ("events", "journal"):
        assert "File too large" in files["log"].read_text()


def test_a_log_that_fills_up_while_the_server_serves_ends_it_with_10(one: One) -> None:
    """From a callback of a connection: asyncio would drop the connection, and let the server go on."""
    log = one.folder / "log"
    limit_bytes = 1 << 16
    log.write_bytes(b"." * (limit_bytes - 8192) + b"\n")
    command = [*one.command, "--events", str(one.folder / "events")]
    with (
        open(log, "ab") as file,
        subprocess.Popen(command, stderr=file, preexec_fn=lambda: full_after(limit_bytes)) as process,  # noqa: PLW1509
    ):
        one.wait_until_it_serves()
        end = time.monotonic() + DEADLINE_S
        while process.poll() is None:
            assert time.monotonic() < end, "it goes on, and cannot say anything"
            with contextlib.suppress(OSError), socket.create_connection(one.client, 20) as stranger:
                stranger.sendall(b"\xff" * 8)
                stranger.recv(1)
        assert process.returncode == 10
    assert events(one.folder / "events")[-1]["value"]["code"] == 10


@pytest.mark.parametrize("closed", ["from the start", "at the other end"])
def test_a_server_whose_standard_error_is_closed_ends_with_10(one: One, closed: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with subprocess.Popen(
        one.command,
        stderr=writer,
        preexec_fn=(lambda: os.close(2)) if closed == "from the start" else None,  # noqa: PLW1509
    ) as process:
        os.close(writer)
        assert process.wait(DEADLINE_S) == 10


def test_words_outside_the_whitelist_are_refused_as_zookeeper_refuses_them(one: One) -> None:
    one.config.write_text(one.config.read_text() + "4lw.commands.whitelist=ruok\n")
    with subprocess.Popen(one.command, stderr=subprocess.DEVNULL) as process:
        end = time.monotonic() + DEADLINE_S
        while one.ask("ruok") != "imok":
            assert time.monotonic() < end
            time.sleep(0.05)
        assert one.ask("mntr").strip() == "mntr is not executed because it is not in the whitelist."
        process.kill()
