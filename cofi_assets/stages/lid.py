"""`lid`: the language spoken in a call, and how long it is.

Belongs here: asking for the language and reading the answer in the codes the tables use.
"""

from cofi_assets.stages.stage import CallInHand, Done, Stage, StageTools
from cofi_resources.mediators.protocol import LidRequest, LidResult
from cofi_resources.records import LanguageIdentified, StageBookkeeping

TWO_LETTER = {
    "asm": "as",
    "ben": "bn",
    "eng": "en",
    "guj": "gu",
    "hin": "hi",
    "kan": "kn",
    "kor": "ko",
    "mal": "ml",
    "mar": "mr",
    "ori": "or",
    "ory": "or",
    "pan": "pa",
    "tam": "ta",
    "tel": "te",
    "ur": "hi",
    "urd": "hi",
}
"""Codes of older engines, and Urdu, which speech models report for Hindi (the words are the same when spoken)."""


def language_code(reported: str) -> str:
    """The two-letter code, or `hinglish`, for what a machine reported."""
    code = reported.strip().lower()
    return TWO_LETTER.get(code, code)


async def identify_language(hand: CallInHand, tools: StageTools) -> Done:
    reply = await tools.pool.run(
        "lid",
        lambda file_id: LidRequest(file_id=file_id),
        audio=hand.audio,
        prefer=hand.machine,
        key=hand.request_key("lid"),
    )
    heard = reply.result
    assert isinstance(heard, LidResult)
    found = LanguageIdentified(language_code(heard.language), heard.confidence, heard.duration_s)
    return Done(
        result=found,
        machine=reply.machine,
        metadata={
            "language": found.language,
            "confidence": found.confidence,
            "duration_s": round(found.duration_s, 2),
        },
    )


STAGE = Stage(
    bookkeeping=StageBookkeeping("lid", "lid", "lidDone", "lidStatus", "lidDone"),
    run=identify_language,
    description="The language spoken in the call, in `lidStatus` and `call`.",
    after=("distribution",),
)
