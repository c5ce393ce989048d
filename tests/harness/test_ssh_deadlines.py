"""An SSH host that hangs, floods or is cut off holds nobody up (rules 1 and 2 of harness/hosts/ssh/remote.py)."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from paramiko import Channel

from harness import ConnectionLost, DeadlinePassed
from harness.hosts.ssh.connection import Deadline
from harness.hosts.ssh.process import RemoteProcess
from harness.hosts.ssh.remote import GRACE_S, Remote
from tests.harness.deadlines import DEADLINE_S, SLACK_S, returns_within, runs, stopped, wait_until
from tests.harness.sshd import Sshd

ROOT = Path(__file__).resolve().parents[2]


def send_much(process: RemoteProcess) -> None:
    for _ in range(1000):
        process.send_line(b"x" * 100_000, deadline_s=1)


def test_small_packets_are_not_held_back(remote: Remote) -> None:
    remote.connect()
    assert remote._connection is not None
    sock = remote._connection.transport.sock
    assert isinstance(sock, socket.socket)
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)


def test_a_stopped_listener_is_given_up_at_the_deadline(sshd: Sshd) -> None:
    with stopped(sshd, listener=True), returns_within(2), pytest.raises(DeadlinePassed, match="banner"):
        Remote("here", sshd.config, connect_deadline_s=2).connect()


def test_a_listener_that_closes_says_where_it_failed(sshd: Sshd) -> None:
    with Remote("here", sshd.config) as remote:
        remote.connect()
        sshd.process.kill()
        sshd.process.wait(SLACK_S)  # until then its socket still takes connections
        remote.close()
        with pytest.raises(ConnectionLost, match=rf"here: connecting to {sshd.address} port {sshd.port} failed"):
            remote.connect()


@pytest.mark.parametrize("what", ["run", "spawn", "put", "get"])
def test_a_stopped_session_is_given_up_at_the_deadline(sshd: Sshd, tmp_path: Path, what: str) -> None:
    remote = Remote("here", sshd.config)
    remote.connect()
    calls: dict[str, Callable[[], object]] = {
        "run": lambda: remote.run("true", deadline_s=1),
        "spawn": lambda: remote.spawn("cat", deadline_s=1),
        "put": lambda: remote.put(b"1", f"{tmp_path}/put", deadline_s=1),
        "get": lambda: remote.get("/etc/passwd", tmp_path / "got", deadline_s=1),
    }
    with stopped(sshd):
        with returns_within(1 + GRACE_S), pytest.raises(DeadlinePassed):
            calls[what]()
        with returns_within(0):
            remote.close()


@pytest.mark.parametrize("what", ["run", "spawn", "get"])
def test_a_session_that_stops_before_the_command_begins_is_given_up_at_the_deadline(
    sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """The channel is open, and the answer to `exec` never comes: paramiko waits for it without any bound."""
    remote = Remote("here", sshd.config)
    remote.connect()
    connection = remote._connection
    assert connection is not None
    opened = connection.open_session

    def open_and_stop(deadline: Deadline) -> Channel:
        channel = opened(deadline)
        sshd.signal_sessions(signal.SIGSTOP)
        return channel

    monkeypatch.setattr(connection, "open_session", open_and_stop)
    calls: dict[str, Callable[[], object]] = {
        "run": lambda: remote.run("true", deadline_s=1),
        "spawn": lambda: remote.spawn("cat", deadline_s=1),
        "get": lambda: remote.get("/etc/passwd", tmp_path / "got", deadline_s=1),
    }
    try:
        with returns_within(1 + GRACE_S), pytest.raises(DeadlinePassed):
            calls[what]()
    finally:
        sshd.signal_sessions(signal.SIGCONT)
        remote.close()


def test_a_session_that_stops_while_a_command_runs_is_given_up_at_the_deadline(sshd: Sshd, tmp_path: Path) -> None:
    with Remote("here", sshd.config) as remote:
        began = tmp_path / "began"

        def stop() -> None:
            wait_until(began.exists)
            sshd.signal_sessions(signal.SIGSTOP)

        remote.connect()
        stopper = threading.Thread(target=stop)
        stopper.start()
        with returns_within(DEADLINE_S + GRACE_S), pytest.raises(DeadlinePassed):
            remote.run(f"touch {began}; sleep 600", deadline_s=DEADLINE_S)
        stopper.join()
        assert began.exists()


def test_much_input_to_a_stopped_session_is_given_up_too(sshd: Sshd) -> None:
    with Remote("here", sshd.config) as remote:
        process = remote.spawn("cat")
        process.send_line(b"1")
        assert process.read_line(SLACK_S) == b"1"
        with stopped(sshd):
            with returns_within(1), pytest.raises((DeadlinePassed, ConnectionLost)):
                send_much(process)
            with returns_within(0):
                process.close()


def test_a_command_is_ended_on_the_host_at_its_deadline(remote: Remote, tmp_path: Path) -> None:
    remote.connect()
    with returns_within(DEADLINE_S), pytest.raises(DeadlinePassed, match="was ended there"):
        remote.run(f"echo $$ > {tmp_path}/pid; exec sleep 600", deadline_s=DEADLINE_S)
    pid = int((tmp_path / "pid").read_text())
    wait_until(lambda: not runs(pid))
    assert not runs(pid)


def test_a_black_hole_breaks_the_connection() -> None:
    """Packets vanish in both directions: nothing but TCP_USER_TIMEOUT notices.  In a network namespace of its own."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user", "--map-auto"]
    done = subprocess.run(
        [
            "unshare",
            *user,
            "--net",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            sys.executable,
            "-c",
            _BLACK_HOLE,
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.stdout.splitlines() == ["connected", "ConnectionLost", "None", "False", "healed"], done.stderr


_BLACK_HOLE = """
import subprocess, tempfile
from pathlib import Path
from harness import ConnectionLost
from harness.hosts.ssh.remote import Remote
from tests.harness.sshd import Sshd

def shell(command):
    subprocess.run(command, shell=True, check=True, timeout=60)

shell("ip link set lo up")
with tempfile.TemporaryDirectory() as directory, Sshd(Path(directory)) as sshd, Remote("here", sshd.config) as remote:
    process = remote.spawn("cat")
    process.send_line(b"1")
    assert process.read_line(60) == b"1"
    print("connected")
    shell(f"nft 'add table inet hole; add chain inet hole out {{ type filter hook output priority 0; }}; "
          f"add rule inet hole out tcp sport {sshd.port} drop; add rule inet hole out tcp dport {sshd.port} drop'")
    try:
        # The deadline is far beyond TCP_USER_TIMEOUT, and far below TCP's own quarter of an hour.
        remote.run("true", deadline_s=90)
    except ConnectionLost as error:
        print(type(error).__name__)
    try:
        print(process.read_line(60))
    except ConnectionLost:
        print(None)
    print(remote.connected)
    shell("nft delete table inet hole")
    print(remote.run("echo healed").text)
"""
