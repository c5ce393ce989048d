"""Seeded storms over a `SmallWorld`: crashes (also between two effects), cuts, resets, pauses, writes, then a heal.

A storm is a function of its seed and of the server's class.  It ends when every server has one and the same leader, a
write has been committed after that, and every server has the same tree.
"""

from __future__ import annotations

from typing import Any

from node.protocol.core import BROADCAST
from node.protocol.messages import LEADING
from node.protocol.server import Server
from tests.node.promises import Broken
from tests.node.world import SECOND, SmallWorld

CONVERGENCE_S = 8.0
"""With ticks of 200 ms, initLimit 10 and syncLimit 5: two whole discoveries that time out, and the election."""
STEPPING_DOWN_S = 2.5
"""A follower's read time-out and the leader's own, one after the other, and two ticks."""


class Storm:
    def __init__(self, seed: int, server_class: type[Server] = Server, **settings: Any) -> None:
        servers, observers = [(3, 0), (3, 1), (5, 0), (4, 0)][seed % 4]
        slow = seed % 7 == 0
        self.world = SmallWorld(
            servers, observers, seed, server_class, delay_ms=(0.1, 40.0) if slow else (0.1, 2.0), **settings
        )
        self.random = self.world.random
        self.alone_since: dict[int, int] = {}
        self.written: list[str] = []

    def run(self, faults: int = 12) -> SmallWorld:
        world = self.world
        for sid in world.hosts:
            if self.random.random() < 0.9:
                world.start(sid)
        for _ in range(faults):
            self.fault()
            self.write()
            for _ in range(self.random.choice((1, 2, 4, 12))):
                world.run(self.random.uniform(0.01, 0.25))
                self.check_stepping_down()
        world.heal()
        for sid, host in world.hosts.items():
            host.crash_in = None
            world.resume(sid, host.life)
        world.start_all()
        self.settle()
        return world

    def settle(self) -> None:
        world = self.world
        world.run_until(world.settled, CONVERGENCE_S)
        leader = world.leader()
        assert leader is not None
        cxid = world.create(leader.sid)
        world.run_until(lambda: world.reply(cxid) is not None, CONVERGENCE_S)
        world.run_until(self.is_caught_up, CONVERGENCE_S)
        trees = [host.server.database.nodes for host in world.hosts.values() if host.server is not None]
        if any(tree != trees[0] for tree in trees):
            raise Broken("agreement", "the trees differ after all is healed")
        lost = [r for r in world.replies if r.type == 1 and not r.error and f"/n{r.cxid}" not in trees[0]]
        if lost:
            raise Broken("durability", f"acknowledged and lost: {lost[0]}")

    def is_caught_up(self) -> bool:
        return len({h.server.database.committed_zxid for h in self.world.hosts.values() if h.server}) == 1

    def write(self) -> None:
        for sid, host in self.world.hosts.items():
            if host.server is not None and host.server.serving and self.random.random() < 0.5:
                self.world.create(sid)

    def fault(self) -> None:
        world, pick = self.world, self.random
        sids = list(world.hosts)
        leader = world.leader()
        target = leader.sid if leader is not None and pick.random() < 0.5 else pick.choice(sids)
        up = world.hosts[target].server is not None
        kind = pick.choice(
            ("crash", "crash-in", "cut", "isolate", "halves", "heal", "reset", "pause", "start", "start")
        )
        if kind == "crash" and up:
            world.crash(target)
        elif kind == "crash-in" and up:
            world.hosts[target].crash_in = pick.randrange(30)
        elif kind == "cut":
            world.cut_link(target, pick.choice([sid for sid in sids if sid != target]))
        elif kind == "isolate":
            world.isolate([target])
        elif kind == "halves":
            world.isolate(pick.sample(sids, len(sids) // 2))
        elif kind == "heal":
            world.heal()
        elif kind == "reset" and up:
            world.reset_connections(target, pick.choice([sid for sid in sids if sid != target]))
        elif kind == "pause" and up:
            world.pause(target, pick.choice((0.05, 0.5, 3.0)))
        elif kind == "start":
            for sid in sids:
                if world.hosts[sid].server is None:
                    world.start(sid)

    def check_stepping_down(self) -> None:
        """A leader that has been without a connected quorum for too long must not lead."""
        world = self.world
        for sid, host in world.hosts.items():
            server = host.server
            if server is None or host.paused or server.role != LEADING or server.phase != BROADCAST:
                self.alone_since.pop(sid, None)
                continue
            near = {sid} | {
                other
                for other, there in world.hosts.items()
                if there.server is not None and not {(sid, other), (other, sid)} & world.cut
            }
            if 2 * len(near & server.voters) > len(server.voters):
                self.alone_since.pop(sid, None)
            elif world.now - self.alone_since.setdefault(sid, world.now) > STEPPING_DOWN_S * SECOND:
                raise Broken("stepping-down", f"server {sid} leads without a quorum for {STEPPING_DOWN_S} s")


def storm(seed: int, server_class: type[Server] = Server, faults: int = 12) -> SmallWorld:
    return Storm(seed, server_class).run(faults)
