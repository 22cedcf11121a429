"""Batches, the calls registered with them, and the tasks asked for by API or command line (domain, section 3)."""

from sqlalchemy import Boolean, Column, Date, ForeignKey, Index, Integer, String, UniqueConstraint

from cofi_resources.database.tables.columns import (
    ID,
    TEXT,
    TIMESTAMP,
    exact,
    file_name,
    id_column,
    table,
)

BATCH_STAGE_COLUMNS = (
    "dbInsertionStatus",
    "denoiseStatus",
    "ivrStatus",
    "lidStatus",
    "triagingStatus",
    "sttStatus",
    "llm1Status",
    "llm2Status",
    "triagingStep2Status",
)


def start_column(batch_column: str) -> str:
    """`lidStatus` -> `lidStartTime`."""
    return f"{batch_column.removesuffix('Status')}StartTime"


def end_column(batch_column: str) -> str:
    """`lidStatus` -> `lidEndTime`."""
    return f"{batch_column.removesuffix('Status')}EndTime"


def _stage_columns() -> list[Column]:
    columns: list[Column] = []
    for name in BATCH_STAGE_COLUMNS:
        columns.append(Column(name, String(16), nullable=False, server_default="Pending"))
        columns.append(Column(start_column(name), TIMESTAMP))
        columns.append(Column(end_column(name), TIMESTAMP))
    return columns


batch_status = table(
    "batchStatus",
    id_column(),
    Column("batchDate", Date, nullable=False),
    Column("batchNumber", Integer, nullable=False),
    Column("currentBatch", Boolean, nullable=False, server_default="0"),
    Column("status", String(32), nullable=False, server_default="Pending"),
    Column("totalFiles", Integer, nullable=False, server_default="0"),
    Column("processedFiles", Integer, nullable=False, server_default="0"),
    Column("failedFiles", Integer, nullable=False, server_default="0"),
    Column("skippedFiles", Integer, nullable=False, server_default="0"),
    Column("remarks", TEXT),
    Column("callmetadataStatus", Boolean, nullable=False, server_default="0"),
    Column("trademetadataStatus", Boolean, nullable=False, server_default="0"),
    *_stage_columns(),
    Column("batchStartTime", TIMESTAMP),
    Column("batchEndTime", TIMESTAMP),
    # Ours: what the batch was made from, and when its partitions were added to Dagster.
    Column("source", exact(255), nullable=False, unique=True),
    Column("kind", String(32), nullable=False),
    Column("announcedAt", TIMESTAMP),
    Column("createdAt", TIMESTAMP, nullable=False),
    Column("updatedAt", TIMESTAMP, nullable=False),
    UniqueConstraint("batchDate", "batchNumber"),
    Index(None, "announcedAt"),
)

registered_call = table(
    "registeredCall",
    id_column(),
    Column("batchId", ID, ForeignKey("batchStatus.id"), nullable=False),
    Column("ordinal", Integer, nullable=False),
    Column("partitionKey", exact(64), nullable=False, unique=True),
    Column("file", file_name(), nullable=False),
    Column("path", exact(4096), nullable=False),
    Column("sizeBytes", ID, nullable=False),
    Column("sha256", String(64)),
    Column("taskId", exact(64)),
    Column("processId", ID, ForeignKey("process.id"), nullable=False),
    Column("categoryMappingId", ID, ForeignKey("categoryMapping.id"), nullable=False),
    Column("claimedBy", exact(64), index=True),
    Column("claimedAt", TIMESTAMP),
    Column("createdAt", TIMESTAMP, nullable=False),
    UniqueConstraint("batchId", "ordinal"),
    UniqueConstraint("batchId", "file"),
    Index(None, "file"),
)
"""One row a registered file; its `id` is the call's id everywhere."""

audit_task = table(
    "auditTask",
    id_column(),
    Column("taskId", exact(64), nullable=False, unique=True),
    Column("batchId", ID, ForeignKey("batchStatus.id")),
    Column("kind", String(16), nullable=False),
    Column("status", String(16), nullable=False, index=True),
    Column("totalFiles", Integer, nullable=False, server_default="0"),
    Column("stages", TEXT),
    Column("gpuMode", String(16)),
    Column("createdAt", TIMESTAMP, nullable=False),
    Column("startedAt", TIMESTAMP),
    Column("completedAt", TIMESTAMP),
    Column("error", TEXT),
)

audit_task_call = table(
    "auditTaskCall",
    Column("auditTaskId", ID, ForeignKey("auditTask.id"), primary_key=True, autoincrement=False),
    Column("callId", ID, ForeignKey("registeredCall.id"), primary_key=True, autoincrement=False),
)
