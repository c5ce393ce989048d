"""ZooKeeper's own `zoo.cfg` and `myid`, read into a `Config`.

`load(path)` reads a file of Java properties (`node.properties`), the file that its `dynamicConfigFile` names, and
`<dataDir>/myid`.  As in ZooKeeper, relative paths are relative to the working directory.  Example:

    tickTime=500
    initLimit=10
    syncLimit=5
    dataDir=/var/lib/onethrone
    clientPort=2181
    server.1=n1:2888:3888
    server.2=[fd00::2]:2888:3888:participant;2181
    server.3=n3:2888:3888:observer

What ZooKeeper 3.8.0 refuses is refused, as a `ConfigError` that names the file, the line, the key and what to do.  What
ZooKeeper accepts is accepted, in one of three ways:

1.  This server does what the file asks for.
2.  A key that ZooKeeper knows or makes a system property, and this server does not implement, is ignored.  Each has a
    line in `Config.other`, for the log.
3.  What would change the protocol or the quorum, and is not implemented (TLS, SASL, several addresses, reconfiguration,
    a standalone server), is refused.  docs/deviations.md lists all of it.

Sources: QuorumPeerConfig, QuorumPeer.QuorumServer, QuorumMaj, QuorumHierarchical; protocol section 7.
"""

from __future__ import annotations

import ipaddress
import os
import re
from typing import Dict, FrozenSet, List, Optional, Tuple

from node import properties
from node.config import MAX_CLIENTS, OBSERVER, PARTICIPANT, Config, Member
from node.properties import INT, LONG, ConfigError, Property, number, printable, quoted, split, trim
from node.protocol.messages import Address

_MAX_INT = 2**31 - 1
_MAX_SID = 2**63 - 2  # Long.MAX_VALUE is the id of "any observer" (QuorumCnxManager.OBSERVER_ID)

_INTS = (
    *("tickTime", "initLimit", "syncLimit", "connectToLearnerMasterLimit", "minSessionTimeout", "maxSessionTimeout"),
    *("clientPort", "secureClientPort", "observerMasterPort", "clientPortListenBacklog", "maxClientCnxns"),
    *("electionAlg", "autopurge.snapRetainCount", "autopurge.purgeInterval", "quorum.cnxn.threads.size"),
    *("multiAddress.reachabilityCheckTimeoutMs", "cnxTimeout"),
)
_LONGS = tuple("jvm.pause.%s.ms" % name for name in ("info-threshold", "warn-threshold", "sleep.time"))
_FLAGS = (
    *("localSessionsEnabled", "localSessionsUpgradingEnabled", "quorumListenOnAllIPs", "syncEnabled"),
    *("standaloneEnabled", "reconfigEnabled", "sslQuorum", "portUnification", "sslQuorumReloadCertFiles"),
    *("quorum.auth.enableSasl", "quorum.auth.serverRequireSasl", "quorum.auth.learnerRequireSasl"),
    *("jvm.pause.monitor", "multiAddress.enabled", "multiAddress.reachabilityCheckEnabled"),
)
_TEXTS = (
    *("dataDir", "dataLogDir", "clientPortAddress", "secureClientPortAddress", "peerType", "dynamicConfigFile"),
    *("quorum.auth.kerberos.servicePrincipal", "quorum.auth.learner.saslLoginContext"),
    *("quorum.auth.server.saslLoginContext", "oraclePath", "version", "4lw.commands.whitelist"),
)
_SYSTEM_INTS = {
    "fastleader.minNotificationInterval": ("min_notification_interval_ms", 1),
    "fastleader.maxNotificationInterval": ("max_notification_interval_ms", 1),
    "snapCount": ("snap_count", 1),
    "electionPortBindRetry": ("bind_attempts", 0),
}
"""Keys that ZooKeeper reads with Integer.getInteger: the field, and the least value that makes sense."""

