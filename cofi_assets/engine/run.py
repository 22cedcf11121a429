"""One run over some calls: claim them, plan, work, store, release.

What belongs here: the order of these steps and what a run says at its end. What does not: any stage by name, SQL text,
URLs; Dagster beyond the reporter that is handed in.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

from cofi_assets.engine.interrupts import run_until_interrupted
from cofi_assets.engine.ledger import RunLedger
from cofi_assets.engine.plan import CallPlan, plan_call, status_to_restart_from
from cofi_assets.engine.reporting import PartitionReporter
from cofi_assets.engine.scheduler import CallWalk, run_window
from cofi_assets.engine.writer import FlushRule, GroupCommitWriter
from cofi_assets.stages.stage import CallInHand, Input, Stage, StageTools
from cofi_resources.database import inputs, registry, stage_states
from cofi_resources.database.engine import Database
from cofi_resources.errors import InvalidInput
from cofi_resources.mediators.pool import LocalAudio
from cofi_resources.records import Call, StageState
from cofi_resources.volume import Volume

LOAD_CHUNK = 200
"""Calls whose inputs are read in one go: reads are by hundreds, never a query a call (architecture 3.5)."""

SHOWN = 20
"""Calls named in a message; the rest are counted."""


@dataclass(frozen=True, slots=True)
class RunOrder:
    """What one Dagster run asks for. `batch_id` is set on the first pass over a batch, None on any later run."""

    keys: Sequence[str]
    selected: tuple[Stage, ...]
    pipeline: tuple[Stage, ...]
    run_id: str
    root_run_id: str
    batch_id: int | None = None


@dataclass(frozen=True, slots=True)
class FailedCall:
    file: str
    stage: str
    reason: str


@dataclass(frozen=True, slots=True)
class RunSummary:
    """How a run ended: pairs by stage and state, and the calls that failed."""

    calls: int
    counts: dict[str, Counter[StageState]] = field(default_factory=dict)
    failed: tuple[FailedCall, ...] = ()

    def failure_text(self) -> str:
        """Names the first calls that failed, each with its stage and reason, and counts the rest."""
        lines = [f"{len(self.failed)} of {self.calls} calls failed; the others are done."]
        lines += [f"- {failed.file}: {failed.stage}: {failed.reason}" for failed in self.failed[:SHOWN]]
        if len(self.failed) > SHOWN:
            lines.append(f"... and {len(self.failed) - SHOWN} more, in processing_logs")
        return "\n".join(lines)


class CallRun:
    """Works through the calls of one `RunOrder`.

    `open_tools` gives the pool and the reader for the length of the run; `is_over` tells of a run's id whether that
    run has ended, so that a claim left by a killed run is taken over and one of a living run never is.
    """

    def __init__(
        self,
        order: RunOrder,
        *,
        database: Database,
        volume: Volume,
        open_tools: Callable[[], AbstractAsyncContextManager[StageTools]],
        reporter: PartitionReporter,
        ledger: RunLedger,
        is_over: Callable[[str], bool],
        flush_rule: FlushRule | None = None,
    ) -> None:
        self._order = order
        self._database = database
        self._volume = volume
        self._open_tools = open_tools
        self._reporter = reporter
        self._ledger = ledger
        self._is_over = is_over
        self._flush_rule = flush_rule or FlushRule()

    def work(self) -> RunSummary:
        """Do all of it, blocking. Raises InvalidInput for keys that name no call, Interrupted when the process is asked
        to end, and what else stops the whole run. What was finished by then is stored.
        """
        held = self._claim(self._calls())
        try:
            # Read again: until a call was claimed, another run may still have been changing it.
            calls = self._calls()
            plans = [
                plan_call(call, self._order.selected, self._order.root_run_id) for call in calls if call.id not in held
            ]
            self._begin(plans)
            self._reporter.report_decided([(plan.call, stage.name) for plan in plans for stage in plan.decided])
            run_until_interrupted(self._work_through([plan for plan in plans if plan.todo]))
        finally:
            try:
                self._ledger.close()
            finally:
                self._database.transact(lambda connection: registry.release(connection, self._order.run_id))
        busy = tuple(
            FailedCall(call.file, "-", f"run {held[call.id]} is working on it") for call in calls if call.id in held
        )
        return RunSummary(
            len(calls),
            self._ledger.counts,
            busy + tuple(FailedCall(*failed) for failed in self._ledger.failed),
        )

    def _calls(self) -> list[Call]:
        calls = self._database.read(lambda connection: registry.calls_by_key(connection, self._order.keys))
        known = {call.key for call in calls}
        unknown = [key for key in self._order.keys if key not in known]
        if unknown:
            raise InvalidInput(
                f"{len(unknown)} partition keys name no registered call: {', '.join(unknown[:SHOWN])}. "
                "Keys are added when calls are registered, never by hand: delete them from the partitions `calls`."
            )
        if self._order.batch_id is not None and any(call.batch_id != self._order.batch_id for call in calls):
            raise InvalidInput(f"the run's range of keys reaches beyond batch {self._order.batch_id}")
        return calls

    def _claim(self, calls: Sequence[Call]) -> dict[int, str]:
        """Claim the calls; returns {call id: run} for those that a living run works on."""
        ids = [call.id for call in calls]
        held = self._database.transact(lambda connection: registry.claim(connection, ids, self._order.run_id))
        over = sorted(holder for holder in set(held.values()) if self._is_over(holder))
        if not over:
            return held

        def take_over(connection):
            for holder in over:
                registry.release(connection, holder)
            return registry.claim(connection, ids, self._order.run_id)

        return self._database.transact(take_over)

    def _begin(self, plans: Sequence[CallPlan]) -> None:
        pairs = [(plan.call.id, stage.bookkeeping) for plan in plans for stage in plan.todo]
        restart = {
            plan.call.id: status
            for plan in plans
            if plan.todo and (status := status_to_restart_from(plan, self._order.pipeline)) is not None
        }
        self._database.transact(
            lambda connection: stage_states.begin(connection, pairs, self._order.root_run_id, restart)
        )
        self._ledger.open(plans)

    async def _work_through(self, plans: Sequence[CallPlan]) -> None:
        async with (
            self._open_tools() as tools,
            GroupCommitWriter(self._ledger.commit, self._reporter.report, self._flush_rule) as writer,
        ):
            await run_window(self._walks(plans, tools, writer), tools.pool.window)

    async def _walks(
        self, plans: Sequence[CallPlan], tools: StageTools, writer: GroupCommitWriter
    ) -> AsyncIterator[CallWalk]:
        for start in range(0, len(plans), LOAD_CHUNK):
            chunk = plans[start : start + LOAD_CHUNK]
            for hand, plan in zip(await asyncio.to_thread(self._take_in_hand, chunk), chunk, strict=True):
                yield CallWalk(
                    plan,
                    hand,
                    tools,
                    writer.deliver,
                    pipeline=self._order.pipeline,
                    run_id=self._order.run_id,
                    root_run_id=self._order.root_run_id,
                )

    def _take_in_hand(self, plans: Sequence[CallPlan]) -> list[CallInHand]:
        """Load what these calls' stages build on, in one read for each kind of input."""
        spoken = [plan.call.id for plan in plans if Input.CONVERSATION in plan.inputs]
        booked = [plan.call.id for plan in plans if Input.BOOKED_TRADES in plan.inputs]
        conversations = self._database.read(lambda connection: inputs.conversations(connection, spoken))
        trades = self._database.read(lambda connection: inputs.booked_trades(connection, booked))
        return [
            CallInHand(
                call=plan.call,
                audio=LocalAudio(
                    call_id=plan.call.id,
                    path=self._volume.path_of(plan.call.path),
                    name=plan.call.file,
                    sha256=plan.call.sha256,
                    duration_s=plan.call.duration_s,
                ),
                request_prefix=self._order.root_run_id,
                machine=plan.call.machine,
                language=plan.call.language,
                duration_s=plan.call.duration_s,
                conversation=conversations.get(plan.call.id),
                booked_trades=trades.get(plan.call.id, ()),
            )
            for plan in plans
        ]
