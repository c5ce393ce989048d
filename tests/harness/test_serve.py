"""`onethrone serve` over real sockets: what it gives out, and what it refuses."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from checker.verdict import check
from harness.serve import catalogue
from harness.serve.catalogue import Catalogue
from harness.serve.server import ResultsServer, serving
from harness.serve.tree import NotThere, Tree

HISTORIES = Path(__file__).parents[1] / "histories"
LATER = '{"index":900,"time":90000000000,"process":"controller","type":"info","f":"phase","value":{"phase":"all"}}\n'
SECRET = "the secret of another folder"


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: str


def get(server: ResultsServer, target: str, method: str = "GET", **headers: str) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    try:
        connection.putrequest(method, target, skip_host="host" in headers)
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders()
        answer = connection.getresponse()
        body = answer.read()
        return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, body.decode("utf-8", "replace"))
    finally:
        connection.close()


def raw(server: ResultsServer, data: bytes, *, until_closed: bool = True) -> bytes:
    """Send bytes as they are; what comes back until the server hangs up."""
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=20) as connection:
        connection.sendall(data)
        got = b""
        while until_closed or b"\r\n\r\n" not in got:
            try:
                chunk = connection.recv(65536)
            except ConnectionResetError:
                break
            if not chunk:
                break
            got += chunk
        return got


def until(what: Callable[[], object], why: str, deadline_s: float = 30) -> None:
    end = time.monotonic() + deadline_s
    while not what():
        assert time.monotonic() < end, why
        time.sleep(0.02)


def put_run(
    results: Path, name: str, stamp: str, history: str = "good-run", results_json: dict[str, object] | None = None
) -> Path:
    """A run's folder with one of the histories of tests/histories, and the verdict that belongs to it."""
    folder = results / name / stamp
    (folder / "n1").mkdir(parents=True)
    shutil.copy(HISTORIES / f"{history}.jsonl", folder / "history.jsonl")
    (folder / "results.json").write_text(json.dumps(results_json or check(folder).to_dict()))
    (folder / "report.html").write_text("<!doctype html><title>a report</title>")
    (folder / "n1" / "server.log").write_text("<script>alert(1)</script>\n")
    return folder


@pytest.fixture
def results(tmp_path: Path) -> Path:
    (tmp_path / "secret.txt").write_text(SECRET)
    folder = tmp_path / "results"
    put_run(folder, "nightly", "20261127T180000Z")
    put_run(folder, "nightly", "20261127T190000Z", "bad-two-leaders-in-one-epoch")
    (folder / "nightly" / "latest").symlink_to("20261127T190000Z")
    (folder / "out").symlink_to("../secret.txt")
    (folder / "up").symlink_to("..")
    (folder / "round").symlink_to("round")
    return folder


@pytest.fixture
def server(results: Path) -> Iterator[ResultsServer]:
    with serving(results) as server:
        yield server


# ---- what there is -------------------------------------------------------------------------------------------------


def test_the_table_has_a_row_for_each_run_with_its_verdict_and_first_violation(server: ResultsServer) -> None:
    answer = get(server, "/")
    assert answer.status == 200
    rows = re.findall(r'<tr class="(\w[\w-]*)">', answer.body)
    assert rows == ["invalid", "valid"]  # the newest first
    assert "epoch 2 has two established leaders" in answer.body


def test_a_campaign_is_a_row_with_its_sentence_and_the_runs_in_it_are_rows_too(
    server: ResultsServer, results: Path
) -> None:
    campaign = results / "night" / "20261127T200000Z"
    put_run(campaign / "runs" / "h00001", "h00001", "20261127T200100Z")
    (campaign / "runs" / "h00001" / "plan.toml").write_text("seed = 1\n")  # of the job; the run lies below
    (campaign / "summary.json").write_text(json.dumps({"valid": "unknown", "summary": "Unknown: 3 of 4 runs."}))
    (campaign / "report.html").write_text("<!doctype html><title>the morning</title>")
    answer = get(server, "/?kind=campaign")
    assert "Unknown: 3 of 4 runs." in answer.body
    assert 'href="/r/night/20261127T200000Z/report.html"' in answer.body
    assert answer.body.count("<tr class=") == 1
    run = get(server, "/?q=h00001/20261127T200100Z").body
    assert run.count("<tr class=") == 1
    assert "<bdi>night h00001</bdi>" in run
    report = get(server, "/r/night/20261127T200000Z/report.html")
    assert report.headers["content-type"] == "text/html; charset=utf-8"


