from collections.abc import AsyncIterator
from typing import Any

import pytest
from chat_stub import ChatStub, schema_of

from cofi_resources.records import AuditForm, Conversation, Question, Segment


def call(*lines: str) -> Conversation:
    """A conversation of `A: text` lines, two seconds each."""
    split = [line.partition(": ") for line in lines]
    return Conversation(
        "en", tuple(Segment(2.0 * at, 2.0 * at + 2.0, speaker, text) for at, (speaker, _, text) in enumerate(split))
    )


@pytest.fixture
def order_call() -> Conversation:
    return call(
        "0: Good morning, Sunrise Broking.",
        "1: Please buy fifty shares of Reliance at 2,450.",
        "0: Fifty shares of Reliance at 2,450, correct?",
        "1: Yes, go ahead.",
    )


@pytest.fixture
def small_form() -> AuditForm:
    choices = ("YES", "NO", "NA")
    return AuditForm(
        7,
        "Small",
        "v-form",
        (
            Question(11, "greeting", "Greeting", "Is there a greeting?", choices),
            Question(12, "agreed", "Agreed", "Does the client agree?", choices, prompt="YES if he says yes."),
        ),
    )


def first_choice(body: dict[str, Any]) -> dict[str, Any]:
    """What a model might say: the first choice with line 1, or no trades."""
    properties = schema_of(body)
    if "trades" in properties:
        return {"trades": []}
    return {"reason": "It is said.", "answer": properties["answer"]["enum"][0], "line": 1}


@pytest.fixture
async def chat() -> AsyncIterator[ChatStub]:
    stub = ChatStub(first_choice)
    await stub.start()
    try:
        yield stub
    finally:
        await stub.stop()
