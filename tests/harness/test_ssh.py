"""The transport keeps its rules (harness/hosts/ssh/remote.py) with a real sshd that hangs, floods, refuses, is cut."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from paramiko import Channel

from harness import ConnectionLost, ConnectionRefused, DeadlinePassed, HostError, UsageError
from harness.hosts.provision.lab import Lab
from harness.hosts.ssh.connect import SESSIONS_MAX, Deadline
from harness.hosts.ssh.remote import GRACE_S, Remote, RemoteProcess
from tests.harness.sshd import Sshd, make_key

SLACK_S = 30.0
"""For a slow machine; what has no deadline of its own would take for ever, or as long as sshd's or TCP's minutes."""

DEADLINE_S = 4.0
"""Long enough for a command to begin before it passes, on a slow machine too."""

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with Sshd(tmp_path_factory.mktemp("sshd")) as sshd:
        yield sshd


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    with Sshd(tmp_path) as sshd:
        yield sshd


@pytest.fixture
def remote(shared: Sshd) -> Iterator[Remote]:
    shared.write_config()
    with Remote("here", shared.config) as remote:
        yield remote


@contextlib.contextmanager
def returns_within(seconds: float) -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds + SLACK_S


@contextlib.contextmanager
def stopped(sshd: Sshd, *, listener: bool = False) -> Iterator[None]:
    """While this lasts sshd answers nothing, though the kernel still takes what is sent to it."""
    os.kill(sshd.process.pid, signal.SIGSTOP) if listener else sshd.signal_sessions(signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(sshd.process.pid, signal.SIGCONT) if listener else sshd.signal_sessions(signal.SIGCONT)


def wait_until(what: Callable[[], bool]) -> None:
    """Until it is so, or a slow machine would have got there; who waits looks at what came of it."""
    until = time.monotonic() + SLACK_S
    while not what() and time.monotonic() < until:
        time.sleep(0.01)


def runs(pid: int) -> bool:
    """Whether this `sleep` has not ended: the number may be another process's by now."""
    try:
        return b"sleep" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def send_much(process: RemoteProcess) -> None:
    for _ in range(1000):
        process.send_line(b"x" * 100_000, deadline_s=1)


# --- 1 and 2: sockets and deadlines -----------------------------------------------------------------------------------


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


# --- 3: sessions ------------------------------------------------------------------------------------------------------


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


# --- 4 to 6: commands -------------------------------------------------------------------------------------------------


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


# --- 7: host keys -----------------------------------------------------------------------------------------------------


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


# --- 8: configs -------------------------------------------------------------------------------------------------------


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


# --- 9: files ---------------------------------------------------------------------------------------------------------


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


# --- forwarded connections --------------------------------------------------------------------------------------------


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
