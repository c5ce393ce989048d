"""What a server keeps on its disk, and what a crash may leave there.

Everything lies in `<dataDir>/version-2/`:

    acceptedEpoch, currentEpoch    decimal ASCII without newline, as ZooKeeper writes them
    txnlog                         the state that the log starts from, and every transaction since; a format of our own

txnlog is the line "onethrone txnlog 1\\n" and then records.  A record is

    uint32 length of the payload | uint32 CRC-32 of the payload | uint32 CRC-32 of the eight bytes before | payload

and a payload is "S" + int64 zxid + a snapshot stream (only as the first record), or "T" and transactions, each as
uint32 length and the data of a PROPOSAL.  All the transactions of one `AppendTxns` are one record: they are there
together or not at all.

Crash rules.

1.  A file is replaced by writing `<name>.tmp`, fsync of it, rename, fsync of the folder.  A `.tmp` that is found at a
    start was never said to be done, and is removed.  This holds for epochs, `StoreSnapshot` and `TruncateLog`.
2.  A record is appended in one write and one fsync.  A bad record at the end, after which no record begins, is a write
    that a crash has torn: it was never said to be done, and is cut off, with a log line.
3.  A bad record with a record after it is damage: the server refuses to start, and names the file and the offset.
4.  At a start the epochs are checked as QuorumPeer.loadDataBase does (protocol section 4.4), where e is the epoch of
    the last zxid.  A missing epoch file is written with e.  currentEpoch < e happens when a crash falls between the
    transactions that a new leader sent and the epoch that is stored after them.  ZooKeeper then trusts currentEpoch.tmp
    where it exists, and else refuses to start (ZOOKEEPER-4269).  Here e is taken wherever acceptedEpoch >= e: a server
    that logged a transaction of e, logged all that the leader of e had synchronised before it, so its history is that
    of e.  Whatever else does not fit is refused.

Example: a crash in `AppendTxns` after `StoreEpoch("acceptedEpoch", 5)` leaves acceptedEpoch "5" and a txnlog with half
a record; the next start cuts that half off and votes with the zxid before it.
"""

from __future__ import annotations

import fcntl
import os
import struct
import time
import zlib
from typing import Callable, Dict, List, NamedTuple, Optional, Tuple, Union

from node.properties import INT, number, quoted
from node.protocol.events import AppendTxns, Durable, StoreEpoch, StoreSnapshot, TruncateLog
from node.protocol.messages import Txn
from node.wire.jute import WireError
from node.wire.packets import decode_txn, encode_txn

ACCEPTED, CURRENT, LOG = "acceptedEpoch", "currentEpoch", "txnlog"
StorageEffect = Union[StoreEpoch, AppendTxns, TruncateLog, StoreSnapshot]
STORAGE_EFFECTS = (StoreEpoch, AppendTxns, TruncateLog, StoreSnapshot)

_MAGIC = b"onethrone txnlog 1\n"
_HEADER = struct.Struct(">III")
_LOCK_WAIT_S = 5.0


class StorageError(Exception):
    """A file of this server is wrong or cannot be written: which one (`file`), why (`problem`), what to do."""

    def __init__(self, file: str, problem: str, remedy: str) -> None:
        super().__init__("%s: %s; %s" % (file, problem, remedy))
        self.file, self.problem, self.remedy = file, problem, remedy


class Repaired(NamedTuple):
    accepted_epoch: int
    current_epoch: int
    notes: Tuple[str, ...]


def repair_epochs(folder: str, accepted: Optional[int], current: Optional[int], last_zxid: int) -> Repaired:
    """The epochs that a server starts with (crash rule 4), from what its files hold (None: missing)."""
    epoch = last_zxid >> 32
    notes: List[str] = []
    for name, value in ((CURRENT, current), (ACCEPTED, accepted)):
        if value is None:
            notes.append("%s not found! Creating with a reasonable default of %d." % (name, epoch))
    accepted = epoch if accepted is None else accepted
    current = epoch if current is None else current
    if epoch > current:
        if accepted < epoch:
            raise StorageError(
                os.path.join(folder, CURRENT),
                "The current epoch, %d, is older than the last zxid, 0x%x" % (current, last_zxid),
                "restore the folder from a copy, or empty it to let this server join anew",
            )
        notes.append("currentEpoch %d is behind the log: set to %d, the epoch of the last zxid" % (current, epoch))
        current = epoch
    if accepted < current:
        raise StorageError(
            os.path.join(folder, ACCEPTED),
            "The accepted epoch, %d is less than the current epoch, %d" % (accepted, current),
            "restore the folder from a copy, or empty it to let this server join anew",
        )
    return Repaired(accepted, current, tuple(notes))


