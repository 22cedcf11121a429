"""Batches are registered once, whatever happens at the same time; a call is worked on by one run."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date

import pytest
from audited_calls import DAY, STAGES, distributed, identified, outcome
from sqlalchemy import func, select

from cofi_resources.database import registry, tables
from cofi_resources.database.engine import Database
from cofi_resources.errors import InvalidInput
from cofi_resources.records import Batch, Call, NewCall, StageState

pytestmark = pytest.mark.usefixtures("form")


def files(*names: str) -> list[NewCall]:
    return [NewCall(name, f"uploads/{name}", 10) for name in names]


def registered(
    database: Database, source: str, new: Sequence[NewCall], day: date = DAY, number: int | None = None
) -> Batch:
    return database.transact(
        lambda conn: registry.register_batch(
            conn, source=source, kind="upload", batch_date=day, files=new, process_id=1, number=number
        )
    )


def calls_of(database: Database, batch: Batch) -> list[Call]:
    keys = database.read(lambda conn: registry.partition_keys(conn, batch.id))
    return database.read(lambda conn: registry.calls_by_key(conn, keys))


def test_files_get_ordinals_and_keys_in_the_given_order(database: Database) -> None:
    batch = registered(database, "uploads/1", files("b.wav", "a.wav"))
    assert (batch.key, batch.total_files) == ("2026-01-15.1", 2)
    assert database.read(lambda conn: registry.partition_keys(conn, batch.id)) == [
        "2026-01-15.1|000001-b.wav",
        "2026-01-15.1|000002-a.wav",
    ]


def test_a_source_becomes_one_batch(database: Database) -> None:
    first = registered(database, "uploads/1", files("a.wav"))
    assert registered(database, "uploads/1", files("a.wav")) == first
    assert len(calls_of(database, first)) == 1
    assert database.read(lambda conn: registry.batch_by_source(conn, "uploads/1")) == first
    assert database.read(lambda conn: registry.batch_by_source(conn, "uploads/2")) is None
    assert database.read(lambda conn: registry.registered_sources(conn, ["uploads/1", "uploads/2"])) == {"uploads/1"}


def test_a_database_knows_whether_it_was_ever_used(database: Database) -> None:
    assert not database.read(registry.has_batches)
    registered(database, "uploads/1", files("a.wav"))
    assert database.read(registry.has_batches)


def test_batches_of_a_day_are_numbered_from_one(database: Database) -> None:
    keys = [
        registered(database, "1", files("a.wav")).key,
        registered(database, "2", files("a.wav")).key,
        registered(database, "3", files("a.wav"), day=date(2026, 1, 16)).key,
        registered(database, "4", files("a.wav"), number=7).key,
        registered(database, "5", files("a.wav")).key,
    ]
    assert keys == ["2026-01-15.1", "2026-01-15.2", "2026-01-16.1", "2026-01-15.7", "2026-01-15.8"]


def test_a_number_in_use_is_refused(database: Database) -> None:
    registered(database, "1", files("a.wav"), number=3)
    with pytest.raises(InvalidInput, match=r"number: batch 2026-01-15\.3 exists already"):
        registered(database, "2", files("a.wav"), number=3)


def test_registrations_at_once_get_a_number_each_and_a_source_one_batch(database: Database) -> None:
    sources = [f"uploads/{number // 2}" for number in range(12)]
    with ThreadPoolExecutor(4) as pool:
        batches = list(pool.map(lambda source: registered(database, source, files("a.wav", "b.wav")), sources))
    assert sorted({batch.number for batch in batches}) == [1, 2, 3, 4, 5, 6]
    assert batches[0::2] == batches[1::2]
    rows = database.read(lambda conn: conn.execute(select(func.count()).select_from(tables.registered_call)).scalar())
    assert rows == 12


def test_names_that_differ_in_case_or_accents_only_are_two_calls(database: Database) -> None:
    names = ["a.wav", "A.wav", "á.wav", "ａ.wav"]
    batch = registered(database, "uploads/1", files(*names))
    assert [call.file for call in calls_of(database, batch)] == names


def test_the_same_name_may_come_in_two_batches(database: Database) -> None:
    first, second = (registered(database, source, files("a.wav")) for source in ("1", "2"))
    assert calls_of(database, first)[0].id != calls_of(database, second)[0].id


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a.wav", "a.wav"], "'a.wav' and 'a.wav' are the same name"),
        (["a.wav", "a.wav "], "'a.wav ' and 'a.wav' are the same name"),
        (["x" * 256], "must have 1 to 255 characters"),
        ([""], "must have 1 to 255 characters"),
        (["caf\udce9.wav"], "is not UTF-8"),
    ],
)
def test_names_no_table_can_hold_are_refused_and_leave_no_trace(
    database: Database, names: list[str], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        registered(database, "uploads/1", files(*names))
    assert database.read(registry.unannounced_batches) == []


def test_a_name_of_255_characters_of_four_bytes_is_kept(database: Database) -> None:
    name = "🎧" * 251 + ".wav"
    batch = registered(database, "uploads/1", files(name))
    assert calls_of(database, batch)[0].file == name


def test_a_batch_is_unannounced_until_it_is_marked(database: Database) -> None:
    first, second = (registered(database, source, files("a.wav")) for source in ("1", "2"))
    database.transact(lambda conn: registry.mark_announced(conn, first.id))
    assert database.read(registry.unannounced_batches) == [second]
    announced = select(tables.batch_status.c.announcedAt).where(tables.batch_status.c.id == first.id)
    before = database.read(lambda conn: conn.execute(announced).scalar_one())
    database.transact(lambda conn: registry.mark_announced(conn, first.id))
    assert database.read(lambda conn: conn.execute(announced).scalar_one()) == before


def test_calls_come_by_batch_and_ordinal_and_unknown_keys_are_absent(database: Database) -> None:
    first = calls_of(database, registered(database, "1", files("a.wav", "b.wav")))
    second = calls_of(database, registered(database, "2", files("c.wav")))
    keys = [second[0].key, "2026-01-15.9|000001-none.wav", first[1].key, first[0].key, first[0].key]
    assert database.read(lambda conn: registry.calls_by_key(conn, keys)) == [*first, *second]
    assert database.read(lambda conn: registry.calls_by_key(conn, [])) == []


def test_more_calls_than_one_statement_takes_come_whole(database: Database) -> None:
    batch = registered(database, "1", files(*(f"{number}.wav" for number in range(1201))))
    assert [call.file for call in calls_of(database, batch)] == [f"{number}.wav" for number in range(1201)]


def test_a_call_knows_its_states_language_and_machine(database: Database, register: Callable, write: Callable) -> None:
    (call,) = register(["a.wav"])
    assert (call.language, call.duration_s, call.status, call.machine, call.states) == ("unknown", 0.0, None, None, {})
    failed = outcome(call, "transcripts", state=StageState.FAILED, machine="http://10.0.0.6:5065", duration_s=3.0)
    write(distributed(call), identified(call), failed)
    (call,) = database.read(lambda conn: registry.calls_by_key(conn, [call.key]))
    assert (call.language, call.duration_s, call.status) == ("hi", 120.5, "Pending")
    assert call.sha256 == f"{call.id:064x}"
    assert call.machine == "http://10.0.0.6:5065"
    assert call.process_id == 1
    assert call.states == {
        "distribution": StageState.DONE,
        "lid": StageState.DONE,
        "transcripts": StageState.FAILED,
    }
    assert call.done_by == {"distribution": "run-1", "lid": "run-1"}
    assert set(call.states) < set(STAGES)


def claim(database: Database, ids: Sequence[int], run_id: str) -> dict[int, str]:
    return database.transact(lambda conn: registry.claim(conn, ids, run_id))


def test_a_call_is_claimed_by_one_run_until_it_is_released(database: Database) -> None:
    first, second = (call.id for call in calls_of(database, registered(database, "1", files("a.wav", "b.wav"))))
    assert claim(database, [first], "run-1") == {}
    assert claim(database, [first], "run-1") == {}
    assert claim(database, [second, first], "run-2") == {first: "run-1"}
    database.transact(lambda conn: registry.release(conn, "run-1"))
    assert claim(database, [first], "run-2") == {}
    assert claim(database, [first, second], "run-1") == {first: "run-2", second: "run-2"}


def test_of_runs_that_claim_at_once_one_gets_each_call(database: Database) -> None:
    names = [f"{number}.wav" for number in range(40)]
    ids = [call.id for call in calls_of(database, registered(database, "1", files(*names)))]
    runs = [f"run-{number}" for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        held = dict(zip(runs, pool.map(lambda run_id: claim(database, ids, run_id), runs), strict=True))
    for call_id in ids:
        holders = [run_id for run_id in runs if call_id not in held[run_id]]
        assert len(holders) == 1
        assert {held[run_id][call_id] for run_id in runs if run_id not in holders} == set(holders)
