"""Names with several addresses, some of them dead, unknown for a while, or not this host's (addresses.py, links.py).

The resolver of the system is replaced; everything else is real.  An address "drops packets" when the backlog of its
listener is full: Linux then ignores a SYN, as a firewall would.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from node.agent import addresses, links
from node.agent.addresses import Addresses, Resolver
from node.agent.agent import EXIT_OK, EXIT_PORT, Agent, EventsFile
from node.agent.links import Links
from node.config import Config, Member
from node.protocol.events import Connected, Dial, Event, Lost
from node.protocol.messages import ELECTION, QUORUM
from node.protocol.server import Server
from tests.addresses import network

DEADLINE_S = 60.0
PORT = 23888


class Names:
    """What the system's resolver knows.  A name that it does not know is an error, as with DNS."""

    def __init__(self) -> None:
        self.known: dict[str, list[str]] = {}
        self.answers = threading.Event()
        self.answers.set()
        self.asked: list[str] = []
        self._real = socket.getaddrinfo

    def getaddrinfo(self, host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(host, str) or not host.startswith("zk"):
            return self._real(host, port, *args, **kwargs)
        self.asked.append(host)
        self.answers.wait(DEADLINE_S)
        if host not in self.known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [found for name in self.known[host] for found in self._real(name, port, *args, **kwargs)]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    it = Names()
    monkeypatch.setattr(socket, "getaddrinfo", it.getaddrinfo)
    return it


@contextlib.contextmanager
def dropping(host: str, port: int) -> Iterator[None]:
    """Packets to this address are dropped."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server((host, port), backlog=0))
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield


class World:
    def __init__(self, host: str = "zk1", **settings: Any) -> None:
        self.config = Config(1, (Member(1, host, PORT - 1000, PORT),), tick_ms=1000, **settings)
        self.told: list[Event] = []
        self.lines: list[str] = []
        self.links = Links(self.config, self.told.append, lambda level, text: self.lines.append(text))

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                await asyncio.sleep(0.005)


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(2 * DEADLINE_S):
            await main()

    asyncio.run(bounded())


@pytest.mark.parametrize("dead", [1, 3, 9])
def test_a_dial_reaches_the_last_address_when_packets_to_the_others_are_dropped(names: Names, dead: int) -> None:
    net = network()
    names.known["zk2"] = [f"{net}.{number}" for number in range(1, dead + 2)]

    async def main() -> None:
        w = World()
        with contextlib.ExitStack() as stack:
            for host in names.known["zk2"][:-1]:
                stack.enter_context(dropping(host, PORT))
            stack.enter_context(socket.create_server((names.known["zk2"][-1], PORT)))
            w.links.dial(Dial(1, ELECTION, 2, ("zk2", PORT), 1000))
            await w.until(lambda: w.told)
            assert w.told == [Connected(1)]
            assert len(w.lines) == 1
            assert f"connected to server 2 at {net}.{dead + 1}, another address of zk2" in w.lines[0]
            w.links.close()

    run(main)


def test_a_refused_address_does_not_hold_up_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "STAGGER_S", 3600.0)
    net = network()
    hosts = [f"{net}.{number}" for number in range(1, 9)]

    async def main() -> None:
        with socket.create_server((hosts[-1], PORT)):
            resolved = [Addresses(socket.AF_INET, (host, PORT)) for host in hosts]
            sock = await addresses.connect(resolved, 1e6)
            assert sock.getpeername()[0] == hosts[-1]
            sock.close()
        with pytest.raises(OSError, match=r"\.1', 23888"):
            await addresses.connect(resolved, 1e6)

    run(main)


def test_dials_that_fail_have_a_log_line_and_not_one_each(names: Names) -> None:
    net = network()
    names.known["zk2"] = [f"{net}.1", f"{net}.2"]

    async def main() -> None:
        w = World()
        for conn in range(1, 40, 2):
            w.links.dial(Dial(conn, ELECTION, 2, ("zk2", PORT), 1000))
            w.links.dial(Dial(conn + 100, QUORUM, 3, ("zk3", PORT), 1000))
        await w.until(lambda: len(w.told) == 40)
        assert all(isinstance(event, Lost) for event in w.told)
        assert sorted(line.partition(": ")[0] for line in w.lines) == [
            f"cannot connect to server 2 at zk2:{PORT}",
            f"cannot connect to server 3 at zk3:{PORT}",
        ]
        w.links.close()

    run(main)


def test_a_resolver_slower_than_a_dial_delays_the_connection_and_does_not_prevent_it(names: Names) -> None:
    net = network()
    names.known["zk2"] = [f"{net}.1"]
    names.answers.clear()

    async def main() -> None:
        w = World()
        with socket.create_server((f"{net}.1", PORT)):
            w.links.dial(Dial(1, ELECTION, 2, ("zk2", PORT), 50))
            await w.until(lambda: w.told)
            assert isinstance(w.told[0], Lost)
            w.links.dial(Dial(3, ELECTION, 2, ("zk2", PORT), 60_000))
            names.answers.set()
            await w.until(lambda: len(w.told) == 2)
            assert w.told[1] == Connected(3)
            assert names.asked == ["zk2"], "the second dial waited for the lookup of the first"
            w.links.close()

    run(main)


def test_lookups_are_bounded_and_forgotten(names: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "MAX_LOOKUPS", 2)
    monkeypatch.setattr(addresses, "KEPT_S", 0.0)
    names.answers.clear()

    async def main() -> None:
        resolver = Resolver()
        for name in ("zk7", "zk8"):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(resolver.resolve((name, PORT)), 0.01)
        with pytest.raises(OSError, match="2 lookups of names are under way"):
            await resolver.resolve(("zk9", PORT))
        names.answers.set()
        names.known["zk9"] = ["127.0.0.1"]
        async with asyncio.timeout(DEADLINE_S):
            while len(resolver):
                await asyncio.sleep(0.01)
        assert [to.host for to in await resolver.resolve(("zk9", PORT))] == ["127.0.0.1"]

    run(main)


def test_a_server_listens_on_the_addresses_of_its_name_that_the_host_has(names: Names) -> None:
    net = network()
    names.known["zk1"] = ["fd00:1::1", f"{net}.1", "192.0.2.1"]

    async def main() -> None:
        w = World()
        await w.links.start()
        w.links.dial(Dial(1, QUORUM, 1, (f"{net}.1", PORT - 1000), 5000))
        await w.until(lambda: w.told)
        assert w.told == [Connected(1)]
        assert len(w.lines) == 4, "two addresses are absent, for two ports"
        assert "election port: zk1 has the address fd00:1::1, which this host does not have" in w.lines[0]
        w.links.close()
        with socket.create_server((f"{net}.1", PORT)):
            names.known["zk1"] = [f"{net}.2", f"{net}.1"]
            with pytest.raises(links.BindError, match="Address already in use"):
                await World(bind_attempts=1).links.start()

    run(main)


def test_zero_bind_retries_wait_for_the_own_name_as_long_as_it_takes(
    names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "BIND_PAUSE_S", 0.01)
    net = network()

    async def main() -> None:
        w = World(bind_attempts=0)
        starting = asyncio.get_running_loop().create_task(w.links.start())
        await w.until(lambda: len(names.asked) > 40)
        assert not starting.done()
        assert 4 <= len(w.lines) <= 8, "ever fewer lines"
        assert "election port: cannot listen on zk1 port 23888: Name or service not known; trying again" in w.lines[0]
        names.known["zk1"] = [f"{net}.1"]
        await starting
        w.links.close()
        with pytest.raises(links.BindError):
            await World("zk9", bind_attempts=2).links.start()
        assert names.asked.count("zk9") == 2

    run(main)


@pytest.mark.parametrize(("attempts", "code"), [(0, EXIT_OK), (1, EXIT_PORT)])
def test_a_server_that_waits_for_its_name_ends_when_it_is_told_to(
    names: Names, tmp_path: Path, attempts: int, code: int
) -> None:
    config = replace(World(bind_attempts=attempts).config, data_dir=str(tmp_path))

    async def main() -> None:
        agent = Agent(config, Server, bug="", events=EventsFile(None), journal=None)
        running = asyncio.get_running_loop().create_task(agent.run())
        async with asyncio.timeout(DEADLINE_S):
            while not names.asked:
                await asyncio.sleep(0.01)
            if attempts == 0:
                os.kill(os.getpid(), signal.SIGTERM)
            assert await running == code
            assert {task for task in asyncio.all_tasks() if not task.done()} == {asyncio.current_task()}

    run(main)


def test_nobody_is_accepted_while_the_second_port_is_waited_for() -> None:
    net = network()

    async def main() -> None:
        w = World(f"{net}.1", bind_attempts=0)
        with socket.create_server((f"{net}.1", PORT - 1000)):
            starting = asyncio.get_running_loop().create_task(w.links.start())
            await w.until(lambda: w.lines)
            reader, _ = await asyncio.open_connection(f"{net}.1", PORT)
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
            assert w.links.all == {}
        await starting
        w.links.close()

    run(main)
