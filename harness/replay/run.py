"""A run through the same core again: all of its servers' journals, and then the verdict.

Each server is replayed by itself (`harness.replay.server`), held against its host's `events.jsonl` and the run's
history.  If all came out the same, the verdict is made once more from the history, with the repeated transitions in the
place of the recorded ones: a violation is repeated exactly, or the difference is told.  Nothing is needed but the
run's folder.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from checker.counted import counted
from checker.history import History, HistoryError, Op, read
from checker.routing import Routing
from checker.vacuity import knowledge_ends
from checker.verdict import Verdict, check, conclude
from harness import UsageError
from harness.hosts import archive
from harness.replay.server import JOURNAL, Difference, Records, Replayed, replay_host
from harness.results import files
from node import bugs
from node.agent import agent

EVENTS = "events.jsonl"


@dataclass
class Replay:
    """How a run fared."""

    run: Path
    servers: list[Replayed]
    missing: list[str]
    """Hosts of the ensemble without a journal."""
    notes: list[str]
    verdict: Verdict | None = None
    """Made again, from the repeated transitions; None if not all of them came out, or without a history."""
    verdict_same: bool | None = None
    """Whether the recorded transitions give the same verdict, violation by violation; None if it was not made."""

    @property
    def differences(self) -> list[Difference]:
        return [server.difference for server in self.servers if server.difference]

    @property
    def damaged(self) -> list[str]:
        return [server.damage for server in self.servers if server.damage]

    @property
    def same(self) -> bool:
        return not self.differences and not self.damaged and self.verdict_same is not False

    def lines(self) -> list[str]:
        """For a terminal."""
        width = max(len(server.host) for server in self.servers)
        shown = []
        for server in self.servers:
            parts = ((server.inputs, "input"), (server.starts, "start"), (server.transitions, "transition"))
            counts = ", ".join(counted(*part) for part in parts)
            word = "the same" if server.same else "DAMAGED" if server.damage else "DIFFERENT"
            was_cut = counted(server.cut_short, "transition was", "transitions were")
            cut = f"; {was_cut} cut short by a crash" if server.cut_short else ""
            shown.append(f"  {server.host:<{width}}  {word}: {counts}, {counted(server.effects, 'effect')}{cut}")
        shown += [f"  {host:<{width}}  unknown: there is no journal of it" for host in self.missing]
        for difference in self.differences:
            shown += ["", *difference.lines()]
        shown += ["", *self.damaged] if self.damaged else []
        notes = [*self.notes, *(note for server in self.servers for note in server.notes)]
        shown += ["", "Notes:", *(f"  - {note}" for note in notes)] if notes else []
        shown += ["", self._sentence()]
        if self.verdict is not None:
            same = f", the same {counted(len(self.verdict.violations), 'violation')}" if self.verdict.violations else ""
            shown.append(f"Judged again, from the repeated transitions{same}: {self.verdict.summary}")
            if self.verdict_same is False:
                shown.append("That is NOT the verdict on the recorded transitions.")
        return shown

    def _sentence(self) -> str:
        servers = counted(len(self.servers), "server")
        if self.differences:
            return f"Not the same: {len(self.differences)} of {servers} answered otherwise."
        if self.damaged:
            return f"Damaged: {len(self.damaged)} of {counted(len(self.servers), 'journal')} are not what was written."
        inputs, effects = sum(s.inputs for s in self.servers), sum(s.effects for s in self.servers)
        transitions = sum(server.transitions for server in self.servers)
        return (
            f"The same: {counted(inputs, 'input')} gave the same {counted(effects, 'effect')} and "
            f"{counted(transitions, 'transition')} on {servers}."
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "same": self.same,
            "run": str(self.run),
            "servers": [
                {
                    "host": server.host,
                    "same": server.same,
                    "inputs": server.inputs,
                    "starts": server.starts,
                    "effects": server.effects,
                    "transitions": server.transitions,
                    "cut_short": server.cut_short,
                    "damage": server.damage or None,
                    "difference": vars(server.difference) if server.difference else None,
                    "notes": server.notes,
                }
                for server in self.servers
            ],
            "missing": self.missing,
            "verdict": None if self.verdict is None else self.verdict.valid,
            "summary": None if self.verdict is None else self.verdict.summary,
            "verdict_same": self.verdict_same,
            "notes": self.notes,
        }


def replay_run(run: Path, only: str | None = None, bug: str | None = None) -> Replay:
    """All journals of the run's folder (or those of one host).  Raises UsageError."""
    hosts = journals(run, only)
    history, sids, states, complete, notes = recorded(run)
    missing = [host for host in sids if host not in hosts] if only is None else []
    servers = []
    for host in hosts:
        records = []
        events = _events(run / host / EVENTS)
        if events is not None:
            records.append(Records(f"{host}/{EVENTS}", [(value, None) for value in events]))
        if history is not None:
            records.append(Records("history.jsonl", states.get(host, []), holes=not complete))
        servers.append(replay_host(run, host, records, bug))
    replay = Replay(run, servers, missing, notes)
    ours = {hashlib.blake2b(archive.build("node"), digest_size=8).hexdigest(), agent.code_version()}
    if others := set().union(*(server.codes for server in servers)) - ours - {""}:
        replay.notes.append(
            f"another version of the server ran: {', '.join(sorted(others))}; this is {agent.code_version()}"
        )
    if history is not None and replay.same and only is None and bug is None and not missing:
        _judge_again(replay, history)
    return replay


