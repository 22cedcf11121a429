"""Values that cross a layer: frozen, typed, without behaviour.

What belongs here: what one part of the house hands to another. What does not: wire models
(`mediators/protocol.py`), table definitions (`database/tables.py`), anything that does I/O.
Times are seconds; `datetime`s are naive UTC, as stored.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum

from cofi_resources.errors import RequestTrace


class CallStatus(StrEnum):
    """Values of `call.status` (domain, section 2)."""

    PENDING = "Pending"
    TRANSCRIPT_DONE = "TranscriptDone"
    AUDIT_DONE = "AuditDone"
    COMPLETE = "Complete"
    SHORT_CALL = "ShortCall"
    UNSUPPORTED_LANGUAGE = "UnsupportedLanguage"


class StageState(StrEnum):
    """Where a stage stands on a call. `done` and `skipped` are decided; `failed` is until it is run again."""

    PENDING = "pending"
    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class NewCall:
    """A file about to be registered. `path` is relative to CLIENT_VOLUME; `file` is the name people know."""

    file: str
    path: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Batch:
    """The files that arrived together. `key` (`2026-01-15.1`) is its Dagster partition."""

    id: int
    date: date
    number: int
    total_files: int
    source: str

    @property
    def key(self) -> str:
        return f"{self.date.isoformat()}.{self.number}"


@dataclass(frozen=True, slots=True)
class Call:
    """A registered call, as the engine takes it up.

    `states` maps a stage's name to its state; stages never touched are absent. `language` is `unknown` and
    `duration_s` 0.0 until the lid stage has run. `machine` is where the file was last known to be.
    `done_by` maps a stage that is done or skipped to the root run that decided it (architecture 3.4).
    """

    id: int
    batch_id: int
    key: str
    file: str
    path: str
    size_bytes: int
    language: str = "unknown"
    duration_s: float = 0.0
    status: str | None = None
    machine: str | None = None
    sha256: str | None = None
    process_id: int | None = None
    states: Mapping[str, StageState] = field(default_factory=dict)
    done_by: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StageBookkeeping:
    """Where a stage leaves its marks in the tables other systems read (domain, sections 2 and 3).

    `name` is the asset's name and the key in `callStage`; `log_name` stands in the log tables; `flag` is the column
    of `fileDistribution`, `batch_column` the one of `batchStatus` (its start and end times share the prefix), and
    `batch_word` the `batchStatus.status` once every call is through. None where the tables have no such place.
    """

    name: str
    log_name: str
    flag: str | None = None
    batch_column: str | None = None
    batch_word: str | None = None


@dataclass(frozen=True, slots=True)
class EngineVersion:
    """What computed a result: software, model, and its version (for an LLM: the prompt's version too)."""

    name: str
    model: str
    version: str


@dataclass(frozen=True, slots=True)
class Segment:
    """One utterance. `confidence` is 0..1, or None where the engine gives none."""

    start_s: float
    end_s: float
    speaker: str
    text: str
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """The words that justify a result: `quote` stands, word for word, in segment number `segment` (from 0)."""

    quote: str
    segment: int
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Conversation:
    """A transcript as the LLM stages read it."""

    language: str
    segments: tuple[Segment, ...]


@dataclass(frozen=True, slots=True)
class BookedTrade:
    """A trade of the day's book that may have been spoken about (domain, section 5, `trade_details`)."""

    symbol: str
    script_name: str
    buy_sell: str
    quantity: float | None = None
    trade_price: float | None = None
    strike_price: float | None = None


@dataclass(frozen=True, slots=True)
class SpokenTrade:
    """A trade heard in a call. None is unknown. `buy_sell` is BUY or SELL; `option_type` CE, PE or None."""

    script_name: str
    buy_sell: str | None = None
    quantity: float | None = None
    trade_price: float | None = None
    strike_price: float | None = None
    option_type: str | None = None
    expiry_date: str | None = None
    trade_date: str | None = None
    current_market_price: float | None = None
    evidence: Evidence | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """One question of an audit form, joined from `question`, its form mapping, and the names of its sections.

    Read from YAML, the ids are 0; read from the database, they are set. `key` names it for people and never changes.

    `choices` are the only answers allowed. `scores` gives each choice a share 0..1 of `weight`; a choice that is
    absent there (NA) takes the question out of the score. `critical_value` is the answer that fails a critical
    question. `phrases` maps a choice to the phrases the rules engine looks for.
    """

    id: int
    key: str
    name: str
    text: str
    choices: tuple[str, ...]
    prompt: str = ""
    intent: str = ""
    hindi_intent: str = ""
    section: str = ""
    sub_section: str = ""
    section_id: int = 0
    sub_section_id: int = 0
    applicable_to: str = ""
    is_critical: bool = False
    critical_value: str | None = None
    weight: float = 0.0
    scores: Mapping[str, float] = field(default_factory=dict)
    phrases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AuditForm:
    """A form with its questions in order. `version` changes whenever the YAML it was loaded from does."""

    id: int
    name: str
    version: str
    questions: tuple[Question, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to one question: one of its choices, with the words that prove it where there are any."""

    question_id: int
    answer: str
    confidence: float | None = None
    evidence: Evidence | None = None


@dataclass(frozen=True, slots=True)
class Distributed:
    """Result of `distribution`: the file is on `machine` under `file_id`."""

    machine: str
    file_id: str
    sha256: str
    size_bytes: int
    duration_s: float


@dataclass(frozen=True, slots=True)
class LanguageIdentified:
    """Result of `lid`. `language` is a two-letter code or `hinglish`."""

    language: str
    confidence: float | None
    duration_s: float


@dataclass(frozen=True, slots=True)
class Transcribed:
    """Result of `transcripts`: segments in order of time; silence gives none."""

    language: str
    segments: tuple[Segment, ...]
    engine: EngineVersion


@dataclass(frozen=True, slots=True)
class TradesExtracted:
    """Result of `llm1_conversations`. `dropped` counts trades whose terms do not stand in their evidence."""

    trades: tuple[SpokenTrade, ...]
    engine: EngineVersion
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class FormAnswered:
    """Result of `audit_answers`: one answer a question. `unproven` counts evidence that was not word for word."""

    form: AuditForm
    answers: tuple[Answer, ...]
    engine: EngineVersion
    unproven: int = 0


StageResult = Distributed | LanguageIdentified | Transcribed | TradesExtracted | FormAnswered


@dataclass(frozen=True, slots=True)
class StageOutcome:
    """How one stage ended on one call: what the group-commit writer stores and then reports to Dagster.

    `result` is set only when `state` is done; a stage with no table of its own puts what is worth keeping into
    `metadata`, which is stored as JSON beside the state and shown in Dagster. `call_status` is the new
    `call.status`, None to leave it. `reason` says why it was skipped or failed.
    """

    call: Call
    stage: str
    state: StageState
    started_at: datetime
    duration_s: float
    run_id: str
    root_run_id: str
    result: StageResult | None = None
    call_status: CallStatus | None = None
    machine: str | None = None
    reason: str = ""
    trace: RequestTrace | None = None
    metadata: Mapping[str, str | int | float | None] = field(default_factory=dict)
