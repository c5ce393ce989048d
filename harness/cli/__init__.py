"""The command line: one file a command.  click lives here alone."""

from __future__ import annotations

import signal


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code.

    Until its modules are loaded there is nothing to clean up, and Ctrl-C ends the process at once, without a traceback
    of an import.
    """
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if ours:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from harness.cli import onethrone

    if ours:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    onethrone.main(arguments)
