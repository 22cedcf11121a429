"""Machines that lie, stall, forget and vanish: no call is lost, none is done twice, and no failure is silent."""

import asyncio
import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import pytest
from pydantic import SecretStr
from stub_fleet import QUICK, fleet, identify

from bench.stub_mediator import StubMachine, StubOptions, seconds_from
from cofi_resources.errors import BadAnswer, CofiError, ConfigError, InvalidInput, MachineUnavailable, PermanentError
from cofi_resources.mediators.pool import LocalAudio, MediatorPool
from cofi_resources.mediators.protocol import (
    Llm2Request,
    MachineStatus,
    SttRequest,
    WireCall,
    WireQuestion,
)
from cofi_resources.mediators.resource import MediatorPoolResource
from cofi_resources.settings import MachineAddress, Settings, parse_machines

UPLOAD_BYTES = 48 << 20
FLAT_BYTES = 12 << 20


async def placed(pool: MediatorPool, audio: LocalAudio) -> tuple[LocalAudio, str]:
    """The recording as a call knows it once it was distributed, and its machine."""
    put = await pool.place(audio)
    return replace(audio, sha256=put.sha256, duration_s=put.duration_s), put.machine


async def until(true: Callable[[], bool]) -> None:
    """Waits for what other tasks bring about, for ten seconds at most."""
    async with asyncio.timeout(10.0):
        while not true():  # noqa: ASYNC110 - what is watched is plain state of a server
            await asyncio.sleep(0.005)


def model_runs(stubs: list[StubMachine], key: str) -> int:
    return sum(stub.runs[key] for stub in stubs)


@pytest.mark.parametrize("kind", ["refuse", "reset", "html", "other_call", "nonsense", "garbage"])
async def test_a_machine_that_goes_wrong_once_is_made_up_for(audio: LocalAudio, kind: str) -> None:
    async with fleet(2) as (pool, stubs):
        known, machine = await placed(pool, audio)
        next(stub for stub in stubs if stub.url == machine).fail("stt", kind)
        reply = await pool.run("stt", lambda file_id: SttRequest(file_id=file_id), audio=known, prefer=machine, key="k")
        assert reply.attempts == 2
        assert reply.url == f"{reply.machine}/v1/stages/stt"


async def test_an_answer_that_was_lost_is_asked_for_again_and_no_model_runs_twice(audio: LocalAudio) -> None:
    async with fleet(2) as (pool, stubs):
        known, machine = await placed(pool, audio)
        next(stub for stub in stubs if stub.url == machine).fail("lid", "lost")
        reply = await identify(pool, known, machine, key="k")
        assert (reply.machine, reply.attempts) == (machine, 2)
        assert model_runs(stubs, "k") == 1


async def test_answers_lost_in_a_row_open_the_breaker_and_still_no_model_runs_twice(audio: LocalAudio) -> None:
    patient = replace(QUICK, breaker_open_s=0.2, breaker_longest_open_s=0.2)
    async with fleet(2, options=StubOptions(capacity=QUICK.breaker_failures), pool_options=patient) as (pool, stubs):
        known, machine = await placed(pool, audio)
        loses = next(stub for stub in stubs if stub.url == machine)
        loses.fail("lid", "lost", times=QUICK.breaker_failures)
        keys = [f"k{number}" for number in range(QUICK.breaker_failures)]
        replies = await asyncio.gather(*(identify(pool, known, machine, key=key) for key in keys))
        assert {reply.machine for reply in replies} == {machine}
        assert [model_runs(stubs, key) for key in keys] == [1] * len(keys)


async def test_an_answer_for_another_file_is_told_by_its_duration(audio: LocalAudio) -> None:
    async with fleet(2) as (pool, stubs):
        known, machine = await placed(pool, audio)
        for stub in stubs:
            stub.fail("lid", "other_call", times=9)
        with pytest.raises(BadAnswer, match=r"call 1.*lasts") as failed:
            await identify(pool, known, machine)
        assert failed.value.trace is not None
        assert "duration_s" in failed.value.trace.response


