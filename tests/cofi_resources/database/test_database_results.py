"""Results, states, flags, statuses and logs of a group of outcomes are written together, and only what is new."""

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from audited_calls import (
    MACHINE,
    STAGES,
    STARTED_AT,
    answered,
    distributed,
    identified,
    outcome,
    traded,
    transcribed,
)
from sqlalchemy import Table, select

from cofi_resources.database import registry, stage_states, tables
from cofi_resources.database.engine import Database
from cofi_resources.database.logs import LONGEST_PAYLOAD
from cofi_resources.database.results import LogOptions, write_outcomes
from cofi_resources.errors import RequestTrace
from cofi_resources.records import (
    AuditForm,
    Call,
    CallStatus,
    EngineVersion,
    LanguageIdentified,
    Segment,
    SpokenTrade,
    StageState,
    TradesExtracted,
    Transcribed,
)

RESULT_TABLES = (
    tables.file_distribution,
    tables.call,
    tables.call_stage,
    tables.lid_status,
    tables.transcript,
    tables.call_conversation,
    tables.audit_answer,
    tables.audit_score,
    tables.registered_call,
)
NOT_COMPARED = {"id", "createdAt", "updatedAt"}


def rows(database: Database, table: Table) -> list[dict[str, Any]]:
    order = list(table.primary_key)
    return [
        dict(row) for row in database.read(lambda conn: conn.execute(select(table).order_by(*order)).mappings().all())
    ]


def contents(database: Database) -> dict[str, list[dict[str, Any]]]:
    """Every result row, without what may differ between two writes of the same."""
    return {
        table.name: [
            {name: value for name, value in row.items() if name not in NOT_COMPARED} for row in rows(database, table)
        ]
        for table in RESULT_TABLES
    }


def whole_way(call: Call, form: AuditForm) -> list[Any]:
    return [
        distributed(call),
        identified(call),
        transcribed(call),
        traded(call),
        answered(call, form, "YES", "Dealer"),
    ]


def test_distribution_makes_the_call_with_its_defaults(database: Database, register: Callable, write: Callable) -> None:
    (call,) = register(["a b.wav"])
    write(distributed(call))
    (row,) = rows(database, tables.call)
    assert row["id"] == call.id
    expected = {
        "processId": 1,
        "categoryMappingId": 1,
        "userId": 1,
        "languageId": None,
        "audioUrl": "a b.wav",
        "audioName": "a b.wav",
        "audioDuration": 0.0,
        "lang": "unknown",
        "type": "Call",
        "status": "Pending",
        "batchId": call.batch_id,
        "ip": "10.0.0.5:5065",
    }
    assert {name: row[name] for name in expected} == expected
    assert row["auditFormId"] is not None
    (file,) = rows(database, tables.file_distribution)
    flags = {name: file[name] for name in ("denoiseDone", "ivrDone", "lidDone", "sttDone", "llm1Done", "llm2Done")}
    assert not any(flags.values())
    assert (file["file"], file["ip"], file["batchId"], file["callId"]) == (
        "a b.wav",
        "10.0.0.5:5065",
        call.batch_id,
        call.id,
    )
    assert rows(database, tables.registered_call)[0]["sha256"] == f"{call.id:064x}"


def test_the_audio_endpoint_stands_before_the_name(database: Database, register: Callable) -> None:
    (call,) = register(["a.wav"])
    database.transact(
        lambda conn: write_outcomes(conn, [distributed(call)], STAGES, LogOptions(), audio_endpoint="https://audio/")
    )
    assert rows(database, tables.call)[0]["audioUrl"] == "https://audio/a.wav"