def journals(run: Path, only: str | None = None) -> list[str]:
    """The hosts of the run's folder that have a journal, in the order of their numbers.  Raises UsageError."""
    if not run.is_dir():
        raise UsageError(f"{run}: there is no such folder", remedy="Give the folder of a run, such as results/latest.")
    hosts = sorted((path.parent.name for path in run.glob(f"*/{JOURNAL}")), key=lambda name: (len(name), name))
    if not hosts:
        raise UsageError(
            f"{run}: no host's folder in it has a {JOURNAL}, so there is nothing to replay",
            remedy="Give the folder of a run of Onethrone's own server; other systems keep no journal.",
        )
    if only is not None and only not in hosts:
        raise UsageError(f"--server {only}: {run} has no journal of it; there are: {', '.join(hosts)}")
    return hosts if only is None else [only]


States = dict[str, list[tuple[Any, Op | None]]]


def recorded(run: Path) -> tuple[History | None, dict[str, int], States, bool, list[str]]:
    """The history, its ensemble with sids, the states of each host in it, whether no host's reports are missing from
    it, and notes.  Raises UsageError."""
    if not (run / "history.jsonl").exists():
        return None, {}, {}, False, ["there is no history; times are not known, and nothing is judged"]
    history = read(run)
    sids: dict[str, int] = {}
    states: States = {}
    complete = some = False
    try:
        for op in history:
            some = True
            if op.f == "state" and isinstance(op.process, str):
                states.setdefault(op.process, []).append((op.value, op))
            elif op.f == "run" and isinstance(op.value, dict):
                sids = {host: about.get("sid", -1) for host, about in (op.value.get("ensemble") or {}).items()}
            elif op.f == "end" and isinstance(op.value, dict):
                streams = op.value.get("streams") or {}
                complete = all(stream.get("sent") == stream.get("received") for stream in streams.values())
    except HistoryError as error:
        raise UsageError(str(error)) from None
    if not some:  # nothing can be held against it, and what came out again would be called the same
        raise UsageError(
            "there is no op in it",
            where=str(history.path),
            remedy="Put the run's history back, or remove the file: without one the journals alone are repeated.",
        )
    return history, sids, states, complete and not history.missing, list(history.notes)


def _events(path: Path) -> list[Any] | None:
    """The transitions that the host's own file has; None without the file."""
    if not path.exists():
        return None
    states = []
    try:
        file = files.open_file(path, buffering=-1)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    with file:
        for number, line in enumerate(file, 1):
            try:
                told = json.loads(line)
                if told["f"] == "state":
                    states.append(told["value"])
            except (ValueError, KeyError, TypeError) as error:
                if not line.endswith(b"\n"):
                    break  # cut by a crash
                raise UsageError(f"{path}:{number}: not an event: {error}") from None
    return states


def _judge_again(replay: Replay, history: History) -> None:
    repeated = {index: value for server in replay.servers for index, value in server.repeated.items()}
    routing = Routing(knowledge_ends(history))
    for ops in history.chunks():
        for op in ops:
            if op.index in repeated:
                op.value = repeated[op.index]
        routing.feed(ops)
    if routing.run is None:
        return
    replay.verdict = conclude(routing, history, history)
    recorded = check(history.path)
    replay.verdict_same = replay.verdict.to_dict()["results"] == recorded.to_dict()["results"]


def known_bug(name: str | None) -> str | None:
    """The name of a core for `bug`: "none" is the correct one.  Raises UsageError."""
    if name is None or name in bugs.names():
        return name
    if name == "none":
        return ""
    raise UsageError(f"--bug {name}: there is no such bug; there are: none, {', '.join(bugs.names())}")
