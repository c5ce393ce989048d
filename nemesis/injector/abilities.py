"""What this host can do, found by trying: by ability, "" where it can, otherwise the reason why not.

An ability is tried out, never inferred from a version.  What is tried is undone, and touches nothing that is the host's
own, or the injector's: it works in a table of its own in nftables, and queues in a network namespace of its own.

The module uses the standard library alone, and nothing of the injector.  So the resident imports it, and `onethrone
hosts check` sends its source to a host that has no injector yet, where it runs as a program and prints `facts` as JSON:

    ssh n1 sudo python3 - /var/lib/onethrone < abilities.py
"""

from __future__ import annotations

import glob
import json
import os
import shutil
import subprocess
import sys
from typing import Any, Dict, Generator, List, Optional

DEADLINE_S = 10
"""Maximum seconds that one command may take."""
TABLE = "onethrone_probe"
TOOLS = ("nft", "tc", "ip", "timeout", "sha256sum", "faketime", "java")
FAKETIME_LIBRARIES = (
    "/usr/lib/*/faketime/libfaketime.so.1",
    "/usr/lib*/faketime/libfaketime.so.1",
    "/usr/local/lib/faketime/libfaketime.so.1",
)
FAKETIME_SHIFT_S = 1000000
"""How far the trial moves a clock."""

# Everything that faults ask of nftables: sets of addresses, a random share, a limit of bytes.  192.0.2.0/24 is reserved
# for documentation, so no packet ever comes from there.
RULES = """
add table inet {0}
add set inet {0} peers {{ type ipv4_addr; elements = {{ 192.0.2.1, 192.0.2.2 }}; }}
add chain inet {0} input {{ type filter hook input priority -10; policy accept; }}
add rule inet {0} input ip saddr @peers counter drop
add rule inet {0} input ip saddr 192.0.2.3 numgen random mod 1000 < 500 drop
add rule inet {0} input ip saddr 192.0.2.4 limit rate over 1000 bytes/second burst 1000 bytes drop
""".format(TABLE)


def probe() -> Generator[float, None, Dict[str, str]]:
    """Tries every ability.  Yields between two of them, so that a resident can answer others in the meantime."""
    found: Dict[str, str] = {}
    for ability, tried in (
        ("nft", nft),
        ("netem", lambda: queueing("netem", "delay 1ms")),
        ("tbf", lambda: queueing("tbf", "rate 1mbit burst 32kbit latency 400ms")),
        ("faketime", faketime),
    ):
        found[ability] = tried()
        yield 0.0
    return found


def probe_at_once() -> Dict[str, str]:
    """The same, for a program that has nothing else to do."""
    trying = probe()
    while True:
        try:
            next(trying)
        except StopIteration as stop:
            found: Dict[str, str] = stop.value
            return found


def nft() -> str:
    try:
        done = _run(["nft", "-f", "-"], given=RULES)
        if done.returncode != 0:
            return _reason(done)
        # Not in the same script: nft 1.0.6 dies of SIGSEGV when it lists a set that the script itself has added.
        listed = _run(["nft", "list", "table", "inet", TABLE]).stdout
        for expected in ("192.0.2.1", "numgen random", "limit rate over"):
            if expected not in listed:
                return "nft accepted a rule with %r and does not list it" % expected
    finally:
        _run(["nft", "delete", "table", "inet", TABLE])
    return "its table could not be deleted again" if TABLE in _run(["nft", "list", "tables"]).stdout else ""


def queueing(kind: str, parameters: str) -> str:
    """Whether the kernel has a queueing discipline, on the loopback of a network namespace that ends with the trial."""
    trial = "ip link set lo up && tc qdisc add dev lo root %s %s && tc qdisc show dev lo" % (kind, parameters)
    done = _run(["unshare", "--net", "--", "sh", "-c", trial])
    if done.returncode != 0:
        return "tc refused %s: %s" % (kind, _reason(done))
    return "" if kind in done.stdout else "tc accepted %s and does not show it" % kind


def faketime_library() -> Optional[str]:
    """Where libfaketime is, or None."""
    return next((path for pattern in FAKETIME_LIBRARIES for path in sorted(glob.glob(pattern))), None)


def faketime() -> str:
    library = faketime_library()
    if library is None:
        return "libfaketime is not on the host"
    command = [sys.executable, "-c", "import time; print(int(time.time()))"]
    faked = _run(command, LD_PRELOAD=library, FAKETIME="+%ds" % FAKETIME_SHIFT_S, FAKETIME_NO_CACHE="1")
    real = _run(command)
    if faked.returncode != 0:
        return _reason(faked)
    shift = int(faked.stdout) - int(real.stdout)
    if abs(shift - FAKETIME_SHIFT_S) > 10 * DEADLINE_S:
        return "libfaketime moved the clock by %d s instead of %d s" % (shift, FAKETIME_SHIFT_S)
    return ""


def facts(place: str) -> Dict[str, Any]:
    """The abilities, and what else a run wants to know of a host.  `place` is the folder for its files."""
    while not os.path.isdir(place):
        place = os.path.dirname(place) or "/"
    disk = os.statvfs(place)
    return {
        "root": os.geteuid() == 0,
        "python": ".".join(str(part) for part in sys.version_info[:3]),
        "kernel": os.uname().release,
        "tools": {tool: shutil.which(tool, path=_path()) or "" for tool in TOOLS},
        "faketime_library": faketime_library() or "",
        "disk_free_bytes": disk.f_bavail * disk.f_frsize,
        "disk_writable": os.access(place, os.W_OK),
        "abilities": probe_at_once(),
    }


def _path() -> str:
    return os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"


def _run(command: List[str], given: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """A command with a deadline.  A command that is missing or passes its deadline fails, and says so."""
    try:
        return subprocess.run(
            command,
            input=given,
            env=dict(os.environ, PATH=_path(), LC_ALL="C", **environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            universal_newlines=True,
            timeout=DEADLINE_S,
            check=False,
        )
    except FileNotFoundError:
        return subprocess.CompletedProcess(command, 127, "", "there is no %s on the host" % command[0])
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, "", "%s did not end within %d s" % (command[0], DEADLINE_S))
    except OSError as error:
        return subprocess.CompletedProcess(command, 126, "", "%s: %s" % (command[0], error))


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    """Why a command failed: the first line of its output."""
    lines = (done.stderr.strip() or done.stdout.strip() or "exit status %d" % done.returncode).splitlines()
    return lines[0].strip()


if __name__ == "__main__":
    print(json.dumps(facts(sys.argv[1])))
