"""The pool's decisions on simulated time: who gets which slot, when a breaker opens, what a failure costs."""

import heapq
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cofi_resources.errors import BadAnswer, CofiError, InvalidInput, MachineBusy, MachineUnavailable
from cofi_resources.mediators.dispatch import UPLOAD, Breaker, Fleet, Lane, Wish
from cofi_resources.mediators.faults import AnswerLost, DiskFull, FileUnknown, KeyRefused, NoConnection
from cofi_resources.mediators.options import PoolOptions
from cofi_resources.mediators.protocol import MachineStatus
from cofi_resources.mediators.retry import RetryBudget, Spent, backoff_s, is_mendable, timeout_s
from cofi_resources.settings import GpuMode

OPTIONS = PoolOptions()


def status_of(**capacities: int) -> MachineStatus:
    stages = {stage: {"state": "ready", "capacity": capacity} for stage, capacity in capacities.items()}
    files = {"count": 0, "bytes": 0, "free_bytes": 1}
    server = {"name": "simulated", "version": "1"}
    return MachineStatus.model_validate({"protocol": 1, "server": server, "stages": stages, "files": files})


def fleet_of(count: int, mode: GpuMode = "auto", **capacities: int) -> Fleet:
    fleet = Fleet.of([f"m{number}" for number in range(count)], mode)
    for machine in fleet.machines.values():
        machine.answered(status_of(**(capacities or {"stt": 2})), 0.0, OPTIONS)
    return fleet


def wish(number: int, *homes: str, **more) -> Wish:
    return Wish(number, "stt", homes=frozenset(homes), **more)


def given_to(fleet: Fleet, *wishes: Wish, now: float = 0.0) -> dict[int, str]:
    return {one.number: machine.url for one, machine in fleet.assign(wishes, now)}


def test_a_freed_slot_goes_to_the_earliest_waiter_whose_file_is_there() -> None:
    fleet = fleet_of(2, stt=1)
    fleet.machines["m0"].lane("stt").under_way = 1
    assert given_to(fleet, wish(1, "m0"), wish(2, "m1"), wish(3, "m1")) == {2: "m1"}


def test_a_slot_nobody_prefers_goes_to_the_earliest_waiter_and_never_idles() -> None:
    fleet = fleet_of(2, stt=1)
    fleet.machines["m0"].lane("stt").under_way = 1
    assert given_to(fleet, wish(1, "m0"), wish(2, "m0")) == {1: "m1"}


def test_a_retry_goes_to_a_machine_not_tried_and_back_only_when_all_were() -> None:
    fleet = fleet_of(2, stt=1)
    fleet.machines["m1"].lane("stt").under_way = 1
    assert given_to(fleet, wish(1, "m0", avoid=frozenset({"m0"}))) == {}
    assert given_to(fleet, wish(1, "m0", avoid=frozenset({"m0", "m1"}))) == {1: "m0"}


def test_a_machine_that_may_hold_the_answer_is_waited_for_while_it_works() -> None:
    fleet = fleet_of(2, stt=1)
    fleet.machines["m0"].lane("stt").under_way = 1
    assert given_to(fleet, wish(1, "m0", only="m0")) == {}
    fleet.machines["m0"].is_away(MachineUnavailable("one connection was refused"), confirmed=False)
    assert given_to(fleet, wish(1, "m0", only="m0")) == {}
    fleet.machines["m0"].is_away(MachineUnavailable("gone"), confirmed=True)
    assert given_to(fleet, wish(1, "m0", only="m0")) == {1: "m1"}


def test_a_machine_that_may_hold_the_answer_is_waited_for_while_its_breaker_is_open() -> None:
    fleet = fleet_of(2, stt=1)
    lane = fleet.machines["m0"].lane("stt")
    for _ in range(OPTIONS.breaker_failures):
        lane.breaker = lane.breaker.failed(0.0, OPTIONS)
    assert given_to(fleet, wish(1, "m0", only="m0")) == {}
    assert fleet.next_change("stt", 0.0) == OPTIONS.breaker_open_s
    assert given_to(fleet, wish(1, "m0", only="m0"), now=OPTIONS.breaker_open_s) == {1: "m0"}


