"""The host's faults of the network, as one nftables table of our own.

The model.  What is in force is a mapping from fault to links: for each address that packets come from, what happens to
them (drop, a share lost, only so many bytes a second let through); or the host is isolated as if it were dead.  The
whole table is rendered from the mapping and replaced in one transaction, so that no change of one fault disturbs
another and there is no instant without rules.

The rules:

1.  Only the table `inet onethrone` is touched.  It exists while a fault is in force, and not a moment longer.
2.  Rules stand at priority -300, before those of a firewall, and drop, or say which queue a packet leaves by; loopback
    and the control path are accepted first, for our chains alone.
3.  Each rule carries a comment (fault, number, verb), by which it is found again when the table is read back, and adds
    to its fault's counter: how many packets a fault took is part of the evidence that it did anything.

`nft -i` is kept running: a change and the reading back cost 0.5 ms in it, and 5 to 15 ms in two new processes
(measured on two cores; a script for `nft -f -` that ends with `list` shows the table as it was before).
"""

from __future__ import annotations

import ipaddress
import os
import re
import select
import shutil
import subprocess
import time
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from nemesis.injector import TABLE, queues
from nemesis.injector.errors import Refused

Link = Dict[str, Any]

FAULT_ID = re.compile(r"[A-Za-z0-9_]{1,64}\Z")

# Printed by `describe tcp dport`, which changes nothing: the end of an answer of `nft -i`.
_END = b"payload expression, datatype inet_service"

MIN_BURST_BYTES = 3000  # two packets of Ethernet's size; less would let nothing through at all


class Nft:
    """A running `nft -i`, and a deadline on each of its answers."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._process: Optional[subprocess.Popen[bytes]] = None

    def run(self, *commands: str, deadline_s: float = 5.0) -> str:
        """Each command is one transaction.  Returns what nft printed, its errors included.  Raises Refused."""
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        output = b""
        until = time.monotonic() + deadline_s
        try:
            process.stdin.write("".join(command + "\n" for command in commands).encode() + b"describe tcp dport\n")
            process.stdin.flush()
            while _END not in output or not output.endswith(b"\n"):
                ready, _, _ = select.select([process.stdout], [], [], max(0.0, until - time.monotonic()))
                chunk = os.read(process.stdout.fileno(), 1 << 16) if ready else b""
                if not chunk:
                    raise OSError("it did not answer within %g s: %r" % (deadline_s, output[-300:]))
                output += chunk
        except OSError as error:
            self.close()
            raise Refused("nft failed: %s" % error) from None
        return output[: output.index(_END)].decode("utf-8", "replace")

    def warm_up(self) -> None:
        self._running()

    def close(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    try:
                        stream.close()
                    except OSError:
                        continue

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.close()
            # HOME, since nft -i keeps a history file there.
            self._process = subprocess.Popen(
                [nft_path(), "-i"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=dict(os.environ, HOME=self._folder, LC_ALL="C"),
                cwd=self._folder,
            )
        return self._process


def nft_path() -> str:
    path = shutil.which("nft", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if path is None:
        raise Refused("nft is not installed on this host: apt install nftables")
    return path


def delete_table(deadline_s: float = 5.0) -> None:
    """For the guardian: without a resident nft, and whether the table is there or not."""
    script = "add table inet %s\ndelete table inet %s\n" % (TABLE, TABLE)
    try:
        subprocess.run([nft_path(), "-f", "-"], input=script.encode(), timeout=deadline_s, check=False)
    except (OSError, Refused, subprocess.TimeoutExpired):
        return


class ControlPath(NamedTuple):
    """The controller's end of an SSH connection, and the port of ours that it came to."""

    address: str
    port: int


def control_path(ssh_connection: str) -> Optional[ControlPath]:
    """From $SSH_CONNECTION; None where the connection is none of the network's (sshd -i says UNKNOWN)."""
    fields = ssh_connection.split()
    try:
        return ControlPath(str(ipaddress.ip_address(fields[0].split("%")[0])), int(fields[3]))
    except (IndexError, ValueError):
        return None


class NetFault(NamedTuple):
    """What one fault does here: links by the address that packets come from, or the whole host cut off."""

    links: Dict[str, Link]
    isolate: bool = False
    cut: bool = True  # False in the half of a flap in which the links are whole