_UNSPOKEN = {
    "sslQuorum": "TLS on the quorum and election ports",
    "portUnification": "TLS on the quorum and election ports",
    "quorum.auth.enableSasl": "SASL on the quorum and election ports",
    "multiAddress.enabled": "several addresses for a server",
    "reconfigEnabled": "reconfiguration",
}
_NOT_SPOKEN = " is not spoken by this server"
_NEED_SASL = ("quorum.auth.serverRequireSasl", "quorum.auth.learnerRequireSasl")
_POSITIVE = ("tickTime", "initLimit", "syncLimit", "cnxTimeout")
_IGNORED = {
    "dataLogDir": "the transaction log lies in dataDir",
    "clientPortListenBacklog": "the backlog is 128",
    "connectToLearnerMasterLimit": "each dial of a leader lasts a second or a tick",
    "localSessionsEnabled": "every session is a global one",
    "jvm.pause.monitor": "there is no JVM",
    "version": "this server always says version 0",
}
"""What this server does instead of what a key asks for."""


def load(path: str) -> Config:
    """The configuration in the file `path`, with the sid of its data folder's `myid`.  Raises `ConfigError`."""
    found = properties.read(path)
    settings: Dict[str, Property] = {}
    for prop in found.values():
        key = trim(prop.key)
        if key in settings:
            raise prop.error("it is on line %d already, with other white space" % settings[key].line, "keep one")
        settings[key] = prop
    ints, flags = _checked(settings)
    dynamic = settings.get("dynamicConfigFile")
    lines = list(found.values()) if dynamic is None else _dynamic_lines(dynamic, path, settings)
    members = _members(lines, path)
    _check_standalone(members, flags.get("standaloneEnabled", True), lines)
    groups, weights = _groups(lines, members)
    data_dir = settings.get("dataDir")
    if data_dir is None or not data_dir.trimmed:
        line = data_dir.line if data_dir is not None else 0
        raise ConfigError(path, line, "dataDir", "it is not set", "write dataDir=/var/lib/zookeeper")
    for key in ("initLimit", "syncLimit"):
        if key not in ints:
            raise ConfigError(path, 0, key, "it is not set", "add a line such as %s=5" % key)
    sid = _read_myid(data_dir.trimmed)
    me = next((member for member in members if member.sid == sid), None)
    if me is None:
        myid = os.path.join(data_dir.trimmed, "myid")
        raise ConfigError(
            myid, 1, "", "%s has no line server.%d" % (printable(path), sid), "add the line, or correct myid"
        )
    notes = _notes(settings)
    numbers = {name: _system_int(settings[key]) for key, (name, _) in _SYSTEM_INTS.items() if key in settings}
    words = settings.get("4lw.commands.whitelist")
    config = Config(
        sid=sid,
        members=members,
        tick_ms=ints.get("tickTime", Config.tick_ms),
        init_limit=ints["initLimit"],
        sync_limit=ints["syncLimit"],
        groups=groups,
        weights=weights,
        data_dir=data_dir.trimmed,
        client_address=_client_address(settings, ints, me),
        listen_on_all_ips=flags.get("quorumListenOnAllIPs", False),
        four_letter_words=None if words is None or "*" in words.value else _words(words.value),
        min_session_timeout=_session_timeout(ints, "minSessionTimeout"),
        max_session_timeout=_session_timeout(ints, "maxSessionTimeout"),
        max_client_connections=ints.get("maxClientCnxns", Config.max_client_connections),
        other=notes,
        connect_timeout_ms=ints.get("cnxTimeout", Config.connect_timeout_ms),
        **{name: value for name, value in numbers.items() if value is not None},
    )
    shortest, longest = config.session_timeouts
    if shortest > longest:
        key = next((key for key in ("minSessionTimeout", "maxSessionTimeout", "tickTime") if key in settings), "")
        line = settings[key].line if key else 0
        problem = "minSessionTimeout, %d ms, is larger than maxSessionTimeout, %d ms" % (shortest, longest)
        raise ConfigError(path, line, key, problem, "set both (by default 2 and 20 ticks)")
    return config


