"""Only words that were said prove anything."""

from conftest import call
from hypothesis import given
from hypothesis import strategies as st

from cofi_resources.llm.evidence import checked_answers, checked_trades, evidence_of
from cofi_resources.records import Answer, Conversation, Evidence, Segment, SpokenTrade

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), max_size=60)


def spoken(text: str, **terms: object) -> SpokenTrade:
    return SpokenTrade(text, "BUY", **terms)  # type: ignore[arg-type]


@given(st.lists(TEXT, min_size=1, max_size=5), st.integers(-2, 6), TEXT)
def test_evidence_always_stands_word_for_word_in_its_segment(texts: list[str], segment: int, quote: str) -> None:
    conversation = Conversation("en", tuple(Segment(float(at), at + 1.0, "0", text) for at, text in enumerate(texts)))
    for found in (evidence_of(conversation, segment, quote), evidence_of(conversation, segment)):
        if found is not None:
            said = conversation.segments[found.segment]
            assert found.quote.strip()
            assert found.quote in said.text
            assert (found.start_s, found.end_s) == (said.start_s, said.end_s)


@given(st.lists(st.sampled_from(["buy", "sell", "fifty", "Reliance", "at", "market", "yes"]), min_size=1), st.data())
def test_every_stretch_of_words_of_a_segment_is_a_quote_of_it(words: list[str], data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(words) - 1))
    end = data.draw(st.integers(start + 1, len(words)))
    conversation = call(f"0: {' '.join(words)}")
    found = evidence_of(conversation, 0, " ".join(words[start:end]).upper())
    assert found is not None
    assert found.quote == " ".join(words[start:end])


def test_a_piece_of_a_word_is_no_quote() -> None:
    assert evidence_of(call("0: We are unsure."), 0, "sure") is None


def test_evidence_that_was_not_said_is_taken_away_and_counted_and_the_answer_stays() -> None:
    conversation = call("0: The line is recorded.")
    invented = Answer(1, "YES", 0.9, Evidence("This call is recorded", 0, 0.0, 2.0))
    proven = Answer(2, "YES", None, Evidence("line is recorded", 0, 99.0, 99.0))
    answers, unproven = checked_answers(conversation, [invented, proven])
    assert unproven == 1
    assert answers[0] == Answer(1, "YES", 0.9, None)
    assert answers[1].evidence == Evidence("line is recorded", 0, 0.0, 2.0)


def test_a_trade_stands_when_its_terms_do_however_they_are_said() -> None:
    conversation = call("1: Buy two hundred and fifty Reliance at twenty four fifty.")
    trade = spoken("RELIANCE INDUSTRIES LTD", quantity=250.0, trade_price=2450.0)
    (kept,), dropped = checked_trades(conversation, [trade])
    assert dropped == 0
    assert kept.evidence == evidence_of(conversation, 0)


def test_a_trade_with_a_wrong_name_price_or_quantity_is_dropped_and_counted() -> None:
    conversation = call("1: Buy fifty shares of Tata Motors at 920.")
    wrong = [
        spoken("Tata Steel", quantity=50.0, trade_price=920.0),
        spoken("Tata Motors", quantity=51.0, trade_price=920.0),
        spoken("Tata Motors", quantity=50.0, trade_price=930.0),
        spoken("Tata Motors", quantity=50.0, strike_price=900.0),
    ]
    assert checked_trades(conversation, wrong) == ((), 4)


def test_terms_from_two_utterances_do_not_make_one_trade() -> None:
    conversation = call("1: Buy fifty shares of Wipro.", "1: What is Infosys? 1,500?")
    assert checked_trades(conversation, [spoken("Wipro", quantity=50.0, trade_price=1500.0)]) == ((), 1)


def test_evidence_moves_to_the_utterance_that_states_the_terms() -> None:
    conversation = call("0: Hello.", "1: Buy fifty shares of Wipro at 450.")
    trade = spoken("Wipro", quantity=50.0, trade_price=450.0, evidence=Evidence("Hello.", 0, 0.0, 2.0))
    (kept,), _ = checked_trades(conversation, [trade])
    assert kept.evidence is not None
    assert kept.evidence.segment == 1


def test_a_trade_that_is_called_off_later_is_dropped() -> None:
    conversation = call("1: Buy fifty shares of Wipro at 450.", "1: No wait, cancel it.")
    assert checked_trades(conversation, [spoken("Wipro", quantity=50.0, trade_price=450.0)]) == ((), 1)


def test_the_same_trade_twice_is_one_and_no_drop() -> None:
    conversation = call("1: Buy fifty shares of Wipro at 450.")
    trade = spoken("Wipro", quantity=50.0, trade_price=450.0)
    kept, dropped = checked_trades(conversation, [trade, trade])
    assert (len(kept), dropped) == (1, 0)
