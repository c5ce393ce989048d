"""A command on a host that is talked to in lines, and how the channel of any command is read and bounded."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Iterator

from paramiko import Channel, SSHException

from harness import HostError
from harness.hosts.ssh.connection import Deadline, SshConnection

LINE_MAX_BYTES = 16 << 20
CHUNK_BYTES = 1 << 16
_STDERR_TAIL_BYTES = 16 << 10
_CLOSE_S = 2.0


class _Wake(threading.Event):
    """Set when a channel has something new.  paramiko clears it when a stream is empty, though the other may not be."""

    def clear(self) -> None:
        """Only the reader may clear it."""

    def reset(self) -> None:
        super().clear()


class Streams:
    """What a channel received.  (Channel.fileno() closes its pipe while another thread may be about to write to it.)"""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._wake = _Wake()
        channel.in_buffer.set_event(self._wake)
        channel.in_stderr_buffer.set_event(self._wake)

    def drain(self) -> tuple[bytes, bytes, bool]:
        """Everything that is there now, of both streams, and whether that was the end."""
        self._wake.reset()
        ended = bool(self._channel.eof_received) or self._channel.closed
        out, err = bytearray(), bytearray()
        while self._channel.recv_ready():
            out += self._channel.recv(CHUNK_BYTES)
        while self._channel.recv_stderr_ready():
            err += self._channel.recv_stderr(CHUNK_BYTES)
        return bytes(out), bytes(err), ended

    def wait(self, seconds: float) -> None:
        self._wake.wait(seconds)


class RemoteProcess:
    """A command that stays, and is talked to in lines.  One thread reads; any number may send.

    `close` ends the channel, which the command sees as the end of its input; whether it ends then is its own affair.
    """

    def __init__(self, connection: SshConnection, channel: Channel, command: str) -> None:
        self.command = command
        self._connection = connection
        self._channel = channel
        self._streams = Streams(channel)
        self._lines: deque[bytes] = deque()
        self._partial = bytearray()
        self._stderr = bytearray()
        self._ended = False
        self._send_lock = threading.Lock()
        self._close_lock = threading.Lock()
        self._closed = False

    @property
    def alive(self) -> bool:
        """Whether the channel is open: neither has the command ended nor the connection broken."""
        return (
            not self._closed and not self._channel.closed and not self._channel.eof_received and self._connection.alive
        )

    @property
    def status(self) -> int | None:
        """The command's exit status; None while it runs, or when it is unknown."""
        status = self._channel.exit_status if self._channel.status_event.is_set() else -1
        return None if status < 0 else status

    def wait(self, deadline_s: float) -> int | None:
        """Wait for the command's end: its exit status, or None when it is unknown.  It may come after the last line."""
        if not self._channel.status_event.wait(deadline_s):
            deadline = Deadline(deadline_s)
            raise self._connection.failed("the command did not end", TimeoutError(), deadline, self.command)
        return self.status

    @property
    def stderr(self) -> str:
        """The end of what the command said on standard error."""
        return self._stderr.decode(errors="replace").strip()

    def send_line(self, line: bytes, deadline_s: float = 10.0) -> None:
        """Send a line; a newline is added.  After a DeadlinePassed, close the process: a part may be sent."""
        deadline = Deadline(deadline_s)
        if not self._send_lock.acquire(timeout=deadline_s):
            raise self._connection.failed("the line was not sent", TimeoutError(), deadline, self.command)
        try:
            with watch(self._connection, self._channel, deadline):
                self._channel.settimeout(max(0.001, deadline.left_s()))
                self._channel.sendall(line.rstrip(b"\n") + b"\n")
        except (SSHException, EOFError, OSError) as error:
            if self._connection.alive and self._channel.closed and not deadline.passed:
                what = "the line was not sent: the command has ended"
                raise HostError(self._connection.name, what, command=self.command, output=self.stderr) from None
            raise self._connection.failed("the line was not sent", error, deadline, self.command) from None
        finally:
            self._send_lock.release()

    def read_line(self, deadline_s: float) -> bytes | None:
        """The next line, without its newline; None when the command has ended its output.

        DeadlinePassed when none came in time (nothing is lost: call again), ConnectionLost when the connection broke.
        """
        deadline = Deadline(deadline_s)
        while not self._lines:
            if self._ended:
                if self._partial:
                    self._lines.append(bytes(self._partial))
                    self._partial.clear()
                    break
                if not self._closed and not self._connection.alive and self.status is None:
                    raise self._connection.lost("a line was waited for", self.command)
                return None
            out, err, self._ended = self._streams.drain()
            self._stderr = (self._stderr + err)[-_STDERR_TAIL_BYTES:]
            if out:
                *lines, rest = (bytes(self._partial) + out if b"\n" in out else out).split(b"\n")
                self._partial = bytearray(rest) if lines else self._partial + rest
                self._lines.extend(lines)
                if len(self._partial) > LINE_MAX_BYTES:
                    self.close()
                    raise HostError(
                        self._connection.name, f"a line of more than {LINE_MAX_BYTES} bytes", command=self.command
                    )
            elif not self._ended:
                if deadline.passed:
                    raise self._connection.failed("no line came", TimeoutError(), deadline, self.command)
                self._streams.wait(deadline.left_s())
        return self._lines.popleft()

    def close(self) -> None:
        """Close the channel.  Closing twice is allowed."""
        with self._close_lock:
            if self._closed:
                return
            self._closed = True
        with watch(self._connection, self._channel, Deadline(_CLOSE_S)):
            self._connection.close_session(self._channel)


@contextlib.contextmanager
def watch(connection: SshConnection, channel: Channel, deadline: Deadline) -> Iterator[None]:
    """Bound what paramiko does not: at the deadline close the channel; when that does not free the caller, close all.

    A stopped peer holds a sender in its socket's buffer, and the closer of the channel behind it.
    """
    over = threading.Event()

    def guard() -> None:
        if over.wait(deadline.left_s()):
            return
        threading.Thread(target=_close_quietly, args=(channel,), daemon=True).start()
        if not over.wait(_CLOSE_S):
            connection.close()

    threading.Thread(target=guard, name=f"deadline of {connection.name}", daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _close_quietly(channel: Channel) -> None:
    with contextlib.suppress(SSHException, EOFError, OSError):
        channel.close()
