"""`transcripts`: who said what, when.

Belongs here: which calls are transcribed at all (domain, section 2), and how the request is made.
"""

from cofi_assets.stages.stage import CallInHand, Done, Input, Skipped, Stage, StageTools
from cofi_resources.mediators.protocol import SttRequest, SttResult
from cofi_resources.records import CallStatus, EngineVersion, Segment, StageBookkeeping, Transcribed

TRANSCRIBED_AS = {"en": "en", "hi": "hi", "hinglish": "hi"}
"""Languages that are transcribed, and the language the speech model is told (domain, section 2)."""

MAX_HOTWORDS = 20
SPEAKERS_IN_A_CALL = 2


def reason_to_skip(language: str, duration_s: float, min_call_s: float) -> CallStatus | None:
    """The status that ends a call before it is transcribed, or None if it is to be transcribed."""
    if duration_s < min_call_s:
        return CallStatus.SHORT_CALL
    if language not in TRANSCRIBED_AS:
        return CallStatus.UNSUPPORTED_LANGUAGE
    return None


def hotwords(hand: CallInHand) -> list[str]:
    """Names of the trades booked for this client: the speech model then spells them right."""
    return list(dict.fromkeys(trade.script_name for trade in hand.booked_trades if trade.script_name))[:MAX_HOTWORDS]


async def transcribe(hand: CallInHand, tools: StageTools) -> Done | Skipped:
    ended = reason_to_skip(hand.language, hand.duration_s, tools.min_call_s)
    if ended is not None:
        return Skipped(ended, {"language": hand.language, "duration_s": round(hand.duration_s, 2)})
    reply = await tools.pool.run(
        "stt",
        lambda file_id: SttRequest(
            file_id=file_id,
            language=TRANSCRIBED_AS[hand.language],
            speakers=SPEAKERS_IN_A_CALL,
            hotwords=hotwords(hand),
        ),
        audio=hand.audio,
        prefer=hand.machine,
        key=hand.request_key("stt"),
    )
    heard = reply.result
    assert isinstance(heard, SttResult)
    segments = tuple(
        Segment(said.start_s, said.end_s, said.speaker, said.text, said.confidence) for said in heard.segments
    )
    engine = EngineVersion(heard.engine.name, heard.engine.model, heard.engine.version)
    return Done(
        result=Transcribed(hand.language, segments, engine),
        machine=reply.machine,
        metadata={
            "language": hand.language,
            "duration_s": round(heard.duration_s, 2),
            "segments": len(segments),
            "speakers": len({segment.speaker for segment in segments}),
            "words": sum(len(segment.text.split()) for segment in segments),
            "engine": f"{engine.name} {engine.model}".strip(),
        },
    )


STAGE = Stage(
    bookkeeping=StageBookkeeping("transcripts", "stt", "sttDone", "sttStatus", "sttDone"),
    run=transcribe,
    description="Who said what, when: one row an utterance in `transcript`.",
    after=("lid",),
    inputs=Input.BOOKED_TRADES,
    provides=Input.CONVERSATION,
    status_after=CallStatus.TRANSCRIPT_DONE,
)
