"""The rules engine reads the calls with known answers, and reads them the same way every time."""

import pytest
from conftest import call

from cofi_resources.errors import InvalidInput
from cofi_resources.forms import read_form
from cofi_resources.llm.evaluation import evaluate, read_cases
from cofi_resources.llm.rules import ReadCall, RulesReader
from cofi_resources.llm.speakers import dealer_of
from cofi_resources.records import Conversation, Question

LEAST_AGREEMENT = 0.97
"""The floor. The form's phrases were written with these calls in view: it guards against regressions, and says nothing
about calls that were never seen."""


async def test_it_agrees_with_the_known_answers_and_finds_the_known_trades() -> None:
    result = await evaluate(RulesReader(), read_cases())
    assert result.agreement >= LEAST_AGREEMENT, result.disagreements
    assert (result.trades.precision, result.trades.recall) == (1.0, 1.0)
    assert result.unproven == 0


async def test_the_same_call_gives_the_same_result() -> None:
    form = read_form()
    for case in read_cases():
        first = await RulesReader().answer_form(case.conversation, form, key="a")
        assert first == await RulesReader().answer_form(case.conversation, form, key="b")
        trades = await RulesReader().extract_trades(case.conversation, case.booked, key="a")
        assert trades == await RulesReader().extract_trades(case.conversation, case.booked, key="b")


async def test_every_question_of_the_packaged_form_is_answered_for_any_call() -> None:
    form = read_form()
    for conversation in (Conversation("en", ()), call("0: ..."), call("0: buy", "1: sell and cancel")):
        answered = await RulesReader().answer_form(conversation, form, key="")
        assert all(
            answer.answer in question.choices for answer, question in zip(answered.answers, form.questions, strict=True)
        )


async def test_the_versions_of_engine_and_form_are_stored() -> None:
    form = read_form()
    answered = await RulesReader().answer_form(Conversation("en", ()), form, key="")
    assert answered.engine.name == "rules"
    assert answered.engine.version.endswith(f"/{form.version}")


def test_the_dealer_is_told_by_what_is_said_and_not_by_who_speaks_first() -> None:
    assert dealer_of(call("1: My client code is 55.", "0: Thank you for calling Sunrise Broking.")) == "0"
    assert dealer_of(call("1: Hello?")) == "1"
    assert dealer_of(Conversation("en", ())) is None


def test_a_phrase_of_the_dealer_does_not_count_when_the_client_says_it() -> None:
    question = Question(1, "q", "Q", "?", ("YES", "NO"), phrases={"YES": ("dealer: guaranteed",), "NO": ()})
    start = "0: Sunrise Broking, how may I help you?"
    assert ReadCall.of(call(start, "1: Is it guaranteed?")).answer(question).answer == "NO"
    assert ReadCall.of(call(start, "0: It is guaranteed.")).answer(question).answer == "YES"


def test_the_order_of_the_choices_decides_and_not_that_of_the_phrases() -> None:
    phrases = {"NO": ("order",), "NA": (), "YES": ("order",)}
    question = Question(1, "q", "Q", "?", ("YES", "NO", "NA"), phrases=phrases)
    assert ReadCall.of(call("0: order")).answer(question).answer == "YES"


def test_a_question_without_phrases_does_not_arise_and_without_na_is_refused() -> None:
    assert ReadCall.of(call("0: hello")).answer(Question(1, "q", "Q", "?", ("YES", "NA"))).answer == "NA"
    with pytest.raises(InvalidInput, match="question q: phrases"):
        ReadCall.of(call("0: hello")).answer(Question(1, "q", "Q", "?", ("YES", "NO")))