def test_a_call_can_go_all_its_way_in_one_group(
    database: Database, register: Callable, write: Callable, form: AuditForm
) -> None:
    (call,) = register(["a.wav"])
    write(*whole_way(call, form))
    (row,) = rows(database, tables.call)
    assert (row["status"], row["lang"], row["audioDuration"]) == ("Complete", "hi", 120.5)
    hindi = next(row for row in rows(database, tables.language) if row["languageCode"] == "hi")
    assert row["languageId"] == hindi["id"]
    assert [segment["seq"] for segment in rows(database, tables.transcript)] == [0, 1, 2]
    assert rows(database, tables.transcript)[0]["languageId"] == hindi["id"]
    (trade,) = rows(database, tables.call_conversation)
    assert (trade["scriptName"], trade["lotQuantity"], trade["tradePrice"]) == ("RELIANCE", 100.0, 2450.55)
    assert (trade["evidenceQuote"], trade["evidenceSegment"], trade["evidenceStart"]) == ("segment 1", 1, 2.0)
    (file,) = rows(database, tables.file_distribution)
    assert all(file[name] for name in ("lidDone", "sttDone", "llm1Done", "llm2Done"))
    assert {state["stage"]: state["state"] for state in rows(database, tables.call_stage)} == dict.fromkeys(
        STAGES, "done"
    )
    assert rows(database, tables.processing_logs) == []
    assert rows(database, tables.batch_execution_log) == []


def test_writing_a_group_again_changes_nothing(
    database: Database, register: Callable, write: Callable, form: AuditForm
) -> None:
    calls = register(["a.wav", "A.wav"])
    group = [made for call in calls for made in whole_way(call, form)]
    write(*group)
    before = contents(database)
    write(*group)
    assert contents(database) == before


def test_a_failure_leaves_the_old_rows_alone(
    database: Database, register: Callable, write: Callable, form: AuditForm
) -> None:
    (call,) = register(["a.wav"])
    write(*whole_way(call, form))
    before = contents(database)
    failures = [
        outcome(call, stage, state=StageState.FAILED, reason="machine on fire", run_id="run-2") for stage in STAGES
    ]
    write(*failures)
    after = contents(database)
    assert {name: found for name, found in after.items() if name != "callStage"} == {
        name: found for name, found in before.items() if name != "callStage"
    }
    assert {row["state"] for row in after["callStage"]} == {"failed"}


def test_new_results_replace_the_old_ones_even_with_fewer_rows(
    database: Database, register: Callable, write: Callable, form: AuditForm
) -> None:
    call, other = register(["a.wav", "b.wav"])
    write(*whole_way(call, form), *whole_way(other, form))
    write(transcribed(call, segments=1, language="en"), traded(call, trades=0), answered(call, form, "NO", "NA"))
    assert [row["callId"] for row in rows(database, tables.transcript)].count(call.id) == 1
    assert [row["callId"] for row in rows(database, tables.transcript)].count(other.id) == 3
    assert {row["callId"] for row in rows(database, tables.call_conversation)} == {other.id}
    answers = [row["answer"] for row in rows(database, tables.audit_answer) if row["callId"] == call.id]
    assert answers == ["NO", "NA"]


def test_a_second_distribution_keeps_what_was_found_out(
    database: Database, register: Callable, write: Callable, form: AuditForm
) -> None:
    (call,) = register(["a.wav"])
    write(*whole_way(call, form))
    write(replace(distributed(call, "http://10.0.0.9:5065"), call_status=None))
    (row,) = rows(database, tables.call)
    assert (row["lang"], row["audioDuration"], row["status"], row["ip"]) == ("hi", 120.5, "Complete", "10.0.0.9:5065")
    (file,) = rows(database, tables.file_distribution)
    assert (file["ip"], file["sttDone"]) == ("10.0.0.9:5065", True)


def test_answers_are_scored_by_the_forms_weights(
    database: Database, register: Callable, write: Callable, form: AuditForm
) -> None:
    good, fatal = register(["a.wav", "b.wav"])
    write(*whole_way(good, form), *whole_way(fatal, form))
    write(answered(good, form, "NA", "Dealer"), answered(fatal, form, "YES", "Client"))
    found = {
        (row["callId"], row["answer"]): (row["scored"], row["score"]) for row in rows(database, tables.audit_answer)
    }
    assert found == {
        (good.id, "NA"): (False, None),
        (good.id, "Dealer"): (True, 6.0),
        (fatal.id, "YES"): (True, 4.0),
        (fatal.id, "Client"): (True, 0.0),
    }
    totals = [(row["score"], row["maxScore"], row["criticalFailures"]) for row in rows(database, tables.audit_score)]
    assert totals == [(6.0, 6.0, 0), (0.0, 10.0, 1)]
    first = rows(database, tables.audit_answer)[0]
    assert first["formVersion"] == "1"
    assert (first["engineName"], first["confidence"], first["evidenceQuote"]) == ("faster-whisper", 0.8, "segment 0")


