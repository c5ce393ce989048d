"""A plausible run, in which a server, a client, a fault or a clock may do what it must not."""

from __future__ import annotations

from typing import Any

from tests.checker.random_reports import SECOND, RandomReports, Value


class RandomRun(RandomReports):
    # Servers

    def start(self, host: str) -> None:
        value: Value = {"sid": self.sid(host), "pid": 100 + self.sid(host)}
        if self.tells_epochs and self.rng.random() < 0.5:
            value |= {"accepted_epoch": self.accepted[host], "current_epoch": self.current[host]}
        self.report(host, "started", value)
        self.down.discard(host)
        self.wait(0.1)
        self.look(host)

    def look(self, host: str) -> None:
        self.state(host, "LOOKING", "election")
        if host == self.leader:
            self.leader = None

    def reach(self, host: str) -> list[str]:
        """The voters that hear the host and are heard by it, itself first."""
        return [host] + [
            other
            for other in self.voters
            if other != host
            and other not in self.down
            and other not in self.cut_off[host]
            and host not in self.cut_off[other]
        ]

    def elect(self) -> None:
        """The servers that can elect a leader do."""
        if self.goes_wrong("slow-election"):
            self.wait(8)
        able = [host for host in self.voters if host not in self.down and 2 * len(self.reach(host)) > len(self.voters)]
        if not able:
            return
        # The same server again is what a leader does that forgets its epochs.
        leader = (
            self.last_leader if self.last_leader in able and self.goes_wrong("same-epoch") else self.rng.choice(able)
        )
        followers = self.reach(leader)[1:]
        if self.leader == leader and not self.goes_wrong("no-looking"):
            self.look(leader)
        elif self.leader not in (None, leader) and not self.goes_wrong("slow-stepping-down"):
            self.look(str(self.leader))
        self.round += 1
        if not self.goes_wrong("same-epoch"):
            self.epoch += self.rng.choice((1, 1, 1, 2))
        # A leader whose epoch was not granted yet has shown who voted for it.
        pieces = self.evidence(leader, followers)
        self.lead(leader, followers, pieces)
        self.leader = self.last_leader = leader
        for host in followers:
            self.wait(0.05)
            self.follow(host, leader)
        for host in self.observers:
            if host not in self.down:
                self.state(host, "OBSERVING", "broadcast", leader=self.sid(leader), epoch=self.epoch)

    def follow(self, host: str, leader: str) -> None:
        if self.goes_wrong("slow-election"):
            self.wait(5)
        if self.rng.random() < 0.2:
            self.state(host, "FOLLOWING", "synchronization", leader=self.sid(leader), epoch=self.epoch)
            self.wait(0.1)
        self.accepted[host] = self.current[host] = self.epoch
        self.zxid[host] = max(self.zxid[host], self.zxid[leader])
        self.state(host, "FOLLOWING", "broadcast", leader=self.sid(leader), epoch=self.epoch)

    def lead(self, leader: str, followers: list[str], pieces: list[Value]) -> None:
        def shown() -> Value:
            return {"evidence": pieces.pop(0)} if pieces else {}

        if self.goes_wrong("pieces") or self.rng.random() < 0.2:
            self.state(leader, "LEADING", "discovery", leader=self.sid(leader), **shown())
            self.wait(0.1)
        self.accepted[leader] = self.epoch
        established = {"leader": self.sid(leader), "epoch": self.epoch, "established": True}
        if self.rng.random() < 0.8:
            self.state(leader, "LEADING", "synchronization", **established, **shown())
            self.wait(0.1)
            if self.goes_wrong("out-of-turn"):
                self.report(leader, "state", {"sid": self.sid(leader), "role": "LOOKING"}, ago=SECOND)
        self.current[leader] = self.epoch
        self.state(leader, "LEADING", "broadcast", **established, **shown())
        while pieces:
            self.wait(0.3)
            self.state(leader, "LEADING", "broadcast", **established, **shown())

    def evidence(self, leader: str, followers: list[str]) -> list[Value]:
        """What a leader shows, one after the other."""
        rng = self.rng
        company = [leader, *followers]
        if self.goes_wrong("bad-evidence"):
            company = company[: rng.randrange(1, len(company) + 1)]
        votes: Any = self.sids(company)
        if rng.random() < 0.5:
            votes = {str(self.sid(host)): self.vote(leader) for host in company}
        mine = [self.current[leader], self.zxid[leader]]
        acks: Any = {str(self.sid(host)): [self.current[host], self.zxid[host]] for host in company}
        for sid in acks:
            if self.goes_wrong("bad-history"):
                acks[sid] = rng.choice(([mine[0], mine[1] + 1], [mine[0] + 1, 0], [None, 5], [0, None]))
            else:
                acks[sid] = min(acks[sid], mine)
        if rng.random() < 0.1:
            acks = self.sids(company)
        whole = [{"votes": votes}, {"epoch_acks": acks, "own": mine}, {"newleader_acks": self.sids(company)}]
        if self.goes_wrong("no-evidence"):
            whole.pop(rng.randrange(3))
        if not self.goes_wrong("pieces"):
            return [{name: part for piece in whole for name, part in piece.items()}] if rng.random() < 0.5 else whole
        if rng.random() < 0.5:
            half = rng.randrange(1, 3)
            whole = [piece for both in whole for piece in self.halves(both, half)]
        if rng.random() < 0.5:
            rng.shuffle(whole)
        return whole

    def vote(self, leader: str) -> Any:
        if not self.goes_wrong("bad-evidence"):
            return {"leader": self.sid(leader), "round": self.round, "epoch": self.epoch}
        vote: Value = {
            "leader": self.rng.choice(self.sids(self.voters)),
            "round": self.round + self.rng.choice((-1, 0)),
        }
        if self.rng.random() < 0.3:
            vote["state"] = self.rng.choice(("LOOKING", "FOLLOWING", "LEADING"))
        if self.rng.random() < 0.3:
            del vote[self.rng.choice(("leader", "round"))]
        return self.rng.choice((vote, vote, vote, {}))

    @staticmethod
    def halves(piece: Value, half: int) -> list[Value]:
        """One kind of evidence in two reports."""
        first, second = dict(piece), dict(piece)
        for name, sids in piece.items():
            if name == "own":
                continue
            some = list(sids)[:half]
            first[name] = {s: sids[s] for s in some} if isinstance(sids, dict) else some
            rest = list(sids)[half:]
            second[name] = {s: sids[s] for s in rest} if isinstance(sids, dict) else rest
        return [first, second]

    def crash(self) -> None:
        """A server stops by itself, and mostly starts again."""
        up = [host for host in self.hosts if host not in self.down]
        if not up:
            return
        host = self.rng.choice(up)
        self.report(host, "stopped", {"how": "exit", "code": 1})
        self.down.add(host)
        self.leader = None if host == self.leader else self.leader
        if self.rng.random() < 0.6:
            self.wait(2)
            self.start(host)

    # Clients

    def create(self) -> None:
        value, client = self.created, self.rng.randrange(3)
        self.created += 1
        server = self.rng.choice(self.hosts)
        self.tell(client, "invoke", "create", value, server=server)
        self.wait(0.05)
        if self.goes_wrong("failed-create"):
            self.tell(client, "fail", "create", value, server=server)
            self.failed.append(value)
        elif self.goes_wrong("unknown-create"):
            if self.rng.random() < 0.8:
                self.tell(client, "info", "create", value, server=server)
            if self.rng.random() < 0.5:
                self.committed.append(value)
        else:
            self.tell(client, "ok", "create", value, server=server)
            self.committed.append(value)
            for host in self.hosts:
                self.zxid[host] += 1

    def read(self) -> None:
        server, client, key = self.rng.choice(self.hosts), self.rng.randrange(3), self.rng.randrange(self.created + 1)
        result = key if key in self.committed and self.rng.random() < 0.9 else None
        if self.goes_wrong("wrong-read"):
            result = self.rng.choice((key, key + 1, *self.failed))
        self.tell(client, "invoke", "read", key, server=server)
        self.wait(0.05)
        if self.rng.random() < 0.9:
            self.tell(client, "ok", "read", [key, result], server=server)
        else:
            self.tell(client, self.rng.choice(("fail", "info")), "read", key, server=server)

    def read_all(self, server: str) -> None:
        client = self.rng.randrange(3)
        found = [value for value in self.committed if not self.goes_wrong("lost-value")]
        found += [value for value in self.failed if self.goes_wrong("wrong-read")]
        if self.goes_wrong("wrong-read"):
            found.append(self.created)
        ranges: list[list[int]] = []
        for value in sorted(set(found)):
            if ranges and ranges[-1][1] == value - 1:
                ranges[-1][1] = value
            else:
                ranges.append([value, value])
        self.tell(client, "invoke", "read-all", server=server)
        if self.rng.random() < 0.1:
            self.create()
        self.wait(0.05)
        if self.goes_wrong("no-final-read"):
            self.tell(client, self.rng.choice(("fail", "info")), "read-all", server=server)
        else:
            self.tell(client, "ok", "read-all", ranges, server=server)

    # Faults

    def fault(self) -> tuple[str, list[Value]]:
        rng = self.rng
        victims = rng.sample(self.hosts, rng.choice((1, 1, 1, 2)))
        kind = rng.choice(("partition", "partition", "partition", "kill", "kill", "pause", "clock", "disk", "loss"))
        if self.leader and rng.random() < 0.5:
            victims = [self.leader]
        rest = [host for host in self.hosts if host not in victims]
        if self.goes_wrong("unknown-effect"):
            return rng.choice(("partition", "quake")), [{"shakes": {"all": victims}}]
        if kind == "partition":
            drops = {host: list(rest) for host in victims}
            if rng.random() < 0.85:
                drops |= {host: list(victims) for host in rest}
            return kind, [{"drops": drops}]
        if kind == "loss":
            return kind, [{"degraded": {victims[0]: rest[:2]}}]
        effects: list[Value] = [{{"kill": "down", "pause": "paused"}.get(kind, kind): victims}]
        if rng.random() < 0.05:
            effects.append({"degraded": {victims[0]: [victims[0], *rest]}})
        return kind, effects

    def nemesis(self, type: str, kind: str, value: Value) -> None:
        more = {}
        if type == "ok" and self.rng.random() < 0.9:
            more = {"evidence": {host: {"seen": True} for host in self.hosts[:1]}}
        if type != "invoke" and self.rng.random() < 0.2:
            value = {name: v for name, v in value.items() if name != "effects"}
        self.tell("nemesis", type, kind, {**value, **more})

    def do(self, kind: str, value: Value) -> None:
        """An `invoke` of a fault, what follows from it on the servers, and its answer."""
        self.nemesis("invoke", kind, value)
        self.wait(0.1)
        answer = "ok"
        if self.goes_wrong("fault-answer"):
            answer = self.rng.choice(("info", "fail", ""))
        happens = answer == "ok" or (answer != "fail" and self.rng.random() < 0.5)
        first = self.rng.random() < 0.5  # the server tells of it before the nemesis does
        if first and happens:
            self.carry_out(value)
        if self.goes_wrong("healed"):
            self.heal(value["fault"])
            self.wait(0.1)
        if answer:
            self.nemesis(answer, kind, value)
        if not first and happens:
            self.wait(0.1)
            self.carry_out(value)
        if answer in ("info", "") and value["step"] == "stop":
            self.wait(0.3)
            self.nemesis("invoke", kind, value)
            self.wait(0.1)
            self.nemesis("ok", kind, value)
            if not happens:
                self.carry_out(value)

    def carry_out(self, value: Value) -> None:
        effects = [] if value["step"] == "stop" else value["effects"]
        self.cut_off = {host: set() for host in self.hosts}
        in_force = [e for name, (_, v) in self.faults.items() if name != value["fault"] for e in v["effects"]]
        down: set[str] = set()
        for effect in [*in_force, *effects]:
            down |= set(effect.get("down", ()))
            for host, others in effect.get("drops", {}).items():
                self.cut_off[host] |= set(others)
        for host in sorted(down - self.down):
            if self.rng.random() < 0.8:
                self.report(host, "stopped", {"how": "signal", "code": 9})
            self.leader = None if host == self.leader else self.leader
        back = sorted(self.down - down)
        self.down = down
        for host in back:
            if self.rng.random() < 0.9:
                self.start(host)

    def begin_fault(self) -> None:
        kind, effects = self.fault()
        value: Value = {"fault": f"f{len(self.faults) + self.rng.randrange(100)}", "step": "start", "effects": effects}
        if kind == "clock" and self.rng.random() < 0.3:
            value["runs_ordinarily"] = True
        self.faults[value["fault"]] = (kind, value)
        self.do(kind, value)
        if self.rng.random() < 0.1:
            changed = {**value, "step": "change", "effects": self.rng.choice(([], effects, self.fault()[1]))}
            self.faults[value["fault"]] = (kind, changed)
            self.wait(0.5)
            self.do(kind, changed)
        if self.goes_wrong("healed"):
            self.wait(0.5)
            self.heal(value["fault"])

    def heal(self, fault: str) -> None:
        host = self.rng.choice(self.hosts)
        self.report(host, "healed", {"faults": self.rng.choice((None, [fault], ["f0"]))})

    def end_fault(self) -> None:
        name = self.rng.choice(sorted(self.faults))
        kind, _ = self.faults.pop(name)
        self.do(kind, {"fault": name, "step": "stop", "effects": []})

    def react(self) -> None:
        """After a fault: who lost the quorum steps down, and a new leader is elected."""
        self.wait(0.3)
        leader = self.leader
        if leader and 2 * len(self.reach(leader)) <= len(self.voters):
            if self.goes_wrong("slow-stepping-down"):
                self.wait(8)
            if not self.goes_wrong("slow-stepping-down"):
                self.look(leader)
        if self.leader is None or self.rng.random() < 0.2:
            self.elect()
        elif self.rng.random() < 0.8:
            for host in self.voters:
                if host != self.leader and host not in self.down and self.leader in self.reach(host):
                    self.follow(host, self.leader)

    # The run

    def run_value(self) -> Value:
        rng = self.rng
        ensemble: Value = {host: {"sid": self.sid(host)} for host in self.hosts}
        for host in self.observers:
            ensemble[host]["role"] = "observer"
        value: Value = {
            "ensemble": ensemble,
            "settings": {"tick_ms": 100, "init_limit": 5, "sync_limit": 2, "max_notification_interval_ms": 500},
        }
        if rng.random() < 0.2:
            groups: dict[str, list[int]] = {"a": [], "b": [], "c": []}
            for sid in self.sids(self.voters):
                groups[rng.choice("abc")].append(sid)
            value["quorum"] = {"kind": "hierarchical", "groups": {name: sids for name, sids in groups.items() if sids}}
            weights = {str(sid): rng.choice((0, 1, 1, 2)) for sid in self.sids(self.voters) if rng.random() < 0.5}
            if len(weights) < len(self.voters):
                value["quorum"]["weights"] = weights
        if rng.random() < 0.2:
            value["bounds"] = {"convergence_s": rng.choice((0.5, 2, 4))}
        if rng.random() < 0.2:
            value["bounds"] = value.get("bounds", {}) | {"stepping_down_s": rng.choice((0.3, 1, 3))}
        if rng.random() < 0.05:
            value["unjudged"] = rng.sample(["durability", "best-history", "evidence", "epochs"], 2)
        return value

    def phase(self, name: str) -> None:
        self.wait(0.2)
        self.tell("controller", "info", "phase", {"phase": name})
        self.wait(0.2)

    def play(self) -> None:
        rng = self.rng
        self.tell("controller", "info", "run", self.run_value())
        for host in self.hosts:
            self.start(host)
        self.elect()
        for _ in range(rng.randrange(3)):
            self.create()
        old = rng.random() < 0.1
        if rng.random() < 0.7:
            self.phase("storm")
            for _ in range(rng.randrange(1, 4)):
                rng.choice(
                    (self.begin_fault, self.end_fault if self.faults else self.begin_fault, self.create, self.read)
                )()
                if rng.random() < 0.7:
                    self.react()
                self.wait(rng.choice((0.5, 0.5, 5)))
        if rng.random() < 0.95:
            self.phase("core" if old else "majority")
            if rng.random() < 0.7:
                self.begin_fault()
                self.react()
            elif self.leader is None:
                self.elect()
            if rng.random() < 0.1:
                self.crash()
                self.react()
            self.wait(rng.choice((1, 1, 6)))
        if rng.random() < 0.95:
            self.phase("all" if old else "everyone")
            while self.faults:
                self.end_fault()
            if self.leader is None or rng.random() < 0.2:
                self.elect()
            for host in self.voters:
                if host != self.leader and self.leader and host not in self.down:
                    self.follow(host, self.leader)
            self.create()
            self.read()
            self.wait(rng.choice((1, 1, 6)))
        self.phase("end")
        for host in self.hosts:
            if not self.goes_wrong("no-final-read"):
                self.read_all(host)
        if rng.random() < 0.1:
            self.read_all(rng.choice(self.hosts))
        if rng.random() < 0.1:
            self.now += rng.choice((20, 40)) * SECOND
