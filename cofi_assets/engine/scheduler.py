"""The streaming scheduler: every call moves on to its next stage as soon as it can.

What belongs here: how many calls are open at once, the walk of one call through its stages, and turning what happens
into outcomes. What does not: any stage by name, SQL, URLs, Dagster.
Decision: a bounded window of open calls instead of a barrier after each stage (architecture 3.2): all stages work at
once, and memory does not grow with the number of calls. The mediator pool decides which machine a request goes to.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime

from cofi_assets.engine.plan import CallPlan, blocked_by
from cofi_assets.stages.stage import CallInHand, Done, Skipped, Stage, StageTools
from cofi_resources.errors import CofiError, MissingUpstream, RequestTrace
from cofi_resources.records import StageOutcome, StageState

Deliver = Callable[[StageOutcome], Awaitable[None]]
"""Hands an outcome to the writer; waits while the writer is behind."""

REASON_CHARS = 1000
SKIPPED_EARLIER = "the call ended before this stage"


def shortened(reason: str) -> str:
    """A reason that fits wherever it is shown; the whole request and answer are in `processing_logs`."""
    return reason if len(reason) <= REASON_CHARS else f"{reason[:REASON_CHARS]} ..."


def utc_now() -> datetime:
    """Naive UTC, as stored."""
    return datetime.now(UTC).replace(tzinfo=None)


class CallWalk:
    """One call's way through its stages in one run."""

    def __init__(
        self,
        plan: CallPlan,
        hand: CallInHand,
        tools: StageTools,
        deliver: Deliver,
        *,
        pipeline: Sequence[Stage],
        run_id: str,
        root_run_id: str,
    ) -> None:
        self._plan = plan
        self._hand = hand
        self._tools = tools
        self._deliver = deliver
        self._pipeline_names = frozenset(stage.name for stage in pipeline)
        self._run_id = run_id
        self._root_run_id = root_run_id

    async def go(self) -> None:
        """Run the stages in order. A stage that fails ends the call; one that skips skips the rest."""
        todo = self._plan.todo
        names = frozenset(stage.name for stage in todo)
        for position, stage in enumerate(todo):
            blocked = blocked_by(stage, self._plan.call, names, self._pipeline_names)
            if blocked is not None and blocked.skipped:
                await self._skip_rest(todo[position:], blocked.reason)
                return
            started_at, clock = utc_now(), time.monotonic()
            try:
                if blocked is not None:
                    raise MissingUpstream(blocked.reason)
                ended = await stage.run(self._hand, self._tools)
            except CofiError as error:
                await self._deliver(self._failed(stage, started_at, time.monotonic() - clock, error))
                return
            except Exception as error:  # noqa: BLE001 - a fault of one call must not end the others; it is reported
                fault = CofiError(f"{self._plan.call.file}: {stage.name} broke: {type(error).__name__}: {error}")
                await self._deliver(self._failed(stage, started_at, time.monotonic() - clock, fault))
                return
            spent_s = time.monotonic() - clock
            if isinstance(ended, Skipped):
                await self._deliver(
                    self._outcome(
                        stage,
                        StageState.SKIPPED,
                        started_at,
                        spent_s,
                        reason=ended.call_status.value,
                        call_status=ended.call_status,
                        metadata=ended.metadata,
                    )
                )
                await self._skip_rest(todo[position + 1 :], ended.call_status.value)
                return
            self._hand.learn(ended.result)
            await self._deliver(self._done(stage, started_at, spent_s, ended))

    async def _skip_rest(self, stages: Sequence[Stage], reason: str) -> None:
        for stage in stages:
            await self._deliver(
                self._outcome(stage, StageState.SKIPPED, utc_now(), 0.0, reason=reason or SKIPPED_EARLIER)
            )

    def _done(self, stage: Stage, started_at: datetime, spent_s: float, ended: Done) -> StageOutcome:
        return self._outcome(
            stage,
            StageState.DONE,
            started_at,
            spent_s,
            result=ended.result,
            call_status=stage.status_after,
            machine=ended.machine,
            metadata=ended.metadata,
        )

    def _failed(self, stage: Stage, started_at: datetime, spent_s: float, error: CofiError) -> StageOutcome:
        return self._outcome(
            stage,
            StageState.FAILED,
            started_at,
            spent_s,
            reason=shortened(str(error) or type(error).__name__),
            trace=error.trace or RequestTrace(url=""),
        )

    def _outcome(
        self, stage: Stage, state: StageState, started_at: datetime, spent_s: float, **fields: object
    ) -> StageOutcome:
        return StageOutcome(
            call=self._plan.call,
            stage=stage.name,
            state=state,
            started_at=started_at,
            duration_s=spent_s,
            run_id=self._run_id,
            root_run_id=self._root_run_id,
            **fields,  # type: ignore[arg-type]
        )


async def run_window(walks: AsyncIterator[CallWalk], window: Callable[[], int]) -> None:
    """Walk every call, at most `window()` open at once; the window is read anew for each call.

    Ends when the last call has ended. If anything but a call's own failure is raised (the writer gave up, the run was
    cancelled), the open calls are cancelled and it is raised.
    """
    open_calls: set[asyncio.Task[None]] = set()
    try:
        async for walk in walks:
            while len(open_calls) >= max(1, window()):
                open_calls = await _reap(open_calls)
            open_calls.add(asyncio.create_task(walk.go()))
        while open_calls:
            open_calls = await _reap(open_calls)
    finally:
        for task in open_calls:
            task.cancel()
        await asyncio.gather(*open_calls, return_exceptions=True)


async def _reap(open_calls: set[asyncio.Task[None]]) -> set[asyncio.Task[None]]:
    done, still_open = await asyncio.wait(open_calls, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()
    return still_open