def test_a_skipped_call_is_decided_and_its_flag_stays_down(
    database: Database, register: Callable, write: Callable
) -> None:
    (call,) = register(["a.wav"])
    skipped = outcome(
        call, "transcripts", state=StageState.SKIPPED, status=CallStatus.SHORT_CALL, reason="2.1 s, 5 s is the least"
    )
    write(distributed(call), identified(call), skipped)
    assert rows(database, tables.call)[0]["status"] == "ShortCall"
    assert not rows(database, tables.file_distribution)[0]["sttDone"]
    state = next(row for row in rows(database, tables.call_stage) if row["stage"] == "transcripts")
    assert (state["state"], state["reason"]) == ("skipped", "2.1 s, 5 s is the least")


def test_every_failure_is_logged_with_its_request_and_length(
    database: Database, register: Callable, write: Callable
) -> None:
    (call,) = register(["a.wav"])
    trace = RequestTrace("http://10.0.0.5:5065/v1/stages/stt", '{"file_id": "x"}', "ä" * 100_000)
    write(
        distributed(call),
        outcome(call, "transcripts", state=StageState.FAILED, reason="a.wav: no JSON", trace=trace),
    )
    (log,) = rows(database, tables.processing_logs)
    assert (log["call_id"], log["batch_id"], log["stage_name"], log["status"]) == (
        call.id,
        call.batch_id,
        "stt",
        "failed",
    )
    assert (log["error_message"], log["request_url"], log["input_payload"]) == (
        "a.wav: no JSON",
        trace.url,
        trace.payload,
    )
    assert log["output_payload"].endswith("ää ... (100000 characters in all)")
    assert len(log["output_payload"]) == LONGEST_PAYLOAD
    assert log["created_at"] == STARTED_AT + timedelta(seconds=2)
    (event,) = rows(database, tables.batch_execution_log)
    assert (event["batchId"], event["stage"], event["eventType"], event["status"], event["fileName"]) == (
        call.batch_id,
        "stt",
        "error",
        "failed",
        "a.wav",
    )
    assert (event["gpuIp"], event["errorMessage"]) == ("10.0.0.5:5065", "a.wav: no JSON")
    assert event["timestamp"] == 1768501802250


def test_successes_and_file_events_are_logged_only_if_asked_for(
    database: Database, register: Callable, write: Callable
) -> None:
    (call,) = register(["a.wav"])
    write(distributed(call), identified(call), options=LogOptions(log_successes=True, log_file_start_events=True))
    assert [(row["stage_name"], row["status"]) for row in rows(database, tables.processing_logs)] == [
        ("distribution", "success"),
        ("lid", "success"),
    ]
    assert [(row["stage"], row["eventType"], row["status"]) for row in rows(database, tables.batch_execution_log)] == [
        ("distribution", "file_start", "processing"),
        ("distribution", "file_complete", "success"),
        ("lid", "file_start", "processing"),
        ("lid", "file_complete", "success"),
    ]


def test_a_reaudit_logs_with_batch_zero(database: Database, register: Callable, write: Callable) -> None:
    (call,) = register(["a.wav"])
    write(outcome(call, "lid", state=StageState.FAILED, reason="no"), options=LogOptions(reaudit=True))
    assert rows(database, tables.batch_execution_log)[0]["batchId"] == 0
    assert rows(database, tables.processing_logs)[0]["batch_id"] == call.batch_id


def test_an_unknown_language_is_kept_as_said(database: Database, register: Callable, write: Callable) -> None:
    (call,) = register(["a.wav"])
    write(distributed(call), outcome(call, "lid", LanguageIdentified("xx", None, 3.0)))
    (row,) = rows(database, tables.call)
    assert (row["lang"], row["languageId"]) == ("xx", None)


