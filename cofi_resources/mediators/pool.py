"""The mediator pool: every request goes to a machine that has room for it, and comes back or says why not.

What belongs here: the life of a request: a slot, the file, the attempt, what is noted of its end, the next attempt.
What does not: the choice of a machine (`dispatch.py`), waiting for it (`slots.py`), what a failure costs (`retry.py`),
any wire protocol (`v1.py`), patience in numbers (`options.py`).
*Decision:* an attempt holds its slot while it sends a file the machine lacks, and while the machine still works on the
same key: the work in question is what the slot stands for.
*Decision:* after an answer that broke off, the same machine is asked once more under the same key: it remembers the
result, and no model runs twice. All other failures go to a machine that was not tried yet.
"""

import asyncio
import itertools
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import httpx
from pydantic import SecretStr

from cofi_resources.errors import CofiError, MachineUnavailable, RequestTrace
from cofi_resources.mediators.adapters import Adapter, adapter_for, check_protocols
from cofi_resources.mediators.dispatch import UPLOAD, Fleet, Wish
from cofi_resources.mediators.exchange import MachineHttp, open_client
from cofi_resources.mediators.faults import FileUnknown, KeyInProgress, NoAnswerInTime, StageNotOffered
from cofi_resources.mediators.local_audio import Contents, LocalAudio, read_contents
from cofi_resources.mediators.options import PoolOptions
from cofi_resources.mediators.protocol import MachineStatus, WireModel
from cofi_resources.mediators.retry import (
    Blame,
    RetryBudget,
    Spent,
    backoff_s,
    blame_for,
    given_up,
    is_mendable,
    timeout_s,
)
from cofi_resources.mediators.slots import SlotQueue
from cofi_resources.mediators.whereabouts import Whereabouts
from cofi_resources.records import Distributed
from cofi_resources.settings import GpuMode, MachineAddress

__all__ = ["LocalAudio", "MediatorPool", "PoolOptions", "StageReply"]

T = TypeVar("T")
R = TypeVar("R", bound=WireModel, covariant=True)

LEAST_PAUSE_S = 0.02
"""A machine that says "busy, come back at once" is not asked in a tight loop."""


@dataclass(frozen=True, slots=True)
class StageReply(Generic[R]):
    """A checked result, and which machine gave it after how long (its request alone), at which attempt."""

    result: R
    machine: str
    url: str
    duration_s: float
    attempts: int


