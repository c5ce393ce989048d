"""The process that a lab lives in: it makes the hosts, watches over them, and removes every trace of them.

This file is run as a program of its own (`python -I -S warden.py serve ...`), inside a user namespace where the caller
is not root, and needs the standard library only.

    warden   outside of the lab's pid namespace; the only process that knows the hosts' pids as this machine sees them
      keeper   pid 1 of the lab's pid namespace; owns the network namespace with the bridge
        n1       pid 1 of host n1: own net, mount, uts, ipc and pid namespaces; does nothing but adopt orphans
        n2 ...

Why nothing is left behind, however a lab ends:

- Every process of the lab is in the keeper's pid namespace (the hosts' are nested in it).  When the keeper dies, the
  kernel kills all of them before the keeper can be reaped, and with the last process of a namespace its mounts,
  interfaces, rules and bridges are gone.
- The warden watches its creator (an ephemeral lab) by a pidfd.  When the creator dies, even by SIGKILL, the warden
  kills the keeper and removes the lab's directory.
- The keeper watches the warden by a pipe, whose other end nobody else holds.  When the warden dies, the keeper does the
  warden's work.  Only when both are killed at once does a directory stay, which `onethrone lab down` removes.

A host sees this machine's file system read-only, except for its own /tmp, /var/tmp, /run, /root, /home, /var/log,
/var/lib/onethrone, /etc/ssh, and the few files of /etc that name the host and its users.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import NoReturn

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_NOSUID, MS_NODEV, MS_NOEXEC = 2, 4, 8
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18

# mount_setattr(2), Linux 5.12; the C library of Debian 12 has no wrapper for it.  The number is the same everywhere.
_SYS_MOUNT_SETATTR = 442
_AT_FDCWD, _AT_RECURSIVE, _MOUNT_ATTR_RDONLY = -100, 0x8000, 1

READY_DEADLINE_S = 30.0
"""How long the hosts may take to come up.  It takes some 0.3 s for five hosts; the rest is for a machine under load."""

KEEPER_ENDS_S = 5.0

OWN_DIRECTORIES = {
    "tmp": "/tmp",
    "var-tmp": "/var/tmp",
    "run": "/run",
    "root": "/root",
    "home": "/home",
    "log": "/var/log",
    "ssh": "/etc/ssh",
}
"""What each host has of its own: directory below `<lab>/hosts/<host>` -> where the host sees it."""

OWN_FILES = ("passwd", "shadow", "group", "hosts", "hostname")
"""Files of /etc that each host has of its own, below `<lab>/hosts/<host>/etc`."""

OWN_NAMES = ("hosts", "keys", "known_hosts", "ssh_config.new", "ssh_config", "lab.log", "lab.json.new", "lab.json")
"""All that a lab writes into its directory, in the order of removal: the mark that this is a lab goes last."""

_SWEEPS_MAX = 100

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _unshare(flags: int, what: str) -> None:
    _check(_libc.unshare(flags), f"a new {what} namespace")


def _mount(source: str, target: str, kind: str | None, flags: int = 0, data: str | None = None) -> None:
    encoded = [None if text is None else os.fsencode(text) for text in (source, target, kind, data)]
    _check(
        _libc.mount(encoded[0], encoded[1], encoded[2], ctypes.c_ulong(flags), encoded[3]),
        f"mount {kind or 'bind'} {target}",
    )


def _set_read_only(path: str, read_only: bool, recursive: bool) -> None:
    attributes = struct.pack(
        "QQQQ", _MOUNT_ATTR_RDONLY if read_only else 0, 0 if read_only else _MOUNT_ATTR_RDONLY, 0, 0
    )
    flags = _AT_RECURSIVE if recursive else 0
    result = _libc.syscall(_SYS_MOUNT_SETATTR, _AT_FDCWD, os.fsencode(path), flags, attributes, len(attributes))
    _check(result, f"mount_setattr {path} (Linux 5.12 or later)")


def _ip(lines: Sequence[str]) -> None:
    done = subprocess.run(
        ["ip", "-batch", "-"],
        input="\n".join(lines) + "\n",
        capture_output=True,
        text=True,
        timeout=READY_DEADLINE_S,
        check=False,
    )
    if done.returncode != 0:
        raise OSError(f"ip: {done.stderr.strip()}")


def sweep(directory: str) -> None:
    """Remove what a lab wrote into its directory, and the directory if nothing else is in it."""
    if not os.path.lexists(os.path.join(directory, "lab.json")):
        return
    for name in OWN_NAMES:
        path = os.path.join(directory, name)
        for _ in range(_SWEEPS_MAX):
            shutil.rmtree(path, ignore_errors=True)
            with contextlib.suppress(OSError):
                os.unlink(path)
            if not os.path.lexists(path):
                break
            # A child of a creator that was killed (ssh-keygen) may still be writing.
            time.sleep(0.02)
    with contextlib.suppress(OSError):
        os.rmdir(directory)


# --- one host -------------------------------------------------------------------------------------------------------


def _make_host(directory: str, number: int, network: str, report: socket.socket) -> None:
    """Make host `n<number>`: returns in the process that made it; the host's own first process never returns."""
    name = f"n{number}"
    _unshare(CLONE_NEWNET, "network")
    _unshare(CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC, "mount")
    _ip(
        [
            "link set lo up",
            # The other end is put into the namespace of process 1 of the lab: the keeper.
            f"link add eth0 address 02:00:0a:2a:00:{number:02x} type veth peer name {name} netns 1",
            f"addr add {network}.{number}/24 dev eth0",
            "link set eth0 up",
        ]
    )
    _unshare(CLONE_NEWPID, "pid")
    if os.fork() != 0:
        return
    try:
        socket.sethostname(name)
        _mount_host(os.path.join(directory, "hosts", name))
        report.send(f"ready {name}".encode())
    except BaseException as error:  # noqa: BLE001 - a process of its own: its failure is told, and ends it
        report.send(f"failed {name}: {error}".encode())
        os._exit(1)
    report.close()
    # An ignored SIGCHLD lets the kernel reap the orphans that process 1 inherits.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        signal.pause()


