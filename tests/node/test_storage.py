"""The disk of a server, and every crash between and within its writes (protocol.md sections 4.2 to 4.4)."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import node.agent.storage
from node.agent.storage import Disk, Storage, StorageEffect, StorageError
from node.protocol.events import AppendTxns, Durable, StoreEpoch, StoreSnapshot, TruncateLog
from node.protocol.messages import Txn
from node.wire.packets import encode_snapshot

EMPTY = Durable(0, 0, 0, b"", ())


def txn(zxid: int, record: bytes = b"record") -> Txn:
    return Txn(zxid, 1, 2, 3, 1, record)


def start(folder: Path, notes: list[str] | None = None) -> tuple[Storage, Durable]:
    storage = Storage(str(folder), lambda level, text: (notes if notes is not None else []).append(text))
    try:
        return storage, storage.load()
    except BaseException:
        storage.close()
        raise


def restart(folder: Path, notes: list[str] | None = None) -> Durable:
    storage, durable = start(folder, notes)
    storage.close()
    return durable


def write(folder: Path, *effects: StorageEffect) -> None:
    storage, _ = start(folder)
    for effect in effects:
        storage.perform(effect)
    storage.close()


def test_a_fresh_server_has_epoch_0_and_writes_both_epoch_files(tmp_path: Path) -> None:
    notes: list[str] = []
    assert restart(tmp_path, notes) == EMPTY
    assert (tmp_path / "version-2/acceptedEpoch").read_bytes() == b"0"
    assert (tmp_path / "version-2/currentEpoch").read_bytes() == b"0"
    assert any("acceptedEpoch not found! Creating with a reasonable default of 0" in note for note in notes)


def test_epoch_files_hold_decimals_without_newline_as_zookeepers(tmp_path: Path) -> None:
    write(tmp_path, StoreEpoch("acceptedEpoch", 15), StoreEpoch("currentEpoch", 15))
    assert (tmp_path / "version-2/acceptedEpoch").read_bytes() == b"15"
    (tmp_path / "version-2/currentEpoch").write_bytes(b"14\n")
    assert restart(tmp_path)[:2] == (15, 14)


def test_what_was_stored_is_there_after_a_restart(tmp_path: Path) -> None:
    snapshot = encode_snapshot({"/a": b"1"})
    effects: list[StorageEffect] = [
        StoreEpoch("acceptedEpoch", 2),
        StoreSnapshot(0x100000005, snapshot),
        StoreEpoch("currentEpoch", 2),
        AppendTxns((txn(0x200000001), txn(0x200000002))),
        AppendTxns((txn(0x200000003),)),
        TruncateLog(0x200000001),
        AppendTxns((txn(0x200000004),)),
    ]
    write(tmp_path, *effects)
    assert restart(tmp_path) == Durable(2, 2, 0x100000005, snapshot, (txn(0x200000001), txn(0x200000004)))


def test_truncation_cuts_within_one_append_and_keeps_the_snapshot(tmp_path: Path) -> None:
    write(tmp_path, StoreEpoch("acceptedEpoch", 1), StoreEpoch("currentEpoch", 1), StoreSnapshot(4, b"snap"))
    write(tmp_path, AppendTxns((txn(5), txn(6), txn(7))), TruncateLog(6))
    assert restart(tmp_path)[2:] == (4, b"snap", (txn(5), txn(6)))
    write(tmp_path, TruncateLog(4))
    assert restart(tmp_path)[2:] == (4, b"snap", ())


@pytest.mark.parametrize(
    ("accepted", "current", "last_zxid", "starts_with"),
    [
        (b"5", b"5", 0x500000001, (5, 5)),
        (b"6", b"4", 0x400000009, (6, 4)),
        (None, b"5", 0x500000001, (5, 5)),
        (b"5", None, 0x500000001, (5, 5)),
        (b"7", None, 0x500000001, (7, 5)),
        (b"5", b"4", 0x500000001, (5, 5)),  # a crash between the log and currentEpoch: ZOOKEEPER-4269
        (b"4", b"4", 0x500000001, "older than the last zxid"),
        (b"4", b"5", 0x400000001, "is less than the current epoch"),
        (None, b"5", 0x400000001, "is less than the current epoch"),
        (b"five", b"5", 0x500000001, "no epoch"),
        (b"", b"5", 0x500000001, "no epoch"),
        (b"--5", b"5", 0x500000001, "'--5' is no epoch"),
        (b"99999999999", b"5", 0x500000001, "'99999999999' is no epoch"),
        (b"2147483648", b"5", 0x500000001, "no epoch"),
        (b"-5", b"5", 0x500000001, "no epoch"),
        (b"5", b"5 \x1b[0m", 0x500000001, r"no epoch"),
        (b"5", b"9" * 30, 0x500000001, "no epoch"),
    ],
)
def test_epochs_are_checked_at_load_as_section_4_4_says(
    tmp_path: Path, accepted: bytes | None, current: bytes | None, last_zxid: int, starts_with: Any
) -> None:
    write(tmp_path, AppendTxns((txn(1),)), StoreEpoch("acceptedEpoch", 9), AppendTxns((txn(last_zxid),)))
    for name, content in (("acceptedEpoch", accepted), ("currentEpoch", current)):
        path = tmp_path / "version-2" / name
        path.unlink() if content is None else path.write_bytes(content)
    if isinstance(starts_with, tuple):
        assert restart(tmp_path)[:2] == starts_with
        assert restart(tmp_path)[:2] == starts_with
    else:
        with pytest.raises(StorageError, match=starts_with) as caught:
            restart(tmp_path)
        assert Path(caught.value.file).parent == tmp_path / "version-2"


def test_every_cut_of_the_last_append_is_repaired_and_said(tmp_path: Path) -> None:
    write(tmp_path, AppendTxns((txn(1), txn(2))))
    log = tmp_path / "version-2/txnlog"
    whole = len(log.read_bytes())
    write(tmp_path, AppendTxns((txn(3), txn(4))))
    data = log.read_bytes()
    for size in range(whole, len(data)):
        for tail in (b"", bytes(len(data) - size)):  # the file may have got its size before its bytes
            log.write_bytes(data[:size] + tail)
            notes: list[str] = []
            assert restart(tmp_path, notes).log == (txn(1), txn(2))
            assert log.read_bytes() == data[:whole]
            assert [note for note in notes if "torn" in note] or data[:size] + tail == data[:whole]
    write(tmp_path, AppendTxns((txn(5),)))
    assert restart(tmp_path).log == (txn(1), txn(2), txn(5))


def test_any_changed_byte_before_the_last_record_is_refused_with_file_and_offset(tmp_path: Path) -> None:
    write(tmp_path, AppendTxns((txn(1),)))
    log = tmp_path / "version-2/txnlog"
    first_ends = len(log.read_bytes())
    write(tmp_path, AppendTxns((txn(2),)), AppendTxns((txn(3),)))
    data = log.read_bytes()
    for at in range(first_ends):
        log.write_bytes(data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1 :])
        with pytest.raises(StorageError, match=f"damaged at offset {0 if at < 19 else 19}") as caught:
            restart(tmp_path)
        assert caught.value.file == str(log)
        assert log.stat().st_size == len(data)


def test_a_folder_that_zookeeper_wrote_is_refused(tmp_path: Path) -> None:
    (tmp_path / "version-2").mkdir()
    (tmp_path / "version-2/log.100000001").write_bytes(b"ZKLG")
    with pytest.raises(StorageError, match="written by ZooKeeper"):
        restart(tmp_path)


def test_a_folder_in_use_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node.agent.storage, "_LOCK_WAIT_S", 0.05)
    storage, _ = start(tmp_path)
    with pytest.raises(StorageError, match="another server is running"):
        restart(tmp_path)
    storage.close()
    assert restart(tmp_path) == EMPTY


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="Not a directory"):
        restart(tmp_path / "file")


# ---- crashes -----------------------------------------------------------------------------------------------------


class Crash(BaseException):
    """The power goes."""


class CrashingOs:
    """The `os` module until its n-th change of a file, where the power goes.

    `torn` is the share of the last write that reaches the disk.  With `lose_unsynced`, what was written before and not
    synced is lost, and so is a rename whose folder was not: the operating system may keep both in memory until then.
    """

    def __init__(self, crash_at: int, torn: float, lose_unsynced: bool) -> None:
        self.left = crash_at
        self.torn = torn
        self.lose_unsynced = lose_unsynced
        self.synced_size: dict[str, int] = {}
        self.renamed: list[tuple[str, str, bytes | None, bytes]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def _step(self) -> bool:
        self.left -= 1
        return self.left < 0

    def _crash(self) -> None:
        if self.lose_unsynced:
            for path, size in self.synced_size.items():
                os.truncate(path, size)
            for source, target, before, content in reversed(self.renamed):
                Path(source).write_bytes(content)
                Path(target).unlink() if before is None else Path(target).write_bytes(before)
        raise Crash

    def write(self, fd: int, data: bytes) -> int:
        if self._step():
            os.write(fd, bytes(data)[: int(len(data) * self.torn)])
            self._crash()
        self.synced_size.setdefault(os.readlink(f"/proc/self/fd/{fd}"), os.fstat(fd).st_size)
        return os.write(fd, data)

    def rename(self, source: str, target: str) -> None:
        if self._step():
            self._crash()
        before = Path(target).read_bytes() if os.path.exists(target) else None
        self.renamed.append((source, target, before, Path(source).read_bytes()))
        if source in self.synced_size:
            self.synced_size[target] = self.synced_size.pop(source)
        os.rename(source, target)

    def fsync(self, fd: int) -> None:
        if self._step():
            self._crash()
        os.fsync(fd)
        self.synced_size.pop(os.readlink(f"/proc/self/fd/{fd}"), None)
        if os.path.isdir(f"/proc/self/fd/{fd}"):
            self.renamed.clear()

    def fdatasync(self, fd: int) -> None:
        if self._step():
            self._crash()
        os.fdatasync(fd)
        self.synced_size.pop(os.readlink(f"/proc/self/fd/{fd}"), None)


LIFE: list[StorageEffect] = [
    StoreEpoch("acceptedEpoch", 1),
    StoreEpoch("currentEpoch", 1),
    AppendTxns((txn(0x100000001), txn(0x100000002))),
    AppendTxns((txn(0x100000003),)),
    StoreEpoch("acceptedEpoch", 2),
    TruncateLog(0x100000002),
    AppendTxns((txn(0x200000001), txn(0x200000002))),  # synchronised by the leader of 2 ...
    StoreEpoch("currentEpoch", 2),  # ... and only then said
    StoreEpoch("acceptedEpoch", 3),
    StoreSnapshot(0x300000001, b"a whole database"),
    AppendTxns((txn(0x300000002),)),
    StoreEpoch("currentEpoch", 3),
    AppendTxns((txn(0x300000003),)),
    StoreSnapshot(0x300000002, b"the older part of the log", (txn(0x300000003), txn(0x300000004))),
    AppendTxns((txn(0x300000005),)),
]


def live(folder: Path, monkeypatch: pytest.MonkeyPatch, crash: tuple[int, float, bool]) -> tuple[int, bool]:
    """Runs LIFE until the crash; how many of its effects were done, and whether it came to its end."""
    done = -1
    with monkeypatch.context() as patch:
        patch.setattr(node.agent.storage, "os", CrashingOs(*crash))
        storage = Storage(str(folder), lambda level, text: None)
        try:
            storage.load()
            for done, effect in enumerate(LIFE):  # noqa: B007 - it is looked at when the crash comes
                storage.perform(effect)
            return len(LIFE), True
        except Crash:
            return max(done, 0), False
        finally:
            storage.close()


def test_a_crash_at_any_instant_leaves_what_was_said_to_be_done_and_nothing_but_what_was_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every prefix of the file operations, the last one whole, torn or undone; then a restart, and on to the end."""
    states = []
    disk = Disk(EMPTY)
    states.append(disk.load())
    for effect in LIFE:
        disk.perform(effect)
        states.append(disk.load())
    folder = tmp_path / "server"
    for torn, lose_unsynced in ((0.0, False), (0.4, True), (1.0, True), (1.0, False)):
        crashed_in, complete = set(), False
        for crash_at in range(200):
            done, complete = live(folder, monkeypatch, (crash_at, torn, lose_unsynced))
            crashed_in.add(done)
            found = restart(folder)
            assert found in states[done : done + 2], (crash_at, torn, lose_unsynced, done, found)
            write(folder, *LIFE[states.index(found, done) :])
            assert restart(folder) == states[-1]
            shutil.rmtree(folder)
            if complete:
                break
        assert complete, "the crashes did not reach the end of the life"
        assert crashed_in == set(range(len(LIFE) + 1))