def test_a_machine_that_was_started_anew_and_loads_holds_no_answer() -> None:
    fleet = fleet_of(2, stt=1)
    fleet.machines["m0"].lane("stt").resize(0)
    assert given_to(fleet, wish(1, "m0", only="m0")) == {1: "m1"}


def test_a_machine_with_a_full_disk_is_not_sent_a_file_it_lacks() -> None:
    fleet = fleet_of(2, stt=1)
    fleet.machines["m1"].lane(UPLOAD).pause(10.0)
    fleet.machines["m0"].lane("stt").under_way = 1
    assert given_to(fleet, wish(1, "m0", needs_file=True)) == {}
    assert given_to(fleet, wish(1, "m0", needs_file=False)) == {1: "m1"}


def test_round_robin_takes_machines_in_turn_and_skips_full_ones() -> None:
    fleet = fleet_of(3, "round-robin", stt=2)
    fleet.machines["m1"].lane("stt").under_way = 2
    assert list(given_to(fleet, *(wish(number) for number in range(4))).values()) == ["m0", "m2", "m0", "m2"]


def test_auto_takes_the_least_share_of_load_also_of_others() -> None:
    fleet = fleet_of(2, "auto", stt=4)
    fleet.machines["m0"].lane("stt").foreign = 3
    assert given_to(fleet, wish(1)) == {1: "m1"}


def test_single_has_the_first_machine_alone() -> None:
    assert list(fleet_of(3, "single").machines) == ["m0"]


@pytest.mark.parametrize("mode", ["auto", "round-robin"])
def test_a_machine_that_holds_more_unfinished_files_is_given_fewer_new_ones(mode: GpuMode) -> None:
    fleet = fleet_of(2, mode, stt=4)
    for number in range(6):
        fleet.machines["m0"].put_down(f"f{number}", 0.0)
    placed = []
    for number in range(6):
        target = fleet.place_for(0.0)
        assert target is not None
        fleet.machines[target].put_down(f"g{number}", 0.0)
        placed.append(target)
    assert placed.count("m1") >= 5


def test_a_stage_no_machine_offers_is_hopeless_but_not_while_one_is_away() -> None:
    fleet = fleet_of(2, stt=1)
    assert "does not offer" in (fleet.hopeless("llm1") or "")
    fleet.machines["m0"].fault = MachineUnavailable("gone")
    assert fleet.hopeless("llm1") is None
    fleet.machines["m0"].fault = KeyRefused("401")
    assert "401" in (fleet.hopeless("llm1") or "")


def test_a_breaker_opens_for_longer_each_time_and_lets_one_request_try() -> None:
    breaker = Breaker()
    for _ in range(OPTIONS.breaker_failures):
        assert breaker.allowance(0.0) is None
        breaker = breaker.failed(0.0, OPTIONS)
    assert breaker.allowance(1.0) == 0
    assert breaker.allowance(OPTIONS.breaker_open_s) == 1
    first = breaker.open_until
    breaker = breaker.failed(first, OPTIONS)
    assert breaker.open_until - first == 2 * OPTIONS.breaker_open_s
    assert breaker.probed(first).allowance(first) == 1


def test_failures_of_requests_sent_before_a_breaker_opened_do_not_open_it_further() -> None:
    breaker = Breaker()
    for _ in range(10 * OPTIONS.breaker_failures):
        breaker = breaker.failed(0.0, OPTIONS)
    assert breaker.open_until == OPTIONS.breaker_open_s


@given(st.lists(st.tuples(st.sampled_from(["fail", "succeed", "probe"]), st.floats(0.0, 50.0)), max_size=60))
def test_a_breaker_never_stays_open_longer_than_its_bound(steps: list[tuple[str, float]]) -> None:
    breaker, now = Breaker(), 0.0
    for step, passed in steps:
        now += passed
        match step:
            case "fail":
                breaker = breaker.failed(now, OPTIONS)
            case "succeed":
                breaker = Breaker()
            case _:
                breaker = breaker.probed(now)
        assert breaker.allowance(now + OPTIONS.breaker_longest_open_s) != 0


