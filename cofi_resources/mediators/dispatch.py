"""Which machine takes which request: pure decisions over plain state, without clocks or sockets of their own.

What belongs here: room, breakers, pauses, and the choice between machines and between waiters. What does not: HTTP,
waiting (`slots.py`), what a failure costs its request (`retry.py`). `now` is a monotonic time in seconds that the
caller gives.
*Decision:* a request is bound to a machine only when that machine has room (architecture 3.7). A freed slot goes to the
earliest waiter whose file is on that machine, else to the earliest waiter at all: affinity saves an upload, but is
never a reason for a slot to idle. Measured with four machines of which one is three times slower: 98.6 % of the slots'
time was worked, and 1 file in 15 was sent twice. To leave a free slot alone for as long as sending the file would take,
in the hope that the file's own machine is free by then, saved no upload, and is not done.
*Decision:* pauses that a machine asks for hold for one stage on it. Its codes are about a stage: one that is loading or
full says nothing about the model beside it.
*Decision:* 429 also narrows what is sent: other runs share the machine, and none of them sees the others. The limit
falls by one for each refusal and grows back by one a round of successes.
"""

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

from cofi_resources.errors import CofiError, ConfigError
from cofi_resources.mediators.options import PoolOptions
from cofi_resources.mediators.protocol import MachineStatus
from cofi_resources.settings import GpuMode

UPLOAD = "upload"
"""Sending a file takes a slot like a stage does, so that uploads to one machine are bounded."""

FORGET_PLACED_S = 300.0
"""A file that was placed and never asked about stops to count as work for its machine after this."""


@dataclass(frozen=True, slots=True)
class Breaker:
    """Opens after some failures in a row, for longer each time; then lets one request through to try."""

    failures: int = 0
    openings: int = 0
    open_until: float = 0.0

    def failed(self, now: float, options: PoolOptions) -> "Breaker":
        failures = self.failures + 1
        if failures < options.breaker_failures:
            return replace(self, failures=failures)
        if now < self.open_until:
            # Sent before it opened: the same outage, not a failed try.
            return replace(self, failures=failures)
        open_s = min(options.breaker_longest_open_s, options.breaker_open_s * 2 ** min(self.openings, 30))
        return Breaker(failures, self.openings + 1, now + open_s)

    def probed(self, now: float) -> "Breaker":
        """The machine is back: a request may try at once."""
        return replace(self, open_until=min(self.open_until, now))

    def allowance(self, now: float) -> int | None:
        """How many requests may be under way: None for any number, 1 to try, 0 while it is open."""
        if self.openings == 0:
            return None
        return 1 if now >= self.open_until else 0


@dataclass(slots=True)
class Lane:
    """One stage on one machine. `foreign` are requests of others, as its last status showed them."""

    capacity: int = 0
    limit: float = 0.0
    under_way: int = 0
    waiting_for_it: int = 0
    foreign: int = 0
    paused_until: float = 0.0
    breaker: Breaker = field(default_factory=Breaker)

    def resize(self, capacity: int) -> None:
        """Take over the capacity of a fresh status. A limit that 429 narrowed stays, within it."""
        self.limit = float(capacity) if self.limit >= self.capacity else min(self.limit, float(capacity))
        self.capacity = capacity

    def is_open(self, now: float) -> bool:
        """Whether it can be asked at all now, if a slot is free."""
        return self.capacity > 0 and now >= self.paused_until and self.breaker.allowance(now) != 0

    def room(self, now: float) -> int:
        """How many more requests may be sent now."""
        if not self.is_open(now):
            return 0
        allowed = self.breaker.allowance(now)
        limit = math.floor(self.limit) if allowed is None else min(allowed, math.floor(self.limit))
        return max(0, limit - self.under_way)

    def wakes_at(self, now: float) -> float | None:
        """When it opens by the passing of time alone; None if time does not change it."""
        opens = max(self.paused_until, self.breaker.open_until)
        return opens if self.capacity and opens > now else None

    def pause(self, until: float) -> None:
        self.paused_until = max(self.paused_until, until)

    def refused(self) -> None:
        self.limit = max(1.0, min(self.limit, float(self.under_way)) - 1.0)

    def succeeded(self) -> None:
        self.breaker = Breaker()
        self.limit = min(float(self.capacity), self.limit + 1.0 / max(1.0, self.limit))

    @property
    def load(self) -> float:
        """Work at hand for each slot."""
        return (self.under_way + self.foreign) / self.capacity if self.capacity else math.inf


