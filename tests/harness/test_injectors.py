"""What the controller makes of an injector's words: answers, streams and events (harness/hosts/injector_client.py)."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from harness import HostError
from harness.hosts.injector_client import Answer, Injector
from harness.hosts.ssh.remote import Remote

MS = 1_000_000


def injector() -> tuple[Injector, list[str], list[int]]:
    """One that never connects, and what it tells of."""
    lines: list[str] = []
    events: list[int] = []
    made = Injector(
        Remote("nowhere"),
        "/run/x",
        on_lines=lambda host, stream, new: lines.extend(new),
        on_event=lambda host, event: events.append(event["seq"]),
    )
    made._streams["s"] = ("/x", 0)
    return made, lines, events


def hear(made: Injector, **message: Any) -> None:
    made._hear(json.dumps(message).encode())


def test_lines_that_come_again_or_too_early_are_not_taken() -> None:
    made, lines, _ = injector()
    hear(made, stream="s", offset=0, next=4, lines=["a", "b"])
    hear(made, stream="s", offset=0, next=4, lines=["a", "b"])
    hear(made, stream="s", offset=8, next=10, lines=["d"])
    hear(made, stream="s", offset=4, next=6, lines=["c"])
    assert lines == ["a", "b", "c"]
    assert made.received["s"] == 3


def test_an_event_that_comes_again_is_not_told_again() -> None:
    made, _, events = injector()
    for seq in (0, 1, 1, 0, 2):
        hear(made, event="toggle", seq=seq)
    assert events == [0, 1, 2]


def test_whoever_uses_the_lines_may_fail_and_the_next_lines_still_come() -> None:
    made, _, _ = injector()
    heard: list[str] = []

    def use(host: str, stream: str, new: list[str]) -> None:
        heard.extend(new)
        raise ValueError(new)

    made._on_lines = use
    hear(made, stream="s", offset=0, next=2, lines=["a"])
    hear(made, stream="s", offset=2, next=4, lines=["b"])
    assert heard == ["a", "b"]


def test_what_is_not_json_is_survived() -> None:
    made, lines, _ = injector()
    made._hear(b"\xff garbage")
    hear(made, stream="s", offset=0, next=2, lines=["a"])
    assert lines == ["a"]


def test_nothing_was_done_before_it_was_asked_for_whatever_the_clocks_say() -> None:
    """All the way of the only good exchange was there: the host seems to be 50 ms ahead, and is not."""
    made, _, _ = injector()
    sent = time.monotonic_ns() - 300 * MS
    made.clock.exchange(sent - 500 * MS, sent - 400 * MS, sent - 400 * MS, sent - 400 * MS)
    pending = made.prepare({"do": "something"})
    pending.sendings, pending.sent_ns = 1, sent
    made._pending[pending.number] = pending
    hear(made, id=pending.number, ok=True, heard=sent + 5 * MS, sent=sent + 5 * MS)
    assert made.clock.to_controller_time(sent + 5 * MS)[0] < sent
    assert pending.answer is not None
    assert pending.answer.began_ns == pending.answer.done_ns == sent


def test_a_refusal_is_an_error_with_the_host_and_an_answer_holds_what_was_verified() -> None:
    with pytest.raises(HostError, match="n1: nft is not installed"):
        Answer(False, error="nft is not installed", host="n1").expect()
    assert Answer(True, {"rules": 1}).expect() == {"rules": 1}
