"""Our four-letter words, line by line beside those of real ZooKeeper servers."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.ensembles import Servers


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with Servers(tmp_path_factory.mktemp("ours"), dict.fromkeys(("n1", "n2", "n3"), "onethrone")) as servers:
        servers.start()
        servers.wait_until_all_serve()
        yield servers


def ask(servers: Servers, role: str, word: str) -> str:
    """The answer of the leader, or of a follower."""
    leader = servers.wait_until_all_serve()
    host = leader if role == "leader" else next(host for host in servers.hosts if host != leader)
    answer: str = servers.wait_for(f"an answer to {word}", lambda: servers.ask(host, word))
    return answer


def shape(text: str) -> str:
    """The text with the numbers, addresses and versions of the moment taken out."""
    text = re.sub(r"Zookeeper version: 3\.8\.0-.*, built on [0-9: -]+ UTC", "Zookeeper version: V", text)
    return re.sub(r"-?(0x[0-9a-f]+|\d[\d.]*)", "N", text)


@pytest.mark.parametrize("role", ["leader", "follower"])
@pytest.mark.parametrize("word", ["srvr", "stat", "ruok", "isro"])
def test_a_word_is_answered_in_zookeepers_very_form(ours: Servers, zookeeper: Servers, word: str, role: str) -> None:
    assert shape(ask(ours, role, word)) == shape(ask(zookeeper, role, word))


@pytest.mark.parametrize("role", ["leader", "follower"])
def test_what_mntr_and_conf_say_zookeeper_says_too(ours: Servers, zookeeper: Servers, role: str) -> None:
    for word, separator in (("mntr", "\t"), ("conf", "=")):
        said = {line.split(separator)[0] for line in ask(ours, role, word).splitlines()}
        assert said <= {line.split(separator)[0] for line in ask(zookeeper, role, word).splitlines()}
    mntr = dict(line.split("\t") for line in ask(ours, role, "mntr").splitlines())
    theirs = dict(line.split("\t") for line in ask(zookeeper, role, "mntr").splitlines())
    for key in ("zk_server_state", "zk_peer_state", "zk_quorum_size"):
        assert mntr[key] == theirs[key]