class MediatorPool:
    """The GPU machines of an installation, used as an async context manager for the length of a run."""

    def __init__(
        self,
        machines: Sequence[MachineAddress],
        *,
        mode: GpuMode,
        api_key: SecretStr | None = None,
        options: PoolOptions | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Opens nothing. Raises ConfigError for machines that no adapter can speak to."""
        check_protocols(machines)
        self._addresses = tuple(machines)
        self._api_key = api_key
        self._options = options or PoolOptions()
        self._clock, self._sleep, self._chance = clock, sleep, chance
        self._fleet = Fleet.of(machines, mode)
        self._slots = SlotQueue(self._fleet, self._options, clock, sleep)
        self._retries = RetryBudget(self._options.retry_share, self._options.retry_burst)
        self._whereabouts = Whereabouts()
        self._numbers = itertools.count()
        self._adapters: dict[str, Adapter] = {}
        self._probe_now: dict[str, asyncio.Event] = {}
        self._watchers: list[asyncio.Task[None]] = []
        self._client: httpx.AsyncClient | None = None

    async def __aenter__(self) -> "MediatorPool":
        self._client = open_client(self._options, self._addresses)
        for address in self._addresses:
            http = MachineHttp(address, self._client, self._options, self._api_key)
            self._adapters[address] = adapter_for(address, http)
        await asyncio.gather(*(self._look_at(url) for url in self._fleet.machines))
        self._probe_now = {url: asyncio.Event() for url in self._fleet.machines}
        self._watchers = [asyncio.create_task(self._watch(url)) for url in self._fleet.machines]
        return self

    async def __aexit__(self, *_: object) -> None:
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        await self._slots.aclose()
        if self._client is not None:
            await self._client.aclose()

    async def place(self, audio: LocalAudio, *, prefer: str | None = None) -> Distributed:
        """Put a recording on a machine that has room. Bytes that are there already are not sent again.

        The result's duration is what the machine says, or `audio.duration_s` where nothing had to be sent.
        Raises PermanentError for a file that cannot be read or has changed, UnreadableAudio for one that is no audio,
        and what `run` raises for machines that stay away.
        """
        contents = await read_contents(audio)
        audio = replace(audio, sha256=contents.sha256)

        async def send(machine: str) -> float:
            return await self._send(machine, audio, contents)

        target = prefer if self._works(prefer) else self._fleet.place_for(self._clock())
        homes = frozenset() if target is None else frozenset({target})
        duration_s, machine, _ = await self._persist(UPLOAD, send, about=f"{audio.name}: upload", homes=homes)
        self._fleet.machines[machine].put_down(audio.file_id, self._clock())
        return Distributed(machine, audio.file_id, contents.sha256, contents.size_bytes, duration_s)

    async def run(
        self,
        stage: str,
        make_request: Callable[[str], WireModel],
        *,
        audio: LocalAudio | None,
        prefer: str | None,
        key: str,
    ) -> StageReply[WireModel]:
        """Run a stage wherever there is room, and give its checked result.

        `make_request` gets the file's id (the empty text where `audio` is None, for stages that read a transcript).
        `prefer` is a machine the file is thought to be on. `key` is the idempotency key of all attempts.
        Raises PermanentError (or a kind of it) for what no machine can do, BadAnswer when machines keep answering
        nonsense, MachineUnavailable or MachineBusy when budgets are spent, ConfigError when no machine offers the
        stage or accepts the key. Each names the file and the machine, and carries its request.
        """
        about = f"{audio.name if audio is not None else key}: {stage}"
        homes: frozenset[str] = frozenset()
        contents: Contents | None = None
        if audio is not None:
            if audio.sha256 is None:
                contents = await read_contents(audio)
                audio = replace(audio, sha256=contents.sha256)
            if prefer in self._fleet.machines:
                # It is not sent there unasked: the machine says so if it is gone.
                self._whereabouts.found(audio.file_id, prefer)
            homes = self._whereabouts.of(audio.file_id)
            for machine in self._fleet.machines.values():
                machine.placed.pop(audio.file_id, None)
        request = make_request(audio.file_id if audio is not None else "")
        limit_s = timeout_s(audio.duration_s if audio is not None else None, self._options)
        duration_s = audio.duration_s if audio is not None else 0.0
        spent_s = 0.0

        async def attempt(machine: str) -> WireModel:
            nonlocal contents, spent_s
            trace: RequestTrace | None = None
            for _ in range(self._options.sends_per_attempt):
                if audio is not None and not self._whereabouts.is_on(audio.file_id, machine):
                    contents = contents or await read_contents(audio)
                    await self._send(machine, audio, contents)
                began = self._clock()
                try:
                    result = await self._ask(machine, stage, request, key, about, limit_s, duration_s)
                except FileUnknown as error:
                    if audio is None:
                        raise
                    self._whereabouts.gone(audio.file_id, machine)
                    trace = error.trace
                    continue
                spent_s = self._clock() - began
                return result
            raise MachineUnavailable(f"{about}: {machine} keeps forgetting the file it was sent", trace=trace)

        result, machine, attempts = await self._persist(
            stage, attempt, about=about, homes=homes, needs_file=audio is not None
        )
        return StageReply(result, machine, self._adapters[machine].stage_url(stage), spent_s, attempts)

    def window(self) -> int:
        """How many calls should be open at once to keep every slot of the machines that work busy."""
        return self._fleet.window(self._options.window_slack)

    async def statuses(self) -> dict[str, MachineStatus | CofiError]:
        """What each machine says of itself, or why it says nothing; also of those the mode leaves out."""

        async def ask(adapter: Adapter) -> MachineStatus | CofiError:
            try:
                return await adapter.status()
            except CofiError as error:
                return error

        answers = await asyncio.gather(*(ask(adapter) for adapter in self._adapters.values()))
        return dict(zip(self._adapters, answers, strict=True))

    async def _send(self, machine: str, audio: LocalAudio, contents: Contents) -> float:
        """Have a file on a machine; returns its duration in seconds."""
        adapter = self._adapters[machine]
        if audio.duration_s and await adapter.has(audio, contents):
            self._whereabouts.found(audio.file_id, machine)
            return audio.duration_s
        duration_s = await adapter.upload(audio, contents)
        self._whereabouts.found(audio.file_id, machine)
        return duration_s

    async def _ask(
        self, machine: str, stage: str, request: WireModel, key: str, about: str, limit_s: float, duration_s: float
    ) -> WireModel:
        """One attempt; while the machine says that this very request is being worked on, it is asked again."""
        deadline = self._clock() + limit_s
        while True:
            left_s = deadline - self._clock()
            try:
                return await self._adapters[machine].run_stage(
                    stage,
                    request,
                    key=key,
                    about=about,
                    timeout_s=max(left_s, LEAST_PAUSE_S),
                    duration_s=duration_s,
                )
            except KeyInProgress as error:
                wait_s = max(LEAST_PAUSE_S, self._pause_s(error))
                if wait_s >= left_s:
                    raise NoAnswerInTime(
                        f"{about}: {machine} was still working on it after {limit_s:g} s", trace=error.trace
                    ) from error
                await self._sleep(wait_s)

    async def _persist(
        self,
        stage: str,
        attempt: Callable[[str], Awaitable[T]],
        *,
        about: str,
        homes: frozenset[str],
        needs_file: bool = False,
    ) -> tuple[T, str, int]:
        """Attempt until it succeeds, fails for good, or a budget is spent: (result, machine, attempts)."""
        number, spent = next(self._numbers), Spent()
        failure: CofiError | None = None
        self._retries.earn()
        while True:
            wish = Wish(
                number,
                stage,
                since=self._clock(),
                homes=homes,
                avoid=spent.tried,
                only=spent.ask_again,
                needs_file=needs_file,
            )
            machine = await self._slot(wish, about, failure)
            try:
                result = await attempt(machine)
            except CofiError as error:
                self._note(stage, machine, error)
                if not is_mendable(error):
                    raise
                spent, failure = spent.after(error, machine, self._clock()), error
            else:
                self._fleet.machines[machine].lane(stage).succeeded()
                self._slots.succeeded(stage)
                return result, machine, spent.failures + 1
            finally:
                self._slots.give_back(stage, machine)
            if spent.is_over(self._clock(), self._options):
                raise given_up(failure, spent, len(self._fleet.machines)) from failure
            await self._back_off(failure, spent)

    async def _slot(self, wish: Wish, about: str, failure: CofiError | None) -> str:
        try:
            return await self._slots.take(wish)
        except CofiError as error:
            faults = (failure, *(machine.fault for machine in self._fleet.machines.values()))
            trace = next((fault.trace for fault in faults if fault is not None and fault.trace is not None), None)
            raise type(error)(f"{about}: {error}", trace=trace) from error

    def _note(self, stage: str, machine: str, error: CofiError) -> None:
        """Let the other requests profit from what this one has met."""
        now, state = self._clock(), self._fleet.machines[machine]
        lane = state.lane(stage)
        match blame_for(error):
            case Blame.NOTHING:
                return
            case Blame.KEY_REFUSED | Blame.AWAY:
                state.is_away(error, confirmed=False)
            case Blame.BUSY:
                lane.refused()
                lane.pause(now + self._pause_s(error) * (1.0 + 0.1 * self._chance()))
            case Blame.DISK_FULL:
                state.lane(UPLOAD).pause(now + self._options.disk_full_pause_s)
            case Blame.STAGE_FAILED:
                lane.breaker = lane.breaker.failed(now, self._options)
                if getattr(error, "retry_after_s", None) is not None:
                    lane.pause(now + self._pause_s(error))
                if isinstance(error, StageNotOffered):
                    state.does_not_offer(stage)
        self._probe_now[machine].set()

    def _pause_s(self, error: CofiError) -> float:
        asked_s = getattr(error, "retry_after_s", None)
        return max(LEAST_PAUSE_S, self._options.retry_after_s if asked_s is None else asked_s)

    async def _back_off(self, error: CofiError, spent: Spent) -> None:
        """Wait before a retry. Where the machine was paused, the wait is in the queue instead: another may be free."""
        if blame_for(error) in (Blame.BUSY, Blame.DISK_FULL):
            return
        wait_s = backoff_s(spent.failures + spent.put_offs, self._options, self._chance())
        if blame_for(error) is not Blame.AWAY and not self._retries.spend():
            wait_s = self._options.longest_backoff_s
        await self._sleep(wait_s)

    def _works(self, machine: str | None) -> bool:
        return machine in self._fleet.machines and self._fleet.machines[machine].is_open(UPLOAD, self._clock())

    async def _look_at(self, url: str) -> None:
        """Ask one machine how it is, and take over what it says."""
        machine = self._fleet.machines[url]
        try:
            machine.answered(await self._adapters[url].status(), self._clock(), self._options)
        except CofiError as error:
            machine.is_away(error, confirmed=True)
        self._slots.assign_all()

    async def _watch(self, url: str) -> None:
        """Keep an eye on one machine: now and then, soon after a failure, and often while it is away or loading."""
        probe_now, options = self._probe_now[url], self._options
        while True:
            machine = self._fleet.machines[url]
            restless = machine.fault is not None or any(
                lane.capacity == 0 for stage, lane in machine.lanes.items() if stage in (machine.offered or ())
            )
            try:
                async with asyncio.timeout(options.probe_every_s if restless else options.status_every_s):
                    await probe_now.wait()
            except TimeoutError:
                pass
            probe_now.clear()
            await self._look_at(url)
