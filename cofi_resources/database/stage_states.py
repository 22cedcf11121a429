"""Where each stage of each call stands, and the marks that say so in the tables other systems read.

What belongs here: `callStage`, the flags of `fileDistribution`, and `call.status`. What does not: results.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from math import isfinite

from sqlalchemy import Connection, bindparam, update

from cofi_resources.database.bulk import chunks, upsert
from cofi_resources.database.tables import call, call_stage, file_distribution, utc_now
from cofi_resources.records import CallStatus, StageBookkeeping, StageOutcome, StageState

# Index: uq_fileDistribution_callId. The flags follow, as values.
_SET_FLAGS = update(file_distribution).where(file_distribution.c.callId.in_(bindparam("ids", expanding=True)))

# Index: the primary key.
_SET_STATUS = (
    update(call)
    .where(call.c.id.in_(bindparam("ids", expanding=True)))
    .values(status=bindparam("new_status"), updatedAt=bindparam("now"))
)

_PENDING_AGAIN = (
    "state",
    "reason",
    "runId",
    "rootRunId",
    "startedAt",
    "durationS",
    "finishedAt",
    "metadata",
)
"""What `begin` overwrites. The machine stays: that is where the file was last known to be."""


def begin(
    conn: Connection,
    pairs: Sequence[tuple[int, StageBookkeeping]],
    root_run_id: str,
    call_status: Mapping[int, CallStatus],
) -> None:
    """Marks (call id, stage) pairs as pending for a run, clears their flags, and sets `call.status` where one is given.

    Result rows stay until new ones replace them (architecture 3.4). Calls without a `call` row are passed over.
    """
    rows = [
        {
            "callId": call_id,
            "stage": stage,
            "state": StageState.PENDING.value,
            "reason": None,
            "runId": None,
            "rootRunId": root_run_id,
            "startedAt": None,
            "durationS": None,
            "finishedAt": None,
            "metadata": None,
        }
        for call_id, stage in sorted({(call_id, stage.name) for call_id, stage in pairs})
    ]
    upsert(conn, call_stage, rows, key=("callId", "stage"), update=_PENDING_AGAIN)
    set_flags(conn, ((call_id, stage.flag) for call_id, stage in pairs if stage.flag), value=False)
    set_call_status(conn, call_status)


def write_states(conn: Connection, outcomes: Sequence[StageOutcome], stages: Mapping[str, StageBookkeeping]) -> None:
    """Stores how stages ended: their state, the flags of those that are done, and the calls' new status.

    Of several outcomes for one call and stage the last one counts.
    """
    rows = {(outcome.call.id, outcome.stage): _state_row(outcome) for outcome in outcomes}
    upsert(conn, call_stage, [rows[key] for key in sorted(rows)], key=("callId", "stage"))
    done: list[tuple[int, str]] = []
    for outcome in outcomes:
        flag = stages[outcome.stage].flag
        if flag and outcome.state is StageState.DONE:
            done.append((outcome.call.id, flag))
    set_flags(conn, done, value=True)
    set_call_status(
        conn, {outcome.call.id: outcome.call_status for outcome in outcomes if outcome.call_status is not None}
    )


def set_flags(conn: Connection, marks: Iterable[tuple[int, str]], *, value: bool) -> None:
    """Sets flags of `fileDistribution`, given as (call id, column); one statement for all calls with the same flags."""
    flags_of_call: dict[int, set[str]] = {}
    for call_id, flag in marks:
        flags_of_call.setdefault(call_id, set()).add(flag)
    calls_of_flags: dict[tuple[str, ...], list[int]] = {}
    for call_id, flags in sorted(flags_of_call.items()):
        calls_of_flags.setdefault(tuple(sorted(flags)), []).append(call_id)
    for flags, call_ids in sorted(calls_of_flags.items()):
        for ids in chunks(call_ids):
            conn.execute(_SET_FLAGS.values(dict.fromkeys(flags, value)), {"ids": ids})


def set_call_status(conn: Connection, statuses: Mapping[int, CallStatus]) -> None:
    """Sets `call.status`; one statement for all calls with the same status."""
    calls_of_status: dict[CallStatus, list[int]] = {}
    for call_id, status in sorted(statuses.items()):
        calls_of_status.setdefault(status, []).append(call_id)
    now = utc_now()
    for status, call_ids in sorted(calls_of_status.items()):
        for ids in chunks(call_ids):
            conn.execute(_SET_STATUS, {"ids": ids, "new_status": status.value, "now": now})


def _state_row(outcome: StageOutcome) -> dict[str, object]:
    return {
        "callId": outcome.call.id,
        "stage": outcome.stage,
        "state": outcome.state.value,
        "reason": outcome.reason or None,
        "machine": outcome.machine,
        "runId": outcome.run_id,
        "rootRunId": outcome.root_run_id,
        "startedAt": outcome.started_at,
        "durationS": outcome.duration_s,
        "finishedAt": outcome.started_at + timedelta(seconds=outcome.duration_s),
        # JSON has no NaN.
        "metadata": {
            name: None if isinstance(value, float) and not isfinite(value) else value
            for name, value in outcome.metadata.items()
        },
    }
