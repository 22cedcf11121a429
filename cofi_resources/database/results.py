"""The group-commit writer's one statement set: results, states, flags and logs of hundreds of outcomes at once.

What belongs here: which tables a result replaces, and how. What does not: building rows (`result_rows.py`), states
(`stage_states.py`), logs (`logs.py`), and when to flush (the engine).
Decision: what a result replaces is deleted and inserted, not updated: a transcript may get shorter. Under READ
COMMITTED a DELETE that finds nothing locks nothing.
"""

from collections.abc import Mapping, Sequence
from typing import TypeVar

from sqlalchemy import Connection, Table, bindparam, delete, select, update

from cofi_resources.database import result_rows
from cofi_resources.database.bulk import chunks, insert_rows, upsert
from cofi_resources.database.logs import LogOptions, log_outcomes
from cofi_resources.database.result_rows import Registration
from cofi_resources.database.stage_states import write_states
from cofi_resources.database.tables import (
    audit_answer,
    audit_score,
    call,
    call_conversation,
    file_distribution,
    language,
    lid_status,
    process,
    registered_call,
    transcript,
    utc_now,
)
from cofi_resources.records import (
    Distributed,
    FormAnswered,
    LanguageIdentified,
    StageBookkeeping,
    StageOutcome,
    StageState,
    TradesExtracted,
    Transcribed,
)
from cofi_resources.scoring import score

__all__ = ["LogOptions", "write_outcomes"]

R = TypeVar("R")

# Index: the primary keys of registeredCall and process.
_REGISTRATIONS = (
    select(registered_call, process.c.auditFormId)
    .select_from(registered_call.join(process, process.c.id == registered_call.c.processId))
    .where(registered_call.c.id.in_(bindparam("ids", expanding=True)))
)

# Some tens of rows.
_LANGUAGE_IDS = select(language.c.languageCode, language.c.id)

_LID_OF_CALL = (lid_status.c.batchId == call.c.batchId) & (lid_status.c.file == call.c.audioName)

# Indexes: the primary key of call, uq_lidStatus_batchId_file, uq_language_languageCode.
_COPY_LANGUAGE = (
    update(call)
    .where(call.c.id.in_(bindparam("ids", expanding=True)))
    .values(
        lang=select(lid_status.c.language).where(_LID_OF_CALL).scalar_subquery(),
        audioDuration=select(lid_status.c.audioDuration).where(_LID_OF_CALL).scalar_subquery(),
        languageId=select(language.c.id)
        .select_from(lid_status.join(language, language.c.languageCode == lid_status.c.language))
        .where(_LID_OF_CALL)
        .scalar_subquery(),
        updatedAt=bindparam("now"),
    )
)

# Index: the unique key of each of these tables begins with callId.
_DELETE_OF_CALLS = {
    replaced.name: delete(replaced).where(replaced.c.callId.in_(bindparam("ids", expanding=True)))
    for replaced in (transcript, call_conversation, audit_answer)
}


def write_outcomes(
    conn: Connection,
    outcomes: Sequence[StageOutcome],
    stages: Mapping[str, StageBookkeeping],
    options: LogOptions,
    *,
    audio_endpoint: str = "",
) -> None:
    """Stores a group of outcomes, in the order in which they came: results, states, flags, `call.status` and logs.

    `stages` maps a stage's name to its marks. A result replaces the one before it; a failure leaves the old rows
    alone. `audio_endpoint` is what `call.audioUrl` begins with. Writing the same group again changes nothing but the
    logs, which get their rows again.
    """
    _write_distributed(conn, _with_result(outcomes, Distributed), audio_endpoint)
    _write_languages(conn, _with_result(outcomes, LanguageIdentified))
    _write_transcripts(conn, _with_result(outcomes, Transcribed))
    _write_trades(conn, _with_result(outcomes, TradesExtracted))
    _write_answers(conn, _with_result(outcomes, FormAnswered))
    write_states(conn, outcomes, stages)
    log_outcomes(conn, outcomes, stages, options)


def _with_result(outcomes: Sequence[StageOutcome], kind: type[R]) -> list[tuple[StageOutcome, R]]:
    """The last outcome of each call that brought such a result, by call id."""
    last: dict[int, tuple[StageOutcome, R]] = {}
    for outcome in outcomes:
        if outcome.state is StageState.DONE and isinstance(outcome.result, kind):
            last[outcome.call.id] = (outcome, outcome.result)
    return [last[call_id] for call_id in sorted(last)]