def _checked(settings: Dict[str, Property]) -> Tuple[Dict[str, int], Dict[str, bool]]:
    """The numbers and the flags.  Raises `ConfigError` for what ZooKeeper refuses, and for what is not spoken here."""
    ints = {key: settings[key].number() for key in _INTS if key in settings}
    for key in _LONGS:
        if key in settings:
            settings[key].number(LONG)
    flags = {key: settings[key].flag() for key in _FLAGS if key in settings}
    for key, (wrong, problem, remedy) in {
        **{key: (flags.get(key), what + _NOT_SPOKEN, "set it to false") for key, what in _UNSPOKEN.items()},
        **{key: (flags.get(key), "quorum.auth.enableSasl is not true", "set it to false") for key in _NEED_SASL},
        **{key: (ints.get(key, 1) < 1, "the value is below 1", "correct the value") for key in _POSITIVE},
        "electionAlg": (ints.get("electionAlg", 3) != 3, "there is no election algorithm but 3", "leave the line out"),
        "secureClientPort": (
            ints.get("secureClientPort"),
            "TLS on the client port" + _NOT_SPOKEN,
            "leave the line out",
        ),
        "secureClientPortAddress": (True, "TLS on the client port" + _NOT_SPOKEN, "leave the line out"),
        "observerMasterPort": (
            ints.get("observerMasterPort", 0) > 0,
            "a follower that serves observers" + _NOT_SPOKEN,
            "leave the line out, here and on the observers",
        ),
        "oraclePath": (True, "the two-server oracle" + _NOT_SPOKEN, "leave the line out"),
    }.items():
        if wrong and key in settings:
            raise settings[key].error(problem, remedy)
    version = settings.get("version")
    if version is not None and not re.fullmatch("[+-]?0*[0-9a-fA-F]{1,15}", version.value):
        raise version.error("%s is no version" % quoted(version.value), "leave the line out")
    role = settings.get("peerType")
    if role is not None and role.trimmed.lower() not in (PARTICIPANT, OBSERVER):
        raise role.error("%s is no type of server" % quoted(role.trimmed), "write participant or observer")
    return ints, flags


def _session_timeout(ints: Dict[str, int], key: str) -> Optional[int]:
    value = ints.get(key, -1)
    return None if value == -1 else value


def _notes(settings: Dict[str, Property]) -> Dict[str, str]:
    """What is ignored, and what this server does instead."""
    notes: Dict[str, str] = {}
    known = {*_INTS, *_LONGS, *_FLAGS, *_TEXTS, *_SYSTEM_INTS}
    for key, found in settings.items():
        text = ""
        if key in _IGNORED:
            text = "is ignored: " + _IGNORED[key] if key not in _FLAGS or found.flag() else ""
        elif key == "maxClientCnxns":
            text = "" if 0 < found.number() <= MAX_CLIENTS else "ends at %d: there are no more in all" % MAX_CLIENTS
        elif key == "syncEnabled":
            text = "" if found.flag() else "is ignored: an observer stores what the leader sends"
        elif key.startswith("metricsProvider."):
            text = "is ignored: there are no metrics but those of mntr"
        elif key in _SYSTEM_INTS and _system_int(found) is None:
            text = "is ignored: %s is no number that ZooKeeper reads here" % quoted(found.trimmed)
        elif key not in known and not key.startswith(("server.", "group", "weight")):
            text = "is not known to this server, and ignored"
        if text:
            notes[key] = "%s:%d: %s %s" % (printable(found.file), found.line, printable(key) or "the empty key", text)
    return notes


def _system_int(found: Property) -> Optional[int]:
    """A number that ZooKeeper reads with Integer.getInteger: None where it takes the default instead."""
    value = _decode_int(found.trimmed)
    if value is None or (trim(found.key) == "electionPortBindRetry" and value < 0):
        return None
    _, least = _SYSTEM_INTS[trim(found.key)]
    if value < least:
        raise found.error("%d is below %d" % (value, least), "correct the value")
    return value


def _decode_int(text: str) -> Optional[int]:
    """Integer.decode: decimal, 0x1f, #1f, or octal with a leading 0."""
    match = re.fullmatch(r"([+-]?)(?:(0[xX]|#)([0-9a-fA-F]{1,9})|0([0-7]{1,12})|([1-9][0-9]{0,9}|0))", text)
    if match is None:
        return None
    sign, _, hexadecimal, octal, decimal = match.groups()
    value = int(hexadecimal, 16) if hexadecimal else int(octal, 8) if octal else int(decimal)
    value = -value if sign == "-" else value
    return value if -_MAX_INT - 1 <= value <= _MAX_INT else None


