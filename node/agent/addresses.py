"""Names with several addresses: which of them to dial, and which of them to listen on.

Rules:

1.  All addresses of a name get a chance within one attempt to dial.  The first is dialled at once, and each further one
    `STAGGER_S` after the one before (or as soon as that is refused), but all of them within the first half of the
    attempt.  The first that connects is used.  So a name whose IPv6 packets are dropped costs a quarter of a second.
2.  A lookup goes on when a dial gives up, and serves the next dial of that name: a slow resolver delays a connection,
    and does not prevent it.  No name is looked up twice at once.
3.  A server listens on every address of its name that the host has, and says which it has not.  An address that is in
    use, or may not be used, fails the listener.

Example: zk2 has fd00::2, whose packets are dropped, and 10.42.0.2.  `connect` begins with fd00::2, dials 10.42.0.2
after 250 ms, returns that connection, and closes the other socket.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from typing import Any, Callable, Dict, List, NamedTuple, Set

from node.protocol.messages import Address

STAGGER_S = 0.25
MAX_ADDRESSES = 16
MAX_LOOKUPS = 64
"""Maximum number of lookups in flight, or done and not yet used.  Peers name addresses too, so there may be many."""
KEPT_S = 10.0
"""Seconds for which the result of a lookup waits for the next dial."""

_ABSENT = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


class Addresses(NamedTuple):
    """One address of a name, as getaddrinfo gives it."""

    family: int
    address: Any

    @property
    def host(self) -> str:
        return str(self.address[0])


class Resolver:
    """Looks names up (rule 2)."""

    def __init__(self) -> None:
        self._lookups: Dict[Address, asyncio.Task[List[Addresses]]] = {}

    def __len__(self) -> int:
        return len(self._lookups)

    async def resolve(self, address: Address) -> List[Addresses]:
        """The addresses of a name, best first.  Raises OSError or UnicodeError; may be cancelled, and asked again."""
        lookup = self._lookups.get(address)
        if lookup is None:
            if len(self._lookups) >= MAX_LOOKUPS:
                raise OSError("%d lookups of names are under way" % MAX_LOOKUPS)
            lookup = asyncio.get_running_loop().create_task(_look_up(address))
            lookup.add_done_callback(lambda done: self._done(address, done))
            self._lookups[address] = lookup
        try:
            return await asyncio.shield(lookup)
        finally:
            if lookup.done():
                self._forget(address, lookup)

    def _done(self, address: Address, lookup: asyncio.Task[List[Addresses]]) -> None:
        if not lookup.cancelled():
            lookup.exception()  # it may have no other reader
            asyncio.get_running_loop().call_later(KEPT_S, self._forget, address, lookup)

    def _forget(self, address: Address, lookup: asyncio.Task[List[Addresses]]) -> None:
        if self._lookups.get(address) is lookup:
            del self._lookups[address]

    def close(self) -> None:
        for lookup in self._lookups.values():
            lookup.cancel()


async def _look_up(address: Address) -> List[Addresses]:
    host, port = address
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(Addresses(family, where) for family, _, _, _, where in found))[:MAX_ADDRESSES]


async def connect(addresses: List[Addresses], within_s: float) -> socket.socket:
    """A socket that is connected to one of the addresses (rule 1).  Raises the OSError of the first one if all fail."""
    stagger_s = min(STAGGER_S, within_s / 2 / max(len(addresses), 1))
    waiting: Set[asyncio.Task[socket.socket]] = set()
    every: List[asyncio.Task[socket.socket]] = []
    winner = None
    try:
        while winner is None and (len(every) < len(addresses) or waiting):
            more = len(every) < len(addresses)
            if more:
                every.append(asyncio.get_running_loop().create_task(_connect(addresses[len(every)])))
                waiting.add(every[-1])
                more = len(every) < len(addresses)
            done, waiting = await asyncio.wait(
                waiting, timeout=stagger_s if more else None, return_when=asyncio.FIRST_COMPLETED
            )
            winner = next((task for task in every if task in done and task.exception() is None), None)
        if winner is None:
            raise every[0].exception() or OSError("it has no address")
        return winner.result()
    finally:
        for task in every:
            task.cancel()
            if task is not winner and task.done() and not task.cancelled() and task.exception() is None:
                task.result().close()


async def _connect(to: Addresses) -> socket.socket:
    sock = socket.socket(to.family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, to.address)
    except BaseException:
        sock.close()
        raise
    return sock


async def listeners(
    factory: Callable[[], asyncio.BaseProtocol], address: Address, backlog: int, warn: Callable[[str], None]
) -> List[asyncio.AbstractServer]:
    """Listeners on every address of the name that this host has (rule 3); an empty name is the wildcard.

    Raises OSError or UnicodeError, and then listens on none.
    """
    host, port = address
    loop = asyncio.get_running_loop()
    if not host:
        return [await loop.create_server(factory, None, port, reuse_address=True, backlog=backlog)]
    servers: List[asyncio.AbstractServer] = []
    absent: List[str] = []
    last = OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    for to in await _look_up(address):
        try:
            servers.append(await loop.create_server(factory, to.host, port, reuse_address=True, backlog=backlog))
        except OSError as error:
            if error.errno not in _ABSENT:
                for server in servers:
                    server.close()
                raise
            absent.append(to.host)
            last = error
    if not servers:
        raise last
    for name in absent:
        warn("%s has the address %s, which this host does not have: not listening on it" % (host, name))
    return servers
