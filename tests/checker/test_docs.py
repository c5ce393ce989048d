"""docs/history.md against the code: its example is valid, and every field and effect that the code knows is in it."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from checker import vocabulary
from checker.effects import ON_HOSTS, ON_LINKS
from checker.history import Op
from checker.names import ORDER, RENAMED
from checker.verdict import check

PAGE = (Path(__file__).parent.parent.parent / "docs" / "history.md").read_text()


def example() -> str:
    (text,) = re.findall(r"```jsonl\n(.*?)```", PAGE, re.DOTALL)
    return str(text)


def test_the_example_of_the_docs_is_valid(tmp_path: Path) -> None:
    (tmp_path / "history.jsonl").write_text(example())
    verdict = check(tmp_path)
    assert verdict.valid is True, verdict.summary


def test_the_example_of_the_docs_is_not_valid_by_luck(tmp_path: Path) -> None:
    (tmp_path / "history.jsonl").write_text(example().replace('"read-all","value":[[1,1]]', '"read-all","value":[]', 1))
    assert check(tmp_path).valid is False


@pytest.mark.parametrize(
    "struct",
    [
        Op,
        vocabulary.RunOp,
        vocabulary.ServerEntry,
        vocabulary.EnsembleSettings,
        vocabulary.QuorumRule,
        vocabulary.Bounds,
        vocabulary.Phase,
        vocabulary.State,
        vocabulary.Started,
        vocabulary.Stopped,
        vocabulary.Healed,
        vocabulary.FaultOp,
        vocabulary.Stream,
        vocabulary.End,
    ],
)
def test_every_field_that_the_code_reads_is_documented(struct: type[msgspec.Struct]) -> None:
    fields = [f.name for f in msgspec.structs.fields(struct) if not f.encode_name.startswith("*")]  # of the code alone
    missing = [name for name in fields if not documented(name)]
    assert missing == []


def documented(name: str) -> bool:
    return f"`{name}`" in PAGE or f'"{name}":' in PAGE


def test_every_f_effect_and_promise_is_documented() -> None:
    names = {*vocabulary._of_controller, *vocabulary._of_server, "create", "read", "read-all", *ORDER, *RENAMED}
    assert [name for name in names if f"`{name}`" not in PAGE] == []
    assert [kind for kind in (*ON_HOSTS, *ON_LINKS) if f'{{"{kind}": ' not in PAGE] == []


def test_each_promise_has_its_rule_in_the_order_of_the_results() -> None:
    assert tuple(re.findall(r"^### `([a-z-]+)`$", PAGE.split("## What must hold")[1], re.MULTILINE)) == ORDER