def _write_distributed(
    conn: Connection, results: Sequence[tuple[StageOutcome, Distributed]], audio_endpoint: str
) -> None:
    if not results:
        return
    now = utc_now()
    registered = _registrations(conn, [outcome.call.id for outcome, _ in results])
    digests: list[result_rows.RowDict] = []
    distributions: list[result_rows.RowDict] = []
    calls: list[result_rows.RowDict] = []
    for outcome, result in results:
        columns, registration = registered[outcome.call.id]
        digests.append({**columns, "sha256": result.sha256})
        distributions.append(result_rows.distribution_row(outcome.call, result))
        calls.append(result_rows.call_row(outcome.call, result, registration, audio_endpoint=audio_endpoint, at=now))
    # The rows are there: an upsert is how one statement gives each of them a value of its own.
    upsert(conn, registered_call, digests, key=("id",), update=("sha256",))
    upsert(conn, file_distribution, distributions, key=("batchId", "file"), update=("ip", "callId"))
    upsert(conn, call, calls, key=("id",), update=result_rows.CALL_COLUMNS_OF_DISTRIBUTION)


def _write_languages(conn: Connection, results: Sequence[tuple[StageOutcome, LanguageIdentified]]) -> None:
    if not results:
        return
    now = utc_now()
    rows = [
        result_rows.language_row(outcome.call, result, machine=outcome.machine, at=now) for outcome, result in results
    ]
    upsert(conn, lid_status, rows, key=("batchId", "file"))
    for ids in chunks([outcome.call.id for outcome, _ in results]):
        conn.execute(_COPY_LANGUAGE, {"ids": ids, "now": now})


def _write_transcripts(conn: Connection, results: Sequence[tuple[StageOutcome, Transcribed]]) -> None:
    if not results:
        return
    language_ids = dict(conn.execute(_LANGUAGE_IDS).all())
    rows: list[result_rows.RowDict] = []
    for outcome, result in results:
        rows.extend(result_rows.transcript_rows(outcome.call, result, language_ids))
    _replace(conn, transcript, [outcome.call.id for outcome, _ in results], rows)


def _write_trades(conn: Connection, results: Sequence[tuple[StageOutcome, TradesExtracted]]) -> None:
    rows: list[result_rows.RowDict] = []
    for outcome, result in results:
        rows.extend(result_rows.trade_rows(outcome.call, result))
    _replace(conn, call_conversation, [outcome.call.id for outcome, _ in results], rows)


def _write_answers(conn: Connection, results: Sequence[tuple[StageOutcome, FormAnswered]]) -> None:
    if not results:
        return
    now = utc_now()
    ids = [outcome.call.id for outcome, _ in results]
    registered = _registrations(conn, ids)
    answers: list[result_rows.RowDict] = []
    scores: list[result_rows.RowDict] = []
    for outcome, result in results:
        _, registration = registered[outcome.call.id]
        answers.extend(result_rows.answer_rows(outcome.call, result, registration.process_id))
        scores.append(result_rows.score_row(outcome.call, result, score(result.form, result.answers), at=now))
    _replace(conn, audit_answer, ids, answers)
    upsert(conn, audit_score, scores, key=("callId",))


def _replace(conn: Connection, table: Table, call_ids: Sequence[int], rows: Sequence[result_rows.RowDict]) -> None:
    for ids in chunks(call_ids):
        conn.execute(_DELETE_OF_CALLS[table.name], {"ids": ids})
    insert_rows(conn, table, rows)


def _registrations(conn: Connection, call_ids: Sequence[int]) -> dict[int, tuple[result_rows.RowDict, Registration]]:
    """Of each call: the row of `registeredCall`, and what it says for the call's own row."""
    found: dict[int, tuple[result_rows.RowDict, Registration]] = {}
    for ids in chunks(call_ids):
        for row in conn.execute(_REGISTRATIONS, {"ids": ids}).mappings():
            columns = {column.name: row[column] for column in registered_call.c}
            registration = Registration(
                process_id=row["processId"],
                audit_form_id=row["auditFormId"],
                category_mapping_id=row["categoryMappingId"],
            )
            found[row["id"]] = (columns, registration)
    return found
