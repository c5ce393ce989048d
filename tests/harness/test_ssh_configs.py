"""Keys, agents, proxies and jumps are OpenSSH's (rules 7 and 8 of harness/hosts/ssh/remote.py)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness import ConnectionLost, DeadlinePassed, HostError, UsageError
from harness.hosts.ssh.remote import Remote
from tests.harness.deadlines import DEADLINE_S, returns_within, runs, wait_until
from tests.harness.sshd import Sshd, make_key


def test_an_unknown_host_key_is_refused(sshd: Sshd) -> None:
    sshd.known_hosts.write_text("")
    with pytest.raises(HostError, match="not known"):
        Remote("here", sshd.config).connect()
    assert sshd.known_hosts.read_text() == ""


@pytest.mark.parametrize("accept_new", [False, True])
def test_a_changed_host_key_is_refused_always(sshd: Sshd, tmp_path: Path, accept_new: bool) -> None:
    other = make_key(tmp_path / "other")
    sshd.known_hosts.write_text(f"[{sshd.address}]:{sshd.port} {other}\n")
    sshd.write_config(StrictHostKeyChecking="no")
    with pytest.raises(HostError, match="not the known one"):
        Remote("here", sshd.config, accept_new=accept_new).connect()


def test_a_new_host_key_is_written_down_when_that_is_wanted(sshd: Sshd) -> None:
    known = sshd.known_hosts.read_text()
    sshd.known_hosts.write_text("")
    with Remote("here", sshd.config, accept_new=True) as remote:
        remote.connect()
    assert sshd.known_hosts.read_text().split()[:3] == known.split()[:3]
    with Remote("here", sshd.config) as remote:
        remote.connect()


def test_revoked_hashed_aliased_and_doubled_keys_are_read_as_openssh_reads_them(sshd: Sshd, tmp_path: Path) -> None:
    name, kind, key = sshd.known_hosts.read_text().split()[:3]
    other = make_key(tmp_path / "other")
    sshd.known_hosts.write_text(f"# a comment\n{name} {other}\n{name} {kind} {key}\n")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(sshd.known_hosts)], check=True, timeout=60, capture_output=True)
    assert name not in sshd.known_hosts.read_text()
    with Remote("here", sshd.config) as remote:
        remote.connect()
    sshd.known_hosts.write_text(f"elsewhere,ali* {kind} {key}\n")
    sshd.write_config(HostKeyAlias="alias")
    with Remote("here", sshd.config) as remote:
        remote.connect()
    sshd.known_hosts.write_text(f"alias {kind} {key}\n@revoked alias {kind} {key}\n")
    with pytest.raises(HostError, match="not the known one"):
        Remote("here", sshd.config).connect()


def test_a_refused_login_says_what_was_tried(sshd: Sshd, tmp_path: Path) -> None:
    make_key(tmp_path / "stranger")
    make_key(tmp_path / "locked", passphrase="secret")
    sshd.write_config(f"  IdentityFile {tmp_path}/locked", IdentityFile=str(tmp_path / "stranger"))
    with pytest.raises(HostError) as caught:
        Remote("here", sshd.config).connect()
    assert "stranger: refused" in str(caught.value)
    assert "locked: has a passphrase" in str(caught.value)
    assert "authorized_keys" in caught.value.remedy


def test_an_agent_holds_the_key(sshd: Sshd, tmp_path: Path) -> None:
    path = tmp_path / "agent"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(path.exists)
        add = ["ssh-add", "-q", str(tmp_path / "user_key")]
        subprocess.run(add, check=True, timeout=60, env=os.environ | {"SSH_AUTH_SOCK": str(path)})
        (tmp_path / "user_key").rename(tmp_path / "user_key.gone")
        sshd.write_config(IdentityAgent=str(path))
        with Remote("here", sshd.config) as remote:
            assert remote.run("echo in").text == "in"
    finally:
        agent.kill()
        agent.wait()


def test_a_proxy_command_carries_the_connection_and_ends_with_it(sshd: Sshd) -> None:
    relay = (
        "import socket,sys,threading,os; s = socket.create_connection((sys.argv[1], int(sys.argv[2])))\n"
        "def up():\n  [s.sendall(d) for d in iter(lambda: os.read(0, 65536), b'')]\n  os._exit(0)\n"
        "threading.Thread(target=up, daemon=True).start()\n[os.write(1, d) for d in iter(lambda: s.recv(65536), b'')]"
    )
    (sshd.directory / "relay.py").write_text(relay)
    sshd.write_config(ProxyCommand=f"{sys.executable} {sshd.directory}/relay.py %h %p")
    with Remote("here", sshd.config) as remote:
        assert remote.run("echo through").text == "through"
        assert remote._connection is not None
        proxy = remote._connection.proxy
        assert proxy is not None
        assert proxy.poll() is None
    assert proxy.poll() is not None


def test_what_a_proxy_command_complains_of_is_in_the_error(sshd: Sshd) -> None:
    sshd.write_config(ProxyCommand="sh -c 'echo no way through >&2; exit 1'")
    with pytest.raises(ConnectionLost, match="no way through"):
        Remote("here", sshd.config).connect()


def test_a_proxy_command_that_hangs_is_given_up_and_ended(sshd: Sshd) -> None:
    sshd.write_config(ProxyCommand=f"sh -c 'echo $$ > {sshd.directory}/proxy; exec sleep 600'")
    with returns_within(DEADLINE_S), pytest.raises(DeadlinePassed):
        Remote("here", sshd.config, connect_deadline_s=DEADLINE_S).connect()
    pid = int((sshd.directory / "proxy").read_text())
    assert not runs(pid)


def test_a_jump_host_carries_the_connection(sshd: Sshd, tmp_path: Path) -> None:
    (tmp_path / "behind").mkdir()
    with Sshd(tmp_path / "behind") as behind:
        both = sshd.config.read_text().replace("Host here", "Host gate") + behind.config.read_text()
        behind.config.write_text(both + "  ProxyJump gate\n")
        with Remote("here", behind.config) as remote:
            assert remote.run("echo behind").text == "behind"
            assert remote._connection is not None
            assert remote._connection.jump is not None
            assert remote._connection.jump.name == "gate"
            assert len(sshd.sessions()) > 0
        wait_until(lambda: not sshd.sessions())
        assert sshd.sessions() == []


def test_an_include_is_followed_and_without_ssh_refused(
    sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outer = tmp_path / "outer"
    outer.write_text(f"Include {sshd.config}\n")
    with Remote("here", outer) as remote:
        assert remote.run("echo in").text == "in"
    monkeypatch.setattr("harness.hosts.ssh.config.shutil.which", lambda name: None)
    with pytest.raises(UsageError, match="Include"):
        Remote("here", outer).connect()
    with Remote("here", sshd.config) as remote:
        assert remote.run("echo in").text == "in"


def test_a_broken_config_is_refused_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("Host here\n  Prot 22\n")
    with pytest.raises(UsageError, match="line 2"):
        Remote("here", tmp_path / "config").connect()
    with pytest.raises(UsageError, match="no such file"):
        Remote("here", tmp_path / "missing").connect()
    with pytest.raises(UsageError, match="not the name of a host"):
        Remote("-oProxyCommand=touch /tmp/no", tmp_path / "config").connect()


def test_the_command_to_try_by_hand_names_the_config(tmp_path: Path) -> None:
    config = tmp_path / "ssh config"
    config.write_text("Host gone\n  HostName 127.0.0.1\n  Port 1\n  StrictHostKeyChecking accept-new\n")
    with pytest.raises(HostError) as raised, Remote("gone", config) as remote:
        remote.run("true")
    assert raised.value.remedy.endswith(f"try: ssh -F '{config}' gone")
