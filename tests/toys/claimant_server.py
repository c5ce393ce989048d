"""A toy election server: terms, one persisted vote in each, beats and their answers, over UDP.  Nothing is replicated.

    python3 claimant_server.py NAME PORT VOTES NAME=ADDRESS...

It asks for votes after a random silence, leads while a majority answers its beats, and writes what it is to
events.jsonl beside itself.  VOTES is how many votes it leads with: fewer than a majority are a bug.
"""

import contextlib
import json
import os
import random
import select
import socket
import sys
import time
from typing import Any

BEAT_S, SILENCE_S = 0.1, 0.6


class ClaimantServer:
    def __init__(self, name: str, port: int, votes: int, peers: dict[str, str]) -> None:
        self.name, self.port, self.peers = name, port, peers
        self.votes_needed = votes
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((peers[name], port))
        self.folder = os.path.dirname(os.path.abspath(__file__))
        self.term, self.vote = self.load()
        self.role = "LOOKING"
        self.leader: str | None = None
        self.votes: set[str] = set()
        self.heard: dict[str, float] = {}
        self.asked_at = time.monotonic()
        self.patience = self.draw()
        self.said: dict[str, Any] = {}

    def draw(self) -> float:
        return random.uniform(SILENCE_S, 2 * SILENCE_S)

    def load(self) -> list[Any]:
        try:
            with open(os.path.join(self.folder, "vote.json")) as file:
                found: list[Any] = json.load(file)
                return found
        except FileNotFoundError:
            return [0, None]

    def store(self, term: int, vote: str | None) -> None:
        path = os.path.join(self.folder, "vote.json")
        with open(path + ".new", "w") as file:
            json.dump([term, vote], file)
            file.flush()
            os.fsync(file.fileno())
        os.rename(path + ".new", path)
        self.term, self.vote = term, vote

    def write(self, **event: Any) -> None:
        with open(os.path.join(self.folder, "events.jsonl"), "a") as file:
            file.write(json.dumps({"at": time.monotonic_ns(), **event}) + "\n")

    def say(self) -> None:
        said = {"role": self.role, "term": self.term, "leader": self.leader}
        if said != self.said:
            self.said = said
            self.write(**said)

    def send(self, to: str, kind: str, term: int) -> None:
        text = json.dumps({"from": self.name, "kind": kind, "term": term})
        with contextlib.suppress(OSError):  # the sender may be told of a cut link
            self.socket.sendto(text.encode(), (self.peers[to], self.port))

    def send_all(self, kind: str) -> None:
        for peer in self.peers:
            if peer != self.name:
                self.send(peer, kind, self.term)

    def look(self, now: float) -> None:
        self.role, self.leader, self.votes = "LOOKING", None, set()
        self.asked_at, self.patience = now, self.draw()

    def tick(self, now: float) -> None:
        if self.role == "LEADING":
            near = [peer for peer, at in self.heard.items() if now - at <= SILENCE_S]
            if 1 + len(near) < self.votes_needed:
                self.look(now)
            else:
                self.send_all("beat")
        elif now - self.asked_at > self.patience:
            self.look(now)
            self.store(self.term + 1, self.name)
            self.send_all("ask")
            self.count(self.name, now)

    def count(self, voter: str, now: float) -> None:
        self.votes.add(voter)
        if len(self.votes) >= self.votes_needed:
            self.role, self.leader = "LEADING", self.name
            self.heard = dict.fromkeys(self.votes - {self.name}, now)

    def receive(self, message: dict[str, Any], now: float) -> None:
        peer, kind, term = message["from"], message["kind"], message["term"]
        if term > self.term:
            self.store(term, None)
            self.look(now)
        if term < self.term:
            return
        if kind == "ask" and self.vote in (None, peer):
            self.store(term, peer)
            self.asked_at = now
            self.send(peer, "grant", term)
        elif kind == "beat" and peer != self.leader and self.role == "LEADING":
            pass  # another leader of our term: the bug
        elif kind == "beat":
            self.role, self.leader, self.asked_at = "FOLLOWING", peer, now
            self.send(peer, "answer", term)
        elif kind == "answer":
            self.heard[peer] = now
        elif kind == "grant" and self.role == "LOOKING":
            self.count(peer, now)

    def run(self) -> None:
        self.write(started=os.getpid())
        due = time.monotonic()
        while True:
            self.say()
            now = time.monotonic()
            if now >= due:
                self.tick(now)
                due = now + BEAT_S
            elif select.select([self.socket], [], [], due - now)[0]:
                try:
                    message = json.loads(self.socket.recv(1000))
                except (OSError, ValueError):
                    continue  # nobody listens at a peer, or the message was damaged on its way
                if message.get("from") in self.peers:
                    self.receive(message, time.monotonic())


if __name__ == "__main__":
    ClaimantServer(
        sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), dict(word.split("=") for word in sys.argv[4:])
    ).run()
