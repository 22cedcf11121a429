"""What the LLM stages and people read, and the queries that dashboards have been running for years."""

import re
from collections.abc import Callable, Sequence
from datetime import time
from pathlib import Path

import pytest
from audited_calls import DAY, ENGINE, FORM, STAGES, answered, distributed, identified, outcome, traded, transcribed
from sqlalchemy import Connection, Engine, event, insert, update

from cofi_resources.database import forms, inputs, progress, registry, stage_states, tables, views
from cofi_resources.database.engine import Database
from cofi_resources.database.results import LogOptions, write_outcomes
from cofi_resources.errors import InvalidInput
from cofi_resources.records import (
    AuditForm,
    BookedTrade,
    Call,
    CallStatus,
    Conversation,
    NewCall,
    Segment,
    StageOutcome,
    StageState,
    Transcribed,
)


def audited(call: Call, form: AuditForm) -> list[StageOutcome]:
    return [
        distributed(call),
        identified(call, "hinglish"),
        transcribed(call),
        traded(call),
        answered(call, form, "YES", "Dealer"),
    ]


def test_a_conversation_is_in_order_and_in_the_language_it_was_transcribed_in(
    database: Database, register: Callable, write: Callable, form: AuditForm
) -> None:
    spoken, silent, waiting = register(["a.wav", "b.wav", "c.wav"])
    write(*audited(spoken, form), distributed(silent), distributed(waiting))
    write(identified(silent, "en"), outcome(silent, "transcripts", Transcribed("en", (), ENGINE)))
    found = database.read(lambda conn: inputs.conversations(conn, [waiting.id, silent.id, spoken.id, 999]))
    assert set(found) == {spoken.id, silent.id}
    assert found[silent.id] == Conversation("en", ())
    assert found[spoken.id].language == "hi"
    assert found[spoken.id].segments[1] == Segment(2.0, 3.5, "1", "segment 1 नमस्ते", 0.9)


def book(conn: Connection, batch_id: int, file: str) -> None:
    trade = {"symbol": "RELIANCE", "scripName": "Reliance Industries", "tradeQuantity": 100, "tradePrice": 2450.5}
    made = conn.execute(
        insert(tables.trade_metadata).values(
            batchId=batch_id, buySell="BUY", tradeDate=DAY, orderPlacedTime=time(9, 30, 15), **trade
        )
    )
    assert made.inserted_primary_key is not None
    conn.execute(
        insert(tables.trade_audio_mapping).values(
            tradeMetadataId=made.inserted_primary_key[0], batchId=batch_id, audioFileName=file, **trade
        )
    )


def test_booked_trades_belong_to_the_file_of_their_batch(database: Database, register: Callable) -> None:
    first, namesake = register(["a.wav", "A.wav"])
    (other_batch,) = register(["a.wav"])
    database.transact(lambda conn: book(conn, first.batch_id, "a.wav"))
    ids = [first.id, namesake.id, other_batch.id]
    assert database.read(lambda conn: inputs.booked_trades(conn, ids)) == {
        first.id: (BookedTrade("RELIANCE", "Reliance Industries", "BUY", 100.0, 2450.5, None),)
    }


def test_a_call_is_shown_with_all_that_is_known_of_it(
    database: Database, register: Callable, write: Callable, form: AuditForm
) -> None:
    (call,) = register(["a.wav"])
    write(*audited(call, form)[:-2], outcome(call, "llm1_conversations", state=StageState.FAILED, reason="no answer"))
    write(answered(call, form, "NA", "Dealer"))
    view = database.read(lambda conn: views.call_view(conn, call.key))
    assert (view.call.file, view.batch.key, len(view.segments), view.trades) == ("a.wav", "2026-01-15.1", 3, ())
    assert view.transcript_engine == ENGINE
    assert (view.score, view.max_score, view.critical_failures) == (6.0, 6.0, 0)
    assert [(found.section, found.question_key, found.answer, found.score) for found in view.answers] == [
        ("Opening", "names_client", "NA", None),
        ("Order", "confirms_order", "Dealer", 6.0),
    ]
    assert view.answers[0].evidence is not None
    assert view.answers[0].evidence.quote == "segment 0"
    assert {stage.stage: (stage.state, stage.reason) for stage in view.stages if stage.reason} == {
        "llm1_conversations": (StageState.FAILED, "no answer")
    }


