"""How well does a back end read calls? Runs it over calls with known answers and trades, and counts.

What belongs here: reading the cases, running a reader over them, pure scoring. What does not: printing.
A case lists its answers by choice, and only those that its words decide beyond doubt; the others are not scored.
Decision: a trade is right if scrip, side, quantity, price, strike and option kind are; dates are shown and not scored.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cofi_resources.errors import InvalidInput
from cofi_resources.forms import read_form, read_yaml
from cofi_resources.llm.names import speaks_of
from cofi_resources.llm.reader import CallReader
from cofi_resources.records import (
    AuditForm,
    BookedTrade,
    Conversation,
    EngineVersion,
    FormAnswered,
    Segment,
    SpokenTrade,
    TradesExtracted,
)

PACKAGED_CASES = Path(__file__).parent / "eval_cases"
SECONDS_A_WORD = 0.4


@dataclass(frozen=True, slots=True)
class Case:
    """A call whose answers and trades are known. `answers` maps a question's key to its answer."""

    name: str
    conversation: Conversation
    booked: tuple[BookedTrade, ...]
    answers: Mapping[str, str]
    trades: tuple[SpokenTrade, ...]


@dataclass(frozen=True, slots=True)
class Disagreement:
    case: str
    question: str
    expected: str
    given: str


@dataclass(frozen=True, slots=True)
class QuestionAgreement:
    """How often the known answer to one question was given."""

    key: str
    asked: int
    agreed: int


@dataclass(frozen=True, slots=True)
class TradeAgreement:
    """`found` is what the reader gave, `right` those of them that are known; `dropped` failed the proof."""

    known: int
    found: int
    right: int
    dropped: int

    @property
    def precision(self) -> float:
        return self.right / self.found if self.found else 1.0

    @property
    def recall(self) -> float:
        return self.right / self.known if self.known else 1.0


@dataclass(frozen=True, slots=True)
class Evaluation:
    """`proven` counts answers with evidence, of `answered` given in all; `unproven` pieces of evidence were refused."""

    engine: EngineVersion
    calls: int
    questions: tuple[QuestionAgreement, ...]
    disagreements: tuple[Disagreement, ...]
    trades: TradeAgreement
    answered: int
    proven: int
    unproven: int
    duration_s: float

    @property
    def asked(self) -> int:
        return sum(question.asked for question in self.questions)

    @property
    def agreed(self) -> int:
        return sum(question.agreed for question in self.questions)

    @property
    def agreement(self) -> float:
        return self.agreed / self.asked if self.asked else 1.0

    @property
    def proven_share(self) -> float:
        return self.proven / self.answered if self.answered else 0.0

    def summary(self) -> str:
        """The figures in four lines."""
        trades = self.trades
        return (
            f"{self.engine.name} {self.engine.model} (version {self.engine.version}): {self.calls} calls "
            f"in {self.duration_s:.1f} s\n"
            f"agreement {self.agreement:.1%} ({self.agreed} of {self.asked} answers)\n"
            f"trades: precision {trades.precision:.1%}, recall {trades.recall:.1%} ({trades.right} right of "
            f"{trades.found} found, {trades.known} known, {trades.dropped} dropped without proof)\n"
            f"evidence: {self.proven_share:.1%} of the answers have it; {self.unproven} quotes refused"
        )


