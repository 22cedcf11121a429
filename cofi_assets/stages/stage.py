"""What a stage is: data plus one async function.

What belongs here: the types that every stage file and the engine share. What does not: any stage by name, HTTP, SQL.
A stage reads what is known of a call from `CallInHand`, asks the outside through `StageTools`, and returns `Done` or
`Skipped`; it raises `CofiError` to fail the call. It never writes: the engine does (architecture 3.5).
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import Flag, auto

from cofi_resources.errors import MissingUpstream
from cofi_resources.llm.reader import CallReader
from cofi_resources.mediators.pool import LocalAudio, MediatorPool
from cofi_resources.records import (
    AuditForm,
    BookedTrade,
    Call,
    CallStatus,
    Conversation,
    Distributed,
    LanguageIdentified,
    StageBookkeeping,
    StageResult,
    Transcribed,
)

MetadataValue = str | int | float | None


class Input(Flag):
    """What a stage builds on that the database may have to give, and what it makes itself."""

    NOTHING = 0
    CONVERSATION = auto()
    BOOKED_TRADES = auto()


@dataclass(frozen=True, slots=True)
class Done:
    """A stage's result. `metadata` is shown on the partition in Dagster and kept beside the stage's state."""

    result: StageResult | None = None
    machine: str | None = None
    metadata: Mapping[str, MetadataValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Skipped:
    """The call is decided and its pipeline ends here; `call_status` says why (a short call, an unknown language)."""

    call_status: CallStatus
    metadata: Mapping[str, MetadataValue] = field(default_factory=dict)


@dataclass(slots=True)
class CallInHand:
    """One call while a run works on it: what is known so far. Lives only as long as the call is open.

    `request_prefix` begins every idempotency key of this call in this run and its re-executions.
    """

    call: Call
    audio: LocalAudio
    request_prefix: str
    machine: str | None = None
    language: str = "unknown"
    duration_s: float = 0.0
    conversation: Conversation | None = None
    booked_trades: tuple[BookedTrade, ...] = ()

    def learn(self, result: StageResult | None) -> None:
        """Take over what later stages build on."""
        match result:
            case Distributed():
                self.machine = result.machine
                self.duration_s = result.duration_s
                self.audio = LocalAudio(
                    call_id=self.audio.call_id,
                    path=self.audio.path,
                    name=self.audio.name,
                    sha256=result.sha256,
                    duration_s=result.duration_s,
                )
            case LanguageIdentified():
                self.language = result.language
                self.duration_s = result.duration_s
            case Transcribed():
                self.conversation = Conversation(result.language, result.segments)
            case _:
                pass

    def spoken(self) -> Conversation:
        """The call's transcript. MissingUpstream if there is none."""
        if self.conversation is None:
            raise MissingUpstream(f"{self.call.file}: there is no transcript yet; run the transcripts stage first")
        return self.conversation

    def request_key(self, stage: str) -> str:
        """Idempotency key of this call's request for `stage`: the same for every attempt."""
        return f"{self.request_prefix}:{self.call.id}:{stage}"


@dataclass(frozen=True, slots=True)
class StageTools:
    """What a stage may use of the outside world, and the few settings that change what it decides."""

    pool: MediatorPool
    reader: CallReader
    form_of_process: Callable[[int], Awaitable[AuditForm]]
    default_process_id: int = 1
    min_call_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of the work on a call, and the asset that shows it.

    `after` names the stages whose results this one builds on (those switched off are left out); `inputs` is what of
    them is loaded from the database when the run does not itself compute it, `provides` what this stage makes of it.
    `status_after` is the `call.status` once it is done; asked for anew, the call goes back to that of the stage before.
    """

    bookkeeping: StageBookkeeping
    run: Callable[[CallInHand, StageTools], Awaitable[Done | Skipped]]
    description: str
    after: tuple[str, ...] = ()
    inputs: Input = Input.NOTHING
    provides: Input = Input.NOTHING
    status_after: CallStatus | None = None

    @property
    def name(self) -> str:
        return self.bookkeeping.name
