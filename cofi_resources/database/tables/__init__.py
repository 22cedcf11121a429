"""Every table of the results database, as SQLAlchemy Core tables under one MetaData.

What belongs here: tables, columns, keys and indexes; names and columns of domain.md are contracts and stay as they
are. What does not: statements, and how a schema comes to be (`migrations/`).
"""

from cofi_resources.database.tables.batches import (
    BATCH_STAGE_COLUMNS,
    audit_task,
    audit_task_call,
    batch_status,
    end_column,
    registered_call,
    start_column,
)
from cofi_resources.database.tables.calls import (
    audit_answer,
    audit_score,
    call,
    call_conversation,
    call_stage,
    file_distribution,
    lid_status,
    transcript,
)
from cofi_resources.database.tables.columns import FILE_NAME_LENGTH, metadata, utc_now
from cofi_resources.database.tables.forms import (
    audit_form,
    category_mapping,
    form_question,
    language,
    process,
    question,
    section,
)
from cofi_resources.database.tables.logs import batch_execution_log, processing_logs
from cofi_resources.database.tables.minutes import stt_batches, stt_email_logs, stt_summaries, stt_transcriptions
from cofi_resources.database.tables.trade_book import (
    call_metadata,
    metadata_reject,
    trade_audio_mapping,
    trade_metadata,
)

__all__ = [
    "BATCH_STAGE_COLUMNS",
    "FILE_NAME_LENGTH",
    "audit_answer",
    "audit_form",
    "audit_score",
    "audit_task",
    "audit_task_call",
    "batch_execution_log",
    "batch_status",
    "call",
    "call_conversation",
    "call_metadata",
    "call_stage",
    "category_mapping",
    "end_column",
    "file_distribution",
    "form_question",
    "language",
    "lid_status",
    "metadata",
    "metadata_reject",
    "process",
    "processing_logs",
    "question",
    "registered_call",
    "section",
    "start_column",
    "stt_batches",
    "stt_email_logs",
    "stt_summaries",
    "stt_transcriptions",
    "trade_audio_mapping",
    "trade_metadata",
    "transcript",
    "utc_now",
]