async def test_answers_that_are_no_choice_are_refused() -> None:
    call = WireCall(language="en", segments=[])
    form = Llm2Request(call=call, questions=[WireQuestion(id=1, text="?", choices=["YES", "NO"])])
    async with fleet(1) as (pool, (stub,)):
        stub.fail("llm2", "nonsense", times=9)
        with pytest.raises(BadAnswer, match="MAYBE"):
            await pool.run("llm2", lambda _: form, audio=None, prefer=None, key="run:1:llm2")


async def test_an_answer_that_drips_is_given_up_in_time(audio: LocalAudio) -> None:
    async with fleet(2, pool_options=replace(QUICK, request_s=0.15)) as (pool, stubs):
        known, machine = await placed(pool, audio)
        next(stub for stub in stubs if stub.url == machine).fail("lid", "drip")
        reply = await identify(pool, known, machine)
        assert reply.machine != machine


async def test_a_request_still_worked_on_after_its_caller_left_is_waited_for(audio: LocalAudio) -> None:
    slow = StubOptions(seconds={"lid": seconds_from("0.15")})
    async with fleet(2, options=slow) as (pool, stubs):
        known, machine = await placed(pool, audio)
        first = asyncio.create_task(identify(pool, known, machine, key="k"))
        await until(lambda: model_runs(stubs, "k") == 1)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        reply = await identify(pool, known, machine, key="k")
        assert reply.machine == machine
        assert model_runs(stubs, "k") == 1


async def test_a_server_that_answers_later_is_polled(audio: LocalAudio) -> None:
    later = StubOptions(answers_later=True, seconds={"lid": seconds_from("0.05")})
    async with fleet(1, options=later) as (pool, (stub,)):
        known, machine = await placed(pool, audio)
        assert (await identify(pool, known, machine)).attempts == 1
        assert stub.requests["lid"] == 1


async def test_a_machine_that_refuses_the_key_is_left_to_the_others(audio: LocalAudio) -> None:
    async with fleet(2, api_key=SecretStr("ours")) as (pool, stubs):
        known, machine = await placed(pool, audio)
        strict = next(stub for stub in stubs if stub.url == machine)
        strict.options = StubOptions(api_key="theirs")
        assert (await identify(pool, known, machine)).machine != machine


async def test_a_key_that_a_machine_repeats_is_masked(audio: LocalAudio) -> None:
    async with fleet(1, api_key=SecretStr("topsecret")) as (pool, (stub,)):
        known, machine = await placed(pool, audio)
        stub.fail("lid", "echo", status=500, times=99)
        with pytest.raises(MachineUnavailable) as failed:
            await identify(pool, known, machine)
        assert "Bearer ***" in f"{failed.value}{failed.value.trace}"
        assert "topsecret" not in f"{failed.value}{failed.value.trace}"


async def test_bad_input_is_final_and_names_file_machine_and_request(audio: LocalAudio) -> None:
    async with fleet(2) as (pool, stubs):
        known, machine = await placed(pool, audio)
        for stub in stubs:
            stub.fail("lid", "status", status=422, code="invalid_request", times=9)
        with pytest.raises(InvalidInput) as failed:
            await identify(pool, known, machine)
        assert "call 1.wav" in str(failed.value)
        assert machine in str(failed.value)
        assert failed.value.trace is not None
        assert known.file_id in failed.value.trace.payload
        assert sum(stub.requests["lid"] for stub in stubs) == 1


async def test_a_stage_only_one_machine_offers_goes_there(audio: LocalAudio) -> None:
    async with fleet(2) as (pool, stubs):
        known, machine = await placed(pool, audio)
        lacking = next(stub for stub in stubs if stub.url == machine)
        lacking.fail("lid", "status", status=404, code="unknown_stage", times=9)
        assert (await identify(pool, known, machine)).machine != machine


async def test_a_proxy_without_a_machine_behind_it_is_not_a_missing_file(audio: LocalAudio) -> None:
    async with fleet(1) as (pool, (stub,)):
        known, machine = await placed(pool, audio)
        stub.fail("lid", "status", status=404, code="")
        await identify(pool, known, machine)
        assert stub.requests["upload"] == 1


async def test_a_machine_that_keeps_forgetting_is_not_sent_the_file_for_ever(audio: LocalAudio) -> None:
    async with fleet(1) as (pool, (stub,)):
        known, machine = await placed(pool, audio)
        stub.fail("lid", "forget", times=10_000)
        with pytest.raises(MachineUnavailable, match="forgetting"):
            await identify(pool, known, machine)
        assert stub.requests["upload"] <= 1 + QUICK.attempts * QUICK.sends_per_attempt


