"""The relay: joins its standard input and output, an SSH channel, to the resident's socket, until either ends."""

from __future__ import annotations

import json
import os
import select
import socket


def relay(path: str) -> str:
    """Returns why it ended."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.connect(path)
    except OSError as error:
        return "there is no injector at %s: %s" % (path, error.strerror)
    sock.sendall(json.dumps({"attach": os.environ.get("SSH_CONNECTION", "")}).encode() + b"\n")
    while True:
        ready, _, _ = select.select([0, sock.fileno()], [], [])
        try:
            if sock.fileno() in ready:
                data = sock.recv(1 << 16)
                if not data:
                    return "the injector closed the connection"
                _write(1, data)
            if 0 in ready:
                data = os.read(0, 1 << 16)
                if not data:
                    return ""
                sock.sendall(data)
        except OSError as error:
            return "the connection broke: %s" % error


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
