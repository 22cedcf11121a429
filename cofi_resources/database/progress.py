"""How far a batch is: counted from `callStage`, written to `batchStatus`.

What belongs here: the counting, the arithmetic over it, and the columns that dashboards read. What does not: events
(`logs.py`), single calls (`stage_states.py`).
Decision: calls are counted by the path of states they took through the stages. A sum per stage could not tell a call
that waits for a stage from one that will never get there, because it failed or was skipped before.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Executable, bindparam, case, func, select, update

from cofi_resources.database.bulk import Row
from cofi_resources.database.tables import (
    batch_status,
    call_stage,
    end_column,
    registered_call,
    start_column,
    utc_now,
)
from cofi_resources.errors import InvalidInput
from cofi_resources.records import Batch, StageBookkeeping, StageState

PENDING, IN_PROGRESS, COMPLETE = "Pending", "InProgress", "Complete"
BATCH_PENDING, BATCH_COMPLETED = "Pending", "Completed"

StatePath = tuple[StageState | None, ...]
"""A call's states in the order of the stages; None where a stage was never asked for."""

_DECIDED = frozenset({StageState.DONE, StageState.SKIPPED, StageState.FAILED})
_ENDS_THE_WAY = frozenset({StageState.SKIPPED, StageState.FAILED})


@dataclass(frozen=True, slots=True)
class StageProgress:
    """`decided` calls were done, skipped or failed in the stage; `through` adds those that will never get there."""

    stage: StageBookkeeping
    decided: int
    through: int
    failed: int
    total: int

    @property
    def word(self) -> str:
        if self.through >= self.total:
            return COMPLETE
        return IN_PROGRESS if self.decided else PENDING


@dataclass(frozen=True, slots=True)
class BatchProgress:
    """Where a batch of `total` calls stands. `processed` calls are through every stage."""

    stages: tuple[StageProgress, ...]
    total: int
    processed: int
    failed: int
    skipped: int

    @property
    def is_complete(self) -> bool:
        return all(stage.word == COMPLETE for stage in self.stages)

    @property
    def is_under_way(self) -> bool:
        return not self.is_complete and any(stage.word != PENDING for stage in self.stages)

    @property
    def status(self) -> str:
        """The word of the last stage that all stages up to it have completed, or `Completed`."""
        if self.is_complete:
            return BATCH_COMPLETED
        word = BATCH_PENDING
        for stage in self.stages:
            if stage.word != COMPLETE:
                break
            word = stage.stage.batch_word or word
        return word

    @property
    def remarks(self) -> str:
        """How many failed and in which stages, and how many were skipped; empty when none."""
        parts: list[str] = []
        if self.failed:
            where = ", ".join(f"{stage.stage.log_name} {stage.failed}" for stage in self.stages if stage.failed)
            parts.append(f"{self.failed} of {self.total} files failed ({where})")
        if self.skipped:
            parts.append(f"{self.skipped} of {self.total} files skipped")
        return "; ".join(parts)


def batch_progress(stages: Sequence[StageBookkeeping], paths: Mapping[StatePath, int]) -> BatchProgress:
    """Adds up calls, given as path of states -> number of calls. The stages are the enabled ones, in order.

    A call that failed or was skipped in a stage counts as through for all later ones.
    """
    decided, through, failed_in = ([0] * len(stages) for _ in range(3))
    total = processed = failed = skipped = 0
    for path, calls in paths.items():
        total += calls
        ended = False
        is_through = True
        for position, state in enumerate(path):
            decided[position] += calls if state in _DECIDED else 0
            failed_in[position] += calls if state is StageState.FAILED else 0
            if ended or state in _DECIDED:
                through[position] += calls
            else:
                is_through = False
            ended = ended or state in _ENDS_THE_WAY
        processed += calls if is_through else 0
        if StageState.FAILED in path:
            failed += calls
        elif StageState.SKIPPED in path:
            skipped += calls
    return BatchProgress(
        stages=tuple(
            StageProgress(stage, decided[position], through[position], failed_in[position], total)
            for position, stage in enumerate(stages)
        ),
        total=total,
        processed=processed,
        failed=failed,
        skipped=skipped,
    )


_STAGES_OF_BATCH = registered_call.join(call_stage, call_stage.c.callId == registered_call.c.id)

# Indexes: uq_registeredCall_batchId_ordinal, then the primary key of callStage.
_STAGE_COUNTS = (
    select(call_stage.c.stage, call_stage.c.state, func.count())
    .select_from(_STAGES_OF_BATCH)
    .where(registered_call.c.batchId == bindparam("batch_id"))
    .group_by(call_stage.c.stage, call_stage.c.state)
)

