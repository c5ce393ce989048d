"""What the pages say of the code is so: files, functions, modules, links and command lines exist as they are written.

Covered are README.md, CONTRIBUTING.md and docs/*.md.  CHANGELOG.md names what is gone, and is left out.  A word in
capitals in a path or a command (`tests/bugs/NAME.json`, `onethrone shrink RUN`) is the reader's to fill in.  A guide
(docs/writing-a-*.md) names the files that the reader is to write in its headings.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import click
import pytest

from harness.cli.onethrone import onethrone as program

ROOT = Path(__file__).parents[1]
FOLDERS = ("node", "nemesis", "checker", "harness", "tests", "docs", "tools")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md"))]

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())

FENCE = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#([^)\s]+))?\)")
PLACEHOLDER = re.compile(r"(?<![A-Za-z0-9_])[A-Z]{2,}(?![A-Za-z0-9_])")
COMMAND = re.compile(r"(?<![\w/.-])onethrone((?: +[^|&;)#`\n]+)?)")


def words_in_code(page: Path) -> Iterator[str]:
    """What stands in backticks, outside of fences."""
    for found in CODE.finditer(FENCE.sub("", page.read_text(encoding="utf-8"))):
        yield found.group(1)


# ---- files, functions, modules, links --------------------------------------------------------------------------------


def is_there(path: str) -> bool:
    if (ROOT / path).exists():
        return True
    pattern = PLACEHOLDER.sub("*", path).replace("...", "*").rstrip("/")
    return pattern != path and any(ROOT.glob(pattern))


@cache
def defined(file: Path) -> frozenset[str]:
    """The qualified names of a module's classes, functions, and names that are assigned at its top."""
    found: set[str] = set()

    def gather(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                found.add(prefix + node.name)
            if isinstance(node, ast.ClassDef):
                gather(node.body, f"{prefix}{node.name}.")
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            found.update(prefix + target.id for target in targets if isinstance(target, ast.Name))

    gather(ast.parse(file.read_text(encoding="utf-8")).body, "")
    return frozenset(found)


def module_or_name_is_there(dotted: str) -> bool:
    """Whether `a.b.c` is a module or package, or a name that one defines."""
    parts = dotted.split(".")
    for split in range(len(parts), 0, -1):
        base = ROOT.joinpath(*parts[:split])
        rest = ".".join(parts[split:])
        file = base.with_suffix(".py") if base.with_suffix(".py").exists() else base / "__init__.py"
        if file.exists():
            return not rest or rest in defined(file)
    return False


def missing_of(word: str) -> bool:
    """Whether a word in backticks means something of ours that is not there."""
    path, _, name = word.partition(":")
    if path in FOLDERS or (path.partition("/")[0] in FOLDERS and "/" in path and " " not in path):
        if not is_there(path):
            return True
        return bool(name) and path.endswith(".py") and name not in defined(ROOT / path)
    if re.fullmatch(r"[\w-]+\.py:[\w.]+", word):
        return not (ROOT / path).exists() or name not in defined(ROOT / path)
    if re.fullmatch(r"(node|nemesis|checker|harness|tests)(\.\w+)+", word):
        return not module_or_name_is_there(word)
    if module := re.match(r"python -m ((?:node|nemesis|checker|harness)(?:\.\w+)+)", word):
        return not module_or_name_is_there(module.group(1))
    return False


def files_of_the_reader(page: Path) -> set[str]:
    if not page.name.startswith("writing-a-"):
        return set()
    headings = re.findall(r"^#+ .*$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {word for heading in headings for word in CODE.findall(heading)}


@every_page
def test_files_functions_and_modules_that_a_page_names_exist(page: Path) -> None:
    words = set(words_in_code(page)) - files_of_the_reader(page)
    assert sorted(word for word in words if missing_of(word)) == []


@every_page
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    dead = []
    for target, anchor in LINK.findall(text):
        if re.match(r"[a-z]+:", target):
            continue
        file = (page.parent / target).resolve()
        if not file.exists() or (anchor and anchor not in anchors(file)):
            dead.append(f"{target}#{anchor}" if anchor else target)
    assert dead == []


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ +(.+)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_index_has_every_page() -> None:
    listed = {target for target, _ in LINK.findall((ROOT / "docs/index.md").read_text(encoding="utf-8"))}
    assert {page.name for page in ROOT.glob("docs/*.md")} - {"index.md"} - listed == set()


def test_every_step_of_the_walks_names_a_function() -> None:
    """So that the walks cannot become prose that nothing checks."""
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    walks = re.findall(r"## The walk of a (\w+)\n(.+?)(?=\n## |\Z)", text, re.DOTALL)
    assert [name for name, _ in walks] == ["vote", "fault", "seed"]
    for _, walk in walks:
        steps = [line for line in walk.splitlines() if line.startswith("| ")][1:]
        assert len(steps) > 5
        assert [step for step in steps if not re.search(r"`[\w/]+\.py:[\w.]+`", step)] == []


# ---- command lines ---------------------------------------------------------------------------------------------------


def shown_commands(page: Path) -> Iterator[str]:
    """The arguments of each `onethrone ...` that a reader may type: in a fence, an indented block, or backticks."""
    text = page.read_text(encoding="utf-8")
    for fence in FENCE.findall(text):
        for line in fence.splitlines():
            if line.lstrip().startswith(("$ ", "onethrone ")):
                yield from (found.group(1) for found in COMMAND.finditer(re.sub(r" #.*| {3,}.*", "", line)))
    for line in FENCE.sub("", text).splitlines():
        if line.startswith("    onethrone "):
            yield re.sub(r" {3,}.*", "", line.strip())[len("onethrone") :]
    for word in words_in_code(page):
        if word.startswith("onethrone ") and not word.endswith("..."):
            yield word[len("onethrone") :]


def command_of(words: list[str]) -> tuple[click.Command, list[str], click.Context]:
    """The sub-command that the words begin with, and the words that are left."""
    command: click.Command = program
    context = click.Context(command, info_name="onethrone")
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(context, words[0])
        assert found is not None, f"there is no command {words[0]}"
        command, words = found, words[1:]
        context = click.Context(command, info_name=command.name, parent=context)
    return command, words, context


def wrong(arguments: str) -> str:
    """What is wrong with a command line; "" when nothing is.

    Options, their values and the number of arguments are checked.  Files need not exist, and a command that is only
    named (`onethrone check`) needs no arguments.
    """
    if "COMMAND" in arguments:
        return ""
    try:
        command, words, context = command_of(shlex.split(arguments))
        if not words:
            return ""
        values, left, _ = command.make_parser(context).parse_args(list(words))
        if left:
            return f"unexpected: {left}"
        for param in [] if "--help" in words else command.params:
            check_value(param, context, values.get(param.name or ""))
    except (AssertionError, click.ClickException) as error:
        return str(error.format_message() if isinstance(error, click.ClickException) else error)
    return ""


def check_value(param: click.Parameter, context: click.Context, value: Any) -> None:
    absent = value in (None, ()) or "UNSET" in repr(value)  # click 8.3 and later have a private word for it
    if absent:
        if param.required:
            raise click.MissingParameter(param=param, ctx=context)
        return
    if isinstance(param.type, click.Path | click.File) or PLACEHOLDER.fullmatch(str(value)) or str(value) in ("A", "N"):
        return
    param.type_cast_value(context, value)


@every_page
def test_command_lines_that_a_page_shows_are_accepted(page: Path) -> None:
    problems = {command: wrong(command) for command in shown_commands(page)}
    assert {command: problem for command, problem in problems.items() if problem} == {}


def every_option() -> set[str]:
    found = {"-h", "--help"}
    waiting: list[click.Command] = [program]
    context = click.Context(program)
    while waiting:
        command = waiting.pop()
        for param in command.params:
            found.update([*param.opts, *param.secondary_opts])
        if isinstance(command, click.Group):
            waiting += filter(None, (command.get_command(context, name) for name in command.list_commands(context)))
    return found


@every_page
def test_options_that_a_page_names_exist(page: Path) -> None:
    options = every_option()
    named = {match for word in words_in_code(page) if (match := word.split()[0]).startswith("--")}
    assert named - options == set()


@every_page
def test_targets_of_make_that_a_page_shows_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    shown = re.findall(r"(?:`|\$ )make (\w+)", page.read_text(encoding="utf-8"))
    assert [target for target in shown if not re.search(rf"^{target}:", makefile, re.MULTILINE)] == []


def test_a_wrong_command_line_is_noticed() -> None:
    assert "no command" in wrong(" torment --hosts lab:5")
    assert "--houses" in wrong(" run --houses lab:5")
    assert "'x'" in wrong(" simulate --seed x")
    assert "unexpected" in wrong(" check a b")
    assert wrong(" export results/latest")  # --to is required
    assert not wrong(" simulate --seed N")
