"""The back end that lets the GPU machines read calls: their stages `llm1` and `llm2`.

What belongs here: turning records into wire models and back, and the checks every back end's output goes through. What
does not: which machine, retries (the pool's).
Decision: a call is sent whole. How much its model can read is the machine's to know, and its answer counts only as one
about the whole call.
"""

from collections.abc import Sequence
from dataclasses import replace

from cofi_resources.errors import BadAnswer
from cofi_resources.llm.choices import normalised
from cofi_resources.llm.evidence import checked_answers, checked_trades
from cofi_resources.llm.reader import StagePool
from cofi_resources.mediators.protocol import (
    Engine,
    Llm1Request,
    Llm1Result,
    Llm2Request,
    Llm2Result,
    SttSegment,
    WireBookedTrade,
    WireCall,
    WireEvidence,
    WireQuestion,
)
from cofi_resources.records import (
    Answer,
    AuditForm,
    BookedTrade,
    Conversation,
    EngineVersion,
    Evidence,
    FormAnswered,
    SpokenTrade,
    TradesExtracted,
)


class MediatorReader:
    """Reads calls through the mediator pool."""

    def __init__(self, pool: StagePool) -> None:
        self._pool = pool

    async def extract_trades(
        self, conversation: Conversation, booked: Sequence[BookedTrade], *, key: str
    ) -> TradesExtracted:
        request = Llm1Request(call=_wire_call(conversation), trades=[_wire_booked(trade) for trade in booked])
        reply = await self._pool.run("llm1", lambda _: request, audio=None, prefer=None, key=key)
        result = reply.result
        if not isinstance(result, Llm1Result):
            raise BadAnswer(f"{reply.url} answered llm1 with {type(result).__name__}")
        trades = [
            SpokenTrade(**trade.model_dump(exclude={"evidence"}), evidence=_evidence(trade.evidence))
            for trade in result.trades
        ]
        kept, dropped = checked_trades(conversation, trades)
        return TradesExtracted(kept, _version(result.engine), dropped)

    async def answer_form(self, conversation: Conversation, form: AuditForm, *, key: str) -> FormAnswered:
        request = Llm2Request(
            call=_wire_call(conversation),
            questions=[
                WireQuestion(id=question.id, text=question.text, choices=list(question.choices), prompt=question.prompt)
                for question in form.questions
            ],
        )
        reply = await self._pool.run("llm2", lambda _: request, audio=None, prefer=None, key=key)
        result = reply.result
        if not isinstance(result, Llm2Result):
            raise BadAnswer(f"{reply.url} answered llm2 with {type(result).__name__}")
        given = {answer.question_id: answer for answer in result.answers}
        missing = [question.key for question in form.questions if question.id not in given]
        if missing:
            raise BadAnswer(f"{reply.url} left out the answers to {', '.join(missing[:5])}")
        answers = [
            Answer(
                question.id,
                normalised(given[question.id].answer, question.choices),
                given[question.id].confidence,
                _evidence(given[question.id].evidence),
            )
            for question in form.questions
        ]
        kept, unproven = checked_answers(conversation, answers)
        version = _version(result.engine)
        return FormAnswered(form, kept, replace(version, version=f"{version.version}/{form.version}"), unproven)

    async def check(self) -> str:
        return "the GPU machines' own llm1 and llm2"

    async def aclose(self) -> None:
        """The pool is its owner's to close."""


def _wire_call(conversation: Conversation) -> WireCall:
    return WireCall(
        language=conversation.language,
        segments=[
            SttSegment(
                start_s=segment.start_s,
                end_s=segment.end_s,
                speaker=segment.speaker,
                text=segment.text,
                confidence=segment.confidence,
            )
            for segment in conversation.segments
        ],
    )


def _wire_booked(trade: BookedTrade) -> WireBookedTrade:
    return WireBookedTrade(
        symbol=trade.symbol,
        script_name=trade.script_name,
        buy_sell=trade.buy_sell,
        quantity=trade.quantity,
        trade_price=trade.trade_price,
        strike_price=trade.strike_price,
    )


def _evidence(found: WireEvidence | None) -> Evidence | None:
    return None if found is None else Evidence(found.quote, found.segment, found.start_s, found.end_s)


def _version(engine: Engine) -> EngineVersion:
    return EngineVersion(engine.name, engine.model, engine.version)
