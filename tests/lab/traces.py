"""A program: end a lab in one of many ways, and say what is left of it.

It is run by test_lab.py in process, mount and network namespaces of its own, where everything that can be seen was made
here: what else goes on on the machine neither hides a trace nor looks like one.  Prints one JSON object.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

DEADLINE_S = 60

CREATOR = """
import subprocess, sys
from harness.hosts.provision.lab import Lab
lab = Lab.up(3, sys.argv[1], ephemeral=sys.argv[2] == "ephemeral")
# Somebody is logged in, and something runs on a host that belongs to no session.
stays = "setsid sleep 1000 >/dev/null 2>&1 </dev/null &"
subprocess.run(["ssh", "-F", lab.ssh_config, "n1", stays], check=True, timeout=60)
session = subprocess.Popen(["ssh", "-F", lab.ssh_config, "n2", "sleep 1000"])
print(lab.warden_pid, flush=True)
word = sys.stdin.readline().strip()
if word == "down":
    lab.down()
if word == "raise":
    raise SystemExit("an error of the controller")
if word == "interrupt":
    with lab:
        sys.stdin.readline()
"""


def traces(directory: Path) -> dict[str, list[str]]:
    """Everything that a lab could leave: processes, mounts, interfaces, files."""
    processes = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                processes.append(
                    (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode() or (entry / "comm").read_text()
                )
    return {
        "processes": sorted(processes),
        "mounts": sorted(line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()),
        "interfaces": sorted(os.listdir("/sys/class/net")),
        "files": sorted(
            # os.walk goes on when a directory vanishes under it.
            os.path.join(place, name)
            for place, inner, names in os.walk(directory.parent)
            for name in (*inner, *names)
        ),
    }


def reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def wait_until_clean(before: dict[str, list[str]], directory: Path) -> dict[str, list[str]]:
    """What is there beyond what was there before, once it is nothing or the deadline has passed."""
    until = time.monotonic() + DEADLINE_S
    while True:
        reap()
        now = traces(directory)
        left = {kind: [one for one in now[kind] if one not in before[kind]] for kind in now}
        if not any(left.values()) or time.monotonic() > until:
            return left
        time.sleep(0.01)


def children_of(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def end(way: str, creator: "subprocess.Popen[str]", warden: int, directory: Path) -> None:
    assert creator.stdin is not None
    if way in ("down", "raise", "return"):
        creator.stdin.write(way + "\n")
    elif way == "kill the creator":
        creator.kill()
    elif way == "interrupt":
        creator.stdin.write("interrupt\n")
        creator.stdin.flush()
        creator.send_signal(signal.SIGINT)
    elif way == "kill the warden":
        os.kill(warden, signal.SIGKILL)
    elif way == "kill the keeper":
        os.kill(children_of(warden)[0], signal.SIGKILL)
    elif way == "kill warden and keeper, then down":
        keeper = children_of(warden)[0]
        os.kill(warden, signal.SIGSTOP)
        os.kill(keeper, signal.SIGKILL)
        os.kill(warden, signal.SIGKILL)
        reap()
        from harness.hosts.provision.lab import end as end_lab

        end_lab(directory)
    if way.startswith("kill ") and way != "kill the creator":
        creator.kill()
    with contextlib.suppress(BrokenPipeError):
        creator.stdin.close()
    creator.wait(DEADLINE_S)


def one_way(way: str, directory: Path) -> dict[str, object]:
    before = traces(directory)
    life = "standing" if "then down" in way else "ephemeral"
    creator = subprocess.Popen(
        [sys.executable, "-c", CREATOR, str(directory), life], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert creator.stdout is not None
    warden = int(creator.stdout.readline())
    during = {kind: len([one for one in found if one not in before[kind]]) for kind, found in traces(directory).items()}
    end(way, creator, warden, directory)
    return {"during": during, "left": wait_until_clean(before, directory)}


def killed_while_it_comes_up(directory: Path) -> dict[str, object]:
    """Kill the creator at many instants of its life, from before the first process to after the last."""
    before = traces(directory)
    started = time.monotonic()
    creator = subprocess.Popen(
        [sys.executable, "-c", CREATOR, str(directory), "ephemeral"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert creator.stdout is not None
    creator.stdout.readline()
    whole_s = time.monotonic() - started
    creator.kill()
    creator.wait()
    left = wait_until_clean(before, directory)
    came_up_with_files = 0
    steps = 16
    for step in range(steps):
        creator = subprocess.Popen(
            [sys.executable, "-c", CREATOR, str(directory), "ephemeral"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        )
        time.sleep(whole_s * step / steps)
        creator.kill()
        came_up_with_files += directory.exists()
        creator.wait()
        if not any(left.values()):
            left = wait_until_clean(before, directory)
    return {"during": {"files": came_up_with_files}, "left": left}


def main() -> None:
    way, directory = sys.argv[1], Path(sys.argv[2])
    result = killed_while_it_comes_up(directory) if way == "kill the creator early" else one_way(way, directory)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
