"""A lab gives hosts that are real to whoever logs in, apart from each other, and gone when it ends."""

import contextlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import UsageError
from harness.hosts.provision.lab import Lab, running

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 120


def ssh(lab: Lab, host: str, command: str, check: bool = True) -> str:
    done = subprocess.run(
        ["ssh", "-F", str(lab.ssh_config), host, command],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert not check or done.returncode == 0, done.stderr
    return (done.stdout + done.stderr).strip()


def a_name() -> str:
    """A file's name that nothing else on this machine has, since its folders are everybody's."""
    return f"trial-{secrets.token_hex(8)}"


@pytest.fixture(scope="module")
def routes_before() -> list[str]:
    return routes()


def routes() -> list[str]:
    """This machine's own routes to a network with the lab's numbers; it may have such a network of its own."""
    found = subprocess.run(["ip", "route"], capture_output=True, text=True, check=True).stdout
    return [route for route in found.splitlines() if "10.42.0" in route]


@pytest.fixture(scope="module")
def lab(routes_before: list[str]) -> Iterator[Lab]:
    with Lab.up(3) as lab:
        yield lab


def test_a_person_logs_in_with_plain_ssh_and_finds_a_host_of_its_own(lab: Lab) -> None:
    for name, address in lab.hosts.items():
        assert ssh(lab, name, "hostname; id -un; echo $HOME $SHELL").split("\n") == [name, "root", "/root /bin/sh"]
        assert address in ssh(lab, name, "ip -4 -brief address show eth0")
    assert lab.hosts == {"n1": "10.42.0.1", "n2": "10.42.0.2", "n3": "10.42.0.3"}


def test_a_terminal_can_be_had(lab: Lab) -> None:
    done = subprocess.run(
        ["ssh", "-tt", "-F", str(lab.ssh_config), "n1", "tty"],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=True,
    )
    assert done.stdout.strip().startswith("/dev/pts/")


@pytest.mark.parametrize(
    "place", ["/tmp", "/run", "/root", "/home", "/var/tmp", "/var/log", "/var/lib/onethrone", "/dev/shm"]
)
def test_a_host_has_its_own_writable_places(lab: Lab, place: str) -> None:
    trial = f"{place}/{a_name()}"
    ssh(lab, "n1", f"echo mine > {trial}")
    assert ssh(lab, "n1", f"cat {trial}") == "mine"
    assert not Path(trial).exists()
    assert "No such file" in ssh(lab, "n2", f"cat {trial}", check=False)


def test_state_is_on_a_real_disk_below_the_labs_directory(lab: Lab) -> None:
    ssh(lab, "n1", "echo kept > /var/lib/onethrone/state-trial")
    assert (lab.directory / "hosts" / "n1" / "state" / "state-trial").read_text() == "kept\n"


@pytest.mark.parametrize("place", ["/usr", "/etc", "/opt", "/var/lib", "/"])
def test_a_host_cannot_write_to_the_machines_own_files(lab: Lab, place: str) -> None:
    trial = Path(place, a_name())
    assert "Read-only file system" in ssh(lab, "n1", f"touch {trial}", check=False)
    assert not trial.exists()


def test_a_host_sees_its_own_processes_alone_and_reaps_orphans(lab: Lab) -> None:
    ssh(lab, "n2", "setsid sleep 1000 >/dev/null 2>&1 </dev/null & echo $! > /run/sleeper")
    assert "sleep 1000" not in ssh(lab, "n1", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
    assert "sleep 1000" in ssh(lab, "n2", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
    ssh(lab, "n2", "kill -9 $(cat /run/sleeper)")
    waits = "for i in $(seq 600); do test -d /proc/$(cat /run/sleeper) || exit 0; sleep 0.1; done; exit 1"
    ssh(lab, "n2", waits)


def test_hosts_reach_each_other_by_name_and_nothing_else(lab: Lab, routes_before: list[str]) -> None:
    program = (
        "import socket,sys\n"
        "s = socket.create_server(('n1', 7000)); print('up', flush=True)\n"
        "s.settimeout(60); c, who = s.accept(); print(who[0])"
    )
    server = subprocess.Popen(
        ["ssh", "-F", str(lab.ssh_config), "n1", f'python3 -c "{program}"'], stdout=subprocess.PIPE, text=True
    )
    with server:
        assert server.stdout is not None
        assert server.stdout.readline() == "up\n"
        ssh(lab, "n2", "python3 -c \"import socket; socket.create_connection(('n1', 7000), 30)\"")
        assert server.stdout.readline() == "10.42.0.2\n"
    assert ssh(lab, "n3", "ip route").splitlines() == ["10.42.0.0/24 dev eth0 proto kernel scope link src 10.42.0.3"]
    assert routes() == routes_before


def test_ssh_still_works_when_the_hosts_network_is_cut(lab: Lab) -> None:
    ssh(lab, "n3", "ip link set eth0 down")
    try:
        assert ssh(lab, "n3", "hostname") == "n3"
    finally:
        ssh(lab, "n3", "ip link set eth0 up")


def test_a_hosts_rules_and_queues_are_its_own(lab: Lab) -> None:
    ssh(lab, "n1", "nft add table inet trial")
    ssh(lab, "n1", "tc qdisc add dev eth0 root tbf rate 1mbit burst 32kbit latency 400ms")
    try:
        assert "trial" in ssh(lab, "n1", "nft list tables")
        assert "trial" not in ssh(lab, "n2", "nft list tables")
        assert "tbf" not in ssh(lab, "n2", "tc qdisc show dev eth0")
    finally:
        ssh(lab, "n1", "nft delete table inet trial; tc qdisc del dev eth0 root")


def test_another_key_does_not_get_in(lab: Lab, tmp_path: Path) -> None:
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "other")], check=True, timeout=60
    )
    config = tmp_path / "config"
    config.write_text(lab.ssh_config.read_text().replace(f"{lab.directory}/keys/id_ed25519", str(tmp_path / "other")))
    done = subprocess.run(
        ["ssh", "-F", str(config), "n1", "true"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 255
    assert "Permission denied (publickey)" in done.stderr


def test_two_labs_stand_side_by_side(lab: Lab) -> None:
    with Lab.up(2) as other:
        assert ssh(other, "n1", "hostname") == "n1"
        ssh(other, "n1", "touch /tmp/in-the-other-lab")
        assert "No such file" in ssh(lab, "n1", "cat /tmp/in-the-other-lab", check=False)
        assert {lab.directory, other.directory} <= {one.directory for one in running()}


def test_a_directory_with_something_in_it_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("1")
    with pytest.raises(UsageError, match="precious"):
        Lab.up(1, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


@pytest.mark.parametrize(
    ("directory", "says"),
    [
        ("missing/deep", "No such file"),
        ("with space", "OpenSSH config"),
        ("/proc/lab", "No such file"),
        ("/var/lib/lab", "/var/lib"),
    ],
)
def test_a_directory_that_will_not_do_is_refused_with_the_reason(tmp_path: Path, directory: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        Lab.up(1, tmp_path / directory)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("hosts", [0, -1, 51])
def test_an_odd_number_of_hosts_is_refused(hosts: int) -> None:
    with pytest.raises(UsageError, match=str(hosts)):
        Lab.up(hosts)


# --- the commands -----------------------------------------------------------------------------------------------------


def onethrone(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from harness.cli import main; main()", *words],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


def test_a_standing_lab_outlives_the_command_that_made_it_until_it_is_ended(tmp_path: Path) -> None:
    at = str(tmp_path / "lab")
    up = onethrone("lab", "up", "--hosts", "2", "--dir", at, "--json")
    assert up.returncode == 0, up.stderr
    try:
        assert json.loads(up.stdout)["hosts"] == {"n1": "10.42.0.1", "n2": "10.42.0.2"}
        listed = json.loads(onethrone("lab", "list", "--json").stdout)["labs"]
        assert [(one["directory"], one["ephemeral"]) for one in listed if one["directory"] == at] == [(at, False)]
        assert at in onethrone("lab", "list").stdout
        assert onethrone("lab", "shell", "n2", "--dir", at, "hostname").stdout == "n2\n"
        again = onethrone("lab", "up", "--dir", at)
        assert (again.returncode, "a lab is here already" in again.stderr) == (254, True)
        unknown = onethrone("lab", "shell", "n9", "--dir", at)
        assert (unknown.returncode, "n1, n2" in unknown.stderr) == (254, True)
        warden = Lab.open(at).warden_pid
    finally:
        down = onethrone("lab", "down", "--dir", at)
    assert down.returncode == 0, down.stderr
    assert list(tmp_path.iterdir()) == []
    with contextlib.suppress(OSError):  # it has gone altogether
        assert Path(f"/proc/{warden}/cmdline").read_bytes() == b"", "no more than a zombie is left"
    for words in (["down"], ["shell", "n1"]):
        gone = onethrone("lab", *words, "--dir", at)
        assert gone.returncode == 254
        assert "no hosts are up here" in gone.stderr
        assert "Traceback" not in gone.stderr


IN_USE = """
import contextlib, io, os, subprocess, sys, time
from harness.cli.onethrone import main
from harness.hosts.provision import registry
from harness.hosts.ssh.remote import Remote

def onethrone(*words):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(list(words))
        except SystemExit as end:
            print(words[1], end.code, *(out.getvalue() + err.getvalue()).split(), file=sys.__stdout__)

place = sys.argv[1] + "/made"
with registry.hosts_for(registry.parse("lab:1")):
    onethrone("lab", "down")
onethrone("lab", "down")
onethrone("lab", "up", "--hosts", "1", "--dir", place)
with Remote("n1", place + "/ssh_config") as remote:
    remote.connect()
    onethrone("lab", "list")
    onethrone("lab", "down")
    with registry.hosts_for(registry.parse("lab:1")):
        remote.close()
        onethrone("lab", "down")
print(os.path.exists(place))
"""


def test_without_a_directory_only_a_lab_that_nobody_uses_is_ended(tmp_path: Path) -> None:
    """In namespaces of its own: the labs of others on this machine are none of its business."""
    script = f'mount -t sysfs none /sys; exec {sys.executable} -c "$0" {tmp_path}'
    done = subprocess.run(
        isolated(["sh", "-c", script, IN_USE]),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    made_by_a_run, none_up, up, listed, logged_in, beside_one_in_use, there = lines
    me = f"process 1 ({Path(sys.executable).name} -c"
    assert made_by_a_run.startswith("down 254 onethrone: the hosts in /var/tmp/onethrone-lab-")
    assert f"are in use by {me}" in made_by_a_run
    assert "To end them nevertheless: onethrone lab down --dir /var/tmp/onethrone-lab-" in made_by_a_run
    assert none_up.startswith("down 254 onethrone: no hosts are up")
    assert up.startswith(f"up 0 n1 is up in {tmp_path}/made")
    assert listed.startswith(f"list 0 {tmp_path}/made 1 host in use by {me}")
    assert logged_in.startswith(f"down 254 onethrone: the hosts in {tmp_path}/made are in use by {me}")
    assert beside_one_in_use == f"down 0 the hosts in {tmp_path}/made are gone"
    assert there == "False"


# --- nothing is left --------------------------------------------------------------------------------------------------


def isolated(command: list[str]) -> list[str]:
    """Run a command where it sees nothing but what it makes: own processes, mounts, interfaces."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user", "--map-auto"]
    return ["unshare", *user, "--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "--net", *command]


@pytest.mark.parametrize(
    "way",
    [
        "down",
        "return",
        "raise",
        "interrupt",
        "kill the creator",
        "kill the warden",
        "kill the keeper",
        "kill warden and keeper, then down",
        "kill the creator early",
    ],
)
def test_nothing_is_left_of_a_lab_however_it_ends(tmp_path: Path, way: str) -> None:
    program = Path(__file__).with_name("traces.py")
    # As process 1 it waits for orphans at the very end only, like process 1 of many a container.
    script = f"mount -t sysfs none /sys; exec {sys.executable} {program} '{way}' {tmp_path}/at/lab"
    (tmp_path / "at").mkdir()
    done = subprocess.run(
        isolated(["sh", "-c", script]),
        capture_output=True,
        text=True,
        timeout=2 * DEADLINE_S,  # the creator is killed in 17 labs, one after the other
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["during"]["files"] > 0
    if way != "kill the creator early":
        assert result["during"]["processes"] > 4
    assert result["left"] == {"processes": [], "mounts": [], "interfaces": [], "files": []}


# --- without root -----------------------------------------------------------------------------------------------------


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can reach; a copy of pytest that starts closes the one that all copies share."""
    with tempfile.TemporaryDirectory(prefix="onethrone-") as made:
        yield Path(made)


def as_a_user(place: Path, sub_ids: str, program: str) -> subprocess.CompletedProcess[str]:
    """Run a program as a user without root, who exists in that process's view of /etc alone when we are root."""
    for name, line in {"passwd": "labuser:x:4242:4242::/tmp:/bin/sh", "group": "labuser:x:4242:"}.items():
        (place / name).write_text(Path("/etc", name).read_text() + line + "\n")
    for name in ("subuid", "subgid"):
        (place / name).write_text(sub_ids)
    # The repository may be where only root can read.
    shutil.copytree(ROOT / "harness", place / "code" / "harness", ignore=shutil.ignore_patterns("__pycache__"))
    place.chmod(0o755)
    (place / "program.py").write_text(program)
    mounts = "; ".join(
        f"touch /etc/{n}; mount --bind {place}/{n} /etc/{n}" for n in ("passwd", "group", "subuid", "subgid")
    )
    become = (
        "setpriv --reuid 4242 --regid 4242 --clear-groups" if os.geteuid() == 0 else "unshare --user --map-user=4242"
    )
    script = f"{mounts}; cd {place}; exec {become} /usr/bin/python3 {place}/program.py"
    command = ["unshare", "--mount", "sh", "-c", script]
    if os.geteuid() != 0:
        command = ["/usr/bin/python3", f"{place}/program.py"] if sub_ids else ["unshare", "-r", *command[1:]]
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{place}/code",
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": "/tmp",
    }
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
        env=environment,
    )


UNPRIVILEGED = """
import subprocess
from harness.hosts.provision.lab import Lab
with Lab.up(2) as lab:
    def ssh(host, command):
        return subprocess.run(["ssh", "-F", lab.ssh_config, host, command], capture_output=True, text=True, timeout=60)
    print(ssh("n1", "id -un; hostname").stdout.split())
    print(ssh("n1", "nft add table inet trial && nft list tables").stdout.split())
    print(ssh("n1", "touch /root/mine && chown 1000 /root/mine && stat -c %u /root/mine").stdout.split())
    print(ssh("n2", "python3 -c 'import socket; socket.create_connection((\\"n1\\", 1))' 2>&1").stdout.split()[-1:])
print(lab.directory.exists())
"""


def test_a_lab_can_be_made_without_root(open_folder: Path) -> None:
    done = as_a_user(open_folder, "labuser:300000:65536\n", UNPRIVILEGED)
    assert done.stdout.splitlines() == [
        "['root', 'n1']",
        "['table', 'inet', 'trial']",
        "['1000']",
        "['refused']",
        "False",
    ], done.stderr


def test_a_user_without_sub_ids_is_told_what_to_do(open_folder: Path) -> None:
    program = "from harness.hosts.provision.lab import Lab\nfrom harness import UsageError\n"
    program += "try:\n  Lab.up(1)\nexcept UsageError as error:\n  print(error)"
    done = as_a_user(open_folder, "", program)
    assert "subuid" in done.stdout, done.stderr
    assert "usermod --add-subuids" in done.stdout