@dataclass(slots=True)
class Machine:
    """What the pool knows of one machine. `fault` says why it is not used at all; None while it is."""

    url: str
    lanes: dict[str, Lane] = field(default_factory=dict)
    fault: CofiError | None = None
    is_fault_confirmed: bool = False
    """Whether the machine, asked how it is, has shown the fault itself; until then one request has met it."""
    offered: frozenset[str] | None = None
    placed: dict[str, float] = field(default_factory=dict)

    def lane(self, stage: str) -> Lane:
        if stage not in self.lanes:
            self.lanes[stage] = Lane()
        return self.lanes[stage]

    def is_open(self, stage: str, now: float) -> bool:
        return self.fault is None and self.lane(stage).is_open(now)

    def room(self, stage: str, now: float) -> int:
        return self.lane(stage).room(now) if self.fault is None else 0

    def may_remember(self, stage: str) -> bool:
        """Whether it may still hold an answer that got lost on the way.

        A refused connection alone does not end that, until the machine was asked; nor does a breaker, which opens
        again by itself.
        """
        return not self.is_fault_confirmed and self.lane(stage).capacity > 0

    def is_away(self, fault: CofiError, *, confirmed: bool) -> None:
        self.fault, self.is_fault_confirmed = fault, confirmed

    def answered(self, status: MachineStatus, now: float, options: PoolOptions) -> None:
        """Take over a fresh status. A stage that is loading or failed has no capacity until it is ready.

        A machine that was away and is back may be tried at once. One that says it is well while a stage of it fails
        has that stage's breaker wait its time.
        """
        was_away = self.fault is not None
        self.offered, self.fault, self.is_fault_confirmed = frozenset(status.stages), None, False
        for name in {*self.lanes, *status.stages} - {UPLOAD}:
            stage, lane = status.stages.get(name), self.lane(name)
            usable = stage is not None and stage.state in ("ready", "idle")
            lane.resize(stage.capacity if stage is not None and usable else 0)
            lane.foreign = max(0, stage.running + stage.queued - lane.under_way) if stage is not None else 0
        self.lane(UPLOAD).resize(options.uploads_per_machine)
        if was_away:
            for lane in self.lanes.values():
                lane.breaker = lane.breaker.probed(now)

    def does_not_offer(self, stage: str) -> None:
        self.offered = (self.offered or frozenset()) - {stage}
        self.lane(stage).resize(0)

    @property
    def slots(self) -> int:
        """Capacity over all stages but uploads: how many of its calls the machine can work on at once."""
        return sum(lane.capacity for stage, lane in self.lanes.items() if stage != UPLOAD)

    def put_down(self, file_id: str, now: float) -> None:
        """A file was placed here, and will be asked about soon."""
        self.placed[file_id] = now
        for oldest in list(self.placed):
            if self.placed[oldest] > now - FORGET_PLACED_S:
                break
            del self.placed[oldest]

    def share(self, now: float) -> float:
        """Files on board that are not done, for each slot: worked on, waiting for it, or placed a moment ago.

        A slow machine keeps its files for longer, and so gets fewer.
        """
        at_hand = sum(lane.under_way + lane.waiting_for_it + lane.foreign for lane in self.lanes.values())
        return (at_hand + len(self.placed)) / self.slots if self.slots else math.inf


@dataclass(frozen=True, slots=True)
class Wish:
    """A request that waits for a slot. Earlier `number` goes first.

    `homes` have its file; `avoid` failed it before; `only` may hold its answer already: no other machine is asked while
    it may.
    A machine that is not of `homes` must be sent the file where it `needs_file`.
    """

    number: int
    stage: str
    since: float = 0.0
    homes: frozenset[str] = frozenset()
    avoid: frozenset[str] = frozenset()
    only: str | None = None
    needs_file: bool = False


