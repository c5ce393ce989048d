"""A server's configuration: ZooKeeper's own `zoo.cfg` and `myid`.

`load(path)` reads a file of Java properties (`key=value` lines, `#` comments), the file that its `dynamicConfigFile`
names, and `<dataDir>/myid`.  As in ZooKeeper, relative paths are relative to the working directory.  Example:

    tickTime=500
    initLimit=10
    syncLimit=5
    dataDir=/var/lib/onethrone
    clientPort=2181
    server.1=n1:2888:3888
    server.2=[fd00::2]:2888:3888:participant;2181
    server.3=n3:2888:3888:observer

Whatever is wrong is a `ConfigError` that names the file, the line, the key and what to do.  A key that this server does
not know is kept in `Config.other`, since ZooKeeper makes it a system property and does not refuse it either; what would
change the protocol on the wire and is not spoken here (TLS, SASL, several addresses, reconfiguration) is refused.
Sources: QuorumPeerConfig, QuorumPeer.QuorumServer, QuorumHierarchical; protocol section 7.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Dict, FrozenSet, List, NamedTuple, Optional, Set, Tuple

from node.protocol.messages import Address

PARTICIPANT = "participant"
OBSERVER = "observer"

SNAP_COUNT = 20_000


@dataclass(frozen=True)
class Member:
    """One `server.<sid>=host:quorumPort:electionPort[:role]` line."""

    sid: int
    host: str
    quorum_port: int
    election_port: int
    role: str = PARTICIPANT
    client: Optional[Address] = None

    @property
    def quorum_address(self) -> Address:
        return (self.host, self.quorum_port)

    @property
    def election_address(self) -> Address:
        return (self.host, self.election_port)


@dataclass(frozen=True)
class Config:
    """What a server knows of itself and of its ensemble.  Times are in milliseconds, limits in ticks."""

    sid: int
    members: Tuple[Member, ...]
    tick_ms: int = 3000
    init_limit: int = 10
    sync_limit: int = 5
    groups: Tuple[Tuple[int, FrozenSet[int]], ...] = ()
    weights: Tuple[Tuple[int, int], ...] = ()
    min_notification_interval_ms: int = 200
    max_notification_interval_ms: int = 60000
    connect_timeout_ms: int = 5000
    snap_count: int = SNAP_COUNT
    """snapCount: so many committed transactions in the log, or up to a half more, become a snapshot."""
    data_dir: str = ""
    client_address: Optional[Address] = None
    listen_on_all_ips: bool = False
    """quorumListenOnAllIPs: bind the wildcard address instead of the own one on the quorum and the election port."""
    four_letter_words: Optional[FrozenSet[str]] = None
    """4lw.commands.whitelist; None when it is not set: all that this server has (ZooKeeper: `srvr` alone)."""
    other: Dict[str, str] = field(default_factory=dict, compare=False)
    """Keys of zoo.cfg that this server does not know (ZooKeeper makes them system properties): kept, and logged."""

    @property
    def voters(self) -> FrozenSet[int]:
        return frozenset(m.sid for m in self.members if m.role == PARTICIPANT)

    def member(self, sid: int) -> Optional[Member]:
        return next((m for m in self.members if m.sid == sid), None)

    @property
    def is_observer(self) -> bool:
        me = self.member(self.sid)
        return me is not None and me.role == OBSERVER


class ConfigError(Exception):
    """What is wrong (`problem`), where (`file`, `line` 0 when it is the file as a whole, `key`), and what to do."""

    def __init__(self, file: str, line: int, key: str, problem: str, remedy: str) -> None:
        place = file + (":%d" % line if line else "") + (": " + key if key else "")
        super().__init__("%s: %s; %s" % (place, problem, remedy))
        self.file, self.line, self.key, self.problem, self.remedy = file, line, key, problem, remedy


class _Property(NamedTuple):
    file: str
    line: int
    key: str
    value: str

    def error(self, problem: str, remedy: str) -> ConfigError:
        return ConfigError(self.file, self.line, self.key, problem, remedy)

    def whole(self, low: int, high: int) -> int:
        """The value as a whole number from `low` to `high`."""
        value = _decimal(self.value)
        if value is None or not low <= value <= high:
            raise self.error("%r is no whole number from %d to %d" % (self.value, low, high), "correct the value")
        return value

    def flag(self) -> bool:
        if self.value.lower() not in ("true", "false"):
            raise self.error("%r is neither true nor false" % self.value, "write true or false")
        return self.value.lower() == "true"


_MAX_MS = 2**31 - 1
_MAX_SID = 2**63 - 2  # Long.MAX_VALUE is the id of "any observer" (QuorumCnxManager.OBSERVER_ID)
_REFUSED = {
    "sslQuorum": "TLS on the quorum and election ports",
    "portUnification": "TLS on the quorum and election ports",
    "quorum.auth.enableSasl": "SASL on the quorum and election ports",
    "multiAddress.enabled": "several addresses for a server",
    "reconfigEnabled": "reconfiguration",
}
_NUMBERS = {
    "tickTime": "tick_ms",
    "initLimit": "init_limit",
    "syncLimit": "sync_limit",
    "cnxTimeout": "connect_timeout_ms",
    "fastleader.minNotificationInterval": "min_notification_interval_ms",
    "fastleader.maxNotificationInterval": "max_notification_interval_ms",
    "snapCount": "snap_count",
}


def load(path: str) -> Config:
    """The configuration in the file `path`, with the sid of its data folder's `myid`.  Raises `ConfigError`."""
    properties = _read_properties(path)
    dynamic = properties.pop("dynamicConfigFile", None)
    if dynamic is not None:
        for key, found in _read_properties(dynamic.value, dynamic).items():
            if key in properties:
                raise found.error("it is in %s too" % path, "keep it in one of the two files")
            if key != "version":
                properties[key] = found
    for key, what in _REFUSED.items():
        if key in properties and properties[key].flag():
            raise properties.pop(key).error("%s is not spoken by this server" % what, "set it to false")
    algorithm = properties.pop("electionAlg", None)
    if algorithm is not None and algorithm.value != "3":
        raise algorithm.error("there is no election algorithm but 3", "leave the line out")

    numbers = {field: properties.pop(key).whole(1, _MAX_MS) for key, field in _NUMBERS.items() if key in properties}
    for key in ("initLimit", "syncLimit"):
        if _NUMBERS[key] not in numbers:
            raise ConfigError(path, 0, key, "it is not set", "add a line such as %s=5" % key)
    data_dir = _required(properties, path, "dataDir", "/var/lib/zookeeper").value
    members = _members(properties, path)
    groups, weights = _groups(properties, members)
    sid = _read_myid(data_dir)
    if all(member.sid != sid for member in members):
        myid = os.path.join(data_dir, "myid")
        raise ConfigError(myid, 1, "", "%s has no line server.%d" % (path, sid), "add the line, or correct myid")
    words = properties.pop("4lw.commands.whitelist", None)
    listen = properties.pop("quorumListenOnAllIPs", None)
    return Config(
        sid=sid,
        members=members,
        groups=groups,
        weights=weights,
        data_dir=data_dir,
        client_address=_client_address(properties, next(member for member in members if member.sid == sid)),
        listen_on_all_ips=listen is not None and listen.flag(),
        four_letter_words=None if words is None or "*" in words.value else _words(words.value),
        other={key: found.value for key, found in properties.items()},
        **numbers,
    )


