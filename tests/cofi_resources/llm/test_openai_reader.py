"""The back end for language models: what it asks, what it believes, and what it does when the server misbehaves."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from chat_stub import ChatStub, completion, schema_of
from conftest import call
from pydantic import SecretStr

from cofi_resources.errors import (
    BadAnswer,
    CofiError,
    ConfigError,
    MachineBusy,
    MachineUnavailable,
    PermanentError,
)
from cofi_resources.llm.chat import ChatOptions, ChatServer
from cofi_resources.llm.openai import OpenAiReader
from cofi_resources.records import AuditForm, BookedTrade, Conversation

KEY = "sk-very-secret-4711"
PATIENCE = ChatOptions(request_s=30.0, attempts=3)


class Waits:
    """Sleeping that takes no time and is remembered."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


@pytest.fixture
def waits() -> Waits:
    return Waits()


@pytest.fixture
async def make_reader(chat: ChatStub, waits: Waits) -> AsyncIterator[Callable[..., OpenAiReader]]:
    opened: list[OpenAiReader] = []

    def make(
        options: ChatOptions = PATIENCE, *, url: str = "", concurrency: int = 2, context_tokens: int = 8192
    ) -> OpenAiReader:
        server = ChatServer(
            url or chat.base_url, "tiny", SecretStr(KEY), options=options, sleep=waits, chance=lambda: 0.0
        )
        opened.append(OpenAiReader(server, concurrency=concurrency, context_tokens=context_tokens))
        return opened[-1]

    yield make
    for reader in opened:
        await reader.aclose()


@pytest.fixture
def reader(make_reader: Callable[..., OpenAiReader]) -> OpenAiReader:
    return make_reader()


def trade(**changes: object) -> dict[str, Any]:
    return {
        "line": 2, "script_name": "Reliance", "buy_sell": "BUY", "quantity": 50, "trade_price": 2450,
        "option_type": None, "strike_price": None, "expiry_date": None, "status": "placed", **changes,
    }  # fmt: skip


async def test_each_question_is_one_request_with_the_shared_text_first(
    chat: ChatStub, reader: OpenAiReader, order_call: Conversation, small_form: AuditForm
) -> None:
    answered = await reader.answer_form(order_call, small_form, key="k1")
    assert [answer.answer for answer in answered.answers] == ["YES", "YES"]
    assert [answer.question_id for answer in answered.answers] == [11, 12]
    assert len(chat.requests) == 2
    first, second = (body["messages"] for body in chat.requests)
    assert first[0] == second[0]
    shared = first[1]["content"].partition("Question:")[0]
    assert second[1]["content"].startswith(shared)
    assert "2 [1] Please buy fifty shares of Reliance at 2,450." in shared
    assert "Choices: YES, NO, NA" in second[1]["content"]
    assert [headers["X-Request-Id"] for headers in chat.headers] == ["k1:0:greeting", "k1:0:agreed"]


async def test_the_schema_asks_for_the_reason_first_and_a_line_that_exists(
    chat: ChatStub, reader: OpenAiReader, order_call: Conversation, small_form: AuditForm
) -> None:
    await reader.answer_form(order_call, small_form, key="k")
    properties = schema_of(chat.requests[0])
    assert list(properties) == ["reason", "answer", "line"]
    assert properties["line"]["enum"] == [0, 1, 2, 3, 4]
    assert chat.requests[0]["temperature"] == 0


async def test_the_quote_is_the_transcripts_own(
    chat: ChatStub, reader: OpenAiReader, order_call: Conversation, small_form: AuditForm
) -> None:
    chat.answer = lambda _: {"reason": "", "answer": "yes.", "line": 4}
    answered = await reader.answer_form(order_call, small_form, key="k")
    evidence = answered.answers[0].evidence
    assert evidence is not None
    assert (evidence.quote, evidence.segment, evidence.start_s) == ("Yes, go ahead.", 3, 6.0)
    assert answered.engine.model == "tiny"
    assert answered.engine.version.endswith("/v-form")


async def test_line_zero_and_a_line_that_does_not_exist_are_no_evidence(
    chat: ChatStub, reader: OpenAiReader, order_call: Conversation, small_form: AuditForm
) -> None:
    chat.script = [completion({"answer": "NO", "line": 0}), completion({"answer": "YES", "line": 99})]
    answered = await reader.answer_form(order_call, small_form, key="k")
    assert [(answer.answer, answer.evidence) for answer in answered.answers] == [("NO", None), ("YES", None)]


async def test_a_silent_call_is_answered_without_asking(
    chat: ChatStub, reader: OpenAiReader, small_form: AuditForm
) -> None:
    answered = await reader.answer_form(Conversation("en", ()), small_form, key="k")
    found = await reader.extract_trades(Conversation("en", ()), [], key="k")
    assert [answer.answer for answer in answered.answers] == ["NA", "NA"]
    assert found.trades == ()
    assert chat.requests == []


