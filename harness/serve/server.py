"""HTTP for the results: requests within bounds, answers that can do no harm.

Bounds.  There are `CONNECTIONS_MAX` connections, a thread each, and `CONNECTIONS_MAX_PER_CLIENT` of them from one
client (an IPv4 address, or an IPv6 network of 64 bits).  A newcomer that finds no room takes the place of the
connection that has waited longest for a request, of the client that has the most; it never displaces a client that has
fewer than its own.  Where nothing waits, it gets 503.  So whoever opens connections and stays silent is in nobody's
way.

A request has to be complete within `REQUEST_S` of its beginning (or of the last answer: that is how long a connection
may idle).  The client has to read an answer within `ANSWER_S` and what its size takes at `SLOWEST_BYTES_PER_S`.  A
watchman closes connections whose time is over: the time limit of a socket would start anew with each byte that a slow
client sends.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import socket
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import parse_qsl

from harness.serve import pages
from harness.serve.catalogue import SORTS, Catalogue, Query
from harness.serve.tree import NotThere, Tree
from harness.serve.watching import Watching

CONNECTIONS_MAX = 48
CONNECTIONS_MAX_PER_CLIENT = 32
MAKING_ROOM_S = 1.0
"""Seconds that the thread of a displaced connection may take to end."""
REQUEST_S = 15.0
ANSWER_S = 30.0
SLOWEST_BYTES_PER_S = 64 << 10
TARGET_MAX = 4096
CHUNK_BYTES = 256 << 10
SNIFFED_BYTES = 4096

STATIC = {
    "report.css": ("harness.report", "text/css"),
    "serve.css": ("harness.serve", "text/css"),
    **dict.fromkeys(("serve.js", "part.js", "rows.js", "ask.js"), ("harness.serve", "text/javascript")),
    **dict.fromkeys(("elements.js", "keys.js"), ("harness.report", "text/javascript")),
    "crown.svg": ("harness.serve", "image/svg+xml"),
}

OURS = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""The policy of our own pages, and of everything else that is none of the following."""

REPORT = (
    "sandbox allow-scripts allow-popups allow-modals; default-src 'none'; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""A report runs its own script, and reaches nothing: in a sandbox it has no origin, ours neither."""

FILE = "sandbox; default-src 'none'; frame-ancestors 'none'"

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-cache",
}

_DOWNLOADS = {".gz": "application/gzip", ".zst": "application/zstd", ".zip": "application/zip"}
_PICTURES = {".png": "image/png"}


@dataclass
class _Connection:
    client: str
    deadline: float
    answering: bool = False
    displaced: bool = False


