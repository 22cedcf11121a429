"""Who is the dealer? Speakers have numbers; the form's questions have roles.

What belongs here: telling the roles apart by what is said. What does not: telling speakers apart (the stt stage's).
"""

from collections import Counter

from cofi_resources.llm.phrases import is_said, parse, utterance_of
from cofi_resources.records import Conversation

DEALER_SIGNS = tuple(
    map(
        parse,
        (
            "calling from", "(this is|i am) {name} from", "securities", "broking", "recorded line",
            "(being|is) recorded",
            "(your|the) client code", "client code please", "client id please", "let me (confirm|repeat|read)",
            "how (may|can) i help", "thank you for calling", "i (suggest|recommend|would suggest|would recommend)",
            "we (suggest|recommend)", "aapka client code", "order (is|has been) (placed|executed)", "welcome to",
            "may i (know|have) your", "shall i (place|put|execute|buy|sell)", "our research", "aapki kya (seva|madad)",
        ),
    )
)  # fmt: skip
CLIENT_SIGNS = tuple(
    map(
        parse,
        (
            "my (client|) (code|id)", "i (want|would like|wish) to (buy|sell)", "please (buy|sell)",
            "(buy|sell) for me", "(buy|sell) {number}",
            "my account", "mera (client|) code", "mujhe", "please place",
        ),
    )
)  # fmt: skip


def dealer_of(conversation: Conversation) -> str | None:
    """The speaker who sounds most like the dealer; where nothing tells, who speaks first. None in silence."""
    if not conversation.segments:
        return None
    signs: Counter[str] = Counter()
    for segment in conversation.segments:
        said = utterance_of(segment.text)
        signs[segment.speaker] += sum(is_said(sign, said) for sign in DEALER_SIGNS)
        signs[segment.speaker] -= sum(is_said(sign, said) for sign in CLIENT_SIGNS)
    best = max(signs.values())
    return next(segment.speaker for segment in conversation.segments if signs[segment.speaker] == best)
