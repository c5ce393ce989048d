"""The command line: one file a command.  click lives here alone."""

from harness.cli.onethrone import main

__all__ = ["main"]
