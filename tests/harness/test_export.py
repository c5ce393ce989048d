"""Exports, held against the rules of the formats by strict readers, and against the history that they came from."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from checker.history import Op, read
from harness import UsageError
from harness.cli.export import export
from harness.export.edn import edn, value
from harness.export.perfetto import perfetto
from harness.replay.messages import Exchange, exchange
from harness.simulator.run import simulate
from harness.simulator.simulated_run import SimulatorSettings
from tests.checker.story import Story, cut, good

HISTORIES = sorted((Path(__file__).parent.parent / "histories").glob("[!m]*.jsonl"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with journals, in which a promise was broken."""
    folder = tmp_path_factory.mktemp("run")
    result = simulate(7, bug="half-quorum", settings=SimulatorSettings(duration_s=35), keep=folder)
    (folder / "results.json").write_text(result.verdict.to_json())
    assert result.verdict.violations
    return folder


@pytest.fixture(scope="module")
def exchanged(run: Path) -> Exchange:
    return exchange(run)


def exported(*words: str | Path) -> Result:
    return CliRunner().invoke(export, [str(word) for word in words])


# ---- EDN -------------------------------------------------------------------------------------------------------------

_TOKEN = re.compile(
    r"""[\s,]*(?:
      (?P<open>[\[{]) | (?P<close>[\]}])
    | (?P<string>"(?:[^"\\\x00-\x1f]|\\[tnr"\\]|\\u[0-9a-f]{4})*")
    | (?P<number>[+-]?(?:0|[1-9]\d*)(?:N|(?:\.\d+)?(?:[eE][+-]?\d+)?)(?=[\s,\]})]|$))
    | :(?P<keyword>[A-Za-z*!_?$%&=<>][\w*!?$%&=<>.+-]*)
    | (?P<word>nil|true|false)(?=[\s,\]})]|$)
    )""",
    re.X | re.A,
)


class Keyword(str):
    __slots__ = ()


def read_edn(text: str) -> Any:
    """One value of the subset of EDN (https://github.com/edn-format/edn) that JSON needs; anything else is an error."""
    at = 0
    stack: list[list[Any]] = [[]]
    closing: list[str] = []
    while text[at:].strip(" ,\n"):
        token = _TOKEN.match(text, at)
        assert token, f"no EDN at {at}: {text[at : at + 40]!r}"
        at = token.end()
        if token["open"]:
            stack.append([])
            closing.append("]" if token["open"] == "[" else "}")
            continue
        if token["close"]:
            assert closing.pop() == token["close"]
            items = stack.pop()
            made: Any = items
            if token["close"] == "}":
                made = dict(zip(items[::2], items[1::2], strict=True))
                assert len(made) == len(items) // 2, "a key comes twice"
            stack[-1].append(made)
        elif token["string"]:
            stack[-1].append(json.loads(token["string"]))
        elif token["keyword"]:
            stack[-1].append(Keyword(token["keyword"]))
        elif token["word"]:
            stack[-1].append({"nil": None, "true": True, "false": False}[token["word"]])
        else:
            number = token["number"].removesuffix("N")
            assert (number == token["number"]) == (not number.lstrip("-").isdigit() or -(2**63) <= int(number) < 2**63)
            stack[-1].append(json.loads(number))
    assert not closing
    ((only,),) = stack
    return only


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**63, 2**63 - 1, -(2**63), -(2**63) - 1])
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES)
@settings(max_examples=60)
def test_every_value_of_json_comes_back_from_its_edn(what: Any) -> None:
    assert read_edn(value(what)) == what
    assert "\n" not in value(what)


@pytest.mark.parametrize("history", [*HISTORIES, None], ids=lambda path: path.stem if path else "run")
def test_every_op_comes_back_from_the_edn_history_with_jepsens_words(history: Path | None, run: Path) -> None:
    ops = list(read(history or run))
    lines = list(edn(ops))
    assert len(lines) == len(ops)
    for op, line in zip(ops, lines, strict=True):
        told = read_edn(line)
        assert line.endswith("}\n")
        assert (told["index"], told["time"], told["process"], told["value"]) == (
            op.index,
            op.time,
            op.process,
            op.value,
        )
        assert isinstance(told["process"], int | Keyword)
        for name in ("type", "f"):
            assert isinstance(told[name], Keyword)
        if op.process == "nemesis":
            assert told["type"] == "info"
            assert told["reported"] == op.type
            assert told["f"] == f"{op.value['step']}-{op.f}"
        else:
            assert (told["type"], told["f"]) == (op.type, op.f)
        for name in ("host_time", "time_error", "server", "error"):
            assert told.get(name) == getattr(op, name)


