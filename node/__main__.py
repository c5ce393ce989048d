"""The command of a server: `python3 onethrone-node.pyz serve --config zoo.cfg [--events FILE] [--journal FILE]`."""

from __future__ import annotations

import argparse
import os
import sys
from typing import List, NoReturn, Optional

from node import bugs
from node.agent.agent import EXIT_DISK, EXIT_USAGE, serve
from node.agent.storage import StorageError
from node.properties import ConfigError
from node.protocol.server import Server
from node.zoo_cfg import load


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_USAGE, "%s: %s; see %s --help\n" % (self.prog, message, self.prog))


def main(arguments: Optional[List[str]] = None) -> int:
    parser = _Parser(prog="onethrone-node", description="An election server, wire-compatible with ZooKeeper 3.8.")
    commands = parser.add_subparsers(dest="command", required=True, parser_class=_Parser)
    command = commands.add_parser("serve", help="run one server of the ensemble until SIGTERM")
    command.add_argument(
        "--config", required=True, metavar="FILE", help="ZooKeeper's zoo.cfg; myid lies in its dataDir"
    )
    command.add_argument("--bug", default="", metavar="NAME", help="a planted bug: " + ", ".join(bugs.names()))
    command.add_argument("--events", metavar="FILE", help="append every state transition to this file, as JSON Lines")
    command.add_argument("--journal", metavar="FILE", help="append every input of the core to this file")
    options = parser.parse_args(arguments)
    if options.bug and options.bug not in bugs.names():
        command.error("--bug: no bug is called %r; there are %s" % (options.bug, ", ".join(bugs.names())))
    try:
        config = load(options.config)
        server_class = bugs.load(options.bug) if options.bug else Server
        return serve(config, server_class, options.bug, (options.events, options.journal))
    except (ConfigError, StorageError) as error:
        return _complain(EXIT_USAGE, str(error))
    except OSError as error:
        if error.filename is None:  # a write to a file that could be opened
            return _complain(EXIT_DISK, "a write failed: %s" % error)
        problem = "%s: %s; name a file that can be written" % (error.filename, error.strerror)
        return _complain(EXIT_USAGE, problem)


def _complain(code: int, text: str) -> int:
    """Says why this process ends, if anybody can be told; the exit code."""
    try:
        print("onethrone-node: %s" % text, file=sys.stderr, flush=True)
    except OSError:
        return EXIT_DISK
    return code


def _end(code: int) -> NoReturn:
    """Ends with this code.  Python would make it 120 if something is left in a buffer that cannot be written."""
    try:
        sys.stderr.flush()
    except (OSError, AttributeError):  # None where it was closed before we began
        os._exit(code or EXIT_DISK)
    sys.exit(code)


if __name__ == "__main__":
    _end(main())
