"""A run over calls, through the real job: every row is there, every partition is right, and failures stay their own."""

import os
import signal
from datetime import datetime

import dagster as dg
import pytest

from bench.stub_mediator import StubOptions
from cofi_assets.engine.ledger import RunLedger
from cofi_assets.stages import STAGES
from cofi_resources.database import registry
from cofi_resources.database.logs import LogOptions
from cofi_resources.records import LanguageIdentified, StageOutcome, StageState

ALL = ["distribution", "lid", "transcripts", "llm1_conversations", "audit_answers"]


def test_a_drop_goes_through_every_stage_and_leaves_every_row(installation) -> None:
    batch, keys = installation.register(5)
    result = installation.run(keys, batch=batch)
    assert result.success
    assert installation.rows("SELECT status, COUNT(*) FROM `call` GROUP BY status") == [("Complete", 5)]
    assert installation.rows(
        "SELECT COUNT(*), SUM(lidDone), SUM(sttDone), SUM(llm1Done), SUM(llm2Done) FROM fileDistribution"
    ) == [(5, 5, 5, 5, 5)]
    assert installation.rows("SELECT COUNT(*) FROM transcript") == [(5 * installation.stub.options.segments,)]
    assert installation.rows("SELECT COUNT(*), COUNT(DISTINCT callId) FROM auditAnswer") == [(10, 5)]
    assert installation.rows("SELECT status, processedFiles, totalFiles FROM batchStatus") == [("Completed", 5, 5)]
    assert all(installation.materialized(asset) == set(keys) for asset in ALL)


def test_a_call_that_fails_a_stage_fails_alone_and_the_run_says_so(installation) -> None:
    batch, keys = installation.register(4)
    installation.stub.fail("stt", "status", status=422, code="unreadable_audio")
    result = installation.run(keys, batch=batch)
    assert not result.success
    failed = [call for call in installation.calls(keys) if call.states.get("transcripts") == "failed"]
    assert len(failed) == 1
    assert len(installation.materialized("audit_answers")) == 3
    assert failed[0].key not in installation.materialized("transcripts")
    assert installation.rows("SELECT COUNT(*), MIN(stage_name) FROM processing_logs WHERE status = 'failed'") == [
        (1, "stt")
    ]
    (url,) = installation.rows("SELECT request_url FROM processing_logs")[0]
    assert url.endswith("/v1/stages/stt")
    failure = result.failure_data_for_node("audit_calls")
    assert failure is not None
    assert failed[0].file in str(failure.user_failure_data)
    assert installation.rows("SELECT status, failedFiles FROM batchStatus") == [("Completed", 1)]
    observed = installation.instance.fetch_observations(dg.AssetKey("transcripts"), limit=10).records
    assert [(record.partition_key, "unreadable_audio" in str(record.asset_observation)) for record in observed] == [
        (failed[0].key, True)
    ]


def test_a_re_execution_takes_up_only_what_is_not_done(installation) -> None:
    batch, keys = installation.register(4)
    installation.stub.fail("stt", "status", status=422, code="unreadable_audio")
    first = installation.run(keys, batch=batch)
    asked_before = installation.stub.requests["stt"]
    second = installation.run(keys, batch=batch, after=first)
    assert second.success
    assert installation.stub.requests["stt"] == asked_before + 1
    assert installation.materialized("audit_answers") == set(keys)
    assert installation.rows("SELECT status, failedFiles FROM batchStatus") == [("Completed", 0)]


def test_a_new_run_redoes_the_chosen_stages_and_leaves_the_others(installation) -> None:
    batch, keys = installation.register(3)
    installation.run(keys, batch=batch)
    before = installation.stub.requests.copy()
    again = installation.run(keys[:2], stages=["audit_answers"])
    assert again.success
    assert installation.stub.requests["llm2"] == before["llm2"] + 2
    assert installation.stub.requests["stt"] == before["stt"]
    assert installation.rows("SELECT COUNT(*) FROM auditAnswer") == [(6,)]
    assert installation.rows("SELECT COUNT(*) FROM batchExecutionLog WHERE batchId = 0") != [(0,)]


def test_a_re_audit_that_fails_has_lost_nothing(installation) -> None:
    batch, keys = installation.register(1)
    installation.run(keys, batch=batch)
    installation.stub.fail("llm2", "status", status=400, code="invalid_request")
    assert not installation.run(keys, stages=["audit_answers"]).success
    assert installation.rows("SELECT COUNT(*) FROM auditAnswer") == [(2,)]


def test_a_short_call_is_decided_and_not_failed(installation) -> None:
    installation.stub.options = StubOptions(duration_s=3.0)
    batch, keys = installation.register(2)
    assert installation.run(keys, batch=batch).success
    assert installation.rows("SELECT status, COUNT(*) FROM `call` GROUP BY status") == [("ShortCall", 2)]
    assert installation.rows("SELECT DISTINCT state FROM callStage WHERE stage = 'audit_answers'") == [("skipped",)]
    assert installation.rows("SELECT status, skippedFiles FROM batchStatus") == [("Completed", 2)]


def test_an_unsupported_language_is_decided_and_not_failed(installation) -> None:
    installation.stub.options = StubOptions(language="ta")
    batch, keys = installation.register(1)
    assert installation.run(keys, batch=batch).success
    assert installation.rows("SELECT status, lang FROM `call`") == [("UnsupportedLanguage", "ta")]


