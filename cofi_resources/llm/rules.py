"""The rules back end: deterministic, without a model.

What belongs here: which answer follows from a form's phrases and the spoken orders. What does not: matching phrases
(`phrases.py`), the grammar of orders (`orders.py`), checks that every back end shares (`evidence.py`). It is for tests,
for machines without a model, and the floor a model is measured against.

A question gets the first choice, in the question's own order of choices, one of whose phrases is said or one of whose
facts holds; else the choice whose list of phrases is empty.
Decision: the order of the choices decides, not that of the phrases: a database may give a mapping back in any order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cofi_resources.errors import InvalidInput
from cofi_resources.llm.evidence import checked_answers, checked_trades, evidence_of
from cofi_resources.llm.facts import facts_of
from cofi_resources.llm.orders import spoken_orders
from cofi_resources.llm.phrases import Phrase, is_said, parse, utterance_of
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

VERSION = "2"
MAX_TRADES = 5


class RulesReader:
    """Reads calls by phrases and grammar alone; the same call always gives the same."""

    async def extract_trades(
        self, conversation: Conversation, booked: Sequence[BookedTrade], *, key: str
    ) -> TradesExtracted:
        trades, dropped = checked_trades(conversation, find_trades(conversation, booked))
        return TradesExtracted(trades, EngineVersion("rules", "grammar", VERSION), dropped)

    async def answer_form(self, conversation: Conversation, form: AuditForm, *, key: str) -> FormAnswered:
        call = ReadCall.of(conversation)
        proven, unproven = checked_answers(conversation, [call.answer(question) for question in form.questions])
        version = EngineVersion("rules", "phrases", f"{VERSION}/{form.version}")
        return FormAnswered(form, proven, version, unproven)

    async def check(self) -> str:
        return "rules engine: phrases and grammar, no model"

    async def aclose(self) -> None:
        """Nothing is open."""


def find_trades(conversation: Conversation, booked: Sequence[BookedTrade] = ()) -> list[SpokenTrade]:
    """The orders of a call that stand and have a quantity, with the utterance that states them. At most MAX_TRADES."""
    orders = spoken_orders(conversation, dealer_of(conversation), booked)
    return [
        SpokenTrade(
            script_name=order.trade.script_name,
            buy_sell=order.trade.buy_sell,
            quantity=order.trade.quantity,
            trade_price=order.trade.trade_price,
            strike_price=order.trade.strike_price,
            option_type=order.trade.option_type,
            expiry_date=order.trade.expiry_date,
            evidence=evidence_of(conversation, order.segment),
        )
        for order in orders
        if order.stands and order.trade.quantity is not None
    ][:MAX_TRADES]


@dataclass(frozen=True, slots=True)
class ReadCall:
    """A call as questions are put to it. `facts` maps a fact to the segment that shows it, -1 where none does."""

    conversation: Conversation
    dealer: str | None
    facts: Mapping[str, int]

    @classmethod
    def of(cls, conversation: Conversation) -> "ReadCall":
        dealer = dealer_of(conversation)
        return cls(conversation, dealer, facts_of(conversation, dealer))

    def answer(self, question: Question) -> Answer:
        """Raises InvalidInput for a question whose phrases leave a call without an answer."""
        phrases = {choice: [parse(one) for one in question.phrases.get(choice, ())] for choice in question.choices}
        for choice in question.choices:
            shown = self._shown(choice, phrases)
            if shown is not None:
                return self._answered(question, choice, shown)
        for choice in question.choices:
            if choice in question.phrases and not question.phrases[choice]:
                return Answer(question.id, choice)
        if "NA" in question.choices and not question.phrases:
            return Answer(question.id, "NA")
        raise InvalidInput(
            f"question {question.key}: phrases: no choice has an empty list, and nothing else fits this call"
        )

    def _answered(self, question: Question, choice: str, segment: int) -> Answer:
        return Answer(question.id, choice, None, evidence_of(self.conversation, segment) if segment >= 0 else None)

    def _shown(self, choice: str, phrases: Mapping[str, Sequence[Phrase]]) -> int | None:
        """The segment that speaks for a choice, -1 if it fits without one; None if it does not fit."""
        said_at = self._said_at(phrases[choice])
        if said_at is not None:
            return said_at
        for phrase in phrases[choice]:
            if phrase.fact is not None and phrase.fact in self.facts:
                return self.facts[phrase.fact]
            if phrase.all_of:
                places = [self._said_at(words) for other, words in phrases.items() if other.casefold() in phrase.all_of]
                if places and None not in places:
                    return max(at for at in places if at is not None)
        return None

    def _said_at(self, phrases: Sequence[Phrase]) -> int | None:
        """The first segment in which one of the phrases is said, by whom it must be."""
        for number, segment in enumerate(self.conversation.segments):
            who = "dealer" if segment.speaker == self.dealer else "client"
            utterance = utterance_of(segment.text)
            if any(phrase.speaker in (None, who) and is_said(phrase, utterance) for phrase in phrases):
                return number
        return None
