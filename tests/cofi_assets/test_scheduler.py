"""Calls go through their stages as a stream: few open at once, each failing alone, all ending with the run."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import cast

import pytest

from cofi_assets.engine.plan import CallPlan
from cofi_assets.engine.scheduler import CallWalk, run_window
from cofi_assets.stages.stage import CallInHand, Done, Skipped, Stage, StageTools
from cofi_resources.errors import DatabaseUnavailable, MachineUnavailable, RequestTrace
from cofi_resources.mediators.pool import LocalAudio
from cofi_resources.records import Call, CallStatus, StageBookkeeping, StageOutcome, StageState

NO_TOOLS = cast(StageTools, None)
"""The stages of these tests ask nothing of the outside."""

Work = Callable[[CallInHand], Awaitable[Done | Skipped]]


def stage(name: str, work: Work, after: tuple[str, ...] = ()) -> Stage:
    async def run(hand: CallInHand, tools: StageTools) -> Done | Skipped:
        return await work(hand)

    return Stage(StageBookkeeping(name, name), run, "A stage of a test.", after, status_after=CallStatus.PENDING)


async def done(hand: CallInHand) -> Done:
    return Done(metadata={"file": hand.call.file})


class Line:
    """Walks numbered calls through stages and keeps what came of it, in order."""

    def __init__(self, *stages: Stage) -> None:
        self.stages = stages
        self.outcomes: list[StageOutcome] = []
        self.made = 0

    async def deliver(self, outcome: StageOutcome) -> None:
        self.outcomes.append(outcome)

    def walk(self, number: int) -> CallWalk:
        file = f"call {number}.wav"
        call = Call(number, 1, f"2026-01-15.1|{number:06}-call.wav", file, file, 1)
        hand = CallInHand(call, LocalAudio(number, Path(file), file, None, 0.0), "root")
        plan = CallPlan(call, tuple(self.stages), ())
        return CallWalk(plan, hand, NO_TOOLS, self.deliver, pipeline=self.stages, run_id="run", root_run_id="root")

    async def walks(self, count: int) -> AsyncIterator[CallWalk]:
        for number in range(1, count + 1):
            self.made += 1
            yield self.walk(number)

    def states(self, number: int) -> list[tuple[str, StageState]]:
        return [(outcome.stage, outcome.state) for outcome in self.outcomes if outcome.call.id == number]


def names(stages: Sequence[Stage], state: StageState) -> list[tuple[str, StageState]]:
    return [(one.name, state) for one in stages]


async def test_every_call_goes_through_every_stage_in_order() -> None:
    line = Line(stage("first", done), stage("second", done), stage("third", done))
    await run_window(line.walks(20), lambda: 4)
    assert all(line.states(number) == names(line.stages, StageState.DONE) for number in range(1, 21))
    assert {outcome.root_run_id for outcome in line.outcomes} == {"root"}


class Gauge:
    """Counts the calls that are in a stage at once; holds them until told to go on."""

    def __init__(self) -> None:
        self.open = 0
        self.most = 0
        self.go_on = asyncio.Event()
        self.cancelled = 0

    async def __call__(self, hand: CallInHand) -> Done:
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.open -= 1
        return Done()


async def turns(count: int = 50) -> None:
    """Let everything that can run do so."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_the_window_bounds_open_calls_and_the_calls_that_are_loaded() -> None:
    gauge = Gauge()
    line = Line(stage("held", gauge))
    running = asyncio.create_task(run_window(line.walks(1000), lambda: 7))
    await turns()
    assert gauge.open == 7
    assert line.made == 8, "one more is at hand, the other 992 are not made yet"
    gauge.go_on.set()
    await running
    assert gauge.most == 7
    assert len(line.outcomes) == 1000


async def test_the_window_is_read_anew_for_each_call() -> None:
    gauge, window = Gauge(), [2]
    line = Line(stage("held", gauge))
    running = asyncio.create_task(run_window(line.walks(100), lambda: window[0]))
    await turns()
    assert gauge.open == 2
    window[0] = 5
    gauge.go_on.set()
    await running
    assert gauge.most <= 5
    assert len(line.outcomes) == 100


async def test_a_window_of_none_still_lets_one_call_through() -> None:
    line = Line(stage("only", done))
    await run_window(line.walks(3), lambda: 0)
    assert len(line.outcomes) == 3