class Storage:
    """The folder of one server, which it holds locked.  `log(level, text)` is told of every repair."""

    def __init__(self, data_dir: str, log: Callable[[str, str], None]) -> None:
        self.folder = os.path.join(data_dir, "version-2")
        self._log = log
        self._fd = -1
        try:
            os.makedirs(self.folder, exist_ok=True)
            self._folder_fd = os.open(self.folder, os.O_RDONLY)
        except OSError as error:
            raise StorageError(self.folder, str(error.strerror), "make it a folder that this user can write") from None
        self._lock()

    def close(self) -> None:
        for fd in (self._fd, self._folder_fd):
            if fd >= 0:
                os.close(fd)
        self._fd = self._folder_fd = -1

    def load(self) -> Durable:
        """Repairs what a crash left and returns what there is; `StorageError` where that would be a guess."""
        for name in sorted(os.listdir(self.folder)):
            if name.startswith(("log.", "snapshot.")):
                problem, remedy = (
                    "it was written by ZooKeeper, whose log this server does not read",
                    "use another dataDir",
                )
                raise StorageError(self._path(name), problem, remedy)
            if name.endswith(".tmp"):
                self._log("WARN", "%s: left by a crash, removed" % self._path(name))
                os.unlink(self._path(name))
        if not os.path.exists(self._path(LOG)):
            self._replace(LOG, _MAGIC)
        snapshot_zxid, snapshot, txns = self._load_log()
        found = {name: self._read_epoch(name) for name in (ACCEPTED, CURRENT)}
        last_zxid = txns[-1].zxid if txns else snapshot_zxid
        repaired = repair_epochs(self.folder, found[ACCEPTED], found[CURRENT], last_zxid)
        for note in repaired.notes:
            self._log("WARN", note)
        for name, epoch in ((ACCEPTED, repaired.accepted_epoch), (CURRENT, repaired.current_epoch)):
            if found[name] != epoch:
                self._replace(name, b"%d" % epoch)
        return Durable(repaired.accepted_epoch, repaired.current_epoch, snapshot_zxid, snapshot, tuple(txns))

    def perform(self, effect: StorageEffect) -> None:
        """Carries the effect out; on return it is durable.  After an `OSError` it may be, or not: stop."""
        if isinstance(effect, StoreEpoch):
            self._replace(effect.name, b"%d" % effect.epoch)
        elif isinstance(effect, AppendTxns):
            if effect.txns:
                self._append(_record(_pack_txns(effect.txns)))
        elif isinstance(effect, TruncateLog):
            zxid, snapshot, txns = self._load_log()
            self._replace_log(zxid, snapshot, [txn for txn in txns if txn.zxid <= effect.zxid])
        else:
            self._replace_log(effect.zxid, effect.stream, list(effect.txns))

    # ---- files ---------------------------------------------------------------------------------------------------

    def _path(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def _lock(self) -> None:
        """One server for each folder.  A server that was just killed may take a moment to let go."""
        deadline = time.monotonic() + _LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(self._folder_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except OSError:
                if time.monotonic() > deadline:
                    self.close()
                    remedy = "stop it, or use another dataDir"
                    raise StorageError(self.folder, "another server is running on it", remedy) from None
                time.sleep(0.02)

    def _replace(self, name: str, content: bytes) -> None:
        temporary = self._path(name + ".tmp")
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            _write(fd, content)
            os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(temporary, self._path(name))
        os.fsync(self._folder_fd)

    def _replace_log(self, zxid: int, snapshot: bytes, txns: List[Txn]) -> None:
        content = _MAGIC
        if snapshot or zxid:
            content += _record(b"S" + struct.pack(">q", zxid) + snapshot)
        if txns:
            content += _record(_pack_txns(tuple(txns)))
        self._replace(LOG, content)
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _append(self, data: bytes) -> None:
        if self._fd < 0:
            self._fd = os.open(self._path(LOG), os.O_WRONLY | os.O_APPEND)
        _write(self._fd, data)
        os.fdatasync(self._fd)

    def _read_epoch(self, name: str) -> Optional[int]:
        try:
            with open(self._path(name), "rb") as file:
                text = file.readline(64).decode("latin-1").rstrip("\r\n")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(self._path(name), str(error.strerror), "make it a file that can be read") from None
        epoch = number(text, INT)
        if epoch is None or epoch < 0:
            problem = "%s is no epoch from 0 to 2^31-1" % quoted(text)
            raise StorageError(self._path(name), problem, "restore the folder from a copy, or empty it")
        return epoch

    def _load_log(self) -> Tuple[int, bytes, List[Txn]]:
        path = self._path(LOG)
        try:
            with open(path, "rb") as file:
                data = file.read()
        except OSError as error:
            raise StorageError(path, str(error.strerror), "make it a file that can be read") from None
        remedy = "restore the folder from a copy, or empty it to let this server join anew"
        if not data.startswith(_MAGIC):
            raise StorageError(path, "damaged at offset 0: this is no transaction log", remedy)
        zxid, snapshot, txns = 0, b"", []  # type: int, bytes, List[Txn]
        offset = len(_MAGIC)
        while offset < len(data):
            payload = _payload(data, offset)
            if payload is None:
                if _record_follows(data, offset + 1):
                    raise StorageError(path, "damaged at offset %d, and records follow" % offset, remedy)
                self._log("WARN", "%s: cut at offset %d of %d, where a write was torn" % (path, offset, len(data)))
                os.truncate(path, offset)
                self._sync(path)
                break
            try:
                if payload[:1] == b"S" and offset == len(_MAGIC) and len(payload) >= 9:
                    zxid, snapshot = struct.unpack_from(">q", payload, 1)[0], payload[9:]
                elif payload[:1] == b"T":
                    txns += _unpack_txns(payload)
                else:
                    raise WireError("record of an unknown kind")
            except WireError as error:
                raise StorageError(path, "damaged at offset %d: %s" % (offset, error), remedy) from None
            offset += _HEADER.size + len(payload)
        return zxid, snapshot, txns

    def _sync(self, path: str) -> None:
        fd = os.open(path, os.O_WRONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _write(fd: int, data: bytes) -> None:
    """All of it, or OSError: a full disk shows as a short write first."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _record(payload: bytes) -> bytes:
    head = struct.pack(">II", len(payload), zlib.crc32(payload))
    return head + struct.pack(">I", zlib.crc32(head)) + payload


def _payload(data: bytes, offset: int) -> Optional[bytes]:
    """The payload of the record at `offset`; None where there is no whole and undamaged one."""
    if len(data) - offset < _HEADER.size:
        return None
    length, crc, head_crc = _HEADER.unpack_from(data, offset)
    if zlib.crc32(data[offset : offset + 8]) != head_crc:
        return None
    payload = data[offset + _HEADER.size : offset + _HEADER.size + length]
    return payload if len(payload) == length and zlib.crc32(payload) == crc else None


def _record_follows(data: bytes, offset: int) -> bool:
    return any(_payload(data, at) is not None for at in range(offset, len(data) - _HEADER.size + 1))


def _pack_txns(txns: Tuple[Txn, ...]) -> bytes:
    encoded = [encode_txn(txn) for txn in txns]
    return b"T" + b"".join(struct.pack(">I", len(data)) + data for data in encoded)


def _unpack_txns(payload: bytes) -> List[Txn]:
    txns, at = [], 1
    while at < len(payload):
        if at + 4 > len(payload):
            raise WireError("a transaction's length is cut")
        end = at + 4 + int.from_bytes(payload[at : at + 4], "big")
        if end > len(payload):
            raise WireError("a transaction is cut")
        txns.append(decode_txn(payload[at + 4 : end]))
        at = end
    return txns


class Disk:
    """What the files hold, without files: the same effects, the same repairs.  For simulator and replayer."""

    def __init__(self, durable: Durable) -> None:
        self.epochs: Dict[str, int] = {ACCEPTED: durable.accepted_epoch, CURRENT: durable.current_epoch}
        self.snapshot_zxid = durable.snapshot_zxid
        self.snapshot = durable.snapshot
        self.log: List[Txn] = list(durable.log)

    def perform(self, effect: StorageEffect) -> None:
        if isinstance(effect, StoreEpoch):
            self.epochs[effect.name] = effect.epoch
        elif isinstance(effect, AppendTxns):
            self.log.extend(effect.txns)
        elif isinstance(effect, TruncateLog):
            self.log = [txn for txn in self.log if txn.zxid <= effect.zxid]
        else:
            self.snapshot_zxid, self.snapshot, self.log = effect.zxid, effect.stream, list(effect.txns)

    def copy(self) -> Disk:
        twin = Disk(Durable(0, 0, self.snapshot_zxid, self.snapshot, tuple(self.log)))
        twin.epochs = dict(self.epochs)
        return twin

    def load(self) -> Durable:
        """What a server would find if it started now; `StorageError` as `Storage.load`.  Changes nothing."""
        last_zxid = self.log[-1].zxid if self.log else self.snapshot_zxid
        repaired = repair_epochs("", self.epochs[ACCEPTED], self.epochs[CURRENT], last_zxid)
        return Durable(
            repaired.accepted_epoch, repaired.current_epoch, self.snapshot_zxid, self.snapshot, tuple(self.log)
        )