async def test_a_failing_machine_is_soon_asked_no_more_while_the_others_work(audio: LocalAudio) -> None:
    still = replace(QUICK, status_every_s=60.0, breaker_open_s=60.0, breaker_longest_open_s=60.0)
    async with fleet(2, pool_options=still) as (pool, stubs):
        known, _ = await placed(pool, audio)
        stubs[0].fail("lid", "status", status=500, times=10_000)
        for number in range(40):
            await identify(pool, known, stubs[0].url, key=f"k{number}")
        assert stubs[0].requests["lid"] == still.breaker_failures
        assert stubs[1].requests["lid"] == 40


async def test_a_storm_of_429_delays_and_loses_nothing(audio: LocalAudio) -> None:
    async with fleet(2) as (pool, stubs):
        known, machine = await placed(pool, audio)
        for stub in stubs:
            stub.fail("lid", "status", status=429, code="busy", retry_after=0.02, times=30)
        await asyncio.gather(*(identify(pool, known, machine, key=f"k{number}") for number in range(20)))
        assert all(model_runs(stubs, f"k{number}") == 1 for number in range(20))


async def test_the_pause_a_machine_asks_for_is_kept(audio: LocalAudio) -> None:
    async with fleet(1) as (pool, (stub,)):
        known, machine = await placed(pool, audio)
        stub.fail("lid", "status", status=503, code="loading", retry_after=0.3)
        loop = asyncio.get_running_loop()
        began = loop.time()
        await identify(pool, known, machine)
        assert loop.time() - began >= 0.3
        assert stub.requests["lid"] == 2


async def test_a_fleet_with_faults_of_all_kinds_loses_no_call_and_repeats_none(tmp_path: Path) -> None:
    options = StubOptions(capacity=3, queue=0, seconds={stage: seconds_from("0.005") for stage in ("lid", "stt")})
    async with fleet(3, options=options) as (pool, stubs):
        for stub in stubs:
            stub.fail("lid", "lost", times=3)
            stub.fail("stt", "status", status=500, times=3)
            stub.fail("stt", "status", status=429, retry_after=0.01, times=3)
            stub.fail("lid", "refuse", times=2)
            stub.fail("stt", "forget", times=2)
            stub.fail("upload", "reset", times=2)

        async def work(number: int) -> None:
            path = tmp_path / f"{number}.wav"
            path.write_bytes(b"RIFF%d" % number)
            known, machine = await placed(pool, LocalAudio(number, path, path.name))
            machine = (await identify(pool, known, machine, key=f"{number}:lid")).machine
            await pool.run(
                "stt", lambda file_id: SttRequest(file_id=file_id), audio=known, prefer=machine, key=f"{number}:stt"
            )

        await asyncio.gather(*(work(number) for number in range(60)))
        assert {model_runs(stubs, f"{number}:{stage}") for number in range(60) for stage in ("lid", "stt")} == {1}
        assert max(stub.most_under_way for stub in stubs) <= 3


async def test_work_goes_on_after_every_machine_was_gone(audio: LocalAudio) -> None:
    slow = StubOptions(capacity=2, seconds={"lid": seconds_from("0.02")})
    async with fleet(2, options=slow) as (pool, stubs):
        known, machine = await placed(pool, audio)
        work = [asyncio.create_task(identify(pool, known, machine, key=f"k{number}")) for number in range(20)]
        await until(lambda: sum(stub.requests["lid"] for stub in stubs) >= 6)
        for stub in stubs:
            await stub.stop()
        for stub in stubs:
            await stub.start()
        assert len(await asyncio.gather(*work)) == 20


async def test_a_queue_longer_than_the_outage_budget_is_no_outage(audio: LocalAudio) -> None:
    slow = StubOptions(capacity=1, seconds={"lid": seconds_from("0.03")})
    async with fleet(1, options=slow, pool_options=replace(QUICK, outage_budget_s=0.1)) as (pool, _):
        known, machine = await placed(pool, audio)
        await asyncio.gather(*(identify(pool, known, machine, key=f"k{number}") for number in range(12)))


