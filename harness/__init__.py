"""The controller, and what can go wrong outside a verdict: bad input, or a harness that could not do its work.

An error says what is wrong, where, and what to do about it, so that nobody needs a traceback to go on. A violated
promise is never an error: it is a verdict, with exit code 1.
"""

from __future__ import annotations


class UsageError(Exception):
    """Bad input: a file, a field, an option, or a machine that lacks something.  The command exits with 254.

    `what` says what is wrong, `where` names the file, line or field, `remedy` says what to do.
    """

    def __init__(self, what: str, *, where: str = "", remedy: str = "") -> None:
        self.what = what
        self.where = where
        self.remedy = remedy
        super().__init__(what)

    def __str__(self) -> str:
        message = f"{self.where}: {self.what}" if self.where else self.what
        return f"{message}\n  {self.remedy}" if self.remedy else message


class HarnessError(Exception):
    """The harness itself failed; this is no verdict on the system under test.  The command exits with 255."""

    def __init__(self, what: str, *, remedy: str = "") -> None:
        self.what = what
        self.remedy = remedy
        super().__init__(what)

    def __str__(self) -> str:
        return f"{self.what}\n  {self.remedy}" if self.remedy else self.what


class HostError(HarnessError):
    """One host did not do what it was asked to: `host`, the `command` if there was one, its `status` and `output`."""

    def __init__(
        self,
        host: str,
        what: str,
        *,
        remedy: str = "",
        command: str = "",
        status: int | None = None,
        output: str = "",
    ) -> None:
        self.host = host
        self.command = command
        self.status = status
        self.output = output
        super().__init__(what, remedy=remedy)

    def __str__(self) -> str:
        lines = [f"{self.host}: {self.what}"]
        if self.command:
            lines.append(f"command: {self.command}")
        if self.status is not None:
            lines.append(f"exit status: {self.status}")
        if self.output:
            lines.append(f"output: {self.output}")
        if self.remedy:
            lines.append(self.remedy)
        return "\n  ".join(lines)


class ConnectionLost(HostError):
    """There is no connection to the host, or it broke: whether the last command ran is unknown."""


class DeadlinePassed(HostError):
    """The host did not answer in time: whether the command ran, or still runs, is unknown."""


class ConnectionRefused(HostError):
    """The host was reached, and nothing listens at the address that was asked for."""
