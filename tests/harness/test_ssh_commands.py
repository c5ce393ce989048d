"""Commands on an SSH host share one connection, and arrive whole (rules 3 to 6 of harness/hosts/ssh/remote.py)."""

from __future__ import annotations

import hashlib
import os
import signal
import threading
from pathlib import Path

import pytest

from harness import ConnectionLost, DeadlinePassed, HostError
from harness.hosts.provision.lab import Lab
from harness.hosts.ssh.connection import SESSIONS_MAX
from harness.hosts.ssh.remote import Remote
from tests.harness.deadlines import returns_within, wait_until
from tests.harness.sshd import Sshd


def test_many_threads_share_one_connection_and_lose_no_command() -> None:
    """Sixteen threads at once killed 14 of 15 connections, or were refused by MaxSessions, without rules 3 and 6."""
    errors: list[Exception] = []

    def work(remote: Remote, number: int) -> None:
        try:
            for _ in range(15):
                assert remote.run(f"echo {number}", deadline_s=60).text == str(number)
        except Exception as error:  # noqa: BLE001 - shown below
            errors.append(error)

    # A lab's host, because its root has no .bashrc: commands follow each other quickly.
    with Lab.up(1) as lab, Remote("n1", lab.ssh_config) as remote:
        remote.connect()
        connection = remote._connection
        threads = [threading.Thread(target=work, args=(remote, number)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        assert remote._connection is connection
        assert remote.connected


def test_a_sixth_command_waits_for_a_channel_and_says_so_when_none_comes(remote: Remote) -> None:
    processes = [remote.spawn("cat") for _ in range(SESSIONS_MAX)]
    with returns_within(1), pytest.raises(DeadlinePassed, match="no channel was free"):
        remote.spawn("cat", deadline_s=1)
    processes[0].close()
    assert remote.run("echo again").text == "again"
    for process in processes:
        process.close()


def test_refused_channels_are_waited_for_and_then_named(tmp_path: Path) -> None:
    with Sshd(tmp_path, "MaxSessions 2") as sshd, Remote("here", sshd.config) as remote:
        assert remote.count_sessions(SESSIONS_MAX) == 2
        first, _second = remote.spawn("cat"), remote.spawn("cat")
        with returns_within(1), pytest.raises(HostError, match="MaxSessions"):
            remote.spawn("cat", deadline_s=1)
        threading.Timer(0.5, first.close).start()
        assert remote.run("echo in the end", deadline_s=60).text == "in the end"


def test_a_flood_on_both_streams_arrives_whole(remote: Remote) -> None:
    size = 6_000_000
    flood = f"head -c {size} /dev/zero; head -c {size} /dev/zero >&2; " * 2
    done = remote.run(flood, deadline_s=60)
    assert (len(done.stdout), len(done.stderr), done.status) == (2 * size, 2 * size, 0)


def test_a_resident_command_may_flood_stderr_between_its_lines(remote: Remote) -> None:
    process = remote.spawn(
        "head -c 6000000 /dev/zero >&2; echo one; head -c 6000000 /dev/zero >&2; echo oops >&2; echo two"
    )
    assert [process.read_line(60), process.read_line(60), process.read_line(60)] == [b"one", b"two", None]
    assert process.stderr.endswith("oops")


def test_input_arrives_whole_and_ends(remote: Remote) -> None:
    data = os.urandom(5_000_000)
    assert remote.run("sha256sum", input=data).text.split()[0] == hashlib.sha256(data).hexdigest()
    assert remote.run("cat", input=data).stdout == data
    assert remote.run("head -c 1", input=data).stdout == data[:1]


def test_a_command_without_input_reads_nothing(remote: Remote) -> None:
    assert remote.run("cat", deadline_s=20).stdout == b""


def test_words_reach_the_command_as_they_are(remote: Remote) -> None:
    words = ["a b", "$HOME", "'", '"', "\\", "*", "", "new\nline", "ü"]
    done = remote.run(["python3", "-c", "import sys; print(sys.argv[1:])", *words])
    assert done.text == str(words)


def test_a_failed_command_tells_host_command_status_and_output(remote: Remote) -> None:
    with pytest.raises(HostError) as caught:
        remote.run("echo the reason >&2; exit 7")
    error = caught.value
    assert (error.host, error.status, error.output) == ("here", 7, "the reason")
    assert "exit 7" in error.command
    assert all(part in str(error) for part in ("here", "exit 7", "exit status: 7", "the reason"))
    assert remote.run("exit 7", check=False).status == 7


def test_a_resident_command_is_talked_to_in_lines(remote: Remote) -> None:
    process = remote.spawn("while read line; do echo \"<$line>\"; done; echo end; printf 'no newline'; exit 3")
    for number in range(50):
        process.send_line(b"%d" % number)
    assert [process.read_line(60) for _ in range(50)] == [b"<%d>" % number for number in range(50)]
    with returns_within(0.1), pytest.raises(DeadlinePassed):
        process.read_line(0.1)
    process.send_line(b"still there")
    assert process.read_line(60) == b"<still there>"
    assert process.alive
    process.close()
    assert not process.alive
    ended = remote.spawn("printf 'one\\nno newline'; exit 3")
    assert [ended.read_line(60), ended.read_line(60), ended.read_line(60)] == [b"one", b"no newline", None]
    assert ended.wait(60) == ended.status == 3
    wait_until(lambda: ended._channel.closed)
    with pytest.raises(HostError, match="has ended"):
        ended.send_line(b"too late")


def test_a_lost_connection_is_told_to_who_waits_and_made_again_for_who_comes(sshd: Sshd) -> None:
    with Remote("here", sshd.config) as remote:
        process = remote.spawn("cat")
        process.send_line(b"1")
        assert process.read_line(60) == b"1"
        sshd.signal_sessions(signal.SIGKILL)
        with returns_within(0), pytest.raises(ConnectionLost):
            process.read_line(60)
        assert not process.alive
        assert remote.run("echo again").text == "again"


def test_only_what_may_run_twice_runs_twice(sshd: Sshd, tmp_path: Path) -> None:
    """The first run kills its own connection; whether a command ran then is unknown, so it is not run again unasked."""
    with Remote("here", sshd.config) as remote:
        with pytest.raises(HostError):
            remote.run(_kill_own_connection(sshd, tmp_path))
        assert (tmp_path / "runs").read_text() == "ran\n"
        (tmp_path / "runs").unlink()
        remote.run(_kill_own_connection(sshd, tmp_path), idempotent=True)
        assert (tmp_path / "runs").read_text() == "ran\nran\n"


def _kill_own_connection(sshd: Sshd, tmp_path: Path) -> str:
    kill = f"kill -9 $(cat /proc/{sshd.process.pid}/task/{sshd.process.pid}/children)"
    return f"echo ran >> {tmp_path}/runs; test $(wc -l < {tmp_path}/runs) -gt 1 || {{ {kill}; sleep 60; }}"
