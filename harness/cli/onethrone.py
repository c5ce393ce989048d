"""The command `onethrone`.

Sub-commands are imported when they are called: `--help` must not wait for paramiko and networkx (0.3 s).
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from typing import Any, NamedTuple

import click
from click.shell_completion import CompletionItem

from harness import HarnessError, UsageError
from harness.cli.completion import VARIABLE, teach
from harness.results import exits
from harness.results.exits import HARNESS_FAILED, VALID, WRONG_INPUT


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
    sys.exit(_exit_code(arguments))


def _exit_code(arguments: list[str] | None) -> int:  # noqa: PLR0911 - an exit code for each way to end
    stdout = sys.stdout
    try:
        result: Any = onethrone.main(args=arguments, prog_name="onethrone", standalone_mode=False)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.show()
        return WRONG_INPUT
    except UsageError as error:
        print(f"onethrone: {error}", file=sys.stderr)
        return WRONG_INPUT
    except HarnessError as error:
        print(f"onethrone: {error}", file=sys.stderr)
        return HARNESS_FAILED
    except (KeyboardInterrupt, click.Abort):
        print("onethrone: interrupted", file=sys.stderr)
        return HARNESS_FAILED
    except SystemExit:
        if sys.stdout is not stdout:  # click put another in its place, since nobody reads it, and ends with a 1
            return HARNESS_FAILED
        raise
    except BrokenPipeError:
        # Whoever read our output has gone (`onethrone check | head`); Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return HARNESS_FAILED
    except Exception as error:  # noqa: BLE001 - the last resort: a defect of ours must not look like a verdict
        print(f"onethrone: the harness failed: {type(error).__name__}: {error}", file=sys.stderr)
        if os.environ.get("ONETHRONE_DEBUG"):
            traceback.print_exc()
        else:
            print("onethrone: ONETHRONE_DEBUG=1 shows where", file=sys.stderr)
        return HARNESS_FAILED
    return result if isinstance(result, int) else VALID
