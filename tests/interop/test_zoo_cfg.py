"""Our reading of zoo.cfg beside that of ZooKeeper 3.8.0's own parser, which reads all of the files in one JVM.

Both have to accept and refuse the same files, and to find the same values in what they accept.  Where ours refuses what
ZooKeeper accepts, or the other way round, docs/deviations.md has the reason, and `OURS_REFUSES` or `OURS_ACCEPTS` the
sentence by which the test knows it.
"""

from __future__ import annotations

import ipaddress
import random
import re
import socket
import subprocess
from pathlib import Path
from urllib.parse import parse_qsl

import pytest

from harness.systems.zookeeper.system import JARS
from node.config import Config
from node.properties import ConfigError
from node.zoo_cfg import load

HERE = Path(__file__).parent
CASES = {path.stem: path.read_bytes() for path in sorted((HERE / "zoo").glob("*.cfg"))}
MUTATIONS = 200
SEED = 20261201

OURS_REFUSES = (
    "not spoken by this server",
    "is no name or address of a host",
    r"a port of .* is no number from 1 to 65535",
    r"'\+?0+' is not \[host:\]clientPort",
    "the value is below 1",
    "is below [01]$",
    "there is no participant",
    "gives the same (server|group) id",
    "is the id of no participant",
    "the group is empty",
    r"is no whole number from 0 to 2\^31-1",
    "is no (server|group) id",
    "with other white space",
    "says client address",
)
"""What ZooKeeper accepts and ours refuses (docs/deviations.md, "Configuration")."""

OURS_ACCEPTS = ("UnknownHostException", "StringIndexOutOfBoundsException: begin 0, end 2, length [01]")
"""What ZooKeeper refuses and ours accepts."""

KEYS = (
    *("tickTime", "initLimit", "syncLimit", "dataDir", "clientPort", "clientPortAddress", "maxClientCnxns"),
    *("minSessionTimeout", "maxSessionTimeout", "peerType", "electionAlg", "standaloneEnabled", "reconfigEnabled"),
    *("quorumListenOnAllIPs", "syncEnabled", "autopurge.purgeInterval", "jvm.pause.sleep.time.ms", "version"),
    *("server.1", "server.2", "server.4", "server.02", "server.", "servers.1", "group.1", "group.2", "groupes.1"),
    *(
        "weight.1",
        "weight.2",
        "weight.9",
        "admin.enableServer",
        "localSessionsEnabled",
        "secureClientPort",
        "oraclePath",
    ),
)
VALUES = (
    *("", "0", "1", "-1", "+7", "007", "2000", "30000", "90000", "2147483647", "2147483648", "1_000", "1e3", "0x10"),
    *("true", "FALSE", "yes", "observer", "Participant", "3", "${X}", "24h", " 5 ", "5\\ ", "\\u0035", "1:2:3", "1:2"),
    *("3", "1:2:3:4", "1: 2:3", "127.0.0.4:2888:3888", "127.0.0.4:2888:3888:observer", "127.0.0.4:2888:3888:x"),
    *("127.0.0.4:2888:3888;2181", "[::1]:2888:3888;[::]:2181", "127.0.0.4\\:2888\\:3888", "127.0.0.4:2888:2888"),
    *("127.0.0.4:2888:3888:participant ", "n4:2888:3888;;", ";", "|", "127.0.0.1", "::1", "\\", "\xfc", "a\\\n b"),
)
BYTES = b"\\\\::==  \t\r\n\n\f\0#!;|[].,-+01239aserv\xe9\xff"
VALID = (
    *("plain", "escaped-colons", "space-separated", "continued", "crlf", "docker", "session-timeouts", "groups"),
    *("client-both", "ipv6", "one-participant-observer-allowed", "unicode-escapes", "mixed-separators"),
)


def mutate(rng: random.Random) -> bytes:
    """A valid file with one to three changes to its bytes, lines, keys or values."""
    data = CASES[rng.choice(VALID)]
    for _ in range(rng.choice((1, 1, 2, 3))):
        lines = data.split(b"\n")
        at = rng.randrange(len(lines))
        how = rng.randrange(8)
        key, value = (rng.choice(words).encode("latin-1") for words in (KEYS, VALUES))
        if how == 0:
            place = rng.randrange(len(data) + 1)
            data = data[:place] + bytes([rng.choice(BYTES)]) + data[place + rng.randrange(2) :]
            continue
        if how == 1:
            lines.insert(at, key + rng.choice((b"=", b":", b" ", b" = ", b"")) + value)
        elif how == 2:
            lines[at] = re.split(rb"[=: ]", lines[at])[0] + b"=" + value
        elif how == 3:
            lines.append(rng.choice(lines).replace(b"2", b"3"))
        elif how == 4:
            del lines[at]
        elif how == 5:
            lines[at] += rng.choice((b" ", b"\\", b"\\\\", b"\t", b"\r", b":", b";", b"#"))
        elif how == 6:
            lines[at] = rng.choice((b" ", b"#", b"!", b"\\ ", b"\f", b"=")) + lines[at]
        else:
            place = rng.randrange(len(lines[at]) + 1)
            lines[at] = lines[at][:place] + b"\\\n\t " + lines[at][place:]
        data = b"\n".join(lines)
    return data