# Indexes: as _STAGE_COUNTS.
_STAGE_TIMES = (
    select(call_stage.c.stage, func.min(call_stage.c.startedAt), func.max(call_stage.c.finishedAt))
    .select_from(_STAGES_OF_BATCH)
    .where(registered_call.c.batchId == bindparam("batch_id"))
    .group_by(call_stage.c.stage)
)

# Index: the primary key.
_LOCK_BATCH = select(batch_status).where(batch_status.c.id == bindparam("batch_id")).with_for_update()

# Index: the primary key.
# Index: the primary key.
_SETTLED = select(batch_status.c.id).where(
    batch_status.c.id == bindparam("batch_id"),
    batch_status.c.status == BATCH_COMPLETED,
    batch_status.c.failedFiles == 0,
)
_UPDATE_BATCH = update(batch_status).where(batch_status.c.id == bindparam("id_of_batch"))


def stage_counts(conn: Connection, batch_id: int) -> dict[str, dict[StageState, int]]:
    """Stage name -> state -> number of calls of the batch. Stages and states that none is in are absent."""
    counts: dict[str, dict[StageState, int]] = {}
    for stage, state, calls in conn.execute(_STAGE_COUNTS, {"batch_id": batch_id}):
        counts.setdefault(stage, {})[StageState(state)] = calls
    return counts


def refresh_batch(conn: Connection, batch_id: int, stages: Sequence[StageBookkeeping]) -> Batch:
    """Counts the batch anew and writes where it stands into `batchStatus`. Raises InvalidInput for no such batch.

    `stages` are the enabled stages, in order. The row is locked before the counting, so that of two refreshes at
    once the later one has the later count.
    """
    row = conn.execute(_LOCK_BATCH, {"batch_id": batch_id}).mappings().one_or_none()
    if row is None:
        raise InvalidInput(f"batch_id: there is no batch {batch_id}")
    paths = {
        tuple(None if state is None else StageState(state) for state in path): calls
        for *path, calls in conn.execute(_paths(stages), {"batch_id": batch_id})
    }
    progress = batch_progress(stages, paths)
    times = {stage: (start, end) for stage, start, end in conn.execute(_STAGE_TIMES, {"batch_id": batch_id})}
    values = _columns(progress, times)
    if any(row[name] != value for name, value in values.items()):
        conn.execute(_UPDATE_BATCH.values(**values, updatedAt=utc_now()), {"id_of_batch": batch_id})
    return Batch(row["id"], row["batchDate"], row["batchNumber"], row["totalFiles"], row["source"])


def refresh_unsettled(conn: Connection, batch_id: int, stages: Sequence[StageBookkeeping]) -> None:
    """As `refresh_batch`, but for a batch that was completed without a failure, which is left as it is."""
    settled = conn.execute(_SETTLED, {"batch_id": batch_id}).first()
    if settled is None:
        refresh_batch(conn, batch_id, stages)


def _paths(stages: Sequence[StageBookkeeping]) -> Executable:
    # Indexes: uq_registeredCall_batchId_ordinal, then the primary key of callStage.
    states = [
        func.max(case((call_stage.c.stage == stage.name, call_stage.c.state))).label(f"state_{position}")
        for position, stage in enumerate(stages)
    ]
    calls = (
        select(registered_call.c.id, *states)
        .select_from(registered_call.outerjoin(call_stage, call_stage.c.callId == registered_call.c.id))
        .where(registered_call.c.batchId == bindparam("batch_id"))
        .group_by(registered_call.c.id)
        .subquery()
    )
    path = [calls.c[f"state_{position}"] for position in range(len(stages))]
    return select(*path, func.count()).group_by(*path)


def _columns(progress: BatchProgress, times: Mapping[str, tuple[datetime | None, datetime | None]]) -> Row:
    columns: dict[str, Any] = {
        "status": progress.status,
        "currentBatch": progress.is_under_way,
        "processedFiles": progress.processed,
        "failedFiles": progress.failed,
        "skippedFiles": progress.skipped,
        "remarks": progress.remarks,
    }
    starts: list[datetime] = []
    ends: list[datetime] = []
    for stage in progress.stages:
        start, end = times.get(stage.stage.name, (None, None))
        starts.extend([start] if start else [])
        ends.extend([end] if end else [])
        if stage.stage.batch_column:
            columns[stage.stage.batch_column] = stage.word
            columns[start_column(stage.stage.batch_column)] = start
            columns[end_column(stage.stage.batch_column)] = end if stage.word == COMPLETE else None
    columns["batchStartTime"] = min(starts, default=None)
    columns["batchEndTime"] = max(ends, default=None) if progress.is_complete else None
    return columns