async def test_trades_are_proven_and_named_as_booked(
    chat: ChatStub, reader: OpenAiReader, order_call: Conversation
) -> None:
    invented = trade(script_name="Infosys", quantity=10, trade_price=1500)
    chat.answer = lambda _: {"trades": [trade(quantity="50", trade_price="2,450"), invented]}
    booked = [BookedTrade("RELIANCE", "RELIANCE INDUSTRIES LTD", "BUY", 999.0, 1.0)]
    found = await reader.extract_trades(order_call, booked, key="k")
    assert [(one.script_name, one.quantity, one.trade_price) for one in found.trades] == [
        ("RELIANCE INDUSTRIES LTD", 50.0, 2450.0)
    ]
    assert found.dropped == 1
    sent = json.dumps(chat.requests[0]["messages"])
    assert "RELIANCE INDUSTRIES LTD" in sent
    assert "999" not in sent


async def test_a_trade_that_was_not_placed_is_none(
    chat: ChatStub, reader: OpenAiReader, order_call: Conversation
) -> None:
    chat.answer = lambda _: {"trades": [trade(status="cancelled"), trade(status="discussed")]}
    found = await reader.extract_trades(order_call, [], key="k")
    assert (found.trades, found.dropped) == ((), 0)


async def test_a_long_call_is_worked_in_parts_and_the_last_line_counts(
    chat: ChatStub, make_reader: Callable[..., OpenAiReader], small_form: AuditForm
) -> None:
    lines = [f"{at % 2}: This is line {at} of a call that goes on for a long time." for at in range(200)]
    conversation = call(*lines, "1: Yes, I agree to it.")

    def agree_where_it_is_said(body: dict[str, Any]) -> dict[str, Any]:
        shown = body["messages"][1]["content"].splitlines()
        at = next((line for line in shown if "I agree to it" in line), None)
        return {"answer": "NO" if at is None else "YES", "line": 0 if at is None else int(at.split()[0])}

    chat.answer = agree_where_it_is_said
    answered = await make_reader(context_tokens=3000).answer_form(conversation, small_form, key="k")
    assert len(chat.requests) > 2 * len(small_form.questions)
    assert answered.answers[0].answer == "YES"
    assert answered.answers[0].evidence is not None
    assert answered.answers[0].evidence.segment == 200


async def test_no_more_calls_than_the_server_has_slots_are_worked_on_at_once(
    chat: ChatStub, make_reader: Callable[..., OpenAiReader], order_call: Conversation, small_form: AuditForm
) -> None:
    reader = make_reader(concurrency=2)
    await asyncio.gather(*(reader.answer_form(order_call, small_form, key=f"k{at}") for at in range(6)))
    assert len(chat.requests) == 12
    assert chat.most_under_way <= 2


@pytest.mark.parametrize("status", [500, 502, 503, 429, 408])
async def test_a_server_that_stumbles_is_asked_again(
    chat: ChatStub, reader: OpenAiReader, order_call: Conversation, small_form: AuditForm, status: int
) -> None:
    chat.script = [web.Response(status=status, text="not now")] * 2
    answered = await reader.answer_form(order_call, small_form, key="k")
    assert len(answered.answers) == 2
    assert len(chat.requests) == 4


async def test_retry_after_is_heeded_and_bounded(
    chat: ChatStub, reader: OpenAiReader, order_call: Conversation, small_form: AuditForm, waits: Waits
) -> None:
    chat.script = [
        web.Response(status=429, headers={"Retry-After": "7.5"}),
        web.Response(status=503, headers={"Retry-After": "86400"}),
    ]
    await reader.answer_form(order_call, small_form, key="k")
    assert waits.seconds == [7.5, PATIENCE.longest_retry_after_s]


@pytest.mark.parametrize(("status", "failure"), [(500, MachineUnavailable), (429, MachineBusy)])
async def test_a_server_that_stays_broken_fails_the_call_with_its_request(
    chat: ChatStub, reader: OpenAiReader, order_call: Conversation, small_form: AuditForm,
    status: int, failure: type[CofiError],
) -> None:  # fmt: skip
    chat.script = [web.Response(status=status, text="broken")] * PATIENCE.attempts
    with pytest.raises(failure, match="broken") as caught:
        await reader.answer_form(order_call, small_form, key="k")
    assert caught.value.trace is not None
    assert "Is there a greeting?" in caught.value.trace.payload


BAD_ANSWERS = {
    "an empty text": completion(""),
    "no JSON": completion("YES, because he says so"),
    "JSON that is no object": completion("[1, 2]"),
    "a choice that does not exist": completion({"answer": "PERHAPS", "line": 1}),
    "no answer in the object": completion({"reason": "so"}),
    "a refusal": completion("", refusal="I cannot help with that"),
    "an answer cut off": completion('{"answer": "YES", "line"', finish_reason="length"),
    "a whole answer at the limit": completion({"answer": "YES", "line": 1}, finish_reason="length"),
    "no completion": {"status": True},
    "no choices": {"choices": []},
    "an HTML page": web.Response(text="<html>login</html>"),
}


