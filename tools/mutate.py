"""Measure which lines of the core could be changed unnoticed: `python tools/mutate.py --sample 400 --seed 1`.

The model.  A mutant is one function with one change: a comparison, a sign, a number, a condition, a value that becomes
None, a call that is left out.  The changes are drawn from all that are possible, by the seed.

1.  The tests run once, unchanged, in this process, and it is noted which test executes which line.
2.  Each mutant runs in a fork: its code takes the place of the function's, and the tests that execute the changed
    line run until the first one fails.  A mutant is *noticed* by a failure, or by the time limit.
3.  What a log line or a reason says to people is no mutant: no test should fail on it.
4.  As a control, every unchanged function goes the same way first, and no test may fail.

It prints a table and the mutants that nobody noticed.  Judge these by hand: some changes cannot matter.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib
import json
import os
import random
import resource
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any, NamedTuple

import pytest
from _pytest.runner import runtestprotocol

ROOT = Path(__file__).resolve().parents[1]
PROTOCOL = ("broadcast", "connections", "core", "database", "election", "following", "leadership", "leading", "quorums",
            "server", "transactions", "votes")  # fmt: skip
MODULES = [
    *(f"node.protocol.{name}" for name in PROTOCOL),
    *(f"node.wire.{name}" for name in ("jute", "packets", "frames")),
]
TESTS = [f"tests/node/test_{name}.py" for name in (
    "broadcast", "connections", "database", "election", "leader_discovery", "leader_liveness", "leader_synchronisation",
    "learner_broadcast", "learner_discovery", "learner_synchronisation", "packets", "quorums",
    "server", "transcripts", "votes", "wire",
)]  # fmt: skip
LIMIT_S = 60
"""Maximum time of one mutant.  The tests together take less."""
TEXT_CALLS = {"log", "report", "refuse", "close", "stop_leading", "stop_following", "LeaderMisbehaved", "WireError"}
"""Calls whose arguments are for people."""
FIELD_CALLS = {"Reader", "boolean", "buffer", "error", "int32", "int64", "string", "take", "vector"}
"""Calls whose strings are for people: names of fields, for a `WireError` to say."""

COMPARISONS: dict[type[ast.cmpop], list[type[ast.cmpop]]] = {
    ast.Lt: [ast.LtE, ast.Gt], ast.LtE: [ast.Lt, ast.Gt], ast.Gt: [ast.GtE, ast.Lt], ast.GtE: [ast.Gt, ast.Lt],
    ast.Eq: [ast.NotEq], ast.NotEq: [ast.Eq], ast.Is: [ast.IsNot], ast.IsNot: [ast.Is], ast.In: [ast.NotIn],
    ast.NotIn: [ast.In],
}  # fmt: skip
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv,
    ast.LShift: ast.RShift, ast.RShift: ast.LShift, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip


class Mutant(NamedTuple):
    module: str
    function: str
    """Its qualified name."""
    first: int
    last: int
    """The lines of the changed expression."""
    change: str
    code: CodeType


# ---- what can be changed ---------------------------------------------------------------------------------------------


def is_text(node: ast.AST, parents: dict[ast.AST, ast.AST]) -> bool:
    """Is a string, or what stands in it, for people?"""
    at: ast.AST | None = node
    while at is not None and not isinstance(at, ast.stmt):
        parent = parents.get(at)
        if isinstance(parent, ast.Call) and at is not parent.func:
            name = parent.func.attr if isinstance(parent.func, ast.Attribute) else getattr(parent.func, "id", "")
            if name in TEXT_CALLS or (name in FIELD_CALLS and is_string(node)):
                return True
        if isinstance(at, ast.JoinedStr) or (isinstance(at, ast.BinOp) and is_string(at.left)):
            return True
        at = parent
    return isinstance(at, ast.Expr) and is_string(at.value)


def is_string(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def replacements(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:  # noqa: PLR0912 - a branch for each kind of node
    """What may stand in place of a node, and a word for it."""
    if isinstance(node, ast.Compare):
        for index, op in enumerate(node.ops):
            for other in COMPARISONS[type(op)]:
                changed = copy.deepcopy(node)
                changed.ops[index] = other()
                yield "comparison", changed
    elif isinstance(node, ast.BoolOp):
        changed_op = copy.deepcopy(node)
        changed_op.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield "and/or", changed_op
    elif isinstance(node, ast.UnaryOp):
        yield "without its sign", node.operand
    elif isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        changed_bin = copy.deepcopy(node)
        changed_bin.op = OPERATORS[type(node.op)]()
        yield "operator", changed_bin
    elif isinstance(node, ast.AugAssign) and type(node.op) in OPERATORS:
        changed_aug = copy.deepcopy(node)
        changed_aug.op = OPERATORS[type(node.op)]()
        yield "operator", changed_aug
        yield "without the old value", ast.Assign([node.target], node.value)
    elif isinstance(node, ast.Constant):
        if isinstance(node.value, bool):
            yield "constant", ast.Constant(not node.value)
        elif isinstance(node.value, int):
            yield "constant", ast.Constant(node.value + 1)
        elif isinstance(node.value, (str, bytes)):
            yield "constant", ast.Constant(b"XX" if isinstance(node.value, bytes) else "XX")
    elif isinstance(node, (ast.Assign, ast.AnnAssign, ast.Return)) and node.value is not None:
        if not (isinstance(node.value, ast.Constant) and node.value.value is None):
            changed_value = copy.deepcopy(node)
            changed_value.value = ast.Constant(None)
            yield "value None", changed_value
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield "call left out", ast.Pass()
    elif isinstance(node, (ast.If, ast.IfExp, ast.While)):
        changed_if = copy.deepcopy(node)
        changed_if.test = ast.UnaryOp(ast.Not(), node.test)
        yield "condition negated", changed_if
    elif isinstance(node, ast.Continue):
        yield "break", ast.Break()
    elif isinstance(node, ast.Break):
        yield "continue", ast.Continue()


def is_for_people(node: ast.AST, parents: dict[ast.AST, ast.AST]) -> bool:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        func = node.value.func
        return isinstance(func, ast.Attribute) and func.attr == "log"
    return is_text(node, parents)


def functions(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef]]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            yield from ((f"{node.name}.{each.name}", each) for each in node.body if isinstance(each, ast.FunctionDef))


def code_of(tree: ast.Module, path: str, function: str) -> CodeType | None:
    ast.fix_missing_locations(tree)
    try:
        code = compile(tree, path, "exec", dont_inherit=True)
    except SyntaxError:
        return None
    found = code
    for name in function.split("."):
        found = next(c for c in found.co_consts if isinstance(c, CodeType) and c.co_name == name)
    return found


def function_of(module: str, function: str) -> FunctionType | None:
    """The function to be replaced; None for what is not a plain function, method or property."""
    owner: Any = importlib.import_module(module)
    *classes, name = function.split(".")
    for each in classes:
        owner = getattr(owner, each)
    found = vars(owner)[name]
    found = found.fget if isinstance(found, property) else found
    return found if isinstance(found, FunctionType) else None


class Site(NamedTuple):
    """A place for a change: the node of a function's tree, and which of its replacements."""

    module: str
    function: str
    node: int
    choice: int