def test_sort_filter_and_search_are_in_the_address(server: ResultsServer) -> None:
    def order(query: str) -> list[str]:
        return re.findall(r'<tr class="(\w+)">', get(server, query).body)

    assert order("/?sort=when&order=up") == ["valid", "invalid"]
    assert order("/?sort=verdict") == ["invalid", "valid"]
    assert order("/?verdict=valid") == ["valid"]
    assert order("/?q=TWO+established") == ["invalid"]
    assert order("/?q=20261127T18") == ["valid"]
    assert order("/?q=nowhere") == []
    assert order("/?sort=nonsense&page=99999999999&page=x&order=%00") == ["invalid", "valid"]


def test_seed_and_a_number_finds_the_runs_of_just_that_seed(server: ResultsServer, results: Path) -> None:
    for seed, stamp in ((11, "20261127T200000Z"), (4, "20261111T110000Z"), (1103, "20261127T210000Z")):
        verdict: dict[str, object] = {"valid": True, "summary": "It told 11 times 4.", "run": {"seed": seed}}
        put_run(results, "seeds", stamp, results_json=verdict)

    def found(q: str) -> list[str]:
        return sorted(set(re.findall(r"/r/seeds/(\w+)", get(server, f"/?q={q}").body)))

    assert found("seed+11") == ["20261127T200000Z"]
    assert found("Seed+4+valid") == ["20261111T110000Z"]
    assert found("seed+4+invalid") == []
    assert found("seed+99") == []
    assert found("1111T11") == ["20261111T110000Z"]
    assert len(found("seed")) == 3  # while somebody still types


def test_raw_files_are_text_and_only_a_runs_own_report_is_html(server: ResultsServer, results: Path) -> None:
    run = results / "nightly" / "20261127T180000Z"
    (run / "n1" / "report.html").write_text("<script>alert(1)</script>")
    (run / "n1" / "page.svg").write_text("<svg onload='alert(1)'/>")
    (run / "n1" / "core").write_bytes(b"\x7fELF\0\0")
    for name in ("history.jsonl", "results.json", "n1/server.log", "n1/report.html", "n1/page.svg"):
        answer = get(server, f"/r/nightly/20261127T180000Z/{name}")
        assert answer.status == 200
        assert answer.body == (run / name).read_text()
        assert answer.headers["content-type"] == "text/plain; charset=utf-8", name
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "sandbox" in answer.headers["content-security-policy"]
    core = get(server, "/r/nightly/20261127T180000Z/n1/core")
    assert core.headers["content-disposition"] == "attachment"
    report = get(server, "/r/nightly/latest/report.html")
    assert report.headers["content-type"] == "text/html; charset=utf-8"
    policy = report.headers["content-security-policy"]
    assert policy.startswith("sandbox allow-scripts")
    assert "allow-same-origin" not in policy


def test_head_has_no_body_and_a_range_has_its_bytes(server: ResultsServer, results: Path) -> None:
    whole = (results / "nightly" / "20261127T180000Z" / "history.jsonl").read_text()
    target = "/r/nightly/20261127T180000Z/history.jsonl"
    head = get(server, target, "HEAD")
    assert (head.status, head.body, head.headers["content-length"]) == (200, "", str(len(whole)))
    assert get(server, target, Range="bytes=10-19") == (
        206,
        get(server, target, Range="bytes=10-19").headers,
        whole[10:20],
    )
    assert get(server, target, Range="bytes=-30").body == whole[-30:]
    assert get(server, target, Range="bytes=99999999-").status == 416
    for garbage in ("bytes=9-1x", "lines=1-2", "bytes=", "bytes=-", "bytes=1-2,4-5", f"bytes={'9' * 400}-"):
        assert get(server, target, Range=garbage).body == whole, garbage


def test_a_page_that_did_not_change_is_not_sent_again(server: ResultsServer) -> None:
    etag = get(server, "/").headers["etag"]
    again = get(server, "/", If_None_Match=etag)
    assert (again.status, again.body) == (304, "")


# ---- what is refused -----------------------------------------------------------------------------------------------

