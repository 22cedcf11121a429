"""A call, where it stands, and what the stages found out about it (domain, sections 2 and 3).

Decision: the tables with many rows a call refer to their call (and question) by foreign key, not to sections or the
batch: InnoDB would keep an index for each, on the tables that are written most.
"""

from sqlalchemy import Boolean, Column, ForeignKey, Index, Integer, String, UniqueConstraint

from cofi_resources.database.tables.columns import (
    ID,
    JSON_TEXT,
    MACHINE,
    REAL,
    TEXT,
    TIMESTAMP,
    exact,
    file_name,
    id_column,
    table,
)

file_distribution = table(
    "fileDistribution",
    id_column(),
    Column("file", file_name(), nullable=False),
    Column("ip", MACHINE),
    Column("batchId", ID, ForeignKey("batchStatus.id"), nullable=False),
    Column("denoiseDone", Boolean, nullable=False, server_default="0"),
    Column("ivrDone", Boolean, nullable=False, server_default="0"),
    Column("lidDone", Boolean, nullable=False, server_default="0"),
    Column("sttDone", Boolean, nullable=False, server_default="0"),
    Column("llm1Done", Boolean, nullable=False, server_default="0"),
    Column("llm2Done", Boolean, nullable=False, server_default="0"),
    # Ours: flags are set by number, hundreds of calls in one statement.
    Column("callId", ID, ForeignKey("registeredCall.id"), nullable=False, unique=True),
    UniqueConstraint("batchId", "file"),
)

call = table(
    "call",
    Column("id", ID, ForeignKey("registeredCall.id"), primary_key=True, autoincrement=False),
    Column("processId", ID, ForeignKey("process.id"), nullable=False),
    Column("auditFormId", ID, ForeignKey("auditForm.id")),
    Column("categoryMappingId", ID, ForeignKey("categoryMapping.id"), nullable=False),
    Column("userId", ID, nullable=False),
    Column("languageId", ID, ForeignKey("language.id")),
    Column("audioUrl", TEXT, nullable=False),
    Column("audioName", file_name(), nullable=False, index=True),
    Column("audioDuration", REAL, nullable=False),
    Column("lang", String(255), nullable=False),
    Column("type", String(32), nullable=False),
    Column("status", String(32), nullable=False),
    Column("batchId", ID, ForeignKey("batchStatus.id"), nullable=False),
    Column("ip", MACHINE),
    Column("createdAt", TIMESTAMP, nullable=False),
    Column("updatedAt", TIMESTAMP, nullable=False),
    UniqueConstraint("batchId", "audioName"),
    Index(None, "batchId", "status"),
)

call_stage = table(
    "callStage",
    Column("callId", ID, ForeignKey("registeredCall.id"), primary_key=True, autoincrement=False),
    Column("stage", exact(64), primary_key=True),
    Column("state", String(16), nullable=False),
    Column("reason", TEXT),
    Column("machine", TEXT),
    Column("runId", exact(64)),
    Column("rootRunId", exact(64)),
    Column("startedAt", TIMESTAMP),
    Column("durationS", REAL),
    Column("finishedAt", TIMESTAMP),
    Column("metadata", JSON_TEXT),
)
"""The state of each stage of each call. `machine` is the base URL of the one that did it."""

lid_status = table(
    "lidStatus",
    id_column(),
    Column("file", file_name(), nullable=False),
    Column("language", String(255), nullable=False),
    Column("audioDuration", REAL, nullable=False),
    Column("batchId", ID, ForeignKey("batchStatus.id"), nullable=False),
    Column("ip", MACHINE),
    Column("confidence", REAL),
    Column("createdAt", TIMESTAMP, nullable=False),
    UniqueConstraint("batchId", "file"),
)


def _engine_columns() -> list[Column]:
    return [Column("engineName", TEXT), Column("engineModel", TEXT), Column("engineVersion", TEXT)]


def _evidence_columns() -> list[Column]:
    return [
        Column("evidenceQuote", TEXT),
        Column("evidenceSegment", Integer),
        Column("evidenceStart", REAL),
        Column("evidenceEnd", REAL),
    ]


transcript = table(
    "transcript",
    id_column(),
    Column("callId", ID, ForeignKey("call.id"), nullable=False),
    Column("seq", Integer, nullable=False),
    Column("languageId", ID, ForeignKey("language.id")),
    Column("startTime", REAL, nullable=False),
    Column("endTime", REAL, nullable=False),
    Column("speaker", TEXT, nullable=False),
    Column("text", TEXT, nullable=False),
    Column("confidence", REAL),
    *_engine_columns(),
    UniqueConstraint("callId", "seq"),
)

call_conversation = table(
    "callConversation",
    id_column(),
    Column("callId", ID, ForeignKey("call.id"), nullable=False),
    Column("seq", Integer, nullable=False),
    Column("scriptName", TEXT, nullable=False),
    Column("optionType", TEXT),
    Column("lotQuantity", REAL),
    Column("strikePrice", REAL),
    Column("tradeDate", TEXT),
    Column("expiryDate", TEXT),
    Column("tradePrice", REAL),
    Column("buySell", TEXT),
    Column("currentMarketPrice", REAL),
    Column("batchId", ID, nullable=False, index=True),
    *_evidence_columns(),
    Column("confidence", REAL),
    *_engine_columns(),
    UniqueConstraint("callId", "seq"),
)

audit_answer = table(
    "auditAnswer",
    id_column(),
    Column("processId", ID, nullable=False),
    Column("callId", ID, ForeignKey("call.id"), nullable=False),
    Column("sectionId", ID, nullable=False),
    Column("subSectionId", ID),
    Column("questionId", ID, ForeignKey("question.id"), nullable=False),
    Column("answer", String(255), nullable=False),
    Column("scored", Boolean, nullable=False, server_default="0"),
    Column("score", REAL),
    Column("sentiment", String(32)),
    Column("isCritical", Boolean, nullable=False, server_default="0"),
    Column("applicableTo", String(255), nullable=False),
    *_evidence_columns(),
    Column("confidence", REAL),
    *_engine_columns(),
    Column("formVersion", exact(64)),
    UniqueConstraint("callId", "questionId"),
)

audit_score = table(
    "auditScore",
    Column("callId", ID, ForeignKey("call.id"), primary_key=True, autoincrement=False),
    Column("auditFormId", ID, nullable=False),
    Column("formVersion", exact(64), nullable=False),
    Column("score", REAL, nullable=False),
    Column("maxScore", REAL, nullable=False),
    Column("criticalFailures", Integer, nullable=False),
    Column("updatedAt", TIMESTAMP, nullable=False),
)
"""The form's total for a call, which a failed critical question makes zero while its answers keep their scores."""