def test_a_file_removed_before_it_was_read_fails_by_name(installation) -> None:
    batch, keys = installation.register(2)
    (installation.settings.resolved_client_volume / "accepted/drop/call 1.wav").unlink()
    result = installation.run(keys, batch=batch)
    assert not result.success
    ((reason,),) = installation.rows("SELECT reason FROM callStage WHERE state = 'failed'")
    assert "call 1.wav cannot be read" in reason
    assert installation.materialized("audit_answers") == {keys[1]}


def test_a_key_that_names_no_call_is_refused_in_words(installation) -> None:
    _, keys = installation.register(1)
    installation.instance.add_dynamic_partitions("calls", ["2026-01-15.1|000099-by-hand.wav"])
    result = installation.run([*keys, "2026-01-15.1|000099-by-hand.wav"])
    assert not result.success
    failure = result.failure_data_for_node("audit_calls")
    assert failure is not None
    assert "name no registered call" in str(failure.user_failure_data)
    assert installation.stub.requests["stt"] == 0


@dg.job
def another_job() -> None: ...


def test_two_runs_never_work_on_one_call(installation) -> None:
    batch, keys = installation.register(2)
    first = installation.calls(keys)[0]
    living = installation.instance.create_run_for_job(another_job, status=dg.DagsterRunStatus.STARTED)
    installation.database.transact(lambda connection: registry.claim(connection, [first.id], living.run_id))
    result = installation.run(keys, batch=batch)
    assert not result.success
    assert installation.materialized("audit_answers") == {keys[1]}
    assert installation.calls(keys)[0].states == {}


def test_the_claims_of_a_run_that_was_killed_are_taken_over(installation) -> None:
    batch, keys = installation.register(2)
    ids = [call.id for call in installation.calls(keys)]
    installation.database.transact(lambda connection: registry.claim(connection, ids, "a-run-that-is-gone"))
    assert installation.run(keys, batch=batch).success


def test_a_run_that_was_taken_for_dead_writes_nothing_more(installation) -> None:
    batch, keys = installation.register(1)

    def take_over(_: object) -> float:
        installation.database.transact(
            lambda connection: connection.exec_driver_sql("UPDATE registeredCall SET claimedBy = 'another run'")
        )
        return 0.0

    installation.stub.options = StubOptions(seconds={"stt": take_over})
    assert not installation.run(keys, batch=batch).success
    assert installation.rows("SELECT COUNT(*) FROM transcript") == [(0,)]
    assert installation.rows("SELECT claimedBy FROM registeredCall") == [("another run",)]


def test_answering_again_a_call_that_was_too_short_leaves_it_short(installation) -> None:
    installation.stub.options = StubOptions(duration_s=3.0)
    batch, keys = installation.register(1)
    installation.run(keys, batch=batch)
    assert installation.run(keys, stages=["audit_answers"]).success
    assert installation.rows("SELECT status FROM `call`") == [("ShortCall",)]


def test_identifying_the_language_again_leaves_a_complete_call_complete(installation) -> None:
    batch, keys = installation.register(1)
    installation.run(keys, batch=batch)
    assert installation.run(keys, stages=["lid"]).success
    assert installation.rows("SELECT status FROM `call`") == [("Complete",)]


def test_a_later_run_that_mends_a_batch_is_seen_in_its_row(installation) -> None:
    batch, keys = installation.register(3)
    installation.stub.fail("stt", "status", status=422, code="unreadable_audio")
    installation.run(keys, batch=batch)
    failed = [call.key for call in installation.calls(keys) if call.states.get("transcripts") == "failed"]
    assert installation.run(failed).success
    assert installation.rows("SELECT status, failedFiles FROM batchStatus") == [("Completed", 0)]


@pytest.mark.parametrize("database_url", [pytest.param("mariadb", marks=pytest.mark.services)], indirect=True)
def test_a_result_the_database_refuses_fails_its_call_alone(installation) -> None:
    # SQLite takes text of any length, and so refuses nothing.
    _, keys = installation.register(2)
    calls = installation.calls(keys)
    installation.database.transact(lambda connection: registry.claim(connection, [call.id for call in calls], "run"))
    at = datetime(2026, 1, 15)
    found = [LanguageIdentified(language, 0.9, 60.0) for language in ("x" * 300, "en")]
    outcomes = [
        StageOutcome(call, "lid", StageState.DONE, at, 0.1, "run", "run", result)
        for call, result in zip(calls, found, strict=True)
    ]
    ledger = RunLedger(installation.database, STAGES, batch_id=None, options=LogOptions(), progress_interval=100)
    stored = ledger.commit(outcomes)
    assert [outcome.state for outcome in stored] == [StageState.FAILED, StageState.DONE]
    assert "refused a value" in stored[0].reason
    assert installation.rows("SELECT language FROM lidStatus") == [("en",)]
    assert installation.rows("SELECT state FROM callStage ORDER BY callId") == [("failed",), ("done",)]


def test_a_run_that_is_asked_to_end_keeps_what_was_finished(installation) -> None:
    batch, keys = installation.register(4)

    def interrupt(_: object) -> float:
        os.kill(os.getpid(), signal.SIGTERM)
        return 0.2

    installation.stub.options = StubOptions(seconds={"stt": interrupt})
    result = installation.run(keys, batch=batch)
    assert not result.success
    assert "DagsterExecutionInterruptedError" in str(result.failure_data_for_node("audit_calls"))
    assert installation.rows("SELECT COUNT(*) FROM callStage WHERE stage = 'distribution' AND state = 'done'") != [(0,)]
    assert installation.rows("SELECT COUNT(*) FROM registeredCall WHERE claimedBy IS NOT NULL") == [(0,)]
