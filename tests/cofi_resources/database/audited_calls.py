"""Records the database tests build on: the stages, a form of two questions, and outcomes of each stage."""

from dataclasses import replace
from datetime import date, datetime

from cofi_resources.records import (
    Answer,
    AuditForm,
    Call,
    CallStatus,
    Distributed,
    EngineVersion,
    Evidence,
    FormAnswered,
    LanguageIdentified,
    Question,
    Segment,
    SpokenTrade,
    StageBookkeeping,
    StageOutcome,
    StageResult,
    StageState,
    TradesExtracted,
    Transcribed,
)

DAY = date(2026, 1, 15)
STARTED_AT = datetime(2026, 1, 15, 18, 30, 0, 250000)
MACHINE = "http://10.0.0.5:5065"
ENGINE = EngineVersion("faster-whisper", "base", "1.2")

STAGES = {
    stage.name: stage
    for stage in (
        StageBookkeeping("distribution", "distribution", None, "dbInsertionStatus", "dbInsertDone"),
        StageBookkeeping("lid", "lid", "lidDone", "lidStatus", "lidDone"),
        StageBookkeeping("transcripts", "stt", "sttDone", "sttStatus", "sttDone"),
        StageBookkeeping("llm1_conversations", "llm1", "llm1Done", "llm1Status", "llm1Done"),
        StageBookkeeping("audit_answers", "llm2", "llm2Done", "llm2Status", "llm2Done"),
    )
}

FORM = AuditForm(
    id=0,
    name="Order desk",
    version="1",
    questions=(
        Question(
            0,
            "names_client",
            "Names the client",
            "Does the dealer say the client's name?",
            ("YES", "NO", "NA"),
            prompt="Look at the greeting.",
            intent="The dealer names the client.",
            hindi_intent="डीलर ग्राहक का नाम लेता है।",
            section="Opening",
            sub_section="Identity",
            applicable_to="Dealer",
            weight=4.0,
            scores={"YES": 1.0, "NO": 0.0},
            phrases={"YES": ("speaking with", "am I talking to")},
        ),
        Question(
            0,
            "confirms_order",
            "Confirms the order",
            "Who repeats the order?",
            ("Dealer", "Client", "Both client & dealer", "NA"),
            section="Order",
            is_critical=True,
            critical_value="Client",
            weight=6.0,
            scores={"Dealer": 1.0, "Client": 0.0, "Both client & dealer": 1.0},
        ),
    ),
)


def outcome(
    call: Call,
    stage: str,
    result: StageResult | None = None,
    state: StageState = StageState.DONE,
    status: CallStatus | None = None,
    **fields: object,
) -> StageOutcome:
    """An outcome that took two seconds on the first machine."""
    made = StageOutcome(call, stage, state, STARTED_AT, 2.0, "run-1", "run-1", result, status, machine=MACHINE)
    return replace(made, **fields)  # type: ignore[arg-type]


def distributed(call: Call, machine: str = MACHINE) -> StageOutcome:
    result = Distributed(machine, f"file-{call.id}", f"{call.id:064x}", call.size_bytes, 120.5)
    return outcome(call, "distribution", result, status=CallStatus.PENDING)


def identified(call: Call, language: str = "hi") -> StageOutcome:
    return outcome(call, "lid", LanguageIdentified(language, 0.97, 120.5))


def transcribed(call: Call, segments: int = 3, language: str = "hi") -> StageOutcome:
    spoken = tuple(
        Segment(2.0 * number, 2.0 * number + 1.5, str(number % 2), f"segment {number} नमस्ते", 0.9)
        for number in range(segments)
    )
    return outcome(call, "transcripts", Transcribed(language, spoken, ENGINE), status=CallStatus.TRANSCRIPT_DONE)


def traded(call: Call, trades: int = 1) -> StageOutcome:
    spoken = tuple(
        SpokenTrade("RELIANCE", "BUY", 100.0 + number, 2450.55, evidence=Evidence("segment 1", 1, 2.0, 3.5))
        for number in range(trades)
    )
    return outcome(call, "llm1_conversations", TradesExtracted(spoken, ENGINE), status=CallStatus.AUDIT_DONE)


def answered(call: Call, form: AuditForm, *answers: str) -> StageOutcome:
    given = tuple(
        Answer(question.id, answer, 0.8, Evidence("segment 0", 0, 0.0, 1.5))
        for question, answer in zip(form.questions, answers, strict=True)
    )
    return outcome(call, "audit_answers", FormAnswered(form, given, ENGINE), status=CallStatus.COMPLETE)
