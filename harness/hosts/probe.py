"""Runs on a host, as root where that is possible, and prints what the host can do as one JSON object.

Standard library only, Python 3.9 and later: it is sent to the host as it is (`harness.hosts.check`).  An ability is
tried out, never inferred from a version: "" stands for able, anything else is the reason why not.  What is tried is
undone, and touches nothing of the host's own: a table of its own in nftables, and queueing in a network namespace of
its own.
"""

from __future__ import annotations

import glob
import json
import os
import shutil
import subprocess
import sys

DEADLINE_S = 10
TABLE = "onethrone_probe"
TOOLS = ("nft", "tc", "ip", "timeout", "sha256sum", "faketime", "java")
FAKETIME_LIBRARIES = ("/usr/lib/*/faketime/libfaketime.so.1", "/usr/lib*/faketime/libfaketime.so.1")
FAKETIME_SHIFT_S = 1000000

# All that faults ask of nftables: sets of addresses, a random share, a limit of bytes.  192.0.2.0/24 is nobody's.
RULES = f"""
add table inet {TABLE}
add set inet {TABLE} peers {{ type ipv4_addr; elements = {{ 192.0.2.1, 192.0.2.2 }}; }}
add chain inet {TABLE} input {{ type filter hook input priority -10; policy accept; }}
add rule inet {TABLE} input ip saddr @peers counter drop
add rule inet {TABLE} input ip saddr 192.0.2.3 numgen random mod 1000 < 500 drop
add rule inet {TABLE} input ip saddr 192.0.2.4 limit rate over 1000 bytes/second burst 1000 bytes drop
"""


def said(
    command: list[str], input: str | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command with a deadline; a missing command or a passed deadline is a failure with words."""
    try:
        return subprocess.run(
            command, input=input, env=env, capture_output=True, text=True, timeout=DEADLINE_S, check=False
        )
    except FileNotFoundError:
        return subprocess.CompletedProcess(command, 127, "", f"there is no {command[0]} on the host")
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, "", f"{command[0]} did not end within {DEADLINE_S} s")
    except OSError as error:
        return subprocess.CompletedProcess(command, 126, "", f"{command[0]}: {error}")


def reason(done: subprocess.CompletedProcess[str]) -> str:
    """Why a command failed: the first line that it said."""
    lines = (done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}").splitlines()
    return lines[0].strip()


def nft() -> str:
    try:
        done = said(["nft", "-f", "-"], input=RULES)
        if done.returncode != 0:
            return reason(done)
        # Not in the same script: nft 1.0.6 dies of SIGSEGV when it lists a set that the script itself has added.
        listed = said(["nft", "list", "table", "inet", TABLE]).stdout
        for expected in ("192.0.2.1", "numgen random", "limit rate over"):
            if expected not in listed:
                return f"nft accepted a rule with {expected!r} and does not list it"
    finally:
        said(["nft", "delete", "table", "inet", TABLE])
    return "its table could not be deleted again" if TABLE in said(["nft", "list", "tables"]).stdout else ""


def queueing(kind: str, parameters: str) -> str:
    """Whether the kernel has a queueing discipline, on the loopback of a network namespace that ends with the trial."""
    trial = f"ip link set lo up && tc qdisc add dev lo root {kind} {parameters} && tc qdisc show dev lo"
    done = said(["unshare", "--net", "--", "sh", "-c", trial])
    if done.returncode != 0:
        return reason(done)
    return "" if kind in done.stdout else f"tc accepted {kind} and does not show it"


def faketime(library: str) -> str:
    if not library:
        return "libfaketime is not on the host"
    code = "import time; print(int(time.time()))"
    env = dict(os.environ, LD_PRELOAD=library, FAKETIME=f"+{FAKETIME_SHIFT_S}s", FAKETIME_NO_CACHE="1")
    faked, real = said([sys.executable, "-c", code], env=env), said([sys.executable, "-c", code])
    if faked.returncode != 0:
        return reason(faked)
    shift = int(faked.stdout) - int(real.stdout)
    if abs(shift - FAKETIME_SHIFT_S) > 10 * DEADLINE_S:
        return f"libfaketime moved the clock by {shift} s instead of {FAKETIME_SHIFT_S} s"
    return ""


def main() -> None:
    os.environ["PATH"] = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"
    library = next((path for pattern in FAKETIME_LIBRARIES for path in sorted(glob.glob(pattern))), "")
    place = sys.argv[1]
    while not os.path.isdir(place):
        place = os.path.dirname(place) or "/"
    disk = os.statvfs(place)
    print(
        json.dumps(
            {
                "root": os.geteuid() == 0,
                "python": ".".join(str(part) for part in sys.version_info[:3]),
                "kernel": os.uname().release,
                "tools": {tool: shutil.which(tool) or "" for tool in TOOLS},
                "faketime_library": library,
                "disk_free_bytes": disk.f_bavail * disk.f_frsize,
                "disk_writable": os.access(place, os.W_OK),
                "abilities": {
                    "nft": nft(),
                    "netem": queueing("netem", "delay 1ms"),
                    "tbf": queueing("tbf", "rate 1mbit burst 32kbit latency 400ms"),
                    "faketime": faketime(library),
                },
            }
        )
    )


main()