class ResultsServer(ThreadingHTTPServer):
    """Serves one results folder."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, results: Path, host: str, port: int, *, connections_max: int = CONNECTIONS_MAX) -> None:
        """Binds at once.  Raises OSError when the folder is not there, or the address cannot be had."""
        self.tree = Tree(results)
        self.catalogue = Catalogue(self.tree)
        self.watching = Watching(self.tree)
        self.names = _names(host)
        self.static = {
            name: (resources.files(package).joinpath("static", name).read_bytes(), kind)
            for name, (package, kind) in STATIC.items()
        }
        self.request_s = REQUEST_S
        self._slots = threading.BoundedSemaphore(connections_max)
        self._connections_max = connections_max
        self._connections: dict[socket.socket, _Connection] = {}
        """Oldest request first."""
        self._lock = threading.Lock()
        self._closed = threading.Event()
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        self.address_family = family
        super().__init__((str(address[0]), int(address[1])), RequestHandler)
        self._watchman = threading.Thread(target=self._watch, name="watchman", daemon=True)
        self._watchman.start()

    def server_bind(self) -> None:
        # HTTPServer asks DNS for our name here, which can take seconds; nobody needs it.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    @property
    def url(self) -> str:
        host, port = str(self.server_address[0]), self.server_address[1]
        if host in ("0.0.0.0", "::"):
            host = socket.gethostname()
        return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"

    # ---- bounds --------------------------------------------------------------------------------------------------

    def process_request(self, request: Any, client_address: Any) -> None:
        client = _client(str(client_address[0]))
        if not self._make_room(client) or not self._slots.acquire(timeout=MAKING_ROOM_S):
            self._turn_away(request)
            return
        with self._lock:
            self._connections[request] = _Connection(client, time.monotonic() + self.request_s)
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no thread can be started
            self._release(request)
            self._turn_away(request)

    def _make_room(self, client: str) -> bool:
        """Whether there is room for a connection of `client`; another may have to go for it."""
        with self._lock:
            there = {sock: c for sock, c in self._connections.items() if not c.displaced}
            held = Counter(connection.client for connection in there.values())
            too_many = held[client] >= CONNECTIONS_MAX_PER_CLIENT
            if not too_many and len(there) < self._connections_max:
                return True
            waiting = [
                sock
                for sock, c in there.items()
                if not c.answering and (c.client == client if too_many else held[c.client] >= held[client])
            ]
            if not waiting:
                return False
            longest = max(waiting, key=lambda sock: held[there[sock].client])  # the first of several
            there[longest].displaced = True
            with suppress(OSError):
                longest.shutdown(socket.SHUT_RDWR)
            return True

    def _release(self, request: socket.socket) -> None:
        with self._lock:
            del self._connections[request]
        self._slots.release()

    def _turn_away(self, request: socket.socket) -> None:
        with suppress(OSError):
            request.settimeout(0.2)
            request.sendall(b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 2\r\nContent-Length: 0\r\n"
                            b"Connection: close\r\n\r\n")  # fmt: skip
        self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._release(request)

    def allow(self, connection: socket.socket, seconds: float, *, answering: bool) -> None:
        """What goes on on this connection has to be over in that many seconds."""
        with self._lock:
            state = self._connections[connection]
            if state.answering and not answering:  # it begins to wait now
                self._connections[connection] = self._connections.pop(connection)
            state.deadline, state.answering = time.monotonic() + seconds, answering

    def _watch(self) -> None:
        while not self._closed.wait(0.25):
            now = time.monotonic()
            with self._lock:
                for connection in [sock for sock, c in self._connections.items() if c.deadline < now]:
                    self._connections[connection].deadline = float("inf")
                    with suppress(OSError):
                        connection.shutdown(socket.SHUT_RDWR)

    def server_close(self) -> None:
        super().server_close()
        self._closed.set()

    def handle_error(self, request: Any, client_address: Any) -> None:
        if isinstance(sys.exception(), OSError):
            return  # the client went away
        print(f"onethrone serve: {client_address[0]}: {sys.exception()!r}", file=sys.stderr)
        if os.environ.get("ONETHRONE_DEBUG"):
            traceback.print_exc()

    def knows(self, host: str) -> bool:
        """Whether a Host header names this server: an address, which nobody else can give a name, or a name of ours."""
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        name = name.removeprefix("[").removesuffix("]")
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name.casefold().rstrip(".") in self.names
        return True


def _client(host: str) -> str:
    """Who counts as one client: an IPv6 host has 2^64 addresses of its own."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    return str(ipaddress.ip_network(f"{host}/64", strict=False)) if address.version == 6 else host


def _names(host: str) -> frozenset[str]:
    """Names by which a browser may call us."""
    names = {"localhost", host.casefold()}
    if host not in ("127.0.0.1", "::1", "localhost"):
        name = socket.gethostname().casefold()
        names |= {name, name.split(".", maxsplit=1)[0]}
    return frozenset(names)