def test_clients_are_as_jepsens_a_process_does_one_thing_at_a_time_and_never_returns_from_the_unknown(
    run: Path,
) -> None:
    busy: set[int] = set()
    gone: set[int] = set()
    for line in edn(read(run)):
        op = read_edn(line)
        if isinstance(op["process"], int):
            assert op["process"] not in gone
            assert (op["process"] in busy) == (op["type"] != "invoke")
            busy ^= {op["process"]}
            if op["type"] == "info":
                gone.add(op["process"])
    assert gone, "this run has operations of unknown end"


# ---- Perfetto --------------------------------------------------------------------------------------------------------

Slice = tuple[float, float, str, Any]


def slices(events: list[dict[str, Any]]) -> dict[Any, list[Slice]]:
    """The slices of each track; fails where they break the rules of the format.

    The rules: https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU (Trace Event Format).
    """
    found: dict[Any, list[Slice]] = defaultdict(list)
    stacks: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    last: dict[Any, float] = defaultdict(float)
    key: Any
    for event in events:
        ph, key = event["ph"], (event["pid"], event.get("tid"))
        assert isinstance(event["name"], str)
        assert event["name"]
        if ph == "M":
            assert event["name"] in ("process_name", "process_sort_index", "thread_name", "thread_sort_index")
            continue
        assert event["ts"] >= 0
        if ph in "BE":
            assert event["ts"] >= last[key], "slices are told in the order of time"
            last[key] = event["ts"]
        if ph in "be":
            key = (event["pid"], event["cat"], event["id2"]["local"])
            assert event["ts"] >= last[key]
            last[key] = event["ts"]
        if ph in "Bb":
            stacks[key].append(event)
        elif ph in "Ee":
            begun = stacks[key].pop()
            assert begun["name"] == event["name"], "slices lie one in another"
            if ph == "E":
                found[key].append((begun["ts"], event["ts"], event["name"], begun.get("args")))
        elif ph == "X":
            found[key].append((event["ts"], event["ts"] + event["dur"], event["name"], event["args"]))
        else:
            assert ph in "sfin"
    assert not any(stacks.values()), "what begins ends"
    return found


def trace(text: str) -> tuple[list[dict[str, Any]], dict[str, dict[str, list[Slice]]]]:
    """The events, and the slices by the names of their process and thread."""
    events = json.loads(text)["traceEvents"]
    names = {
        (e["pid"], e.get("tid")): e["args"]["name"] for e in events if e["name"] in ("process_name", "thread_name")
    }
    by_name: dict[str, dict[str, list[Slice]]] = defaultdict(dict)
    for (pid, tid), on_track in slices(events).items():
        by_name[names[pid, None]][names[pid, tid]] = on_track
    return events, by_name


def test_a_trace_shows_every_state_fault_operation_and_message_and_keeps_the_rules(
    run: Path, exchanged: Exchange
) -> None:
    done = exported(run, "--to", "perfetto")
    assert done.exit_code == 0, done.output
    events, tracks = trace(done.stdout)
    ops = list(read(run))

    shown = {args["op"] for on in tracks["servers"].values() for *_, args in on if args}
    assert {op.index for op in ops if isinstance(op.process, str) and op.f in ("state", "started", "stopped")} <= shown
    for op in ops:
        if op.f == "state" and op.value["established"]:
            assert any(
                name == f"LEADING epoch {op.value['epoch']}" for *_, name, _ in tracks["servers"][str(op.process)]
            )
    begun = Counter(e["name"] for e in events if e["ph"] == "b" and e["args"]["type"] == "invoke")
    asked = [op for op in ops if op.process == "nemesis" and op.type == "invoke" and op.value["step"] == "start"]
    assert begun == Counter(op.f for op in asked)
    invoked = sum(op.type == "invoke" for op in ops if isinstance(op.process, int))
    assert sum(map(len, tracks["clients"].values())) == invoked
    assert [name for _, _, name, _ in tracks["run"]["phases"]] == [op.value["phase"] for op in ops if op.f == "phase"]
    broken = [e for e in events if e["ph"] == "i"]
    assert {e["name"] for e in broken} >= {"evidence"}
    assert all(e["args"]["ops"] for e in broken)

    ends = [(e["id"], e["ph"], e["pid"], e["tid"], e["ts"]) for e in events if e["ph"] in "sf"]
    starts = {id_: (pid, tid, ts) for id_, ph, pid, tid, ts in ends if ph == "s"}
    arrows = {id_: (pid, tid, ts) for id_, ph, pid, tid, ts in ends if ph == "f"}
    assert len(ends) == 2 * len(starts)
    assert starts.keys() == arrows.keys()
    assert len(starts) == sum(message.received_ns is not None for message in exchanged) > 100
    assert all(starts[id_][2] < arrows[id_][2] for id_ in starts)
    begins = {(e["pid"], e["tid"], e["ts"]) for e in events if e["ph"] == "X"}
    assert {*starts.values(), *arrows.values()} <= begins, "an arrow needs a slice at either end"
    for on in tracks["messages"].values():
        assert all(a[1] <= b[0] + 1e-3 for a, b in itertools.pairwise(sorted(on, key=lambda s: s[0])))


