"""Imports of `node`: one way, standard library only, and no class name twice."""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import networkx as nx

import node

NODE = Path(node.__file__).parent
MODULES = {
    ".".join(path.relative_to(NODE.parent).with_suffix("").parts).removesuffix(".__init__"): ast.parse(path.read_text())
    for path in sorted(NODE.rglob("*.py"))
}


def imported(module: str) -> Iterator[str]:
    """All modules that a module imports, at any depth: in functions and for type checkers, too."""
    for statement in ast.walk(MODULES[module]):
        if isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom):
            assert statement.module is not None
            for alias in statement.names:
                whole = f"{statement.module}.{alias.name}"
                yield whole if whole in MODULES else statement.module


def test_no_modules_of_node_import_each_other_in_a_circle() -> None:
    graph: nx.DiGraph[str] = nx.DiGraph((module, other) for module in MODULES for other in imported(module))
    assert list(nx.simple_cycles(graph)) == []


def test_node_imports_nothing_but_itself_and_the_standard_library() -> None:
    foreign = {other.partition(".")[0] for module in MODULES for other in imported(module)} - sys.stdlib_module_names
    assert foreign == {"node"}


def test_the_core_imports_nothing_that_does_input_or_output() -> None:
    """A rule of the whole project: the core is (now, event) in, effects out."""
    core = [module for module in MODULES if module.startswith("node.protocol.")]
    outside = {other for module in core for other in imported(module) if other not in MODULES}
    assert outside <= {"__future__", "bisect", "collections.abc", "dataclasses", "sys", "typing"}


def test_leader_and_learner_know_nothing_of_each_other() -> None:
    leading = {"node.protocol.leadership", "node.protocol.broadcast", "node.protocol.leading"}
    assert not leading & set(imported("node.protocol.following"))
    assert all("node.protocol.following" not in set(imported(module)) for module in leading)


def test_no_two_classes_of_node_have_the_same_name() -> None:
    """Planted bugs are the exception: each file of the catalogue holds one `Bug`."""
    classes = [node.name for tree in MODULES.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    assert [name for name, times in Counter(classes).items() if times > 1] == ["Bug"]