def _dynamic_lines(dynamic: Property, path: str, settings: Dict[str, Property]) -> List[Property]:
    """The properties of the dynamic file.  With it, the servers and their groups may not be in the static one."""
    for key, found in settings.items():
        if key.startswith(("server.", "group", "weight")):
            raise found.error("there is a dynamicConfigFile, and this line is not in it", "move the line there")
    try:
        lines = list(properties.read(dynamic.trimmed).values())
    except ConfigError as error:
        if error.line:
            raise
        raise dynamic.error(
            "%s: %s" % (printable(dynamic.trimmed), error.problem), "name a file that can be read"
        ) from None
    for found in lines:
        if trim(found.key) == "version":
            raise found.error("a dynamic file has no version inside", "remove the line; its name ends with the version")
        if not trim(found.key).startswith(("server.", "group", "weight")):
            raise found.error("a dynamic file has servers, groups and weights only", "move the line to %s" % path)
    if os.path.exists(path + ".dynamic.next"):
        problem = "a reconfiguration was begun, which is not spoken by this server"
        raise ConfigError(path + ".dynamic.next", 0, "", problem, "finish it with ZooKeeper, or remove the file")
    return lines


def _numbered(lines: List[Property], prefix: str, what: str) -> List[Tuple[int, Property]]:
    """The properties `<prefix>.<number>`, in order of the numbers.  ZooKeeper lets text stand before the dot."""
    taken: Dict[int, Property] = {}
    for found in lines:
        if not found.key.startswith(prefix):
            continue
        text = found.key.partition(".")[2] if "." in found.key else found.key
        value = number(text, LONG)
        if value is None or not 0 <= value <= _MAX_SID:
            raise found.error("%s is no %s" % (quoted(text), what), "write %s.<number>" % prefix.rstrip("."))
        if value in taken:
            raise found.error("line %d gives the same %s" % (taken[value].line, what), "keep one of the two lines")
        taken[value] = found
    return list(taken.items())


def _members(lines: List[Property], path: str) -> Tuple[Member, ...]:
    members = tuple(_parse_member(sid, found) for sid, found in _numbered(lines, "server.", "server id"))
    if not any(member.role == PARTICIPANT for member in members):
        raise ConfigError(path, 0, "server.N", "there is no participant", "add server.N=host:2888:3888 lines")
    return members


def _check_standalone(members: Tuple[Member, ...], standalone_enabled: bool, lines: List[Property]) -> None:
    participants = [member for member in members if member.role == PARTICIPANT]
    if standalone_enabled and len(participants) == 1 and len(members) > 1:
        found = next(line for line in lines if line.key.startswith("server."))
        raise found.error("there is one participant, and observers", "write standaloneEnabled=false")


def _parse_member(sid: int, found: Property) -> Member:
    remedy = "write server.%d=host:quorumPort:electionPort[:role][;[host:]clientPort]" % sid
    sections = split(found.value, ";")
    servers = split(sections[0], "|") if sections else []
    if len(servers) > 1:
        raise found.error("several addresses for a server are not spoken by this server", "keep one address")
    parts = _host_and_ports(servers[0]) if servers else None
    if parts is None or not 3 <= len(parts) <= 4 or len(sections) > 2:
        raise found.error("%s is not host:quorumPort:electionPort[:role]" % quoted(found.value), remedy)
    quorum_port, election_port = _port(parts[1]), _port(parts[2])
    if quorum_port is None or election_port is None:
        raise found.error("a port of %s is no number from 1 to 65535" % quoted(servers[0]), remedy)
    if quorum_port == election_port:
        raise found.error("quorum port and election port are both %d" % quorum_port, "give them different numbers")
    role = trim(parts[3]).lower() if len(parts) == 4 else PARTICIPANT
    if role not in (PARTICIPANT, OBSERVER):
        raise found.error("role %s" % quoted(parts[3]), "write participant or observer")
    client = None
    if len(sections) == 2:
        client_parts = _host_and_ports(sections[1])
        client_port = _port(client_parts[-1]) if client_parts and len(client_parts) <= 2 else None
        if not client_parts or client_port is None:
            raise found.error("%s is not [host:]clientPort" % quoted(sections[1]), remedy)
        client = (client_parts[0] if len(client_parts) == 2 else "0.0.0.0", client_port)
    for host in (parts[0], client[0] if client is not None else parts[0]):
        if not host or not host.isprintable() or " " in host:
            raise found.error("%s is no name or address of a host" % quoted(host), remedy)
    return Member(sid, parts[0], quorum_port, election_port, role, client)


