"""Partition keys of batches and calls: `2026-01-15.1` and `2026-01-15.1|000042-client_0931.wav`.

What belongs here: making and taking apart keys, without I/O. What does not: storing them.
Decision: at most 64 characters of lower-case ASCII, because Dagster on MySQL compares the first 64 without case; the
ordinal makes a key unique, the name in it is for people (architecture 3.1). No `...`, which Dagster reads as a range.
"""

import re
import unicodedata
from datetime import date
from pathlib import PurePosixPath

MAX_KEY_LENGTH = 64
_SEPARATOR = "|"
_LONGEST_EXTENSION = 8
_KEY = re.compile(r"(?P<batch>\d{4}-\d{2}-\d{2}\.[1-9]\d*)\|\d{6,}-[a-z0-9._-]+")


def batch_key(day: date, number: int) -> str:
    """The partition key of batch `number` (from 1) of a day."""
    return f"{day.isoformat()}.{number}"


def call_key(batch: str, ordinal: int, file_name: str) -> str:
    """The partition key of the call with this ordinal (from 1) in the batch with this key.

    The name loses what is not ASCII, its case and, where it is too long, its end; the extension stays.
    """
    prefix = f"{batch}{_SEPARATOR}{ordinal:06d}-"
    return prefix + _readable(file_name, MAX_KEY_LENGTH - len(prefix))


def batch_of(key: str) -> str:
    """The batch part of a call's key. Raises ValueError for what is no key of a call."""
    match = _KEY.fullmatch(key)
    if match is None or len(key) > MAX_KEY_LENGTH:
        raise ValueError(f"{key!r} is no key of a call, such as 2026-01-15.1|000042-client_0931.wav")
    return match.group("batch")


def _readable(file_name: str, room: int) -> str:
    path = PurePosixPath(file_name)
    extension = _plain(path.suffix)
    if not 1 < len(extension) <= _LONGEST_EXTENSION:
        stem, extension = _plain(file_name), ""
    else:
        stem = _plain(path.stem)
    stem = stem.strip("-.") or "call"
    return stem[: room - len(extension)].rstrip("-.") + extension


def _plain(text: str) -> str:
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode("ascii").lower()
    return re.sub(r"\.{2,}", ".", re.sub(r"[^a-z0-9._-]+", "-", ascii_text))
