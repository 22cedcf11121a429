"""The back end for language models behind an OpenAI-compatible server: vLLM, llama.cpp, Ollama.

What belongs here: what a model is asked about a call, and what its answers mean. What does not: HTTP (`chat.py`),
proof (`evidence.py`), long transcripts (`parts.py`), the wording (`prompts/`).
Decision: one request a question, with the reason before the answer: a 1.5B model agreed with 40 of 48 known answers so,
and with 34 when it filled in the whole form at once. Instructions and transcript come first in every request and the
question last, so that the server computes them once a call (prefix cache); hence the questions of one call are asked
one after the other, and LLM_CONCURRENCY bounds how many calls are worked on at once: set it to the server's slots.
Decision: where nobody orders, the questions for `calls with an order` (their `applicable_to`) are NA without being
asked: a small model answers them from whatever else is said. Nobody orders if the grammar of orders finds none and the
model, asked first, says so too: the model alone denied plain orders.
Decision: the model names the line that proves its answer by number, out of those there are; the quote is taken from the
transcript, not from the model.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from cofi_resources.errors import BadAnswer
from cofi_resources.llm.chat import ChatServer
from cofi_resources.llm.choices import normalised
from cofi_resources.llm.evidence import checked_answers, checked_trades, evidence_of
from cofi_resources.llm.names import booked_name
from cofi_resources.llm.orders import spoken_orders
from cofi_resources.llm.parts import Line, estimated_tokens, merged_answer, merged_trades, parts_of
from cofi_resources.llm.prompts import Prompt, load_prompt
from cofi_resources.llm.speakers import dealer_of
from cofi_resources.records import (
    Answer,
    AuditForm,
    BookedTrade,
    Conversation,
    EngineVersion,
    FormAnswered,
    Question,
    SpokenTrade,
    TradesExtracted,
)
from cofi_resources.settings import Settings

M = TypeVar("M", bound=BaseModel)

ANSWER_TOKENS = 200
TRADES_TOKENS = 700
REASON_CHARS = 160
MAX_TRADES = 5
MAX_BOOKED = 40
"""Booked trades that are named to the model: a client's day seldom has more."""

TEMPLATE_TOKENS = 64
TRIES = 2
"""How often a question is put whose answer has the schema and does not hold."""

ORDER_CALLS = "calls with an order"
"""`applicable_to` of the questions that do not arise where nobody orders."""

ORDER_GATE = Question(
    id=0,
    key="an_order_is_given",
    name="Order given",
    text="Does the client order a trade, or say yes to one?"
    " Asking for a price or for advice is no order to buy or sell.",
    choices=("YES", "NO"),
)


def _number(value: object) -> object:
    """`2,450` -> 2450: a server that does not hold models to a schema gets numbers as text. Nothing said is None."""
    if not isinstance(value, str):
        return value
    text = value.replace(",", "").strip()
    return None if text.upper() in ("", "NA", "N/A", "NONE", "NULL", "MARKET") else text


def _word(value: object) -> object:
    return None if isinstance(value, str) and value.strip().upper() in ("", "NA", "N/A", "NONE", "NULL") else value


Number = Annotated[
    Annotated[float, Field(gt=0, allow_inf_nan=False)] | None, BeforeValidator(lambda value: _number(value) or None)
]


class _GivenAnswer(BaseModel):
    model_config = ConfigDict(extra="ignore")

    answer: str
    line: int = 0


class _GivenTrade(BaseModel):
    model_config = ConfigDict(extra="ignore")

    line: int = 0
    script_name: Annotated[str, Field(min_length=1)]
    buy_sell: Literal["BUY", "SELL"]
    quantity: Number = None
    trade_price: Number = None
    option_type: Annotated[Literal["CE", "PE"] | None, BeforeValidator(_word)] = None
    strike_price: Number = None
    expiry_date: Annotated[str | None, BeforeValidator(_word)] = None
    status: Literal["placed", "cancelled", "discussed"] = "placed"


class _GivenTrades(BaseModel):
    model_config = ConfigDict(extra="ignore")

    trades: list[_GivenTrade]


@dataclass(frozen=True, slots=True)
class _Part:
    """Some lines of a call, as they stand in a request; the model counts them from 1."""

    lines: Sequence[Line]

    @property
    def text(self) -> str:
        return "\n".join(f"{number} [{line.speaker}] {line.text}" for number, line in enumerate(self.lines, start=1))

    def segment(self, line: int) -> int | None:
        return self.lines[line - 1].segment if 1 <= line <= len(self.lines) else None


