"""Commands, files and connections on a host, over one SSH connection that cannot hang its caller.

    remote = Remote("n3", ssh_config=lab.ssh_config)
    remote.connect()
    remote.run(["hostname"], deadline_s=10).text          # 'n3'
    remote.put(archive, "/var/lib/onethrone/node.pyz", 0o644)
    injector = remote.spawn("python3 injector.pyz attach --dir /run/onethrone")
    injector.send_line(b'{"id": 1, "do": "hello"}')
    injector.read_line(deadline_s=5)

The rules, each of which was paid for (paramiko 5.1, OpenSSH 9.2; tests/harness/test_ssh_*.py hold them):

1. We make the socket: TCP_NODELAY (a command takes 3 ms instead of 46), TCP_USER_TIMEOUT (a black hole is noticed).
2. Everything has a deadline: TCP, banner, authentication, opening a channel, starting a command (for whose answer
   paramiko waits for ever), the command, its exit status.
3. At most five commands at a time per connection; sshd refuses more, and takes ended sessions down late.
4. Both streams are read while the command runs: more than 2 MiB in the unread one stops the command.
5. A command has its deadline on the host as well (`timeout -k`): to close a channel ends nothing there.
6. Never an EOF on a connection that others use: paramiko may send it after its CLOSE, and OpenSSH then drops the whole
   connection.  A command reads /dev/null, or exactly the bytes it is given (`head -c`).
7. A host key that is not known, or has changed, is refused.
8. The config is OpenSSH's, with ProxyJump, ProxyCommand (on a socket pair), agents, aliases, includes.
9. A file is put beside its place, synced, renamed; or not sent at all when the host has it already.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import random
import secrets
import shlex
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from paramiko import Channel, ChannelException, SFTPClient, SSHException

from harness import ConnectionLost, ConnectionRefused, DeadlinePassed, HostError, UsageError
from harness.hosts.ssh.config import resolve
from harness.hosts.ssh.connect import connect
from harness.hosts.ssh.connection import Deadline, SshConnection
from harness.hosts.ssh.process import CHUNK_BYTES, RemoteProcess, Streams, watch

GRACE_S = 5.0
"""How much later than the host's own deadline for a command we stop to wait for the host to say so."""

OUTPUT_MAX_BYTES = 64 << 20
_SFTP_EXTENDED = 200


@dataclass(frozen=True)
class Completed:
    """A command that ended: its output, and its exit status."""

    stdout: bytes
    stderr: bytes
    status: int

    @property
    def text(self) -> str:
        """Standard output as text, without the newline at its end."""
        return self.stdout.decode(errors="replace").rstrip("\n")


