"""Events stored in bulk leave the rows that Dagster's own storages leave, and the same answers."""

import shutil
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.data_version import DATA_VERSION_TAG
from dagster._core.events import (
    AssetMaterializationPlannedData,
    AssetObservationData,
    DagsterEvent,
    DagsterEventBatchMetadata,
    DagsterEventType,
    StepMaterializationData,
)
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from dagster._core.storage.event_log.sqlite import SqliteEventLogStorage
from dagster_mysql.event_log import MySQLEventLogStorage
from services import empty_schema
from sqlalchemy import make_url

from cofi_resources.event_log import (
    ROWS_A_STATEMENT,
    BulkMySQLEventLogStorage,
    BulkSqliteEventLogStorage,
    UntestedDagsterWarning,
    last_of_each_asset,
)

REPOSITORY = Path(__file__).parents[2]
RUN = "11111111-2222-3333-4444-555555555555"
ASSETS = ("lid", "transcripts")
PARTITIONS = [f"2026-01-15.1|{number:06}-call.wav" for number in range(1, 6)]
CALLS = dg.DynamicPartitionsDefinition(name="calls")
STARTED = 1_768_000_000.0


def entry(kind: DagsterEventType, content, at: float, run_id: str = RUN) -> EventLogEntry:
    return EventLogEntry(
        error_info=None,
        level=20,
        user_message="",
        run_id=run_id,
        timestamp=STARTED + at,
        step_key="audit_calls",
        job_name="audit",
        dagster_event=DagsterEvent(kind.value, "audit", step_key="audit_calls", event_specific_data=content),
    )


def planned(asset: str, partition: str, at: float = 0.0) -> EventLogEntry:
    content = AssetMaterializationPlannedData(dg.AssetKey(asset), partition=partition)
    return entry(DagsterEventType.ASSET_MATERIALIZATION_PLANNED, content, at)


def materialized(asset: str, partition: str, at: float = 0.0, run_id: str = RUN) -> EventLogEntry:
    found = dg.AssetMaterialization(
        asset,
        partition=partition,
        metadata={"file": f"{partition} été.wav", "segments": 12, "duration_s": 61.5},
        tags={DATA_VERSION_TAG: f"v-{partition}", "dagster/partition/call": partition},
    )
    return entry(DagsterEventType.ASSET_MATERIALIZATION, StepMaterializationData(found), at, run_id)


def observed(asset: str, partition: str, at: float = 0.0) -> EventLogEntry:
    content = AssetObservationData(dg.AssetObservation(asset, partition=partition, metadata={"outcome": "failed"}))
    return entry(DagsterEventType.ASSET_OBSERVATION, content, at)


def another_event() -> EventLogEntry:
    return entry(DagsterEventType.STEP_START, None, 9.0)


def history() -> list[list[EventLogEntry]]:
    """A run over five calls: all planned; the first call's lid twice; the last call fails transcripts."""
    begin = [planned(asset, partition) for asset in ASSETS for partition in PARTITIONS]
    lid = [materialized("lid", partition, 1 + at) for at, partition in enumerate(PARTITIONS)]
    mixed = [
        materialized("transcripts", PARTITIONS[0], 10),
        materialized("lid", PARTITIONS[0], 11),
        *(materialized("transcripts", partition, 12) for partition in PARTITIONS[1:4]),
        observed("transcripts", PARTITIONS[4], 13),
    ]
    return [begin, lid, mixed]


@pytest.fixture(params=["sqlite", pytest.param("mariadb", marks=pytest.mark.services)])
def storages(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[SqlEventLogStorage, SqlEventLogStorage]]:
    """Dagster's own storage, and ours, each empty."""
    if request.param == "sqlite":
        yield SqliteEventLogStorage(str(tmp_path / "stock")), BulkSqliteEventLogStorage(str(tmp_path / "bulk"))
        return
    server = request.getfixturevalue("mariadb_server_url")
    with empty_schema(server) as stock, empty_schema(server) as bulk:
        yield MySQLEventLogStorage(stock), BulkMySQLEventLogStorage(bulk)


