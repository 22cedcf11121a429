"""The pool against real machines on loopback: late assignment, and every way a machine can let a call down."""

import asyncio

import pytest
from pydantic import SecretStr
from stub_fleet import QUICK, fleet, identify

from bench.stub_mediator import StubOptions, seconds_from
from cofi_resources.errors import BadAnswer, ConfigError, MachineUnavailable, PermanentError, UnreadableAudio
from cofi_resources.mediators.options import PoolOptions
from cofi_resources.mediators.pool import LocalAudio
from cofi_resources.mediators.protocol import LidRequest, LidResult, SttRequest, SttResult


async def test_a_placed_file_is_worked_on_where_it_is_and_sent_once(audio: LocalAudio) -> None:
    async with fleet(2) as (pool, stubs):
        placed = await pool.place(audio)
        reply = await identify(pool, audio, placed.machine)
        assert reply.machine == placed.machine
        assert isinstance(reply.result, LidResult)
        assert sum(stub.requests["upload"] for stub in stubs) == 1


async def test_bytes_that_are_there_already_are_not_sent_again(audio: LocalAudio) -> None:
    async with fleet() as (pool, (stub,)):
        first = await pool.place(audio)
        again = LocalAudio(1, audio.path, audio.name, first.sha256, first.duration_s)
        assert await pool.place(again, prefer=first.machine) == first
        assert stub.requests["upload"] == 1


@pytest.mark.parametrize(
    ("kind", "details"),
    [
        ("status", {"status": 500}),
        ("status", {"status": 502, "code": ""}),
        ("status", {"status": 429, "code": "busy", "retry_after": 0.03}),
        ("status", {"status": 503, "code": "loading", "retry_after": 0.03}),
        ("status", {"status": 409, "code": "busy", "retry_after": 0.03}),
        ("reset", {}),
        ("garbage", {}),
        ("nonsense", {}),
        ("error_body", {"status": 500}),
    ],
)
async def test_one_fault_of_a_lone_machine_costs_an_attempt_and_no_call(audio: LocalAudio, kind: str, details) -> None:
    async with fleet() as (pool, (stub,)):
        await pool.place(audio)
        stub.fail("lid", kind, **details)
        reply = await identify(pool, audio, stub.url)
        assert isinstance(reply.result, LidResult)
        assert reply.result.language == "en"
        assert stub.requests["lid"] == 2


async def test_an_error_with_a_body_like_a_result_is_never_a_result(audio: LocalAudio) -> None:
    async with fleet() as (pool, (stub,)):
        await pool.place(audio)
        stub.fail("lid", "error_body", status=500, times=100)
        with pytest.raises(MachineUnavailable, match="500"):
            await identify(pool, audio, stub.url)


async def test_a_file_that_a_machine_forgot_is_sent_again(audio: LocalAudio) -> None:
    async with fleet() as (pool, (stub,)):
        await pool.place(audio)
        stub.fail("lid", "forget")
        await identify(pool, audio, stub.url)
        assert stub.requests["upload"] == 2


async def test_a_machine_that_fails_is_left_for_another_which_is_sent_the_file(audio: LocalAudio) -> None:
    async with fleet(2) as (pool, stubs):
        placed = await pool.place(audio)
        bad = next(stub for stub in stubs if stub.url == placed.machine)
        bad.fail("lid", "status", status=500, times=100)
        reply = await identify(pool, audio, placed.machine)
        assert reply.machine != bad.url


async def test_a_machine_that_is_gone_is_left_and_comes_back_after_a_probe(audio: LocalAudio) -> None:
    async with fleet(2) as (pool, stubs):
        placed = await pool.place(audio)
        gone = next(stub for stub in stubs if stub.url == placed.machine)
        await gone.stop()
        assert (await identify(pool, audio, gone.url)).machine != gone.url
        await gone.start()
        for number in range(200):
            reply = await identify(pool, audio, gone.url, key=f"run:1:lid:{number}")
            if reply.machine == gone.url:
                return
            await asyncio.sleep(0.01)
        raise AssertionError("the machine was never used again")


async def test_a_fleet_that_is_away_is_waited_for(audio: LocalAudio) -> None:
    async with fleet(1) as (pool, (stub,)):
        placed = await pool.place(audio)
        await stub.stop()
        asked = asyncio.create_task(identify(pool, audio, placed.machine))
        done, _ = await asyncio.wait({asked}, timeout=0.2)
        assert not done
        await stub.start()
        assert (await asked).machine == stub.url


async def test_patience_with_an_absent_fleet_ends(audio: LocalAudio) -> None:
    impatient = PoolOptions(connect_s=0.2, outage_budget_s=0.3, breaker_open_s=0.02, status_every_s=0.1)
    async with fleet(1, pool_options=impatient) as (pool, (stub,)):
        await pool.place(audio)
        await stub.stop()
        with pytest.raises(MachineUnavailable):
            await identify(pool, audio, stub.url)


