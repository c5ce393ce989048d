"""`onethrone check PATH`: the verdict again, from the history alone.

Exit codes: 0 valid, 1 invalid, 2 unknown, 254 when PATH holds no history that can be read (the error says where).
"""

from __future__ import annotations

import json
import sys

import click

from checker.counted import counted
from checker.history import HistoryError
from checker.promises.base import Result, Valid
from checker.verdict import Verdict, check
from harness.results import exits, verdict_file

WORDS: dict[Valid, str] = {True: "valid", False: "INVALID", "unknown": "unknown"}

VIOLATIONS_SHOWN = 10


@click.command("check")
@click.argument("path", type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="Print the whole verdict as one JSON object.")
def command(path: str, as_json: bool) -> None:
    """Judge a history again.  PATH is a run's folder or a history.jsonl.

    Exits with 0 if every promise held, 1 if one was broken, and 2 if the history does not show enough to tell.
    """
    try:
        verdict = check(path)
    except HistoryError as error:
        click.echo(f"onethrone check: {error}", err=True)
        if as_json:
            click.echo(json.dumps({"error": str(error)}))
        sys.exit(exits.WRONG_INPUT)
    click.echo(verdict_file.text(verdict) if as_json else render(verdict), nl=False)
    sys.exit(exits.of(verdict.valid))


def render(verdict: Verdict) -> str:
    """The verdict for a terminal: a sentence, a line per promise, what was broken, why it is unknown, and notes."""
    lines = [verdict.summary, ""]
    width = max(len(result.name) for result in verdict.results)
    for result in verdict.results:
        word = WORDS[result.valid] if result.judged else "reported"
        lines.append(f"  {result.name:<{width}}  {word:<8}  {_stats(result)}".rstrip())
    for result in verdict.results:
        if result.judged and result.valid is False:
            lines += ["", *_violations(result)]
    if verdict.reasons:
        lines += ["", "Not shown:"] + [f"  - {reason}" for reason in verdict.reasons]
    if verdict.notes:
        lines += ["", "Notes:"] + [f"  - {note}" for note in verdict.notes]
    lines += ["", f"{counted(verdict.run['ops'], 'op')} over {verdict.run['length_s']} s in {verdict.run['history']}"]
    return "\n".join(lines) + "\n"


def _stats(result: Result) -> str:
    shown = {name: value for name, value in result.stats.items() if not isinstance(value, list | dict)}
    return ", ".join(f"{name.removesuffix('_s').replace('_', ' ')} {value}{' s' if name.endswith('_s') else ''}"
                     for name, value in shown.items())  # fmt: skip


def _violations(result: Result) -> list[str]:
    lines = [f"{result.name}: broken {counted(result.violation_count, 'time')}"]
    for violation in result.violations[:VIOLATIONS_SHOWN]:
        lines.append(f"  {violation.time / 1e9:.3f} s  {violation.message}")
        ops, servers = ", ".join(map(str, violation.ops)), ", ".join(violation.servers)
        lines.append(f"      ops {ops}; servers {servers or 'none'}")
        faults = [
            f"{fault['fault']} {fault['f']}{' on ' + ', '.join(fault['hosts']) if fault['hosts'] else ''}"
            f"{'' if fault['surely'] else ' (perhaps)'}"
            for fault in violation.faults
        ]
        lines.append(f"      faults in force: {'; '.join(faults) or 'none'}")
    if result.violation_count > VIOLATIONS_SHOWN:
        lines.append(f"  ... and {result.violation_count - VIOLATIONS_SHOWN} more")
    return lines
