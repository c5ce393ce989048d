"""What the workload needs of a system's clients: registers that are written once, read, and read all together.

The model.  A *register* is a number that is there or not.  A client is one session on one server, used by one thread.
A call ends in one of three ways, which are Jepsen's three ends of an operation:

*   it returns: the operation happened, and this is its result (`ok`);
*   it raises `Failed`: the operation surely did not happen (`fail`);
*   it raises `Unknown`: nobody knows (`info`).  The session is of no further use.

The rules: nothing is sent twice, and every call ends within its deadline, whatever trickles in meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol


class SocketLike(Protocol):
    """What a connection must offer; `socket.socket` and `paramiko.Channel` do."""

    def sendall(self, data: bytes, /) -> object: ...
    def recv(self, count: int, /) -> bytes: ...
    def settimeout(self, timeout: float | None, /) -> None: ...
    def shutdown(self, how: int, /) -> None: ...
    def close(self) -> None: ...


Connect = Callable[[int], SocketLike]
"""Opens a connection to a port of one host, within a deadline of its own; raises OSError, EOFError or HarnessError."""


class ClientError(Exception):
    """A call that did not return a result; `code` is the system's own, when a server gave one."""

    def __init__(self, what: str, code: int | None = None) -> None:
        super().__init__(what)
        self.code = code


class Failed(ClientError):
    """The operation surely did not happen."""


class Unknown(ClientError):
    """Whether the operation happened is not known, and the session is of no further use."""


class RegisterClient(Protocol):
    """One session on one server."""

    @property
    def usable(self) -> bool:
        """False once a call ended as `Unknown`, or after `close`."""

    def write(self, value: int) -> None:
        """Put a value there that nobody has written."""

    def read(self, value: int) -> int | None:
        """The value, or None where this server does not have it."""

    def read_all(self, deadline_s: float) -> Iterable[int]:
        """Every value that this server has, once it has caught up with what was committed before the call."""

    def close(self) -> None:
        """End the session in good order, if the server answers soon, and hang up."""

    def abort(self) -> None:
        """Wake the thread that waits in a call of this client; the call ends as `Unknown`.  Any thread may call it."""


class Clients(Protocol):
    """How sessions are opened."""

    def connect(self, connect: Connect, deadline_s: float) -> RegisterClient:
        """A session on the server of the host that `connect` leads to; each of its calls ends within `deadline_s`.

        Raises OSError, EOFError, HarnessError or `Failed`: no operation can have happened.
        """
