"""A stage at work: its engine's life, how many requests it takes, and its worker threads.

What belongs here: admission, states, running an engine off the event loop. What does not: HTTP (`app.py`), what an
engine computes (`engines/`).
*Decision:* an engine runs in threads of its stage, as many as its capacity. The libraries underneath leave the
interpreter lock, and a process per request would load the model again.
*Decision:* a request whose client has gone is finished all the same: the client comes back with the same key.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, TypeVar

from cofi_mediator.engines.interface import StageEngine
from cofi_mediator.errors import Busy, EngineFailed, Loading, ModelUnavailable, RequestError
from cofi_mediator.request_files import RequestFiles
from cofi_resources.mediators.protocol import STAGE_MODELS, StageStatus, WireModel

Result = TypeVar("Result")
StageState = Literal["ready", "loading", "idle", "failed"]
FIRST_GUESS_S = 2.0
LONGEST_RETRY_AFTER_S = 30.0

log = logging.getLogger(__name__)


class Stage:
    """One stage this machine offers. Used by the event loop alone, but for the engine, which runs in its threads."""

    def __init__(
        self, name: str, engine: StageEngine, capacity: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.name = name
        self.capacity = capacity
        self.request_model, self.result_model = STAGE_MODELS[name]
        self.state: StageState = "idle"
        self.detail = ""
        self.running = 0
        self.queued = 0
        self._engine = engine
        self._clock = clock
        self._mean_s = FIRST_GUESS_S
        self._slots = asyncio.Semaphore(capacity)
        self._changing = asyncio.Lock()
        self._threads = ThreadPoolExecutor(max_workers=capacity, thread_name_prefix=f"stage-{name}")

    def status(self) -> StageStatus:
        return StageStatus(
            state=self.state,
            capacity=self.capacity,
            running=self.running,
            queued=self.queued,
            engine=self._engine.describe(),
            detail=self.detail,
        )

    def start_loading(self) -> bool:
        """Marks the stage as loading; False when it is ready or loading already. `load` must follow."""
        if self.state in ("ready", "loading"):
            return False
        self.state, self.detail = "loading", ""
        return True

    async def load(self) -> None:
        """Loads the engine; ends in `ready`, or `failed` with the reason in `detail`. Never raises for an engine."""
        async with self._changing:
            try:
                await self._in_thread(self._engine.load)
            except ModelUnavailable as error:
                log.error("stage %s cannot work: %s", self.name, error)
                self.state, self.detail = "failed", str(error)
            # An engine of any kind may stand behind the interface: whatever it raises, the server goes on.
            except Exception as error:
                log.exception("the engine of stage %s failed to load", self.name)
                self.state, self.detail = "failed", f"{type(error).__name__}: {error}"
            else:
                self.state, self.detail = "ready", ""

    async def unload(self) -> None:
        """Refuses new requests at once, and gives the engine's memory back when the admitted ones are done."""
        if self.state in ("idle", "loading"):
            return
        self.state, self.detail = "idle", ""
        async with self._changing:
            for _ in range(self.capacity):
                await self._slots.acquire()
            try:
                await self._in_thread(self._engine.unload)
            finally:
                for _ in range(self.capacity):
                    self._slots.release()

    def admit(self) -> None:
        """Takes a place in the queue; `run` gives it back. Raises Loading, Busy, or EngineFailed (failed engine)."""
        if self.state == "failed":
            raise EngineFailed(f"{self.name} cannot work on this machine: {self.detail}", retry_after_s=30.0)
        if self.state != "ready":
            what = "is loading" if self.state == "loading" else "is not active on this machine"
            raise Loading(f"{self.name} {what}", retry_after_s=2.0)
        if self.running + self.queued >= 2 * self.capacity:
            wait_s = self._mean_s * (1 + self.queued) / self.capacity
            raise Busy(
                f"{self.name} works on {self.running} requests and {self.queued} wait",
                retry_after_s=round(min(LONGEST_RETRY_AFTER_S, max(0.2, wait_s)), 2),
            )
        self.queued += 1

    async def run(self, request: WireModel, files: RequestFiles, started: Callable[[], None]) -> WireModel:
        """The result of an admitted request; calls `started` when it leaves the queue. Raises a RequestError."""
        try:
            await self._slots.acquire()
        finally:
            self.queued -= 1
        self.running += 1
        begun = self._clock()
        try:
            started()
            result = await self._in_thread(self._engine.run, request, files)
            if not isinstance(result, self.result_model):
                raise EngineFailed(f"the engine of {self.name} returned a {type(result).__name__}")
            self._mean_s += 0.2 * (self._clock() - begun - self._mean_s)
            return result
        except RequestError:
            raise
        # An engine of any kind may stand behind the interface: its failure is this request's, not the server's.
        except Exception as error:
            log.exception("stage %s failed", self.name)
            raise EngineFailed(f"{type(error).__name__}: {error}") from error
        finally:
            self.running -= 1
            self._slots.release()

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _in_thread(self, function: Callable[..., Result], *arguments: object) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)