def _mount_host(own: str) -> None:
    # Held open because /tmp and /root may hide the lab's directory a few lines below.
    held: list[tuple[int, str]] = [
        (os.open(os.path.join(own, part), os.O_PATH), at) for part, at in OWN_DIRECTORIES.items()
    ]
    held += [(os.open(os.path.join(own, "etc", name), os.O_PATH), f"/etc/{name}") for name in OWN_FILES]
    skeleton = os.open(os.path.join(own, "var-lib"), os.O_PATH)
    state = os.open(os.path.join(own, "state"), os.O_PATH)

    _set_read_only("/", read_only=True, recursive=True)
    # An overlay without an upper layer: all that it does is to give /var/lib the place to mount at.
    _mount("overlay", "/var/lib", "overlay", 0, f"lowerdir=/proc/self/fd/{skeleton}:/var/lib")
    for descriptor, target in [*held, (state, "/var/lib/onethrone")]:
        if os.path.lexists(target):
            _mount(f"/proc/self/fd/{descriptor}", target, None, MS_BIND)
            _set_read_only(target, read_only=False, recursive=False)
        os.close(descriptor)
    os.close(skeleton)

    _mount("tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")
    _mount("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620")
    _mount("/dev/pts/ptmx", "/dev/ptmx", None, MS_BIND)
    _mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    # /sys/class/net is to show the host's interfaces, not the machine's.
    _mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC)


# --- the keeper -----------------------------------------------------------------------------------------------------


def _keep(directory: str, hosts: int, network: str, report: socket.socket, life: int) -> NoReturn:
    try:
        _unshare(CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWIPC, "network")
        _mount("none", "/", None, MS_REC | MS_PRIVATE)
        _ip(["link set lo up", "link add br0 type bridge", "link set br0 up"])
        makers = []
        for number in range(1, hosts + 1):
            maker = os.fork()
            if maker == 0:
                os.close(life)
                try:
                    _make_host(directory, number, network, report)
                    os._exit(0)
                except BaseException as error:  # noqa: BLE001 - a process of its own: its failure is told, and ends it
                    report.send(f"failed n{number}: {error}".encode())
                    os._exit(1)
            makers.append(maker)
        for maker in makers:
            os.waitpid(maker, 0)
        _ip([f"link set n{number} master br0 up" for number in range(1, hosts + 1)])
        report.send(b"bridged")
    except BaseException as error:  # noqa: BLE001 - told to the warden, who ends the lab
        report.send(f"failed bridge: {error}".encode())
    report.close()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    # Nothing is ever written to this pipe: it ends when the warden does.
    os.read(life, 1)
    os.kill(-1, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)
    sweep(directory)
    os._exit(1)


# --- the warden -----------------------------------------------------------------------------------------------------


class _Failed(Exception):
    pass


def _collect(reports: socket.socket, hosts: int, ends: select.poll) -> dict[str, int]:
    """Wait until every host is ready; its pid as this machine sees it comes with its message (SCM_CREDENTIALS)."""
    pids: dict[str, int] = {}
    bridged = False
    ends.register(reports, select.POLLIN)
    until = time.monotonic() + READY_DEADLINE_S
    while len(pids) < hosts or not bridged:
        for descriptor, _ in ends.poll(max(0.0, until - time.monotonic()) * 1000):
            if descriptor != reports.fileno():
                raise _Failed("the lab was ended before it was up")
        if time.monotonic() > until:
            raise _Failed(f"only {len(pids)} of {hosts} hosts were ready after {READY_DEADLINE_S:.0f} s")
        try:
            data, ancillary, _, _ = reports.recvmsg(1 << 16, socket.CMSG_SPACE(12), socket.MSG_DONTWAIT)
        except BlockingIOError:
            continue
        message = data.decode()
        if message.startswith("ready "):
            pids[message[len("ready ") :]] = struct.unpack("iii", ancillary[0][2][:12])[0]
        elif message == "bridged":
            bridged = True
        else:
            raise _Failed(message[len("failed ") :] or "the hosts ended while they were made")
    ends.unregister(reports)
    return pids


