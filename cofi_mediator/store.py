"""Recordings on this machine's disk: landing whole or not at all, staying while in use, leaving when room is short.

What belongs here: files, their metadata, leases and eviction. What does not: HTTP (`uploads.py`), decoding.
Layout under the home folder: `audio/<id>.bin` the bytes, `meta/<id>.json` what is known of them, `partial/` files that
are being written; whatever lies there at the start is a leftover and is removed.
*Decision:* the bytes are renamed into place before their metadata, and a file counts only with both: a crash in
between leaves nothing that could be taken for a recording.
*Decision:* over its limit the store removes what was used longest ago, never a file with a lease. The orchestrator
keeps every recording and sends it again when told 404.
"""

import errno
import json
import logging
import os
import shutil
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from cofi_mediator.errors import DigestMismatch, DiskFull, UnknownFile
from cofi_resources.mediators.protocol import FileStore as FileStoreStatus

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StoredRecording:
    """A recording as it lies on disk; `sha256` in hex."""

    file_id: str
    bytes: int
    sha256: str
    duration_s: float


class FileStore:
    """The recordings of one mediator. Safe to use from several threads; all but `get` block on disk."""

    def __init__(self, home: Path, limit_bytes: int) -> None:
        self._audio, self._meta, self._partial = (home / name for name in ("audio", "meta", "partial"))
        self._limit_bytes = limit_bytes
        self._entries: dict[str, StoredRecording] = {}  # least recently used first
        self._leases: Counter[str] = Counter()
        self._bytes = 0
        self._lock = threading.Lock()

    def open(self) -> None:
        """Takes up what an earlier process left, oldest first, and removes what it left unfinished."""
        for folder in (self._audio, self._meta, self._partial):
            folder.mkdir(parents=True, exist_ok=True)
        for leftover in self._partial.iterdir():
            leftover.unlink()
        for path in sorted(self._audio.iterdir(), key=lambda path: path.stat().st_mtime):
            entry = self._described(path)
            if entry is None:
                log.warning("removing %s: it has no metadata, or another size", path.name)
                path.unlink()
                self._meta_path(path.name.removesuffix(".bin")).unlink(missing_ok=True)
            else:
                self._entries[entry.file_id] = entry
                self._bytes += entry.bytes

    def get(self, file_id: str) -> StoredRecording | None:
        with self._lock:
            return self._entries.get(file_id)

    @contextmanager
    def lease(self, file_id: str) -> Iterator[Path]:
        """Where the file lies; it stays there within the context. Raises UnknownFile."""
        with self._lock:
            if file_id not in self._entries:
                raise UnknownFile(f"{file_id} is not stored here: upload it again")
            self._leases[file_id] += 1
            self._entries[file_id] = self._entries.pop(file_id)
        try:
            yield self._audio_path(file_id)
        finally:
            with self._lock:
                self._leases[file_id] -= 1
                if not self._leases[file_id]:
                    del self._leases[file_id]

    def new_partial(self) -> Path:
        """A path to write a file to before it is committed. Whoever takes it removes it when it is not."""
        return self._partial / uuid.uuid4().hex

    def check_room(self, size: int) -> None:
        """Raises DiskFull when a file of `size` bytes cannot be stored even after eviction."""
        with self._lock:
            evictable = sum(entry.bytes for entry in self._entries.values() if not self._leases[entry.file_id])
            kept = self._bytes - evictable
        if kept + size > self._limit_bytes:
            raise DiskFull(f"{size} bytes do not fit: {kept} of {self._limit_bytes} bytes are in use", retry_after_s=30)
        if size > shutil.disk_usage(self._partial).free + evictable:
            raise DiskFull(f"{size} bytes do not fit on the disk of this machine")

    def commit(
        self, written: Path, recording: StoredRecording, *, replace: bool = False
    ) -> tuple[StoredRecording, bool]:
        """Puts a written file in place; returns what is stored and whether it is new.

        Other bytes under the same id raise DigestMismatch (409), unless `replace`. Raises DiskFull.
        """
        with self._lock, disk_full_explained():
            stored = self._entries.get(recording.file_id)
            if stored is not None and stored.sha256 == recording.sha256:
                written.unlink()
                return stored, False
            if stored is not None and not replace:
                raise DigestMismatch(f"other bytes are stored under {recording.file_id}", status=409)
            self._make_room(recording)
            self._land(written, recording)
            if stored is not None:
                self._bytes -= stored.bytes
                del self._entries[recording.file_id]
            self._entries[recording.file_id] = recording
            self._bytes += recording.bytes
            return recording, True

    def delete(self, file_id: str) -> None:
        """Removes a file; a stage that has it open still reads it to its end. Nothing happens when it is not there."""
        with self._lock:
            self._remove(file_id)

    def status(self) -> FileStoreStatus:
        with self._lock:
            count, used = len(self._entries), self._bytes
        free = min(shutil.disk_usage(self._audio).free, max(0, self._limit_bytes - used))
        return FileStoreStatus(count=count, bytes=used, free_bytes=free)

    def _make_room(self, recording: StoredRecording) -> None:
        for file_id in list(self._entries):
            short = self._bytes + recording.bytes > self._limit_bytes
            if short and not self._leases[file_id] and file_id != recording.file_id:
                log.info("removing %s to make room", file_id)
                self._remove(file_id)
        if self._bytes + recording.bytes > self._limit_bytes:
            raise DiskFull(f"every recording stored here is in use, and {recording.file_id} does not fit beside them")

    def _land(self, written: Path, recording: StoredRecording) -> None:
        meta = self.new_partial()
        with meta.open("w", encoding="utf-8") as file:
            json.dump(asdict(recording), file)
            file.flush()
            os.fsync(file.fileno())
        self._meta_path(recording.file_id).unlink(missing_ok=True)
        written.rename(self._audio_path(recording.file_id))
        meta.rename(self._meta_path(recording.file_id))
        for folder in (self._audio, self._meta):
            _sync_folder(folder)

    def _remove(self, file_id: str) -> None:
        entry = self._entries.pop(file_id, None)
        if entry is not None:
            self._bytes -= entry.bytes
            self._meta_path(file_id).unlink(missing_ok=True)
            self._audio_path(file_id).unlink(missing_ok=True)

    def _described(self, path: Path) -> StoredRecording | None:
        try:
            entry = StoredRecording(**json.loads(self._meta_path(path.name.removesuffix(".bin")).read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        return entry if entry.bytes == path.stat().st_size else None

    # The suffixes keep the ids "." and ".." from being folders.
    def _audio_path(self, file_id: str) -> Path:
        return self._audio / f"{file_id}.bin"

    def _meta_path(self, file_id: str) -> Path:
        return self._meta / f"{file_id}.json"


@contextmanager
def disk_full_explained() -> Iterator[None]:
    """Turns the operating system's "no space left" into DiskFull."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull("the disk of this machine is full") from error
        raise


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
