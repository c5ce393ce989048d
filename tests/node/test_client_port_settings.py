"""What zoo.cfg says of client connections is what clients meet: session timeouts and maxClientCnxns."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

from harness.workloads.zookeeper import ZooKeeperClient
from tests.ensembles import Servers

SETTINGS = "minSessionTimeout=16000\nmaxSessionTimeout=90000\nmaxClientCnxns=3\n"


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with Servers(tmp_path_factory.mktemp("one"), {"n1": "onethrone"}) as servers:
        with (servers.directories["n1"] / "zoo.cfg").open("a") as file:
            file.write(SETTINGS)
        servers.start()
        servers.wait_until_all_serve()
        yield servers


@pytest.mark.parametrize(
    ("asked_ms", "given_ms"), [(1000, 16_000), (60_000, 60_000), (16_001, 16_001), (1 << 30, 90_000)]
)
def test_the_session_timeout_is_the_one_asked_for_within_the_configured_bounds(
    one: Servers, asked_ms: int, given_ms: int
) -> None:
    with ZooKeeperClient.connect(one.connect("n1"), 30.0, session_timeout_ms=asked_ms) as client:
        assert client.session_timeout_ms == given_ms


def test_conf_prints_what_is_configured(one: Servers) -> None:
    conf = dict(line.partition("=")[::2] for line in one.ask("n1", "conf").splitlines())
    assert (conf["minSessionTimeout"], conf["maxSessionTimeout"], conf["maxClientCnxns"]) == ("16000", "90000", "3")


def test_more_clients_than_maxclientcnxns_from_one_address_are_closed_and_others_are_not(one: Servers) -> None:
    there = (one.places["n1"].address, one.client_port)

    def answer(connection: socket.socket) -> bytes:
        with contextlib.suppress(OSError):
            connection.sendall(b"ruok")
            return connection.recv(4)
        return b""

    with contextlib.ExitStack() as stack:
        first, second, third, fourth = (
            stack.enter_context(socket.create_connection(there, 30, ("127.99.0.1", 0))) for _ in range(4)
        )
        other = stack.enter_context(socket.create_connection(there, 30, ("127.99.0.2", 0)))
        assert answer(fourth) == b""
        assert [answer(connection) for connection in (first, second, third, other)] == [b"imok"] * 4
        assert answer(stack.enter_context(socket.create_connection(there, 30, ("127.99.0.1", 0)))) == b"imok"
