"""What each kind of result becomes in the tables: rows, built without I/O.

What belongs here: one function a result type, from records to rows. What does not: statements (`results.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from math import isfinite
from typing import Any

from cofi_resources.database.machines import address_of
from cofi_resources.records import (
    Call,
    CallStatus,
    Distributed,
    EngineVersion,
    Evidence,
    FormAnswered,
    LanguageIdentified,
    TradesExtracted,
    Transcribed,
)
from cofi_resources.scoring import FormScore, points_of

RowDict = dict[str, Any]

DEFAULT_USER_ID = 1
DEFAULT_CALL_TYPE = "Call"
UNKNOWN_LANGUAGE = "unknown"


@dataclass(frozen=True, slots=True)
class Registration:
    """What `registeredCall` and the call's process know of a call."""

    process_id: int
    audit_form_id: int | None
    category_mapping_id: int


def distribution_row(call: Call, result: Distributed) -> RowDict:
    return {"file": call.file, "ip": address_of(result.machine), "batchId": call.batch_id, "callId": call.id}


def call_row(
    call: Call, result: Distributed, registration: Registration, *, audio_endpoint: str, at: datetime
) -> RowDict:
    """The call as distribution leaves it (domain, section 2). The later stages fill in what is unknown here."""
    return {
        "id": call.id,
        "processId": registration.process_id,
        "auditFormId": registration.audit_form_id,
        "categoryMappingId": registration.category_mapping_id,
        "userId": DEFAULT_USER_ID,
        "languageId": None,
        "audioUrl": audio_endpoint + call.file,
        "audioName": call.file,
        "audioDuration": 0.0,
        "lang": UNKNOWN_LANGUAGE,
        "type": DEFAULT_CALL_TYPE,
        "status": CallStatus.PENDING.value,
        "batchId": call.batch_id,
        "ip": address_of(result.machine),
        "createdAt": at,
        "updatedAt": at,
    }


CALL_COLUMNS_OF_DISTRIBUTION = ("processId", "auditFormId", "categoryMappingId", "audioUrl", "ip", "updatedAt")
"""What a second distribution changes of a call: not the results that stand in its row."""


def language_row(call: Call, result: LanguageIdentified, *, machine: str | None, at: datetime) -> RowDict:
    return {
        "file": call.file,
        "language": result.language,
        "audioDuration": result.duration_s,
        "batchId": call.batch_id,
        "ip": address_of(machine),
        "confidence": finite(result.confidence),
        "createdAt": at,
    }


def transcript_rows(call: Call, result: Transcribed, language_ids: Mapping[str, int]) -> list[RowDict]:
    language_id = language_ids.get(result.language)
    engine = _engine(result.engine)
    return [
        {
            "callId": call.id,
            "seq": seq,
            "languageId": language_id,
            "startTime": segment.start_s,
            "endTime": segment.end_s,
            "speaker": segment.speaker,
            "text": segment.text,
            "confidence": finite(segment.confidence),
            **engine,
        }
        for seq, segment in enumerate(result.segments)
    ]


def trade_rows(call: Call, result: TradesExtracted) -> list[RowDict]:
    engine = _engine(result.engine)
    return [
        {
            "callId": call.id,
            "seq": seq,
            "scriptName": trade.script_name,
            "optionType": trade.option_type,
            "lotQuantity": finite(trade.quantity),
            "strikePrice": finite(trade.strike_price),
            "tradeDate": trade.trade_date,
            "expiryDate": trade.expiry_date,
            "tradePrice": finite(trade.trade_price),
            "buySell": trade.buy_sell,
            "currentMarketPrice": finite(trade.current_market_price),
            "batchId": call.batch_id,
            "confidence": None,
            **_evidence(trade.evidence),
            **engine,
        }
        for seq, trade in enumerate(result.trades)
    ]


def answer_rows(call: Call, result: FormAnswered, process_id: int) -> list[RowDict]:
    questions = {question.id: question for question in result.form.questions}
    engine = _engine(result.engine)
    rows: list[RowDict] = []
    for answer in result.answers:
        question = questions[answer.question_id]
        points = points_of(question, answer.answer)
        rows.append(
            {
                "processId": process_id,
                "callId": call.id,
                "sectionId": question.section_id,
                "subSectionId": question.sub_section_id or None,
                "questionId": question.id,
                "answer": answer.answer,
                "scored": points is not None,
                "score": points,
                "sentiment": None,
                "isCritical": question.is_critical,
                "applicableTo": question.applicable_to,
                "confidence": finite(answer.confidence),
                "formVersion": result.form.version,
                **_evidence(answer.evidence),
                **engine,
            }
        )
    return rows


def score_row(call: Call, result: FormAnswered, score: FormScore, *, at: datetime) -> RowDict:
    return {
        "callId": call.id,
        "auditFormId": result.form.id,
        "formVersion": result.form.version,
        "score": score.total,
        "maxScore": score.possible,
        "criticalFailures": len(score.critical_failures),
        "updatedAt": at,
    }


def finite(value: float | None) -> float | None:
    """The number, or None for what no database stores: NaN and infinity."""
    return value if value is not None and isfinite(value) else None


def _engine(engine: EngineVersion) -> RowDict:
    return {"engineName": engine.name, "engineModel": engine.model, "engineVersion": engine.version}


def _evidence(evidence: Evidence | None) -> RowDict:
    return {
        "evidenceQuote": evidence.quote if evidence else None,
        "evidenceSegment": evidence.segment if evidence else None,
        "evidenceStart": evidence.start_s if evidence else None,
        "evidenceEnd": evidence.end_s if evidence else None,
    }
