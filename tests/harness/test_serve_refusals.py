"""`onethrone serve` over real sockets: what it refuses, and its bounds."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
from pathlib import Path

import pytest

from harness.serve import catalogue
from harness.serve.catalogue import Catalogue
from harness.serve.server import ResultsServer, serving
from harness.serve.tree import NotThere, Tree
from tests.harness.serving import HISTORIES, SECRET, get, put_run, raw, results, server, until

__all__ = ["results", "server"]

# ---- what is refused -----------------------------------------------------------------------------------------------

OUTSIDE = [
    "/r/../secret.txt", "/r/nightly/../../secret.txt", "/r/%2e%2e/secret.txt", "/r/%2E./secret.txt",
    "/r/..%2fsecret.txt", "/r/..%2Fsecret.txt", "/r/..%5csecret.txt", "/r/%252e%252e/secret.txt", "/r//secret.txt",
    "/r/./out", "/r/out", "/r/up/secret.txt", "/r/up", "/r/up/", "/r/round", "/r/nightly/latest/../../../secret.txt",
    "/r/%00", "/r/nightly%00/latest", "/r/secret.txt%00.log", "/r/%ff%fe", "/r/%2fetc%2fpasswd", "/r//etc/passwd",
    "/../secret.txt", "/static/../../secret.txt", "/static/%2e%2e/server.py", "/live/../secret.txt",
    "/live/up", "/live/out", "/live/nightly", "/r/" + "a" * 3000, "/r/" + "a/" * 1500,
    "/r/nightly/20261127T180000Z/history.jsonl/", "/no/such", "/static/",
    "/static/serve.js/", "/r/" + "%2e%2e/" * 30 + "etc/passwd",
]  # fmt: skip


@pytest.mark.parametrize("target", OUTSIDE)
def test_no_path_leaves_the_results_folder(server: ResultsServer, target: str) -> None:
    answer = raw(server, f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode("latin-1"))
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert SECRET.encode() not in answer
    assert b"root:" not in answer


def test_a_link_that_leads_outside_is_listed_and_not_followed(server: ResultsServer) -> None:
    listing = get(server, "/r/").body
    assert "it leads outside" in listing
    assert "secret" not in listing
    assert 'href="/r/out"' not in listing


def test_a_file_that_becomes_a_link_between_looking_and_opening_is_not_followed(results: Path) -> None:
    tree = Tree(results)
    found = tree.find("nightly/20261127T180000Z/n1/server.log")
    found.unlink()
    found.symlink_to(results.parent / "secret.txt")
    with pytest.raises(NotThere):
        tree.open(found)
    other = tree.find("nightly/20261127T180000Z/report.html")
    shutil.move(results / "nightly", results.parent / "moved")
    (results / "nightly").symlink_to(results.parent / "moved")
    with pytest.raises(NotThere):
        tree.open(other)


def test_a_fifo_a_device_and_a_socket_are_not_opened(server: ResultsServer, results: Path) -> None:
    os.mkfifo(results / "fifo")
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(results / "socket"))
        assert get(server, "/r/fifo").status == 404
        assert get(server, "/r/socket").status == 404
        assert "it is no file" in get(server, "/r/").body


def test_other_methods_are_refused(server: ResultsServer) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get"):
        answer = get(server, "/", method)
        assert answer.status == 405, method
        assert answer.headers["allow"] == "GET, HEAD"


def test_a_host_that_is_not_ours_is_refused(server: ResultsServer) -> None:
    for host in ("evil.example", "evil.example:8470", "localhost.evil.example", "127.0.0.1.evil.example", "", "[::1"):
        assert get(server, "/", host=host).status == 421, host
    for host in ("localhost", "LOCALHOST:8470", "127.0.0.1:1", "[::1]:8470", "192.0.2.7"):
        assert get(server, "/", host=host).status == 200, host
    two = b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
    assert raw(server, two).startswith(b"HTTP/1.1 421 ")
    assert raw(server, b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n").startswith(b"HTTP/1.1 421 ")


@pytest.mark.parametrize(
    "request_",
    [
        b"\r\n\r\n", b"\0\0\0\0\r\n\r\n", b"GET\r\n\r\n", b"GET /\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.x\r\n\r\n",
        b"GET http://localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET * HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(300)) + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 70000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nGET /r/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nGET /\r\n0\r\n\r\n",
    ],
)  # fmt: skip
def test_garbage_ends_its_connection_and_nothing_else(
    server: ResultsServer, request_: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=20) as connection:
        try:
            connection.sendall(request_)
            connection.shutdown(socket.SHUT_WR)
            answer = b""
            while chunk := connection.recv(65536):
                answer += chunk
        except (ConnectionResetError, BrokenPipeError):
            answer = b""
    assert answer.count(b"HTTP/1.1 ") <= 1  # what came as a body is no second request
    assert b"Traceback" not in answer
    assert get(server, "/").status == 200
    assert "Traceback" not in capfd.readouterr().err


# ---- bounds --------------------------------------------------------------------------------------------------------


def test_a_client_that_sends_a_byte_now_and_then_is_cut_off(server: ResultsServer) -> None:
    server.request_s = 1.0
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=20) as slow:
        slow.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ")

        def gone() -> bool:
            try:
                slow.sendall(b"y")
                slow.setblocking(False)
                return slow.recv(100) == b""
            except BlockingIOError:
                return False
            except OSError:
                return True
            finally:
                slow.setblocking(True)

        until(gone, "a request that never ends was still listened to")
    assert get(server, "/").status == 200


def test_a_client_that_takes_nothing_of_a_large_file_is_cut_off(
    server: ResultsServer, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.serve.server.ANSWER_S", 0.5)
    monkeypatch.setattr("harness.serve.server.SLOWEST_BYTES_PER_S", 1 << 30)
    with (results / "large.log").open("wb") as file:
        file.truncate(64 << 20)
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=20) as idle:
        idle.sendall(b"GET /r/large.log HTTP/1.1\r\nHost: localhost\r\n\r\n")
        got = len(idle.recv(100))
        until(lambda: not server._connections, "it still waits to be read")
        with contextlib.suppress(ConnectionResetError):
            while chunk := idle.recv(1 << 20):
                got += len(chunk)
        assert got < 64 << 20


def test_thousands_of_runs_are_read_once_and_paged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "RACY_NS", -1)
    monkeypatch.setattr(catalogue, "LOOK_AGAIN_S", 0.0)
    verdict = json.dumps({"valid": True, "summary": "Valid.", "run": {"seed": 1, "length_s": 1.5}})
    first_line = (HISTORIES / "good-run.jsonl").read_text().splitlines()[0] + "\n"
    for n in range(1000):
        folder = tmp_path / "many" / f"20261127T{n // 3600:02}{n // 60 % 60:02}{n % 60:02}Z"
        folder.mkdir(parents=True)
        (folder / "results.json").write_text(verdict)
        (folder / "history.jsonl").write_text(first_line)
    with serving(tmp_path) as server:
        body = get(server, "/").body
        assert "1\u202f000 runs" in body
        assert body.count("<tr class=") == 200
        assert get(server, "/?page=5").body.count("<tr class=") == 200
        assert get(server, "/?q=20261127T000100Z").body.count("<tr class=") == 1
        assert server.catalogue.read == 1000  # each folder once, for four pages
        (folder / "results.json").write_text(json.dumps({"valid": False, "summary": "Invalid after all."}))
        assert "Invalid after all." in get(server, "/").body
        assert server.catalogue.read == 1001


def test_results_that_cannot_be_read_are_a_row_that_says_so(results: Path) -> None:
    for n, text in enumerate(
        [b"", b"{", b"[]", b'{"valid": 7}', b"\xff\xfe", b'{"valid": true, "run": 3}', b"[" * 100000]
    ):
        put_run(results, f"broken{n}", "20261127T180000Z").joinpath("results.json").write_bytes(text)
    put_run(results, "linked", "20261127T180000Z").joinpath("results.json").unlink()
    (results / "linked" / "20261127T180000Z" / "results.json").symlink_to("/etc/passwd")
    rows = Catalogue(Tree(results)).rows()
    said = {row.name: row.sentence for row in rows}
    assert all("cannot be read" in said[f"broken{n}"] for n in range(7))
    assert "cannot be read" in said["linked"]
    assert len(rows) == 10


def test_text_of_hosts_is_escaped_wherever_it_stands(results: Path) -> None:
    evil = "<script>alert(1)</script>\"'&"
    put_run(
        results,
        "evil",
        "20261127T210000Z",
        results_json={
            "valid": False,
            "summary": evil,
            "run": {"name": evil, "seed": evil, "system": evil},
            "results": {"epochs": {"valid": False, "violations": [{"message": evil, "time": 5}]}},
        },
    )
    (results / "evil" / "20261127T210000Z" / evil.replace("/", "")).write_text("x")
    with serving(results) as server:
        for target in ("/", "/r/evil/20261127T210000Z/", f"/?q={'%3Cscript%3E' * 3}&verdict=%22%3E%3Cscript%3E"):
            body = get(server, target).body
            assert "<script>" not in body, target
            assert body.count("<script") == 1, target  # our own
            assert "&lt;script&gt;" in body, target