class _WrittenTrade(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    script_name: str
    buy_sell: Literal["BUY", "SELL"]
    quantity: float | None = None
    trade_price: float | None = None
    strike_price: float | None = None
    option_type: Literal["CE", "PE"] | None = None


class _WrittenBooking(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    symbol: str
    script_name: str
    buy_sell: Literal["BUY", "SELL"]
    quantity: float | None = None
    trade_price: float | None = None
    strike_price: float | None = None


class _WrittenCase(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    about: str
    language: str = "en"
    lines: list[Annotated[dict[str, str], Field(min_length=1, max_length=1)]]
    booked: list[_WrittenBooking] = []
    answers: dict[str, list[str]]
    trades: list[_WrittenTrade] = []


def read_cases(folder: Path | None = None) -> tuple[Case, ...]:
    """The cases in a folder of YAML files, by name; without one, the packaged ones.

    Raises InvalidInput that names the file and the field.
    """
    folder = PACKAGED_CASES if folder is None else folder
    paths = sorted(folder.glob("*.yaml"))
    if not paths:
        raise InvalidInput(f"{folder}: holds no case (*.yaml)")
    return tuple(_read_case(path) for path in paths)


def _read_case(path: Path) -> Case:
    try:
        written = _WrittenCase.model_validate(read_yaml(path))
    except ValidationError as error:
        fault = error.errors(include_input=False, include_url=False)[0]
        field = ".".join(str(part) for part in fault["loc"])
        raise InvalidInput(f"{path.name}: {field}: {fault['msg']}") from None
    answers: dict[str, str] = {}
    for choice, keys in written.answers.items():
        for key in keys:
            if key in answers:
                raise InvalidInput(f"{path.name}: answers: {key} has two answers")
            answers[key] = choice
    return Case(
        name=path.stem,
        conversation=Conversation(written.language, _segments(written.lines)),
        booked=tuple(BookedTrade(**one.model_dump()) for one in written.booked),
        answers=answers,
        trades=tuple(SpokenTrade(**one.model_dump()) for one in written.trades),
    )


def _segments(lines: Sequence[Mapping[str, str]]) -> tuple[Segment, ...]:
    """Utterances one after the other; speakers are numbered as they come, as a recogniser does."""
    numbers: dict[str, str] = {}
    segments: list[Segment] = []
    now_s = 0.0
    for line in lines:
        ((role, text),) = line.items()
        end_s = now_s + SECONDS_A_WORD * max(1, len(text.split()))
        segments.append(Segment(now_s, end_s, numbers.setdefault(role, str(len(numbers))), text))
        now_s = end_s
    return tuple(segments)


async def evaluate(
    reader: CallReader,
    cases: Sequence[Case],
    form: AuditForm | None = None,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> Evaluation:
    """Runs a reader over the cases, one after the other, and scores it. Without a form, the packaged one is asked.

    Raises InvalidInput for a case that answers a question the form does not have, and what the reader raises.
    """
    form = _numbered(read_form() if form is None else form)
    check_cases(cases, form)
    answered: list[FormAnswered] = []
    extracted: list[TradesExtracted] = []
    began = clock()
    for case in cases:
        extracted.append(await reader.extract_trades(case.conversation, case.booked, key=f"eval:{case.name}:llm1"))
        answered.append(await reader.answer_form(case.conversation, form, key=f"eval:{case.name}:llm2"))
    return scored(cases, form, answered, extracted, clock() - began)


def check_cases(cases: Sequence[Case], form: AuditForm) -> None:
    """Raises InvalidInput for an answer to a question that is not on the form, or that is none of its choices."""
    choices = {question.key: question.choices for question in form.questions}
    for case in cases:
        for key, answer in case.answers.items():
            if answer not in choices.get(key, ()):
                raise InvalidInput(f"case {case.name}: answers: {answer!r} is no answer to {key} of {form.name}")


def scored(
    cases: Sequence[Case],
    form: AuditForm,
    answered: Sequence[FormAnswered],
    extracted: Sequence[TradesExtracted],
    duration_s: float,
) -> Evaluation:
    """The figures of a run; `answered` and `extracted` are in the order of the cases."""
    keys = {question.id: question.key for question in form.questions}
    asked: dict[str, int] = defaultdict(int)
    agreed: dict[str, int] = defaultdict(int)
    disagreements: list[Disagreement] = []
    for case, given in zip(cases, answered, strict=True):
        by_key = {keys[answer.question_id]: answer.answer for answer in given.answers}
        for key, expected in case.answers.items():
            asked[key] += 1
            agreed[key] += by_key[key] == expected
            if by_key[key] != expected:
                disagreements.append(Disagreement(case.name, key, expected, by_key[key]))
    answers = [answer for given in answered for answer in given.answers]
    return Evaluation(
        engine=answered[0].engine if answered else EngineVersion("", "", ""),
        calls=len(cases),
        questions=tuple(
            QuestionAgreement(question.key, asked[question.key], agreed[question.key])
            for question in form.questions
            if asked[question.key]
        ),
        disagreements=tuple(disagreements),
        trades=TradeAgreement(
            known=sum(len(case.trades) for case in cases),
            found=sum(len(found.trades) for found in extracted),
            right=sum(count_right(case.trades, found.trades) for case, found in zip(cases, extracted, strict=True)),
            dropped=sum(found.dropped for found in extracted),
        ),
        answered=len(answers),
        proven=sum(answer.evidence is not None for answer in answers),
        unproven=sum(given.unproven for given in answered),
        duration_s=duration_s,
    )


def count_right(known: Sequence[SpokenTrade], found: Sequence[SpokenTrade]) -> int:
    """How many of the trades found are known; each known trade is found once at most."""
    left = list(known)
    for trade in found:
        match = next((one for one in left if is_same_trade(one, trade)), None)
        if match is not None:
            left.remove(match)
    return len(known) - len(left)


def is_same_trade(known: SpokenTrade, found: SpokenTrade) -> bool:
    terms = [
        (trade.buy_sell, trade.quantity, trade.trade_price, trade.strike_price, trade.option_type)
        for trade in (known, found)
    ]
    same_name = speaks_of(found.script_name, known.script_name) or speaks_of(known.script_name, found.script_name)
    return same_name and terms[0] == terms[1]


def _numbered(form: AuditForm) -> AuditForm:
    """The form with ids of its own, so that answers can be told apart: read from YAML it has none."""
    questions = tuple(replace(question, id=number) for number, question in enumerate(form.questions, start=1))
    return replace(form, questions=questions)