def _read_properties(path: str, named_by: Optional[_Property] = None) -> Dict[str, _Property]:
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        problem = error.strerror if isinstance(error, OSError) and error.strerror else "it is not UTF-8 text"
        if named_by is not None:
            raise named_by.error("%s: %s" % (path, problem), "name a file that can be read") from None
        raise ConfigError(path, 0, "", problem, "name a zoo.cfg that can be read") from None
    properties: Dict[str, _Property] = {}
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text[0] in "#!":
            continue
        cut = min((at for at in (text.find("="), text.find(":")) if at >= 0), default=-1)
        key = text[:cut].strip()
        if cut < 0 or not key:
            raise ConfigError(path, number, "", "%.60r is no key=value" % text, "correct the line, or begin it with #")
        found = _Property(path, number, key, text[cut + 1 :].strip())
        if key in properties:
            raise found.error("it is on line %d already" % properties[key].line, "keep one of the two lines")
        properties[key] = found
    return properties


def _required(properties: Dict[str, _Property], path: str, key: str, example: str) -> _Property:
    found = properties.pop(key, None)
    if found is None or not found.value:
        raise ConfigError(path, found.line if found else 0, key, "it is not set", "write %s=%s" % (key, example))
    return found


def _take_numbered(properties: Dict[str, _Property], prefix: str, what: str) -> List[Tuple[int, _Property]]:
    """Removes and returns the properties `<prefix>.<number>`."""
    taken = []
    for key in [key for key in properties if key.startswith(prefix + ".")]:
        found = properties.pop(key)
        number = _decimal(key[len(prefix) + 1 :])
        if number is None or not 0 <= number <= _MAX_SID:
            raise found.error("%r is no %s" % (key[len(prefix) + 1 :], what), "write %s.<number>" % prefix)
        taken.append((number, found))
    return taken


def _members(properties: Dict[str, _Property], path: str) -> Tuple[Member, ...]:
    members = tuple(_parse_member(sid, found) for sid, found in _take_numbered(properties, "server", "server id"))
    if not any(member.role == PARTICIPANT for member in members):
        raise ConfigError(path, 0, "server.N", "there is no participant", "add server.N=host:2888:3888 lines")
    if len({member.sid for member in members}) < len(members):
        raise ConfigError(path, 0, "server.N", "one server id is written in two ways", "remove leading zeros")
    return members


