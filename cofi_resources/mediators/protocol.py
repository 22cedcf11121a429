"""Wire models of the mediator protocol, version 1: what travels between the pool and a GPU machine.

What belongs here: pydantic models of requests, results, states and problems, and the constants of the protocol.
What does not: HTTP calls (`pool.py`), engines (`cofi_mediator`). Both sides import this module and nothing else of
each other, and it imports nothing but pydantic, so that it can stand beside an independent implementation.
Times are seconds. Unknown fields are ignored. Unknown values are null.
"""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat

PROTOCOL_VERSION = 1
FILE_ID_PATTERN = r"^[A-Za-z0-9._-]{1,120}$"
PROBLEM_MEDIA_TYPE = "application/problem+json"

FileId = Annotated[str, Field(pattern=FILE_ID_PATTERN)]
Share = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
LanguageCode = Annotated[str, Field(min_length=1, max_length=32)]
Seconds = Annotated[NonNegativeFloat, Field(allow_inf_nan=False)]


class WireModel(BaseModel):
    """Unknown fields are ignored, by both sides; instances do not change."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class ProblemCode(StrEnum):
    UNKNOWN_FILE = "unknown_file"
    DIGEST_MISMATCH = "digest_mismatch"
    TOO_LARGE = "too_large"
    UNSUPPORTED_MEDIA = "unsupported_media"
    UNREADABLE_AUDIO = "unreadable_audio"
    UNKNOWN_STAGE = "unknown_stage"
    INVALID_REQUEST = "invalid_request"
    BUSY = "busy"
    LOADING = "loading"
    DISK_FULL = "disk_full"
    ENGINE_FAILED = "engine_failed"
    UNAUTHORIZED = "unauthorized"


class Problem(WireModel):
    """An error answer (RFC 9457). `retryable` says whether the same request may succeed later."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str = ""
    code: str
    retryable: bool = False


class Engine(WireModel):
    name: str
    model: str = ""
    version: str = ""


class StoredFile(WireModel):
    """Answer to `PUT /v1/files/{file_id}`."""

    file_id: str
    bytes: int
    sha256: str
    duration_s: Seconds


class DenoiseRequest(WireModel):
    file_id: FileId
    output_file_id: FileId


class DenoiseResult(WireModel):
    output_file_id: str
    original_duration_s: Seconds
    processed_duration_s: Seconds


class IvrRequest(WireModel):
    file_id: FileId
    output_file_id: FileId


class IvrResult(WireModel):
    ivr_detected: bool
    ivr_end_s: Seconds
    output_file_id: str
    original_duration_s: Seconds
    trimmed_duration_s: Seconds


class LidRequest(WireModel):
    file_id: FileId


class LanguageCandidate(WireModel):
    language: str
    confidence: Share


class LidResult(WireModel):
    language: LanguageCode
    confidence: Share | None = None
    duration_s: Seconds
    candidates: list[LanguageCandidate] = []


class SttRequest(WireModel):
    file_id: FileId
    language: str | None = None
    speakers: Annotated[int, Field(ge=1, le=16)] = 2
    diarization: bool = True
    hotwords: list[str] = []


class SttSegment(WireModel):
    start_s: Seconds
    end_s: Seconds
    speaker: str = "0"
    text: str
    confidence: Share | None = None


class SttResult(WireModel):
    language: LanguageCode
    duration_s: Seconds
    segments: list[SttSegment]
    engine: Engine


class WireCall(WireModel):
    """The transcript, as the LLM stages receive it."""

    language: str
    segments: list[SttSegment]


class WireEvidence(WireModel):
    quote: str
    segment: Annotated[int, Field(ge=0)]
    start_s: Seconds
    end_s: Seconds


class WireBookedTrade(WireModel):
    symbol: str
    script_name: str
    buy_sell: str
    quantity: float | None = None
    trade_price: float | None = None
    strike_price: float | None = None


class WireTrade(WireModel):
    script_name: str
    option_type: str | None = None
    quantity: float | None = None
    strike_price: float | None = None
    trade_price: float | None = None
    buy_sell: str | None = None
    expiry_date: str | None = None
    trade_date: str | None = None
    current_market_price: float | None = None
    evidence: WireEvidence | None = None


class Llm1Request(WireModel):
    call: WireCall
    trades: list[WireBookedTrade] = []


class Llm1Result(WireModel):
    trades: list[WireTrade]
    engine: Engine


class WireQuestion(WireModel):
    id: int
    text: str
    choices: Annotated[list[str], Field(min_length=1)]
    prompt: str = ""


class Llm2Request(WireModel):
    call: WireCall
    questions: list[WireQuestion]


class WireAnswer(WireModel):
    question_id: int
    answer: str
    confidence: Share | None = None
    evidence: WireEvidence | None = None


class Llm2Result(WireModel):
    answers: list[WireAnswer]
    engine: Engine


STAGE_MODELS: dict[str, tuple[type[WireModel], type[WireModel]]] = {
    "denoise": (DenoiseRequest, DenoiseResult),
    "ivr": (IvrRequest, IvrResult),
    "lid": (LidRequest, LidResult),
    "stt": (SttRequest, SttResult),
    "llm1": (Llm1Request, Llm1Result),
    "llm2": (Llm2Request, Llm2Result),
}
"""Stage name on the wire -> its request and result models."""


class StageStatus(WireModel):
    """`capacity` requests are worked on at once; as many again may queue; beyond that 429."""

    state: Literal["ready", "loading", "idle", "failed"]
    capacity: Annotated[int, Field(ge=0)]
    running: int = 0
    queued: int = 0
    engine: Engine | None = None
    detail: str = ""


class ServerInfo(WireModel):
    name: str
    version: str


class FileStore(WireModel):
    count: int
    bytes: int
    free_bytes: int


class MachineStatus(WireModel):
    """Answer to `GET /v1/status`."""

    protocol: Literal[1]
    server: ServerInfo
    stages: dict[str, StageStatus]
    files: FileStore


class TaskStatus(WireModel):
    """Answer to `GET /v1/tasks/{id}`."""

    state: Literal["queued", "running", "succeeded", "failed"]
    result: dict[str, object] | list[object] | None = None
    error: Problem | None = None
