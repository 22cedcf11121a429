"""Transcription batches, the second domain (domain, section 7): up to 5,000,000 files a batch, with minutes."""

from sqlalchemy import Column, ForeignKey, Index, Integer, String, UniqueConstraint

from cofi_resources.database.tables.columns import ID, JSON_TEXT, REAL, TEXT, TIMESTAMP, exact, id_column, table

stt_batches = table(
    "stt_batches",
    id_column(),
    Column("name", String(255), nullable=False),
    Column("source_path", TEXT, nullable=False),
    Column("file_pattern", String(255), nullable=False),
    Column("total_files", Integer, nullable=False, server_default="0"),
    Column("completed_files", Integer, nullable=False, server_default="0"),
    Column("failed_files", Integer, nullable=False, server_default="0"),
    Column("status", String(16), nullable=False, index=True),
    Column("priority", String(16), nullable=False),
    Column("created_by", String(255)),
    Column("created_at", TIMESTAMP, nullable=False),
    Column("started_at", TIMESTAMP),
    Column("completed_at", TIMESTAMP),
    Column("error_message", TEXT),
    Column("notify_emails", JSON_TEXT),
)

stt_transcriptions = table(
    "stt_transcriptions",
    id_column(),
    Column("batch_id", ID, ForeignKey("stt_batches.id"), nullable=False),
    Column("audio_file_path", TEXT, nullable=False),
    # A path or object key may be longer than an index may be wide: its digest is what is unique.
    Column("audio_file_path_sha256", exact(64), nullable=False),
    Column("transcription_text", TEXT),
    Column("speaker_labels", JSON_TEXT),
    Column("segments", JSON_TEXT),
    Column("status", String(16), nullable=False),
    Column("ex_gpt_task_id", exact(255)),
    Column("processing_started_at", TIMESTAMP),
    Column("processing_completed_at", TIMESTAMP),
    Column("processing_duration", REAL),
    Column("error_message", TEXT),
    Column("created_at", TIMESTAMP, nullable=False),
    UniqueConstraint("batch_id", "audio_file_path_sha256"),
    Index(None, "batch_id", "status"),
)

stt_summaries = table(
    "stt_summaries",
    id_column(),
    Column("transcription_id", ID, ForeignKey("stt_transcriptions.id"), nullable=False, unique=True),
    Column("summary_text", TEXT, nullable=False),
    Column("keywords", TEXT),
    Column("action_items", JSON_TEXT),
    Column("llm_model", String(255)),
    Column("tokens_used", Integer),
    Column("created_at", TIMESTAMP, nullable=False),
)

stt_email_logs = table(
    "stt_email_logs",
    id_column(),
    Column("summary_id", ID, ForeignKey("stt_summaries.id")),
    Column("batch_id", ID, ForeignKey("stt_batches.id")),
    Column("recipient_email", String(320), nullable=False),
    Column("status", String(16), nullable=False),
    Column("sent_at", TIMESTAMP),
    Column("delivery_status", TEXT),
)
