"""Results are stored in groups, in order, and a writer that cannot store stops the calls."""

import asyncio
import threading
from collections.abc import Sequence
from datetime import datetime

import pytest

from cofi_assets.engine.writer import FlushRule, GroupCommitWriter
from cofi_resources.errors import DatabaseUnavailable
from cofi_resources.records import Call, StageOutcome, StageState


def outcome(number: int) -> StageOutcome:
    made = Call(number, 1, f"2026-01-15.1|{number:06}-a.wav", "a.wav", "a.wav", 1)
    return StageOutcome(made, "lid", StageState.DONE, datetime(2026, 1, 15), 0.1, "run", "run")


class Recorder:
    def __init__(self) -> None:
        self.groups: list[list[int]] = []

    def __call__(self, outcomes: Sequence[StageOutcome]) -> Sequence[StageOutcome]:
        self.groups.append([one.call.id for one in outcomes])
        return outcomes


async def test_outcomes_are_committed_in_order_and_in_groups_and_then_reported() -> None:
    commit, report = Recorder(), Recorder()
    async with GroupCommitWriter(commit, report, FlushRule(max_outcomes=10, max_wait_s=60)) as writer:
        for number in range(25):
            await writer.deliver(outcome(number))
    assert [len(group) for group in commit.groups] == [10, 10, 5]
    assert [number for group in commit.groups for number in group] == list(range(25))
    assert report.groups == commit.groups


async def test_a_lone_outcome_is_committed_after_the_longest_wait() -> None:
    committed = threading.Event()
    async with GroupCommitWriter(
        lambda group: committed.set() or group, lambda _: None, FlushRule(max_outcomes=1000, max_wait_s=0.01)
    ) as writer:
        await writer.deliver(outcome(1))
        assert await asyncio.to_thread(committed.wait, 5)


async def test_nothing_is_reported_that_was_not_committed() -> None:
    report = Recorder()

    def refuse(_: Sequence[StageOutcome]) -> None:
        raise DatabaseUnavailable("gone")

    with pytest.raises(DatabaseUnavailable):
        async with GroupCommitWriter(refuse, report, FlushRule(max_outcomes=1)) as writer:
            for number in range(100):
                await writer.deliver(outcome(number))
    assert report.groups == []


async def test_a_writer_that_is_behind_holds_the_calls_back() -> None:
    go_on = threading.Event()
    writer = GroupCommitWriter(lambda group: go_on.wait(5) and group, lambda _: None, FlushRule(max_outcomes=1))
    async with writer:
        for number in range(5):
            await writer.deliver(outcome(number))
        held = asyncio.create_task(writer.deliver(outcome(6)))
        done, _ = await asyncio.wait({held}, timeout=0.05)
        assert not done
        go_on.set()
        await held


async def test_what_was_finished_before_an_error_is_kept() -> None:
    commit = Recorder()
    with pytest.raises(ZeroDivisionError):
        async with GroupCommitWriter(commit, lambda _: None) as writer:
            await writer.deliver(outcome(1))
            raise ZeroDivisionError
    assert commit.groups == [[1]]


async def test_a_writer_that_stops_with_a_full_queue_lets_everybody_go() -> None:
    go_on = threading.Event()

    def refuse(_: Sequence[StageOutcome]) -> Sequence[StageOutcome]:
        go_on.wait(5)
        raise DatabaseUnavailable("gone")

    rule = FlushRule(max_outcomes=1)
    with pytest.raises(ZeroDivisionError):
        async with asyncio.timeout(10), GroupCommitWriter(refuse, Recorder(), rule) as writer:
            for number in range(1 + 4 * rule.max_outcomes):
                await writer.deliver(outcome(number))
            asyncio.get_running_loop().call_later(0.05, go_on.set)
            raise ZeroDivisionError