def test_long_odd_and_numberless_results_are_stored_whole(
    database: Database, register: Callable, write: Callable
) -> None:
    (call,) = register(["a.wav"])
    text = "नमस्ते 🎧 'quoted' \\ 100% %s \x00 " * 5000
    engine = EngineVersion("e" * 300, "m" * 5000, "v" * 300)
    trade = SpokenTrade("R" * 400, quantity=float("inf"), trade_price=float("nan"), expiry_date="x" * 400)
    write(
        distributed(call),
        outcome(
            call,
            "transcripts",
            Transcribed("hi", (Segment(0.0, 1.0, "s" * 300, text, float("nan")),), engine),
            metadata={"rate": float("nan"), "name": "नमस्ते"},
        ),
        outcome(call, "llm1_conversations", TradesExtracted((trade,), engine)),
    )
    (segment,) = rows(database, tables.transcript)
    assert (segment["text"], segment["confidence"], segment["engineModel"]) == (text, None, "m" * 5000)
    (row,) = rows(database, tables.call_conversation)
    assert (row["scriptName"], row["lotQuantity"], row["tradePrice"]) == ("R" * 400, None, None)
    state = next(row for row in rows(database, tables.call_stage) if row["stage"] == "transcripts")
    assert state["metadata"] == {"rate": None, "name": "नमस्ते"}
    assert json.dumps(state["metadata"])


def test_a_group_larger_than_one_packet_is_written_whole(
    database: Database, register: Callable, write: Callable
) -> None:
    calls = register([f"{number}.wav" for number in range(12)])
    segment = Segment(0.0, 1.0, "0", "x" * 2_000_000)
    engine = EngineVersion("e", "m", "1")
    write(*(distributed(call) for call in calls))
    write(*(outcome(call, "transcripts", Transcribed("hi", (segment,), engine)) for call in calls))
    assert [len(row["text"]) for row in rows(database, tables.transcript)] == [2_000_000] * 12


def begin(database: Database, calls: Sequence[Call], stages: Sequence[str], root_run_id: str) -> None:
    pairs = [(call.id, STAGES[stage]) for call in calls for stage in stages]
    statuses = {call.id: CallStatus.PENDING for call in calls}
    database.transact(lambda conn: stage_states.begin(conn, pairs, root_run_id, statuses))


def test_a_new_run_clears_flags_and_states_and_keeps_results(
    database: Database, register: Callable, write: Callable, form: AuditForm
) -> None:
    call, other = register(["a.wav", "b.wav"])
    write(*whole_way(call, form), *whole_way(other, form))
    before = contents(database)
    for _ in range(2):
        begin(database, [call], ["transcripts", "audit_answers"], "run-2")
    after = contents(database)
    for name in ("transcript", "callConversation", "auditAnswer", "auditScore", "lidStatus"):
        assert after[name] == before[name]
    first, second = after["fileDistribution"]
    assert (first["lidDone"], first["sttDone"], first["llm1Done"], first["llm2Done"]) == (True, False, True, False)
    assert second == before["fileDistribution"][1]
    assert [row["status"] for row in after["call"]] == ["Pending", "Complete"]
    (again,) = database.read(lambda conn: registry.calls_by_key(conn, [call.key]))
    assert again.states["transcripts"] is StageState.PENDING
    assert set(again.done_by) == {"distribution", "lid", "llm1_conversations"}
    assert again.machine == MACHINE
    pending = next(row for row in after["callStage"] if row["stage"] == "transcripts" and row["callId"] == call.id)
    assert (pending["rootRunId"], pending["runId"], pending["finishedAt"]) == ("run-2", None, None)


def test_a_run_can_begin_on_calls_that_are_only_registered(database: Database, register: Callable) -> None:
    calls = register(["a.wav"])
    begin(database, calls, list(STAGES), "run-1")
    assert rows(database, tables.call) == []
    assert {row["state"] for row in rows(database, tables.call_stage)} == {"pending"}


@pytest.mark.slow
def test_runs_that_write_at_once_lose_nothing(
    database: Database, register: Callable, write: Callable, form: AuditForm
) -> None:
    calls = register([f"{number}.wav" for number in range(240)])
    groups = [calls[start::4] for start in range(4)]

    def run(group: Sequence[Call]) -> None:
        begin(database, group, list(STAGES), "run")
        for start in range(0, len(group), 20):
            some = group[start : start + 20]
            write(*(made for call in some for made in whole_way(call, form)))
            write(*(transcribed(call, segments=2) for call in some))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(run, groups))
    assert len(rows(database, tables.transcript)) == 480
    assert {row["state"] for row in rows(database, tables.call_stage)} == {"done"}
