"""`onethrone serve`."""

from __future__ import annotations

import errno
import signal
from pathlib import Path

import click

from harness import UsageError
from harness.runs import signals


@click.command()
@click.option(
    "--results", type=click.Path(path_type=Path), default=Path("results"), help="The folder that holds all runs."
)
@click.option(
    "--host", metavar="ADDRESS", default="127.0.0.1", help="The address to listen on. 0.0.0.0 admits every machine."
)
@click.option("--port", type=click.IntRange(0, 65535), default=8470, help="The port to listen on. 0: any free port.")
def serve(results: Path, host: str, port: int) -> None:
    """Show runs and campaigns in a browser, including those in progress.

    It never writes.  It answers only this machine, unless you give --host.  Then anybody who can reach that address
    can read every result.  Ctrl-C stops it.

    \b
      onethrone serve
      onethrone serve --results nightly --port 8080
    """
    from harness.serve.server import ResultsServer

    if results.is_file():
        raise UsageError(
            "it is a file, not a folder", where=f"--results {results}", remedy="Give the folder where runs are kept."
        )
    if not results.is_dir():
        raise UsageError(f"--results {results}: there is no such folder", remedy="`onethrone run` makes one.")
    try:
        server = ResultsServer(results, host, port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UsageError(
                f"--port {port}: something else listens at {host}:{port}",
                remedy="Choose another port, or --port 0 for any that is free.",
            ) from None
        raise UsageError(f"--host {host} --port {port}: cannot be listened at: {error.strerror}") from None
    try:
        with signals.handled((signal.SIGTERM, signal.SIGHUP), signals.interrupt):
            click.echo(f"{server.tree.root} is at {server.url}", err=True)
            server.serve_forever(poll_interval=0.2)
    except KeyboardInterrupt:
        click.echo("", err=True)
    finally:
        server.server_close()
