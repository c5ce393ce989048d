"""What an emitted test needs: `shrink` writes tests that import this module and nothing else of Onethrone.

    from onethrone_testing import failing_case

    CASE = failing_case('{"promise": "evidence", "seed": 3, ...}')

    def test_evidence_is_kept() -> None:
        run = CASE.run(bug="half-quorum")            # "" is the correct server
        assert "evidence" not in run.broken, run.summary

Modules of `harness` may move from one version to the next.  This one stays, and so does what it defines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.shrink.case_file import Kept, parse


@dataclass(frozen=True)
class CaseRun:
    """How a case ended: the names of the promises that were broken, and the verdict in words."""

    broken: Sequence[str]
    summary: str


class FailingCase:
    """A simulated run that broke a promise: seed, ensemble, world and schedule.  The same run each time."""

    def __init__(self, case: Kept) -> None:
        self._case = case

    @property
    def promise(self) -> str:
        """The promise that the case was kept for."""
        return self._case.promise

    def run(self, bug: str = "") -> CaseRun:
        """Run it again with this planted bug; "" is the correct server.  KeyError: no bug has that name."""
        run = self._case.run(bug=bug)
        return CaseRun(run.broken, run.verdict.summary)


def failing_case(text: str) -> FailingCase:
    """Read a case from the JSON that `shrink` wrote.  Raises harness.UsageError, with the field that is wrong."""
    return FailingCase(parse(text))