class RequestHandler(BaseHTTPRequestHandler):
    """One connection."""

    server: ResultsServer
    protocol_version = "HTTP/1.1"
    server_version = "onethrone"
    timeout = REQUEST_S

    def version_string(self) -> str:
        return self.server_version

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: whoever looks at results does not want to read about it."""

    def handle_one_request(self) -> None:
        self.server.allow(self.connection, self.server.request_s, answering=False)
        super().handle_one_request()

    def do_GET(self) -> None:
        self.server.allow(self.connection, ANSWER_S, answering=True)
        lengths = self.headers.get_all("Content-Length") or []
        if len(lengths) > 1 or (lengths and "Transfer-Encoding" in self.headers):
            self.send_error(HTTPStatus.BAD_REQUEST, "more than one length of the body")
            return
        # What a body would hold is not read: the next request would be looked for in it.
        if lengths not in ([], ["0"]) or "Transfer-Encoding" in self.headers:
            self.close_connection = True
        hosts = self.headers.get_all("Host") or []
        if len(hosts) != 1 or not self.server.knows(hosts[0]):
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST, "this is not the server that you mean")
            return
        if not self.path.startswith("/") or len(self.path) > TARGET_MAX:
            self.send_error(HTTPStatus.BAD_REQUEST)
            return
        try:
            self._answer()
        except NotThere:
            self._error_page(HTTPStatus.NOT_FOUND, "There is nothing here.")
        except OSError:
            self.close_connection = True
        except Exception as error:  # noqa: BLE001 - a page that fails must not take the others with it
            self.server.handle_error(self.connection, self.client_address)
            self._error_page(HTTPStatus.INTERNAL_SERVER_ERROR, f"This page failed: {type(error).__name__}: {error}")

    do_HEAD = do_GET

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """A line of text instead of the page of http.server; a method that is not known is one that is refused."""
        if code == HTTPStatus.NOT_IMPLEMENTED:
            code, message = HTTPStatus.METHOD_NOT_ALLOWED, "only GET and HEAD"
        self.close_connection = True
        words = f"{code} {message or HTTPStatus(code).phrase}\n".encode("ascii", "replace")
        with suppress(OSError):
            self._send(code, words, "text/plain; charset=utf-8", FILE, {"Allow": "GET, HEAD"} if code == 405 else {})

    def _error_page(self, code: HTTPStatus, words: str) -> None:
        self._send(code, pages.message(code, words), "text/html; charset=utf-8", OURS)

    # ---- what there is -------------------------------------------------------------------------------------------

    def _answer(self) -> None:
        path, _, query = self.path.partition("?")
        path = path.split("#", 1)[0]
        asked = dict(parse_qsl(query[:TARGET_MAX], max_num_fields=50, errors="replace"))
        part = asked.pop("part", "") == "1"
        kind, _, rest = path[1:].partition("/")
        if path == "/":
            self._table(asked, part)
        elif kind == "r":
            self._below(rest)
        elif kind == "live":
            self._live(rest.removesuffix("/"), part)
        elif kind == "static" and rest in self.server.static:
            body, mime = self.server.static[rest]
            self._send_page(body, f"{mime}; charset=utf-8")
        elif path == "/favicon.ico":
            self._redirect("/static/crown.svg")
        else:
            raise NotThere

    def _table(self, asked: dict[str, str], part: bool) -> None:
        fields = {name: asked[name][:200] for name in Query.__dataclass_fields__ if name in asked}
        if fields.get("sort") not in SORTS:
            fields.pop("sort", None)
        page = asked.get("page", "1")
        catalogue = self.server.catalogue
        self._send_page(
            pages.table(
                catalogue.rows(),
                Query(**fields),
                int(page) if page.isdecimal() and len(page) < 9 else 1,
                str(self.server.tree.root),
                more=catalogue.more,
                part=part,
            )
        )

    def _below(self, rest: str) -> None:
        tree = self.server.tree
        real = tree.find(rest.removesuffix("/"))
        if real.is_dir():
            if rest and not rest.endswith("/"):
                self._redirect(f"/r/{rest}/")  # the links of a campaign's report are relative
                return
            self._send_page(pages.folder(tree, real, self.server.catalogue.row(real)))
            return
        if rest.endswith("/"):
            raise NotThere
        with tree.open(real) as file:
            self._send_file(file, real)

    def _live(self, rest: str, part: bool) -> None:
        server = self.server
        if not rest:
            others = server.catalogue.going_on()
            if others:
                self._redirect(f"/live/{others[0].path}{'?part=1' if part else ''}")
            else:
                self._send_page(pages.waiting(part=part))
            return
        folder = server.tree.find(rest)
        row = server.catalogue.row(folder)
        if row is not None and row.judged and folder not in server.watching:
            self._redirect(f"/r/{server.tree.below(folder)}/")  # it is over, and nobody saw its end here
            return
        watched = server.watching.watch(folder)
        with watched.lock:
            try:
                watched.catch_up()
            except NotThere:
                if row is None:
                    raise
            others = [other for other in server.catalogue.going_on() if other != row]
            self._send_page(pages.live(server.tree.below(folder), row, watched, others, part=part))

    # ---- sending it ----------------------------------------------------------------------------------------------

    def _head(self, code: int, mime: str, length: int, policy: str, more: dict[str, str]) -> None:
        self.send_response(code)
        about = {"Content-Type": mime, "Content-Length": str(length), "Content-Security-Policy": policy}
        for name, value in (about | _HEADERS | more).items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    def _send(self, code: int, body: bytes, mime: str, policy: str, more: dict[str, str] | None = None) -> None:
        self._head(code, mime, len(body), policy, more or {})
        if self.command != "HEAD":
            self.wfile.write(body)

    def _send_page(self, body: bytes, mime: str = "text/html; charset=utf-8") -> None:
        etag = f'"{hashlib.sha256(body).hexdigest()[:24]}"'
        if self.headers.get("If-None-Match") == etag:
            self._head(HTTPStatus.NOT_MODIFIED, mime, 0, OURS, {"ETag": etag})
            return
        self._send(HTTPStatus.OK, body, mime, OURS, {"ETag": etag})

    def _redirect(self, where: str) -> None:
        self._send(HTTPStatus.FOUND, b"", "text/plain; charset=utf-8", FILE, {"Location": where})

    def _send_file(self, file: BinaryIO, real: Path) -> None:
        """A file as it is at this moment, whole or the range that was asked for."""
        size = os.fstat(file.fileno()).st_size
        mime, policy, more = self._kind(file, real)
        first, last = self._range(size)
        if first > last and size:
            self._send(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, b"", "text/plain", FILE,
                       {"Content-Range": f"bytes */{size}"})  # fmt: skip
            return
        whole = (first, last) == (0, size - 1)
        left = last - first + 1
        more |= {"Accept-Ranges": "bytes"} | ({} if whole else {"Content-Range": f"bytes {first}-{last}/{size}"})
        self.server.allow(self.connection, ANSWER_S + left / SLOWEST_BYTES_PER_S, answering=True)
        self._head(HTTPStatus.OK if whole else HTTPStatus.PARTIAL_CONTENT, mime, left, policy, more)
        if self.command == "HEAD":
            return
        file.seek(first)
        while left:
            chunk = file.read(min(CHUNK_BYTES, left))
            if not chunk:  # it has become shorter: say so by hanging up
                self.close_connection = True
                return
            self.wfile.write(chunk)
            left -= len(chunk)

    def _kind(self, file: BinaryIO, real: Path) -> tuple[str, str, dict[str, str]]:
        """Content type, policy and further headers: text is text, whatever its name says; other bytes are downloads."""
        if real.name == "report.html" and self._is_report(real):
            return "text/html; charset=utf-8", REPORT, {}
        suffix = real.suffix.lower()
        if suffix in _PICTURES:
            return _PICTURES[suffix], FILE, {}
        if suffix not in _DOWNLOADS:
            start = file.read(SNIFFED_BYTES)
            if b"\0" not in start:
                return "text/plain; charset=utf-8", FILE, {}
        return _DOWNLOADS.get(suffix, "application/octet-stream"), FILE, {"Content-Disposition": "attachment"}

    def _is_report(self, real: Path) -> bool:
        """A report is in the folder of a run or a campaign itself; what a host left is in a folder below."""
        return self.server.catalogue.row(real.parent) is not None

    def _range(self, size: int) -> tuple[int, int]:
        """First and last byte that are asked for; the first is beyond the last where there is no such byte."""
        unit, _, spec = self.headers.get("Range", "").partition("=")
        begin, dash, end = spec.partition("-")
        number = all(not part or (part.isdecimal() and len(part) < 19) for part in (begin, end))
        if unit != "bytes" or not dash or not number or not (begin or end):
            return 0, size - 1
        if not begin:
            return max(0, size - int(end)), size - 1
        return int(begin), min(int(end), size - 1) if end else size - 1


@contextmanager
def serving(results: Path, host: str = "127.0.0.1", port: int = 0) -> Iterator[ResultsServer]:
    """A server that runs in a thread of its own for as long as the block lasts."""
    server = ResultsServer(results, host, port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
