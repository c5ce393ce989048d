"""Hosts of a lab with injectors on them, servers to hit, and real packets to see by: for the tests of the injector."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from harness.hosts.injectors import Injectors
from harness.hosts.provision.lab import Lab
from harness.hosts.ssh.process import RemoteProcess
from harness.hosts.ssh.remote import Remote

DIRECTORY = "/run/onethrone"
DEADLINE_S = 30.0
RUNNING = ("S", "R", "D")
"""Letters of a process that is not stopped; one that starts may be in the middle of reading its files."""


def wait_for(condition: Callable[[], Any], what: str, deadline_s: float = DEADLINE_S) -> Any:
    """What the condition is when it is true; fails after the deadline."""
    until = time.monotonic() + deadline_s
    while not (found := condition()):
        assert time.monotonic() < until, f"not within {deadline_s:g} s: {what}"
        time.sleep(0.02)
    return found


class Seen:
    """What the injectors told of, by host."""

    def __init__(self) -> None:
        self.lines: dict[str, list[str]] = {}
        self.events: dict[str, list[dict[str, Any]]] = {}
        self._lock = threading.Lock()

    def on_lines(self, host: str, stream: str, lines: list[str]) -> None:
        with self._lock:
            self.lines.setdefault(host, []).extend(lines)

    def on_event(self, host: str, event: dict[str, Any]) -> None:
        with self._lock:
            self.events.setdefault(host, []).append(event)

    def named(self, host: str, name: str) -> list[dict[str, Any]]:
        return [event for event in self.events.get(host, []) if event["event"] == name]


class Ensemble:
    """Hosts with injectors."""

    def __init__(self, lab: Lab, remotes: dict[str, Remote], injectors: Injectors, seen: Seen) -> None:
        self.lab = lab
        self.remotes = remotes
        self.injectors = injectors
        self.seen = seen
        self.addresses = {host: (f"10.42.0.{host[1:]}",) for host in lab.hosts}

    def sh(self, host: str, command: str) -> str:
        return self.remotes[host].run(command, deadline_s=DEADLINE_S).text

    def table(self, host: str) -> str:
        return self.sh(host, "nft list tables | grep onethrone || true")

    def state(self, host: str, pid: int) -> str:
        """The process's state letter; empty when it is gone."""
        found = self.sh(host, f"sed -E 's/.*\\) (.).*/\\1/' /proc/{pid}/stat 2>/dev/null || true")
        return "" if found == "Z" else found

    def ask(self, host: str, do: str, **fields: Any) -> dict[str, Any]:
        return self.injectors[host].request(do, DEADLINE_S, **fields).expect()

    def refused(self, host: str, do: str, **fields: Any) -> str:
        answer = self.injectors[host].request(do, DEADLINE_S, **fields)
        assert not answer.ok
        assert not answer.unknown
        return answer.error

    def start(self, host: str, script: str, **more: Any) -> int:
        """A Python script as the host's server; its output is in out, beside the injector."""
        paths = {"stdout": f"{DIRECTORY}/out", "stderr": f"{DIRECTORY}/err"}
        pid: int = self.ask(host, "start", server={"argv": ["python3", "-u", "-c", script], **paths, **more})["pid"]
        return pid


@contextlib.contextmanager
def ensemble(hosts: int, lease_s: float = 30.0) -> Iterator[Ensemble]:
    with Lab.up(hosts) as lab, contextlib.ExitStack() as stack:
        remotes = {host: stack.enter_context(Remote(host, lab.ssh_config)) for host in lab.hosts}
        seen = Seen()
        injectors = stack.enter_context(
            Injectors(remotes, DIRECTORY, lease_s=lease_s, on_lines=seen.on_lines, on_event=seen.on_event)
        )
        yield Ensemble(lab, remotes, injectors, seen)


# ---- packets ----

_PACKETS = """
import collections, json, socket, sys, time
SO_RCVBUFFORCE = 33  # beyond the machine's bound: a burst waits here, however late this process is scheduled
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
sock.setblocking(False)
sock.bind(("0.0.0.0", 9999))
heard = collections.defaultdict(list)
def take():
    try:
        while True:
            data, source = sock.recvfrom(65536)
            heard[source[0]].append(int(data[:16]))
    except BlockingIOError:
        pass  # all that has come is taken
for line in sys.stdin:
    order = json.loads(line)
    if "send" in order:
        for number in range(order["count"]):
            try:
                sock.sendto(b"%016d" % number + b"x" * (order["size"] - 16), (order["send"], 9999))
            except PermissionError:
                pass  # what a drop on the way out looks like to the sender of a datagram
            time.sleep(order["gap_s"])
        print(json.dumps("sent"), flush=True)
    else:
        take()
        print(json.dumps(heard.pop(order["heard"], [])), flush=True)
"""


class Packets:
    """A real UDP sender and listener on every host."""

    def __init__(self, of: Ensemble) -> None:
        self._of = of
        self._processes: dict[str, RemoteProcess] = {}
        for host, remote in of.remotes.items():
            of.sh(host, f"cat > {DIRECTORY}/packets.py <<'END'{_PACKETS}END\n")
            self._processes[host] = remote.spawn(f"exec python3 {DIRECTORY}/packets.py")
            self._order(host, {"heard": ""})

    def _order(self, host: str, order: dict[str, Any]) -> Any:
        self._processes[host].send_line(json.dumps(order).encode())
        line = self._processes[host].read_line(DEADLINE_S)
        assert line is not None, self._processes[host].stderr
        return json.loads(line)

    def heard(
        self,
        source: str,
        target: str,
        count: int = 5,
        *,
        size: int = 100,
        gap_s: float = 0.002,
        all_of_it: bool = False,
    ) -> list[int]:
        """Which of `count` packets from `source` come to `target`.

        After them, some are sent until there is nothing under way any more: UDP on a veth pair is handed over in the
        sender's own system call, so that what has not come by then was dropped.
        """
        self._order(target, {"heard": self._of.addresses[source][0]})
        address = self._of.addresses[target][0]
        self._order(source, {"send": address, "count": count, "size": size, "gap_s": gap_s})
        heard: list[int] = []
        until = time.monotonic() + (DEADLINE_S if all_of_it else 0.3)
        while len(heard) < count and time.monotonic() < until:
            heard += self._order(target, {"heard": self._of.addresses[source][0]})
        return heard

    def close(self) -> None:
        for process in self._processes.values():
            process.close()