async def test_who_stops_waiting_gives_its_slot_back(audio: LocalAudio) -> None:
    slow = StubOptions(capacity=1, seconds={"lid": seconds_from("0.05")})
    async with fleet(1, options=slow) as (pool, _):
        known, machine = await placed(pool, audio)
        waiting = [asyncio.create_task(identify(pool, known, machine, key=f"k{number}")) for number in range(5)]
        await asyncio.sleep(0)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert (await identify(pool, known, machine, key="last")).machine == machine


async def test_a_stage_that_is_loading_is_waited_for(audio: LocalAudio) -> None:
    async with fleet(1) as (pool, (stub,)):
        known, machine = await placed(pool, audio)
        before = pool.window()
        stub.states["stt"] = "loading"
        await until(lambda: pool.window() < before)
        asked = asyncio.create_task(
            pool.run("stt", lambda file_id: SttRequest(file_id=file_id), audio=known, prefer=machine, key="k")
        )
        await asyncio.wait({asked}, timeout=0.1)
        assert stub.requests["stt"] == 0
        stub.states["stt"] = "ready"
        assert (await asked).attempts == 1


async def test_a_file_is_streamed_and_never_held_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    with path.open("wb") as file:
        file.truncate(UPLOAD_BYTES)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.stub_mediator", cwd=Path(__file__).parents[3], stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        url = (await process.stdout.readline()).decode().strip()
        async with MediatorPool([MachineAddress(url)], mode="single", options=replace(QUICK, request_s=30)) as pool:
            tracemalloc.start()
            put = await pool.place(LocalAudio(1, path, path.name))
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
    finally:
        process.terminate()
        await process.wait()
    assert put.size_bytes == UPLOAD_BYTES
    assert peak < FLAT_BYTES


async def test_names_travel_percent_encoded_and_never_become_ids(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"RIFF")
    name = "../Ünï çödé\r\n call.wav"
    async with fleet(1) as (pool, (stub,)):
        put = await pool.place(LocalAudio(7, path, name))
        assert put.file_id.startswith("c7-")
        assert unquote(stub.names[put.file_id]) == name


async def test_a_file_that_changed_since_it_was_placed_fails_by_name(audio: LocalAudio) -> None:
    async with fleet(2) as (pool, stubs):
        known, machine = await placed(pool, audio)
        audio.path.write_bytes(b"something else")
        for stub in stubs:
            stub.files.clear()
        with pytest.raises(PermanentError, match=r"call 1.*not what it was"):
            await identify(pool, known, machine)


async def test_an_empty_file_is_refused_before_it_is_sent(tmp_path: Path) -> None:
    path = tmp_path / "empty.wav"
    path.touch()
    async with fleet(1) as (pool, (stub,)):
        with pytest.raises(PermanentError, match=r"empty\.wav is empty"):
            await pool.place(LocalAudio(1, path, path.name))
        assert stub.requests["upload"] == 0


async def test_every_machine_says_how_it_is_or_why_it_does_not() -> None:
    async with fleet(2, mode="single") as (pool, stubs):
        await stubs[1].stop()
        said = await pool.statuses()
        assert isinstance(said[stubs[0].url], MachineStatus)
        fault = said[stubs[1].url]
        assert isinstance(fault, CofiError)
        assert stubs[1].url in str(fault)


def test_a_protocol_without_an_adapter_is_said_when_the_pool_is_made() -> None:
    with pytest.raises(ConfigError, match=r"protocol=cofi-legacy.*not available yet"):
        MediatorPool(parse_machines("http://a:5065;protocol=cofi-legacy"), mode="auto")


async def test_a_password_in_a_machines_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigError, match="MEDIATOR_API_KEY") as failed:
        async with MediatorPool([MachineAddress("http://me:hidden@127.0.0.1:1")], mode="auto"):
            pass
    assert "hidden" not in str(failed.value)


def test_the_resource_carries_no_key() -> None:
    settings = Settings(mediator_api_key=SecretStr("topsecret"), gpu_machines="http://a:1,http://b:2")
    resource = MediatorPoolResource.of(settings)
    assert "topsecret" not in repr(resource) + resource.model_dump_json()
    assert isinstance(resource.open(), MediatorPool)