def ask_zookeeper(folder: Path, paths: list[Path]) -> list[dict[str, str]]:
    """What ZooKeeper's parser says of each file.  Host names are looked up in an empty hosts file, never by DNS."""
    (folder / "hosts").write_text("127.0.0.1 localhost\n")
    jars = ("zookeeper", "zookeeper-jute", "slf4j-api", "slf4j-nop", "metrics-core", "snappy-java", "netty-all")
    classpath = ":".join(f"{JARS}/{name}.jar" for name in jars)
    flags = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", f"-Djdk.net.hosts.file={folder}/hosts")
    done = subprocess.run(
        ["java", *flags, "-cp", classpath, str(HERE / "ZooCfg.java")],
        input="".join(f"{path}\n" for path in paths),
        stdout=subprocess.PIPE,
        text=True,
        timeout=120,
        check=True,
    )
    answers = [dict(parse_qsl(line, keep_blank_values=True)) for line in done.stdout.splitlines()]
    assert len(answers) == len(paths)
    return answers


def write(folder: Path, data: bytes) -> Path:
    folder.mkdir()
    (folder / "myid").write_bytes(b"1\n")
    path = folder / "zoo.cfg"
    path.write_bytes(data.replace(b"@DATA@", bytes(folder)).replace(b"@HERE@", bytes(HERE / "zoo")))
    return path


def host(name: str) -> str:
    """One spelling for each address; "127.1" is one too, for Java as for the C library."""
    try:
        address = ipaddress.ip_address(socket.inet_ntoa(socket.inet_aton(name)) if re.match(r"[\d.]+$", name) else name)
    except (ValueError, OSError):
        return name
    return "any" if address.is_unspecified else str(address)


def address(text: str) -> str:
    """ "host port" with one spelling for each host."""
    name, _, port = text.rpartition(" ")
    return f"{host(name)} {port}" if port else ""


def theirs(answer: dict[str, str]) -> dict[str, str]:
    """ZooKeeper's values in our spelling."""
    values = {**answer, "clientPortAddress": address(answer["clientPortAddress"])}
    for key in (key for key in answer if key.startswith("server.")):
        name, quorum_port, election_port, role, client = answer[key].split(" ", 4)
        values[key] = " ".join((host(name), quorum_port, election_port, role, address(client)))
    return values


def ours(config: Config) -> dict[str, str]:
    def joined(client: tuple[str, int] | None) -> str:
        return f"{host(client[0])} {client[1]}" if client is not None else ""

    shortest, longest = config.session_timeouts
    values = {
        "sid": config.sid,
        "tickTime": config.tick_ms,
        "initLimit": config.init_limit,
        "syncLimit": config.sync_limit,
        "dataDir": re.sub("(?<=.)/$", "", re.sub("/+", "/", config.data_dir)),
        "clientPortAddress": joined(config.client_address),
        "minSessionTimeout": shortest,
        "maxSessionTimeout": longest,
        "maxClientCnxns": config.max_client_connections,
        "quorumListenOnAllIPs": str(config.listen_on_all_ips).lower(),
        "peerType": "OBSERVER" if config.is_observer else "PARTICIPANT",
    }
    for m in config.members:
        fields = (host(m.host), m.quorum_port, m.election_port, m.role.upper(), joined(m.client))
        values[f"server.{m.sid}"] = " ".join(map(str, fields))
    for group, sids in config.groups:
        values[f"group.{group}"] = ":".join(map(str, sorted(sids)))
    if config.groups:
        weights = dict(config.weights)
        values |= {f"weight.{sid}": weight for sid, weight in weights.items()}
        values |= {f"weight.{sid}": weights.get(sid, 1) for sid in config.voters}
    return {key: str(value) for key, value in values.items()}


def disagreement(path: Path, answer: dict[str, str]) -> str:
    """How the two parsers differ over one file, beyond what is documented; empty if they do not."""
    try:
        config = load(str(path))
    except ConfigError as error:
        if "refused" in answer or "standalone" in answer:
            return ""
        known = any(re.search(sentence, error.problem) for sentence in OURS_REFUSES)
        return "" if known else f"ZooKeeper accepts, ours refuses: {error}"
    if "refused" in answer:
        known = any(re.search(sentence, answer["refused"]) for sentence in OURS_ACCEPTS)
        return "" if known else f"ours accepts, ZooKeeper refuses: {answer['refused']}"
    if "standalone" in answer:
        return "" if len(config.members) == 1 else "ZooKeeper would run alone, ours as an ensemble"
    left, right = theirs(answer), ours(config)
    differ = sorted(key for key in {*left, *right} if left.get(key) != right.get(key))
    return "; ".join(f"{key}: ZooKeeper {left.get(key)!r}, ours {right.get(key)!r}" for key in differ)


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, dict[str, str]]]:
    """Every file, and what ZooKeeper says of it."""
    folder = tmp_path_factory.mktemp("zoo")
    rng = random.Random(SEED)
    files = {**CASES, **{f"mutation-{number}": mutate(rng) for number in range(MUTATIONS)}}
    paths = [write(folder / name, data) for name, data in files.items()]
    return {name: (path, answer) for name, path, answer in zip(files, paths, ask_zookeeper(folder, paths), strict=True)}


@pytest.mark.parametrize("name", CASES)
def test_zookeeper_and_ours_agree_on_a_file(answers: dict[str, tuple[Path, dict[str, str]]], name: str) -> None:
    assert disagreement(*answers[name]) == ""


def test_zookeeper_and_ours_agree_on_mutations_of_valid_files(answers: dict[str, tuple[Path, dict[str, str]]]) -> None:
    mutations = {name: found for name, found in answers.items() if name.startswith("mutation-")}
    refused = sum("refused" in answer for _, answer in mutations.values())
    assert MUTATIONS / 5 < refused < MUTATIONS * 4 / 5, "the mutations are worth something"
    differ = {name: difference for name, found in mutations.items() if (difference := disagreement(*found))}
    assert differ == {}, "\n".join(mutations[name][0].read_text("latin-1") for name in differ)
