"""The two log tables. They have no foreign keys: a log outlives what it speaks of, and re-audits log with batchId 0."""

from sqlalchemy import BigInteger, Column, Index, Integer, String

from cofi_resources.database.tables.columns import (
    ID,
    JSON_TEXT,
    MACHINE,
    TEXT,
    TIMESTAMP,
    file_name,
    id_column,
    table,
)

batch_execution_log = table(
    "batchExecutionLog",
    id_column(),
    Column("batchId", ID, nullable=False),
    Column("timestamp", BigInteger, nullable=False),
    Column("stage", String(64), nullable=False),
    Column("eventType", String(32), nullable=False),
    Column("fileName", file_name()),
    Column("gpuIp", MACHINE),
    Column("payload", TEXT),
    Column("response", TEXT),
    Column("status", String(16), nullable=False),
    Column("errorMessage", TEXT),
    Column("totalFiles", Integer),
    Column("processedFiles", Integer),
    Column("metadata", JSON_TEXT),
    Index(None, "batchId", "stage", "eventType", "status"),
)

processing_logs = table(
    "processing_logs",
    id_column(),
    Column("call_id", ID, index=True),
    Column("batch_id", ID),
    Column("stage_name", String(64), nullable=False),
    Column("status", String(16), nullable=False),
    Column("error_message", TEXT),
    Column("request_url", TEXT),
    Column("input_payload", TEXT),
    Column("output_payload", TEXT),
    Column("created_at", TIMESTAMP, nullable=False),
    Index(None, "batch_id", "status", "stage_name", "created_at"),
)
