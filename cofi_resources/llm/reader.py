"""What reads a conversation: finds the trades in it, and answers the audit form.

What belongs here: the contract every back end keeps, and the choice between them by setting. What does not: any back
end (one file each), checks that all of them share (`evidence.py`).
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from cofi_resources.errors import ConfigError
from cofi_resources.mediators.pool import LocalAudio, StageReply
from cofi_resources.mediators.protocol import WireModel
from cofi_resources.records import AuditForm, BookedTrade, Conversation, FormAnswered, TradesExtracted
from cofi_resources.settings import Settings


class CallReader(Protocol):
    """Reads calls for the length of a run.

    What it gives is checked: an answer is one of its question's choices; evidence stands word for word in the
    transcript; a trade whose name, price or quantity does not stand in its evidence was dropped and counted.
    `key` is a stable idempotency key. Raises `CofiError`; an empty or unreadable output is never an empty success.
    """

    async def extract_trades(
        self, conversation: Conversation, booked: Sequence[BookedTrade], *, key: str
    ) -> TradesExtracted: ...

    async def answer_form(self, conversation: Conversation, form: AuditForm, *, key: str) -> FormAnswered: ...

    async def check(self) -> str:
        """One line that says what answers; raises CofiError, with the remedy, if nothing does."""
        ...

    async def aclose(self) -> None: ...


class StagePool(Protocol):
    """What the mediator back end needs of the pool."""

    async def run(
        self,
        stage: str,
        make_request: Callable[[str], WireModel],
        *,
        audio: LocalAudio | None,
        prefer: str | None,
        key: str,
    ) -> StageReply[WireModel]: ...


def build_reader(settings: Settings, pool: StagePool | None) -> CallReader:
    """The back end that LLM_BACKEND names. The others are not imported."""
    match settings.llm_backend:
        case "rules":
            from cofi_resources.llm.rules import RulesReader

            return RulesReader()
        case "openai":
            from cofi_resources.llm.openai import OpenAiReader

            return OpenAiReader.of(settings)
        case "mediator":
            from cofi_resources.llm.mediator import MediatorReader

            if pool is None:
                raise ConfigError("LLM_BACKEND=mediator reads calls on the GPU machines, and there is no pool here")
            return MediatorReader(pool)