def source_of(module: str) -> Path:
    return ROOT.joinpath(*module.split(".")).with_suffix(".py")


def sites(module: str) -> Iterator[Site]:
    for function, definition in functions(ast.parse(source_of(module).read_text())):
        if function_of(module, function) is None:
            continue
        parents = parents_of(definition)
        for index, node in enumerate(ast.walk(definition)):
            if is_code(node, definition, parents):
                yield from (Site(module, function, index, choice) for choice, _ in enumerate(replacements(node)))


def mutant(site: Site) -> Mutant | None:
    """None where the changed function cannot be put in the place of the other."""
    tree = ast.parse(source_of(site.module).read_text())
    first, last, change = changed(dict(functions(tree))[site.function], site.node, site.choice)
    code, target = code_of(tree, str(source_of(site.module)), site.function), function_of(site.module, site.function)
    if code is None or target is None or code.co_freevars != target.__code__.co_freevars:
        return None
    return Mutant(site.module, site.function, first, last, change, code)


def parents_of(definition: ast.FunctionDef) -> dict[ast.AST, ast.AST]:
    return {child: node for node in ast.walk(definition) for child in ast.iter_child_nodes(node)}


def is_code(node: ast.AST, definition: ast.FunctionDef, parents: dict[ast.AST, ast.AST]) -> bool:
    """Is a node in the body of its function, and no text and no annotation?"""
    at = node
    while at in parents:
        parent = parents[at]
        if isinstance(parent, ast.AnnAssign) and at is parent.annotation:
            return False
        if parent is definition and at not in definition.body:
            return False
        at = parent
    return node is not definition and not is_for_people(node, parents)


def changed(definition: ast.FunctionDef, index: int, choice: int) -> tuple[int, int, str]:
    """Make the `choice`th change of the `index`th node, in place: its lines, and what it is."""
    parents = parents_of(definition)
    node = list(ast.walk(definition))[index]
    what, new = list(replacements(node))[choice]
    before = ast.unparse(node).splitlines()[0]
    first, last = node.lineno, node.end_lineno or node.lineno  # type: ignore[attr-defined]
    if isinstance(node, (ast.If, ast.While)):
        last = node.test.end_lineno or first
    ast.copy_location(new, node)
    parent = parents[node]
    for name, value in ast.iter_fields(parent):
        if value is node:
            setattr(parent, name, new)
        elif isinstance(value, list) and node in value:
            value[value.index(node)] = new
    after = ast.unparse(ast.fix_missing_locations(new)).splitlines()[0]
    return first, last, f"{what}: {before} -> {after}"


# ---- running them ----------------------------------------------------------------------------------------------------


