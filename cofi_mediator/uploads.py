"""Receiving a recording: bounded, digested while it arrives, checked to be audio, and only then stored.

What belongs here: one upload. What does not: where files lie (`store.py`), routes (`app.py`).
A broken upload, of whatever kind, leaves nothing.
"""

import asyncio
import base64
import binascii
import hashlib
import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote

from starlette.requests import Request

from cofi_mediator.audio import examine
from cofi_mediator.errors import DigestMismatch, InvalidRequest, TooLarge
from cofi_mediator.store import FileStore, StoredRecording, disk_full_explained

DIGEST = re.compile(r"(?:^|,)\s*sha-256=:([A-Za-z0-9+/=]+):\s*(?:,|$)")
WRITE_BYTES = 1 << 20

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class UploadLimits:
    max_bytes: int
    stall_timeout_s: float


async def receive(
    request: Request, store: FileStore, file_id: str, limits: UploadLimits
) -> tuple[StoredRecording, bool]:
    """The recording in the request's body, stored; and whether it is new here.

    Raises InvalidRequest, DigestMismatch, TooLarge, DiskFull, UnsupportedMedia or UnreadableAudio.
    """
    expected = parse_digest(request.headers.get("content-digest"))
    _check_announced_size(request, limits)
    stored = store.get(file_id)
    announced = int(request.headers.get("content-length", 0))
    if stored is None:
        await asyncio.to_thread(store.check_room, announced)
    partial = store.new_partial()
    try:
        size, digest = await _write(request, partial, limits, keep=stored is None)
        if digest != expected:
            raise DigestMismatch(f"the body of {file_id} has SHA-256 {digest}, Content-Digest says {expected}")
        if stored is not None:
            if stored.sha256 != digest:
                raise DigestMismatch(f"other bytes are stored under {file_id}", status=409)
            return stored, False
        recording, created = await asyncio.to_thread(_accept, store, partial, file_id, size, digest)
    finally:
        await asyncio.to_thread(partial.unlink, True)
    name = unquote(request.headers.get("x-file-name", ""))
    log.info("stored %s (%r), %.1f s, %d bytes", file_id, name[:200], recording.duration_s, size)
    return recording, created


def parse_digest(header: str | None) -> str:
    """The SHA-256, in hex, of a Content-Digest header (RFC 9530). Raises InvalidRequest (400)."""
    match = DIGEST.search(header or "")
    if match is None:
        raise InvalidRequest("Content-Digest must be given as sha-256=:<base64>:", status=400)
    try:
        digest = base64.b64decode(match.group(1), validate=True)
    except binascii.Error:
        digest = b""
    if len(digest) != hashlib.sha256().digest_size:
        raise InvalidRequest("Content-Digest holds no SHA-256 in base64", status=400)
    return digest.hex()


def format_digest(sha256: str) -> str:
    return f"sha-256=:{base64.b64encode(bytes.fromhex(sha256)).decode('ascii')}:"


def _check_announced_size(request: Request, limits: UploadLimits) -> None:
    if int(request.headers.get("content-length", 0)) > limits.max_bytes:
        raise TooLarge(f"the file is larger than {limits.max_bytes} bytes")


async def _write(request: Request, path: Path, limits: UploadLimits, *, keep: bool) -> tuple[int, str]:
    """Writes the body, or only digests it; returns its size and SHA-256. Writes and digests in a thread."""
    digest = hashlib.sha256()
    chunks = aiter(request.stream())
    size, block, more = 0, bytearray(), True
    with disk_full_explained():
        file = await asyncio.to_thread(path.open, "wb")
        try:
            while more:
                try:
                    async with asyncio.timeout(limits.stall_timeout_s):
                        block += await anext(chunks)
                except StopAsyncIteration:
                    more = False
                except TimeoutError:
                    raise InvalidRequest("the upload stood still", status=400) from None
                if size + len(block) > limits.max_bytes:
                    raise TooLarge(f"the file is larger than {limits.max_bytes} bytes")
                if len(block) >= WRITE_BYTES or not more:
                    await asyncio.to_thread(_take, bytes(block), digest, file if keep else None)
                    size += len(block)
                    block.clear()
            await asyncio.to_thread(_flush, file)
        finally:
            await asyncio.to_thread(file.close)
    return size, digest.hexdigest()


def _take(block: bytes, digest: "hashlib._Hash", file: BinaryIO | None) -> None:
    digest.update(block)
    if file is not None:
        file.write(block)


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _accept(store: FileStore, written: Path, file_id: str, size: int, digest: str) -> tuple[StoredRecording, bool]:
    duration_s = round(examine(written).duration_s, 3)
    return store.commit(written, StoredRecording(file_id, size, digest, duration_s))