@pytest.mark.parametrize("history", HISTORIES, ids=lambda path: path.stem)
def test_any_history_makes_a_trace_that_keeps_the_rules(history: Path) -> None:
    done = exported(history, "--to", "perfetto")
    assert done.exit_code == 0
    assert "without messages: " in done.stderr
    trace(done.stdout)


def test_a_server_that_a_fault_takes_down_without_a_word_is_down_and_a_fault_never_undone_lasts_to_the_end() -> None:
    story = Story(3)
    story.elect("n3", epoch=1, at=0.5)
    story.fault("f1", "host-kill", [{"down": ["n3"]}], begin=2.0)
    story.fault("f2", "partition", cut("n1", "n2 n3"), begin=3.0)
    story.create(1, at=4.0)
    events, tracks = trace("".join(perfetto(story.ops)))
    assert [name for *_, name, _ in tracks["servers"]["n3"]][-1] == "down"
    assert next(s for s in tracks["servers"]["n3"] if s[2] == "down")[0] == pytest.approx(2e6, abs=1e5)
    ends = [e["ts"] for e in events if e["ph"] == "e" and e["name"] == "partition"]
    assert ends == [max(e["ts"] for e in events if "ts" in e)]


def test_reports_whose_mapped_times_jitter_stay_in_the_order_of_their_hosts_clock() -> None:
    def state(index: int, time: int, host_time: int, role: str) -> Op:
        return Op(index, time, "n1", "info", "state", {"role": role}, host_time=host_time, time_error=10**6)

    ops = [state(0, 2_000_000, 1, "LOOKING"), state(1, 1_500_000, 2, "FOLLOWING"), state(2, 1_800_000, 3, "LOOKING")]
    _, tracks = trace("".join(perfetto(ops)))
    assert [(begin, name) for begin, _, name, args in tracks["servers"]["n1"] if args] == [(2000, "-")] * 3


# ---- ShiViz ----------------------------------------------------------------------------------------------------------

Line = tuple[str, dict[str, int], str, str]


def read_shiviz(text: str) -> list[Line]:
    """As ShiViz reads a file: its first line is the parser, its second the delimiter of executions, then the log."""
    parser, delimiter, log = text.split("\n", 2)
    assert delimiter == ""
    pattern = re.compile("^" + parser.replace("(?<", "(?P<") + "$")
    lines = []
    for line in log.splitlines():
        match = pattern.match(line)
        assert match, f"ShiViz would pass over {line!r}"
        lines.append((match["host"], json.loads(match["clock"]), match["time"], match["event"]))
    return lines


def keeps_shivizs_rules(lines: list[Line]) -> None:
    """Each host's own count rises by one from 1, and no clock knows of what is not there, or of more than it may."""
    count: Counter[str] = Counter()
    clocks: dict[tuple[str, int], dict[str, int]] = {}
    for host, clock, _, _ in lines:
        count[host] += 1
        assert clock[host] == count[host]
        clocks[host, count[host]] = clock
    for (host, own), clock in clocks.items():
        for other, known in clock.items():
            assert 1 <= known <= count[other]
            assert all(known_ <= clock.get(third, 0) for third, known_ in clocks[other, known].items()), "transitive"
        assert own == 1 or all(n <= clock[other] for other, n in clocks[host, own - 1].items()), "time goes on"