OUTSIDE = [
    "/r/../secret.txt", "/r/nightly/../../secret.txt", "/r/%2e%2e/secret.txt", "/r/%2E./secret.txt",
    "/r/..%2fsecret.txt", "/r/..%2Fsecret.txt", "/r/..%5csecret.txt", "/r/%252e%252e/secret.txt", "/r//secret.txt",
    "/r/./out", "/r/out", "/r/up/secret.txt", "/r/up", "/r/up/", "/r/round", "/r/nightly/latest/../../../secret.txt",
    "/r/%00", "/r/nightly%00/latest", "/r/secret.txt%00.log", "/r/%ff%fe", "/r/%2fetc%2fpasswd", "/r//etc/passwd",
    "/../secret.txt", "/static/../../secret.txt", "/static/%2e%2e/server.py", "/live/../secret.txt",
    "/live/up", "/live/out", "/live/nightly", "/r/" + "a" * 3000, "/r/" + "a/" * 1500,
    "/r/nightly/20261127T180000Z/history.jsonl/", "/no/such", "/static/",
    "/static/serve.js/", "/r/" + "%2e%2e/" * 30 + "etc/passwd",
]  # fmt: skip


@pytest.mark.parametrize("target", OUTSIDE)
def test_no_path_leaves_the_results_folder(server: ResultsServer, target: str) -> None:
    answer = raw(server, f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode("latin-1"))
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert SECRET.encode() not in answer
    assert b"root:" not in answer


def test_a_link_that_leads_outside_is_listed_and_not_followed(server: ResultsServer) -> None:
    listing = get(server, "/r/").body
    assert "it leads outside" in listing
    assert "secret" not in listing
    assert 'href="/r/out"' not in listing


def test_a_file_that_becomes_a_link_between_looking_and_opening_is_not_followed(results: Path) -> None:
    tree = Tree(results)
    found = tree.find("nightly/20261127T180000Z/n1/server.log")
    found.unlink()
    found.symlink_to(results.parent / "secret.txt")
    with pytest.raises(NotThere):
        tree.open(found)
    other = tree.find("nightly/20261127T180000Z/report.html")
    shutil.move(results / "nightly", results.parent / "moved")
    (results / "nightly").symlink_to(results.parent / "moved")
    with pytest.raises(NotThere):
        tree.open(other)


def test_a_fifo_a_device_and_a_socket_are_not_opened(server: ResultsServer, results: Path) -> None:
    os.mkfifo(results / "fifo")
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(results / "socket"))
        assert get(server, "/r/fifo").status == 404
        assert get(server, "/r/socket").status == 404
        assert "it is no file" in get(server, "/r/").body


def test_other_methods_are_refused(server: ResultsServer) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get"):
        answer = get(server, "/", method)
        assert answer.status == 405, method
        assert answer.headers["allow"] == "GET, HEAD"


def test_a_host_that_is_not_ours_is_refused(server: ResultsServer) -> None:
    for host in ("evil.example", "evil.example:8470", "localhost.evil.example", "127.0.0.1.evil.example", "", "[::1"):
        assert get(server, "/", host=host).status == 421, host
    for host in ("localhost", "LOCALHOST:8470", "127.0.0.1:1", "[::1]:8470", "192.0.2.7"):
        assert get(server, "/", host=host).status == 200, host
    two = b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
    assert raw(server, two).startswith(b"HTTP/1.1 421 ")
    assert raw(server, b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n").startswith(b"HTTP/1.1 421 ")


@pytest.mark.parametrize(
    "request_",
    [
        b"\r\n\r\n", b"\0\0\0\0\r\n\r\n", b"GET\r\n\r\n", b"GET /\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.x\r\n\r\n",
        b"GET http://localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET * HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(300)) + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 70000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nGET /r/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nGET /\r\n0\r\n\r\n",
    ],
)  # fmt: skip
def test_garbage_ends_its_connection_and_nothing_else(
    server: ResultsServer, request_: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=20) as connection:
        try:
            connection.sendall(request_)
            connection.shutdown(socket.SHUT_WR)
            answer = b""
            while chunk := connection.recv(65536):
                answer += chunk
        except (ConnectionResetError, BrokenPipeError):
            answer = b""
    assert answer.count(b"HTTP/1.1 ") <= 1  # what came as a body is no second request
    assert b"Traceback" not in answer
    assert get(server, "/").status == 200
    assert "Traceback" not in capfd.readouterr().err


# ---- bounds --------------------------------------------------------------------------------------------------------


def test_a_client_that_sends_a_byte_now_and_then_is_cut_off(server: ResultsServer) -> None:
    server.request_s = 1.0
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=20) as slow:
        slow.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ")

        def gone() -> bool:
            try:
                slow.sendall(b"y")
                slow.setblocking(False)
                return slow.recv(100) == b""
            except BlockingIOError:
                return False
            except OSError:
                return True
            finally:
                slow.setblocking(True)

        until(gone, "a request that never ends was still listened to")
    assert get(server, "/").status == 200


