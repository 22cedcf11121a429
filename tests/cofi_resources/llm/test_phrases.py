"""A phrase of a form is said, or it is not."""

import pytest

from cofi_resources.llm.facts import FACTS
from cofi_resources.llm.phrases import PhraseError, check_phrases, is_said, parse, utterance_of


@pytest.mark.parametrize(
    ("phrase", "text", "said"),
    [
        ("recorded line", "You are on a RECORDED line.", True),
        ("recorded line", "The line is not recorded.", False),
        ("client code {number}", "client code nine zero one two", True),
        ("client code {number}", "client code please", False),
        ("buy {name}", "buy Wipro", True),
        ("buy {name}", "buy now", False),
        ("(place|put) the order", "please put the order in", True),
        ("guaranteed * returns", "guaranteed twenty percent returns", True),
        ("guaranteed * returns", "guaranteed I would say about twenty percent returns", False),
        ("guaranteed", "Returns are not guaranteed.", False),
        ("guaranteed", "No, it is guaranteed.", True),
        ("guarantee", "profit ki guarantee nahi hai", False),
        ("guarantee", "profit की guarantee नहीं है", False),
        ("do not place", "No do not place it", True),
        ("yes please", "Yes, please.", True),
        ("<no order>", "no order", False),
    ],
)
def test_words_count_side_by_side_and_undenied(phrase: str, text: str, said: bool) -> None:
    assert is_said(parse(phrase), utterance_of(text)) is said


@pytest.mark.parametrize("phrase", ["", "   ", "boss: buy", "{price} here", "(open", "(a|)", "<NO ORDER!>", "*"])
def test_a_phrase_that_cannot_be_read_is_refused_by_its_words(phrase: str) -> None:
    with pytest.raises(PhraseError):
        parse(phrase)


@pytest.mark.parametrize(
    ("phrases", "fault"),
    [
        ({"YES": ("<nonsense>",), "NO": ()}, "the facts are"),
        ({"YES": ("<all of YES, MAYBE>",), "NO": ()}, "names a choice that has no phrases"),
        ({"YES": ("buy",), "NO": ("sell",)}, "one choice needs an empty list"),
    ],
)
def test_phrases_that_leave_a_call_without_an_answer_are_refused(phrases: dict, fault: str) -> None:
    with pytest.raises(PhraseError, match=fault):
        check_phrases(phrases, FACTS)
