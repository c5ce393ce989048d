"""Histories told by hand, for the report's tests: what a run of a minute or of an hour writes, without the run.

A `Story` is a small world in which elections always go well, unless the teller says otherwise: it keeps who runs, who
leads and what everybody's epochs are, and writes the ops that real servers and a real nemesis would have reported, in
the shapes of docs/history.md.

    story = a_minute(seed=7)                  # faults of every kind, nothing broken
    story = a_minute(seed=7, two_leaders=True)  # an epoch with two established leaders
    story.write(path)
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

MS = 1_000_000
S = 1_000 * MS

PHASES = {"election": "election", "discovery": "discovery", "synchronization": "synchronization"}


class Server:
    """What the teller knows of one server."""

    def __init__(self, sid: int) -> None:
        self.sid = sid
        self.name = f"n{sid}"
        self.up = False
        self.role, self.phase = "LOOKING", "election"
        self.round = 0
        self.leader: int | None = None
        self.accepted_epoch = 0
        self.current_epoch = 0
        self.last_zxid = 0


class Story:
    """Tells a history, op by op; times are in nanoseconds since the run began."""

    def __init__(self, servers: int = 5, seed: int = 7, name: str = "a-minute", observers: int = 0) -> None:
        self.random = random.Random(seed)
        self.ops: list[dict[str, Any]] = []
        self.servers = {f"n{sid}": Server(sid) for sid in range(1, servers + 1)}
        self.faults = 0
        self.written = 0
        self.epoch = 0
        self.leader: str | None = None
        ensemble = {
            s.name: {
                "sid": s.sid,
                "role": "observer" if s.sid > servers - observers else "participant",
                "address": f"10.42.0.{s.sid}",
            }
            for s in self.servers.values()
        }
        self.op(
            0,
            "controller",
            "info",
            "run",
            {
                "name": name,
                "seed": seed,
                "system": "onethrone",
                "schema": 1,
                "ensemble": ensemble,
                "quorum": {"kind": "majority"},
                "settings": {"tick_ms": 500, "init_limit": 10, "sync_limit": 4, "max_notification_interval_ms": 2000},
                "bounds": {"convergence_s": 9.5, "stepping_down_s": 2.5},
            },
        )

    def op(self, time: int, process: str | int, type: str, f: str, value: Any, **more: Any) -> int:
        self.ops.append(
            {
                "index": len(self.ops),
                "time": int(time),
                "process": process,
                "type": type,
                "f": f,
                "value": value,
                **more,
            }
        )
        return len(self.ops) - 1

    # ---- servers ---------------------------------------------------------------------------------------------------

    def state(self, time: int, name: str, reason: str, evidence: dict[str, Any] | None = None, **changes: Any) -> int:
        server = self.servers[name]
        for key, value in changes.items():
            setattr(server, key, value)
        established = server.role == "LEADING" and server.phase in ("synchronization", "broadcast")
        value = {
            "sid": server.sid,
            "role": server.role,
            "phase": server.phase,
            "round": server.round,
            "vote": {
                "leader": server.leader or server.sid,
                "zxid": server.last_zxid,
                "round": server.round,
                "epoch": server.current_epoch,
            },
            "leader": server.leader,
            "accepted_epoch": server.accepted_epoch,
            "current_epoch": server.current_epoch,
            "last_zxid": server.last_zxid,
            "epoch": None if server.phase in ("election", "discovery") else server.accepted_epoch,
            "established": established,
            "evidence": evidence or {},
            "reason": reason,
        }
        host_time = 8_000_000_000_000 + server.sid * S + int(time)
        return self.op(time, name, "info", "state", value, host_time=host_time, time_error=180_000)

    def start(self, time: int, *names: str) -> None:
        for i, name in enumerate(names):
            server = self.servers[name]
            server.up = True
            self.op(time + i * MS, name, "info", "started", {"pid": 4000 + len(self.ops), "sid": server.sid})
            self.look(time + i * MS + 30 * MS, name, "the server starts")

    def stopped(self, time: int, name: str, how: str = "signal", code: int = 9) -> None:
        self.servers[name].up = False
        self.op(time, name, "info", "stopped", {"how": how, "code": code})
        if self.leader == name:
            self.leader = None

    def look(self, time: int, name: str, reason: str) -> None:
        server = self.servers[name]
        if self.leader == name:
            self.leader = None
        self.state(time, name, reason, role="LOOKING", phase="election", leader=None, round=server.round + 1)

    def elect(self, time: int, leader: str, followers: list[str], epoch: int | None = None) -> int:
        """A whole election; returns the time at which the leader serves."""
        ms = self.random.randint
        electors = [self.servers[n] for n in (leader, *followers)]
        chief = self.servers[leader]
        round_ = max(s.round for s in electors)
        votes = {
            str(s.sid): {"round": round_, "epoch": s.current_epoch, "zxid": s.last_zxid, "state": "LOOKING"}
            for s in electors
        }
        best = max(s.last_zxid for s in electors)
        t = time + 200 * MS
        self.state(
            t,
            leader,
            f"{len(electors)} of {len(self.servers)} servers vote for server {chief.sid} in round {round_}",
            {"votes": votes},
            role="LEADING",
            phase="discovery",
            leader=chief.sid,
            round=round_,
            last_zxid=best,
        )
        for i, name in enumerate(followers):
            self.state(
                t + (3 + i) * MS,
                name,
                f"server {chief.sid} leads round {round_}",
                {"votes": votes},
                role="FOLLOWING",
                phase="discovery",
                leader=chief.sid,
                round=round_,
            )
        self.epoch = epoch if epoch is not None else max(self.epoch, *(s.accepted_epoch for s in electors)) + 1
        t += ms(20, 60) * MS
        for i, name in enumerate(followers):
            self.state(t - 5 * MS + i * MS, name, f"LEADERINFO offers epoch {self.epoch}", accepted_epoch=self.epoch)
        acks = {str(s.sid): [s.current_epoch, s.last_zxid] for s in electors}
        self.state(
            t,
            leader,
            f"a quorum acknowledged epoch {self.epoch}",
            {
                "votes": [s.sid for s in electors],
                "epoch_acks": acks,
                "own": acks[str(chief.sid)],
                "electors": [s.sid for s in electors],
            },
            phase="synchronization",
            accepted_epoch=self.epoch,
            current_epoch=self.epoch,
        )
        for i, name in enumerate(followers):
            self.state(t + (4 + i) * MS, name, "DIFF from the leader", phase="synchronization", last_zxid=best)
        t += ms(30, 90) * MS
        self.state(
            t,
            leader,
            "a quorum acknowledged NEWLEADER",
            {"newleader_acks": [s.sid for s in electors]},
            phase="broadcast",
            last_zxid=self.epoch << 32,
        )
        for i, name in enumerate(followers):
            self.state(
                t + (2 + i) * MS,
                name,
                "UPTODATE",
                phase="broadcast",
                current_epoch=self.epoch,
                last_zxid=self.epoch << 32,
            )
        self.leader = leader
        return t

    # ---- the nemesis and the clients -------------------------------------------------------------------------------

    def fault(
        self, kind: str, start: int, stop: int, hosts: list[str], effects: list[Any], outcome: str = "ok", **params: Any
    ) -> str:
        self.faults += 1
        fault = f"f{self.faults}"
        value = {"fault": fault, "step": "start", "hosts": hosts, "effects": effects, **params}
        evidence: dict[str, Any] = {
            host: {"rules": [f"ip saddr 10.42.0.{p[1:]} drop" for p in params.get("grudge", {}).get(host, [])]}
            if kind in ("partition", "flap")
            else {"state": "T (stopped)"}
            if kind == "pause"
            else {"pid": None}
            for host in hosts
        }
        self.op(start, "nemesis", "invoke", kind, value)
        if outcome != "ok":
            self.op(start + 21 * MS, "nemesis", outcome, kind, value, error="n2: nft answered: Operation not permitted")
            return fault
        began = {host: 8_000_000_000_000 + int(host[1:]) * S + start + 11 * MS for host in hosts}
        self.op(start + 21 * MS, "nemesis", "ok", kind, {**value, "evidence": evidence, "began": began})
        done = {"fault": fault, "step": "stop", "hosts": hosts, "effects": effects}
        self.op(stop, "nemesis", "invoke", kind, done)
        self.op(stop + 19 * MS, "nemesis", "ok", kind, {**done, "evidence": {h: {"rules": []} for h in hosts}})
        return fault

    def partition(self, start: int, stop: int, sides: list[list[str]], kind: str = "partition") -> str:
        grudge = {
            host: sorted(other for side2 in sides if side2 is not side for other in side2)
            for side in sides
            for host in side
        }
        return self.fault(kind, start, stop, sorted(grudge), [{"drops": grudge}], grudge=grudge, shape="halves")

    def clients(self, start: int, stop: int, every: int, outages: list[tuple[int, int]]) -> None:
        time, client = start, 0
        names = list(self.servers)
        while time < stop:
            server = names[client % len(names)]
            out = any(a <= time < b for a, b in outages)
            self.written += 1
            self.op(time, client, "invoke", "create", self.written, server=server)
            kind = self.random.choice(["fail", "info", "info"]) if out else "ok"
            more = {} if kind == "ok" else {"error": "connection lost" if kind == "info" else "not serving"}
            took = self.random.randint(2, 9) * MS if kind == "ok" else 400 * MS
            self.op(time + took, client, kind, "create", self.written, server=server, **more)
            client = (client + 1) % 10
            time += every

    def phase(self, time: int, name: str, **more: Any) -> None:
        self.op(time, "controller", "info", "phase", {"phase": name, **more})

    def end(self, time: int) -> None:
        self.phase(time, "end")
        streams = {name: {"sent": 100, "received": 100} for name in self.servers}
        self.op(time + MS, "controller", "info", "end", {"complete": True, "streams": streams})

    def sorted(self) -> list[dict[str, Any]]:
        """In the order of time, as a run mostly writes it, and numbered anew."""
        self.ops.sort(key=lambda op: (op["f"] == "end", op["f"] != "run", op["time"]))
        for index, op in enumerate(self.ops):
            op["index"] = index
        return self.ops

    def write(self, path: Path) -> Path:
        with path.open("w", encoding="utf-8") as out:
            for op in self.sorted():
                out.write(json.dumps(op, ensure_ascii=False) + "\n")
        return path

    def indexes(self, **wanted: Any) -> list[int]:
        """Indexes of the ops whose value has these fields, after `sorted`."""
        return [
            op["index"]
            for op in self.ops
            if isinstance(op["value"], dict) and all(op["value"].get(k) == v for k, v in wanted.items())
        ]


def a_minute(seed: int = 7, two_leaders: bool = False, hostile: str = "") -> Story:
    """A minute on five servers: calm, a storm of faults of many kinds, and an end in two acts.

    With `two_leaders`, n4 is established in the epoch that n5 holds already.  With `hostile`, that text stands where
    a host may put text: in reasons, in evidence and in errors.
    """
    story = Story(seed=seed)
    names = list(story.servers)
    story.phase(0, "calm")
    story.start(100 * MS, *names)
    story.elect(200 * MS, "n5", names[:4])
    story.phase(6 * S, "storm")
    outages = [(0, 700 * MS)]

    # The leader is cut off with one follower.
    story.partition(8 * S, 13 * S, [["n5", "n1"], ["n2", "n3", "n4"]])
    for name in ("n2", "n3", "n4"):
        story.look(9 * S + 100 * MS, name, "the leader was not heard for syncLimit")
    if two_leaders:
        story.elect(9 * S + 150 * MS, "n4", ["n2", "n3"], epoch=1)
    else:
        story.look(9 * S + 200 * MS, "n5", hostile or "lost its quorum: heard only servers 1, 5 within syncLimit")
        story.look(9 * S + 230 * MS, "n1", "the leader closed the connection")
        story.elect(9 * S + 150 * MS, "n4", ["n2", "n3"])
    outages.append((8 * S, 9 * S + 700 * MS))
    if two_leaders:
        story.look(13 * S + 50 * MS, "n5", "a peer has a later epoch")
        story.look(13 * S + 60 * MS, "n1", "the leader closed the connection")
    for i, name in enumerate(("n1", "n5")):
        story.state(
            13 * S + (300 + i) * MS,
            name,
            "server 4 leads",
            role="FOLLOWING",
            phase="broadcast",
            leader=4,
            accepted_epoch=story.epoch,
            current_epoch=story.epoch,
        )

    # The leader is killed and comes back.
    story.fault("kill", 16 * S, 19 * S, ["n4"], [{"down": ["n4"]}], target="leader")
    story.stopped(16 * S + 15 * MS, "n4")
    rest = ["n1", "n2", "n3", "n5"]
    for name in rest:
        story.look(16 * S + 20 * MS, name, "the leader closed the connection")
    story.elect(16 * S + 40 * MS, "n5", ["n1", "n2", "n3"])
    outages.append((16 * S, 16 * S + 500 * MS))
    story.start(19 * S, "n4")
    story.state(
        19 * S + 200 * MS,
        "n4",
        "server 5 leads",
        role="FOLLOWING",
        phase="broadcast",
        leader=5,
        accepted_epoch=story.epoch,
        current_epoch=story.epoch,
    )

    # The leader sleeps beyond syncLimit, while links are poor and a clock runs fast.
    story.fault(
        "clock",
        22 * S,
        29 * S,
        ["n2"],
        [{"clock": ["n2"]}],
        change="skew",
        rate=1.5,
        runs_ordinarily=False,
    )
    story.fault("loss", 21 * S, 27 * S, ["n1", "n3"], [{"degraded": {"n1": ["n3"]}}], links={"n1": ["n3"]}, percent=20)
    story.fault("pause", 23 * S, 26 * S, ["n5"], [{"paused": ["n5"]}], target="leader")
    for name in ("n1", "n2", "n3", "n4"):
        story.look(25 * S + 10 * MS, name, "the leader was not heard for syncLimit")
    story.elect(25 * S + 40 * MS, "n4", ["n1", "n2", "n3"])
    story.look(26 * S + 40 * MS, "n5", "lost its quorum: its followers closed their connections")
    story.state(
        26 * S + 260 * MS,
        "n5",
        "server 4 leads",
        role="FOLLOWING",
        phase="broadcast",
        leader=4,
        accepted_epoch=story.epoch,
        current_epoch=story.epoch,
    )
    outages.append((23 * S, 25 * S + 400 * MS))
    story.fault("delay", 30 * S, 33 * S, ["n2"], [], outcome="fail", links={"n2": ["n1"]}, delay_ms=80)
    story.fault("flap", 31 * S, 35 * S, ["n1"], [{"drops": {"n1": ["n4"]}}], grudge={"n1": ["n4"]}, period_ms=400)
    for k in range(4):
        story.look(31 * S + 300 * MS + k * S, "n1", hostile or "the connection to the leader is lost")
        story.state(
            31 * S + 700 * MS + k * S,
            "n1",
            "server 4 leads",
            role="FOLLOWING",
            phase="broadcast",
            leader=4,
        )

    # Act one: n4 and n3 stay broken for good, the majority core converges.  Act two: all.
    story.fault("host-kill", 38 * S, 50 * S, ["n3", "n4"], [{"down": ["n3", "n4"]}], target="minority")
    story.stopped(38 * S + 12 * MS, "n3")
    story.stopped(38 * S + 14 * MS, "n4")
    story.phase(40 * S, "majority", majority=["n1", "n2", "n5"], broken=["n3", "n4"])
    for name in ("n1", "n2", "n5"):
        story.look(40 * S + 30 * MS, name, "the leader was not heard for syncLimit")
    story.elect(40 * S + 60 * MS, "n5", ["n1", "n2"])
    outages.append((38 * S, 40 * S + 500 * MS))
    story.phase(50 * S, "everyone")
    story.start(50 * S + 20 * MS, "n3", "n4")
    for name in ("n3", "n4"):
        story.state(
            50 * S + 260 * MS,
            name,
            "server 5 leads",
            role="FOLLOWING",
            phase="broadcast",
            leader=5,
            accepted_epoch=story.epoch,
            current_epoch=story.epoch,
        )
    story.clients(400 * MS, 58 * S, 60 * MS, outages)
    top = story.written
    for name in names:
        story.op(59 * S, 100, "invoke", "read-all", None, server=name)
        story.op(59 * S + 40 * MS, 100, "ok", "read-all", [[1, top]], server=name)
    story.end(60 * S)
    story.sorted()
    return story


def an_hour(transitions: int = 100_000, servers: int = 5, seed: int = 1) -> Story:
    """Elections without end: about `transitions` state ops within an hour, with a pause or a partition for each."""
    story = Story(servers=servers, seed=seed, name="an-hour")
    names = list(story.servers)
    story.phase(0, "calm")
    story.start(100 * MS, *names)
    per_election = 5 * servers - 1
    elections = max(1, transitions // per_election)
    gap = 3600 * S // elections
    time = S
    for k in range(elections):
        leader = names[k % servers]
        if k == 1:
            story.phase(time, "storm")
        if k % 10 == 5:
            story.fault("pause", time - gap // 3, time + gap // 6, [names[(k + 1) % servers]], [{"paused": [names[0]]}])
        for i, name in enumerate(names):
            story.look(time + i * 100_000, name, "the leader was not heard for syncLimit")
        story.elect(time, leader, [n for n in names if n != leader])
        time += gap
    story.clients(S, time, 400 * MS, [])
    story.end(time + S)
    story.sorted()
    return story
