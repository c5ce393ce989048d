"""The command `onethrone`.

Sub-commands are imported when they are called: `--help` must not wait for paramiko and networkx (0.3 s).
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import traceback
from typing import Any, NamedTuple, TextIO, cast

import click
from click.shell_completion import CompletionItem

from harness import HarnessError, UsageError
from harness.cli.completion import VARIABLE, teach
from harness.results import exits
from harness.results.exits import HARNESS_FAILED, VALID, WRONG_INPUT
from harness.watch.terminal import EscapingStream, OutputLost


class _CommandEntry(NamedTuple):
    """A command: the module and the attribute that it is, and a line about it."""

    name: str
    module: str
    attribute: str
    about: str


_ENTRIES = (
    _CommandEntry("run", "harness.cli.run", "run", "Run a cluster on hosts, inject faults, and judge what happened."),
    _CommandEntry("check", "harness.cli.check", "command", "Judge a history again."),
    _CommandEntry("report", "harness.cli.report", "report", "Write a run's HTML report again."),
    _CommandEntry(
        "simulate",
        "harness.cli.simulate",
        "simulate_command",
        "Run our election server in a simulator, a minute in a fraction of a second.",
    ),
    _CommandEntry(
        "campaign",
        "harness.cli.campaign",
        "campaign",
        "Run through the night, on hosts and in the simulator, and report in the morning.",
    ),
    _CommandEntry(
        "replay", "harness.cli.replay", "replay", "Feed each server's recorded inputs through the protocol core again."
    ),
    _CommandEntry(
        "shrink", "harness.cli.shrink", "shrink_command", "Find the smallest schedule that breaks the same promise."
    ),
    _CommandEntry(
        "serve", "harness.cli.serve", "serve", "Show runs and campaigns in a browser, including those in progress."
    ),
    _CommandEntry("export", "harness.cli.export", "export", "Export a run to another tool's format."),
    _CommandEntry("lab", "harness.cli.lab", "lab", "Make throw-away hosts on this machine."),
    _CommandEntry("hosts", "harness.cli.hosts", "hosts", "Check what hosts can do; make hosts that outlive a run."),
    _CommandEntry("completion", "harness.cli.completion", "completion", "Set up tab completion in your shell."),
)
_COMMANDS = {entry.name: entry for entry in _ENTRIES}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        _, module, attribute, _ = _COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        _name_values(command)
        if VARIABLE in os.environ:
            teach(command)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            # click takes any broken pipe for a reader that went away, and says nothing.  `OutputLost` is such a reader.
            raise HarnessError(f"a pipe to a process of ours broke, so it died or could not start: {error}") from error

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Our own commands come from the table: to complete a name, none of them is imported."""
        names = [CompletionItem(name, help=about) for name, _, _, about in _ENTRIES]
        return [
            *(item for item in names if item.value.startswith(incomplete)),
            *click.Command.shell_complete(self, ctx, incomplete),
        ]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, _, _, summary in _ENTRIES])


_METAVARS = {"integer range": "N", "integer": "N", "float range": "SECONDS", "float": "SECONDS", "text": "NAME"}


def _name_values(command: click.Command) -> None:
    """In help, a value is called for what it is, where the option itself does not: `--seed N`, not INTEGER RANGE."""
    for each in command.commands.values() if isinstance(command, click.Group) else [command]:
        for param in each.params:
            if isinstance(param, click.Option) and param.metavar is None and not param.is_flag:
                param.metavar = _METAVARS.get(param.type.name)


def _print_version(ctx: click.Context, param: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from harness.results import version

        click.echo(f"onethrone {version.full()}")
        ctx.exit()


@click.command(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True, "auto_envvar_prefix": "ONETHRONE"},
    epilog=exits.HELP,
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version and exit.",
)
def onethrone() -> None:
    """Inject faults into a cluster's leader election, and decide from the history which promises held.

    \b
      onethrone run --hosts lab:5 --time-limit 60   a minute of faults, here
      onethrone serve                               browse the results
      onethrone COMMAND --help                      the options of a command
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code; an error is one clear line, never a traceback."""
    stdout, stderr = sys.stdout, sys.stderr
    sys.stdout = stdout and cast(TextIO, EscapingStream(stdout, "standard output"))
    sys.stderr = stderr and cast(TextIO, EscapingStream(stderr, "standard error"))
    try:
        code = _exit_code(arguments)
    finally:
        sys.stdout, sys.stderr = stdout, stderr
    sys.exit(code)


def _exit_code(arguments: list[str] | None) -> int:
    try:
        result: Any = onethrone.main(args=arguments, prog_name="onethrone", standalone_mode=False)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except BaseException as error:  # noqa: BLE001 - the last resort: a defect of ours must not look like a verdict
        return _failed(error, "--json" in (sys.argv[1:] if arguments is None else arguments))
    return result if isinstance(result, int) else VALID


def _failed(error: BaseException, as_json: bool) -> int:
    """Say why a command ended without a result, and give its exit code."""
    code, text = _explained(error)
    with contextlib.suppress(OutputLost):  # the exit code is then all that is left to say it
        if isinstance(error, click.ClickException):
            error.show()
        elif text:
            print(f"onethrone: {text}", file=sys.stderr, flush=True)
        if as_json and isinstance(error, UsageError | HarnessError | click.ClickException):
            print(json.dumps({"error": text}), flush=True)
    if isinstance(error, OutputLost):
        os.dup2(os.open(os.devnull, os.O_WRONLY), error.stream.fileno())  # or Python complains again at its exit
    return code


def _explained(error: BaseException) -> tuple[int, str]:
    """The exit code, and what to say ("" for nothing)."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else HARNESS_FAILED, ""
    if isinstance(error, OutputLost):
        return HARNESS_FAILED, "" if error.reader_gone else str(error)
    if isinstance(error, click.ClickException):
        return WRONG_INPUT, error.format_message()
    if isinstance(error, UsageError | HarnessError):
        return WRONG_INPUT if isinstance(error, UsageError) else HARNESS_FAILED, str(error)
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return HARNESS_FAILED, "interrupted"
    where = "".join(traceback.format_exception(error)) if os.environ.get("ONETHRONE_DEBUG") else _HOW_TO_SEE_WHERE
    return HARNESS_FAILED, f"the harness failed: {type(error).__name__}: {error}\n{where}"


_HOW_TO_SEE_WHERE = "onethrone: ONETHRONE_DEBUG=1 shows where"
