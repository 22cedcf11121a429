"""What people look at: one call with everything found out about it, and the latest batches.

What belongs here: reads for `cofi show`, the status page and the API. What does not: what stages read (`inputs.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, bindparam, select

from cofi_resources.database.registry import calls_by_key
from cofi_resources.database.tables import (
    BATCH_STAGE_COLUMNS,
    audit_answer,
    audit_score,
    batch_status,
    call_conversation,
    call_stage,
    question,
    registered_call,
    section,
    transcript,
)
from cofi_resources.errors import InvalidInput
from cofi_resources.records import Batch, Call, EngineVersion, Evidence, Segment, SpokenTrade, StageState


@dataclass(frozen=True, slots=True)
class AnswerView:
    """An answer with the names of its question and sections. `score` is None where the answer is not scored."""

    section: str
    sub_section: str
    question_key: str
    question: str
    answer: str
    score: float | None
    is_critical: bool
    confidence: float | None
    evidence: Evidence | None
    engine: EngineVersion | None
    form_version: str | None


@dataclass(frozen=True, slots=True)
class StageView:
    """How a stage stands on a call. `reason` says why it was skipped or failed."""

    stage: str
    state: StageState
    reason: str
    machine: str | None
    run_id: str | None
    started_at: datetime | None
    duration_s: float | None
    finished_at: datetime | None
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CallView:
    """Everything known of a call. `score` and `max_score` are None until its form was answered."""

    call: Call
    batch: Batch
    segments: tuple[Segment, ...]
    transcript_engine: EngineVersion | None
    trades: tuple[SpokenTrade, ...]
    answers: tuple[AnswerView, ...]
    stages: tuple[StageView, ...]
    score: float | None
    max_score: float | None
    critical_failures: int


@dataclass(frozen=True, slots=True)
class BatchView:
    """A row of `batchStatus`. `stages` maps its stage columns (`lidStatus`) to Pending, InProgress or Complete."""

    id: int
    date: date
    number: int
    kind: str
    source: str
    status: str
    total_files: int
    processed_files: int
    failed_files: int
    skipped_files: int
    remarks: str
    started_at: datetime | None
    ended_at: datetime | None
    stages: Mapping[str, str]


# Index: uq_registeredCall_partitionKey.
_BY_KEY = select(registered_call.c.partitionKey).where(registered_call.c.partitionKey == bindparam("reference"))
# Index: the primary key.
_BY_ID = select(registered_call.c.partitionKey).where(registered_call.c.id == bindparam("reference"))
# Index: ix_registeredCall_file.
_BY_FILE = (
    select(registered_call.c.partitionKey)
    .where(registered_call.c.file == bindparam("reference"))
    .order_by(registered_call.c.batchId.desc())
    .limit(1)
)
# Index: uq_transcript_callId_seq.
_SEGMENTS = select(transcript).where(transcript.c.callId == bindparam("call_id")).order_by(transcript.c.seq)
# Index: uq_callConversation_callId_seq.
_TRADES = (
    select(call_conversation)
    .where(call_conversation.c.callId == bindparam("call_id"))
    .order_by(call_conversation.c.seq)
)
_SUB_SECTION = section.alias("subSection")
# Index: uq_auditAnswer_callId_questionId, then primary keys. Answers were inserted in the form's order.
_ANSWERS = (
    select(
        audit_answer,
        question.c.questionKey,
        question.c.name.label("questionName"),
        section.c.name.label("sectionName"),
        _SUB_SECTION.c.name.label("subSectionName"),
    )
    .select_from(
        audit_answer.join(question, question.c.id == audit_answer.c.questionId)
        .outerjoin(section, section.c.id == audit_answer.c.sectionId)
        .outerjoin(_SUB_SECTION, _SUB_SECTION.c.id == audit_answer.c.subSectionId)
    )
    .where(audit_answer.c.callId == bindparam("call_id"))
    .order_by(audit_answer.c.id)
)
# Index: the primary key.
_SCORE = select(audit_score).where(audit_score.c.callId == bindparam("call_id"))
# Index: the primary key (callId, stage).
_STAGES = select(call_stage).where(call_stage.c.callId == bindparam("call_id"))
# Index: the primary key.
_BATCH = select(batch_status).where(batch_status.c.id == bindparam("batch_id"))
# Index: the primary key, backwards.
_LATEST_BATCHES = select(batch_status).order_by(batch_status.c.id.desc()).limit(bindparam("limit"))


def call_view(conn: Connection, reference: str) -> CallView:
    """A call by partition key, id, or file name (of the newest batch that has it), in this order.

    Raises InvalidInput when there is none.
    """
    call = _find(conn, reference)
    of_call = {"call_id": call.id}
    batch = conn.execute(_BATCH, {"batch_id": call.batch_id}).mappings().one()
    spoken = list(conn.execute(_SEGMENTS, of_call).mappings())
    score = conn.execute(_SCORE, of_call).mappings().one_or_none()
    stages = [_stage(row) for row in conn.execute(_STAGES, of_call).mappings()]
    stages.sort(key=lambda stage: (stage.started_at is None, stage.started_at, stage.stage))
    return CallView(
        call=call,
        batch=Batch(batch["id"], batch["batchDate"], batch["batchNumber"], batch["totalFiles"], batch["source"]),
        segments=tuple(
            Segment(row["startTime"], row["endTime"], row["speaker"], row["text"], row["confidence"]) for row in spoken
        ),
        transcript_engine=_engine(spoken[0]) if spoken else None,
        trades=tuple(_trade(row) for row in conn.execute(_TRADES, of_call).mappings()),
        answers=tuple(_answer(row) for row in conn.execute(_ANSWERS, of_call).mappings()),
        stages=tuple(stages),
        score=score["score"] if score else None,
        max_score=score["maxScore"] if score else None,
        critical_failures=score["criticalFailures"] if score else 0,
    )


def batch_views(conn: Connection, limit: int) -> list[BatchView]:
    """The latest batches, newest first."""
    return [
        BatchView(
            id=row["id"],
            date=row["batchDate"],
            number=row["batchNumber"],
            kind=row["kind"],
            source=row["source"],
            status=row["status"],
            total_files=row["totalFiles"],
            processed_files=row["processedFiles"],
            failed_files=row["failedFiles"],
            skipped_files=row["skippedFiles"],
            remarks=row["remarks"] or "",
            started_at=row["batchStartTime"],
            ended_at=row["batchEndTime"],
            stages={column: row[column] for column in BATCH_STAGE_COLUMNS},
        )
        for row in conn.execute(_LATEST_BATCHES, {"limit": limit}).mappings()
    ]


def _find(conn: Connection, reference: str) -> Call:
    key = conn.execute(_BY_KEY, {"reference": reference}).scalar()
    if key is None and reference.isascii() and reference.isdigit() and len(reference) < 19:
        key = conn.execute(_BY_ID, {"reference": int(reference)}).scalar()
    if key is None:
        key = conn.execute(_BY_FILE, {"reference": reference}).scalar()
    calls = calls_by_key(conn, [key]) if key else []
    if not calls:
        raise InvalidInput(f"call: there is none with the id, partition key or file name {reference!r}")
    return calls[0]


def _trade(row: RowMapping) -> SpokenTrade:
    return SpokenTrade(
        script_name=row["scriptName"],
        buy_sell=row["buySell"],
        quantity=row["lotQuantity"],
        trade_price=row["tradePrice"],
        strike_price=row["strikePrice"],
        option_type=row["optionType"],
        expiry_date=row["expiryDate"],
        trade_date=row["tradeDate"],
        current_market_price=row["currentMarketPrice"],
        evidence=_evidence(row),
    )


def _answer(row: RowMapping) -> AnswerView:
    return AnswerView(
        section=row["sectionName"] or "",
        sub_section=row["subSectionName"] or "",
        question_key=row["questionKey"],
        question=row["questionName"],
        answer=row["answer"],
        score=row["score"],
        is_critical=bool(row["isCritical"]),
        confidence=row["confidence"],
        evidence=_evidence(row),
        engine=_engine(row),
        form_version=row["formVersion"],
    )


def _stage(row: RowMapping) -> StageView:
    return StageView(
        stage=row["stage"],
        state=StageState(row["state"]),
        reason=row["reason"] or "",
        machine=row["machine"],
        run_id=row["runId"],
        started_at=row["startedAt"],
        duration_s=row["durationS"],
        finished_at=row["finishedAt"],
        metadata=row["metadata"] or {},
    )


def _evidence(row: RowMapping) -> Evidence | None:
    if row["evidenceQuote"] is None:
        return None
    return Evidence(row["evidenceQuote"], row["evidenceSegment"], row["evidenceStart"], row["evidenceEnd"])


def _engine(row: RowMapping) -> EngineVersion | None:
    if row["engineName"] is None:
        return None
    return EngineVersion(row["engineName"], row["engineModel"] or "", row["engineVersion"] or "")