def test_a_call_is_found_by_key_id_or_name_and_the_newest_wins(database: Database, register: Callable) -> None:
    (old,) = register(["a.wav"])
    (new,) = register(["a.wav"])
    (digits,) = register([str(old.id)])
    found = {
        reference: database.read(lambda conn, reference=reference: views.call_view(conn, reference)).call.id
        for reference in (old.key, str(old.id), "a.wav", digits.key)
    }
    assert found == {old.key: old.id, str(old.id): old.id, "a.wav": new.id, digits.key: digits.id}
    for unknown in ("A.wav", "999", "9" * 40, "", "２"):
        with pytest.raises(InvalidInput, match="there is none"):
            database.read(lambda conn, unknown=unknown: views.call_view(conn, unknown))


def test_the_latest_batches_come_first(database: Database, register: Callable) -> None:
    for name in ("a.wav", "b.wav", "c.wav"):
        register([name])
    shown = database.read(lambda conn: views.batch_views(conn, 2))
    assert [(view.number, view.status, view.total_files, view.stages["lidStatus"]) for view in shown] == [
        (3, "Pending", 1, "Pending"),
        (2, "Pending", 1, "Pending"),
    ]


QUERIES = {
    "calls by status": "SELECT status, COUNT(*) AS count FROM `call` WHERE batchId = ? GROUP BY status;",
    "flags": "SELECT file, denoiseDone, ivrDone, lidDone, sttDone, llm1Done, llm2Done FROM fileDistribution "
    "WHERE batchId = ? LIMIT 100;",
    "errors": "SELECT stage_name, COUNT(*) AS error_count, MAX(created_at) AS last_error FROM processing_logs "
    "WHERE batch_id = ? AND status = 'failed' GROUP BY stage_name;",
    "events": "SELECT stage, eventType, status, COUNT(*) AS count FROM batchExecutionLog WHERE batchId = ? "
    "GROUP BY stage, eventType, status ORDER BY stage;",
    "today": "SELECT id, batchDate, batchNumber, status, dbInsertionStatus, denoiseStatus, ivrStatus, lidStatus, "
    "sttStatus, llm1Status, llm2Status, totalFiles FROM batchStatus WHERE batchDate = CURDATE() ORDER BY id DESC;",
}
"""The queries of the domain's section 3, word for word."""


def run_query(conn: Connection, name: str, *values: object) -> list[tuple[object, ...]]:
    query = QUERIES[name]
    if conn.dialect.name == "sqlite":
        # CURDATE is a function of MariaDB and MySQL; everything else is the query as it stands.
        dbapi = conn.connection.driver_connection
        assert dbapi is not None
        dbapi.create_function("CURDATE", 0, lambda: tables.utc_now().date().isoformat())
    else:
        query = query.replace("?", "%s")
    return [tuple(row) for row in conn.exec_driver_sql(query, values)]


