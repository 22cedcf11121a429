"""Waiting for a machine with room: the queues in front of the fleet.

What belongs here: futures and timers around the decisions of `dispatch.py`. What does not: the decisions themselves,
HTTP, retries.
"""

import asyncio
import bisect
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from cofi_resources.errors import ConfigError, MachineUnavailable
from cofi_resources.mediators.dispatch import Fleet, Wish
from cofi_resources.mediators.options import PoolOptions

LEAST_SLEEP_S = 0.001


@dataclass(slots=True)
class _Waiter:
    wish: Wish
    slot: "asyncio.Future[str]" = field(default_factory=asyncio.Future)


@dataclass(slots=True)
class _Waker:
    at: float
    task: "asyncio.Task[None]"


class SlotQueue:
    """Hands out slots of the fleet, a queue for each stage. Used by one event loop alone."""

    def __init__(
        self,
        fleet: Fleet,
        options: PoolOptions,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._fleet = fleet
        self._options = options
        self._clock, self._sleep = clock, sleep
        self._queues: dict[str, list[_Waiter]] = {}
        self._wakers: dict[str, _Waker] = {}
        self._last_success: dict[str, float] = {}

    async def take(self, wish: Wish) -> str:
        """The URL of a machine that has a slot for the wish; give it back with `give_back`.

        Raises ConfigError when no machine can ever take it, MachineUnavailable when nothing of its stage has moved on
        any machine for the outage budget.
        """
        waiter = _Waiter(wish)
        queue = self._queues.setdefault(wish.stage, [])
        bisect.insort(queue, waiter, key=lambda one: one.wish.number)
        self._count(wish, 1)
        self.assign(wish.stage)
        try:
            return await waiter.slot
        except asyncio.CancelledError:
            if waiter.slot.done() and not waiter.slot.cancelled() and waiter.slot.exception() is None:
                self.give_back(wish.stage, waiter.slot.result())
            raise
        finally:
            self._count(wish, -1)
            if waiter in queue:
                queue.remove(waiter)

    def give_back(self, stage: str, url: str) -> None:
        self._fleet.machines[url].lane(stage).under_way -= 1
        self.assign(stage)

    def succeeded(self, stage: str) -> None:
        """Note that a stage moves: whoever waits for it is in a queue, not in an outage."""
        self._last_success[stage] = self._clock()

    def assign(self, stage: str) -> None:
        """Give free slots to those that wait for a stage; call it whenever room may have appeared."""
        queue = self._queues.get(stage)
        if not queue:
            return
        now = self._clock()
        waiting = {waiter.wish.number: waiter for waiter in queue if not waiter.slot.done()}
        for wish, machine in self._fleet.assign([waiter.wish for waiter in waiting.values()], now):
            waiter = waiting.pop(wish.number)
            queue.remove(waiter)
            waiter.slot.set_result(machine.url)
        if waiting:
            self._look_ahead(stage, list(waiting.values()), now)

    def assign_all(self) -> None:
        for stage in list(self._queues):
            self.assign(stage)

    async def aclose(self) -> None:
        tasks = [waker.task for waker in self._wakers.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _look_ahead(self, stage: str, waiting: list[_Waiter], now: float) -> None:
        """End what cannot be helped, and wake up when time alone changes something."""
        times: list[float] = []
        if not any(machine.lane(stage).under_way for machine in self._fleet.machines.values()):
            waiting, times = self._end_hopeless(stage, waiting, now)
        change = self._fleet.next_change(stage, now) if waiting else None
        if change is not None:
            times.append(change)
        if times:
            self._wake_at(stage, min(times), now)

    def _end_hopeless(self, stage: str, waiting: list[_Waiter], now: float) -> tuple[list[_Waiter], list[float]]:
        """Those of a stage at rest that may still be served, and when their patience ends."""
        hopeless = self._fleet.hopeless(stage)
        left: list[_Waiter] = []
        ends: list[float] = []
        for waiter in waiting:
            end = max(waiter.wish.since, self._last_success.get(stage, -math.inf)) + self._options.outage_budget_s
            if hopeless is not None:
                waiter.slot.set_exception(ConfigError(hopeless))
            elif now >= end:
                why_not = self._fleet.why_not(stage, now)
                waiter.slot.set_exception(
                    MachineUnavailable(f"no machine took {stage} for {self._options.outage_budget_s:g} s: {why_not}")
                )
            else:
                left.append(waiter)
                ends.append(end)
        return left, ends

    def _wake_at(self, stage: str, at: float, now: float) -> None:
        waker = self._wakers.get(stage)
        if waker is not None and not waker.task.done() and now < waker.at <= at:
            return
        if waker is not None and waker.task is not asyncio.current_task():
            waker.task.cancel()
        self._wakers[stage] = _Waker(at, asyncio.create_task(self._wake(stage, at - now)))

    async def _wake(self, stage: str, delay_s: float) -> None:
        await self._sleep(max(delay_s, LEAST_SLEEP_S))
        self.assign(stage)

    def _count(self, wish: Wish, change: int) -> None:
        for home in wish.homes & self._fleet.machines.keys():
            self._fleet.machines[home].lane(wish.stage).waiting_for_it += change
