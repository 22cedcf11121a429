"""What a run writes into the tables as it goes: results in groups, and its progress in the log and on the batch.

What belongs here: which rows a group of outcomes causes, and how often progress is written. What does not: the
statements themselves (`cofi_resources/database`), results of any one stage.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from cofi_assets.engine.plan import CallPlan
from cofi_assets.stages.stage import Stage
from cofi_resources.database import logs, progress, registry, results
from cofi_resources.database.engine import Connection, Database
from cofi_resources.errors import ValueRefused
from cofi_resources.records import StageOutcome, StageState


class RunLedger:
    """Commits outcomes and keeps the count of one run.

    `batch_id` is the batch whose first pass this run is part of, None for any later run: only the former touches
    `batchStatus`. `refresh_s` bounds how often the batch is recounted while the run goes on.
    """

    def __init__(
        self,
        database: Database,
        stages: Sequence[Stage],
        *,
        batch_id: int | None,
        options: logs.LogOptions,
        progress_interval: int,
        audio_endpoint: str = "",
        refresh_s: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.counts: dict[str, Counter[StageState]] = {}
        self.failed: list[tuple[str, str, str]] = []
        self._database = database
        self._stages = {stage.name: stage.bookkeeping for stage in stages}
        self._batch_id = batch_id
        self._options = options
        self._progress_interval = progress_interval
        self._audio_endpoint = audio_endpoint
        self._refresh_s = refresh_s
        self._clock = clock
        self._refreshed_at = clock()
        self._totals: Counter[str] = Counter()
        self._refused: dict[int, str] = {}
        self._batches: frozenset[int] = frozenset()

    def open(self, plans: Sequence[CallPlan]) -> None:
        """Note what is to be done, and say of each stage that it starts."""
        self._batches = frozenset(plan.call.batch_id for plan in plans)
        self._totals = Counter(stage.name for plan in plans for stage in plan.todo)
        self._log([self._event(name, "stage_start", "processing", 0) for name in self._totals])
        self._refresh()

    def commit(self, outcomes: Sequence[StageOutcome]) -> Sequence[StageOutcome]:
        """Store a group in one transaction: results, flags, statuses and log rows. Returns what was stored.

        That is the group, but for a result that the database refuses: its call has failed that stage.
        Raises DatabaseUnavailable, and ClaimLost when another run has taken these calls over.
        """
        stored = self._store([self._unless_refused(outcome) for outcome in outcomes])
        # Counted after the commit: a transaction that is tried again must not count twice.
        crossed = [name for outcome in stored if (name := self._count(outcome)) is not None]
        self._log([self._event(name, "stage_progress", "processing", self._ended(name)) for name in crossed])
        if self._clock() - self._refreshed_at >= self._refresh_s:
            self._refresh()
        return stored

    def _store(self, outcomes: Sequence[StageOutcome]) -> Sequence[StageOutcome]:
        def write(connection: Connection) -> None:
            registry.hold_claims(connection, [outcome.call.id for outcome in outcomes], outcomes[0].run_id)
            results.write_outcomes(
                connection, outcomes, self._stages, self._options, audio_endpoint=self._audio_endpoint
            )

        try:
            self._database.transact(write)
        except ValueRefused as error:
            if len(outcomes) == 1 and outcomes[0].call.id in self._refused:
                raise
            if len(outcomes) > 1:
                return [self._store([self._unless_refused(outcome)])[0] for outcome in outcomes]
            self._refused[outcomes[0].call.id] = str(error)
            return self._store([self._unless_refused(outcomes[0])])
        return outcomes

    def _unless_refused(self, outcome: StageOutcome) -> StageOutcome:
        """The outcome, or a failure in its place if a result of its call could not be stored in this run."""
        reason = self._refused.get(outcome.call.id)
        if reason is None:
            return outcome
        return replace(
            outcome, state=StageState.FAILED, reason=reason, result=None, call_status=None, trace=None, metadata={}
        )

    def close(self) -> None:
        """Say of each stage how it ended in this run, and bring the batches up to date.

        A run after the first pass leaves a batch alone that was completed without a failure; it may mend any other.
        """
        self._log(
            [
                self._event(name, "stage_complete", "failed" if failed == total else "success", self._ended(name))
                for name, total in self._totals.items()
                if self._ended(name)
                for failed in [self.counts[name][StageState.FAILED]]
            ]
        )
        self._refresh()
        books = tuple(self._stages.values())
        for batch_id in sorted(self._batches - {self._batch_id}):
            self._database.transact(
                lambda connection, batch_id=batch_id: progress.refresh_unsettled(connection, batch_id, books)
            )

    def _count(self, outcome: StageOutcome) -> str | None:
        """Count an outcome; returns its stage when that crosses the progress interval."""
        self.counts.setdefault(outcome.stage, Counter())[outcome.state] += 1
        if outcome.state is StageState.FAILED:
            self.failed.append((outcome.call.file, outcome.stage, outcome.reason))
        return outcome.stage if self._ended(outcome.stage) % self._progress_interval == 0 else None

    def _ended(self, stage: str) -> int:
        return sum(self.counts.get(stage, Counter()).values())

    def _event(self, stage: str, event_type: str, status: str, processed: int) -> logs.ExecutionEvent:
        return logs.ExecutionEvent(
            batch_id=logs.REAUDIT_BATCH_ID if self._batch_id is None else self._batch_id,
            stage=self._stages[stage].log_name,
            event_type=event_type,
            status=status,
            total_files=self._totals[stage],
            processed_files=processed,
        )

    def _log(self, events: Sequence[logs.ExecutionEvent]) -> None:
        if events:
            self._database.transact(lambda connection: logs.log_events(connection, events))

    def _refresh(self) -> None:
        self._refreshed_at = self._clock()
        batch_id = self._batch_id
        if batch_id is not None:
            books = tuple(self._stages.values())
            self._database.transact(lambda connection: progress.refresh_batch(connection, batch_id, books))
