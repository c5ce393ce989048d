"""Packets that leave this host late: a queue of the kernel's per fault and address.

The model.  A device that a fault needs gets a root queue of ours, an htb whose default is to hold nothing up.  Under it
hangs one class per fault and address, with the discipline that does the work: tbf (so many bytes a second, the rest
waits) or netem (delayed, reordered, doubled, damaged).  Which packets go into a class is said by a rule in our nftables
table (`meta priority set`), so that nothing else that the host sends is slowed down, the control path least of all.

The rules:

1.  A device whose root queue somebody has configured is left alone, and the fault refused: what is there cannot be put
    back exactly.  The kernel's default (handle 0:) comes back by itself when ours is deleted.
2.  Our root queue has the handle 7e1e:, and is there while a fault needs it, and not a moment longer.
3.  A fault counts when the kernel lists its disciplines under the handles that they were given.
"""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any, Dict, List, NamedTuple

from nemesis.injector.errors import Refused

ROOT = "7e1e:"
"""The handle of our root queue."""
DEADLINE_S = 5.0
"""Maximum seconds that tc or ip may take."""
QUEUE_S = 10
"""Seconds of traffic, at the link's rate, that a queue holds.  More is dropped, as by any router."""

Link = Dict[str, Any]

VERBS = ("slow", "delay", "reorder", "duplicate", "corrupt")


class Queue(NamedTuple):
    device: str
    minor: int
    discipline: str

    @property
    def classid(self) -> str:
        return "%s%x" % (ROOT, self.minor)

    @property
    def handle(self) -> str:
        return "%x:" % (0x7000 + self.minor)


class Queues:
    """The queues in force, by fault and address."""

    def __init__(self) -> None:
        self.faults: Dict[str, Dict[str, Queue]] = {}

    def devices(self) -> List[str]:
        return sorted({queue.device for queues in self.faults.values() for queue in queues.values()})

    def plan(self, links: Dict[str, Link]) -> Dict[str, Queue]:
        """The queues that the links need; nothing is done yet.  Raises Refused."""
        taken = {queue.minor for queues in self.faults.values() for queue in queues.values()}
        free = (minor for minor in range(3, 0xFFF) if minor not in taken)
        return {
            address: Queue(_device(address), minor, discipline(link))
            for (address, link), minor in zip(links.items(), free)
        }

    def add(self, fault_id: str, queues: Dict[str, Queue]) -> Dict[str, Any]:
        """Make them, and read them back.  Raises Refused, and then there are none of the fault's."""
        script = []
        for device in sorted({queue.device for queue in queues.values()}):
            if device not in self.devices():
                root = _root(device)
                if root.get("handle", "0:") not in ("0:", ROOT):
                    raise Refused(
                        "%s has a queue of somebody else (%s %s), which is left alone"
                        % (device, root.get("kind"), root.get("handle"))
                    )
                script.append("qdisc replace dev %s root handle %s htb" % (device, ROOT))
        self.faults[fault_id] = queues
        for queue in queues.values():
            where = "dev %s parent %s" % (queue.device, ROOT)
            script.append("class add %s classid %s htb rate 10gbit quantum 60000" % (where, queue.classid))
            leaf = (queue.device, queue.classid, queue.handle, queue.discipline)
            script.append("qdisc add dev %s parent %s handle %s %s" % leaf)
        try:
            _tc("-batch", "-", given="\n".join(script) + "\n")
            missing = [queue for queue in queues.values() if queue.handle not in _handles(queue.device)]
            if missing:
                raise Refused("the kernel does not list %s" % ", ".join(queue.handle for queue in missing))
        except Refused:
            self.remove(fault_id)
            raise
        return {"queues": len(queues)}

    def remove(self, fault_id: str) -> None:
        """Take the fault's queues away; packets that wait in them are lost.  Raises Refused if they are still there."""
        gone = self.faults.pop(fault_id, {})
        kept = self.devices()
        for device in sorted({queue.device for queue in gone.values()}):
            if device not in kept:
                delete_root(device)
                if _root(device).get("handle") == ROOT:
                    raise Refused("our queue on %s cannot be removed" % device)
        for queue in gone.values():
            if queue.device in kept:
                _tc("class", "del", "dev", queue.device, "classid", queue.classid)

    def heal(self) -> None:
        for fault_id in list(self.faults):
            self.remove(fault_id)


def discipline(link: Link) -> str:
    """The discipline's words for tc.  Raises Refused."""
    verb, params = next((verb, link[verb]) for verb in VERBS if verb in link)
    if not isinstance(params, dict) or set(link) != {verb}:
        raise Refused("a link that is queued takes one of %s, with an object" % ", ".join(VERBS))

    def number(name: str, low: float, high: float) -> float:
        value = params.get(name)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            raise Refused("%s: %s: %r is not a number from %g to %g" % (verb, name, value, low, high))
        return float(value)

    if verb == "slow":
        rate = int(number("bytes_per_s", 100, 1e9))
        return "tbf rate %dbps burst %d limit %d" % (rate, max(3000, rate // 10), max(30_000, rate * QUEUE_S))
    if verb == "delay":
        jitter = number("jitter_ms", 0, 60_000) if "jitter_ms" in params else 0.0
        return "netem limit 100000 delay %gms %gms" % (number("delay_ms", 1, 60_000), jitter)
    share = number("percent", 0.01, 100)
    if verb == "reorder":
        # netem sends this share at once, and the others after the delay.
        return "netem limit 100000 delay %gms reorder %g%%" % (number("delay_ms", 1, 60_000), share)
    return "netem limit 100000 %s %g%%" % (verb, share)


def delete_root(device: str) -> None:
    """Our root queue of the device, if it is ours and there."""
    try:
        if _root(device).get("handle") == ROOT:
            _tc("qdisc", "del", "dev", device, "root")
    except Refused:
        return


def _root(device: str) -> Dict[str, Any]:
    listed = json.loads(_tc("-json", "qdisc", "show", "dev", device) or "[]")
    return next((qdisc for qdisc in listed if qdisc.get("root")), {})


def _handles(device: str) -> List[str]:
    return [qdisc["handle"] for qdisc in json.loads(_tc("-json", "qdisc", "show", "dev", device) or "[]")]


def _device(address: str) -> str:
    """The device that packets to the address leave by."""
    found = json.loads(_run(["ip", "-json", "route", "get", address]) or "[]")
    if not found or "dev" not in found[0]:
        raise Refused("there is no route to %s" % address)
    return str(found[0]["dev"])


def _tc(*words: str, given: str = "") -> str:
    return _run(["tc", *words], given)


def _run(command: List[str], given: str = "") -> str:
    environment = dict(os.environ, PATH=os.environ.get("PATH", "") + ":/usr/sbin:/sbin", LC_ALL="C")
    try:
        done = subprocess.run(
            command,
            input=given.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=DEADLINE_S,
            check=False,
            env=environment,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Refused("%s cannot be run: %s; apt install iproute2" % (command[0], error)) from None
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise Refused("%s: %s" % (" ".join(command[:4]), said[0] if said else "exit status %d" % done.returncode))
    return done.stdout.decode("utf-8", "replace")
