"""Each run gets a folder of its own, and the links lead to the right one."""

from pathlib import Path

import pytest

from harness import UsageError
from harness.results import folder


def test_two_runs_of_one_second_get_two_folders_and_latest_leads_to_the_second(tmp_path: Path) -> None:
    first = folder.create(tmp_path, "night")
    first.begin()
    second = folder.create(tmp_path, "night")
    second.begin()
    assert first.path != second.path
    for link in (tmp_path / "latest", tmp_path / "night" / "latest", tmp_path / "current"):
        assert link.resolve() == second.path


def test_current_goes_away_with_its_run_and_not_with_another(tmp_path: Path) -> None:
    first = folder.create(tmp_path, "night")
    first.begin()
    second = folder.create(tmp_path, "night")
    second.begin()
    first.end()
    assert (tmp_path / "current").resolve() == second.path
    second.end()
    assert not (tmp_path / "current").is_symlink()


def test_a_run_that_is_refused_leaves_other_runs_and_nothing_of_its_own(tmp_path: Path) -> None:
    results = tmp_path / "results"
    folder.create(results, "night").discard()
    assert not results.exists()
    first = folder.create(results, "night")
    first.begin()
    folder.create(results, "night").discard()
    assert (results / "latest").resolve() == first.path
    assert set(first.path.parent.iterdir()) == {first.path, first.path.parent / "latest"}


@pytest.mark.parametrize("name", ["", "../up", "a/b", "latest", "-x", "x" * 200])
def test_a_name_that_would_leave_the_results_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="name"):
        folder.create(tmp_path, name)
    assert list(tmp_path.iterdir()) == []


def test_results_that_cannot_be_written_are_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="choose another --results"):
        folder.create(tmp_path / "file", "night")
