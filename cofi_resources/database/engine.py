"""The results database: connections, transactions that are run again when they fell victim to others, migrations.

What belongs here: how a connection is opened and a transaction retried. What does not: statements.
Decision: READ COMMITTED on MariaDB and MySQL. Under REPEATABLE READ, replacing rows that do not exist yet locks the
gap at the end of the table, and two runs that write at once deadlock on nearly every flush.
Decision: PyMySQL, whose `executemany` sends INSERTs, upserts too, as multi-row statements of up to 1 MB, far below
every server's `max_allowed_packet`. On SQLite `executemany` is a loop in C over one prepared statement, which no limit
on variables concerns.
Decision: on SQLite, BEGIN IMMEDIATE for what writes: a transaction that reads first and then writes could otherwise
fail half way with a stale snapshot, which no wait cures.
"""

import random
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from cofi_resources.database import schema
from cofi_resources.database.faults import is_misconfigured, may_pass, short_reason
from cofi_resources.errors import ConfigError, DatabaseUnavailable, ValueRefused

T = TypeVar("T")

_FIRST_BACKOFF_S = 0.05
_LONGEST_BACKOFF_S = 2.0
_MYSQL_SESSION = (
    "SET SESSION time_zone = '+00:00', innodb_lock_wait_timeout = 15, "
    "sql_mode = 'STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'"
)
_MYSQL_ANSWER_WITHIN_S = 120
"""A statement, and a server that is silent, may take this long; migrations have no such bound."""


class Database:
    """One results database, given by its SQLAlchemy URL: `sqlite:///path` or `mysql+pymysql://...`.

    Opens nothing until it is used; may be shared by threads. `retry_budget_s` is how long a transaction is tried
    again before DatabaseUnavailable; `sleep` and `clock` are parameters so that tests need not wait.
    `busy_timeout_s` is how long SQLite itself waits for a lock before such a retry.
    """

    def __init__(
        self,
        url: str,
        *,
        retry_budget_s: float = 60.0,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        pool_size: int = 5,
        busy_timeout_s: float = 10.0,
    ) -> None:
        self._url = parse_url(url)
        self._retry_budget_s = retry_budget_s
        self._sleep = sleep
        self._clock = clock
        self._busy_timeout_s = busy_timeout_s
        self._engine = self._open(pool_size=pool_size, answer_within_s=_MYSQL_ANSWER_WITHIN_S)
        self._writer = self._engine.execution_options(cofi_writes=True)

    def __repr__(self) -> str:
        return f"Database({self.name!r})"

    @property
    def name(self) -> str:
        """The URL without its password."""
        return self._url.render_as_string(hide_password=True)

    def transact(self, work: Callable[[Connection], T]) -> T:
        """Runs `work` in one transaction that is committed when it returns; an exception rolls it back.

        The whole of `work` runs again after a deadlock, a lock wait, a lost connection or a busy SQLite file, and
        also when the answer to a COMMIT was lost: so it must be safe to repeat, and do nothing but statements.
        Raises DatabaseUnavailable when the retry budget is spent, ConfigError when the URL is refused, ValueRefused
        for a value that no column takes.
        """
        return self._attempt(self._writer, work)

    def read(self, work: Callable[[Connection], T]) -> T:
        """As `transact`, for work that writes nothing: on SQLite it waits for no writer."""
        return self._attempt(self._engine, work)

    def dispose(self) -> None:
        """Closes the pooled connections. The database may be used again afterwards."""
        self._engine.dispose()

    def upgrade(self) -> None:
        """Brings the schema to the newest revision, and makes an SQLite file's folder. Does nothing when it is there.

        Safe when two processes do it at once. Raises ConfigError for a database that holds tables of another system.
        """
        if self._url.get_backend_name() == "sqlite" and self._url.database:
            Path(self._url.database).absolute().parent.mkdir(parents=True, exist_ok=True)
        engine = self._open(pool_size=1, answer_within_s=None)
        try:
            self._attempt(engine.execution_options(cofi_writes=True), schema.upgrade)
        finally:
            engine.dispose()

    def pending_revisions(self) -> tuple[str, ...]:
        """The revisions `upgrade` would apply, oldest first; empty when the schema is up to date."""
        return self.read(schema.pending_revisions)

    def _open(self, *, pool_size: int, answer_within_s: int | None) -> Engine:
        if self._url.get_backend_name() == "sqlite":
            return _sqlite_engine(self._url, pool_size, self._busy_timeout_s)
        return _mysql_engine(self._url, pool_size, answer_within_s)

    def _attempt(self, engine: Engine, work: Callable[[Connection], T]) -> T:
        give_up_at = self._clock() + self._retry_budget_s
        longest_s = _FIRST_BACKOFF_S
        while True:
            try:
                with engine.begin() as connection:
                    return work(connection)
            except PoolTimeout as error:
                failure, reason = error, "no connection became free"
            except DBAPIError as error:
                if is_misconfigured(error):
                    raise self._refused(error) from error
                if isinstance(error, DataError):
                    raise ValueRefused(f"the database {self.name} refused a value: {short_reason(error)}") from error
                if not may_pass(error):
                    raise
                failure, reason = error, short_reason(error)
            wait_s = random.uniform(0.5, 1.0) * longest_s
            if self._clock() + wait_s > give_up_at:
                raise DatabaseUnavailable(
                    f"the database {self.name} could not be used for {self._retry_budget_s:g} s: {reason}",
                    retry_after_s=_LONGEST_BACKOFF_S,
                ) from failure
            self._sleep(wait_s)
            longest_s = min(longest_s * 2, _LONGEST_BACKOFF_S)

    def _refused(self, error: DBAPIError) -> ConfigError:
        return ConfigError(f"COFI_DATABASE_URL: {self.name} was refused: {short_reason(error)}")


