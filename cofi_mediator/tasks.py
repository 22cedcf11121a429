"""Requests that are being worked on or were, by id and by idempotency key.

What belongs here: what is remembered, and for how long. What does not: running anything (`stages.py`).
*Decision:* only successes are remembered by key: a failed request may be sent again with the same key and is then
worked on anew. Memory is bounded by age and by bytes; the oldest results go first.
*Decision:* memory is lost with the process, as the protocol allows: repeating a stage is safe, only wasteful.
"""

import asyncio
import hashlib
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

from cofi_mediator.errors import InvalidRequest, KeyInUse, RequestError

FAILURE_BYTES = 1000


@dataclass(slots=True, eq=False)
class Task:
    """One stage request. `result` is the result's JSON once it succeeded, `error` why it failed; `ended` tells when."""

    stage: str
    key: str | None
    fingerprint: str
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    running: bool = False
    result: bytes | None = None
    error: RequestError | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    ended_at: float = 0.0

    @property
    def state(self) -> str:
        if self.result is not None:
            return "succeeded"
        if self.error is not None:
            return "failed"
        return "running" if self.running else "queued"

    @property
    def location(self) -> str:
        return f"/v1/tasks/{self.id}"


class TaskMemory:
    """Tasks of this process. Used by the event loop alone."""

    def __init__(self, *, ttl_s: float, limit_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._ttl_s = ttl_s
        self._limit_bytes = limit_bytes
        self._clock = clock
        self._tasks: dict[str, Task] = {}
        self._by_key: dict[str, Task] = {}
        self._ended: dict[str, Task] = {}  # in the order in which they ended
        self._bytes = 0

    def remembered(self, stage: str, key: str, body: bytes) -> Task | None:
        """The task that answered this key and body; None when there is none.

        Raises InvalidRequest for the same key with another body, KeyInUse while the same request is worked on.
        """
        self._forget()
        task = self._by_key.get(key)
        if task is None:
            return None
        if task.fingerprint != fingerprint(stage, body):
            raise InvalidRequest("this Idempotency-Key was used with another request")
        if not task.ended.is_set():
            raise KeyInUse("this request is being worked on", retry_after_s=1.0, location=task.location)
        return task

    def begin(self, stage: str, key: str | None, body: bytes) -> Task:
        task = Task(stage, key, fingerprint(stage, body))
        self._tasks[task.id] = task
        if key is not None:
            self._by_key[key] = task
        return task

    def succeed(self, task: Task, result: bytes) -> None:
        task.result = result
        self._end(task)

    def fail(self, task: Task, error: RequestError) -> None:
        task.error = error
        if task.key is not None:
            self._by_key.pop(task.key, None)
        self._end(task)

    def get(self, task_id: str) -> Task | None:
        self._forget()
        return self._tasks.get(task_id)

    def _end(self, task: Task) -> None:
        task.ended_at = self._clock()
        task.ended.set()
        self._ended[task.id] = task
        self._bytes += _size(task)
        self._forget()

    def _forget(self) -> None:
        oldest_kept = self._clock() - self._ttl_s
        while self._ended:
            task = next(iter(self._ended.values()))
            if task.ended_at >= oldest_kept and self._bytes <= self._limit_bytes:
                return
            del self._ended[task.id], self._tasks[task.id]
            self._bytes -= _size(task)
            if task.key is not None and self._by_key.get(task.key) is task:
                del self._by_key[task.key]


def fingerprint(stage: str, body: bytes) -> str:
    return hashlib.sha256(stage.encode("utf-8") + b"\0" + body).hexdigest()


def _size(task: Task) -> int:
    return len(task.result) if task.result is not None else FAILURE_BYTES