EVENT_COLUMNS = "id, run_id, event, dagster_event_type, timestamp, step_key, asset_key, `partition`"


def rows(storage: SqlEventLogStorage, table: str, columns: str, *, of_run: bool = False) -> list[tuple]:
    opened = storage.run_connection(RUN) if of_run else storage.index_connection()
    with opened as connection:
        found = connection.exec_driver_sql(f"SELECT {columns} FROM {table} ORDER BY {columns}")  # noqa: S608
        return [tuple(row) for row in found]


def store(storage: SqlEventLogStorage, batches: Sequence[Sequence[EventLogEntry]] | None = None) -> None:
    for batch in history() if batches is None else batches:
        storage.store_event_batch(batch)


def test_the_rows_are_those_of_dagsters_own_storage(storages) -> None:
    stock, bulk = storages
    for storage in storages:
        store(storage)
    events = rows(bulk, "event_logs", EVENT_COLUMNS)
    assert len(events) == sum(len(batch) for batch in history())
    assert events == rows(stock, "event_logs", EVENT_COLUMNS)
    assert rows(bulk, "event_logs", EVENT_COLUMNS, of_run=True) == rows(stock, "event_logs", EVENT_COLUMNS, of_run=True)
    asset_columns = "asset_key, last_materialization, last_run_id, asset_details, last_materialization_timestamp, tags"
    assert rows(bulk, "asset_keys", asset_columns) == rows(stock, "asset_keys", asset_columns)
    tag_columns = "asset_key, `key`, value, event_id, event_timestamp"
    tags = rows(bulk, "asset_event_tags", tag_columns)
    assert len(tags) == 10 * 2
    assert tags == rows(stock, "asset_event_tags", tag_columns)


def test_the_answers_are_those_of_dagsters_own_storage(storages) -> None:
    for storage in storages:
        store(storage)
    stock, bulk = storages
    keys = [dg.AssetKey(asset) for asset in ASSETS]
    assert bulk.get_materialized_partitions(keys[1]) == set(PARTITIONS[:4])
    assert bulk.get_latest_materialization_events(keys) == stock.get_latest_materialization_events(keys)
    for key in keys:
        assert bulk.get_materialized_partitions(key) == stock.get_materialized_partitions(key)
        assert bulk.fetch_materializations(key, limit=100) == stock.fetch_materializations(key, limit=100)
        assert bulk.fetch_observations(key, limit=100) == stock.fetch_observations(key, limit=100)
        for kind in (DagsterEventType.ASSET_MATERIALIZATION, DagsterEventType.ASSET_MATERIALIZATION_PLANNED):
            assert bulk.get_latest_storage_id_by_partition(key, kind) == stock.get_latest_storage_id_by_partition(
                key, kind
            )
        assert bulk.get_latest_asset_partition_materialization_attempts_without_materializations(
            key
        ) == stock.get_latest_asset_partition_materialization_attempts_without_materializations(key)
        assert bulk.get_event_tags_for_asset(key) == stock.get_event_tags_for_asset(key)
    assert bulk.get_records_for_run(RUN).records == stock.get_records_for_run(RUN).records
    assert bulk.get_stats_for_run(RUN) == stock.get_stats_for_run(RUN)


def test_a_batch_of_many_statements_knows_the_id_of_every_event(storages) -> None:
    _, bulk = storages
    many = [materialized("lid", f"2026-01-15.1|{number:06}-call.wav") for number in range(ROWS_A_STATEMENT + 20)]
    store(bulk, [many[:7], many[7:]])
    matched = (
        "event_logs e JOIN asset_event_tags t ON t.event_id = e.id "
        "AND t.`key` = 'dagster/partition/call' AND t.value = e.`partition`"
    )
    assert rows(bulk, matched, "COUNT(*)") == [(len(many),)]
    (record,) = bulk.fetch_materializations(dg.AssetKey("lid"), limit=1).records
    assert record.partition_key == many[-1].get_dagster_event().partition


