"""`onethrone replay RUN`.

Exit codes: 0 everything came out the same, 1 something did not, 2 a server has no journal, 254 a journal was changed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from harness import UsageError
from harness.results import exits


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--server", metavar="HOST", help="Replay only this server. Default: all.")
@click.option(
    "--step", is_flag=True, help="Walk through the server's inputs, with the effects and the state after each."
)
@click.option(
    "--from",
    "since",
    metavar="TIME",
    help="Start the walk at a time of the run (12.5s) or a line of the journal (line:812).",
)
@click.option("--until", metavar="TIME", help="End the walk at this time or line, and print the server's whole state.")
@click.option("--whole", is_flag=True, help="Print the whole state at each step, not only what changed.")
@click.option(
    "--bug", metavar="NAME|none", help="Feed the inputs to the core with this bug. Default: the core that ran."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object on standard output.")
def replay(
    run: Path,
    server: str | None,
    step: bool,
    since: str | None,
    until: str | None,
    whole: bool,
    bug: str | None,
    as_json: bool,
) -> int:
    """Feed each server's recorded inputs through the protocol core again.

    RUN is a run's folder.  If transitions or effects differ, the first difference is shown.

    \b
      onethrone replay results/latest
      onethrone replay results/latest --server n3 --until 12.5s --step
      onethrone replay results/latest --bug none

    With --bug none, the first difference is where the correct core behaves differently.
    """
    from harness.replay.run import known_bug, replay_run
    from harness.replay.walk import Bound, walk

    core = known_bug(bug)
    if step or since or until or whole:
        if server is None:
            raise UsageError("--step, --from, --until and --whole walk through one server's inputs; name it: --server")
        if as_json:
            raise UsageError("--json prints no walk; leave --step, --from, --until and --whole out")
        on_terminal = step and sys.stdin.isatty() and sys.stdout.isatty()
        same = walk(
            run,
            server,
            since=Bound(since, "--from") if since else None,
            until=Bound(until, "--until") if until else None,
            step=step or whole,
            whole=whole,
            bug=core,
            say=click.echo,
            ask=input if on_terminal else None,
        )
        return exits.VALID if same else exits.INVALID

    result = replay_run(run, server, core)
    if as_json:
        click.echo(json.dumps(result.to_json()))
    else:
        for line in result.lines():
            click.echo(line)
    if result.differences or result.verdict_same is False:
        return exits.INVALID
    if result.damaged:
        return exits.WRONG_INPUT
    return exits.UNKNOWN if result.missing else exits.VALID