def parse_url(url: str) -> URL:
    """The URL with the driver we use filled in. Raises ConfigError for other databases and drivers."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # The message of the cause may hold the whole URL, with its password.
        raise ConfigError(
            "COFI_DATABASE_URL is no SQLAlchemy URL, such as mysql+pymysql://user:password@host/cofi"
        ) from None
    if parsed.drivername in ("mysql", "mariadb", "mysql+pymysql", "mariadb+pymysql"):
        return parsed.set(drivername="mysql+pymysql")
    if parsed.drivername in ("sqlite", "sqlite+pysqlite") and parsed.database not in (None, "", ":memory:"):
        return parsed.set(drivername="sqlite")
    raise ConfigError(
        f"COFI_DATABASE_URL: {parsed.drivername} is not supported, use mysql+pymysql:// or sqlite:/// with a file"
    )


def _pool_options(pool_size: int) -> dict[str, Any]:
    return {
        "pool_pre_ping": True,
        "pool_size": pool_size,
        "max_overflow": 2 * pool_size,
        # What people said stands in the parameters: none of it belongs in a message or a log.
        "hide_parameters": True,
        "use_insertmanyvalues": False,
    }


def _mysql_engine(url: URL, pool_size: int, answer_within_s: int | None) -> Engine:
    return create_engine(
        url,
        isolation_level="READ COMMITTED",
        # Tuples instead of dicts on the way to the driver, which costs less a row.
        paramstyle="format",
        pool_recycle=3600,
        connect_args={
            "charset": "utf8mb4",
            "connect_timeout": 10,
            "read_timeout": answer_within_s,
            "write_timeout": answer_within_s,
            "init_command": _MYSQL_SESSION,
        },
        **_pool_options(pool_size),
    )


def _sqlite_engine(url: URL, pool_size: int, busy_timeout_s: float) -> Engine:
    engine = create_engine(url, connect_args={"timeout": busy_timeout_s}, **_pool_options(pool_size))
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    # The driver must not begin transactions by itself: `_begin_sqlite` does.
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA foreign_keys = ON")


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("cofi_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
