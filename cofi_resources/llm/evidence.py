"""Do the words justify the result? The checks that every back end's output goes through before it is stored.

What belongs here: pure checks of quotes, trades and answers against the transcript. What does not: asking any model.
Decision: a trade's name, quantity and price must all stand in one utterance, as they do when an order is given or read
back. Where they do not stand in the utterance the back end pointed at, but in another, the evidence is moved there;
where they stand in none, or the order is called off later, the trade is dropped and counted: small models invent
trades, and report cancelled ones.
Decision: an answer stands without evidence. That something was not said (most NO and NA) has no words to show, and an
answer is asked for every question; what is taken away is evidence that is not word for word, and that is counted.
"""

import re
from collections.abc import Sequence
from dataclasses import replace

from cofi_resources.llm.names import speaks_of
from cofi_resources.llm.orders import is_called_off_after
from cofi_resources.llm.spoken_numbers import numbers_in
from cofi_resources.records import Answer, Conversation, Evidence, SpokenTrade

NUMBER_TOLERANCE = 0.005


def evidence_of(conversation: Conversation, segment: int, quote: str | None = None) -> Evidence | None:
    """Evidence in segment number `segment`: the quote if it stands there word for word, None if it does not.

    Without a quote, the whole utterance. Case and spacing may differ; what is given back is the transcript's own text.
    """
    if not 0 <= segment < len(conversation.segments):
        return None
    said = conversation.segments[segment]
    words = said.text.strip() if quote is None else _as_it_stands(said.text, quote)
    return Evidence(words, segment, said.start_s, said.end_s) if words else None


def _as_it_stands(text: str, quote: str) -> str | None:
    if quote == text.strip():
        # A whole utterance, which is what most evidence is: a pattern of all its words is dear to compile.
        return quote or None
    pattern = r"\s+".join(re.escape(word) for word in quote.split())
    if not pattern:
        return None
    found = re.search(rf"(?<!\w){pattern}(?!\w)", text, re.IGNORECASE)
    return found.group(0) if found else None


def checked_answers(conversation: Conversation, answers: Sequence[Answer]) -> tuple[tuple[Answer, ...], int]:
    """The answers with their evidence proven, and how many pieces of evidence were taken away because they were not."""
    kept, unproven = [], 0
    for answer in answers:
        if answer.evidence is None:
            kept.append(answer)
            continue
        proven = evidence_of(conversation, answer.evidence.segment, answer.evidence.quote)
        unproven += proven is None
        kept.append(replace(answer, evidence=proven))
    return tuple(kept), unproven


def checked_trades(conversation: Conversation, trades: Sequence[SpokenTrade]) -> tuple[tuple[SpokenTrade, ...], int]:
    """The trades whose terms stand in one utterance, each with that utterance as evidence, and how many were dropped.

    The same trade given twice is one; that is no drop.
    """
    kept: list[SpokenTrade] = []
    dropped = 0
    for trade in trades:
        proven = _prove(conversation, trade, [other.script_name for other in trades if other is not trade])
        if proven is None:
            dropped += 1
        elif all(replace(proven, evidence=other.evidence) != other for other in kept):
            kept.append(proven)
    return tuple(kept), dropped


def states_the_terms(text: str, trade: SpokenTrade) -> bool:
    """Whether a text holds a trade's name, and its quantity, price and strike where the trade has them."""
    if not speaks_of(text, trade.script_name):
        return False
    said = numbers_in(text)
    terms = (trade.quantity, trade.trade_price, trade.strike_price)
    return all(term is None or any(abs(term - number) < NUMBER_TOLERANCE for number in said) for term in terms)


def _prove(conversation: Conversation, trade: SpokenTrade, others: Sequence[str]) -> SpokenTrade | None:
    pointed_at = trade.evidence.segment if trade.evidence is not None else -1
    order = sorted(range(len(conversation.segments)), key=lambda number: number != pointed_at)
    number = next((at for at in order if states_the_terms(conversation.segments[at].text, trade)), None)
    if number is None or is_called_off_after(conversation, number, trade.script_name, others):
        return None
    return replace(trade, evidence=evidence_of(conversation, number))
