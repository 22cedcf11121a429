"""What a failure costs its request, and what is to be done next: pure decisions.

What belongs here: budgets of one request and of the pool, backoff, the verdict on a failure. What does not: waiting,
and the state of machines (`dispatch.py`).
*Decision:* only failures that a machine may have worked for cost an attempt. A refused connection, a 429 and a full
disk cost time, and are bounded by it: while all machines are away, a request waits and loses nothing.
"""

from dataclasses import dataclass, replace
from enum import Enum, auto

from cofi_resources.errors import BadAnswer, CofiError, MachineBusy, MachineUnavailable, TransientError
from cofi_resources.mediators.faults import AnswerLost, DiskFull, KeyRefused, NoConnection
from cofi_resources.mediators.options import PoolOptions


class Blame(Enum):
    """What a failure says about the machine."""

    NOTHING = auto()
    AWAY = auto()
    STAGE_FAILED = auto()
    BUSY = auto()
    DISK_FULL = auto()
    KEY_REFUSED = auto()


def blame_for(error: CofiError) -> Blame:
    match error:
        case KeyRefused():
            return Blame.KEY_REFUSED
        case NoConnection():
            return Blame.AWAY
        case DiskFull():
            return Blame.DISK_FULL
        case MachineBusy():
            return Blame.BUSY
        case MachineUnavailable() | BadAnswer():
            return Blame.STAGE_FAILED
    return Blame.NOTHING


def is_mendable(error: CofiError) -> bool:
    """Whether another attempt, here or elsewhere, may go better."""
    return isinstance(error, TransientError | BadAnswer | KeyRefused)


@dataclass(frozen=True, slots=True)
class Spent:
    """What one request has used up of its budgets."""

    attempts: int = 0
    bad_answers: int = 0
    put_offs: int = 0
    first_put_off: float = 0.0
    tried: frozenset[str] = frozenset()
    ask_again: str | None = None
    """The machine that may hold the answer already, and is asked once more."""
    asked_again: frozenset[str] = frozenset()

    @property
    def failures(self) -> int:
        return self.attempts + self.bad_answers

    def after(self, error: CofiError, machine: str, now: float) -> "Spent":
        """The budgets after a failure on `machine` at `now`."""
        spent = replace(self, ask_again=None)
        if isinstance(error, MachineBusy):
            return spent._put_off(now)
        if isinstance(error, AnswerLost) and machine not in spent.asked_again:
            again = spent.asked_again | {machine}
            return replace(spent, attempts=spent.attempts + 1, ask_again=machine, asked_again=again)
        spent = replace(spent, tried=spent.tried | {machine})
        match error:
            case BadAnswer():
                return replace(spent, bad_answers=spent.bad_answers + 1)
            case NoConnection() | DiskFull():
                return spent._put_off(now)
        return replace(spent, attempts=spent.attempts + 1)

    def is_over(self, now: float, options: PoolOptions) -> bool:
        """Whether a budget is used up, and the last failure is the request's own."""
        if self.attempts >= options.attempts or self.bad_answers >= options.bad_answers:
            return True
        return self.put_offs > options.put_offs and now - self.first_put_off > options.outage_budget_s

    def _put_off(self, now: float) -> "Spent":
        return replace(self, put_offs=self.put_offs + 1, first_put_off=self.first_put_off if self.put_offs else now)


def given_up(error: CofiError, spent: Spent, machines: int) -> CofiError:
    """The failure a call sees: the last one's message and trace, and how much was tried."""
    tried = f"{spent.failures} attempts" if spent.failures > 1 else "one attempt"
    text = f"{error} (given up after {tried}; {machines} machines in use)"
    match error:
        case BadAnswer():
            return BadAnswer(text, trace=error.trace)
        case MachineBusy():
            return MachineBusy(text, retry_after_s=error.retry_after_s, trace=error.trace)
        case TransientError():
            return MachineUnavailable(text, retry_after_s=error.retry_after_s, trace=error.trace)
    return error


@dataclass(slots=True)
class RetryBudget:
    """A pool-wide purse: each request pays in a share of a retry, each retry takes one out."""

    share: float
    burst: int
    tokens: float = 0.0

    def __post_init__(self) -> None:
        self.tokens = float(self.burst)

    def earn(self) -> None:
        self.tokens = min(float(self.burst), self.tokens + self.share)

    def spend(self) -> bool:
        """Whether a retry may be sent soon; where not, it waits for the longest backoff instead."""
        if self.tokens < 1.0:
            return False
        self.tokens -= 1.0
        return True


def backoff_s(attempt: int, options: PoolOptions, chance: float) -> float:
    """Exponential backoff with full jitter: `chance` in 0..1 of what attempt number `attempt` (from 1) may wait."""
    return chance * min(options.longest_backoff_s, options.backoff_s * 2 ** min(attempt - 1, 30))


def timeout_s(duration_s: float | None, options: PoolOptions) -> float:
    """How long a request about audio of a length may take; `duration_s` 0.0 is unknown, None means no audio."""
    if duration_s is None:
        return options.request_without_audio_s
    return options.request_s + options.request_per_audio_s * (duration_s or options.unknown_audio_s)