def test_a_client_that_takes_nothing_of_a_large_file_is_cut_off(
    server: ResultsServer, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.serve.server.ANSWER_S", 0.5)
    monkeypatch.setattr("harness.serve.server.SLOWEST_BYTES_PER_S", 1 << 30)
    with (results / "large.log").open("wb") as file:
        file.truncate(64 << 20)
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=20) as idle:
        idle.sendall(b"GET /r/large.log HTTP/1.1\r\nHost: localhost\r\n\r\n")
        got = len(idle.recv(100))
        until(lambda: not server._connections, "it still waits to be read")
        with contextlib.suppress(ConnectionResetError):
            while chunk := idle.recv(1 << 20):
                got += len(chunk)
        assert got < 64 << 20


def test_thousands_of_runs_are_read_once_and_paged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "RACY_NS", -1)
    monkeypatch.setattr(catalogue, "LOOK_AGAIN_S", 0.0)
    verdict = json.dumps({"valid": True, "summary": "Valid.", "run": {"seed": 1, "length_s": 1.5}})
    first_line = (HISTORIES / "good-run.jsonl").read_text().splitlines()[0] + "\n"
    for n in range(1000):
        folder = tmp_path / "many" / f"20261127T{n // 3600:02}{n // 60 % 60:02}{n % 60:02}Z"
        folder.mkdir(parents=True)
        (folder / "results.json").write_text(verdict)
        (folder / "history.jsonl").write_text(first_line)
    with serving(tmp_path) as server:
        body = get(server, "/").body
        assert "1\u202f000 runs" in body
        assert body.count("<tr class=") == 200
        assert get(server, "/?page=5").body.count("<tr class=") == 200
        assert get(server, "/?q=20261127T000100Z").body.count("<tr class=") == 1
        assert server.catalogue.read == 1000  # each folder once, for four pages
        (folder / "results.json").write_text(json.dumps({"valid": False, "summary": "Invalid after all."}))
        assert "Invalid after all." in get(server, "/").body
        assert server.catalogue.read == 1001


def test_results_that_cannot_be_read_are_a_row_that_says_so(results: Path) -> None:
    for n, text in enumerate(
        [b"", b"{", b"[]", b'{"valid": 7}', b"\xff\xfe", b'{"valid": true, "run": 3}', b"[" * 100000]
    ):
        put_run(results, f"broken{n}", "20261127T180000Z").joinpath("results.json").write_bytes(text)
    put_run(results, "linked", "20261127T180000Z").joinpath("results.json").unlink()
    (results / "linked" / "20261127T180000Z" / "results.json").symlink_to("/etc/passwd")
    rows = Catalogue(Tree(results)).rows()
    said = {row.name: row.sentence for row in rows}
    assert all("cannot be read" in said[f"broken{n}"] for n in range(7))
    assert "cannot be read" in said["linked"]
    assert len(rows) == 10


def test_text_of_hosts_is_escaped_wherever_it_stands(results: Path) -> None:
    evil = "<script>alert(1)</script>\"'&"
    put_run(
        results,
        "evil",
        "20261127T210000Z",
        results_json={
            "valid": False,
            "summary": evil,
            "run": {"name": evil, "seed": evil, "system": evil},
            "results": {"epochs": {"valid": False, "violations": [{"message": evil, "time": 5}]}},
        },
    )
    (results / "evil" / "20261127T210000Z" / evil.replace("/", "")).write_text("x")
    with serving(results) as server:
        for target in ("/", "/r/evil/20261127T210000Z/", f"/?q={'%3Cscript%3E' * 3}&verdict=%22%3E%3Cscript%3E"):
            body = get(server, target).body
            assert "<script>" not in body, target
            assert body.count("<script") == 1, target  # our own
            assert "&lt;script&gt;" in body, target


# ---- the run that is going on --------------------------------------------------------------------------------------


