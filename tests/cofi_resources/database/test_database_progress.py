"""How far a batch is follows from the states of its calls."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from audited_calls import STAGES, STARTED_AT, answered, distributed, identified, outcome, traded, transcribed
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from cofi_resources.database import logs, progress, tables
from cofi_resources.database.engine import Database
from cofi_resources.database.progress import StatePath, batch_progress
from cofi_resources.errors import InvalidInput
from cofi_resources.records import AuditForm, Call, StageState

ENABLED = list(STAGES.values())
THREE = [STAGES["distribution"], STAGES["lid"], STAGES["transcripts"]]
DONE, FAILED, SKIPPED, PENDING = StageState.DONE, StageState.FAILED, StageState.SKIPPED, StageState.PENDING


def words(paths: dict[StatePath, int]) -> list[str]:
    return [stage.word for stage in batch_progress(THREE, paths).stages]


@pytest.mark.parametrize(
    ("paths", "expected", "status"),
    [
        ({(None, None, None): 2}, ["Pending", "Pending", "Pending"], "Pending"),
        ({(PENDING, PENDING, PENDING): 2}, ["Pending", "Pending", "Pending"], "Pending"),
        (
            {(DONE, PENDING, PENDING): 1, (PENDING, PENDING, PENDING): 1},
            ["InProgress", "Pending", "Pending"],
            "Pending",
        ),
        ({(DONE, PENDING, None): 2}, ["Complete", "Pending", "Pending"], "dbInsertDone"),
        (
            {(DONE, DONE, PENDING): 1, (DONE, PENDING, PENDING): 1},
            ["Complete", "InProgress", "Pending"],
            "dbInsertDone",
        ),
        (
            {(DONE, DONE, DONE): 1, (DONE, PENDING, PENDING): 1},
            ["Complete", "InProgress", "InProgress"],
            "dbInsertDone",
        ),
        ({(DONE, DONE, SKIPPED): 1, (DONE, FAILED, PENDING): 1}, ["Complete", "Complete", "Complete"], "Completed"),
        ({(FAILED, PENDING, None): 2}, ["Complete", "Complete", "Complete"], "Completed"),
        ({(DONE, DONE, DONE): 2}, ["Complete", "Complete", "Complete"], "Completed"),
    ],
)
def test_a_stage_is_complete_when_no_call_waits_for_it(
    paths: dict[StatePath, int], expected: list[str], status: str
) -> None:
    assert words(paths) == expected
    assert batch_progress(THREE, paths).status == status


def test_failed_and_skipped_calls_are_counted_once_and_named() -> None:
    paths: dict[StatePath, int] = {
        (DONE, DONE, DONE): 5,
        (DONE, FAILED, PENDING): 2,
        (DONE, DONE, FAILED): 1,
        (DONE, DONE, SKIPPED): 3,
    }
    result = batch_progress(THREE, paths)
    assert (result.total, result.processed, result.failed, result.skipped) == (11, 11, 3, 3)
    assert result.remarks == "3 of 11 files failed (lid 2, stt 1); 3 of 11 files skipped"


def test_a_batch_without_failures_needs_no_remarks() -> None:
    assert batch_progress(THREE, {(DONE, DONE, DONE): 5}).remarks == ""


STATES = st.sampled_from([None, PENDING, DONE, SKIPPED, FAILED])


@given(st.dictionaries(st.tuples(STATES, STATES, STATES), st.integers(min_value=1, max_value=1000), max_size=20))
def test_a_batch_is_completed_exactly_when_every_call_is_through(paths: dict[StatePath, int]) -> None:
    result = batch_progress(THREE, paths)
    assert (result.status == "Completed") == (result.processed == result.total)
    assert result.failed + result.skipped <= result.total
    assert all(stage.decided <= stage.through <= result.total for stage in result.stages)


def batch_row(database: Database, batch_id: int) -> dict[str, Any]:
    statement = select(tables.batch_status).where(tables.batch_status.c.id == batch_id)
    return dict(database.read(lambda conn: conn.execute(statement).mappings().one()))


def refresh(database: Database, calls: Sequence[Call]) -> dict[str, Any]:
    batch = database.transact(lambda conn: progress.refresh_batch(conn, calls[0].batch_id, ENABLED))
    assert batch.id == calls[0].batch_id
    assert batch.total_files == len(calls)
    return batch_row(database, batch.id)


def test_a_batch_walks_from_pending_to_completed(
    database: Database, register: Callable, write: Callable, form: AuditForm
) -> None:
    good, bad = register(["a.wav", "b.wav"])
    row = refresh(database, [good, bad])
    assert (row["status"], row["lidStatus"], row["currentBatch"], row["batchStartTime"]) == (
        "Pending",
        "Pending",
        False,
        None,
    )

    write(distributed(good), distributed(bad), identified(good))
    row = refresh(database, [good, bad])
    assert (row["status"], row["dbInsertionStatus"], row["lidStatus"], row["sttStatus"]) == (
        "dbInsertDone",
        "Complete",
        "InProgress",
        "Pending",
    )
    assert (row["lidStartTime"], row["lidEndTime"], row["currentBatch"]) == (STARTED_AT, None, True)
    assert row["dbInsertionEndTime"] == STARTED_AT + timedelta(seconds=2)

    failure = outcome(bad, "lid", state=FAILED, reason="no speech service", duration_s=8.0)
    write(failure, transcribed(good), traded(good), answered(good, form, "YES", "Dealer"))
    row = refresh(database, [good, bad])
    assert (row["status"], row["llm2Status"], row["currentBatch"]) == ("Completed", "Complete", False)
    assert (row["processedFiles"], row["failedFiles"], row["skippedFiles"]) == (2, 1, 0)
    assert row["remarks"] == "1 of 2 files failed (lid 1)"
    assert row["batchStartTime"] == STARTED_AT
    assert row["batchEndTime"] == STARTED_AT + timedelta(seconds=8)
    assert row["denoiseStatus"] == "Pending"


def test_a_refresh_without_news_touches_nothing(database: Database, register: Callable, write: Callable) -> None:
    calls = register(["a.wav"])
    write(distributed(calls[0]))
    first = refresh(database, calls)
    assert refresh(database, calls) == first


def test_an_unknown_batch_is_refused(database: Database) -> None:
    with pytest.raises(InvalidInput, match="there is no batch 17"):
        database.transact(lambda conn: progress.refresh_batch(conn, 17, ENABLED))


def test_stages_are_counted_by_state_and_batch(database: Database, register: Callable, write: Callable) -> None:
    first, second = register(["a.wav", "b.wav"])
    (other,) = register(["a.wav"])
    write(distributed(first), distributed(second), distributed(other), outcome(first, "lid", state=FAILED))
    assert database.read(lambda conn: progress.stage_counts(conn, first.batch_id)) == {
        "distribution": {DONE: 2},
        "lid": {FAILED: 1},
    }


def test_events_are_logged_as_dashboards_read_them(database: Database) -> None:
    started = logs.ExecutionEvent(
        0, "stt", "stage_progress", "processing", STARTED_AT, None, None, None, None, None, 1000, 100, {"rate": 1.5}
    )
    refused = logs.ExecutionEvent(
        0, "intake", "error", "failed", file_name="caf\udce9" + "x" * 300, error_message="caf\udce9 is no name"
    )
    database.transact(lambda conn: logs.log_events(conn, [started, refused]))
    progressed, error = database.read(
        lambda conn: conn.execute(select(tables.batch_execution_log).order_by("id")).mappings().all()
    )
    assert (progressed["timestamp"], progressed["eventType"], progressed["metadata"]) == (
        1768501800250,
        "stage_progress",
        {"rate": 1.5},
    )
    assert (progressed["totalFiles"], progressed["processedFiles"]) == (1000, 100)
    assert error["fileName"].startswith("caf\\udce9xxx")
    assert len(error["fileName"]) == 255
    assert error["errorMessage"] == "caf\\udce9 is no name"
