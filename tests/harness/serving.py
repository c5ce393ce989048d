"""A served results folder for tests, and requests to it over real sockets."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from checker.verdict import check
from harness.serve.server import ResultsServer, serving

HISTORIES = Path(__file__).parents[1] / "histories"
LATER = (
    '{"index":900,"time":90000000000,"process":"controller","type":"info","f":"phase","value":{"phase":"everyone"}}\n'
)
SECRET = "the secret of another folder"


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: str


def get(server: ResultsServer, target: str, method: str = "GET", **headers: str) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    try:
        connection.putrequest(method, target, skip_host="host" in headers)
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders()
        answer = connection.getresponse()
        body = answer.read()
        return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, body.decode("utf-8", "replace"))
    finally:
        connection.close()


def raw(server: ResultsServer, data: bytes, *, until_closed: bool = True) -> bytes:
    """Send bytes as they are; what comes back until the server hangs up."""
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=20) as connection:
        connection.sendall(data)
        got = b""
        while until_closed or b"\r\n\r\n" not in got:
            try:
                chunk = connection.recv(65536)
            except ConnectionResetError:
                break
            if not chunk:
                break
            got += chunk
        return got


def until(what: Callable[[], object], why: str, deadline_s: float = 30) -> None:
    end = time.monotonic() + deadline_s
    while not what():
        assert time.monotonic() < end, why
        time.sleep(0.02)


def put_run(
    results: Path, name: str, stamp: str, history: str = "good-run", results_json: dict[str, object] | None = None
) -> Path:
    """A run's folder with one of the histories of tests/histories, and the verdict that belongs to it."""
    folder = results / name / stamp
    (folder / "n1").mkdir(parents=True)
    shutil.copy(HISTORIES / f"{history}.jsonl", folder / "history.jsonl")
    (folder / "results.json").write_text(json.dumps(results_json or check(folder).to_dict()))
    (folder / "report.html").write_text("<!doctype html><title>a report</title>")
    (folder / "n1" / "server.log").write_text("<script>alert(1)</script>\n")
    return folder


@pytest.fixture
def results(tmp_path: Path) -> Path:
    (tmp_path / "secret.txt").write_text(SECRET)
    folder = tmp_path / "results"
    put_run(folder, "nightly", "20261127T180000Z")
    put_run(folder, "nightly", "20261127T190000Z", "bad-two-leaders-in-one-epoch")
    (folder / "nightly" / "latest").symlink_to("20261127T190000Z")
    (folder / "out").symlink_to("../secret.txt")
    (folder / "up").symlink_to("..")
    (folder / "round").symlink_to("round")
    return folder


@pytest.fixture
def server(results: Path) -> Iterator[ResultsServer]:
    with serving(results) as server:
        yield server
