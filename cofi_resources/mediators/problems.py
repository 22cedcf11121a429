"""What an HTTP answer that is no success means: the failure a problem document stands for (protocol, conventions).

What belongs here: pure reading of statuses, codes and Retry-After. What does not: sending, and what is done about it.
*Decision:* the code decides before the status where both are known: 404 of an unknown file, of an unknown stage, and of
a proxy in front of the machine call for three different things.
"""

import math

from pydantic import ValidationError

from cofi_resources.errors import (
    CofiError,
    InvalidInput,
    MachineBusy,
    MachineUnavailable,
    PermanentError,
    RequestTrace,
    UnreadableAudio,
)
from cofi_resources.mediators.exchange import Answer
from cofi_resources.mediators.faults import DiskFull, FileUnknown, KeyInProgress, KeyRefused, StageNotOffered
from cofi_resources.mediators.protocol import Problem, ProblemCode

DETAIL_CHARACTERS = 300


def problem_of(answer: Answer) -> Problem:
    """The problem in an error answer; made up from its status where it holds none."""
    try:
        problem = Problem.model_validate_json(answer.body)
    except ValidationError:
        text = answer.body[:DETAIL_CHARACTERS].decode("utf-8", errors="replace")
        return Problem(title=answer.reason or "no success", status=answer.status, code="", detail=text)
    return problem.model_copy(update={"status": answer.status})


def retry_after_s(text: str | None, longest_s: float) -> float | None:
    """Seconds of a `Retry-After` header, bounded; None where it is absent, a date, or nonsense."""
    try:
        wait_s = float(text or "")
    except ValueError:
        return None
    return min(max(wait_s, 0.0), longest_s) if math.isfinite(wait_s) else None


def failure_of(problem: Problem, said: str, trace: RequestTrace, wait_s: float | None) -> CofiError:
    """The failure a problem means. `said` is the message, `wait_s` the pause the machine asked for."""
    match problem.status, problem.code:
        case _, ProblemCode.UNKNOWN_FILE:
            return FileUnknown(said, retry_after_s=wait_s, trace=trace)
        case _, ProblemCode.UNKNOWN_STAGE:
            return StageNotOffered(said, trace=trace)
        case 409, ProblemCode.BUSY:
            return KeyInProgress(said, retry_after_s=wait_s, trace=trace)
        case ((422 | 409), ProblemCode.DIGEST_MISMATCH):
            # The bytes were damaged on their way or on that disk: they may well arrive next time or elsewhere.
            return MachineUnavailable(said, retry_after_s=wait_s, trace=trace)
        case ((400 | 415 | 422), (ProblemCode.UNREADABLE_AUDIO | ProblemCode.UNSUPPORTED_MEDIA)):
            return UnreadableAudio(said, trace=trace)
        case 415, _:
            return UnreadableAudio(said, trace=trace)
        case ((400 | 413 | 422), _):
            return InvalidInput(said, trace=trace)
        case ((401 | 403), _):
            return KeyRefused(f"{said}; set MEDIATOR_API_KEY to the key this machine asks for", trace=trace)
        case 409, _:
            return KeyInProgress(said, retry_after_s=wait_s, trace=trace)
        case ((429 | 503), _):
            return MachineBusy(said, retry_after_s=wait_s, trace=trace)
        case 507, _:
            return DiskFull(said, retry_after_s=wait_s, trace=trace)
        case status, code if code and not problem.retryable and 400 <= status < 500:
            return PermanentError(said, trace=trace)
    return MachineUnavailable(said, retry_after_s=wait_s, trace=trace)
