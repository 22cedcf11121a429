"""Rows of the two log tables: `processing_logs` for people who look for faults, `batchExecutionLog` for dashboards.

What belongs here: what is logged and how it is worded. What does not: the states and results themselves.
Decision: a request or answer of any size may stand behind a failure; its first 16,000 characters are kept, and how
long it was. Names in the log may be those of files that were refused, and are made to fit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from cofi_resources.database.bulk import insert_rows
from cofi_resources.database.machines import address_of
from cofi_resources.database.tables import FILE_NAME_LENGTH, batch_execution_log, processing_logs, utc_now
from cofi_resources.records import StageBookkeeping, StageOutcome, StageState

LONGEST_PAYLOAD = 16_000
REAUDIT_BATCH_ID = 0
"""Re-audits log with this batch id: they are of no single batch."""


@dataclass(frozen=True, slots=True)
class LogOptions:
    """What is logged beyond failures, and whether it is for a re-audit (which logs with batch id 0)."""

    log_successes: bool = False
    log_file_start_events: bool = False
    reaudit: bool = False


@dataclass(frozen=True, slots=True)
class ExecutionEvent:
    """A row of `batchExecutionLog`. `stage` is the stage's `log_name`; `at` is naive UTC, None for now.

    `event_type` is one of stage_start, stage_progress, stage_complete, file_start, file_complete, error, info;
    `status` one of pending, processing, success, failed (domain, section 3).
    """

    batch_id: int
    stage: str
    event_type: str
    status: str
    at: datetime | None = None
    file_name: str | None = None
    machine: str | None = None
    payload: str | None = None
    response: str | None = None
    error_message: str | None = None
    total_files: int | None = None
    processed_files: int | None = None
    metadata: Mapping[str, Any] | None = None


def log_events(conn: Connection, events: Sequence[ExecutionEvent]) -> None:
    """Adds rows to `batchExecutionLog`."""
    now = utc_now()
    insert_rows(conn, batch_execution_log, [_event_row(event, now) for event in events])


def log_outcomes(
    conn: Connection, outcomes: Sequence[StageOutcome], stages: Mapping[str, StageBookkeeping], options: LogOptions
) -> None:
    """Logs how stages ended: every failure in both tables, the rest as `options` asks."""
    processing: list[dict[str, Any]] = []
    events: list[ExecutionEvent] = []
    for outcome in outcomes:
        name = stages[outcome.stage].log_name
        failed = outcome.state is StageState.FAILED
        if failed or options.log_successes:
            processing.append(_processing_row(outcome, name))
        if failed or options.log_file_start_events:
            events.extend(_outcome_events(outcome, name, options))
    insert_rows(conn, processing_logs, processing)
    log_events(conn, events)


def shortened(text: str, length: int = LONGEST_PAYLOAD) -> str:
    """The text as UTF-8 can hold it; beyond `length` characters its beginning, and how many there were."""
    text = text.encode(errors="backslashreplace").decode()
    if len(text) <= length:
        return text
    ending = f" ... ({len(text)} characters in all)"
    return text[: length - len(ending)] + ending


def _shortened(text: str | None, length: int = LONGEST_PAYLOAD) -> str | None:
    return None if text is None else shortened(text, length)


def _processing_row(outcome: StageOutcome, stage_name: str) -> dict[str, Any]:
    trace = outcome.trace
    return {
        "call_id": outcome.call.id,
        "batch_id": outcome.call.batch_id,
        "stage_name": stage_name,
        "status": "failed" if outcome.state is StageState.FAILED else "success",
        "error_message": shortened(outcome.reason) or None,
        "request_url": shortened(trace.url) if trace else None,
        "input_payload": shortened(trace.payload) if trace else None,
        "output_payload": shortened(trace.response) if trace else None,
        "created_at": _end_of(outcome),
    }


def _outcome_events(outcome: StageOutcome, stage_name: str, options: LogOptions) -> list[ExecutionEvent]:
    event = ExecutionEvent(
        batch_id=REAUDIT_BATCH_ID if options.reaudit else outcome.call.batch_id,
        stage=stage_name,
        event_type="file_complete",
        status="success",
        at=_end_of(outcome),
        file_name=outcome.call.file,
        machine=outcome.machine,
    )
    if outcome.state is StageState.FAILED:
        event = replace(
            event,
            event_type="error",
            status="failed",
            error_message=outcome.reason,
            payload=outcome.trace.payload if outcome.trace else None,
            response=outcome.trace.response if outcome.trace else None,
        )
    if not options.log_file_start_events:
        return [event]
    started = replace(
        event,
        event_type="file_start",
        status="processing",
        at=outcome.started_at,
        error_message=None,
        payload=None,
        response=None,
    )
    return [started, event]


def _end_of(outcome: StageOutcome) -> datetime:
    return outcome.started_at + timedelta(seconds=outcome.duration_s)


def _event_row(event: ExecutionEvent, now: datetime) -> dict[str, Any]:
    at = event.at or now
    return {
        "batchId": event.batch_id,
        "timestamp": int(at.replace(tzinfo=UTC).timestamp() * 1000),
        "stage": event.stage,
        "eventType": event.event_type,
        "fileName": _shortened(event.file_name, FILE_NAME_LENGTH),
        "gpuIp": address_of(event.machine),
        "payload": _shortened(event.payload),
        "response": _shortened(event.response),
        "status": event.status,
        "errorMessage": _shortened(event.error_message),
        "totalFiles": event.total_files,
        "processedFiles": event.processed_files,
        "metadata": None if event.metadata is None else dict(event.metadata),
    }
