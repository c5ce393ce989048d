"""`serve` makes a resident of itself, `attach` relays to it, `abilities` says what this host can do.

python3 onethrone-injector.pyz serve --dir /run/onethrone --lease 30
{"ready": 812, "already": false}
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import socket
import sys
import time
import traceback
from typing import Callable, List, Optional

from nemesis.injector import TABLE, abilities, relay
from nemesis.injector.errors import Refused
from nemesis.injector.guardian import Guard
from nemesis.injector.resident import Resident

WRONG_USAGE = 254
FAILED = 255


def main(arguments: Optional[List[str]] = None) -> int:
    parser = argparse.ArgumentParser(prog="onethrone-injector", description=__doc__)
    parser.add_argument("command", choices=("serve", "attach", "abilities"))
    parser.add_argument("--dir", required=True, help="the injector's own folder on this host")
    parser.add_argument("--lease", type=float, default=30.0, help="seconds without a word until every fault is undone")
    options = parser.parse_args(arguments)
    if not 0.2 <= options.lease <= 86400:
        return _fail("--lease: %g is not from 0.2 to 86400 seconds" % options.lease, WRONG_USAGE)
    folder = os.path.abspath(options.dir)
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
    except OSError as error:
        return _fail("--dir: %s: %s" % (folder, error.strerror), WRONG_USAGE)
    if options.command == "attach":
        why = relay.relay(os.path.join(folder, "socket"))
        return _fail(why, FAILED) if why else 0
    if options.command == "abilities":
        print(json.dumps(abilities.probe_at_once()))
        return 0
    return serve(folder, options.lease)


def serve(folder: str, lease_s: float) -> int:
    """Prints one line when the resident is up, or says why it is not."""
    path = os.path.join(folder, "socket")
    if len(path.encode()) > 100:
        return _fail("--dir: %s is too long for a Unix socket's path" % folder, WRONG_USAGE)
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.close(reading)
            _become_resident(folder, path, lease_s, writing)
        os._exit(0)
    os.close(writing)
    os.wait()
    said, until = b"", time.monotonic() + 20
    while not said.endswith(b"\n") and select.select([reading], [], [], max(0.0, until - time.monotonic()))[0]:
        chunk = os.read(reading, 4096)
        if not chunk:
            break
        said += chunk
    if not said.endswith(b"\n"):
        return _fail("the injector did not come up: see %s" % os.path.join(folder, "injector.log"), FAILED)
    answer = json.loads(said)
    if "error" in answer:
        return _fail(answer["error"], FAILED)
    print(json.dumps(answer), flush=True)
    return 0


def _become_resident(folder: str, path: str, lease_s: float, writing: int) -> None:
    """Never returns."""

    def say(answer: object) -> None:
        os.write(writing, json.dumps(answer).encode() + b"\n")
        os.close(writing)

    code = FAILED
    try:
        _leave_the_channel(folder)
        # One injector per host: an abstract socket's name exists once per network namespace, and ends with its process.
        alone = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            alone.bind("\0%s-injector" % TABLE)
        except OSError:
            pid = _resident_here(path)
            say({"ready": pid, "already": True} if pid is not None else {"error": _ANOTHER})
        else:
            _serve_alone(folder, path, lease_s, say)
        code = 0
    except BaseException as error:  # noqa: BLE001 - the last chance to say anything
        traceback.print_exc()
        with contextlib.suppress(OSError):
            say({"error": "the injector did not come up: %s" % error})
    finally:
        os._exit(code)


_ANOTHER = (
    "another injector, of another folder, is at work on this host; it goes by itself when its controller has been "
    "silent for two leases"
)


def _leave_the_channel(folder: str) -> None:
    """No descriptor of the SSH channel stays open, or sshd would wait for us."""
    os.chdir(folder)
    os.umask(0o077)
    null = os.open(os.devnull, os.O_RDWR)
    log = os.open("injector.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for descriptor, standard in ((null, 0), (log, 1), (log, 2)):
        os.dup2(descriptor, standard)
    os.close(null)
    os.close(log)


def _serve_alone(folder: str, path: str, lease_s: float, say: Callable[[object], None]) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    guard = Guard(lease_s)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(4)
    resident = Resident(folder, listener, guard, lease_s)
    with open("pid", "w", encoding="ascii") as stream:
        stream.write("%d\n" % os.getpid())
    with contextlib.suppress(Refused):  # a host without nft can still kill, pause and bend clocks
        resident.host.rules.nft.warm_up()
    say({"ready": os.getpid(), "already": False})
    try:
        resident.serve()
    finally:
        for name in (path, "pid"):
            with contextlib.suppress(OSError):
                os.unlink(name)


def _resident_here(path: str) -> Optional[int]:
    """The pid of the resident of this folder, if it listens."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(2)
            sock.connect(path)
        with open(os.path.join(os.path.dirname(path), "pid"), encoding="ascii") as stream:
            return int(stream.read())
    except (OSError, ValueError):
        return None


def _fail(what: str, code: int) -> int:
    print("onethrone-injector: " + what, file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
