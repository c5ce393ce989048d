"""`onethrone serve` stays there for everybody, whatever some of its clients do (the rules in server.py)."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.serve import server as server_module
from harness.serve.server import ResultsServer, _client
from tests.harness.serving import get, raw, until

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n"


@contextlib.contextmanager
def serving(results: Path, connections_max: int) -> Iterator[ResultsServer]:
    server = ResultsServer(results, "127.0.0.1", 0, connections_max=connections_max)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def connect(server: ResultsServer, client: str) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.server_port), 30, (client, 0))


def begin_download(server: ResultsServer, client: str) -> socket.socket:
    """A connection that is being answered, and does not read."""
    connection = connect(server, client)
    connection.sendall(b"GET /r/large.log HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert connection.recv(8) == b"HTTP/1.1"
    return connection


@pytest.fixture
def results(tmp_path: Path) -> Path:
    with (tmp_path / "large.log").open("wb") as file:
        file.truncate(64 << 20)
    return tmp_path


@pytest.mark.parametrize("client", ["127.0.0.1", "127.0.0.7"])
def test_400_silent_connections_of_one_address_are_in_nobodys_way(results: Path, client: str) -> None:
    with serving(results, server_module.CONNECTIONS_MAX) as server, contextlib.ExitStack() as stack:
        for _ in range(400):
            stack.enter_context(connect(server, "127.0.0.1")).sendall(GET)
        for _ in range(20):
            with connect(server, client) as connection:
                connection.sendall(GET + b"Connection: close\r\n\r\n")
                assert connection.recv(100).startswith(b"HTTP/1.1 200 ")


def test_a_newcomer_displaces_who_waited_longest_of_the_client_that_has_the_most(results: Path) -> None:
    with serving(results, 4) as server, contextlib.ExitStack() as stack:
        single = stack.enter_context(connect(server, "127.0.0.3"))
        until(lambda: len(server._connections) == 1, "the first connection has its thread")
        many = []
        for count in range(2, 5):
            many.append(stack.enter_context(connect(server, "127.0.0.2")))
            until(lambda count=count: len(server._connections) == count, "it has its thread")  # type: ignore[misc]
        with connect(server, "127.0.0.4") as newcomer:
            newcomer.sendall(GET + b"\r\n")
            assert newcomer.recv(100).startswith(b"HTTP/1.1 200 ")
            assert many[0].recv(100) == b"", "the oldest of the greediest"
        for connection in (single, *many[1:]):
            connection.sendall(GET + b"Connection: close\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 200 ")


def test_more_connections_than_there_are_threads_for_get_503_while_all_are_answered(results: Path) -> None:
    with serving(results, 3) as server, contextlib.ExitStack() as stack:
        busy = [stack.enter_context(begin_download(server, "127.0.0.2")) for _ in range(3)]
        with connect(server, "127.0.0.3") as newcomer:
            assert newcomer.recv(100).startswith(b"HTTP/1.1 503 ")
        for connection in busy:
            connection.close()
        until(lambda: not server._connections, "the threads are free again")
        assert get(server, "/").status == 200


def test_one_client_cannot_have_all_the_threads(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "CONNECTIONS_MAX_PER_CLIENT", 3)
    with serving(results, 5) as server, contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(begin_download(server, "127.0.0.2"))
        with connect(server, "127.0.0.2") as fourth:
            assert fourth.recv(100).startswith(b"HTTP/1.1 503 ")
        with connect(server, "127.0.0.3") as other:
            other.sendall(GET + b"Connection: close\r\n\r\n")
            assert other.recv(100).startswith(b"HTTP/1.1 200 ")


def test_an_ipv6_network_is_one_client() -> None:
    assert _client("2001:db8::1") == _client("2001:db8::ffff:2") != _client("2001:db8:0:1::1")
    assert _client("192.0.2.1") != _client("192.0.2.2")


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 0\r\nContent-Length: 31\r\n",
        b"Content-Length: 0\r\nContent-Length: 0\r\n",
        b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
    ],
)
def test_two_lengths_of_a_body_are_refused_and_no_request_is_looked_for_in_it(results: Path, headers: bytes) -> None:
    with serving(results, 3) as server:
        answer = raw(server, GET + headers + b"\r\n" + GET + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1