class Runner:
    """A pytest plugin whose loop runs the tests once, and then each mutant."""

    def __init__(self, sample: list[Mutant], out: Path | None) -> None:
        self.sample = sample
        self.out = out
        self.results: list[tuple[Mutant, str]] = []
        self.files = {str(source_of(module)) for module in MODULES}
        self.executed: dict[tuple[str, int], list[pytest.Item]] = defaultdict(list)
        self.took: dict[pytest.Item, float] = {}

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        for item in session.items:
            lines = self.trace(item)
            for line in lines:
                self.executed[line].append(item)
        print(f"{len(session.items)} tests, {sum(self.took.values()):.0f} s", flush=True)
        self.control(session.items)
        for number, each in enumerate(self.sample, 1):
            result = self.try_out(each)
            self.results.append((each, result))
            if result != "noticed":
                print(f"{number}: {result}: {where(each)}", flush=True)
            elif number % 50 == 0:
                print(f"{number} of {len(self.sample)}", flush=True)
            if self.out is not None:
                with self.out.open("a") as file:
                    file.write(json.dumps([each.module, each.function, each.first, each.change, result]) + "\n")
        return True

    def trace(self, item: pytest.Item) -> set[tuple[str, int]]:
        lines: set[tuple[str, int]] = set()

        def local(frame: FrameType, event: str, arg: Any) -> Any:
            if event == "line":
                lines.add((frame.f_code.co_filename, frame.f_lineno))
            return local

        def entered(frame: FrameType, event: str, arg: Any) -> Any:
            return local if frame.f_code.co_filename in self.files else None

        sys.settrace(entered)
        began = time.monotonic()
        try:
            passed = runs(item)
        finally:
            sys.settrace(None)
        self.took[item] = time.monotonic() - began
        if not passed:
            raise pytest.UsageError(f"{item.nodeid} fails without any change")
        return lines

    def control(self, items: list[pytest.Item]) -> None:
        """Put each function in its own place: no test may fail."""
        pid = os.fork()
        if pid == 0:
            for module in MODULES:
                path = source_of(module)
                tree = ast.parse(path.read_text())
                for function, _ in functions(tree):
                    code, target = code_of(tree, str(path), function), function_of(module, function)
                    if target is not None and code is not None:
                        target.__code__ = code
            os._exit(0 if all(runs(item) for item in items) else 1)
        if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0:
            raise pytest.UsageError("the tests fail though no function was changed")

    def try_out(self, mutant: Mutant) -> str:
        path = str(source_of(mutant.module))
        lines = range(mutant.first, mutant.last + 1)
        items = {item: None for line in lines for item in self.executed.get((path, line), [])}
        if not items:
            return "executed by no test"
        pid = os.fork()
        if pid == 0:
            resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
            target = function_of(mutant.module, mutant.function)
            assert target is not None
            target.__code__ = mutant.code
            survived = all(runs(item) for item in sorted(items, key=lambda item: self.took[item]))
            os._exit(0 if survived else 1)
        end = time.monotonic() + LIMIT_S
        while time.monotonic() < end:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                return "noticed" if os.waitstatus_to_exitcode(status) != 0 else "survived"
            time.sleep(0.005)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return "noticed"


def runs(item: pytest.Item) -> bool:
    return not any(report.failed for report in runtestprotocol(item, log=False, nextitem=None))


def where(mutant: Mutant) -> str:
    return f"{mutant.module.replace('.', '/')}.py:{mutant.first} {mutant.function}: {mutant.change}"


def main() -> int:
    parser = argparse.ArgumentParser(description="Sample mutants of the core, and see which ones its tests notice.")
    parser.add_argument("--sample", type=int, default=400, help="Number of mutants. Default: 400.")
    parser.add_argument("--seed", type=int, default=1, help="Draws the mutants. Default: 1.")
    parser.add_argument("--out", type=Path, help="Append each result to this file, as JSON Lines.")
    parser.add_argument(
        "--again", type=Path, metavar="FILE", help="Run only the mutants that are in this file of results, not noticed."
    )
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    possible = [site for module in MODULES for site in sites(module)]
    random.Random(options.seed).shuffle(possible)
    drawable: Iterator[Mutant] = filter(None, map(mutant, possible))
    if options.again is not None:
        lines = [json.loads(line) for line in options.again.read_text().splitlines()]
        left = {(module, function, change) for module, function, _, change, result in lines if result != "noticed"}
        drawable = (each for each in drawable if (each.module, each.function, each.change) in left)
    sample = list(islice(drawable, options.sample))
    print(f"{len(sample)} of {len(possible)} possible mutants", flush=True)
    os.chdir(ROOT)
    runner = Runner(sample, options.out)
    arguments = ["-q", "-o", "addopts=", "-p", "no:timeout", "-p", "no:cacheprovider", "-p", "no:randomly", *TESTS]
    if pytest.main(arguments, plugins=[runner]) not in (0, 5):
        return 1
    drawn = Counter(each.module for each, _ in runner.results)
    noticed = Counter(each.module for each, result in runner.results if result == "noticed")
    for module in MODULES:
        print(f"| `{module.partition('.')[2].replace('.', '/')}` | {drawn[module]} | {noticed[module]} |")
    print(f"| together | {sum(drawn.values())} | {sum(noticed.values())} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