class StoresOneByOne:
    """Counts the events a storage stores the stock way."""

    one_by_one = 0

    def store_event(self, event: EventLogEntry) -> None:
        self.one_by_one += 1
        super().store_event(event)  # type: ignore[misc]


class CountingSqlite(StoresOneByOne, BulkSqliteEventLogStorage): ...


class UntestedSqlite(CountingSqlite):
    dagster_version = "1.14.2"


def test_a_batch_of_asset_events_is_never_stored_one_by_one(tmp_path: Path) -> None:
    storage = CountingSqlite(str(tmp_path / "events"))
    store(storage)
    assert storage.one_by_one == 0


@pytest.mark.parametrize(
    "batch",
    [
        [another_event(), planned("lid", PARTITIONS[0])],
        [materialized("lid", PARTITIONS[0]), materialized("lid", PARTITIONS[0], run_id="another-run")],
    ],
    ids=["an event of another kind", "events of two runs"],
)
def test_a_batch_with_other_events_takes_the_stock_way(tmp_path: Path, batch: list[EventLogEntry]) -> None:
    storage = CountingSqlite(str(tmp_path / "events"))
    storage.store_event_batch(batch)
    assert storage.one_by_one == 2


def test_an_untested_dagster_is_warned_of_and_takes_the_stock_way(tmp_path: Path) -> None:
    storage = UntestedSqlite(str(tmp_path / "events"))
    with pytest.warns(UntestedDagsterWarning, match=r"1\.14\.2"):
        storage.store_event_batch(history()[0])
    assert storage.one_by_one == len(history()[0])
    assert len(rows(storage, "event_logs", "id")) == len(history()[0])


def test_assets_rows_are_written_in_one_order_whatever_the_order_of_the_events() -> None:
    events = [materialized("transcripts", "a"), materialized("lid", "a"), planned("transcripts", "b")]
    assert [event_id for _, event_id in last_of_each_asset(events, [1, 2, 3])] == [2, 1, 3]