@pytest.mark.parametrize("what", BAD_ANSWERS)
async def test_a_bad_answer_is_asked_for_once_more_and_then_final(
    chat: ChatStub, reader: OpenAiReader, order_call: Conversation, small_form: AuditForm, what: str
) -> None:
    async def bad(_: web.Request) -> Any:
        found = BAD_ANSWERS[what]
        return web.Response(text=found.text) if isinstance(found, web.Response) else found

    chat.script = [bad]
    assert len((await reader.answer_form(order_call, small_form, key="k")).answers) == 2
    chat.script, chat.requests = [bad, bad], []
    with pytest.raises(BadAnswer):
        await reader.answer_form(order_call, small_form, key="k")
    assert len(chat.requests) == 2


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"trades": "none"},
        {"trades": [{}]},
        {"trades": [trade(buy_sell="HOLD")]},
        {"trades": [trade(quantity="many")]},
    ],
)
async def test_trades_that_do_not_fit_are_a_bad_answer_and_never_no_trades(
    chat: ChatStub, reader: OpenAiReader, order_call: Conversation, content: dict[str, Any]
) -> None:
    chat.script = [completion(content), completion(content)]
    with pytest.raises(BadAnswer, match="trades"):
        await reader.extract_trades(order_call, [], key="k")
    assert len(chat.requests) == 2


async def test_a_server_that_hangs_is_given_up(
    chat: ChatStub, make_reader: Callable[..., OpenAiReader], order_call: Conversation, small_form: AuditForm
) -> None:
    chat.script = [chat.hang, chat.hang]
    reader = make_reader(ChatOptions(request_s=0.05, attempts=2))
    with pytest.raises(MachineUnavailable, match=r"no answer within 0\.05 s"):
        await reader.answer_form(order_call, small_form, key="k")


async def test_a_server_that_is_not_there_is_unavailable(
    make_reader: Callable[..., OpenAiReader], order_call: Conversation
) -> None:
    with pytest.raises(MachineUnavailable, match="cannot be reached"):
        await make_reader(url="http://127.0.0.1:9/v1").extract_trades(order_call, [], key="k")


@pytest.mark.parametrize(
    ("status", "failure", "remedy"),
    [
        (401, ConfigError, "LLM_API_KEY"),
        (403, ConfigError, "LLM_API_KEY"),
        (404, ConfigError, "LLM_MODEL"),
        (400, PermanentError, "LLM_CONTEXT_TOKENS"),
    ],
)
async def test_what_no_retry_can_mend_is_said_at_once_with_the_remedy(
    chat: ChatStub, reader: OpenAiReader, order_call: Conversation, status: int, failure: type[CofiError], remedy: str
) -> None:
    chat.script = [web.Response(status=status, text="no")]
    with pytest.raises(failure, match=remedy):
        await reader.extract_trades(order_call, [], key="k")
    assert len(chat.requests) == 1


async def test_no_failure_shows_a_secret(
    chat: ChatStub, make_reader: Callable[..., OpenAiReader], order_call: Conversation
) -> None:
    url = chat.base_url.replace("http://", f"http://user:{KEY}@")
    failures: list[CofiError] = []
    for status in (400, 401, 500):
        chat.script = [web.Response(status=status, text=f"wrong key {KEY}")] * PATIENCE.attempts
        with pytest.raises(CofiError) as caught:
            await make_reader(url=url).extract_trades(order_call, [], key="k")
        failures.append(caught.value)
    with pytest.raises(CofiError) as caught:
        await make_reader(url=f"http://user:{KEY}@127.0.0.1:9/v1").extract_trades(order_call, [], key="k")
    failures.append(caught.value)
    for failure in failures:
        assert KEY not in f"{failure} {failure.__cause__} {failure.trace}"
    assert chat.headers[0]["Authorization"]


async def test_check_says_what_answers(chat: ChatStub, reader: OpenAiReader) -> None:
    assert await reader.check() == f"tiny at {chat.base_url}/chat/completions answers"
    assert chat.headers[0]["Authorization"] == f"Bearer {KEY}"


async def test_where_nobody_orders_the_questions_about_an_order_are_not_asked(
    chat: ChatStub, reader: OpenAiReader, small_form: AuditForm
) -> None:
    greeting, agreed = small_form.questions
    form = replace(small_form, questions=(greeting, replace(agreed, applicable_to="calls with an order")))
    chat.answer = lambda body: {
        "answer": "NO" if "order to buy" in body["messages"][1]["content"] else "YES",
        "line": 0,
    }
    answered = await reader.answer_form(call("0: Hello.", "1: What is the price of Wipro?"), form, key="k")
    assert [answer.answer for answer in answered.answers] == ["YES", "NA"]
    assert [headers["X-Request-Id"] for headers in chat.headers] == ["k:0:an_order_is_given", "k:0:greeting"]
