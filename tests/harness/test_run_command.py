"""`onethrone run`, where it refuses before anything is made: no host, no folder, and nothing said of one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness import run
from harness.cli import main


@pytest.fixture(autouse=True)
def no_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    def made(*_: Any) -> None:
        pytest.fail("hosts were made")

    monkeypatch.setattr(run, "cluster", made)


@pytest.mark.parametrize(("words", "says"), [(("--name", ""), "--name: it is empty")])
def test_what_is_known_to_be_wrong_is_refused_before_anything_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], says: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["run", "--hosts", "lab:3", "--results", str(tmp_path / "results"), *words])
    said = capsys.readouterr().err
    assert ended.value.code == 254
    assert says in said
    assert "is kept in" not in said
    assert not (tmp_path / "results").exists()
