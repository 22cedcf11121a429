"""The back end that lets the GPU machines read calls: their answers go through the same checks."""

from collections.abc import Callable

import pytest

from cofi_resources.errors import BadAnswer, ConfigError
from cofi_resources.llm.mediator import MediatorReader
from cofi_resources.llm.reader import build_reader
from cofi_resources.mediators.pool import LocalAudio, StageReply
from cofi_resources.mediators.protocol import (
    Engine,
    Llm1Request,
    Llm1Result,
    Llm2Request,
    Llm2Result,
    WireAnswer,
    WireEvidence,
    WireModel,
    WireTrade,
)
from cofi_resources.records import AuditForm, BookedTrade, Conversation
from cofi_resources.settings import Settings

ENGINE = Engine(name="shim", model="m", version="9")


class OneMachine:
    """A pool whose one machine always gives the same result."""

    def __init__(self, result: WireModel) -> None:
        self.result = result
        self.asked: list[tuple[str, WireModel, str]] = []

    async def run(
        self,
        stage: str,
        make_request: Callable[[str], WireModel],
        *,
        audio: LocalAudio | None,
        prefer: str | None,
        key: str,
    ) -> StageReply[WireModel]:
        assert audio is None
        self.asked.append((stage, make_request(""), key))
        return StageReply(self.result, "http://gpu", f"http://gpu/v1/stages/{stage}", 0.1, 1)


def evidence(quote: str, segment: int) -> WireEvidence:
    return WireEvidence(quote=quote, segment=segment, start_s=0.0, end_s=1.0)


async def test_trades_of_a_machine_are_proven(order_call: Conversation) -> None:
    real = WireTrade(script_name="Reliance", buy_sell="BUY", quantity=50, trade_price=2450)
    invented = WireTrade(script_name="Infosys", buy_sell="BUY", quantity=1)
    pool = OneMachine(Llm1Result(trades=[real, invented], engine=ENGINE))
    found = await MediatorReader(pool).extract_trades(order_call, [BookedTrade("R", "Reliance", "BUY")], key="k7")
    assert [trade.script_name for trade in found.trades] == ["Reliance"]
    assert found.dropped == 1
    ((stage, request, key),) = pool.asked
    assert (stage, key) == ("llm1", "k7")
    assert isinstance(request, Llm1Request)
    assert [trade.script_name for trade in request.trades] == ["Reliance"]


async def test_answers_of_a_machine_are_normalised_and_their_evidence_checked(
    order_call: Conversation, small_form: AuditForm
) -> None:
    answers = [
        WireAnswer(question_id=12, answer="yes", confidence=0.8, evidence=evidence("go ahead", 3)),
        WireAnswer(question_id=11, answer="NO", evidence=evidence("never said", 0)),
    ]
    pool = OneMachine(Llm2Result(answers=answers, engine=ENGINE))
    answered = await MediatorReader(pool).answer_form(order_call, small_form, key="k")
    assert [(one.question_id, one.answer) for one in answered.answers] == [(11, "NO"), (12, "YES")]
    assert answered.answers[0].evidence is None
    assert answered.answers[1].evidence is not None
    assert (answered.unproven, answered.engine.version) == (1, "9/v-form")
    assert isinstance(pool.asked[0][1], Llm2Request)


async def test_an_answer_left_out_or_none_of_the_choices_is_a_bad_answer(
    order_call: Conversation, small_form: AuditForm
) -> None:
    one = WireAnswer(question_id=11, answer="NO")
    for answers, fault in (([one], "left out"), ([one, WireAnswer(question_id=12, answer="?")], "none of the choices")):
        with pytest.raises(BadAnswer, match=fault):
            await MediatorReader(OneMachine(Llm2Result(answers=answers, engine=ENGINE))).answer_form(
                order_call, small_form, key="k"
            )


async def test_a_result_of_another_stage_is_a_bad_answer(order_call: Conversation) -> None:
    with pytest.raises(BadAnswer, match="Llm2Result"):
        await MediatorReader(OneMachine(Llm2Result(answers=[], engine=ENGINE))).extract_trades(order_call, [], key="k")


async def test_the_back_end_is_chosen_by_setting() -> None:
    pool = OneMachine(Llm1Result(trades=[], engine=ENGINE))
    for backend, name in (("rules", "RulesReader"), ("openai", "OpenAiReader"), ("mediator", "MediatorReader")):
        reader = build_reader(Settings.load(llm_backend=backend), pool)
        assert type(reader).__name__ == name
        await reader.aclose()


def test_the_mediators_cannot_read_without_a_pool() -> None:
    with pytest.raises(ConfigError, match="LLM_BACKEND=mediator"):
        build_reader(Settings.load(llm_backend="mediator"), None)
