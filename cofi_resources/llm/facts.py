"""What the grammar of orders knows of a call, in words a form's phrases can use: `<no order>`, `<read back>`.

What belongs here: the list of facts and how each follows from the orders. What does not: finding orders (`orders.py`).
"""

from collections.abc import Iterable, Mapping

from cofi_resources.llm.names import speaks_of
from cofi_resources.llm.orders import Order, calls_off, is_assent, spoken_orders
from cofi_resources.llm.spoken_numbers import numbers_in, tokens_of
from cofi_resources.records import Conversation

FACTS: Mapping[str, str] = {
    "nothing said": "there is no word in the call",
    "order": "an order to buy or sell is spoken, even if it is called off later",
    "no order": "none is",
    "order stands": "at least one order is not called off",
    "order called off": "at least one order is called off",
    "quantity": "an order says how many",
    "no quantity": "there are orders, and none says how many",
    "price": "an order has a price, or is said to be at the market price",
    "no price": "there are orders, and none has a price",
    "market order": "an order is at the market price",
    "limit order": "an order has a price",
    "option": "an order is for an option",
    "cash": "an order is for something else",
    "read back": "the dealer says scrip and quantity of an order after, or for, the client",
    "no read back": "there are orders, and none is read back",
    "agreed": "after the dealer said the terms, the client agrees",
}


def facts_of(conversation: Conversation, dealer: str | None) -> dict[str, int]:
    """The facts that hold, each with the segment that shows it, -1 where it is shown by what is not said."""
    if not any(tokens_of(segment.text) for segment in conversation.segments):
        return {"nothing said": -1, "no order": -1}
    orders = spoken_orders(conversation, dealer)
    if not orders:
        return {"no order": -1}
    facts = {"order": orders[0].segment}
    facts |= _first("order stands", (order for order in orders if order.stands))
    if not all(order.stands for order in orders):
        facts["order called off"] = next(
            (at for at, segment in enumerate(conversation.segments) if calls_off(segment.text)), -1
        )
    facts |= _first("quantity", (order for order in orders if order.trade.quantity is not None)) or {"no quantity": -1}
    facts |= _first("limit order", (order for order in orders if order.trade.trade_price is not None))
    facts |= _first("market order", (order for order in orders if order.at_market))
    facts["no price"] = -1
    if priced := [facts[name] for name in ("limit order", "market order") if name in facts]:
        del facts["no price"]
        facts["price"] = min(priced)
    facts |= _first("option", (order for order in orders if order.trade.option_type is not None))
    facts |= _first("cash", (order for order in orders if order.trade.option_type is None))
    read_back = _read_back(conversation, dealer, orders)
    facts["no read back" if read_back is None else "read back"] = -1 if read_back is None else read_back
    agreed = _agreed(conversation, dealer, read_back)
    return facts if agreed is None else {**facts, "agreed": agreed}


def _first(name: str, orders: Iterable[Order]) -> dict[str, int]:
    order = next(iter(orders), None)
    return {} if order is None else {name: order.segment}


def _read_back(conversation: Conversation, dealer: str | None, orders: Iterable[Order]) -> int | None:
    for order in orders:
        for number, segment in enumerate(conversation.segments):
            quantity = order.trade.quantity
            says_terms = quantity is None or quantity in numbers_in(segment.text)
            if segment.speaker == dealer and says_terms and speaks_of(segment.text, order.trade.script_name):
                return number
    return None


def _agreed(conversation: Conversation, dealer: str | None, read_back: int | None) -> int | None:
    if read_back is None:
        return None
    following = enumerate(conversation.segments[read_back + 1 : read_back + 4], start=read_back + 1)
    return next((at for at, segment in following if segment.speaker != dealer and is_assent(segment.text)), None)