def _parse_member(sid: int, found: _Property) -> Member:
    remedy = "write server.%d=host:quorumPort:electionPort[:role][;[host:]clientPort]" % sid
    if "|" in found.value:
        raise found.error("several addresses for a server are not spoken by this server", "keep one address")
    server, semicolon, client_text = found.value.partition(";")
    host, ports = _split_host(server)
    fields = ports.split(":") if ports else []
    if not host or len(fields) not in (2, 3):
        raise found.error("%r is not host:quorumPort:electionPort[:role]" % server, remedy)
    quorum_port, election_port = _port(fields[0]), _port(fields[1])
    if quorum_port is None or election_port is None:
        raise found.error("a port of %r is no number from 1 to 65535" % server, remedy)
    if quorum_port == election_port:
        raise found.error("quorum port and election port are both %d" % quorum_port, "give them different numbers")
    role = fields[2].strip().lower() if len(fields) == 3 else PARTICIPANT
    if role not in (PARTICIPANT, OBSERVER):
        raise found.error("role %r" % fields[2], "write participant or observer")
    client = None
    if semicolon:
        client_host, client_port_text = _split_host(client_text) if ":" in client_text else ("0.0.0.0", client_text)
        client_port = _port(client_port_text)
        if client_port is None or not client_host:
            raise found.error("%r is not [host:]clientPort" % client_text, remedy)
        client = (client_host, client_port)
    return Member(sid, host, quorum_port, election_port, role, client)


def _groups(
    properties: Dict[str, _Property], members: Tuple[Member, ...]
) -> Tuple[Tuple[Tuple[int, FrozenSet[int]], ...], Tuple[Tuple[int, int], ...]]:
    """group.G=1:2:3 and weight.N=w lines; either kind makes the quorum hierarchical (QuorumHierarchical)."""
    sids = {member.sid for member in members}
    groups: List[Tuple[int, FrozenSet[int]]] = []
    seen: Set[int] = set()
    weights: List[Tuple[int, int]] = []
    last: Optional[_Property] = None
    for number, last in _take_numbered(properties, "group", "group id"):
        group = [_decimal(text) for text in last.value.split(":")]
        for text, sid in zip(last.value.split(":"), group):
            if sid not in sids or sid is None:
                raise last.error("%r is the id of no server line" % text, "write ids of server.N lines, joined by :")
            if sid in seen:
                raise last.error("server %d is in two groups, or twice in one" % sid, "keep it in one group")
            seen.add(sid)
        groups.append((number, frozenset(sid for sid in group if sid is not None)))
    for sid, last in _take_numbered(properties, "weight", "server id"):
        if sid not in sids:
            raise last.error("there is no line server.%d" % sid, "add it, or remove this line")
        weights.append((sid, last.whole(0, 2**31 - 1)))
    if last is not None:
        for member in members:
            if member.role == PARTICIPANT and member.sid not in seen:
                raise last.error("server %d is in no group" % member.sid, "add it to a group.N line")
    return tuple(groups), tuple(weights)


def _client_address(properties: Dict[str, _Property], me: Member) -> Optional[Address]:
    port = properties.pop("clientPort", None)
    host = properties.pop("clientPortAddress", None)
    if port is None:
        return me.client
    address = (host.value.strip("[]") if host is not None else "0.0.0.0", port.whole(1, 65535))
    if me.client is not None and me.client[1] != address[1]:
        raise port.error("server.%d says client port %d" % (me.sid, me.client[1]), "keep one of the two")
    return address


def _read_myid(data_dir: str) -> int:
    path = os.path.join(data_dir, "myid")
    try:
        with open(path, encoding="utf-8") as file:
            text = file.readline(64).strip()
    except (OSError, UnicodeDecodeError) as error:
        problem = error.strerror if isinstance(error, OSError) and error.strerror else "it is not UTF-8 text"
        raise ConfigError(
            path, 0, "", problem, "write this server's number, the N of its server.N line, into it"
        ) from None
    sid = _decimal(text)
    if sid is None or not 0 <= sid <= _MAX_SID:
        raise ConfigError(path, 1, "", "%r is no server id" % text, "write the N of this server's server.N line")
    return sid


def _split_host(text: str) -> Tuple[str, str]:
    """ "[fd00::1]:2888:3888" to ("fd00::1", "2888:3888"); ("", "") when it is no host with ports."""
    text = text.strip()
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]:")
        return (host, rest) if bracket else ("", "")
    host, _, rest = text.partition(":")
    return host.strip(), rest


def _port(text: str) -> Optional[int]:
    port = _decimal(text.strip())
    return port if port is not None and 1 <= port <= 65535 else None


def _decimal(text: str) -> Optional[int]:
    """A decimal number of at most 19 digits, or None; unlike int(), neither 1_000 nor a digit of another script."""
    digits = text[1:] if text[:1] == "-" else text
    return int(text) if digits.isascii() and digits.isdigit() and len(digits) <= 19 else None


def _words(text: str) -> FrozenSet[str]:
    return frozenset(word.strip() for word in text.split(",")) | {"srvr"}
