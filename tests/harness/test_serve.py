"""`onethrone serve` over real sockets: what it shows, live too, and the command."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

from harness.serve.server import ResultsServer
from tests.harness.serving import HISTORIES, LATER, get, put_run, results, server, until

__all__ = ["results", "server"]

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