def test_a_crash_during_the_repair_of_a_crash_is_repaired_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, *LIFE[:7])  # the log is of epoch 2, currentEpoch still 1
    with (tmp_path / "version-2/txnlog").open("ab") as file:
        file.write(b"\0\0\0torn")
    for crash_at in range(8):
        copy = tmp_path / "copy"
        shutil.copytree(tmp_path / "version-2", copy / "version-2")
        with monkeypatch.context() as patch:
            patch.setattr(node.agent.storage, "os", CrashingOs(crash_at, 0.5, True))
            storage = Storage(str(copy), lambda level, text: None)
            try:
                storage.load()
            except Crash:
                pass
            finally:
                storage.close()
        assert restart(copy)[:2] == (2, 2)
        shutil.rmtree(copy)


TXNS = st.builds(txn, st.integers(1, 40), st.binary(max_size=5))
EFFECTS = st.one_of(
    st.builds(AppendTxns, st.lists(TXNS, max_size=3).map(tuple)),
    st.builds(TruncateLog, st.integers(0, 40)),
    st.builds(
        StoreSnapshot,
        st.integers(0, 40),
        st.binary(min_size=1, max_size=9),
        st.lists(TXNS, max_size=3).map(tuple),
    ),
)


@given(effects=st.lists(EFFECTS, max_size=8))
def test_files_hold_what_the_model_without_files_holds(
    tmp_path_factory: pytest.TempPathFactory, effects: list[StorageEffect]
) -> None:
    folder = tmp_path_factory.mktemp("server")
    disk = Disk(EMPTY)
    for effect in effects:
        disk.perform(effect)
    write(folder, *effects)
    assert restart(folder) == disk.load()
    shutil.rmtree(folder)