@dataclass(slots=True)
class Fleet:
    """All machines and the turn of round-robin. `single` is a fleet of the first machine alone."""

    machines: dict[str, Machine]
    mode: GpuMode
    turn: int = 0

    @classmethod
    def of(cls, urls: Iterable[str], mode: GpuMode) -> "Fleet":
        named = list(urls)[: 1 if mode == "single" else None]
        return cls({url: Machine(url) for url in named}, mode)

    def assign(self, wishes: Sequence[Wish], now: float) -> list[tuple[Wish, Machine]]:
        """Give free slots to waiting wishes of one stage, in their order; takes the slots it gives."""
        if not wishes:
            return []
        stage = wishes[0].stage
        free = {machine.url: machine for machine in self.machines.values() if machine.room(stage, now)}
        if not free:
            return []
        working = frozenset(machine.url for machine in self.machines.values() if machine.is_open(stage, now))
        given: list[tuple[Wish, Machine]] = []
        for at_home in (True, False):
            taken: set[int] = set()
            for wish in wishes:
                if not free:
                    break
                chosen = self._choose(wish, free, working, now, at_home=at_home)
                if chosen is not None:
                    chosen.lane(stage).under_way += 1
                    given.append((wish, chosen))
                    taken.add(wish.number)
                    if not chosen.room(stage, now):
                        del free[chosen.url]
            wishes = [wish for wish in wishes if wish.number not in taken]
        return given

    def _choose(
        self, wish: Wish, free: dict[str, Machine], working: frozenset[str], now: float, *, at_home: bool
    ) -> Machine | None:
        if wish.only in self.machines and self.machines[wish.only].may_remember(wish.stage):
            return free.get(wish.only) if at_home else None
        untried = working - wish.avoid or working
        if at_home:
            found = [free[url] for url in wish.homes if url in free and url in untried]
        else:
            found = [machine for url, machine in free.items() if url in untried and self._takes(machine, wish, now)]
        return self._prefer(found, [machine.lane(wish.stage).load for machine in found]) if found else None

    def _takes(self, machine: Machine, wish: Wish, now: float) -> bool:
        """Whether the machine can be sent the wish's file, where it has one."""
        return not wish.needs_file or wish.stage == UPLOAD or machine.is_open(UPLOAD, now)

    def _prefer(self, found: Sequence[Machine], loads: Sequence[float]) -> Machine:
        """One of several machines with room, as the mode says."""
        if self.mode == "auto":
            return min(zip(loads, range(len(found)), found, strict=True))[2]
        return self._next_in_turn({machine.url for machine in found})

    def _next_in_turn(self, urls: Collection[str]) -> Machine:
        order = list(self.machines.values())
        for step in range(len(order)):
            machine = order[(self.turn + step) % len(order)]
            if machine.url in urls:
                self.turn = (self.turn + step + 1) % len(order)
                return machine
        raise ValueError("the machines to choose from are not of this fleet")

    def place_for(self, now: float) -> str | None:
        """Where a new file should go; None while no machine is known to work.

        `auto`: where the share of unfinished files is least. `round-robin`: in turn among machines that hold less than
        their slots, and so have room; among those with the least share when all are full.
        """
        able = [machine for machine in self.machines.values() if machine.slots and machine.is_open(UPLOAD, now)]
        if not able:
            return None
        shares = [machine.share(now) for machine in able]
        if self.mode == "auto":
            return self._prefer(able, shares).url
        bound = max(min(shares), math.nextafter(1.0, 0.0))
        return self._next_in_turn({one.url for one, share in zip(able, shares, strict=True) if share <= bound}).url

    def next_change(self, stage: str, now: float) -> float | None:
        """When the passing of time alone may open a lane that a stage's requests need; None if it cannot."""
        times = [
            at
            for machine in self.machines.values()
            for lane in {stage, UPLOAD}
            if machine.fault is None and (at := machine.lane(lane).wakes_at(now)) is not None
        ]
        return min(times) if times else None

    def hopeless(self, stage: str) -> str | None:
        """Why no machine will ever take a stage as the installation is set up; None if one may."""
        reasons = []
        for machine in self.machines.values():
            if isinstance(machine.fault, ConfigError):
                reasons.append(str(machine.fault))
            elif machine.fault is None and machine.offered is not None and stage not in {*machine.offered, UPLOAD}:
                reasons.append(f"{machine.url} does not offer it")
            else:
                return None
        return f"no machine can do {stage}: {'; '.join(reasons)}"

    def why_not(self, stage: str, now: float) -> str:
        """What keeps each machine from taking a stage, for people."""
        return "; ".join(f"{machine.url} {_why_not(machine, stage, now)}" for machine in self.machines.values())

    def window(self, slack: float) -> int:
        """How many open calls keep every slot busy, with `slack` calls a slot."""
        working = sum(machine.slots for machine in self.machines.values() if machine.fault is None)
        return max(8, math.ceil(slack * working) + 2 * len(self.machines))


def _why_not(machine: Machine, stage: str, now: float) -> str:
    lane = machine.lanes.get(stage)
    if machine.fault is not None:
        return f"is away ({machine.fault})"
    if lane is None or not lane.capacity:
        return "does not have it ready"
    if now < lane.paused_until:
        return "asked to be called later"
    if lane.breaker.allowance(now) is not None:
        return f"failed {lane.breaker.failures} times in a row"
    return "is busy"
