"""The score of a form follows from its weights."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cofi_resources.records import Answer, AuditForm, Question
from cofi_resources.scoring import score

SCORES = {"YES": 1.0, "PARTLY": 0.5, "NO": 0.0}


def question(number: int, weight: float = 1.0, critical_value: str | None = None) -> Question:
    return Question(
        number,
        f"q{number}",
        f"Question {number}",
        "?",
        ("YES", "PARTLY", "NO", "NA"),
        weight=weight,
        scores=SCORES,
        is_critical=critical_value is not None,
        critical_value=critical_value,
    )


def form(*questions: Question) -> AuditForm:
    return AuditForm(1, "Order desk", "1", questions)


def test_an_answer_earns_its_share_of_the_weight() -> None:
    result = score(form(question(1, 4.0), question(2, 6.0)), [Answer(1, "YES"), Answer(2, "PARTLY")])
    assert dict(result.points) == {1: 4.0, 2: 3.0}
    assert (result.total, result.possible) == (7.0, 10.0)


def test_an_answer_without_a_share_takes_the_question_out_of_the_score() -> None:
    result = score(form(question(1, 4.0), question(2, 6.0)), [Answer(1, "YES"), Answer(2, "NA")])
    assert dict(result.points) == {1: 4.0}
    assert (result.total, result.possible) == (4.0, 4.0)


def test_a_failed_critical_question_makes_the_total_zero_and_leaves_the_points() -> None:
    result = score(form(question(1, 4.0), question(2, 6.0, critical_value="NO")), [Answer(1, "YES"), Answer(2, "NO")])
    assert dict(result.points) == {1: 4.0, 2: 0.0}
    assert (result.total, result.possible, result.critical_failures) == (0.0, 10.0, (2,))


def test_a_critical_value_counts_on_critical_questions_only() -> None:
    harmless = Question(1, "q", "Q", "?", ("YES", "NO"), weight=1.0, scores=SCORES, critical_value="NO")
    assert score(form(harmless, question(2)), [Answer(1, "NO"), Answer(2, "YES")]).total == 1.0


def test_an_answer_to_a_question_of_another_form_is_an_error() -> None:
    with pytest.raises(KeyError):
        score(form(question(1)), [Answer(2, "YES")])


@given(st.lists(st.tuples(st.floats(0, 100), st.sampled_from(("YES", "PARTLY", "NO", "NA"))), max_size=30))
def test_the_total_lies_between_nothing_and_what_was_possible(given_answers: list[tuple[float, str]]) -> None:
    questions = [question(number, weight) for number, (weight, _) in enumerate(given_answers, start=1)]
    answers = [Answer(number, answer) for number, (_, answer) in enumerate(given_answers, start=1)]
    result = score(form(*questions), answers)
    assert 0.0 <= result.total <= result.possible
