"""How the command line shows things: tables and pages for a terminal.

What belongs here: layout. What does not: finding out what is shown (`doctor.py`, `cofi_resources/database/views.py`).
"""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cofi_api.doctor import Finding, Level
from cofi_resources.database.views import AnswerView, CallView
from cofi_resources.llm.evaluation import Evaluation
from cofi_resources.records import Evidence, SpokenTrade

LEVEL_STYLE = {Level.OK: "green", Level.WARNING: "yellow", Level.FAULT: "red"}
STATE_STYLE = {"done": "green", "skipped": "yellow", "failed": "red", "pending": "dim"}


def clock(seconds: float) -> str:
    """`75.4` -> `1:15`."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def findings_table(findings: Sequence[Finding]) -> RenderableType:
    table = Table(box=None, pad_edge=False)
    for heading in ("what", "", "seen", "what to do"):
        table.add_column(heading, overflow="fold")
    for finding in findings:
        level = Text(finding.level.value, style=LEVEL_STYLE[finding.level])
        table.add_row(Text(finding.subject), level, Text(finding.seen), Text(finding.remedy))
    return table


def call_page(view: CallView) -> RenderableType:
    """A call's stages, transcript, trades and answers, each answer with the words that prove it."""
    return Group(
        _heading(view),
        _stages(view),
        Text("\nTranscript", style="bold"),
        _transcript(view),
        Text("\nTrades spoken about", style="bold"),
        _trades(view.trades),
        Text("\nAnswers", style="bold"),
        _answers(view),
    )


def _heading(view: CallView) -> Text:
    call = view.call
    score = ""
    if view.score is not None and view.max_score is not None:
        failed = f", {view.critical_failures} critical" if view.critical_failures else ""
        score = f"   score {view.score:g} of {view.max_score:g}{failed}"
    line = f"{call.file}   call {call.id}   {call.key}\n{call.status or 'registered'}   {call.language}"
    return Text(f"{line}   {clock(call.duration_s)}{score}", style="bold")


def _stages(view: CallView) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("stage", "state", "seconds", "machine", "why"):
        table.add_column(heading, overflow="fold")
    for stage in view.stages:
        spent = "" if stage.duration_s is None else f"{stage.duration_s:.1f}"
        state = Text(stage.state.value, style=STATE_STYLE.get(stage.state.value, ""))
        table.add_row(stage.stage, state, spent, Text(stage.machine or ""), Text(stage.reason))
    return table


def _transcript(view: CallView) -> RenderableType:
    if not view.segments:
        return Text("nothing was said, or it was not transcribed", style="dim")
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(justify="right", style="dim")
    table.add_column(style="cyan")
    table.add_column(overflow="fold")
    for segment in view.segments:
        table.add_row(clock(segment.start_s), segment.speaker, Text(segment.text.strip()))
    return table


def _trades(trades: Sequence[SpokenTrade]) -> RenderableType:
    if not trades:
        return Text("none", style="dim")
    table = Table(box=None, pad_edge=False)
    for heading in ("side", "quantity", "name", "price", "option", "said"):
        table.add_column(heading, overflow="fold")
    for trade in trades:
        option = f"{_number(trade.strike_price)} {trade.option_type or ''}".strip()
        table.add_row(
            trade.buy_sell or "?",
            _number(trade.quantity),
            Text(trade.script_name),
            _number(trade.trade_price),
            option,
            _quote(trade.evidence),
        )
    return table


def _answers(view: CallView) -> RenderableType:
    if not view.answers:
        return Text("the form has not been answered", style="dim")
    table = Table(box=None, pad_edge=False)
    for heading in ("section", "question", "answer", "score", "because"):
        table.add_column(heading, overflow="fold")
    for answer in view.answers:
        name = Text(answer.question + (" *" if answer.is_critical else ""))
        score = "" if answer.score is None else f"{answer.score:g}"
        table.add_row(_place(answer), name, Text(answer.answer, style="bold"), score, _quote(answer.evidence))
    return Group(table, Text("* critical", style="dim"))


def _place(answer: AnswerView) -> Text:
    return Text(" / ".join(part for part in (answer.section, answer.sub_section) if part))


def _quote(evidence: Evidence | None) -> Text:
    return Text("") if evidence is None else Text(f"{clock(evidence.start_s)} “{evidence.quote}”", style="italic")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def evaluation_table(result: Evaluation) -> RenderableType:
    """Agreement question by question, then in all, and how the trades fared."""
    table = Table(box=None, pad_edge=False)
    table.add_column("question")
    table.add_column("agree", justify="right")
    table.add_column("of", justify="right")
    for question in result.questions:
        table.add_row(Text(question.key), str(question.agreed), str(question.asked))
    return Group(table, Text(result.summary()))
