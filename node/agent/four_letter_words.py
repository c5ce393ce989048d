"""Four-letter words: what a server says of itself in text, as ZooKeeper 3.8 prints it (protocol section 9).

1.  `clck`, which ZooKeeper does not have, is the server's own view of time: {"monotonic_ns": ..., "wall_ns": ...}.
2.  What this server does not count (watches, sizes of proposals) is printed as ZooKeeper prints it before it has any.
3.  A word outside the whitelist is refused, and so are `srvr`, `stat` and `mntr` while the server is not serving.

Example: `answer("isro", server, traffic, [])` is "rw", or "null" while the server is not serving.

Source: the commands of org.apache.zookeeper.server.command.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Callable, Dict, List, NamedTuple, Optional, Tuple

from node.agent.traffic import Traffic
from node.protocol.messages import FOLLOWING, LEADING, STATE_NAMES
from node.protocol.server import Server
from node.wire.frames import format_address

VERSION = "3.8.0-onethrone, built on 2022-02-25 08:49 UTC"
"""The ZooKeeper release whose behaviour this is, with its date, in the form that parsers of these words expect."""
NOT_SERVING = "This ZooKeeper instance is not currently serving requests\n"


class Shown(NamedTuple):
    """What the words print: the server, the counts of its client port, and a line for each client."""

    server: Server
    traffic: Traffic
    clients: List[str]


def answer(word: str, server: Server, traffic: Traffic, clients: List[str]) -> Optional[str]:
    """The text that answers `word`; None if it is no four-letter word."""
    words: Dict[str, Callable[[Shown], str]] = {
        "ruok": lambda shown: "imok",
        "isro": lambda shown: "rw" if shown.server.serving else "null",
        "conf": conf,
        "srvr": srvr,
        "stat": stat,
        "mntr": mntr,
        "clck": clck,
    }
    if word not in words:
        return None
    allowed = server.config.four_letter_words
    if allowed is not None and word not in allowed:
        return "%s is not executed because it is not in the whitelist.\n" % word
    if not server.serving and word in ("srvr", "stat", "mntr"):
        return NOT_SERVING
    return words[word](Shown(server, traffic, clients))


def mode(server: Server) -> str:
    return {LEADING: "leader", FOLLOWING: "follower"}.get(server.role, "observer")


def srvr(shown: Shown) -> str:
    return "Zookeeper version: %s\n%s" % (VERSION, _statistics(shown))


def stat(shown: Shown) -> str:
    lines = [" %s" % client for client in shown.clients]
    return "Zookeeper version: %s\nClients:\n%s\n\n%s" % (VERSION, "\n".join(lines), _statistics(shown))


def _statistics(shown: Shown) -> str:
    took = shown.traffic.latencies
    lines = [
        "Latency min/avg/max: %d/%.1f/%d" % (took.min_ms, took.average_ms, took.max_ms),
        "Received: %d" % shown.traffic.received,
        "Sent: %d" % shown.traffic.sent,
        "Connections: %d" % len(shown.clients),
        "Outstanding: %d" % shown.server.outstanding,
        "Zxid: 0x%x" % shown.server.processed_zxid,
        "Mode: %s" % mode(shown.server),
        "Node count: %d" % len(shown.server.database.nodes),
    ]
    if shown.server.role == LEADING:
        lines.append("Proposal sizes last/min/max: -1/-1/-1")
    return "\n".join(lines) + "\n"


def mntr(shown: Shown) -> str:
    server, nodes, took = shown.server, shown.server.database.nodes, shown.traffic.latencies
    values: List[Tuple[str, object]] = [
        ("version", VERSION),
        ("server_state", mode(shown.server)),
        ("peer_state", "%s - %s" % (STATE_NAMES[server.role].lower(), server.phase)),
        ("quorum_size", len(shown.server.config.voters)),
        ("avg_latency", "%.4f" % took.average_ms),
        ("max_latency", int(took.max_ms)),
        ("min_latency", int(took.min_ms)),
        ("packets_received", shown.traffic.received),
        ("packets_sent", shown.traffic.sent),
        ("num_alive_connections", len(shown.clients)),
        ("outstanding_requests", server.outstanding),
        ("znode_count", len(nodes)),
        ("watch_count", 0),
        ("ephemerals_count", 0),
        ("approximate_data_size", sum(len(path) + len(data) for path, data in nodes.items())),
    ]
    if shown.traffic.led_since is not None:
        values += [
            ("learners", len(server.learners)),
            ("synced_followers", server.synced_followers),
            ("synced_non_voting_followers", 0),
            ("synced_observers", server.synced_observers),
            ("pending_syncs", sum(waits_for != "synced" for waits_for in server.learners.values())),
            ("leader_uptime", int((asyncio.get_running_loop().time() - shown.traffic.led_since) * 1000)),
        ]
    return "".join("zk_%s\t%s\n" % pair for pair in values)


def conf(shown: Shown) -> str:
    config = shown.server.config
    me = config.member(config.sid)
    assert me is not None
    members = []
    for m in config.members:
        ports = "%s:%d:%s" % (format_address(m.quorum_address), m.election_port, m.role)
        members.append(
            "server.%d=%s%s" % (m.sid, ports, ";" + format_address(m.client) if m.client is not None else "")
        )
    lines = [
        "clientPort=%d" % (config.client_address[1] if config.client_address is not None else -1),
        "dataDir=%s/version-2" % config.data_dir,
        "dataLogDir=%s/version-2" % config.data_dir,
        "tickTime=%d" % config.tick_ms,
        "maxClientCnxns=%d" % config.max_client_connections,
        "minSessionTimeout=%d" % config.session_timeouts[0],
        "maxSessionTimeout=%d" % config.session_timeouts[1],
        "serverId=%d" % config.sid,
        "initLimit=%d" % config.init_limit,
        "syncLimit=%d" % config.sync_limit,
        "electionAlg=3",
        "electionPort=%d" % me.election_port,
        "quorumPort=%d" % me.quorum_port,
        "peerType=%d" % config.is_observer,
        "membership: ",
        *members,
        "version=0",
    ]
    return "\n".join(lines)


def clck(shown: Shown) -> str:
    return json.dumps({"monotonic_ns": time.monotonic_ns(), "wall_ns": time.time_ns()}) + "\n"
