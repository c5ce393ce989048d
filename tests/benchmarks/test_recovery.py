"""How long the throne is empty after `kill -9` of the leader: ours next to real ZooKeeper 3.8.0.

Both ensembles (three servers, tickTime 500) live on the same three hosts of a lab at once, idle but for what is
measured; a leader is killed now in the one, now in the other, so that whatever else the machine does hits both.  The
time runs from the kill to the first answer of a survivor to `srvr` that says `Mode: leader`: asked every few
milliseconds, in the same way of both.  As a check, the moment at which the server itself says it entered broadcast is
taken from our events and from ZooKeeper's log.

The protocol's floor is 200 ms, FastLeaderElection's finalizeWait; whoever dials a leader that does not listen yet loses
100 ms more in ZooKeeper (leaderConnectDelayDuringRetryMs).
"""

from __future__ import annotations

import contextlib
import statistics
import threading
import time

import msgspec
import pytest

from harness.hosts.provision.lab import Lab
from harness.hosts.ssh.remote import Remote
from tests.ensembles import SETTINGS, LabServers, Servers

KILLS = 20
RATIO_MAX = 0.65
POLL_PAUSE_S = 0.004
OURS = SETTINGS
THEIRS = msgspec.structs.replace(SETTINGS, client_port=22182, quorum_port=22889, election_port=23889)


@pytest.mark.benchmark
@pytest.mark.timeout(900)
def test_the_next_leader_is_there_in_two_thirds_of_zookeepers_time() -> None:
    asked: dict[str, list[float]] = {"onethrone": [], "zookeeper": []}
    logged: dict[str, list[float]] = {"onethrone": [], "zookeeper": []}
    with contextlib.ExitStack() as stack:
        lab = stack.enter_context(Lab.up(3))
        remotes = {host: stack.enter_context(Remote(host, lab.ssh_config)) for host in lab.hosts}
        for remote in remotes.values():
            remote.connect()
        ours = stack.enter_context(LabServers(lab, remotes, "ours", dict.fromkeys(lab.hosts, "onethrone"), OURS))
        theirs = stack.enter_context(LabServers(lab, remotes, "theirs", dict.fromkeys(lab.hosts, "zookeeper"), THEIRS))
        for servers in (ours, theirs):
            servers.start()
        for _ in range(KILLS):
            for name, servers in (("onethrone", ours), ("zookeeper", theirs)):
                for each in (ours, theirs):
                    each.wait_until_all_serve()
                by_asking, by_log = recovery_ms(servers)
                asked[name].append(by_asking)
                logged[name].append(by_log)
    for name, times_ms in asked.items():
        print(f"\n{name}: asked {summary(times_ms)}; by its own log {summary(logged[name])}")
    ratio = statistics.median(asked["onethrone"]) / statistics.median(asked["zookeeper"])
    by_log = statistics.median(logged["onethrone"]) / statistics.median(logged["zookeeper"])
    print(f"ratio of the medians: asked {ratio:.2f}, by the logs {by_log:.2f}; target at most {RATIO_MAX}")
    for name, times_ms in asked.items():
        gap = abs(statistics.median(times_ms) - statistics.median(logged[name]))
        assert gap < 50, f"{name}: asking and its log disagree by {gap:.0f} ms: {times_ms} {logged[name]}"
    assert ratio <= RATIO_MAX


def recovery_ms(servers: Servers) -> tuple[float, float]:
    """Kill the leader, wait for the next, start the killed one again: milliseconds as asked, and by the log."""
    leader = servers.wait_until_all_serve()
    survivors = [host for host in servers.hosts if host != leader]
    pollers = [Poller(servers, host) for host in survivors]
    for poller in pollers:
        poller.start()
    try:
        killed_wall_ns, killed_ns = time.time_ns(), time.monotonic_ns()
        servers.kill(leader)
        servers.wait_for("the next leader", lambda: any(poller.led_ns for poller in pollers))
    finally:
        for poller in pollers:
            poller.stop()
    new = next(poller for poller in pollers if poller.led_ns)
    servers.wait_for("the event of it", lambda: broadcast_ns(servers, new.host, killed_ns, killed_wall_ns) is not None)
    by_log = broadcast_ns(servers, new.host, killed_ns, killed_wall_ns)
    assert by_log is not None
    servers.start(leader)
    return (new.led_ns - killed_ns) / 1e6, by_log / 1e6


def broadcast_ns(servers: Servers, host: str, killed_ns: int, killed_wall_ns: int) -> int | None:
    """Nanoseconds from the kill to the server's own report that it leads in broadcast."""
    for op in servers.events(host):
        value = op["value"]
        if op["f"] != "state" or (value["role"], value["phase"]) != ("LEADING", "broadcast"):
            continue
        after: int = op["host_time"] - killed_ns if "host_time" in op else op["wall_ns"] - killed_wall_ns
        if after > 0:
            return after
    return None


class Poller(threading.Thread):
    """Asks one server `srvr` until it says that it leads, or until it is stopped."""

    def __init__(self, servers: Servers, host: str) -> None:
        super().__init__(name=f"poller-{host}", daemon=True)
        self.host = host
        self.led_ns = 0
        self._servers = servers
        self._stop_asking = threading.Event()

    def run(self) -> None:
        while not self._stop_asking.wait(POLL_PAUSE_S):
            if "Mode: leader" in self._servers.ask(self.host, "srvr"):
                self.led_ns = time.monotonic_ns()
                return

    def stop(self) -> None:
        self._stop_asking.set()
        self.join(20)


def summary(times_ms: list[float]) -> str:
    low, middle, high = min(times_ms), statistics.median(times_ms), max(times_ms)
    return f"median {middle:.0f} ms ({low:.0f} to {high:.0f}, {len(times_ms)} kills)"
