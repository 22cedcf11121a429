"""Stages and state of the mediator protocol: results, idempotency, queues, failures, authentication."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from mediator_fakes import FakeEngine, FakeLid, FakeStt, Mediator, running_mediator, until, wav
from test_mediator_files import problem

from cofi_mediator.app import create_app
from cofi_mediator.engines.interface import StageFiles
from cofi_mediator.errors import ModelUnavailable, UnreadableAudio
from cofi_mediator.settings import MediatorSettings
from cofi_resources.mediators.protocol import (
    DenoiseResult,
    Llm2Result,
    MachineStatus,
    StageStatus,
    SttResult,
    TaskStatus,
    WireAnswer,
    WireModel,
)

CALL = {"file_id": "call-1"}


@pytest.fixture
def with_call(mediator: Mediator) -> Mediator:
    mediator.put("call-1", wav())
    return mediator


def test_a_stage_answers_with_its_result(with_call: Mediator) -> None:
    answer = with_call.run("stt", {**CALL, "language": "hi", "unknown_field": 1})
    assert answer.status_code == 200
    assert SttResult.model_validate_json(answer.content).segments[0].text == "buy 100"
    assert answer.headers["x-request-id"]


def test_the_same_key_and_body_run_the_model_once(with_call: Mediator) -> None:
    first = with_call.run("lid", CALL, key="k1")
    again = with_call.run("lid", {**CALL, "ignored": True}, key="k1")
    assert first.content == again.content
    assert with_call.engines["lid"].runs == 1
    with_call.run("lid", CALL, key="k2")
    with_call.run("lid", CALL)
    assert with_call.engines["lid"].runs == 3


def test_the_same_key_with_another_request_is_refused(with_call: Mediator) -> None:
    with_call.run("stt", CALL, key="k1")
    problem(with_call.run("stt", {**CALL, "language": "hi"}, key="k1"), 422, "invalid_request")
    problem(with_call.run("lid", CALL, key="k1"), 422, "invalid_request")
    assert with_call.engines["stt"].runs == 1


def test_the_same_key_while_it_is_worked_on_is_a_conflict(with_call: Mediator) -> None:
    engine = with_call.engines["lid"]
    engine.may_run.clear()
    started = with_call.run("lid", CALL, key="k1", Prefer="respond-async")
    conflict = with_call.run("lid", CALL, key="k1")
    assert problem(conflict, 409, "busy").retryable
    assert conflict.headers["location"] == started.headers["location"]
    engine.may_run.set()
    with_call.client.get(started.headers["location"], params={"wait": 10})
    assert with_call.run("lid", CALL, key="k1").status_code == 200
    assert engine.runs == 1


def test_a_failed_request_may_be_sent_again_with_its_key(with_call: Mediator) -> None:
    engine = with_call.engines["lid"]
    engine.run_failure = RuntimeError("out of memory")
    assert "out of memory" in problem(with_call.run("lid", CALL, key="k1"), 500, "engine_failed").detail
    engine.run_failure = None
    assert with_call.run("lid", CALL, key="k1").status_code == 200


def test_an_engine_may_refuse_an_input_for_good(with_call: Mediator) -> None:
    with_call.engines["lid"].run_failure = UnreadableAudio("nothing can be decoded")
    assert not problem(with_call.run("lid", CALL), 422, "unreadable_audio").retryable


def test_a_request_can_be_waited_for_as_a_task(with_call: Mediator) -> None:
    engine = with_call.engines["lid"]
    engine.may_run.clear()
    answer = with_call.run("lid", CALL, Prefer="respond-async")
    assert answer.status_code == 202
    location = answer.headers["location"]
    assert engine.begun.acquire(timeout=10)
    assert with_call.client.get(location, params={"wait": 0.05}).json()["state"] == "running"
    engine.may_run.set()
    ended = TaskStatus.model_validate(with_call.client.get(location, params={"wait": 10}).json())
    assert ended.state == "succeeded"
    assert isinstance(ended.result, dict)
    assert ended.result["language"] == "hi"


def test_a_failed_task_says_why(with_call: Mediator) -> None:
    with_call.engines["lid"].run_failure = RuntimeError("broken")
    location = with_call.run("lid", CALL, Prefer="respond-async").headers.get("location")
    ended = TaskStatus.model_validate(with_call.client.get(location, params={"wait": 10}).json())
    assert ended.state == "failed"
    assert ended.error is not None
    assert ended.error.code == "engine_failed"


def test_an_unknown_task_is_404(mediator: Mediator) -> None:
    problem(mediator.client.get("/v1/tasks/none"), 404, "invalid_request")
    problem(mediator.client.get("/v1/tasks/none", params={"wait": "soon"}), 422, "invalid_request")


def test_beyond_capacity_and_queue_the_stage_is_busy(with_call: Mediator) -> None:
    engine = with_call.engines["lid"]
    engine.may_run.clear()
    with ThreadPoolExecutor(2) as pool:
        admitted = [pool.submit(httpx.post, f"{with_call.url}/v1/stages/lid", json=CALL, timeout=20) for _ in range(2)]
        until(lambda: lid_status(with_call).queued == 1)
        assert lid_status(with_call).running == 1
        refused = with_call.run("lid", CALL)
        assert problem(refused, 429, "busy").retryable
        assert float(refused.headers["retry-after"]) > 0
        assert with_call.run("stt", CALL).status_code == 200, "another stage has room"
        engine.may_run.set()
        assert [future.result().status_code for future in admitted] == [200, 200]
    assert with_call.run("lid", CALL).status_code == 200


def test_a_request_is_finished_when_its_client_has_gone(with_call: Mediator) -> None:
    engine = with_call.engines["lid"]
    engine.may_run.clear()
    with pytest.raises(httpx.ReadTimeout):
        with_call.client.post("/v1/stages/lid", json=CALL, headers={"Idempotency-Key": "k1"}, timeout=0.2)
    engine.may_run.set()
    until(lambda: lid_status(with_call).running == 0)
    assert with_call.run("lid", CALL, key="k1").status_code == 200
    assert engine.runs == 1


def lid_status(mediator: Mediator) -> StageStatus:
    return MachineStatus.model_validate_json(mediator.client.get("/v1/status").content).stages["lid"]


BAD_REQUESTS: dict[str, tuple[bytes, int, str]] = {
    "no json": (b"{", 400, "invalid_request"),
    "empty": (b"", 400, "invalid_request"),
    "not utf-8": (b'{"file_id": "\xff"}', 400, "invalid_request"),
    "no file": (b"{}", 422, "invalid_request"),
    "list": (b"[]", 422, "invalid_request"),
    "bad id": (b'{"file_id": "../x"}', 422, "invalid_request"),
    "speakers": (b'{"file_id": "call-1", "speakers": 0}', 422, "invalid_request"),
    "unknown file": (b'{"file_id": "call-2"}', 404, "unknown_file"),
}


@pytest.mark.parametrize("what", BAD_REQUESTS)
def test_a_bad_request_is_a_problem_that_names_the_fault(with_call: Mediator, what: str) -> None:
    body, status, code = BAD_REQUESTS[what]
    problem(with_call.client.post("/v1/stages/stt", content=body), status, code)
    assert with_call.engines["stt"].runs == 0


def test_whatever_is_not_there_is_a_problem_too(mediator: Mediator) -> None:
    problem(mediator.run("llm1", {}), 404, "unknown_stage")
    problem(mediator.client.post("/v1/stages/llm1/activate"), 404, "unknown_stage")
    problem(mediator.client.get("/nowhere"), 404, "invalid_request")
    problem(mediator.client.get("/v1/stages/lid"), 405, "invalid_request")


class BrokenStore(FakeEngine):
    """Describes itself with an error nobody thought of."""

    def describe(self) -> Any:
        raise LookupError("never seen before")


def test_an_unexpected_exception_is_a_problem_that_names_the_request(tmp_path: Path) -> None:
    with running_mediator(tmp_path, {"lid": BrokenStore()}) as mediator:
        answer = mediator.client.get("/v1/status", headers={"X-Request-Id": "req-7"})
        assert "req-7" in problem(answer, 500, "engine_failed").detail
        assert answer.headers["x-request-id"] == "req-7"


def test_a_request_id_that_could_break_a_header_or_a_log_is_replaced(mediator: Mediator) -> None:
    answer = mediator.client.get("/livez", headers={"X-Request-Id": "a b\tc"})
    assert answer.headers["x-request-id"] != "a b\tc"


def test_without_the_key_only_the_probes_answer(tmp_path: Path) -> None:
    with running_mediator(tmp_path, {"lid": FakeLid()}, mediator_api_key="s3cret") as mediator:
        for path in ("/livez", "/readyz", "/health"):
            assert mediator.client.get(path).status_code == 200
        for wrong in ({}, {"Authorization": "Bearer other"}, {"Authorization": "s3cret"}):
            for path in ("/v1/status", "/metrics", "/v1/tasks/x", "/nowhere"):
                answer = mediator.client.get(path, headers=wrong)
                problem(answer, 401, "unauthorized")
                assert "s3cret" not in answer.text
        assert mediator.client.get("/v1/status", headers={"Authorization": "Bearer s3cret"}).status_code == 200


def test_while_a_model_loads_the_machine_says_so(tmp_path: Path) -> None:
    engine = FakeLid()
    engine.may_load.clear()
    with running_mediator(tmp_path, {"lid": engine}, ready=False) as mediator:
        mediator.put("call-1", wav())
        refused = mediator.run("lid", CALL)
        assert problem(refused, 503, "loading").retryable
        assert float(refused.headers["retry-after"]) > 0
        assert "lid" in problem(mediator.client.get("/readyz"), 503, "loading").detail
        assert lid_status(mediator).state == "loading"
        assert mediator.client.get("/livez").status_code == 200
        engine.may_load.set()
        mediator.wait_until_ready()
        assert mediator.run("lid", CALL).status_code == 200


def test_a_missing_model_fails_its_stage_and_no_other_until_it_is_there(tmp_path: Path) -> None:
    engine = FakeLid()
    engine.load_failure = ModelUnavailable("whisper-base is missing: fetch it")
    with running_mediator(tmp_path, {"lid": engine, "stt": FakeStt()}) as mediator:
        mediator.put("call-1", wav())
        assert (lid_status(mediator).state, lid_status(mediator).detail) == (
            "failed",
            "whisper-base is missing: fetch it",
        )
        assert "fetch it" in problem(mediator.run("lid", CALL), 500, "engine_failed").detail
        assert mediator.run("stt", CALL).status_code == 200
        engine.load_failure = None
        mediator.client.post("/v1/stages/lid/activate")
        mediator.wait_until_ready()
        assert mediator.run("lid", CALL).status_code == 200


def test_a_machine_without_a_working_stage_is_not_ready(tmp_path: Path) -> None:
    engine = FakeLid()
    engine.load_failure = RuntimeError("driver too old")
    with running_mediator(tmp_path, {"lid": engine}, ready=False) as mediator:
        until(lambda: lid_status(mediator).state == "failed")
        assert "driver too old" in problem(mediator.client.get("/readyz"), 503, "loading").detail


def test_models_that_are_resident_stay(with_call: Mediator) -> None:
    assert with_call.client.post("/v1/stages/lid/deactivate").json()["state"] == "ready"
    assert with_call.client.post("/v1/stages/lid/activate").json()["state"] == "ready"
    assert with_call.run("lid", CALL).status_code == 200
    assert with_call.engines["lid"].loads == 1


def test_an_exclusive_machine_loads_and_drops_models_when_told(tmp_path: Path) -> None:
    engine = FakeLid()
    with running_mediator(tmp_path, {"lid": engine}, mediator_residency="exclusive") as mediator:
        mediator.put("call-1", wav())
        assert lid_status(mediator).state == "idle"
        problem(mediator.run("lid", CALL), 503, "loading")
        engine.may_load.clear()
        assert mediator.client.post("/v1/stages/lid/activate").json()["state"] == "loading"
        assert mediator.client.post("/v1/stages/lid/activate").json()["state"] == "loading"
        engine.may_load.set()
        until(lambda: lid_status(mediator).state == "ready")
        assert mediator.run("lid", CALL).status_code == 200
        assert mediator.client.post("/v1/stages/lid/deactivate").json()["state"] == "idle"
        until(lambda: engine.loads == 0)
        assert mediator.client.post("/v1/stages/lid/deactivate").json()["state"] == "idle"


def test_a_stage_is_unloaded_only_when_its_requests_are_done(tmp_path: Path) -> None:
    engine = FakeLid()
    with running_mediator(tmp_path, {"lid": engine}, mediator_residency="exclusive") as mediator:
        mediator.put("call-1", wav())
        mediator.client.post("/v1/stages/lid/activate")
        until(lambda: lid_status(mediator).state == "ready")
        engine.may_run.clear()
        location = mediator.run("lid", CALL, Prefer="respond-async").headers["location"]
        assert engine.begun.acquire(timeout=10)
        mediator.client.post("/v1/stages/lid/deactivate")
        problem(mediator.run("lid", CALL), 503, "loading")
        assert engine.loads == 1
        engine.may_run.set()
        assert mediator.client.get(location, params={"wait": 10}).json()["state"] == "succeeded"
        until(lambda: engine.loads == 0)


def test_status_and_metrics_tell_the_same(with_call: Mediator) -> None:
    with_call.run("lid", CALL)
    status = MachineStatus.model_validate_json(with_call.client.get("/v1/status").content)
    assert status.server.name == "cofi-mediator"
    assert set(status.stages) == {"lid", "stt"}
    assert (status.files.count, status.files.bytes) == (1, len(wav()))
    metrics = with_call.client.get("/metrics")
    assert metrics.headers["content-type"].startswith("text/plain")
    assert 'cofi_mediator_stage_seconds_count{outcome="succeeded",stage="lid"} 1.0' in metrics.text
    assert 'cofi_mediator_stage_capacity{stage="stt"} 1.0' in metrics.text
    assert "cofi_mediator_files 1.0" in metrics.text


class CopyingDenoise(FakeEngine):
    """Leaves an output file, and one scratch file it forgets."""

    def result(self, request: Any, files: StageFiles) -> WireModel:
        files.scratch().write_bytes(b"forgotten")
        written = files.scratch()
        written.write_bytes(files.path(request.file_id).read_bytes())
        duration_s = files.adopt(written, request.output_file_id).duration_s
        return DenoiseResult(
            output_file_id=request.output_file_id, original_duration_s=duration_s, processed_duration_s=duration_s
        )


def test_a_stage_can_leave_a_file_for_the_next_one(tmp_path: Path) -> None:
    with running_mediator(tmp_path, {"denoise": CopyingDenoise(), "lid": FakeLid()}) as mediator:
        mediator.put("call-1", wav())
        for _ in range(2):
            assert mediator.run("denoise", {**CALL, "output_file_id": "call-1.clean"}).status_code == 200
        assert mediator.run("lid", {"file_id": "call-1.clean"}).status_code == 200
        problem(mediator.run("denoise", {**CALL, "output_file_id": "call-1"}), 422, "invalid_request")
        assert list((tmp_path / "partial").iterdir()) == []


class FixedAnswers(FakeEngine):
    def result(self, request: Any, files: StageFiles) -> WireModel:
        answers = [WireAnswer(question_id=question.id, answer=question.choices[0]) for question in request.questions]
        return Llm2Result(answers=answers, engine=self.describe())


def test_an_llm_stage_is_there_when_an_engine_is_given(tmp_path: Path) -> None:
    question = {"id": 3, "text": "Was the price said?", "choices": ["YES", "NO"]}
    body = {"call": {"language": "en", "segments": []}, "questions": [question]}
    with running_mediator(tmp_path, {"llm2": FixedAnswers()}) as mediator:
        assert mediator.run("llm2", body).json()["answers"][0]["answer"] == "YES"


def test_an_engine_for_a_stage_the_protocol_does_not_know_stops_the_start(tmp_path: Path) -> None:
    settings = MediatorSettings.load(mediator_home=tmp_path, _env_file=None)
    with pytest.raises(ValueError, match="summary"):
        create_app(settings, {}, {"summary": FakeLid()})


class WrongResult(FakeEngine):
    def result(self, request: Any, files: StageFiles) -> WireModel:
        return self.describe()


def test_an_engine_that_returns_something_else_has_failed(tmp_path: Path) -> None:
    with running_mediator(tmp_path, {"lid": WrongResult()}) as mediator:
        mediator.put("call-1", wav())
        problem(mediator.run("lid", CALL), 500, "engine_failed")


def test_many_clients_at_once_get_an_answer_each(tmp_path: Path) -> None:
    engine = FakeLid()
    with running_mediator(tmp_path, {"lid": engine}, mediator_lid_capacity=4) as mediator:
        mediator.put("call-1", wav())
        turn = threading.Barrier(8)

        def ask(number: int) -> int:
            turn.wait(10)
            return mediator.run("lid", CALL, key=f"k{number}").status_code

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(ask, range(8))) == [200] * 8
        assert engine.runs == 8
