"""Completion in bash, zsh and fish: commands and options, and values where they are cheap to know.

A shell asks by running `onethrone` with `_ONETHRONE_COMPLETE` set; click answers for commands and options.  What is
known of values is in `COMPLETERS`, by the name of the parameter: a command that calls a run `run` and a bug `bug` gets
their completion without a word.  Answers must come at once: nothing here imports paramiko, networkx or a history.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import click
from click.shell_completion import CompletionItem, get_completion_class

from harness import UsageError

VARIABLE = "_ONETHRONE_COMPLETE"
"""Set by a shell that asks for completions."""

RUNS_MAX = 40
FOLDERS_MAX = 2000
"""No more folders are looked at: results on a slow disk must not hold a shell up."""

_INSTALL = {
    "bash": "~/.local/share/bash-completion/completions/onethrone",
    "zsh": "~/.zfunc/_onethrone",
    "fish": "~/.config/fish/completions/onethrone.fish",
}

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


@click.command()
@click.argument("shell", type=click.Choice(sorted(_INSTALL)))
@click.option("--install", is_flag=True, help="Write the script where the shell looks for it, and print its path.")
@click.pass_context
def completion(ctx: click.Context, shell: str, install: bool) -> None:
    """Print the script that lets SHELL complete commands, options and values.

    \b
      source <(onethrone completion bash)     in this bash, or in ~/.bashrc
      source <(onethrone completion zsh)      in ~/.zshrc, after compinit
      onethrone completion fish | source      in this fish
      onethrone completion bash --install     for every bash from now on

    For bash, --install needs the package bash-completion.
    """
    made = get_completion_class(shell)
    assert made is not None
    # click's script for fish splits at every comma; ours in `--kinds kill,pause` belong to the value.
    text = made(ctx.find_root().command, {}, "onethrone", VARIABLE).source().replace('split ","', 'split --max 1 ","')
    if not install:
        click.echo(text)
        return
    path = Path(_INSTALL[shell]).expanduser()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot be written: {error.strerror}", where=str(path)) from None
    click.echo(path)
    if shell == "zsh":
        click.echo(
            "zsh finds it with these lines in ~/.zshrc:  fpath=(~/.zfunc $fpath); autoload -Uz compinit; compinit"
        )


# ---- values ----------------------------------------------------------------------------------------------------------


def bugs(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The catalogue's bugs, and what else the option takes (`NAME|all`)."""
    from node.bugs import names

    others = (param.metavar or "").split("|")[1:]
    return [CompletionItem(name) for name in [*names(), *others] if name.startswith(incomplete)]


def kinds(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Kinds of fault, the last of a list with commas."""
    from nemesis.faults import KINDS

    done, comma, last = incomplete.rpartition(",")
    taken = done.split(",")
    return [CompletionItem(f"{done}{comma}{kind}") for kind in KINDS if kind.startswith(last) and kind not in taken]


def runs(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Folders of runs, the newest first; for any other path, the shell's own completion of files."""
    results = Path(ctx.params.get("results") or "results")
    found = [text for text in map(str, _run_folders(results)) if text.startswith(incomplete)]
    if not found:
        return [CompletionItem(incomplete, type="file")]
    return [CompletionItem(text) for text in found[:RUNS_MAX]]


def _run_folders(results: Path) -> Iterator[Path]:
    """`latest`, each name's `latest`, and then the folders by their times."""
    stamps: list[tuple[str, Path]] = []
    try:
        if (results / "latest").exists() and not _is_campaign(results / "latest"):
            yield results / "latest"
        for name in sorted(os.scandir(results), key=lambda entry: entry.name):
            if name.is_dir(follow_symlinks=False):
                latest = results / name.name / "latest"
                yield from [latest] if latest.exists() and not _is_campaign(latest) else []
                stamps += [(entry.name, Path(entry.path)) for entry in os.scandir(name) if not entry.is_symlink()]
            if len(stamps) > FOLDERS_MAX:
                break
    except OSError:
        return
    yield from (path for _, path in sorted(stamps, reverse=True) if path.is_dir() and not _is_campaign(path))


def _is_campaign(folder: Path) -> bool:
    """Commands take runs; one of a campaign's runs is further below."""
    return (folder / "campaign.jsonl").exists()


COMPLETERS: dict[str, Completer] = {
    "bug": bugs,
    "kinds": kinds,
    "path": runs,
    "run": runs,
    "schedule": runs,
}


class _KnownNames(click.ParamType[object]):
    """Takes the place of a parameter's type while a shell asks."""

    name = "known"

    def __init__(self, completer: Completer) -> None:
        self._completer = completer

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return self._completer(ctx, param, incomplete)


def teach(command: click.Command) -> None:
    """Let a command, and those below it, complete the values that are known."""
    for each in [command, *(command.commands.values() if isinstance(command, click.Group) else ())]:
        for param in each.params:
            # An argument that has a name of its own ([PLAN.toml|FOLDER]) is something else than a run.
            if param.name in COMPLETERS and not (isinstance(param, click.Argument) and param.metavar):
                param.type = _KnownNames(COMPLETERS[param.name])