def test_refusals_narrow_a_lane_and_successes_widen_it_to_its_capacity() -> None:
    lane = Lane()
    lane.resize(4)
    lane.under_way = 4
    lane.refused()
    assert lane.room(0.0) == 0
    lane.under_way = 3
    assert lane.room(0.0) == 0
    for _ in range(20):
        lane.succeeded()
    assert lane.room(0.0) == 1
    for _ in range(100):
        lane.under_way = 0
        lane.refused()
    assert lane.room(0.0) == 1


def test_a_stage_that_is_loading_has_no_room_until_it_is_ready() -> None:
    fleet = fleet_of(1, stt=4)
    loading = status_of(stt=4).model_copy(deep=True)
    loading.stages["stt"] = loading.stages["stt"].model_copy(update={"state": "loading"})
    fleet.machines["m0"].answered(loading, 0.0, OPTIONS)
    assert given_to(fleet, wish(1)) == {}
    assert fleet.hopeless("stt") is None
    fleet.machines["m0"].answered(status_of(stt=4), 0.0, OPTIONS)
    assert given_to(fleet, wish(1)) == {1: "m0"}


machine_urls = st.sampled_from(["m0", "m1", "m2"])


@given(
    under_way=st.lists(st.integers(0, 3), min_size=3, max_size=3),
    wishes=st.lists(st.tuples(st.frozensets(machine_urls, max_size=2), st.frozensets(machine_urls, max_size=2))),
    mode=st.sampled_from(["auto", "round-robin", "single"]),
)
def test_slots_are_never_overbooked_and_never_idle_while_somebody_may_use_them(under_way, wishes, mode) -> None:
    fleet = fleet_of(3, mode, stt=3)
    for machine, count in zip(fleet.machines.values(), under_way, strict=False):
        machine.lane("stt").under_way = count
    asked = [wish(number, *homes, avoid=avoid) for number, (homes, avoid) in enumerate(wishes)]
    given_slots = fleet.assign(asked, 0.0)
    numbers = [one.number for one, _ in given_slots]
    assert len(set(numbers)) == len(numbers)
    assert all(machine.lane("stt").under_way <= 3 for machine in fleet.machines.values())
    free = {url for url, machine in fleet.machines.items() if machine.room("stt", 0.0)}
    for one in asked:
        untried = fleet.machines.keys() - one.avoid or fleet.machines.keys()
        assert one.number in numbers or not free & untried


def makespan(service_s: list[list[float]], late: bool) -> float:
    """Time to work all calls on machines of two slots; `service_s[call][machine]`, files spread in turn at the start.

    Late: a free slot takes whoever `assign` gives it. Fixed: every call waits for the machine its file is on.
    """
    count = len(service_s[0])
    fleet = fleet_of(count, "round-robin", stt=2)
    others = [frozenset(fleet.machines.keys() - {url}) for url in fleet.machines]
    waiting = [
        wish(number, f"m{number % count}", avoid=frozenset() if late else others[number % count])
        for number in range(len(service_s))
    ]
    ends: list[tuple[float, int, str]] = []
    now = 0.0
    while waiting or ends:
        for one, chosen in fleet.assign(waiting, now):
            waiting.remove(one)
            heapq.heappush(ends, (now + service_s[one.number][int(chosen.url[1:])], one.number, chosen.url))
        now, _, freed = heapq.heappop(ends)
        fleet.machines[freed].lane("stt").under_way -= 1
    return now


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000))
def test_late_assignment_beats_a_fixed_split_when_one_machine_is_slow(seed: int) -> None:
    chance = random.Random(seed)
    base = [chance.lognormvariate(2.0, 0.5) for _ in range(200)]
    service_s = [[one * factor for factor in (1.0, 1.0, 1.0, 3.0)] for one in base]
    ideal_s = sum(base) / (2 * (1 + 1 + 1 + 1 / 3))
    longest_s = 3.0 * max(base)
    late_s, fixed_s = makespan(service_s, late=True), makespan(service_s, late=False)
    assert late_s <= ideal_s + longest_s
    assert fixed_s > 1.5 * late_s