def _groups(
    lines: List[Property], members: Tuple[Member, ...]
) -> Tuple[Tuple[Tuple[int, FrozenSet[int]], ...], Tuple[Tuple[int, int], ...]]:
    """group.G=1:2:3 and weight.N=w lines; either kind makes the quorum hierarchical (QuorumHierarchical)."""
    participants = [member.sid for member in members if member.role == PARTICIPANT]
    groups: List[Tuple[int, FrozenSet[int]]] = []
    group_of: Dict[int, int] = {}
    for group, found in _numbered(lines, "group", "group id"):
        texts = split(found.value, ":")
        if not texts:
            raise found.error("the group is empty", "write ids of server.N lines, joined by :")
        for text in texts:
            sid = number(text, LONG)
            if sid not in participants or sid is None:
                remedy = "write ids of server.N lines, joined by :"
                raise found.error("%s is the id of no participant" % quoted(text), remedy)
            if sid in group_of:
                raise found.error("server %d is in two groups, or twice in one" % sid, "keep it in one group")
            group_of[sid] = group
        groups.append((group, frozenset(sid for sid in group_of if group_of[sid] == group)))
    weights: List[Tuple[int, int]] = []
    for sid, found in _numbered(lines, "weight", "server id"):
        weight = number(found.value, LONG)
        if weight is None or not 0 <= weight <= _MAX_INT:
            raise found.error("%s is no whole number from 0 to 2^31-1" % quoted(found.value), "correct the value")
        weights.append((sid, weight))
    last = next((line for line in reversed(lines) if trim(line.key).startswith(("group", "weight"))), None)
    if last is not None:
        for sid in participants:
            if sid not in group_of:
                raise last.error("server %d is in no group" % sid, "add it to a group.N line")
    return tuple(groups), tuple(weights)


def _client_address(settings: Dict[str, Property], ints: Dict[str, int], me: Member) -> Optional[Address]:
    """Where clients connect: as the server's own line says, else as clientPort and clientPortAddress do."""
    number_, host = ints.get("clientPort", 0), settings.get("clientPortAddress")
    if number_ == 0:
        if host is not None:
            raise host.error("clientPort is not set", "add a line clientPort=2181")
        return me.client
    port = settings["clientPort"]
    if not 1 <= number_ <= 65535:
        raise port.error("%d is no port from 1 to 65535" % number_, "correct the value")
    name = host.trimmed if host is not None else "0.0.0.0"
    if name.startswith("[") and name.endswith("]"):
        name = name[1:-1]
    if host is not None and (not name or not name.isprintable() or " " in name):
        raise host.error("%s is no name or address of a host" % quoted(name), "leave the line out to listen on all")
    if me.client is None:
        return (name, number_)
    if me.client[1] != number_:
        raise port.error("server.%d says client port %d" % (me.sid, me.client[1]), "keep one of the two")
    if host is not None and _address(name) not in (_address("0.0.0.0"), _address("::"), _address(me.client[0])):
        raise host.error("server.%d says client address %s" % (me.sid, printable(me.client[0])), "keep one of the two")
    return me.client


def _address(host: str) -> str:
    """One spelling for each address."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return host.lower()


def _read_myid(data_dir: str) -> int:
    path = os.path.join(data_dir, "myid")
    remedy = "write this server's number, the N of its server.N line, into it"
    try:
        with open(path, "rb") as file:
            text = re.split("[\r\n]", file.read(64).decode("utf-8", "replace"))[0]
    except OSError as error:
        raise ConfigError(path, 0, "", error.strerror or str(error), remedy) from None
    except ValueError:
        raise ConfigError(path, 0, "", "this is no path", "correct dataDir") from None
    sid = number(text, LONG)
    if sid is None or not 0 <= sid <= _MAX_SID:
        raise ConfigError(path, 1, "", "%s is no server id" % quoted(text), "write the number alone, without spaces")
    return sid


def _host_and_ports(text: str) -> Optional[List[str]]:
    """ "[fd00::1]:2888:3888" to ["fd00::1", "2888", "3888"] (ConfigUtils.getHostAndPort); None where that fails."""
    if not text.startswith("["):
        return split(text, ":")
    bracket = text.find("]")
    if bracket < 0 or bracket + 2 >= len(text):
        return None
    return [text[1:bracket], *split(text[bracket + 2 :], ":")]


def _port(text: str) -> Optional[int]:
    port = number(text, INT)
    return port if port is not None and 1 <= port <= 65535 else None


def _words(text: str) -> FrozenSet[str]:
    return frozenset(word.strip() for word in text.split(",")) | {"srvr"}
