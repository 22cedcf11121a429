"""What a run has to do on a call: a new run redoes, a re-execution finishes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cofi_assets.engine.plan import DECIDED, blocked_by, plan_call, status_to_restart_from
from cofi_assets.stages import STAGES
from cofi_assets.stages.stage import Input, Stage
from cofi_resources.records import Call, CallStatus, StageState

NAMES = [stage.name for stage in STAGES]
PIPELINE = frozenset(NAMES)


def stage(name: str) -> Stage:
    return STAGES[NAMES.index(name)]


def call(states: dict[str, StageState] | None = None, done_by: dict[str, str] | None = None, **fields) -> Call:
    return Call(
        1, 1, "2026-01-15.1|000001-a.wav", "a.wav", "a.wav", 1, states=states or {}, done_by=done_by or {}, **fields
    )


ALL_DONE_BY_A = call(dict.fromkeys(NAMES, StageState.DONE), dict.fromkeys(NAMES, "A"))


def test_a_new_run_redoes_everything_it_is_asked_for() -> None:
    plan = plan_call(ALL_DONE_BY_A, STAGES, root_run_id="B")
    assert (plan.todo, plan.decided) == (STAGES, ())


def test_a_re_execution_takes_up_only_what_is_not_done() -> None:
    half = call(
        {"distribution": StageState.DONE, "lid": StageState.DONE, "transcripts": StageState.FAILED},
        {"distribution": "A", "lid": "A"},
    )
    plan = plan_call(half, STAGES, root_run_id="A")
    assert [stage.name for stage in plan.decided] == ["distribution", "lid"]
    assert [stage.name for stage in plan.todo] == NAMES[2:]


states = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(StageState))
owners = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(["A", "B"]))
selections = st.lists(st.sampled_from(STAGES), unique=True).map(lambda chosen: sorted(chosen, key=STAGES.index))


@given(states, owners, selections)
def test_every_selected_stage_is_either_to_do_or_decided_by_this_root(states, owners, selected) -> None:
    plan = plan_call(call(states, owners), selected, "A")
    assert set(plan.todo) | set(plan.decided) == set(selected)
    assert not set(plan.todo) & set(plan.decided)
    assert all(states.get(one.name) in DECIDED and owners.get(one.name) == "A" for one in plan.decided)


DONE_BY_A = dict.fromkeys(NAMES, StageState.DONE)


def restart(selected: list[str], states: dict[str, StageState], pipeline=STAGES) -> CallStatus | None:
    return status_to_restart_from(plan_call(call(states), [stage(name) for name in selected], "B"), pipeline)


@pytest.mark.parametrize(
    ("selected", "status"),
    [
        (NAMES, CallStatus.PENDING),
        (["lid", "transcripts"], CallStatus.PENDING),
        (["transcripts"], CallStatus.PENDING),
        (["llm1_conversations"], CallStatus.TRANSCRIPT_DONE),
        (["audit_answers"], CallStatus.AUDIT_DONE),
    ],
)
def test_a_call_goes_back_to_the_status_before_the_earliest_stage(selected: list[str], status: CallStatus) -> None:
    assert restart(selected, DONE_BY_A) is status


@pytest.mark.parametrize("selected", [["lid"], ["distribution"]])
def test_a_stage_that_sets_no_status_leaves_the_one_there_is(selected: list[str]) -> None:
    assert restart(selected, DONE_BY_A) is None


def test_a_call_that_had_ended_keeps_the_status_it_ended_with() -> None:
    ended = {"distribution": StageState.DONE, "lid": StageState.DONE, "transcripts": StageState.SKIPPED}
    assert restart(["audit_answers"], {**ended, "llm1_conversations": StageState.SKIPPED}) is None


def test_a_call_on_which_nothing_can_be_done_keeps_its_status() -> None:
    assert restart(["audit_answers"], {"distribution": StageState.DONE, "transcripts": StageState.FAILED}) is None


def test_with_llm1_switched_off_answers_are_given_from_transcript_done() -> None:
    without_llm1 = [one for one in STAGES if one.name != "llm1_conversations"]
    assert restart(["audit_answers"], DONE_BY_A, without_llm1) is CallStatus.TRANSCRIPT_DONE


def test_inputs_are_loaded_only_where_the_run_does_not_make_them() -> None:
    assert Input.CONVERSATION not in plan_call(call(), STAGES, "A").inputs
    assert Input.CONVERSATION in plan_call(call(), [stage("audit_answers")], "A").inputs


def test_a_stage_whose_upstream_is_missing_is_blocked_with_what_to_do() -> None:
    blocked = blocked_by(stage("audit_answers"), call(), frozenset({"audit_answers"}), PIPELINE)
    assert blocked is not None
    assert not blocked.skipped
    assert "run transcripts first" in blocked.reason


def test_a_call_that_ended_short_is_skipped_by_later_stages() -> None:
    short = call({"transcripts": StageState.SKIPPED}, status="ShortCall")
    blocked = blocked_by(stage("llm1_conversations"), short, frozenset({"llm1_conversations"}), PIPELINE)
    assert blocked is not None
    assert blocked.skipped
    assert blocked.reason == "ShortCall"


def test_a_stage_that_is_switched_off_blocks_nothing() -> None:
    ready = call({"transcripts": StageState.DONE})
    assert (
        blocked_by(stage("audit_answers"), ready, frozenset({"audit_answers"}), PIPELINE - {"llm1_conversations"})
        is None
    )
