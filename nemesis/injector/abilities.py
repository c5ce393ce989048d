"""What this host can do, found by trying: by ability, "" where it can, otherwise the reason and the remedy."""

from __future__ import annotations

import os
import subprocess
from typing import Dict

from nemesis.injector import clocks, net
from nemesis.injector.errors import Refused


def probe(rules: net.Rules) -> Dict[str, str]:
    """Tries our own table (with loss and rate), and looks for libfaketime and the kernel's netem."""
    return {"nft": _nft(rules), "faketime": _faketime(), "netem": _netem()}


def _nft(rules: net.Rules) -> str:
    links = {"192.0.2.1": {"drop": True, "loss_percent": 1.0, "bytes_per_s": 1000}}  # TEST-NET-1: nobody's address
    try:
        rules.set("probe", net.Fault(links))
        rules.set("probe", None)
    except Refused as refused:
        rules.faults.pop("probe", None)
        root = "" if os.geteuid() == 0 else "; the injector is not root"
        return "%s%s" % (refused, root)
    return ""


def _faketime() -> str:
    return "" if clocks.library() else "libfaketime is not installed: apt install faketime"


def _netem() -> str:
    try:
        tried = subprocess.run(
            ["tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "0ms"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return "tc cannot be run: %s; apt install iproute2" % error
    if tried.returncode == 0:
        subprocess.run(["tc", "qdisc", "del", "dev", "lo", "root"], timeout=5, check=False)
        return "the kernel has netem, but this injector cannot yet use it"
    reason = tried.stderr.decode("utf-8", "replace").strip().splitlines()
    return "this kernel has no netem (%s); a kernel with the module sch_netem is needed" % (reason[0] if reason else "")
