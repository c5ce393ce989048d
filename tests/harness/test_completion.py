"""Help and completion, in real shells: what somebody gets who types Tab."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from harness.cli.onethrone import onethrone
from tests.terminal import Terminal

BIN = Path(sys.executable).parent


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder with a few runs in it, and a home without a user's settings."""
    for run in ("nightly/20261127T180000Z", "nightly/20261127T190000Z", "simulated/20261127T200000Z"):
        (tmp_path / "results" / run).mkdir(parents=True)
    campaign = tmp_path / "results" / "night" / "20261127T210000Z"  # begins as a run's folder does
    campaign.mkdir(parents=True)
    (campaign / "campaign.jsonl").write_text("")
    (campaign.parent / "latest").symlink_to(campaign.name)
    (tmp_path / "results" / "latest").symlink_to("simulated/20261127T200000Z")
    (tmp_path / "plans").mkdir()
    return tmp_path


def environment(home: Path) -> dict[str, str]:
    return {"PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(home), "LC_ALL": "C.UTF-8"}


class Shell:
    """A shell at a prompt, in a folder."""

    def __init__(self, shell: str, folder: Path, *words: str) -> None:
        program = shutil.which(shell)
        assert program, f"these tests need {shell}; `make test-packages` installs it"
        self.terminal = Terminal([program, *words], columns=100, rows=40, env=environment(folder))
        self._n = 0
        self.run(f"cd {folder}")

    def run(self, line: str) -> None:
        """Run a line and wait for its end."""
        self._n += 1
        self.terminal.type(f"{line}; printf 'done-%s\\n' {self._n}\n")
        self.terminal.until(lambda: any(row == f"done-{self._n}" for row in self.terminal.screen), line)

    def completes(self, typed: str, to: str) -> None:
        """Typing that and Tab makes the line become `to`."""
        self.terminal.type(typed + "\t")
        self.terminal.until(lambda: self.terminal.screen[-1].endswith(to), f"{typed}<Tab> becomes {to}")
        self.terminal.type("\x15")  # Ctrl-U

    def offers(self, typed: str, *choices: str) -> None:
        """Typing that and Tab shows those."""
        self.terminal.type(typed + "\t")
        for choice in choices:
            self.terminal.until(lambda choice=choice: self.terminal.shows(choice), f"{typed}<Tab>")  # type: ignore[misc]
        self.terminal.type("\x03")


@pytest.fixture
def bash(here: Path) -> Iterator[Shell]:
    shell = Shell("bash", here, "--norc", "--noprofile", "-i")
    with shell.terminal:
        for setting in (
            "enable-bracketed-paste off",
            "completion-query-items 0",
            "page-completions off",
            "show-all-if-ambiguous on",
        ):
            shell.run(f"bind 'set {setting}'")
        shell.run("source <(onethrone completion bash)")
        yield shell


@pytest.fixture
def zsh(here: Path) -> Iterator[Shell]:
    shell = Shell("zsh", here, "-f", "-i")
    with shell.terminal:
        shell.run(
            "unsetopt zle_bracketed_paste prompt_sp; unset zle_bracketed_paste; autoload -Uz compinit; compinit -u -D"
        )
        shell.run("source <(onethrone completion zsh)")
        yield shell


def test_bash_completes_commands_options_bugs_kinds_systems_and_runs(bash: Shell) -> None:
    bash.completes("onethrone simu", "onethrone simulate")
    bash.completes("onethrone run --sched", "onethrone run --schedule")
    bash.completes("onethrone run --bug half", "--bug half-quorum")
    bash.completes("onethrone run --kinds kill,part", "--kinds kill,partition")
    bash.completes("onethrone run --system zoo", "--system zookeeper")
    bash.completes("onethrone check results/n", "onethrone check results/nightly/20261127T1")
    bash.completes("onethrone check pl", "onethrone check plans/")  # no run's folder: files, as everywhere
    bash.completes("onethrone lab sh", "onethrone lab shell")
    bash.offers("onethrone replay ", "results/latest", "results/simulated/20261127T200000Z")


def test_zsh_completes_commands_options_bugs_kinds_systems_and_runs(zsh: Shell) -> None:
    zsh.completes("onethrone simu", "onethrone simulate")
    zsh.completes("onethrone run --sched", "onethrone run --schedule")
    zsh.completes("onethrone run --bug half", "--bug half-quorum")
    zsh.completes("onethrone run --kinds kill,part", "--kinds kill,partition")
    zsh.completes("onethrone run --system zoo", "--system zookeeper")
    zsh.completes("onethrone check results/n", "onethrone check results/nightly/20261127T1")
    zsh.completes("onethrone check results/s", "onethrone check results/simulated/20261127T200000Z")


def test_fish_completes_commands_options_bugs_kinds_systems_and_runs(here: Path) -> None:
    fish = shutil.which("fish")
    assert fish, "these tests need fish; `make test-packages` installs it"

    def offered(line: str) -> list[str]:
        ended = subprocess.run(
            [fish, "--no-config", "-c", f"onethrone completion fish | source; complete -C '{line}'"],
            capture_output=True, text=True, timeout=60, check=True, cwd=here, env=environment(here),
        )  # fmt: skip
        return [each.split("\t")[0] for each in ended.stdout.splitlines()]

    assert offered("onethrone simu") == ["simulate"]
    assert offered("onethrone run --bug half") == ["half-quorum"]
    assert offered("onethrone run --kinds kill,part") == ["kill,partition"]
    assert offered("onethrone run --system zoo") == ["zookeeper"]
    assert "results/simulated/20261127T200000Z" in offered("onethrone check results/s")
    assert not [each for each in offered("onethrone check results/") if "results/night/" in each]


@pytest.mark.parametrize(
    ("shell", "path"),
    [
        ("bash", ".local/share/bash-completion/completions/onethrone"),
        ("zsh", ".zfunc/_onethrone"),
        ("fish", ".config/fish/completions/onethrone.fish"),
    ],
)
def test_install_writes_the_script_where_the_shell_looks(tmp_path: Path, shell: str, path: str) -> None:
    def ask(*words: str) -> str:
        return subprocess.run(
            [str(BIN / "onethrone"), "completion", shell, *words],
            capture_output=True, text=True, timeout=60, check=True, env=environment(tmp_path),
        ).stdout  # fmt: skip

    assert ask("--install").splitlines()[0] == str(tmp_path / path)
    assert (tmp_path / path).read_text() == ask()


WORDS = [
    "",
    "run --",
    "run --bug ",
    "run --kinds ",
    "simulate --",
    "replay ",
    "check ",
    "hosts check --",
    "lab ",
    "serve --",
]


@pytest.mark.parametrize("words", WORDS)
def test_no_answer_waits_for_paramiko_or_networkx(here: Path, words: str) -> None:
    program = """
import sys
from harness.cli import main
try:
    main([])
finally:
    print([m for m in ("paramiko", "networkx", "cryptography") if m in sys.modules], file=sys.stderr)
"""
    line = f"onethrone {words}"
    asked = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - (not line.endswith(" ")))}
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False, cwd=here,
        env=environment(here) | asked | {"_ONETHRONE_COMPLETE": "bash_complete"},
    )  # fmt: skip
    assert ended.stderr == "[]\n"
    assert ended.stdout.count("\n") >= 2


# ---- help ------------------------------------------------------------------------------------------------------------


def every_command() -> list[tuple[str, ...]]:
    context = click.Context(onethrone)
    found: list[tuple[str, ...]] = [()]
    for name in onethrone.list_commands(context):
        command = onethrone.get_command(context, name)
        found.append((name,))
        if isinstance(command, click.Group):
            found += [(name, below) for below in command.commands]
    return found


@pytest.mark.parametrize("words", every_command(), ids=" ".join)
def test_help_is_whole_within_80_columns(words: tuple[str, ...]) -> None:
    text = CliRunner().invoke(onethrone, [*words, "--help"], prog_name="onethrone", env={"COLUMNS": "80"}).stdout
    assert all(len(line) <= 80 for line in text.splitlines()), text
    assert "RANGE" not in text
    assert "..." not in text.replace("[ARGS]...", "").replace("[COMMAND]...", ""), "a summary is cut"
    command: Any = onethrone
    for word in words:
        command = command.get_command(click.Context(command), word)
    assert command.help
    for param in command.params:
        assert not isinstance(param, click.Option) or param.help, param.name
