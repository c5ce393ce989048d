"""Files reach an SSH host whole (rule 9 of harness/hosts/ssh/remote.py), and connections are forwarded."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from harness import ConnectionRefused, HostError, UsageError
from harness.hosts.ssh.remote import Remote
from tests.harness.deadlines import SLACK_S
from tests.harness.sshd import Sshd


def test_a_file_is_put_whole_and_not_sent_again(remote: Remote, tmp_path: Path) -> None:
    place = tmp_path / "made" / "for it" / "file's"
    assert remote.put(b"first", str(place), 0o755)
    assert (place.read_bytes(), place.stat().st_mode & 0o777) == (b"first", 0o755)
    inode = place.stat().st_ino
    assert not remote.put(b"first", str(place), 0o600)
    assert (place.stat().st_ino, place.stat().st_mode & 0o777) == (inode, 0o600)
    with place.open("rb") as old:
        (tmp_path / "local").write_bytes(b"second" * 100_000)
        assert remote.put(tmp_path / "local", str(place))
        assert old.read() == b"first"
    assert place.read_bytes() == b"second" * 100_000
    assert [path.name for path in place.parent.iterdir()] == ["file's"]


def test_a_file_that_cannot_be_put_leaves_nothing(remote: Remote, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "inside").touch()
    with pytest.raises(HostError, match="taken"):
        remote.put(b"1", str(tmp_path / "taken"))
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
    with pytest.raises(UsageError, match="nowhere"):
        remote.put(tmp_path / "nowhere", str(tmp_path / "x"))


def test_a_file_is_fetched_whole_or_not_at_all(remote: Remote, tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    (tmp_path / "there").write_bytes(data)
    remote.get(str(tmp_path / "there"), tmp_path / "here")
    assert (tmp_path / "here").read_bytes() == data
    with pytest.raises(HostError, match="No such file"):
        remote.get(str(tmp_path / "missing"), tmp_path / "not")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "there"]


def test_a_connection_is_forwarded_and_a_refused_one_is_called_so(remote: Remote) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        channel = remote.forward("127.0.0.1", server.getsockname()[1])
        peer, _ = server.accept()
        channel.settimeout(SLACK_S)
        channel.sendall(b"ruok")
        assert peer.recv(4) == b"ruok"
        peer.sendall(b"imok")
        peer.close()
        assert channel.recv(100) == b"imok"
        assert channel.recv(100) == b""
        channel.close()
        port = server.getsockname()[1]
    with pytest.raises(ConnectionRefused):
        remote.forward("127.0.0.1", port)


def test_a_host_that_forbids_forwarding_is_told_apart(tmp_path: Path) -> None:
    with (
        Sshd(tmp_path, "AllowTcpForwarding no") as sshd,
        Remote("here", sshd.config) as remote,
        pytest.raises(HostError, match="AllowTcpForwarding"),
    ):
        remote.forward("127.0.0.1", 1)
