"""What a run has to do on each call: a pure decision, before anything is started.

What belongs here: which (call, stage) pairs are to be computed, which were decided already, and what `call.status`
goes back to. What does not: doing it (`scheduler.py`), storing it (`writer.py`).
Decision: a pair is finished for a run only if the run's own root decided it (architecture 3.4). So a new run redoes
what it is asked for, and a re-execution, which shares its root, takes up only what is not done.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from cofi_assets.stages.stage import Input, Stage
from cofi_resources.records import Call, CallStatus, StageState

DECIDED = (StageState.DONE, StageState.SKIPPED)


@dataclass(frozen=True, slots=True)
class CallPlan:
    """One call's part of a run: `todo` in pipeline order; `decided` was settled by this root run before."""

    call: Call
    todo: tuple[Stage, ...]
    decided: tuple[Stage, ...]

    @property
    def inputs(self) -> Input:
        """What must be loaded before the first stage: what `todo` wants and does not itself make."""
        wanted = made = Input.NOTHING
        for stage in self.todo:
            wanted |= stage.inputs & ~made
            made |= stage.provides
        return wanted


def plan_call(call: Call, selected: Sequence[Stage], root_run_id: str) -> CallPlan:
    """Split `selected` (in pipeline order) into what is to be done and what this root run has decided."""
    decided = tuple(
        stage
        for stage in selected
        if call.states.get(stage.name) in DECIDED and call.done_by.get(stage.name) == root_run_id
    )
    return CallPlan(call, tuple(stage for stage in selected if stage not in decided), decided)


@dataclass(frozen=True, slots=True)
class Blocked:
    """Why a stage cannot run on a call: what it builds on is not there, or ended the call."""

    reason: str
    skipped: bool


def blocked_by(stage: Stage, call: Call, todo_names: frozenset[str], pipeline_names: frozenset[str]) -> Blocked | None:
    """What keeps `stage` from running, seen from the stages before it that this run does not compute."""
    for name in stage.after:
        if name in todo_names or name not in pipeline_names:
            continue
        state = call.states.get(name)
        if state is StageState.SKIPPED:
            return Blocked(call.status or "", skipped=True)
        if state is not StageState.DONE:
            return Blocked(f"{name} is {state or 'not done'} for {call.file}: run {name} first", skipped=False)
    return None


def status_to_restart_from(plan: CallPlan, pipeline: Sequence[Stage]) -> CallStatus | None:
    """What `call.status` goes back to before the plan is worked on; None to leave it as it is.

    It is the status of the last stage that is done before the first one to do. It is left alone where no stage to do
    would set it again, and where nothing will be done: the call had ended before, or what it builds on is missing.
    """
    todo_names = frozenset(stage.name for stage in plan.todo)
    if all(stage.status_after is None for stage in plan.todo):
        return None
    if blocked_by(plan.todo[0], plan.call, todo_names, frozenset(stage.name for stage in pipeline)) is not None:
        return None
    before = pipeline[: pipeline.index(plan.todo[0])]
    reached = [stage.status_after for stage in before if plan.call.states.get(stage.name) is StageState.DONE]
    return next((status for status in reversed(reached) if status is not None), CallStatus.PENDING)
