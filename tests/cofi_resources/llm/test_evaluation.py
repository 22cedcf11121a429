"""The evaluation counts what agrees, and refuses cases that make no sense."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from cofi_resources.errors import InvalidInput
from cofi_resources.forms import read_form
from cofi_resources.llm.evaluation import count_right, evaluate, read_cases
from cofi_resources.records import (
    Answer,
    AuditForm,
    BookedTrade,
    Conversation,
    EngineVersion,
    FormAnswered,
    SpokenTrade,
    TradesExtracted,
)

ENGINE = EngineVersion("parrot", "one word", "1")


class Parrot:
    """Answers every question alike and finds the same trades in every call."""

    def __init__(self, answer: str, *trades: SpokenTrade) -> None:
        self.answer, self.trades = answer, trades

    async def extract_trades(
        self, conversation: Conversation, booked: Sequence[BookedTrade], *, key: str
    ) -> TradesExtracted:
        return TradesExtracted(self.trades, ENGINE, 1)

    async def answer_form(self, conversation: Conversation, form: AuditForm, *, key: str) -> FormAnswered:
        return FormAnswered(form, tuple(Answer(one.id, self.answer) for one in form.questions), ENGINE, 2)

    async def check(self) -> str:
        return "parrot"

    async def aclose(self) -> None:
        return None


CASE = """
about: A test.
lines:
  - dealer: Hello.
  - client: Buy 5 Wipro at 450.
  - dealer: Fine.
answers: {YES: [order_placed, greeting], NO: [pressure]}
trades: [{script_name: Wipro, buy_sell: BUY, quantity: 5, trade_price: 450}]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a_case.yaml").write_text(CASE, encoding="utf-8")
    return tmp_path


async def test_agreement_is_counted_by_question_and_in_all(folder: Path) -> None:
    ticks = iter([10.0, 12.5])
    result = await evaluate(Parrot("YES"), read_cases(folder), read_form(), clock=lambda: next(ticks))
    assert [(one.key, one.asked, one.agreed) for one in result.questions] == [
        ("greeting", 1, 1),
        ("order_placed", 1, 1),
        ("pressure", 1, 0),
    ]
    assert (result.agreed, result.asked, result.duration_s) == (2, 3, 2.5)
    (disagreement,) = result.disagreements
    assert (disagreement.case, disagreement.expected, disagreement.given) == ("a_case", "NO", "YES")
    assert result.unproven == 2
    assert "agreement 66.7% (2 of 3 answers)" in result.summary()


async def test_trades_are_counted_with_precision_and_recall(folder: Path) -> None:
    right = SpokenTrade("WIPRO LTD", "BUY", 5.0, 450.0)
    wrong = SpokenTrade("WIPRO LTD", "SELL", 5.0, 450.0)
    result = await evaluate(Parrot("NO", right, wrong), read_cases(folder))
    assert (result.trades.precision, result.trades.recall, result.trades.dropped) == (0.5, 1.0, 1)


def test_a_known_trade_is_found_once_at_most() -> None:
    trade = SpokenTrade("WIPRO", "BUY", 5.0, 450.0)
    assert count_right([trade], [trade, trade]) == 1


def test_speakers_are_numbered_as_they_come_and_utterances_follow_each_other(folder: Path) -> None:
    segments = read_cases(folder)[0].conversation.segments
    assert [segment.speaker for segment in segments] == ["0", "1", "0"]
    assert all(before.end_s == after.start_s for before, after in pairwise(segments))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (("about: A test.", "about: A test.\nmood: good"), "a_case.yaml: mood"),
        (("pressure]", "greeting]"), "a_case.yaml: answers: greeting has two answers"),
        (("buy_sell: BUY", "buy_sell: HOLD"), r"a_case.yaml: trades\.0\.buy_sell"),
        (("- dealer: Hello.", "- Hello."), r"a_case.yaml: lines\.0"),
    ],
)
def test_a_case_that_cannot_be_read_is_refused_by_file_and_field(
    folder: Path, change: tuple[str, str], fault: str
) -> None:
    (folder / "a_case.yaml").write_text(CASE.replace(*change), encoding="utf-8")
    with pytest.raises(InvalidInput, match=fault):
        read_cases(folder)


async def test_a_case_about_a_question_that_the_form_does_not_have_is_refused(folder: Path) -> None:
    (folder / "a_case.yaml").write_text(CASE.replace("pressure", "mood"), encoding="utf-8")
    with pytest.raises(InvalidInput, match="case a_case: answers: 'NO' is no answer to mood"):
        await evaluate(Parrot("NO"), read_cases(folder))


def test_a_folder_without_cases_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="holds no case"):
        read_cases(tmp_path)


def test_the_packaged_cases_cover_every_question_and_every_choice_that_matters() -> None:
    cases, form = read_cases(), read_form()
    given = {(key, answer) for case in cases for key, answer in case.answers.items()}
    assert {key for key, _ in given} == {question.key for question in form.questions}
    critical = {(one.key, one.critical_value) for one in form.questions if one.critical_value == "YES"}
    assert critical <= given
    assert len(cases) >= 12