class OpenAiReader:
    """Reads calls through a chat-completions server."""

    def __init__(self, server: ChatServer, *, concurrency: int, context_tokens: int) -> None:
        self._server = server
        self._calls = asyncio.Semaphore(concurrency)
        self._context_tokens = context_tokens
        self._answer_prompt = load_prompt("answer")
        self._trades_prompt = load_prompt("trades")

    @classmethod
    def of(cls, settings: Settings) -> "OpenAiReader":
        return cls(
            ChatServer(settings.llm_base_url, settings.llm_model, settings.llm_api_key),
            concurrency=settings.llm_concurrency,
            context_tokens=settings.llm_context_tokens,
        )

    async def extract_trades(
        self, conversation: Conversation, booked: Sequence[BookedTrade], *, key: str
    ) -> TradesExtracted:
        tail = _booked_text(booked)
        async with self._calls:
            given = [
                await self._trades_in(conversation, part, booked, tail, f"{key}:{number}")
                for number, part in enumerate(self._parts(conversation, self._trades_prompt, tail, TRADES_TOKENS))
            ]
        trades, dropped = checked_trades(conversation, merged_trades(given))
        return TradesExtracted(trades, self._engine(self._trades_prompt.version), dropped)

    async def answer_form(self, conversation: Conversation, form: AuditForm, *, key: str) -> FormAnswered:
        longest = max((_question_text(question) for question in form.questions), key=estimated_tokens, default="")
        given: dict[int, list[Answer]] = {at: [] for at in range(len(form.questions))}
        async with self._calls:
            for number, part in enumerate(self._parts(conversation, self._answer_prompt, longest, ANSWER_TOKENS)):
                for at, answer in enumerate(await self._answers(conversation, part, form, f"{key}:{number}")):
                    given[at].append(answer)
        answers = [
            merged_answer(question, given[at]) if given[at] else _answer_to_silence(question)
            for at, question in enumerate(form.questions)
        ]
        proven, unproven = checked_answers(conversation, answers)
        engine = self._engine(f"{self._answer_prompt.version}/{form.version}")
        return FormAnswered(form, proven, engine, unproven)

    async def check(self) -> str:
        schema = _object({"answer": {"type": "string", "enum": ["YES"]}})
        question = [{"role": "user", "content": 'Answer with JSON: {"answer": "YES"}'}]
        await self._server.ask(question, schema, max_tokens=ANSWER_TOKENS, key="check")
        return f"{self._server.model} at {self._server.url} answers"

    async def aclose(self) -> None:
        await self._server.aclose()

    def _engine(self, version: str) -> EngineVersion:
        return EngineVersion("openai", self._server.model, version)

    def _parts(self, conversation: Conversation, prompt: Prompt, tail: str, answer_tokens: int) -> Iterator[_Part]:
        around = estimated_tokens(prompt.text) + estimated_tokens(tail) + answer_tokens + TEMPLATE_TOKENS
        for lines in parts_of(conversation, self._context_tokens - around):
            yield _Part(lines)

    async def _answers(self, conversation: Conversation, part: _Part, form: AuditForm, key: str) -> list[Answer]:
        """The answers to all questions as far as one part of the call tells."""
        gated = {question.id for question in form.questions if _needs_an_order(question)}
        if gated and not spoken_orders(conversation, dealer_of(conversation)):
            gate = await self._answer(conversation, part, ORDER_GATE, f"{key}:{ORDER_GATE.key}")
            gated = gated if gate.answer == "NO" else set()
        else:
            gated = set()
        return [
            _answer_to_silence(question)
            if question.id in gated
            else await self._answer(conversation, part, question, f"{key}:{question.key}")
            for question in form.questions
        ]

    async def _answer(self, conversation: Conversation, part: _Part, question: Question, key: str) -> Answer:
        messages = _messages(self._answer_prompt, part, _question_text(question))
        schema = _answer_schema(question, len(part.lines))
        for attempt in range(1, TRIES + 1):
            content = await self._server.ask(messages, schema, max_tokens=ANSWER_TOKENS, key=key)
            try:
                given = _read(_GivenAnswer, content)
                choice = normalised(given.answer, question.choices)
            except BadAnswer as error:
                if attempt == TRIES:
                    raise BadAnswer(f"question {question.key}: {error}") from None
                continue
            segment = part.segment(given.line)
            return Answer(question.id, choice, None, None if segment is None else evidence_of(conversation, segment))
        raise AssertionError("the last attempt returns or raises")

    async def _trades_in(
        self, conversation: Conversation, part: _Part, booked: Sequence[BookedTrade], tail: str, key: str
    ) -> list[SpokenTrade]:
        messages = _messages(self._trades_prompt, part, tail)
        schema = _trades_schema(len(part.lines))
        for attempt in range(1, TRIES + 1):
            content = await self._server.ask(messages, schema, max_tokens=TRADES_TOKENS, key=key)
            try:
                given = _read(_GivenTrades, content)
            except BadAnswer as error:
                if attempt == TRIES:
                    raise BadAnswer(f"trades: {error}") from None
                continue
            return [_spoken(conversation, part, trade, booked) for trade in given.trades if trade.status == "placed"]
        raise AssertionError("the last attempt returns or raises")


