"""A small grammar of orders as they are spoken on a dealing desk, in English and Hinglish.

What belongs here: which orders are spoken, which of them stand, which are called off. What does not: proof
(`evidence.py`), the form's phrases (`phrases.py`).
Decision: the client's order stands by itself; the dealer's words (a read-back, a suggestion) are an order only if the
client then agrees. A question is no order, nor is what is denied. An order that is called off is none.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from cofi_resources.llm.names import booked_name, speaks_of
from cofi_resources.llm.phrases import is_denied, is_said, parse, utterance_of
from cofi_resources.llm.spoken_numbers import TOKEN, is_number_word, number_of, run_at, tokens_of
from cofi_resources.llm.vocabulary import (
    MONTHS,
    NO_NAME,
    NO_PRICE_AFTER,
    NO_PRICE_BEFORE,
    OF_ANOTHER_TIME,
    OPTION_KINDS,
    PRICE_AFTER,
    PRICE_BEFORE,
    PRICE_FILLERS,
    QUANTITY_UNITS,
    TAKES_ALL,
)
from cofi_resources.records import BookedTrade, Conversation, SpokenTrade

BUY = re.compile(r"buy|buying|purchase|kharid\w*|lelo|खरीद.*")
SELL = re.compile(r"sell|selling|bech\w*|बेच.*")
MARKET = tuple(
    map(parse, ("at market", "market (price|rate|order|pe|par|bhav)", "current (market|) (price|rate)", "cmp", "मार्केट"))
)
WITHDRAWAL_PHRASES = (
    "cancel", "cancelled", "cancelling", "do not (place|execute|buy|sell|do|put|go)",
    "don't (place|execute|buy|sell|do|put|go)", "leave it", "forget it", "forget about it", "rehne (do|dijiye)",
    "mat (karo|karna|kijiye|lagao)", "changed my mind", "रहने दो", "रहने दीजिए", "कैंसिल", "withdraw",
)  # fmt: skip
WITHDRAWAL = tuple(map(parse, WITHDRAWAL_PHRASES))
WITHDRAWAL_WORDS = frozenset(tokens_of(phrase)[0] for phrase in WITHDRAWAL_PHRASES)
"""The first words of these phrases: where none of them is said, no phrase has to be looked for."""

ASSENT = tuple(
    map(
        parse,
        (
            "yes", "yeah", "yep", "ok", "okay", "sure", "correct", "right", "confirm", "confirmed", "go ahead", "do it",
            "please do", "fine", "haan", "ha", "haa", "theek", "thik", "kar (do|dijiye|lo)", "जी", "हां", "हाँ", "ठीक",
            "कर दो", "done", "place it", "proceed",
        ),
    )
)  # fmt: skip
REFUSAL = tuple(
    map(parse, ("no", "not (now|today|interested|really)", "nahi", "nahin", "नहीं", "i will think", "let me think"))
)
WONDERING = tuple(
    map(
        parse,
        (
            "should i", "shall i", "can i", "could i", "if i", "thinking (of|about|to)", "planning to", "what if",
            "wondering", "want to know", "kya main", "maybe i", "how (can|do) i",
        ),
    )
)  # fmt: skip
ASSENT_REACH = 3
LONGEST_NAME = 4


@dataclass(frozen=True, slots=True)
class Order:
    """An order as one utterance states it; `trade` has no evidence yet. `stands` unless it was called off."""

    trade: SpokenTrade
    segment: int
    at_market: bool = False
    stands: bool = True


@dataclass(frozen=True, slots=True)
class _Number:
    start: int
    end: int
    value: float


def spoken_orders(conversation: Conversation, dealer: str | None, booked: Sequence[BookedTrade] = ()) -> list[Order]:
    """Every order of a call, in order of mention, once for each scrip, side and option: in its fullest wording."""
    orders: list[Order] = []
    for number, segment in enumerate(conversation.segments):
        if calls_off(segment.text):
            orders = _called_off(orders, segment.text)
            continue
        for order in _stated(segment.text, number, booked):
            is_dealer = segment.speaker == dealer
            if is_dealer and order.trade.quantity is None:
                continue  # Advice: what is read back or put to the client has a quantity.
            if not _is_meant(conversation, number, is_dealer=is_dealer):
                continue
            known = next((at for at, other in enumerate(orders) if _is_same(order, other) and other.stands), None)
            if known is None:
                orders.append(order)
            elif _fullness(order) >= _fullness(orders[known]):
                orders[known] = order
    return orders


def calls_off(text: str) -> bool:
    """Whether an utterance calls an order of this call off."""
    said = utterance_of(text)
    if WITHDRAWAL_WORDS.isdisjoint(said.tokens) or said.is_question or OF_ANOTHER_TIME & set(said.tokens):
        return False
    return any(is_said(phrase, said) for phrase in WITHDRAWAL)


def is_called_off_after(conversation: Conversation, segment: int, script_name: str, others: Sequence[str]) -> bool:
    """Whether an order stated in `segment` is called off later, and not given again after that.

    `others` are the scrips of the call's other orders: a withdrawal that names one of them is about that one.
    """
    standing = True
    for later in conversation.segments[segment + 1 :]:
        if calls_off(later.text):
            names_it = speaks_of(later.text, script_name)
            if names_it or not any(speaks_of(later.text, other) for other in others):
                standing = False
        elif not standing and speaks_of(later.text, script_name) and any(_sides(tokens_of(later.text))):
            standing = not utterance_of(later.text).is_question
    return not standing


def is_assent(text: str) -> bool:
    return any(is_said(phrase, utterance_of(text)) for phrase in ASSENT)


def _called_off(orders: list[Order], text: str) -> list[Order]:
    """The orders after a withdrawal: of the scrips it names, else of the last one; of all if it says so."""
    named = [order for order in orders if speaks_of(text, order.trade.script_name)]
    takes_all = TAKES_ALL & set(tokens_of(text))
    gone = orders if takes_all else named or orders[-1:]
    return [replace(order, stands=False) if order in gone else order for order in orders]


def _is_meant(conversation: Conversation, number: int, *, is_dealer: bool) -> bool:
    """Whether an utterance with the terms of an order gives one (see the module's decision)."""
    said = utterance_of(conversation.segments[number].text)
    if not is_dealer:
        return not said.is_question and not any(is_said(phrase, said) for phrase in WONDERING)
    speaker = conversation.segments[number].speaker
    replies = [
        segment.text
        for segment in conversation.segments[number + 1 : number + 1 + ASSENT_REACH]
        if segment.speaker != speaker
    ]
    for reply in replies:
        heard = utterance_of(reply)
        if calls_off(reply) or any(is_said(phrase, heard) for phrase in REFUSAL):
            return False
        if is_assent(reply):
            return True
    return False


def _is_same(one: Order, other: Order) -> bool:
    a, b = one.trade, other.trade
    same_name = speaks_of(a.script_name, b.script_name) or speaks_of(b.script_name, a.script_name)
    return (
        same_name and a.buy_sell == b.buy_sell and (a.option_type or b.option_type) == (b.option_type or a.option_type)
    )


def _fullness(order: Order) -> int:
    trade = order.trade
    return sum(term is not None for term in (trade.quantity, trade.trade_price, trade.strike_price)) + order.at_market


def _sides(tokens: Sequence[str]) -> Iterator[tuple[int, str]]:
    for at, token in enumerate(tokens):
        if BUY.fullmatch(token):
            yield at, "BUY"
        elif SELL.fullmatch(token):
            yield at, "SELL"


def _stated(text: str, number: int, booked: Sequence[BookedTrade]) -> Iterator[Order]:
    """The orders whose side and scrip one utterance states."""
    said = utterance_of(text)
    written = TOKEN.findall(text.replace("\u2019", "'"))
    if len(written) != len(said.tokens):
        written = list(said.tokens)
    sides = [(at, side) for at, side in _sides(said.tokens) if not is_denied(said, at, at + 1)]
    if not sides:
        return
    starts = _stretch_starts(said.tokens, [at for at, _ in sides])
    for (_, side), start, end in zip(sides, starts, [*starts[1:], len(said.tokens)], strict=True):
        for first, last in _one_scrip_each(said.tokens, start, end):
            order = _order_of(written[first:last], side, number, booked)
            if order is not None:
                yield order


def _stretch_starts(tokens: Sequence[str], verbs: Sequence[int]) -> list[int]:
    """Where the words of each verb begin: at the verb, or before it where the terms come first, as in Hindi."""
    terms_first = any(is_number_word(token) for token in tokens[: verbs[0]])
    return [0, *(verbs[at - 1] + 1 if terms_first else verbs[at] for at in range(1, len(verbs)))]


def _one_scrip_each(tokens: Sequence[str], start: int, end: int) -> Iterator[tuple[int, int]]:
    """`buy 50 Reliance and 100 Infosys`: cut at each `and` that begins another quantity."""
    first, at, has_number = start, start, False
    while at < end:
        run_end = run_at(tokens, at)
        if run_end > at:
            has_number, at = True, run_end
            continue
        opens_another = tokens[at] in ("and", "aur") and has_number and run_at(tokens, at + 1) > at + 1
        follows = tokens[run_at(tokens, at + 1)] if opens_another and run_at(tokens, at + 1) < end else ""
        if opens_another and (follows in QUANTITY_UNITS or (follows and follows not in NO_NAME)):
            yield first, at
            first, has_number = at + 1, False
        at += 1
    yield first, end


def _order_of(written: Sequence[str], side: str, number: int, booked: Sequence[BookedTrade]) -> Order | None:
    tokens = tokens_of(" ".join(written))
    if len(tokens) != len(written):
        written = tokens
    text = " ".join(written)
    name = booked_name(text, booked) or _name_in(written)
    if name is None:
        return None
    numbers = _numbers(tokens)
    kind_at, kind = _option_kind(written, numbers)
    strike = _strike(tokens, numbers, kind_at)
    quantity = _quantity(tokens, [one for one in numbers if one is not strike])
    price = _price(tokens, [one for one in numbers if one is not strike and one is not quantity])
    at_market = price is None and any(is_said(phrase, utterance_of(text)) for phrase in MARKET)
    trade = SpokenTrade(
        script_name=name,
        buy_sell=side,
        quantity=quantity.value if quantity else None,
        trade_price=price.value if price else None,
        strike_price=strike.value if strike else None,
        option_type=kind,
        expiry_date=_expiry(tokens),
    )
    return Order(trade, number, at_market)


def _numbers(tokens: Sequence[str]) -> list[_Number]:
    found: list[_Number] = []
    at = 0
    while at < len(tokens):
        end = run_at(tokens, at)
        value = number_of(tokens[at:end]) if end > at else None
        if value is not None:
            found.append(_Number(at, end, value))
        at = max(end, at + 1)
    return found


def _option_kind(written: Sequence[str], numbers: Sequence[_Number]) -> tuple[int, str | None]:
    """Where a call or put is named, and which. `pe` is Hindi for `at` unless it is written large."""
    for at, word in enumerate(written):
        kind = OPTION_KINDS.get(word.lower())
        if kind is None or (word.lower() in ("pe", "ce") and not word.isupper()):
            continue
        after_number = any(0 <= at - one.end <= 2 for one in numbers)
        is_option = at + 1 < len(written) and written[at + 1].lower() in ("option", "options")
        if after_number or is_option:
            return at, kind
    return -1, None


def _strike(tokens: Sequence[str], numbers: Sequence[_Number], kind_at: int) -> _Number | None:
    for one in numbers:
        before = tokens[max(0, one.start - 3) : one.start]
        if "strike" in before or (one.end < len(tokens) and tokens[one.end] == "strike"):
            return one
    near = [one for one in numbers if kind_at >= 0 and 0 <= kind_at - one.end <= 2]
    return near[-1] if near else None


def _quantity(tokens: Sequence[str], numbers: Sequence[_Number]) -> _Number | None:
    for one in numbers:
        if one.end < len(tokens) and tokens[one.end] in QUANTITY_UNITS:
            return one
        if any(token in ("quantity", "qty") for token in tokens[max(0, one.start - 2) : one.start]):
            return one
    free = [one for one in numbers if not _is_price(tokens, one) and not _is_no_term(tokens, one)]
    return free[0] if free else None


def _price(tokens: Sequence[str], numbers: Sequence[_Number]) -> _Number | None:
    priced = [one for one in numbers if _is_price(tokens, one) and not _is_no_term(tokens, one)]
    return priced[0] if priced else None


def _is_price(tokens: Sequence[str], one: _Number) -> bool:
    if one.end < len(tokens) and tokens[one.end] in PRICE_AFTER:
        return True
    at = one.start - 1
    while at >= 0 and tokens[at] in PRICE_FILLERS and tokens[at] not in PRICE_BEFORE:
        at -= 1
    return at >= 0 and tokens[at] in PRICE_BEFORE


def _is_no_term(tokens: Sequence[str], one: _Number) -> bool:
    """A stop loss, a target, a date or a time of day is neither quantity nor price."""
    following = tokens[one.end] if one.end < len(tokens) else ""
    before = tokens[max(0, one.start - 3) : one.start]
    is_date = following in MONTHS or (bool(before) and before[-1] in MONTHS - {"may"})
    return is_date or following in NO_PRICE_AFTER or bool(NO_PRICE_BEFORE & set(before))


def _expiry(tokens: Sequence[str]) -> str | None:
    """`28th January`, `January`, `weekly`: as it was said; None where no month or expiry is spoken of."""
    month = next((at for at, token in enumerate(tokens) if token in MONTHS - {"may"}), None)
    if month is None:
        period = [token for token in tokens if token in ("weekly", "monthly")]
        return period[0] if period and "expiry" in tokens else None
    day = tokens[month - 1] if month and tokens[month - 1].isdigit() else ""
    if month > 1 and tokens[month - 1] in ("th", "st", "nd", "rd") and tokens[month - 2].isdigit():
        day = tokens[month - 2]
    return f"{day} {tokens[month].title()}".strip()


def _name_in(written: Sequence[str]) -> str | None:
    """The words that can be a scrip's name: after `of` or before `ke` first, then capitalised ones, then any."""
    runs: list[tuple[int, list[str]]] = []
    for at, word in enumerate(written):
        before, after = written[at - 1] if at else "", written[at + 1] if at + 1 < len(written) else ""
        goes_on = bool(runs) and runs[-1][0] + len(runs[-1][1]) == at and len(runs[-1][1]) < LONGEST_NAME
        # `Yes` of `of Yes Bank` is a name, and so is `of` of `State Bank of India`: words written large tell.
        begins_a_name = word[0].isupper() and before.lower() == "of" and after[:1].isupper()
        joins_a_name = goes_on and word == "of" and before[:1].isupper() and after[:1].isupper()
        if not (begins_a_name or joins_a_name or _can_be_a_name(word.lower())):
            continue
        if goes_on:
            runs[-1][1].append(word)
        else:
            runs.append((at, [word]))
    if not runs:
        return None

    def rank(run: tuple[int, list[str]]) -> tuple[bool, bool, int]:
        at, words = run
        after = written[at + len(words)].lower() if at + len(words) < len(written) else ""
        is_marked = (at > 0 and written[at - 1].lower() == "of") or after in ("ke", "के")
        return (not is_marked, not (at and words[0][0].isupper()), at)

    return " ".join(min(runs, key=rank)[1]).upper()


def _can_be_a_name(token: str) -> bool:
    return not (is_number_word(token) or token in NO_NAME or BUY.fullmatch(token) or SELL.fullmatch(token))
