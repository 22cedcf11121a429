"""The score of an answered audit form, computed from its weights and never by a model.

What belongs here: the arithmetic, over the form and its answers. What does not: storing it, or finding answers.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cofi_resources.records import Answer, AuditForm, Question


@dataclass(frozen=True, slots=True)
class FormScore:
    """`points` holds the scored questions only, by question id; `total` is out of `possible`.

    `critical_failures` are the ids of the critical questions that failed; one is enough to make `total` 0.
    """

    points: Mapping[int, float]
    total: float
    possible: float
    critical_failures: tuple[int, ...]


def points_of(question: Question, answer: str) -> float | None:
    """The weight times the answer's share of it; None where the answer takes the question out of the score."""
    share = question.scores.get(answer)
    return None if share is None else question.weight * share


def score(form: AuditForm, answers: Iterable[Answer]) -> FormScore:
    """Scores the answers to a form. A question that is not answered, or answered NA, is not scored.

    Raises KeyError for an answer to a question that is not on the form.
    """
    questions = {question.id: question for question in form.questions}
    points: dict[int, float] = {}
    possible = 0.0
    failures: list[int] = []
    for answer in answers:
        question = questions[answer.question_id]
        if question.is_critical and question.critical_value is not None and answer.answer == question.critical_value:
            failures.append(question.id)
        gained = points_of(question, answer.answer)
        if gained is not None:
            points[question.id] = gained
            possible += question.weight
    total = 0.0 if failures else sum(points.values())
    return FormScore(points=points, total=total, possible=possible, critical_failures=tuple(failures))
