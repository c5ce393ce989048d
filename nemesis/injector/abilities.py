"""What this host can do, found by trying: by ability, "" where it can, otherwise the reason and the remedy."""

from __future__ import annotations

import os
import subprocess
from typing import Dict

from nemesis.injector import clocks, net
from nemesis.injector.errors import Refused


def probe(rules: net.Rules) -> Dict[str, str]:
    """Tries our own table (with loss and rate) and the kernel's queues, and looks for libfaketime."""
    return {
        "nft": _nft(rules),
        "faketime": _faketime(),
        "tbf": _queueing("tbf rate 1000bps burst 3000 limit 30000"),
        "netem": _queueing("netem delay 1ms"),
    }


def _nft(rules: net.Rules) -> str:
    links = {"192.0.2.1": {"drop": True, "loss_percent": 1.0, "bytes_per_s": 1000}}  # TEST-NET-1: nobody's address
    try:
        rules.set("probe", net.NetFault(links))
        rules.set("probe", None)
    except Refused as refused:
        rules.faults.pop("probe", None)
        root = "" if os.geteuid() == 0 else "; the injector is not root"
        return "%s%s" % (refused, root)
    return ""


def _faketime() -> str:
    return "" if clocks.library() else "libfaketime is not installed: apt install faketime"


def _queueing(words: str) -> str:
    """Whether the kernel has the discipline: tried in a network namespace of its own."""
    trial = "ip link set lo up && tc qdisc add dev lo root " + words
    try:
        tried = subprocess.run(
            ["unshare", "--net", "sh", "-c", trial],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=5,
            check=False,
            env=dict(os.environ, PATH=os.environ.get("PATH", "") + ":/usr/sbin:/sbin", LC_ALL="C"),
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return "it cannot be tried: %s" % error
    if tried.returncode == 0:
        return ""
    said = tried.stderr.decode("utf-8", "replace").strip().splitlines()
    return "this kernel has no %s (%s)" % (words.split(maxsplit=1)[0], said[0] if said else "tc failed")