def _spoken(conversation: Conversation, part: _Part, given: _GivenTrade, booked: Sequence[BookedTrade]) -> SpokenTrade:
    segment = part.segment(given.line)
    return SpokenTrade(
        script_name=booked_name(given.script_name, booked) or given.script_name.strip().upper(),
        buy_sell=given.buy_sell,
        quantity=given.quantity,
        trade_price=given.trade_price,
        strike_price=given.strike_price if given.option_type else None,
        option_type=given.option_type,
        expiry_date=given.expiry_date,
        evidence=None if segment is None else evidence_of(conversation, segment),
    )


def _answer_to_silence(question: Question) -> Answer:
    """Where nothing is said there is nothing to ask a model: NA, or NO where the question has no NA, or the last."""
    by_text = {choice.casefold(): choice for choice in question.choices}
    return Answer(question.id, by_text.get("na") or by_text.get("no") or question.choices[-1])


def _needs_an_order(question: Question) -> bool:
    return question.applicable_to == ORDER_CALLS and any(choice.casefold() == "na" for choice in question.choices)


def _messages(prompt: Prompt, part: _Part, tail: str) -> list[dict[str, str]]:
    return [
        {"role": "system", "content": prompt.text},
        {"role": "user", "content": f"Lines:\n{part.text}\n\n{tail}".rstrip()},
    ]


def _question_text(question: Question) -> str:
    note = f" ({question.prompt or question.intent})" if question.prompt or question.intent else ""
    return f"Question: {question.text}{note} Choices: {', '.join(question.choices)}"


def _booked_text(booked: Sequence[BookedTrade]) -> str:
    """The names of the client's booked trades, to spell what is heard; never their terms, which would be copied."""
    names = sorted({trade.script_name for trade in booked})[:MAX_BOOKED]
    return f"Names of shares that may be meant: {', '.join(names)}\n\nList the orders." if names else "List the orders."


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def _answer_schema(question: Question, lines: int) -> dict[str, Any]:
    return _object(
        {
            "reason": {"type": "string", "maxLength": REASON_CHARS},
            "answer": {"type": "string", "enum": list(question.choices)},
            "line": {"type": "integer", "enum": list(range(lines + 1))},
        }
    )


def _trades_schema(lines: int) -> dict[str, Any]:
    number = {"type": ["number", "null"]}
    trade = _object(
        {
            "line": {"type": "integer", "enum": list(range(1, lines + 1))},
            "script_name": {"type": "string", "minLength": 1, "maxLength": 60},
            "buy_sell": {"type": "string", "enum": ["BUY", "SELL"]},
            "quantity": number,
            "trade_price": number,
            "option_type": {"enum": ["CE", "PE", None]},
            "strike_price": number,
            "expiry_date": {"type": ["string", "null"], "maxLength": 40},
            "status": {"type": "string", "enum": ["placed", "cancelled", "discussed"]},
        }
    )
    return _object({"trades": {"type": "array", "maxItems": MAX_TRADES, "items": trade}})


def _read(model: type[M], content: Mapping[str, Any]) -> M:
    try:
        return model.model_validate(content)
    except ValidationError as error:
        fault = error.errors(include_input=False, include_url=False)[0]
        field = ".".join(str(part) for part in fault["loc"])
        raise BadAnswer(f"the model's answer does not fit: {field}: {fault['msg']}") from None