def test_a_log_has_every_message_but_pings_and_an_arrival_knows_what_its_sender_knew(
    run: Path, exchanged: Exchange
) -> None:
    done = exported(run, "--to", "shiviz")
    assert done.exit_code == 0, done.output
    lines = read_shiviz(done.stdout)
    keeps_shivizs_rules(lines)
    kept = [message for message in exchanged if message.kind != "PING"]
    told = Counter((host, event) for host, _, _, event in lines)
    for message in kept:
        lost = ", which never arrived" if message.received_ns is None else ""
        assert told[message.sender, f"to {message.receiver}: {message.label}{lost}"]
    sent = sum(event.startswith("to ") for *_, event in lines)
    arrived = sum(event.startswith("from ") for *_, event in lines)
    assert (sent, arrived) == (len(kept), sum(message.received_ns is not None for message in kept))
    states = Counter(op.process for op in read(run) if op.f == "state")
    for host, number in states.items():
        assert sum(h == host and not e.startswith(("to ", "from ")) for h, _, _, e in lines) == number
    # Of each arrival: the newest event of the sender that it knows is a sending of just this to this server.
    at = {(host, clock[host]): event for host, clock, _, event in lines}
    before: dict[str, dict[str, int]] = defaultdict(dict)
    for host, clock, _, event in lines:
        match = re.match(r"from (\S+): (.*)", event)
        if match and clock[match[1]] > before[host].get(match[1], 0):
            assert at[match[1], clock[match[1]]] == f"to {host}: {match[2]}"
        before[host] = clock


def test_a_part_of_a_run_is_a_log_of_its_own(run: Path) -> None:
    whole = read_shiviz(exported(run, "--to", "shiviz").stdout)
    part = read_shiviz(exported(run, "--to", "shiviz", "--since", "5", "--until", "9").stdout)
    keeps_shivizs_rules(part)
    within = [line for line in whole if 5 <= float(line[2].rstrip("s")) <= 9]
    assert Counter((host, time, event) for host, _, time, event in part) == Counter(
        (host, time, event) for host, _, time, event in within
    )
    assert 0 < len(part) < len(whole)


# ---- the command -----------------------------------------------------------------------------------------------------


def test_a_file_is_there_whole_or_not_at_all(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "history.edn"
    assert exported(run, "--to", "edn", "--out", out).exit_code == 0
    assert out.read_text() == exported(run, "--to", "edn").stdout
    whole = out.read_bytes()
    history = tmp_path / "history.jsonl"
    history.write_bytes((run / "history.jsonl").read_bytes() + b"garbage\n")
    with pytest.raises(UsageError, match=r"history\.jsonl:\d+: not an op"):
        CliRunner().invoke(
            export, [str(history), "--to", "edn", "--out", str(out)], standalone_mode=False, catch_exceptions=False
        )
    assert out.read_bytes() == whole
    assert sorted(path.name for path in tmp_path.iterdir()) == ["history.edn", "history.jsonl"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nowhere", "--to", "edn"], "nowhere: no such file"),
        ([".", "--to", "perfetto"], "there is no history in this folder"),
        (["bare.jsonl", "--to", "shiviz"], "no host's folder in it has a journal.jsonl"),
        (["bare.jsonl", "--to", "edn", "--since", "1"], "--since and --until are for shiviz"),
        (["bare.jsonl", "--to", "shiviz", "--since", "2", "--until", "1"], "--since 2 is after --until 1"),
        (["bare.jsonl", "--to", "edn", "--out", "."], ".: the export cannot be written: Is a directory"),
        (
            ["bare.jsonl", "--to", "edn", "--out", "no/such/folder"],
            "no/such/folder: the export cannot be written: No such",
        ),
    ],
)
def test_what_cannot_be_exported_is_said_in_one_line(
    words: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    good().write(tmp_path / "bare.jsonl")
    done = exported(*words)
    assert done.exit_code == 1  # the command's own code is made of the error by harness.cli
    assert says in str(done.exception)
    assert done.stdout == ""


def test_what_is_no_number_of_seconds_is_refused() -> None:
    done = exported("run", "--to", "shiviz", "--since", "nan")
    assert done.exit_code == 2
    assert "nan is not a number of seconds" in done.stderr


def test_a_reader_who_has_seen_enough_is_no_broken_promise(run: Path) -> None:
    command = [
        sys.executable,
        "-c",
        "from harness.cli import main; raise SystemExit(main())",
        "export",
        str(run),
        "--to",
        "edn",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(1)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 255


def test_ops_are_let_go_as_they_come() -> None:
    taken = 0

    def endless() -> Iterator[Op]:
        nonlocal taken
        for taken in itertools.count():
            yield Op(taken, taken * 10**9, 0, ("invoke", "ok")[taken % 2], "create", taken // 2)

    list(itertools.islice(edn(endless()), 1000))
    assert taken <= 1000
    list(itertools.islice(perfetto(endless()), 1000))
    assert taken <= 3000