def _begin(directory: str) -> None:
    """Make the directory, or take an empty one, mark it as a lab's, and put standard error into its log."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(directory)
    if os.listdir(directory):
        raise _Failed(f"{directory} is not empty")
    _write_mark(directory, {"warden": os.getpid()})
    log = os.open(os.path.join(directory, "lab.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 2)
    os.close(log)


def _write_mark(directory: str, facts: dict[str, object]) -> None:
    path = os.path.join(directory, "lab.json")
    with open(path + ".new", "w", encoding="utf-8") as file:
        json.dump(facts, file)
    os.rename(path + ".new", path)


def _say(out: int, **facts: object) -> None:
    # The creator may be gone, which is for the pidfd to tell.
    with contextlib.suppress(BrokenPipeError):
        os.write(out, json.dumps(facts).encode() + b"\n")


def _wait_for_files(ends: select.poll) -> None:
    """Wait until the creator has written the hosts' files, which it says in a line on standard input."""
    ends.register(0, select.POLLIN)
    ready = [descriptor for descriptor, _ in ends.poll(READY_DEADLINE_S * 1000)]
    if ready != [0] or os.read(0, 16) != b"go\n":
        raise _Failed("the lab was ended before it was up")
    ends.unregister(0)


def _end_keeper(keeper: int) -> None:
    """Kill the keeper, and with it all that is in the lab's pid namespace.

    The kernel ends it last, when each of them has been waited for.  A login's sshd is waited for by a process outside
    (nsenter), and when that is gone by process 1 of the machine, which in a container may wait for nobody: hence the
    bound.  What is left then is dead, and holds nothing.
    """
    os.kill(keeper, signal.SIGKILL)
    until = time.monotonic() + KEEPER_ENDS_S
    while os.waitpid(keeper, os.WNOHANG)[0] == 0 and time.monotonic() < until:
        time.sleep(0.002)


def serve(directory: str, hosts: int, network: str, creator: int) -> int:
    """Make the lab, say so on standard output, and keep it until its end.

    `creator` is the process that the lab ends with, 0 for a lab that stands until it is ended by SIGTERM.  The warden
    watches before there is anything to leave behind: it makes the directory itself, says `watching`, waits for the line
    `go` (the creator has written the files), makes the hosts, and says their pids.
    """
    ends = select.poll()
    if creator:
        ends.register(os.pidfd_open(creator), select.POLLIN)
        # The number is the creator's own, and not somebody's who came after it, only while it is our parent.
        if os.getppid() != creator:
            return 1
    terminated, wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(wake)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    ends.register(terminated, select.POLLIN)
    os.chdir("/")
    out = os.dup(1)
    try:
        _begin(directory)
    except (_Failed, OSError) as error:
        _say(out, error=str(error), taken=True)
        return 1

    keeper = 0
    try:
        _say(out, watching=os.getpid())
        _wait_for_files(ends)
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(null, 1)
        os.close(null)

        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        life_read, life_write = os.pipe2(os.O_CLOEXEC)
        _unshare(CLONE_NEWPID, "pid")
        keeper = os.fork()
        if keeper == 0:
            for descriptor in (life_write, out, terminated, wake):
                os.close(descriptor)
            ours.close()
            signal.set_wakeup_fd(-1)
            _keep(directory, hosts, network, theirs, life_read)
        theirs.close()
        os.close(life_read)
        ends.register(os.pidfd_open(keeper), select.POLLIN)
        pids = _collect(ours, hosts, ends)
        ours.close()
        _write_mark(directory, {"warden": os.getpid(), "creator": creator, "network": network, "hosts": pids})
        _say(out, hosts=pids)
        os.close(out)
        ends.poll()
    except (_Failed, OSError) as error:
        _say(out, error=str(error))
        return 1
    finally:
        if keeper > 0:
            _end_keeper(keeper)
        sweep(directory)
    return 0


if __name__ == "__main__":
    if sys.argv[1] == "sweep":
        sweep(sys.argv[2])
        sys.exit(0)
    _, _, lab_directory, host_count, lab_network, creator_pid = sys.argv
    sys.exit(serve(lab_directory, int(host_count), lab_network, int(creator_pid)))
