"""Does a result that has the right schema also make sense? Pure checks, one for each stage that needs one.

What belongs here: rules that a schema cannot say. What does not: what happens to a result that breaks one (`pool.py`).
"""

from itertools import pairwise

from cofi_resources.mediators.protocol import (
    DenoiseRequest,
    DenoiseResult,
    IvrRequest,
    IvrResult,
    LidResult,
    Llm1Request,
    Llm1Result,
    Llm2Request,
    Llm2Result,
    SttResult,
    WireCall,
    WireEvidence,
    WireModel,
)

END_TOLERANCE_S = 2.0
"""Recognisers round the last segment's end past the end of the file."""


DURATION_TOLERANCE_S = 2.0
DURATION_TOLERANCE_SHARE = 0.05
"""Decoders disagree on a file's length by some frames, and on damaged ones by more."""


def fault_for_file(result: WireModel, duration_s: float) -> str | None:
    """What shows that a result is about another file, or None. `duration_s` 0.0 is unknown."""
    match result:
        case LidResult() | SttResult():
            answered_s = result.duration_s
        case DenoiseResult() | IvrResult():
            answered_s = result.original_duration_s
        case _:
            return None
    tolerance_s = max(DURATION_TOLERANCE_S, DURATION_TOLERANCE_SHARE * duration_s)
    if duration_s and abs(answered_s - duration_s) > tolerance_s:
        return f"it lasts {answered_s:g} s, and the file {duration_s:g} s"
    return None


def fault_of(request: WireModel, result: WireModel) -> str | None:
    """What makes a result no answer to its request, or None."""
    match request, result:
        case _, SttResult():
            return _fault_of_transcript(result)
        case DenoiseRequest(), DenoiseResult() if result.output_file_id != request.output_file_id:
            return f"its output is {result.output_file_id}, and {request.output_file_id} was asked for"
        case IvrRequest(), IvrResult():
            allowed = {request.output_file_id} if result.ivr_detected else {request.file_id, request.output_file_id}
            if result.output_file_id not in allowed:
                return f"its output is {result.output_file_id}, and {request.output_file_id} was asked for"
        case Llm2Request(), Llm2Result():
            return _fault_of_answers(request, result)
        case Llm1Request(), Llm1Result():
            return _first(
                _fault_of_evidence(request.call, trade.evidence, f"trade {trade.script_name}")
                for trade in result.trades
            )
    return None


def _first(faults) -> str | None:
    return next((fault for fault in faults if fault is not None), None)


def _fault_of_transcript(result: SttResult) -> str | None:
    for number, segment in enumerate(result.segments):
        if segment.end_s < segment.start_s:
            return f"segment {number} ends ({segment.end_s:g} s) before it starts ({segment.start_s:g} s)"
        if segment.end_s > result.duration_s + END_TOLERANCE_S:
            return f"segment {number} ends at {segment.end_s:g} s in a file of {result.duration_s:g} s"
    for number, (before, after) in enumerate(pairwise(result.segments), start=1):
        if after.start_s < before.start_s:
            return f"segment {number} starts before the one ahead of it"
    return None


def _fault_of_answers(request: Llm2Request, result: Llm2Result) -> str | None:
    asked = {question.id: question for question in request.questions}
    answered = [answer.question_id for answer in result.answers]
    if sorted(answered) != sorted(asked):
        return f"{len(asked)} questions were asked and the answers are to {sorted(answered)[:10]}"
    for answer in result.answers:
        if answer.answer not in asked[answer.question_id].choices:
            return f"question {answer.question_id}: {answer.answer!r} is none of its choices"
    return _first(
        _fault_of_evidence(request.call, answer.evidence, f"question {answer.question_id}") for answer in result.answers
    )


def _fault_of_evidence(call: WireCall, evidence: WireEvidence | None, where: str) -> str | None:
    """A segment that does not exist is nonsense; whether the quote stands in it word for word, the reader checks."""
    if evidence is not None and evidence.segment >= len(call.segments):
        return f"{where}: its evidence is segment {evidence.segment} of {len(call.segments)}"
    return None
