"""A recording on this side: its id on machines, its digest, and its bytes as a request body.

What belongs here: reading recordings from CLIENT_VOLUME, piece by piece and in threads. What does not: HTTP, and which
machine it goes to.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cofi_resources.errors import PermanentError, UnreadableAudio

CHUNK_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class LocalAudio:
    """A recording on CLIENT_VOLUME. `sha256` and `duration_s` are known once it was placed; 0.0 is unknown."""

    call_id: int
    path: Path
    name: str
    sha256: str | None = None
    duration_s: float = 0.0

    @property
    def file_id(self) -> str:
        """Its id on every machine, derived from call and content: there is nothing to remember."""
        if self.sha256 is None:
            raise ValueError(f"{self.name} has not been hashed")
        return f"c{self.call_id}-{self.sha256[:16]}"


@dataclass(frozen=True, slots=True)
class Contents:
    """What is in a file now."""

    size_bytes: int
    sha256: str


async def read_contents(audio: LocalAudio) -> Contents:
    """Size and SHA-256 of a recording as it lies on the disk.

    Raises PermanentError if it cannot be read or is not the content that `audio.sha256` names, UnreadableAudio if it
    is empty.
    """
    try:
        contents = await asyncio.to_thread(_hash, audio.path)
    except OSError as error:
        raise cannot_read(audio.name, error) from error
    if contents.size_bytes == 0:
        raise UnreadableAudio(f"{audio.name} is empty: record or copy it again")
    if audio.sha256 not in (None, contents.sha256):
        raise changed(audio.name)
    return contents


class FileBody:
    """A request body read from disk; after a failure, `fault` says if the file was the reason.

    Sends exactly the bytes that were hashed: a file that grows, shrinks or changes under way is a fault of the file.
    """

    def __init__(self, audio: LocalAudio, contents: Contents) -> None:
        self.fault: PermanentError | None = None
        self._audio = audio
        self._contents = contents

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left, digest = self._contents.size_bytes, hashlib.sha256()
        try:
            file, chunk = await asyncio.to_thread(_open, self._audio.path, min(left, CHUNK_BYTES))
            try:
                while chunk:
                    left -= len(chunk)
                    digest.update(chunk)
                    yield chunk
                    chunk = await asyncio.to_thread(file.read, min(left, CHUNK_BYTES)) if left else b""
            finally:
                file.close()
        except OSError as error:
            self.fault = cannot_read(self._audio.name, error)
            raise self.fault from error
        if left or digest.hexdigest() != self._contents.sha256:
            self.fault = changed(self._audio.name)
            raise self.fault


def cannot_read(name: str, error: OSError) -> PermanentError:
    return PermanentError(f"{name} cannot be read: {error.strerror}; was it moved, removed, or made unreadable?")


def changed(name: str) -> PermanentError:
    return PermanentError(f"{name} is not what it was when it was registered: leave recordings alone once they are in")


def _open(path: Path, size_bytes: int) -> tuple[BinaryIO, bytes]:
    """The open file and its first bytes: most recordings take one trip to a thread."""
    file = path.open("rb")
    try:
        return file, file.read(size_bytes)
    except OSError:
        file.close()
        raise


def _hash(path: Path) -> Contents:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return Contents(file.tell(), digest)
