"""Faults of the network, seen by real packets between hosts (the rules of nemesis/injector/net.py)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import pairwise

import pytest

from nemesis.faults import Fault, resolve
from nemesis.targets import View
from tests.lab.injected import DEADLINE_S, RUNNING, Ensemble, Packets, ensemble, wait_for
from tests.writing import followed


@pytest.fixture(scope="module")
def three() -> Iterator[Ensemble]:
    with ensemble(3) as hosts:
        yield hosts


@pytest.fixture(scope="module")
def packets(three: Ensemble) -> Iterator[Packets]:
    probe = Packets(three)
    yield probe
    probe.close()


@pytest.fixture(autouse=True)
def healed(three: Ensemble) -> Iterator[None]:
    """Every test begins and ends with hosts on which nothing of ours is left."""
    yield
    for host in three.lab.hosts:
        three.ask(host, "undo-all")
        assert three.table(host) == ""


def from_(three: Ensemble, host: str, **link: object) -> dict[str, object]:
    return dict.fromkeys(three.addresses[host], link)


def test_a_one_way_cut_drops_what_comes_from_one_host_and_nothing_else(three: Ensemble, packets: Packets) -> None:
    verified = three.ask("n1", "net", fault="f1", links=from_(three, "n2", drop=True))
    assert verified == {"rules": 1}
    assert packets.heard("n2", "n1", 20) == []
    assert len(packets.heard("n1", "n2", 20, all_of_it=True)) == 20
    assert len(packets.heard("n3", "n1", 20, all_of_it=True)) == 20
    assert three.ask("n1", "undo", fault="f1")["packets"] >= 20, "the evidence says how many packets it took"
    assert len(packets.heard("n2", "n1", 20, all_of_it=True)) == 20
    assert three.table("n1") == ""


def test_a_partition_of_the_ensemble_is_carried_out_and_taken_back_by_its_orders(
    three: Ensemble, packets: Packets
) -> None:
    fault = Fault(id="f1", kind="partition", at_s=0, for_s=1, targets="leader", shape="isolate")
    resolved = resolve(fault, View(servers=tuple(three.lab.hosts), leader="n2"), seed=1)
    answers = three.injectors.send_all(resolved.orders(three.addresses), DEADLINE_S)
    assert all(answer.ok for answer in answers.values())
    pairs = [(a, b) for a in three.lab.hosts for b in three.lab.hosts if a != b]
    assert [pair for pair in pairs if packets.heard(*pair)] == [("n1", "n3"), ("n3", "n1")]
    answers = three.injectors.send_all(resolved.undo(three.addresses), DEADLINE_S)
    assert all(answer.ok for answer in answers.values())
    assert [pair for pair in pairs if packets.heard(*pair, all_of_it=True)] == pairs


def test_the_kind_that_the_page_on_faults_writes_is_carried_out_by_hosts(three: Ensemble, packets: Packets) -> None:
    with followed() as kind:
        params = {"percent": 40, "bytes_per_s": 1e6}
        fault = Fault(id="f1", kind=kind, at_s=0, for_s=1, targets="leader", shape="deaf", params=params)
        resolved = resolve(fault, View(servers=tuple(three.lab.hosts), leader="n2"), seed=1)
        answers = three.injectors.send_all(resolved.orders(three.addresses), DEADLINE_S)
        assert {host: answer.ok for host, answer in answers.items()} == {"n2": True}
        came = len(packets.heard("n1", "n2", 1000, gap_s=0))
        assert 480 < came < 720, "within 8 standard deviations of 600"
        answers = three.injectors.send_all(resolved.undo(three.addresses), DEADLINE_S)
        assert all(answer.ok for answer in answers.values())
        assert packets.heard("n1", "n2", 100, all_of_it=True)


def test_of_two_faults_on_one_link_the_second_still_holds_when_the_first_is_over(
    three: Ensemble, packets: Packets
) -> None:
    for fault in ("f1", "f2"):
        three.ask("n1", "net", fault=fault, links=from_(three, "n2", drop=True))
    three.ask("n1", "undo", fault="f1")
    assert packets.heard("n2", "n1") == []
    three.ask("n1", "undo", fault="f2")
    assert packets.heard("n2", "n1", all_of_it=True)


def test_loss_takes_about_its_share(three: Ensemble, packets: Packets) -> None:
    three.ask("n1", "net", fault="f1", links=from_(three, "n2", loss_percent=40))
    came = len(packets.heard("n2", "n1", 1000, gap_s=0))
    assert 480 < came < 720, "within 8 standard deviations of 600"


def test_a_limited_rate_lets_its_burst_and_no_more_than_its_rate_through(three: Ensemble, packets: Packets) -> None:
    three.ask("n1", "net", fault="f1", links=from_(three, "n2", bytes_per_s=2000))
    came = packets.heard("n2", "n1", 60, size=1000, gap_s=0)
    assert 1 <= len(came) < 30, "a burst of 3,000 bytes, then 2,000 a second"
    assert len(packets.heard("n3", "n1", 60, size=1000, gap_s=0, all_of_it=True)) == 60


def test_a_slow_link_delivers_everything_late_and_others_are_not_held_up(three: Ensemble, packets: Packets) -> None:
    verified = three.ask("n2", "net", fault="f1", links=from_(three, "n1", slow={"bytes_per_s": 20_000}))
    assert verified == {"rules": 1, "queues": 1}
    began = time.monotonic()
    came = packets.heard("n2", "n1", 40, size=1000, gap_s=0, all_of_it=True)
    assert came == list(range(40)), "nothing is lost and nothing overtakes"
    assert time.monotonic() - began > 1.0, "40,000 bytes at 20,000 a second, less a burst of 3,000"
    three.ask("n2", "net", fault="f2", links=from_(three, "n1", slow={"bytes_per_s": 200}))
    assert len(packets.heard("n2", "n3", 40, size=1000, gap_s=0, all_of_it=True)) == 40
    assert three.ask("n2", "undo", fault="f2")["queues"] == 0
    verified = three.ask("n2", "undo", fault="f1")
    assert verified["packets"] >= 40
    assert "htb" not in three.sh("n2", "tc qdisc show")
    assert len(packets.heard("n2", "n1", 40, size=1000, gap_s=0, all_of_it=True)) == 40


def test_a_queue_of_somebody_else_is_left_alone(three: Ensemble) -> None:
    three.sh("n2", "tc qdisc add dev eth0 root handle 5: tbf rate 100mbit burst 32kbit latency 400ms")
    before = three.sh("n2", "tc qdisc show dev eth0")
    error = three.refused("n2", "net", fault="f1", links=from_(three, "n1", slow={"bytes_per_s": 1000}))
    assert "eth0 has a queue of somebody else (tbf 5:)" in error
    assert three.sh("n2", "tc qdisc show dev eth0") == before
    three.sh("n2", "tc qdisc del dev eth0 root")


def test_what_the_kernel_lacks_is_refused_with_its_words_and_leaves_nothing(three: Ensemble) -> None:
    error = three.refused("n2", "net", fault="f1", links=from_(three, "n1", delay={"delay_ms": 50}))
    assert "Specified qdisc kind is unknown" in error
    assert "htb" not in three.sh("n2", "tc qdisc show")


def test_a_flapping_link_comes_and_goes_on_the_hosts_own_timer_and_says_when(three: Ensemble, packets: Packets) -> None:
    links, flap = from_(three, "n2", drop=True), {"cut_ms": 60, "whole_ms": 60}
    three.ask("n1", "net", fault="f1", links=links, flap=flap)
    came = packets.heard("n2", "n1", 300, gap_s=0.004)
    wait_for(lambda: len(three.seen.named("n1", "toggle")) >= 5, "five toggles")
    verified = three.ask("n1", "undo", fault="f1")
    assert 0 < len(came) < 300
    gaps = sum(after - before > 1 for before, after in pairwise(came))
    assert gaps >= 2, "it came and went more than once"
    assert verified["toggles"] >= 5
    toggles = three.seen.named("n1", "toggle")
    assert [toggle["cut"] for toggle in toggles[:4]] == [False, True, False, True]
    assert all(before["host_time"] < after["host_time"] for before, after in pairwise(toggles))
    assert len(packets.heard("n2", "n1", 50, all_of_it=True)) == 50, "and is whole when it is over"


def test_a_host_that_dies_sends_nothing_any_more_not_even_a_reset(three: Ensemble, packets: Packets) -> None:
    listener = (
        "import socket, time; s = socket.create_server(('', 7000)); print('up', flush=True)\n"
        "while True: c = s.accept()[0]; c.sendall(b'hello'); keep = c"
    )
    pid = three.start("n1", listener)
    wait_for(lambda: "up" in three.sh("n1", "cat /run/onethrone/out"), "the server listens")
    client = (
        "import socket; s = socket.create_connection(('10.42.0.1', 7000)); print(s.recv(5).decode(), flush=True)\n"
        "s.settimeout(1.5)\n"
        "try: print('end', s.recv(1))\n"
        "except Exception as error: print(type(error).__name__, flush=True)"
    )
    process = three.remotes["n2"].spawn(["python3", "-u", "-c", client])
    assert process.read_line(DEADLINE_S) == b"hello"
    verified = three.ask("n1", "kill", fault="f1", how="kill", isolate=True)
    assert verified["rules"] == 2
    assert verified["gone"]
    assert three.state("n1", pid) == ""
    assert process.read_line(DEADLINE_S) == b"TimeoutError", "neither an end nor a reset reached the other side"
    assert packets.heard("n1", "n2") == []
    assert packets.heard("n2", "n1") == []
    verified = three.ask("n1", "undo", fault="f1")
    assert three.state("n1", verified["pid"]) in RUNNING
    assert packets.heard("n1", "n2", all_of_it=True)
    three.ask("n1", "stop")


def test_rules_of_somebody_else_are_as_they_were(three: Ensemble) -> None:
    three.sh("n1", "nft add table inet theirs; nft add chain inet theirs c '{ type filter hook input priority 0; }'")
    three.sh("n1", "nft add rule inet theirs c ip saddr 10.42.0.9 counter drop; nft add table ip onethrone_too")
    before = three.sh("n1", "nft list ruleset")
    three.ask("n1", "net", fault="f1", links=from_(three, "n2", drop=True, loss_percent=5.5, bytes_per_s=900))
    three.ask("n1", "net", fault="f2", links=from_(three, "n3", drop=True), flap={"cut_ms": 10, "whole_ms": 10})
    during = three.sh("n1", "nft list ruleset")
    assert before in during or all(line in during for line in before.splitlines())
    three.ask("n1", "undo", fault="f1")
    three.ask("n1", "undo-all")
    assert three.sh("n1", "nft list ruleset") == before
    three.sh("n1", "nft delete table inet theirs; nft delete table ip onethrone_too")


def test_a_table_that_somebody_else_deletes_is_noticed_and_made_anew_with_the_next_fault(
    three: Ensemble, packets: Packets
) -> None:
    three.ask("n1", "net", fault="f1", links=from_(three, "n2", drop=True))
    three.sh("n1", "nft flush ruleset")
    assert packets.heard("n2", "n1", all_of_it=True)
    three.ask("n1", "net", fault="f2", links=from_(three, "n3", drop=True))
    assert packets.heard("n2", "n1") == []
    assert packets.heard("n3", "n1") == []


def test_the_control_path_is_never_cut(three: Ensemble) -> None:
    server = "import socket\nfor port in (22, 23): globals()[f's{port}'] = socket.create_server(('', port))\n"
    listening = three.remotes["n1"].spawn(["python3", "-u", "-c", server + "print('up')\ninput()"])
    assert listening.read_line(DEADLINE_S) == b"up"
    # As sshd of a host that is reached over its network would say it: the controller is n2, the port is 22.
    attach = "SSH_CONNECTION='10.42.0.2 40000 10.42.0.1 22' python3 onethrone-injector.pyz attach --dir ."
    three.sh("n1", f"cd /run/onethrone && (echo; sleep 0.5) | {attach} || true")
    connect = "import socket; socket.create_connection(('10.42.0.1', %d), timeout=3); print('connected')"

    def through() -> list[bool]:
        return [
            three.remotes["n2"].run(["python3", "-c", connect % port], check=False).status == 0 for port in (22, 23)
        ]

    three.ask("n1", "net", fault="f1", links=from_(three, "n2", drop=True))
    assert through() == [True, False]
    three.ask("n1", "undo", fault="f1")
    assert through() == [True, True]
    three.start("n1", "import time; time.sleep(60)")
    three.ask("n1", "kill", fault="f2", isolate=True)
    assert through() == [True, False], "nor when the whole host is as if dead"
    three.ask("n1", "undo", fault="f2")
    three.ask("n1", "stop")
    listening.close()


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        ({"fault": "f1", "links": {}}, '"links" has to be an object'),
        ({"fault": "f1", "links": {"n2": {"drop": True}}}, "'n2' is not an IP address"),
        ({"fault": "f1", "links": {"10.0.0.1": {"burn": 1}}}, "has to hold one or more of drop, loss_percent"),
        ({"fault": "f1", "links": {"10.0.0.1": {"loss_percent": 101}}}, "more than 100"),
        ({"fault": "f1", "links": {"10.0.0.1": {"bytes_per_s": "x"}}}, "not a number above 0"),
        ({"fault": "a; flush ruleset", "links": {"10.0.0.1": {"drop": True}}}, "not an id"),
        ({"fault": "f1", "links": {"10.0.0.1": {"drop": True}}, "flap": {"cut_ms": 1}}, "from 10 to 60000"),
        ({"fault": "f1", "links": {"10.42.0.2": {"slow": 7}}}, "takes one of slow, delay"),
        ({"fault": "f1", "links": {"10.42.0.2": {"slow": {"bytes_per_s": 1}}}}, "from 100 to 1e+09"),
    ],
)
def test_what_makes_no_sense_is_refused_and_nothing_of_it_is_in_force(
    three: Ensemble, request_: dict[str, object], says: str
) -> None:
    assert says in three.refused("n1", "net", **request_)
    assert three.table("n1") == ""