class Rules:
    """The faults in force, and the table that is made of them."""

    def __init__(self, folder: str) -> None:
        self.nft = Nft(folder)
        self.faults: Dict[str, NetFault] = {}
        self.control: List[ControlPath] = []

    def set(self, fault_id: str, fault: Optional[NetFault]) -> Dict[str, Any]:
        """Put a fault in force, change it, or (None) take it back; returns what was read back from the kernel.

        Raises Refused, and then the kernel holds what it held before.
        """
        before, counted = dict(self.faults), {}
        if fault is None:
            if fault_id not in self.faults:
                return {"rules": 0}
            counted = self._packets(self.nft.run("list table inet " + TABLE)).get(fault_id, {})
            del self.faults[fault_id]
        else:
            self.faults[fault_id] = fault
        try:
            listing = self._replace(gone=fault_id if fault is None else None)
        except Refused:
            self.faults = before
            raise
        verified = {"rules": sum(1 for comment in _comments(listing) if comment.split()[0] == fault_id)}
        if fault is None:
            verified.update(counted)
        return verified

    def heal(self) -> None:
        """Take everything back.  Raises Refused if the table is still there."""
        self.faults = {}
        self._replace(None)

    def refresh(self) -> None:
        """After the control path has changed."""
        if self.faults:
            self._replace(None)

    def close(self) -> None:
        self.nft.close()

    def _replace(self, gone: Optional[str]) -> str:
        if not self.faults:
            remove = "add table inet %s; delete table inet %s" % (TABLE, TABLE)
            output = self.nft.run(remove, "list tables inet")
            if "table inet %s" % TABLE in output.splitlines() or "Error:" in output:
                raise Refused("the table inet %s cannot be removed: %s" % (TABLE, output.strip()))
            return ""
        script, expected = self._render(gone)
        output = self.nft.run(script, "list table inet " + TABLE)
        if "Error:" in output:
            raise Refused("nft does not take the rules: %s" % _first_error(output))
        found = _comments(output)
        if found != expected:
            raise Refused(
                "the rules read back are not those that were asked for: missing %s, unexpected %s"
                % (sorted(set(expected) - set(found)), sorted(set(found) - set(expected)))
            )
        return output

    def _render(self, gone: Optional[str]) -> Tuple[str, List[str]]:
        commands = ["add table inet " + TABLE]
        for chain in ("input", "output"):
            commands.append(
                "add chain inet %s %s { type filter hook %s priority -300; policy accept; }" % (TABLE, chain, chain)
            )
            commands.append("flush chain inet %s %s" % (TABLE, chain))
        commands += ["add counter inet %s c_%s" % (TABLE, fault_id) for fault_id in self.faults]
        rules = ['input iifname "lo" accept', 'output oifname "lo" accept']
        for peer in sorted(set(self.control)):
            family = "ip6" if ":" in peer.address else "ip"
            rules.append("input %s saddr %s tcp dport %d accept" % (family, peer.address, peer.port))
            rules.append("output %s daddr %s tcp sport %d accept" % (family, peer.address, peer.port))
        expected = []
        for fault_id, fault in self.faults.items():
            for number, (chain, match, verb) in enumerate(_matches(fault)):
                comment = "%s %d %s" % (fault_id, number, verb)
                expected.append(comment)
                deed = "meta priority set %s" % verb.split()[1] if verb.startswith("queue") else "drop"
                rules.append('%s %s counter name c_%s %s comment "%s"' % (chain, match, fault_id, deed, comment))
        commands += ["add rule inet %s %s" % (TABLE, rule) for rule in rules]
        if gone is not None:
            commands.append("delete counter inet %s c_%s" % (TABLE, gone))
        return "; ".join(commands), sorted(expected)

    def _packets(self, listing: str) -> Dict[str, Dict[str, int]]:
        found = re.findall(r"counter c_(\w+) \{\s*packets (\d+) bytes (\d+)", listing)
        return {fault_id: {"packets": int(packets), "bytes": int(size)} for fault_id, packets, size in found}

    def packets(self) -> Dict[str, Dict[str, int]]:
        """By fault: how many packets and bytes it has taken so far."""
        return self._packets(self.nft.run("list table inet " + TABLE)) if self.faults else {}


def _matches(fault: NetFault) -> List[Tuple[str, str, str]]:
    if not fault.cut:
        return []
    if fault.isolate:
        return [("input", "", "isolate"), ("output", "", "isolate")]
    found = []
    for address, link in fault.links.items():
        family = "ip6" if ":" in address else "ip"
        source = "%s saddr %s" % (family, address)
        if link.get("class"):
            found.append(("output", "%s daddr %s" % (family, address), "queue %s" % link["class"]))
        if link.get("drop"):
            found.append(("input", source, "drop"))
        if link.get("loss_percent"):
            share = max(1, round(float(link["loss_percent"]) * 100))
            found.append(("input", "%s numgen random mod 10000 < %d" % (source, share), "loss"))
        if link.get("bytes_per_s"):
            rate = int(link["bytes_per_s"])
            burst = max(MIN_BURST_BYTES, rate // 4)
            limit = "limit rate over %d bytes/second burst %d bytes" % (rate, burst)
            found.append(("input", "%s %s" % (source, limit), "rate"))
    return found


def _comments(listing: str) -> List[str]:
    """Of the rules that do something, sorted; those that only let pass have none."""
    return sorted(re.findall(r' comment "([^"]*)"', listing))


def _first_error(output: str) -> str:
    return next((line for line in output.splitlines() if "Error:" in line), output.strip())


LINK_VERBS = ("drop", "loss_percent", "bytes_per_s")


def check_links(links: object) -> Dict[str, Link]:
    """The links of a request.  Raises Refused, naming the address and what is wrong with it."""
    if not isinstance(links, dict) or not links:
        raise Refused('"links" has to be an object: address -> what happens to packets from it')
    checked = {}
    for address, link in links.items():
        try:
            literal = str(ipaddress.ip_address(address))
        except ValueError:
            raise Refused("links: %r is not an IP address" % address) from None
        if not isinstance(link, dict) or not link or set(link) - {*LINK_VERBS, *queues.VERBS}:
            raise Refused("links: %s: has to hold one or more of %s" % (address, ", ".join(LINK_VERBS + queues.VERBS)))
        for verb in ("loss_percent", "bytes_per_s"):
            number = link.get(verb, 1)
            if isinstance(number, bool) or not isinstance(number, (int, float)) or not 0 < number <= 1e10:
                raise Refused("links: %s: %s: %r is not a number above 0" % (address, verb, number))
        if link.get("loss_percent", 1) > 100:
            raise Refused("links: %s: loss_percent is more than 100" % address)
        checked[literal] = link
    return checked