async def test_a_request_that_hangs_is_given_up_and_tried_again(audio: LocalAudio) -> None:
    hasty = PoolOptions(request_s=0.1, request_per_audio_s=0.0, backoff_s=0.01, status_every_s=0.1)
    async with fleet(1, pool_options=hasty) as (pool, (stub,)):
        await pool.place(audio)
        stub.fail("lid", "hang")
        assert (await identify(pool, audio, stub.url)).attempts == 2


async def test_nonsense_is_final_when_every_try_gives_it(audio: LocalAudio) -> None:
    async with fleet(2) as (pool, stubs):
        for stub in stubs:
            stub.fail("stt", "nonsense", times=100)
        placed = await pool.place(audio)
        with pytest.raises(BadAnswer, match="before"):
            await pool.run(
                "stt", lambda file_id: SttRequest(file_id=file_id), audio=audio, prefer=placed.machine, key="k"
            )
        assert sum(stub.requests["stt"] for stub in stubs) == QUICK.bad_answers


async def test_what_no_machine_can_do_is_final_at_once_and_names_the_request(audio: LocalAudio) -> None:
    async with fleet() as (pool, (stub,)):
        stub.fail("upload", "status", status=415, code="unsupported_media", times=100)
        with pytest.raises(UnreadableAudio) as failed:
            await pool.place(audio)
        assert stub.requests["upload"] == 1
        assert failed.value.trace is not None
        assert "/v1/files/" in failed.value.trace.url
        assert "call 1.wav" in failed.value.trace.payload


async def test_a_full_disk_sends_the_file_to_another_machine(audio: LocalAudio) -> None:
    async with fleet(2) as (pool, stubs):
        stubs[0].fail("upload", "status", status=507, code="disk_full", times=100)
        placed = [await pool.place(LocalAudio(n, audio.path, audio.name)) for n in range(4)]
        assert {one.machine for one in placed} == {stubs[1].url}


async def test_a_file_that_vanished_fails_by_name_and_blames_no_machine(audio: LocalAudio) -> None:
    async with fleet() as (pool, (stub,)):
        placed = await pool.place(audio)
        audio.path.unlink()
        stub.files.clear()
        with pytest.raises(PermanentError, match=r"call 1\.wav cannot be read"):
            await identify(pool, audio, placed.machine)


async def test_a_stage_that_no_machine_offers_is_said_at_once() -> None:
    async with fleet() as (pool, _):
        with pytest.raises(ConfigError, match="no machine can do denoise"):
            await pool.run("denoise", lambda _: LidRequest(file_id="x"), audio=None, prefer=None, key="k")


async def test_a_wrong_key_is_a_fault_of_the_installation_and_is_never_shown(audio: LocalAudio) -> None:
    guarded = StubOptions(api_key="right")
    async with fleet(options=guarded, api_key=SecretStr("right")) as (pool, (stub,)):
        await pool.place(audio)
        stub.options.api_key = "changed"
        with pytest.raises(ConfigError, match="MEDIATOR_API_KEY") as failed:
            await identify(pool, audio, stub.url)
        assert "right" not in f"{failed.value} {failed.value.trace}"


async def test_no_machine_is_ever_given_more_than_it_can_take(audio: LocalAudio) -> None:
    small = StubOptions(capacity=2, queue=0, seconds={"lid": seconds_from("0.005")})
    async with fleet(2, options=small) as (pool, stubs):
        placed = await pool.place(audio)
        await asyncio.gather(*(identify(pool, audio, placed.machine, key=f"k{n}") for n in range(40)))
        assert max(stub.most_under_way for stub in stubs) == 2
        assert sum(stub.requests["lid"] for stub in stubs) == 40
        assert all(runs == 1 for stub in stubs for runs in stub.runs.values())


async def test_a_slow_machine_gets_less_work_than_a_quick_one(audio: LocalAudio) -> None:
    options = StubOptions(capacity=2, seconds={"lid": seconds_from("0.01")})
    async with fleet(2, options=options) as (pool, stubs):
        stubs[0].options = StubOptions(capacity=2, seconds={"lid": seconds_from("0.04")})
        await asyncio.gather(*(identify(pool, audio, None, key=f"k{n}") for n in range(60)))
        assert stubs[1].requests["lid"] > 2 * stubs[0].requests["lid"]


async def test_single_uses_the_first_machine_alone(audio: LocalAudio) -> None:
    async with fleet(2, mode="single") as (pool, stubs):
        for number in range(5):
            await identify(pool, audio, None, key=f"k{number}")
        assert stubs[1].requests["lid"] == 0


async def test_the_transcript_comes_with_every_segment(audio: LocalAudio) -> None:
    async with fleet() as (pool, (stub,)):
        placed = await pool.place(audio)
        reply = await pool.run(
            "stt", lambda file_id: SttRequest(file_id=file_id), audio=audio, prefer=placed.machine, key="k"
        )
        assert isinstance(reply.result, SttResult)
        assert len(reply.result.segments) == stub.options.segments