async def test_a_slow_call_holds_up_no_other() -> None:
    slow = asyncio.Event()

    async def wait_for_the_first(hand: CallInHand) -> Done:
        if hand.call.id == 1:
            await slow.wait()
        return Done()

    line = Line(stage("first", wait_for_the_first), stage("second", done))
    running = asyncio.create_task(run_window(line.walks(50), lambda: 2))
    await turns(500)
    assert line.states(50) == names(line.stages, StageState.DONE)
    assert line.states(1) == []
    slow.set()
    await running
    assert line.states(1) == names(line.stages, StageState.DONE)


async def test_a_stage_that_fails_ends_its_call_alone_with_the_request_that_was_made() -> None:
    async def fail_the_second(hand: CallInHand) -> Done:
        if hand.call.id == 2:
            raise MachineUnavailable("no machine answered", trace=RequestTrace("http://gpu1/v1/stages/stt"))
        return Done()

    line = Line(stage("first", done), stage("second", fail_the_second), stage("third", done))
    await run_window(line.walks(3), lambda: 3)
    assert line.states(2) == [("first", StageState.DONE), ("second", StageState.FAILED)]
    assert line.states(1) == line.states(3) == names(line.stages, StageState.DONE)
    (failed,) = [outcome for outcome in line.outcomes if outcome.state is StageState.FAILED]
    assert failed.reason == "no machine answered"
    assert failed.trace == RequestTrace("http://gpu1/v1/stages/stt")
    assert failed.call_status is None


async def test_an_unexpected_exception_is_a_failed_outcome_that_names_its_type() -> None:
    async def break_the_first(hand: CallInHand) -> Done:
        if hand.call.id == 1:
            raise KeyError("segments")
        return Done()

    line = Line(stage("only", break_the_first))
    await run_window(line.walks(2), lambda: 2)
    (failed,) = [outcome for outcome in line.outcomes if outcome.state is StageState.FAILED]
    assert failed.reason == "call 1.wav: only broke: KeyError: 'segments'"
    assert line.states(2) == names(line.stages, StageState.DONE)


async def test_a_call_that_is_decided_skips_the_stages_behind_with_the_same_reason() -> None:
    async def too_short(hand: CallInHand) -> Skipped:
        return Skipped(CallStatus.SHORT_CALL, {"duration_s": 1.0})

    line = Line(stage("first", done), stage("second", too_short), stage("third", done), stage("fourth", done))
    await run_window(line.walks(1), lambda: 1)
    assert line.states(1) == [("first", StageState.DONE), *names(line.stages[1:], StageState.SKIPPED)]
    assert {outcome.reason for outcome in line.outcomes[1:]} == {"ShortCall"}
    assert [outcome.call_status for outcome in line.outcomes] == [CallStatus.PENDING, CallStatus.SHORT_CALL, None, None]


async def test_a_stage_whose_upstream_is_missing_fails_and_says_what_to_run() -> None:
    asked: list[int] = []

    async def note(hand: CallInHand) -> Done:
        asked.append(hand.call.id)
        return Done()

    line = Line(stage("second", note, after=("first",)))
    pipeline = (stage("first", done), *line.stages)
    call = Call(1, 1, "2026-01-15.1|000001-call.wav", "call 1.wav", "call 1.wav", 1)
    hand = CallInHand(call, LocalAudio(1, Path("a"), "call 1.wav", None, 0.0), "root")
    plan = CallPlan(call, line.stages, ())
    await CallWalk(plan, hand, NO_TOOLS, line.deliver, pipeline=pipeline, run_id="run", root_run_id="root").go()
    assert asked == []
    assert line.states(1) == [("second", StageState.FAILED)]
    assert "run first first" in line.outcomes[0].reason


async def test_cancelling_the_run_ends_every_open_call_and_reports_none_as_failed() -> None:
    gauge = Gauge()
    line = Line(stage("held", gauge))
    running = asyncio.create_task(run_window(line.walks(10), lambda: 4))
    await turns()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert gauge.cancelled == 4
    assert gauge.open == 0
    assert line.outcomes == []
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_writer_that_gave_up_ends_every_open_call_and_is_raised() -> None:
    gauge = Gauge()

    async def hold_all_but_the_first(hand: CallInHand) -> Done:
        return Done() if hand.call.id == 1 else await gauge(hand)

    line = Line(stage("held", hold_all_but_the_first))

    async def refuse(_: StageOutcome) -> None:
        raise DatabaseUnavailable("no connection")

    line.deliver = refuse
    with pytest.raises(DatabaseUnavailable, match="no connection"):
        await run_window(line.walks(10), lambda: 4)
    assert gauge.open == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}
