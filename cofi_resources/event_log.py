"""Dagster event-log storage that stores a batch of events with a few statements.

What belongs here: bulk versions of the stock MySQL and SQLite storages' `store_event_batch`. What does not: which
events are sent as a batch (`cofi_assets/engine/reporting.py`, and Dagster itself for planned events).
Decision: stock storages write one event at a time, 3.5 ms each on MariaDB and 5 ms on SQLite: more than five minutes of
bookkeeping for 10,000 calls (architecture 3.6). Only asset events, which are nearly all, are stored in bulk; a
batch that holds any other event takes the stock way. These classes rest on internals of Dagster: on a minor version
they were not tested with they warn once and take the stock way for everything.
"""

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import dagster
from dagster._core.events import ASSET_EVENTS
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from dagster._core.storage.event_log.sqlite import SqliteEventLogStorage
from dagster._serdes import ConfigurableClassData
from dagster_mysql.event_log import MySQLEventLogStorage
from dagster_mysql.utils import mysql_url_from_config

if TYPE_CHECKING:
    from typing import Any

TESTED_DAGSTER = "1.13"
ROWS_A_STATEMENT = 200
"""Keeps a statement far under max_allowed_packet: an event is some kilobytes."""


def is_tested_dagster(version: str) -> bool:
    """Whether the bulk statements were tested against this version of Dagster."""
    return version.split(".")[:2] == TESTED_DAGSTER.split(".")


class UntestedDagsterWarning(UserWarning):
    """Events are stored one at a time, since this version of Dagster was not tested with bulk writes."""


def can_store_in_bulk(events: Sequence[EventLogEntry], version: str) -> bool:
    """Whether a batch holds asset events of one run only, on a tested version of Dagster."""
    if not is_tested_dagster(version):
        warnings.warn(
            f"Dagster {version} was not tested with bulk event writes (tested: {TESTED_DAGSTER}.x): events are stored "
            "one at a time",
            UntestedDagsterWarning,
            stacklevel=2,
        )
        return False
    return len({event.run_id for event in events}) == 1 and all(
        event.dagster_event is not None
        and event.dagster_event_type in ASSET_EVENTS
        and event.dagster_event.asset_key is not None
        for event in events
    )


def last_of_each_asset(events: Sequence[EventLogEntry], ids: Sequence[int]) -> list[tuple[EventLogEntry, int]]:
    """The last event of each kind for each asset with its id: what the asset's own row has to show.

    In order of asset, then id: two runs that lock assets' rows in one order never wait for each other in a circle.
    """
    last: dict[tuple[str, str], tuple[str, int, EventLogEntry]] = {}
    for event, event_id in zip(events, ids, strict=True):
        dagster_event = event.get_dagster_event()
        asset = dagster_event.asset_key.to_string() if dagster_event.asset_key else ""
        last[(asset, dagster_event.event_type_value)] = (asset, event_id, event)
    return [(event, event_id) for _, event_id, event in sorted(last.values(), key=lambda found: found[:2])]


def _store_assets(storage: SqlEventLogStorage, connection: "Any", events: Sequence[EventLogEntry], ids: list[int]):
    storage._store_asset_event_tags(connection, events, ids)
    for event, event_id in last_of_each_asset(events, ids):
        storage._store_asset_event(connection, event, event_id)


def _chunks(events: Sequence[EventLogEntry]):
    for start in range(0, len(events), ROWS_A_STATEMENT):
        yield events[start : start + ROWS_A_STATEMENT]


class BulkMySQLEventLogStorage(MySQLEventLogStorage):
    """The stock MySQL storage with multi-row inserts for batches of asset events."""

    dagster_version = dagster.__version__

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        if not can_store_in_bulk(events, self.dagster_version):
            super().store_event_batch(events)
            return
        # One transaction: an event without its asset's row would be half an event.
        with self.index_transaction() as connection:
            step = connection.exec_driver_sql("SELECT @@auto_increment_increment").scalar_one()
            ids: list[int] = []
            for chunk in _chunks(events):
                inserted = connection.execute(self.prepare_insert_event_batch(chunk))
                # Rows of one INSERT ... VALUES get consecutive ids, and the driver reports the first one.
                ids += [inserted.lastrowid + step * position for position in range(len(chunk))]
            _store_assets(self, connection, events, ids)

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value) -> "BulkMySQLEventLogStorage":
        return cls(inst_data=inst_data, mysql_url=mysql_url_from_config(config_value))


class BulkSqliteEventLogStorage(SqliteEventLogStorage):
    """The stock SQLite storage (a file a run and an index over all) with multi-row inserts for asset events."""

    dagster_version = dagster.__version__

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        if not can_store_in_bulk(events, self.dagster_version):
            super().store_event_batch(events)
            return
        rows = [self._event_to_row(event) for event in events]
        # The index first: all runs and daemons write it, so it is the one that may stay locked for too long. Then
        # nothing is stored, and Dagster, which goes on to store the events one at a time, stores none twice.
        with self.index_transaction() as connection:
            ids: list[int] = []
            for chunk in _chunks(events):
                connection.execute(self.prepare_insert_event_batch(chunk))
                # The transaction holds SQLite's only write lock, so the ids of one statement are consecutive.
                last = connection.exec_driver_sql("SELECT last_insert_rowid()").scalar_one()
                ids += range(last - len(chunk) + 1, last + 1)
            _store_assets(self, connection, events, ids)
        with self.run_connection(events[0].run_id) as connection:
            connection.execute(SqlEventLogStorageTable.insert(), rows)

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value) -> "BulkSqliteEventLogStorage":
        return cls(inst_data=inst_data, **config_value)
