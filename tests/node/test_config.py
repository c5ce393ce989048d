"""zoo.cfg and myid as ZooKeeper reads them (protocol.md section 7), and every error with its place and its remedy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.config import OBSERVER, Config, Member
from node.properties import ConfigError
from node.zoo_cfg import load
from tests.addresses import network

THREE = "server.1=n1:2888:3888\nserver.2=n2:2888:3888:participant\nserver.3=n3:2888:3888\n"


def write(folder: Path, text: str = THREE, head: str = "initLimit=10\nsyncLimit=5\n", myid: str = "1\n") -> Path:
    (folder / "myid").write_text(myid)
    path = folder / "zoo.cfg"
    path.write_text(f"dataDir={folder}\n{head}{text}")
    return path


def test_a_usual_file_is_read_with_zookeepers_defaults(tmp_path: Path) -> None:
    config = load(str(write(tmp_path, THREE + "\n# a comment\n! another\n  clientPort = 2181  \n")))
    assert config == Config(
        sid=1,
        members=tuple(Member(sid, f"n{sid}", 2888, 3888) for sid in (1, 2, 3)),
        data_dir=str(tmp_path),
        client_address=("0.0.0.0", 2181),
    )
    assert (config.tick_ms, config.max_notification_interval_ms, config.connect_timeout_ms) == (3000, 60000, 5000)


def test_times_are_read(tmp_path: Path) -> None:
    head = (
        "tickTime=500\ninitLimit=7\nsyncLimit=3\ncnxTimeout=900\nfastleader.minNotificationInterval=100\n"
        "fastleader.maxNotificationInterval=1000\n"
    )
    config = load(str(write(tmp_path, head=head)))
    assert (config.tick_ms, config.init_limit, config.sync_limit, config.connect_timeout_ms) == (500, 7, 3, 900)
    assert (config.min_notification_interval_ms, config.max_notification_interval_ms) == (100, 1000)


def test_ipv6_client_part_and_observer(tmp_path: Path) -> None:
    text = "server.1=[fd00::1]:2888:3888;[::1]:2181\nserver.2=[fd00::2]:2888:3888:OBSERVER;2182\n"
    config = load(str(write(tmp_path, "standaloneEnabled=false\n" + text)))
    assert config.members == (
        Member(1, "fd00::1", 2888, 3888, client=("::1", 2181)),
        Member(2, "fd00::2", 2888, 3888, OBSERVER, ("0.0.0.0", 2182)),
    )
    assert config.client_address == ("::1", 2181)
    assert config.voters == {1}


def test_groups_and_weights(tmp_path: Path) -> None:
    config = load(str(write(tmp_path, THREE + "group.1=1:2\ngroup.2=3\nweight.3=0\n")))
    assert dict(config.groups) == {1: {1, 2}, 2: {3}}
    assert config.weights == ((3, 0),)


def test_dynamic_config_file_holds_the_servers(tmp_path: Path) -> None:
    (tmp_path / "dynamic.100000000").write_text(THREE + "group.1=1:2:3\n")
    path = write(tmp_path, f"dynamicConfigFile={tmp_path}/dynamic.100000000\n")
    config = load(str(path))
    assert config.voters == {1, 2, 3}
    assert config.groups == ((1, frozenset({1, 2, 3})),)
    (tmp_path / "zoo.cfg.dynamic.next").write_text(THREE)
    with pytest.raises(ConfigError, match=r"dynamic\.next: a reconfiguration was begun"):
        load(str(path))


@pytest.mark.parametrize(
    ("dynamic", "where", "says"),
    [
        (THREE + "version=100000000\n", "dynamic:4: version", "no version inside"),
        (THREE + "tickTime=5\n", "dynamic:4: tickTime", "servers, groups and weights only"),
        (THREE + "#\nx=\\u00\n", "dynamic:5", "hexadecimal"),
    ],
)
def test_an_error_in_the_dynamic_file_names_that_file(tmp_path: Path, dynamic: str, where: str, says: str) -> None:
    (tmp_path / "dynamic").write_text(dynamic)
    with pytest.raises(ConfigError, match=says) as caught:
        load(str(write(tmp_path, f"dynamicConfigFile={tmp_path}/dynamic\n")))
    assert str(caught.value).startswith(f"{tmp_path}/{where}: ")


def test_servers_beside_a_dynamic_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "dynamic").write_text(THREE)
    with pytest.raises(ConfigError, match=r"zoo\.cfg:4: server\.1: there is a dynamicConfigFile"):
        load(str(write(tmp_path, f"{THREE}dynamicConfigFile={tmp_path}/dynamic\n")))


def test_every_key_that_is_ignored_has_a_line_for_the_log(tmp_path: Path) -> None:
    more = (
        "leaderServes=yes=no\nword\ndataLogDir=/log\njvm.pause.monitor=true\nfastleader.minNotificationInterval=soon\n"
    )
    quiet = "autopurge.purgeInterval=1\nlocalSessionsEnabled=false\nsyncEnabled=true\n"
    path = write(tmp_path, THREE + more + quiet + "k\\u0007x=1\nmaxClientCnxns=0\n")
    other = load(str(path)).other
    assert other == {
        "leaderServes": f"{path}:7: leaderServes is not known to this server, and ignored",
        "word": f"{path}:8: word is not known to this server, and ignored",
        "dataLogDir": f"{path}:9: dataLogDir is ignored: the transaction log lies in dataDir",
        "jvm.pause.monitor": f"{path}:10: jvm.pause.monitor is ignored: there is no JVM",
        "fastleader.minNotificationInterval": (
            f"{path}:11: fastleader.minNotificationInterval is ignored: 'soon' is no number that ZooKeeper reads here"
        ),
        "k\x07x": f"{path}:15: k\\x07x is not known to this server, and ignored",
        "maxClientCnxns": f"{path}:16: maxClientCnxns ends at 256: there are no more in all",
    }


def test_session_timeouts_connections_and_retries_are_read(tmp_path: Path) -> None:
    config = load(str(write(tmp_path)))
    assert (config.session_timeouts, config.max_client_connections, config.bind_attempts) == ((6000, 60000), 60, 3)
    more = (
        "minSessionTimeout=16000\nmaxSessionTimeout=90000\nmaxClientCnxns=0\nelectionPortBindRetry=0\nsnapCount=0x10\n"
    )
    config = load(str(write(tmp_path, THREE + more)))
    assert (config.session_timeouts, config.max_client_connections, config.bind_attempts) == ((16000, 90000), 0, 0)
    assert config.snap_count == 16, "Integer.getInteger reads 0x10"


def test_four_letter_words_follow_the_whitelist(tmp_path: Path) -> None:
    assert load(str(write(tmp_path))).four_letter_words is None
    assert load(str(write(tmp_path, THREE + "4lw.commands.whitelist=*\n"))).four_letter_words is None
    config = load(str(write(tmp_path, THREE + "4lw.commands.whitelist=mntr, stat\n")))
    assert config.four_letter_words == frozenset({"srvr", "mntr", "stat"})


@pytest.mark.parametrize(
    ("text", "line", "key", "says"),
    [
        (THREE + "tickTime=0\n", 7, "tickTime", "below 1"),
        (THREE + "tickTime=1_000\n", 7, "tickTime", "no whole number"),
        (THREE + "tickTime=3\0\0x\n", 7, "tickTime", "no whole number"),
        (THREE + "a=\\u12x4\n", 7, "", "four hexadecimal digits"),
        (THREE + "autopurge.purgeInterval=24h\n", 7, "autopurge.purgeInterval", "'24h' is no whole number"),
        (THREE + "maxClientCnxns=${MAX}\n", 7, "maxClientCnxns", "no whole number"),
        (THREE + "peerType=foo\n", 7, "peerType", "no type of server"),
        (THREE + "minSessionTimeout=9\nmaxSessionTimeout=8\n", 7, "minSessionTimeout", "9 ms, is larger than"),
        (THREE + "secureClientPort=2182\n", 7, "secureClientPort", "TLS"),
        (THREE + "oraclePath=/o\n", 7, "oraclePath", "oracle"),
        (THREE + "observerMasterPort=2182\n", 7, "observerMasterPort", "serves observers"),
        (THREE + "dataDir=/no\0where\n", 0, "", "no path"),
        (THREE + "server.x=n9:1:2\n", 7, "server.x", "'x' is no server id"),
        (THREE + "server.-1=n9:1:2\n", 7, "server.-1", "'-1' is no server id"),
        (THREE + "server.01=n9:1:2\n", 7, "server.01", "line 4 gives the same server id"),
        (THREE + "server.4=n9:1\n", 7, "server.4", "is not host:quorumPort"),
        (THREE + "server.4=:1:2\n", 7, "server.4", "no name or address"),
        (THREE + "server.4=a b:1:2\n", 7, "server.4", "no name or address"),
        (THREE + "server.4=n4:1:2 \n", 7, "server.4", "a port of"),
        (THREE + "server.4=[::1:1:2\n", 7, "server.4", "is not host:quorumPort"),
        (THREE + "server.4=n9:1:2:3:4\n", 7, "server.4", "is not host:quorumPort"),
        (THREE + "server.4=n9:1:70000\n", 7, "server.4", "a port of"),
        (THREE + "server.4=n9:7:7\n", 7, "server.4", "are both 7"),
        (THREE + "server.4=n9:1:2:king\n", 7, "server.4", "role 'king'"),
        (THREE + "server.4=n9:1:2;x\n", 7, "server.4", "[host:]clientPort"),
        (THREE + "server.4=n9:1:2|n8:1:2\n", 7, "server.4", "several addresses"),
        (THREE + "group.1=1:2\n", 7, "group.1", "server 3 is in no group"),
        (THREE + "group.1=1:2:3\ngroup.2=3\n", 8, "group.2", "in two groups"),
        (THREE + "group.1=1:2:3:4\n", 7, "group.1", "'4' is the id of no participant"),
        (THREE + "weight.1=2\n", 7, "weight.1", "is in no group"),
        (THREE + "weight.1=-2\n", 7, "weight.1", "no whole number from 0"),
        (THREE + "sslQuorum=true\n", 7, "sslQuorum", "TLS"),
        (THREE + "reconfigEnabled=TRUE\n", 7, "reconfigEnabled", "not spoken"),
        (THREE + "reconfigEnabled=maybe\n", 7, "reconfigEnabled", "neither true nor false"),
        (THREE + "electionAlg=0\n", 7, "electionAlg", "no election algorithm but 3"),
        (THREE + "clientPort=70000\n", 7, "clientPort", "no port"),
        ("dynamicConfigFile=/no/such/file\n", 4, "dynamicConfigFile", "No such file"),
        (THREE + "dataDir=\n", 7, "dataDir", "not set"),
        ("server.1=n1:1:2:observer\n", 0, "server.N", "no participant"),
        ("", 0, "server.N", "no participant"),
    ],
)
def test_an_error_names_file_line_and_key(tmp_path: Path, text: str, line: int, key: str, says: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load(str(path))
    error = caught.value
    assert (error.line, error.key) == (line, key)
    assert error.file == str(path) or "\0" in error.file
    assert says in error.problem
    assert error.remedy
    assert "\n" not in str(error)
    assert str(error).isprintable()
    assert str(error).startswith(f"{path}:{line}: " if line else f"{path}: ") or "\0" in error.file


@pytest.mark.parametrize(
    ("myid", "says"), [("", "''"), ("one", "'one'"), ("-1", "'-1'"), ("1 ", "'1 '"), ("4", "no line server.4")]
)
def test_a_bad_myid_is_named(tmp_path: Path, myid: str, says: str) -> None:
    path = write(tmp_path, myid=myid)
    with pytest.raises(ConfigError, match=says) as caught:
        load(str(path))
    assert caught.value.file == str(tmp_path / "myid")


def test_missing_files_and_required_keys_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load(str(tmp_path / "absent.cfg"))
    with pytest.raises(ConfigError, match="directory"):
        load(str(tmp_path))
    with pytest.raises(ConfigError, match="longer than"):
        load("/dev/zero")
    with pytest.raises(ConfigError, match="syncLimit: it is not set"):
        load(str(write(tmp_path, head="initLimit=5\n")))
    path = write(tmp_path)
    path.write_text(path.read_text().replace("dataDir", "dataDri"))
    with pytest.raises(ConfigError, match="dataDir: it is not set"):
        load(str(path))
    path = write(tmp_path)
    (tmp_path / "myid").unlink()
    with pytest.raises(ConfigError, match="myid: No such file"):
        load(str(path))


@given(text=st.text(st.sampled_from("server.1=n:28;[]|#gw \n\\é-"), max_size=60))
def test_any_text_gives_a_config_or_a_config_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = write(tmp_path_factory.getbasetemp(), text)
    try:
        assert load(str(path)).sid == 1
    except ConfigError as error:
        assert error.remedy  # noqa: PT017 - both outcomes are right, and each is held to its promise


@pytest.mark.parametrize(
    ("path", "content", "says"),
    [
        ("zoo.cfg", b"dataDir=/x\0y\ninitLimit=5\nsyncLimit=2\nserver.1=n1:1:2\n", "this is no path"),
        ("zoo.cfg", b"tick\0Time=1\nclientPort=2\0x\n", "clientPort: '2\\x00x' is no whole number"),
        ("zoo.cfg", b"\0" * 100, "server.N: there is no participant"),
        ("version-2/acceptedEpoch", b"99999999999", "'99999999999' is no epoch from 0 to 2^31-1"),
        ("version-2/acceptedEpoch", b"--5", "'--5' is no epoch"),
        ("version-2/currentEpoch", b"\0\x1b[2J", "'\\x00\\x1b[2J' is no epoch"),
        ("myid", b"\xff\n", "is no server id"),
    ],
)
def test_a_damaged_file_ends_the_server_with_254_and_one_sentence(
    tmp_path: Path, path: str, content: bytes, says: str
) -> None:
    config = write(tmp_path, f"clientPort=0\nserver.1={network()}.1:2888:3888\n")
    (tmp_path / "version-2").mkdir()
    (tmp_path / path).write_bytes(content)
    command = [sys.executable, "-m", "node", "serve", "--config", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 254
    assert says in done.stderr
    assert done.stderr.startswith("onethrone-node: ")
    assert done.stderr.removesuffix("\n").isprintable()