def test_the_run_that_goes_on_is_shown_as_its_history_grows(server: ResultsServer, results: Path) -> None:
    lines = (HISTORIES / "bad-two-leaders-in-one-epoch.jsonl").read_text().splitlines(keepends=True)
    assert get(server, "/live/").body.count("No run is going on") == 1
    folder = results / "nightly" / "20261128T100000Z"
    folder.mkdir()
    (results / "current").symlink_to("nightly/20261128T100000Z")
    history = folder / "history.jsonl"
    history.write_text(lines[0])
    until(lambda: get(server, "/live/").status == 302, "the run that goes on is found")
    assert get(server, "/live/").headers["location"] == "/live/nightly/20261128T100000Z"
    assert "not heard yet" in get(server, "/live/nightly/20261128T100000Z").body
    until(lambda: '<tr class="going-on">' in get(server, "/").body, "the table says that it goes on")
    with history.open("a") as file:
        file.write("".join(lines[1:-1]))
        file.write(LATER)
        file.write(lines[-1][:20])  # not whole yet
    body = get(server, "/live/nightly/20261128T100000Z?part=1").body
    assert "<html" not in body
    assert "1 violation found so far; the first: epoch 2 has two established leaders" in body
    assert 'class="leading"' in body
    (folder / "results.json").write_text(json.dumps({"valid": False, "summary": "Invalid: it was seen."}))
    until(
        lambda: 'data-over="1"' in get(server, "/live/nightly/20261128T100000Z?part=1").body,
        "the verdict ends the view",
    )


def test_a_campaign_that_goes_on_leads_to_its_run_that_does(server: ResultsServer, results: Path) -> None:
    campaign = results / "night" / "20261128T100000Z"
    for run in ("h1", "h2"):
        (campaign / "runs" / run).mkdir(parents=True)
    (campaign / "campaign.jsonl").write_text("{}\n")
    (results / "current").symlink_to("night/20261128T100000Z")
    for run in ("h1", "h2"):
        shutil.copy(HISTORIES / "good-run.jsonl", campaign / "runs" / run / "history.jsonl")
    until(lambda: get(server, "/live/").status == 302, "a run of the campaign that goes on")
    where = get(server, "/live/").headers["location"]
    assert where in {f"/live/night/20261128T100000Z/runs/{run}" for run in ("h1", "h2")}
    assert "Also going on: " in get(server, where).body
    assert "It has no summary yet." in get(server, "/?kind=campaign").body


def test_a_run_that_was_over_before_anybody_looked_leads_to_its_folder(server: ResultsServer) -> None:
    answer = get(server, "/live/nightly/20261127T180000Z")
    assert (answer.status, answer.headers["location"]) == (302, "/r/nightly/20261127T180000Z/")


def test_a_history_of_garbage_is_counted_and_looked_at_all_the_same(server: ResultsServer, results: Path) -> None:
    folder = results / "garbage" / "20261128T100000Z"
    folder.mkdir(parents=True)
    lines = (HISTORIES / "good-run.jsonl").read_text().splitlines(keepends=True)
    garbage = ["\n", "{}\n", "[1]\n", '{"index":1,"time":5,"process":"n1","type":"info","f":"state","value":[]}\n']
    (folder / "history.jsonl").write_text("".join([lines[0], *garbage, *lines[1:8]]))
    body = get(server, "/live/garbage/20261128T100000Z").body
    assert "3 lines of the history are no ops" in body
    assert "cannot be judged while it goes on" in body
    assert "n3" in body


# ---- the command ---------------------------------------------------------------------------------------------------

ONETHRONE = [sys.executable, "-c", "from harness.cli import main; main()", "serve"]


def test_ctrl_c_ends_it_cleanly_and_a_port_in_use_is_an_error_that_says_so(results: Path) -> None:
    running = subprocess.Popen(
        [*ONETHRONE, "--results", str(results), "--port", "0"],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert running.stderr is not None
        line = running.stderr.readline()
        port = re.search(r"http://127\.0\.0\.1:(\d+)/", line)
        assert port, line
        second = subprocess.run(
            [*ONETHRONE, "--results", str(results), "--port", port[1]],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert second.returncode == 254
        assert "something else listens at" in second.stderr
        assert "Traceback" not in second.stderr
        with socket.create_connection(("127.0.0.1", int(port[1])), timeout=20):  # a client that says nothing
            running.send_signal(signal.SIGINT)
            _, err = running.communicate(timeout=30)
        assert running.returncode == 0
        assert "Traceback" not in err
    finally:
        running.kill()
        running.wait()


def test_a_file_in_place_of_the_results_folder_is_called_a_file(tmp_path: Path) -> None:
    file = tmp_path / "history.jsonl"
    file.write_text("")
    ended = subprocess.run(
        [*ONETHRONE, "--results", str(file)], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 254
    assert f"--results {file}: it is a file, not a folder" in ended.stderr
    assert "Give the folder" in ended.stderr
    assert "no such" not in ended.stderr
    assert "onethrone run" not in ended.stderr


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    ended = subprocess.run(
        [*ONETHRONE, "--results", str(tmp_path / "no")], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 254
    assert "there is no such folder" in ended.stderr
