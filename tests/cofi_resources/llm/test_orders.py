"""The grammar of spoken orders: what is ordered, and what is only talked about."""

import pytest
from conftest import call

from cofi_resources.llm.orders import is_called_off_after, spoken_orders
from cofi_resources.llm.rules import find_trades
from cofi_resources.records import BookedTrade, Conversation, SpokenTrade


def terms(trade: SpokenTrade) -> tuple:
    return (trade.script_name, trade.buy_sell, trade.quantity, trade.trade_price)


def client_says(text: str) -> Conversation:
    return call("0: Sunrise Broking, how may I help you?", f"1: {text}")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("Buy fifty shares of Reliance at 2,450.", ("RELIANCE", "BUY", 50, 2450)),
        ("I want to sell two hundred Infosys at fifteen twenty.", ("INFOSYS", "SELL", 200, 1520)),
        ("Please purchase 10 Wipro at market.", ("WIPRO", "BUY", 10, None)),
        ("Tata Steel ke do sau share kharid lo 145 pe.", ("TATA STEEL", "BUY", 200, 145)),
        ("इन्फोसिस के सौ शेयर बेच दो 1500 पर", ("इन्फोसिस", "SELL", 100, 1500)),
        ("Sell 40 HDFC Bank at a limit of 1680 with a stop loss at 1700.", ("HDFC BANK", "SELL", 40, 1680)),
        ("Buy 75 shares of Yes Bank at 22 rupees.", ("YES BANK", "BUY", 75, 22)),
        ("Sell 10 shares of State Bank of India at 650.", ("STATE BANK OF INDIA", "SELL", 10, 650)),
        ("मुझे टाटा स्टील के सौ शेयर, एक सौ चालीस रुपये पर खरीदने हैं।", ("टाटा स्टील", "BUY", 100, 140)),
    ],
)
def test_an_order_is_read_in_the_way_it_is_spoken(said: str, expected: tuple) -> None:
    assert [terms(trade) for trade in find_trades(client_says(said))] == [expected]


def test_an_option_has_kind_strike_and_expiry() -> None:
    (trade,) = find_trades(client_says("Sell three lots of Bank Nifty 48,000 PE, 28th January expiry, at 95."))
    assert (trade.option_type, trade.strike_price, trade.quantity, trade.trade_price) == ("PE", 48000, 3, 95)
    assert trade.expiry_date == "28 January"


def test_one_verb_may_order_two_scrips() -> None:
    trades = find_trades(client_says("Buy 50 shares of Wipro at 450 and 100 shares of Infosys at 1500."))
    assert [terms(trade) for trade in trades] == [("WIPRO", "BUY", 50, 450), ("INFOSYS", "BUY", 100, 1500)]


@pytest.mark.parametrize(
    "said",
    [
        "Should I sell 100 shares of Wipro?",
        "Don't buy 50 shares of Wipro.",
        "I am thinking of buying 50 shares of Wipro at 450.",
        "What is the price of Wipro?",
        "Wipro is trading at 450.",
    ],
)
def test_what_is_asked_denied_or_pondered_is_no_order(said: str) -> None:
    assert find_trades(client_says(said)) == []


def test_a_dealers_suggestion_is_an_order_once_the_client_agrees() -> None:
    suggestion = "0: Sunrise Broking. I suggest you buy 100 shares of Wipro at 450."
    assert find_trades(call(suggestion, "1: No, not today.")) == []
    assert [terms(one) for one in find_trades(call(suggestion, "1: Yes, do it."))] == [("WIPRO", "BUY", 100, 450)]


def test_a_dealers_advice_without_a_quantity_is_no_order() -> None:
    pressing = "0: Sunrise Broking. You have to buy Wipro now, this is your last chance."
    assert spoken_orders(call(pressing, "1: All right, go ahead."), "0") == []


def test_an_order_called_off_is_none_and_may_be_given_again() -> None:
    order, off = "1: Buy 50 shares of Wipro at 450.", "1: No, cancel that order."
    start = "0: Sunrise Broking, how may I help you?"
    assert find_trades(call(start, order, off)) == []
    again = "1: All right, buy 60 shares of Wipro at 440."
    assert [terms(one) for one in find_trades(call(start, order, off, again))] == [("WIPRO", "BUY", 60, 440)]


def test_calling_off_one_order_leaves_the_other() -> None:
    conversation = call(
        "0: Sunrise Broking, how may I help you?",
        "1: Buy 50 shares of Wipro at 450.",
        "1: And sell 20 shares of Infosys at 1500.",
        "1: Cancel the Wipro order.",
    )
    assert [trade.script_name for trade in find_trades(conversation)] == ["INFOSYS"]
    assert is_called_off_after(conversation, 1, "WIPRO", ["INFOSYS"])
    assert not is_called_off_after(conversation, 2, "INFOSYS", ["WIPRO"])


def test_an_order_of_yesterday_is_called_off_without_touching_todays() -> None:
    conversation = call(
        "0: Sunrise Broking, how may I help you?",
        "1: Buy 50 shares of Wipro at 450.",
        "1: And cancel my pending order from yesterday.",
    )
    assert [trade.script_name for trade in find_trades(conversation)] == ["WIPRO"]


def test_a_misheard_name_is_the_booked_one() -> None:
    booked = [BookedTrade("INFY", "INFOSYS LTD", "BUY")]
    (trade,) = find_trades(client_says("Buy 50 shares of Infosies at 1500."), booked)
    assert trade.script_name == "INFOSYS LTD"


def test_the_read_back_completes_the_order() -> None:
    conversation = call(
        "0: Sunrise Broking, how may I help you?",
        "1: Buy 50 shares of Wipro.",
        "0: Buy 50 shares of Wipro at 450, right?",
        "1: Right.",
    )
    assert [terms(trade) for trade in find_trades(conversation)] == [("WIPRO", "BUY", 50, 450)]