def test_the_queries_people_run_today_keep_working(
    database: Database, register: Callable, write: Callable, form: AuditForm
) -> None:
    good, bad = register(["a.wav", "b.wav"])
    write(*audited(good, form), distributed(bad), outcome(bad, "lid", state=StageState.FAILED, reason="no"))
    database.transact(lambda conn: progress.refresh_batch(conn, good.batch_id, list(STAGES.values())))
    (today,) = register(["c.wav"])
    database.transact(
        lambda conn: conn.execute(
            update(tables.batch_status)
            .where(tables.batch_status.c.id == today.batch_id)
            .values(batchDate=tables.utc_now().date())
        )
    )

    def ask(name: str, *values: object) -> list[tuple[object, ...]]:
        return database.read(lambda conn: run_query(conn, name, *values))

    assert sorted(ask("calls by status", good.batch_id)) == [("Complete", 1), ("Pending", 1)]
    assert ask("flags", good.batch_id) == [("a.wav", 0, 0, 1, 1, 1, 1), ("b.wav", 0, 0, 0, 0, 0, 0)]
    ((stage, count, last),) = ask("errors", good.batch_id)
    assert (stage, count, str(last)[:19]) == ("lid", 1, "2026-01-15 18:30:02")
    assert ask("events", good.batch_id) == [("lid", "error", "failed", 1)]
    ((batch_id, _, number, status, *_, total),) = ask("today")
    assert (batch_id, number, status, total) == (today.batch_id, 2, "Pending", 1)


SCANNED_ON_PURPOSE = {"language"}
"""Some tens of rows."""
IN_ORDER_OF_THE_KEY = re.compile(r"ORDER BY \S+\.id DESC\s+LIMIT")
"""Reads the primary key backwards and stops, which SQLite calls a scan too."""


def use_every_statement(database: Database) -> None:
    """One batch, all its way, and every read."""
    form = database.read(lambda conn: forms.load_form(conn, 1))
    batch = database.transact(
        lambda conn: registry.register_batch(
            conn, source="s", kind="upload", batch_date=DAY, files=[NewCall("a.wav", "a", 1)], process_id=1
        )
    )

    def work(conn: Connection) -> None:
        keys = registry.partition_keys(conn, batch.id)
        (call,) = registry.calls_by_key(conn, keys)
        registry.unannounced_batches(conn)
        registry.mark_announced(conn, batch.id)
        registry.claim(conn, [call.id], "run-1")
        pairs = [(call.id, stage) for stage in STAGES.values()]
        stage_states.begin(conn, pairs, "run-1", {call.id: CallStatus.PENDING})
        write_outcomes(conn, audited(call, form), STAGES, LogOptions(True, True))
        progress.refresh_batch(conn, batch.id, list(STAGES.values()))
        progress.stage_counts(conn, batch.id)
        inputs.conversations(conn, [call.id])
        inputs.booked_trades(conn, [call.id])
        for reference in (call.key, str(call.id), call.file):
            views.call_view(conn, reference)
        views.batch_views(conn, 10)
        registry.release(conn, "run-1")
        for name in QUERIES:
            run_query(conn, name, *([batch.id] if "?" in QUERIES[name] else []))

    database.transact(work)


def test_every_statement_finds_its_rows_by_an_index(tmp_path: Path) -> None:
    """SQLite says how it would run each statement; SCAN without an index means row by row."""
    database = Database(f"sqlite:///{tmp_path / 'cofi.db'}")
    database.upgrade()
    database.transact(lambda conn: forms.seed(conn, FORM))
    seen: dict[str, Sequence[object]] = {}

    def note(_conn, _cursor, statement, parameters, _context, executemany) -> None:
        seen[statement] = parameters[0] if executemany else parameters

    event.listen(Engine, "before_cursor_execute", note)
    use_every_statement(database)
    event.remove(Engine, "before_cursor_execute", note)
    asked = {sql: values for sql, values in seen.items() if re.match("SELECT|UPDATE|DELETE|INSERT", sql)}
    assert len(asked) > 30

    def scanned(conn: Connection) -> set[tuple[str, str]]:
        found = set()
        for sql, values in asked.items():
            if IN_ORDER_OF_THE_KEY.search(sql):
                continue
            for row in conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", tuple(values)):
                step = re.fullmatch(r"SCAN (\S+)", row.detail)
                if step and step.group(1) in tables.metadata.tables and step.group(1) not in SCANNED_ON_PURPOSE:
                    found.add((step.group(1), sql))
        return found

    assert database.read(scanned) == set()
    database.dispose()
