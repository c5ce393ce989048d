"""The floor plan, computed from the syntax trees: who may import whom, what stands where, and what is named how.

docs/architecture.md states the rules.  An import counts wherever it stands: at the top, in a function, for types alone.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import networkx as nx
import pytest

ROOT = Path(__file__).parents[1]
PRODUCT = ("node", "nemesis", "checker", "harness")
LINES_MAX = 500
ENTRIES_MAX = 16
"""At the top of `harness/`."""

SEAMS = ("harness/systems/", "harness/hosts/provision/")
"""Only here may a system or a kind of host be asked for by its name."""


@cache
def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), str(file))


def sources(*folders: str) -> list[Path]:
    return sorted(file for folder in folders for file in (ROOT / folder).rglob("*.py"))


def place(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def module_of(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported(file: Path) -> Iterator[str]:
    """The dotted names that a file imports; of `from a import b` it is `a.b`."""
    for found in ast.walk(tree_of(file)):
        if isinstance(found, ast.ImportFrom):
            assert not found.level, f"{place(file)}:{found.lineno}: imports here are absolute"
            yield from (f"{found.module}.{alias.name}" for alias in found.names)
        elif isinstance(found, ast.Import):
            yield from (alias.name for alias in found.names)


@cache
def graph() -> nx.DiGraph[str]:
    """Modules of the product; an arrow from each to those that it imports."""
    files = {module_of(file): file for file in sources(*PRODUCT)}
    arrows: nx.DiGraph[str] = nx.DiGraph()
    arrows.add_nodes_from(files)
    for module, file in files.items():
        for name in imported(file):
            owner = name
            while owner and owner not in files:
                owner = owner.rpartition(".")[0]
            if owner and owner != module:
                arrows.add_edge(module, owner)
    return arrows


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert [sorted(circle) for circle in nx.strongly_connected_components(graph()) if len(circle) > 1] == []


def test_node_nemesis_and_checker_know_only_themselves() -> None:
    against = [
        f"{a} -> {b}"
        for a, b in graph().edges
        if a.partition(".")[0] != "harness" and a.partition(".")[0] != b.partition(".")[0]
    ]
    assert against == []


def test_nothing_outside_the_command_line_imports_it() -> None:
    """But for a campaign's child process, whose work may be a whole command."""
    arrows = [(a, b) for a, b in graph().edges if b.startswith("harness.cli") > a.startswith("harness.cli")]
    assert arrows == [("harness.campaign.work", "harness.cli.onethrone")]


def test_click_lives_in_the_command_line_alone() -> None:
    outside = [file for file in sources(*PRODUCT) if not place(file).startswith("harness/cli/")]
    assert [place(file) for file in outside if any(name.split(".")[0] == "click" for name in imported(file))] == []


def test_the_top_of_harness_is_a_list_of_subjects() -> None:
    entries = [p for p in (ROOT / "harness").iterdir() if p.is_file() or any(p.rglob("*.py"))]  # not what caches left
    assert [path.name for path in entries if not path.is_dir()] == ["__init__.py"]
    assert len(entries) <= ENTRIES_MAX


def test_a_file_of_over_500_lines_says_why_in_its_head() -> None:
    long = {file: file.read_text(encoding="utf-8").count("\n") for file in sources(*PRODUCT, "tests")}
    silent = {
        place(file): lines
        for file, lines in long.items()
        if lines > LINES_MAX and "over 500 lines" not in (ast.get_docstring(tree_of(file)) or "").lower()
    }
    assert silent == {}


def test_one_class_name_has_one_meaning() -> None:
    """But for the planted bugs, each of which is a class `Bug` in a file of its own."""
    places: dict[str, list[str]] = defaultdict(list)
    for file in sources(*PRODUCT):
        for found in tree_of(file).body:
            if isinstance(found, ast.ClassDef) and not (found.name == "Bug" and file.parent.name == "bugs"):
                places[found.name].append(place(file))
    assert {name: files for name, files in places.items() if len(files) > 1} == {}


def names_behind_the_seams() -> set[str]:
    """Every system and every scheme of hosts that is known."""
    from harness.hosts.provision import registry as hosts
    from harness.systems import registry as systems

    return {*systems.names(), *hosts.schemes()}


def keyed_by(tree: ast.AST, names: set[str]) -> Iterator[int]:
    """The lines where something is compared with, matched against, or looked up by one of these names."""

    def named(node: ast.AST | None) -> bool:
        if isinstance(node, ast.Tuple | ast.List | ast.Set):
            return any(named(element) for element in node.elts)
        return isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.rstrip(":") in names

    for found in ast.walk(tree):
        compared = isinstance(found, ast.Compare) and any(map(named, [found.left, *found.comparators]))
        matched = isinstance(found, ast.MatchValue) and named(found.value)
        keyed = isinstance(found, ast.Dict) and any(map(named, found.keys))
        looked_up = isinstance(found, ast.Subscript) and named(found.slice)
        asked = (
            isinstance(found, ast.Call)
            and isinstance(found.func, ast.Attribute)
            and found.func.attr in ("get", "startswith", "removeprefix", "pop")
            and any(map(named, found.args[:1]))
        )
        if compared or matched or keyed or looked_up or asked:
            yield getattr(found, "lineno", 0)


def test_outside_the_seams_nothing_depends_on_the_name_of_a_system_or_a_kind_of_host() -> None:
    names = names_behind_the_seams()
    assert {"onethrone", "zookeeper", "lab"} <= names
    found = [
        f"{place(file)}:{line}"
        for file in sources(*PRODUCT)
        if not place(file).startswith(SEAMS)
        for line in keyed_by(tree_of(file), names)
    ]
    assert found == []


@pytest.mark.parametrize(
    "text",
    [
        "if system == 'zookeeper': pass",
        "if scheme in ('lab', 'vms'): pass",
        "match system:\n case 'zookeeper': pass",
        "UNJUDGED = {'zookeeper': ()}",
        "BY_NAME['lab']",
        "plan.get('lab')",
        "spec.startswith('lab:')",
    ],
)
def test_every_way_to_depend_on_a_name_is_noticed(text: str) -> None:
    assert list(keyed_by(ast.parse(text), {"zookeeper", "lab"}))