@pytest.mark.services
def test_two_runs_that_store_at_once_do_not_stop_each_other(mariadb_url: str) -> None:
    storage = BulkMySQLEventLogStorage(mariadb_url)
    failures: list[Exception] = []

    def store_run(run_id: str, assets: Sequence[str]) -> None:
        try:
            for _ in range(8):
                storage.store_event_batch(
                    [materialized(asset, partition, run_id=run_id) for asset in assets for partition in PARTITIONS]
                )
        except Exception as error:  # noqa: BLE001 - whatever it is, the test shows it
            failures.append(error)

    threads = [
        threading.Thread(target=store_run, args=(f"run-{number}", ASSETS if number % 2 else ASSETS[::-1]))
        for number in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert rows(storage, "event_logs", "COUNT(*)") == [(4 * 8 * 10,)]


class BreaksOnce:
    """Fails when the first batch's assets are written: its event rows are on their way by then."""

    broken = False

    def _store_asset_event(self, conn, event: EventLogEntry, event_id: int) -> None:
        if not self.broken:
            self.broken = True
            raise ConnectionError("the connection broke half way")
        super()._store_asset_event(conn, event, event_id)  # type: ignore[misc]


class BreakingMySQL(BreaksOnce, BulkMySQLEventLogStorage): ...


class BreakingSqlite(BreaksOnce, BulkSqliteEventLogStorage): ...


@pytest.fixture(params=["sqlite", pytest.param("mariadb", marks=pytest.mark.services)])
def breaking(request: pytest.FixtureRequest, tmp_path: Path) -> SqlEventLogStorage:
    if request.param == "sqlite":
        return BreakingSqlite(str(tmp_path / "events"))
    return BreakingMySQL(request.getfixturevalue("mariadb_url"))


def test_a_failure_half_way_leaves_no_half_batch(breaking: SqlEventLogStorage) -> None:
    with pytest.raises(ConnectionError):
        breaking.store_event_batch(history()[1])
    for table in ("event_logs", "asset_keys", "asset_event_tags"):
        assert rows(breaking, table, "COUNT(*)") == [(0,)]
    assert rows(breaking, "event_logs", "COUNT(*)", of_run=True) == [(0,)]


def instance_on(folder: Path, storage: type[SqlEventLogStorage], config: str) -> dg.DagsterInstance:
    folder.mkdir()
    (folder / "dagster.yaml").write_text(
        f"event_log_storage:\n  module: {storage.__module__}\n  class: {storage.__name__}\n  config:\n    {config}\n"
        "telemetry:\n  enabled: false\n"
    )
    return dg.DagsterInstance.from_config(str(folder))


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("mariadb", marks=pytest.mark.services)])
def test_a_batch_that_failed_is_stored_once_by_dagsters_fallback(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, capfd
) -> None:
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "500")
    storage, config = (
        (BreakingSqlite, f"base_dir: {tmp_path / 'events'}")
        if kind == "sqlite"
        else (BreakingMySQL, f"mysql_url: {request.getfixturevalue('mariadb_url')}")
    )
    with instance_on(tmp_path / "home", storage, config) as instance:
        batch = history()[1]
        for position, event in enumerate(batch, start=1):
            instance.handle_new_event(event, batch_metadata=DagsterEventBatchMetadata("one", position == len(batch)))
        assert "the connection broke half way" in capfd.readouterr().err
        assert instance.get_materialized_partitions(dg.AssetKey("lid")) == set(PARTITIONS)
        assert len(instance.fetch_materializations(dg.AssetKey("lid"), limit=100).records) == len(PARTITIONS)
        assert len(instance.all_logs(RUN)) == len(PARTITIONS)


@pytest.mark.services
def test_the_production_instance_loads_with_bulk_storage_from_the_environment(
    tmp_path: Path, mariadb_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = make_url(mariadb_url)
    for name, value in (
        ("HOSTNAME", url.host),
        ("PORT", url.port),
        ("USERNAME", url.username),
        ("PASSWORD", url.password),
        ("DB_NAME", url.database),
    ):
        monkeypatch.setenv(f"DAGSTER_MYSQL_{name}", str(value))
    shutil.copy(REPOSITORY / "dagster.yaml", tmp_path)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert isinstance(instance.event_log_storage, BulkMySQLEventLogStorage)
        instance.event_log_storage.store_event_batch(history()[1])
        instance.add_dynamic_partitions("calls", PARTITIONS)
        statuses = instance.get_status_by_partition(dg.AssetKey("lid"), PARTITIONS, CALLS)
        assert statuses is not None
        assert {status and status.value for status in statuses.values()} == {"MATERIALIZED"}


@dg.job
def a_job() -> None: ...


@pytest.mark.parametrize("storage", [SqliteEventLogStorage, BulkSqliteEventLogStorage])
def test_partition_statuses_are_those_of_dagsters_own_storage(
    tmp_path: Path, storage: type[SqliteEventLogStorage]
) -> None:
    with instance_on(tmp_path / "home", storage, f"base_dir: {tmp_path / 'events'}") as instance:
        instance.add_dynamic_partitions("calls", PARTITIONS)
        instance.create_run_for_job(a_job, run_id=RUN, status=dg.DagsterRunStatus.FAILURE)
        store(instance.event_log_storage)
        statuses = instance.get_status_by_partition(dg.AssetKey("transcripts"), PARTITIONS, CALLS)
        assert statuses is not None
        assert [status and status.value for status in statuses.values()] == ["MATERIALIZED"] * 4 + ["FAILED"]