@pytest.mark.parametrize(
    ("error", "attempts", "put_offs", "bad_answers"),
    [
        (MachineUnavailable("500"), 1, 0, 0),
        (FileUnknown("404"), 1, 0, 0),
        (KeyRefused("401"), 1, 0, 0),
        (NoConnection("refused"), 0, 1, 0),
        (DiskFull("507"), 0, 1, 0),
        (MachineBusy("429"), 0, 1, 0),
        (BadAnswer("nonsense"), 0, 0, 1),
    ],
)
def test_only_what_a_machine_may_have_worked_for_costs_an_attempt(
    error: CofiError, attempts: int, put_offs: int, bad_answers: int
) -> None:
    spent = Spent().after(error, "m0", 0.0)
    assert (spent.attempts, spent.put_offs, spent.bad_answers) == (attempts, put_offs, bad_answers)
    assert spent.tried == (frozenset() if isinstance(error, MachineBusy) else {"m0"})


def test_a_lost_answer_is_asked_for_again_once_where_it_was_lost() -> None:
    once = Spent().after(AnswerLost("cut"), "m0", 0.0)
    assert (once.ask_again, once.tried) == ("m0", frozenset())
    twice = once.after(AnswerLost("cut"), "m0", 0.0)
    assert (twice.ask_again, twice.tried) == (None, {"m0"})


@given(st.lists(st.sampled_from([MachineUnavailable("x"), AnswerLost("x"), BadAnswer("x")]), min_size=7, max_size=9))
def test_every_request_ends(errors: list[CofiError]) -> None:
    spent = Spent()
    for error in errors:
        spent = spent.after(error, "m0", 0.0)
    assert spent.is_over(0.0, OPTIONS)


def test_a_request_outlives_an_outage_that_refuses_it_now_and_then() -> None:
    spent = Spent()
    for minute in range(9):
        spent = spent.after(NoConnection("refused"), "m0", 60.0 * minute)
    assert not spent.is_over(60.0 * 9, OPTIONS)


def test_bad_input_is_never_tried_again() -> None:
    assert not is_mendable(InvalidInput("422"))


@given(st.integers(1, 10_000), st.floats(0.0, 1.0))
def test_backoff_is_bounded_and_jittered_from_nothing(attempt: int, chance: float) -> None:
    assert 0.0 <= backoff_s(attempt, OPTIONS, chance) <= OPTIONS.longest_backoff_s
    assert backoff_s(attempt, OPTIONS, 0.0) == 0.0


def test_retries_are_a_share_of_requests_beyond_a_burst() -> None:
    budget = RetryBudget(share=0.25, burst=2)
    assert [budget.spend() for _ in range(3)] == [True, True, False]
    for _ in range(4):
        budget.earn()
    assert [budget.spend() for _ in range(2)] == [True, False]


def test_timeouts_grow_with_the_audio_so_that_a_call_of_hours_can_end() -> None:
    assert timeout_s(3 * 3600.0, OPTIONS) > 3 * 3600.0
    assert timeout_s(60.0, OPTIONS) < 600.0
    assert timeout_s(0.0, OPTIONS) >= timeout_s(3 * 3600.0, OPTIONS)


def test_the_window_holds_more_calls_than_there_are_slots_of_machines_that_work() -> None:
    fleet = fleet_of(2, lid=4, stt=4)
    both = fleet.window(1.5)
    assert both >= 1.5 * 16
    fleet.machines["m0"].fault = MachineUnavailable("gone")
    assert 8 <= fleet.window(1.5) < both


def test_a_machine_without_slots_is_never_the_place_for_a_file() -> None:
    fleet = Fleet.of(["m0"], "auto")
    assert fleet.place_for(0.0) is None
    assert fleet.machines["m0"].share(0.0) == math.inf