class Remote:
    """A host.  Threads may share it.  It connects at first use, and again after the connection broke."""

    def __init__(
        self,
        name: str,
        ssh_config: Path | str | None = None,
        *,
        accept_new: bool = False,
        connect_deadline_s: float = 15.0,
    ) -> None:
        self.name = name
        self.ssh_config = None if ssh_config is None else Path(ssh_config)
        self.accept_new = accept_new
        self.connect_deadline_s = connect_deadline_s
        self._connection: SshConnection | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Remote:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def connected(self) -> bool:
        """Whether there is a connection, as far as this end knows."""
        return self._connection is not None and self._connection.alive

    def connect(self) -> None:
        """Connect and log in; nothing happens when that is done already."""
        self._connected(Deadline(self.connect_deadline_s))

    def reconnect(self) -> None:
        """Give up the connection, with all of its channels, and make a new one."""
        self.close()
        self.connect()

    def close(self) -> None:
        """Close the connection.  Processes on the host go on; `run` and `connect` make a new connection."""
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _connected(self, deadline: Deadline) -> SshConnection:
        if not self._lock.acquire(timeout=deadline.left_s()):
            raise DeadlinePassed(self.name, f"another thread has been connecting for {deadline.seconds:g} s")
        try:
            if self._connection is not None and not self._connection.alive:
                self._connection.close()
                self._connection = None
            if self._connection is None:
                endpoint = resolve(self.name, self.ssh_config)
                self._connection = connect(endpoint, self.ssh_config, deadline, accept_new=self.accept_new)
            return self._connection
        finally:
            self._lock.release()

    # --- commands -----------------------------------------------------------------------------------------------------

    def run(
        self,
        command: str | Sequence[str],
        *,
        deadline_s: float = 30.0,
        input: bytes | None = None,
        check: bool = True,
        idempotent: bool = False,
    ) -> Completed:
        """Run a command (a list of words, or a text for the host's `sh`) to its end.

        It reads `input`, or nothing.  After `deadline_s` the host ends it; the call returns within GRACE_S more.  With
        `check`, an exit status other than 0 is a HostError.  `idempotent` says that it may run twice: then it is run
        again, on a new connection, when the connection is lost.
        """
        text = command if isinstance(command, str) else shlex.join(command)
        deadline = Deadline(deadline_s + GRACE_S)
        while True:
            try:
                completed = self._run_once(text, deadline_s, deadline, input)
                break
            except ConnectionLost:
                if not idempotent or deadline.left_s() < GRACE_S:
                    raise
                time.sleep(random.uniform(0.05, 0.2))
        if check and completed.status != 0:
            output = (completed.stderr or completed.stdout).decode(errors="replace").strip()
            raise HostError(
                self.name, "the command failed", command=text, status=completed.status, output=output[-2000:]
            )
        return completed

    def _run_once(self, text: str, deadline_s: float, deadline: Deadline, given: bytes | None) -> Completed:
        connection = self._connected(Deadline(min(self.connect_deadline_s, deadline.left_s())))
        timed = f"timeout -k 2 {deadline_s:.3f} sh -c {shlex.quote(text)}"
        started = time.monotonic()
        channel = connection.open_session(deadline)
        out, err = bytearray(), bytearray()
        given = given or b""
        sent = 0
        with watch(connection, channel, deadline):
            try:
                streams = Streams(channel)
                channel.exec_command(f"head -c {len(given)} | {timed}" if given else f"{timed} </dev/null")
                while True:
                    new_out, new_err, ended = streams.drain()
                    out += new_out
                    err += new_err
                    if len(out) + len(err) > OUTPUT_MAX_BYTES:
                        what = f"the command wrote more than {OUTPUT_MAX_BYTES} bytes"
                        raise HostError(self.name, what, command=text, remedy="Write to a file there, and get that.")
                    if ended and not new_out and not new_err:
                        break
                    if sent < len(given) and channel.send_ready() and not ended:
                        sent += channel.send(given[sent : sent + CHUNK_BYTES])
                    elif not new_out and not new_err:
                        if deadline.passed:
                            raise TimeoutError
                        # Nothing wakes us when there is room to send again.
                        streams.wait(min(0.005, deadline.left_s()) if sent < len(given) else deadline.left_s())
                channel.status_event.wait(deadline.left_s())
            except (SSHException, EOFError, OSError) as error:
                raise connection.failed("the command did not end", error, deadline, text) from None
            finally:
                connection.close_session(channel)
        status = channel.exit_status
        if status < 0:
            # Either the connection broke, or sshd told of a signal, which paramiko does not read.
            raise connection.failed("the command ended without an exit status", None, deadline, text)
        if status in (124, 137) and time.monotonic() - started >= deadline_s:
            raise DeadlinePassed(
                self.name,
                f"the command did not end within {deadline_s:g} s, and was ended there",
                command=text,
                output=(bytes(err) or bytes(out)).decode(errors="replace").strip()[-2000:],
            )
        return Completed(bytes(out), bytes(err), status)

    def spawn(self, command: str | Sequence[str], *, deadline_s: float = 15.0) -> RemoteProcess:
        """Start a command that stays, and is talked to in lines."""
        text = command if isinstance(command, str) else shlex.join(command)
        deadline = Deadline(deadline_s)
        connection = self._connected(deadline)
        channel = connection.open_session(deadline)
        with watch(connection, channel, deadline):
            process = RemoteProcess(connection, channel, text)
            try:
                channel.exec_command(f"exec sh -c {shlex.quote(text)}")
            except (SSHException, EOFError, OSError) as error:
                connection.close_session(channel)
                raise connection.failed("the command did not start", error, deadline, text) from None
        return process

    def count_sessions(self, up_to: int, *, deadline_s: float = 15.0) -> int:
        """How many sessions sshd lets one connection have at once, found by opening them on a connection of its own."""
        deadline = Deadline(deadline_s)
        endpoint = resolve(self.name, self.ssh_config)
        connection = connect(endpoint, self.ssh_config, deadline, accept_new=self.accept_new)
        # Held: paramiko closes a channel that nobody refers to.
        opened: list[Channel] = []
        try:
            while len(opened) < up_to:
                opened.append(connection.transport.open_session(timeout=max(0.001, deadline.left_s())))
        except ChannelException:
            pass
        except (SSHException, EOFError, OSError) as error:
            raise connection.failed("sessions were counted", error, deadline) from None
        finally:
            connection.close()
        return len(opened)

    # --- files --------------------------------------------------------------------------------------------------------

    def put(self, source: Path | str | bytes, path: str, mode: int = 0o644, *, deadline_s: float = 60.0) -> bool:
        """Put a file (or these bytes) at `path`, making its directory.  False when the host had it already.

        Readers of `path` see the old file or the new one, whole, even across a crash of the host.
        """
        deadline = Deadline(deadline_s)
        with _source(source) as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            place, parent = shlex.quote(path), shlex.quote(os.path.dirname(path) or ".")
            known = f"if test -f {place}; then sha256sum < {place} && chmod {mode:o} -- {place}; fi"
            there = self.run(f"mkdir -p -- {parent} && {known}", deadline_s=deadline.left_s())
            if there.text.split()[:1] == [digest]:
                return False
            temporary = f"{path}.{digest[:8]}{secrets.token_hex(4)}.tmp"
            with self._sftp(deadline, f"writing {path}") as sftp:
                try:
                    with sftp.open(temporary, "wb") as sink:
                        sink.set_pipelined(True)
                        while chunk := file.read(CHUNK_BYTES):
                            sink.write(chunk)
                        sink.set_pipelined(False)
                        sftp.chmod(temporary, mode)
                        # paramiko has no name for OpenSSH's extension: PROTOCOL, section 4.2.
                        sftp._request(_SFTP_EXTENDED, "fsync@openssh.com", sink.handle)  # type: ignore[attr-defined]
                    sftp.posix_rename(temporary, path)
                except BaseException:
                    with contextlib.suppress(SSHException, EOFError, OSError):
                        sftp.remove(temporary)
                    raise
        return True

    def get(self, path: str, local: Path | str, *, deadline_s: float = 60.0) -> None:
        """Fetch the file at `path`.  `local` appears when it is whole."""
        deadline = Deadline(deadline_s)
        temporary = Path(f"{local}.{secrets.token_hex(4)}.tmp")
        try:
            with (
                self._sftp(deadline, f"reading {path}") as sftp,
                sftp.open(path, "rb") as file,
                temporary.open("wb") as sink,
            ):
                file.prefetch(file.stat().st_size)
                while chunk := file.read(CHUNK_BYTES):
                    sink.write(chunk)
            temporary.replace(local)
        finally:
            temporary.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _sftp(self, deadline: Deadline, what: str) -> Iterator[SFTPClient]:
        connection = self._connected(deadline)
        channel = connection.open_session(deadline)
        with watch(connection, channel, deadline):
            try:
                channel.invoke_subsystem("sftp")
                yield SFTPClient(channel)
            except (SSHException, EOFError, OSError) as error:
                raise connection.failed(f"{what} failed", error, deadline) from None
            finally:
                connection.close_session(channel)

    # --- connections --------------------------------------------------------------------------------------------------

    def forward(self, host: str, port: int, deadline_s: float = 10.0) -> Channel:
        """A TCP connection from the host to `host`:`port`, to be used like a socket.

        ConnectionRefused when nothing listens there, DeadlinePassed when nothing answers.
        """
        deadline = Deadline(deadline_s)
        connection = self._connected(deadline)
        try:
            return connection.transport.open_channel(
                "direct-tcpip", (host, port), ("127.0.0.1", 0), timeout=max(0.001, deadline.left_s())
            )
        except ChannelException as error:
            if error.code == 1:
                raise HostError(
                    self.name,
                    "sshd forbids to forward connections",
                    remedy="Set AllowTcpForwarding yes in its sshd_config.",
                ) from None
            raise ConnectionRefused(
                self.name, f"{host} port {port} cannot be reached from there: {error.text}"
            ) from None
        except (SSHException, EOFError, OSError) as error:
            raise connection.failed(f"{host} port {port} did not answer", error, deadline) from None


@contextlib.contextmanager
def _source(source: Path | str | bytes) -> Iterator[io.BytesIO | io.BufferedReader]:
    if isinstance(source, bytes):
        yield io.BytesIO(source)
        return
    try:
        file = Path(source).open("rb")  # noqa: SIM115 - an error of opening is not one of what is done with it
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=str(source)) from None
    with file:
        yield file
