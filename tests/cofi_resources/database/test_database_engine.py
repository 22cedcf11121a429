"""Transactions that fell victim to others are run again, whole; what cannot pass is said at once."""

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Connection, make_url, text
from sqlalchemy.exc import IntegrityError

from cofi_resources.database.engine import Database
from cofi_resources.errors import ConfigError, DatabaseUnavailable


class Clock:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def execute(statement: str, **values: object) -> Callable[[Connection], object]:
    return lambda conn: conn.execute(text(statement), values)


def totals(conn: Connection) -> list[tuple[int, int]]:
    return [tuple(row) for row in conn.execute(text("SELECT id, total FROM account ORDER BY id"))]


@pytest.fixture
def accounts(database_url: str) -> Database:
    database = Database(database_url)
    database.transact(execute("CREATE TABLE account (id INTEGER PRIMARY KEY, total INTEGER NOT NULL)"))
    database.transact(execute("INSERT INTO account VALUES (1, 0), (2, 0)"))
    return database


def test_what_a_transaction_did_is_kept_when_it_returns(accounts: Database) -> None:
    assert accounts.transact(lambda conn: (execute("UPDATE account SET total = 5")(conn), "done")[1]) == "done"
    assert accounts.read(totals) == [(1, 5), (2, 5)]


def test_an_exception_rolls_back_and_is_not_tried_again(accounts: Database) -> None:
    attempts: list[int] = []

    def work(conn: Connection) -> None:
        attempts.append(1)
        execute("UPDATE account SET total = 5")(conn)
        raise KeyError("ours")

    with pytest.raises(KeyError):
        accounts.transact(work)
    assert accounts.read(totals) == [(1, 0), (2, 0)]
    assert len(attempts) == 1


def test_a_broken_rule_is_not_tried_again(accounts: Database) -> None:
    with pytest.raises(IntegrityError):
        accounts.transact(execute("INSERT INTO account VALUES (1, 7)"))


def test_two_transactions_that_lock_rows_crosswise_both_succeed(accounts: Database) -> None:
    """On MariaDB a real deadlock: each holds one row when it asks for the other's. SQLite lets one in at a time."""
    both_hold_one = threading.Barrier(2)
    runs: list[int] = []

    def crosswise(first: int, second: int) -> Callable[[Connection], None]:
        def work(conn: Connection) -> None:
            runs.append(first)
            execute("UPDATE account SET total = total + 1 WHERE id = :id", id=first)(conn)
            if runs.count(first) == 1 and conn.dialect.name != "sqlite":
                both_hold_one.wait(timeout=30)
            execute("UPDATE account SET total = total + 1 WHERE id = :id", id=second)(conn)

        return work

    threads = [
        threading.Thread(target=accounts.transact, args=(crosswise(*order),), daemon=True) for order in ((1, 2), (2, 1))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert accounts.read(totals) == [(1, 2), (2, 2)]
    if accounts.read(lambda conn: conn.dialect.name) != "sqlite":
        assert len(runs) == 3


@pytest.mark.services
def test_a_transaction_whose_connection_is_killed_is_run_again(mariadb_url: str) -> None:
    database = Database(mariadb_url)
    database.transact(execute("CREATE TABLE account (id INTEGER PRIMARY KEY, total INTEGER NOT NULL)"))
    killed: list[int] = []

    def work(conn: Connection) -> None:
        execute("INSERT INTO account VALUES (:id, 1)", id=len(killed))(conn)
        if not killed:
            killed.append(conn.execute(text("SELECT CONNECTION_ID()")).scalar_one())
            database.transact(execute(f"KILL {killed[0]}"))
        execute("UPDATE account SET total = 2 WHERE id = :id", id=len(killed))(conn)

    database.transact(work)
    assert database.read(totals) == [(1, 2)]
    database.dispose()


@pytest.mark.services
def test_a_server_that_closed_idle_connections_is_not_noticed(mariadb_url: str) -> None:
    database, other = Database(mariadb_url), Database(mariadb_url)
    number = database.read(lambda conn: conn.execute(text("SELECT CONNECTION_ID()")).scalar_one())
    other.transact(execute(f"KILL {number}"))
    assert database.read(lambda conn: conn.execute(text("SELECT 1")).scalar_one()) == 1
    database.dispose()
    other.dispose()


def test_a_lock_that_is_never_given_back_ends_with_the_budget(tmp_path: Path) -> None:
    file = tmp_path / "cofi.db"
    clock = Clock()
    database = Database(f"sqlite:///{file}", retry_budget_s=5.0, sleep=clock.sleep, clock=clock, busy_timeout_s=0.0)
    database.upgrade()
    holder = sqlite3.connect(file, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(DatabaseUnavailable, match="could not be used for 5 s: database is locked") as failure:
        database.transact(execute("DELETE FROM language"))
    assert failure.value.retry_after_s
    assert 3.0 < sum(clock.slept) <= 5.0
    assert clock.slept[0] < clock.slept[3] < clock.slept[-1]
    holder.rollback()
    holder.close()
    database.transact(execute("DELETE FROM language"))
    database.dispose()


def test_a_reader_waits_for_no_writer_on_sqlite(tmp_path: Path) -> None:
    file = tmp_path / "cofi.db"
    database = Database(f"sqlite:///{file}", retry_budget_s=0.0, busy_timeout_s=0.0)
    database.upgrade()
    holder = sqlite3.connect(file, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    assert database.read(lambda conn: conn.execute(text("SELECT COUNT(*) FROM language")).scalar_one()) == 0
    holder.close()
    database.dispose()


def test_a_server_that_is_not_there_ends_with_the_budget_and_shows_no_password() -> None:
    clock = Clock()
    database = Database(
        "mysql+pymysql://cofi:sesame@127.0.0.1:1/cofi", retry_budget_s=1.0, sleep=clock.sleep, clock=clock
    )
    with pytest.raises(DatabaseUnavailable) as failure:
        database.read(lambda conn: None)
    assert "127.0.0.1:1/cofi" in str(failure.value)
    assert "sesame" not in f"{failure.value} {database!r}"


@pytest.mark.services
@pytest.mark.parametrize("part", ["password", "database"])
def test_a_wrong_password_or_database_is_a_fault_of_the_setting(mariadb_url: str, part: str) -> None:
    url = make_url(mariadb_url)
    wrong = url.set(password="sesame") if part == "password" else url.set(database="sesame")
    database = Database(wrong.render_as_string(hide_password=False))
    with pytest.raises(ConfigError, match=r"COFI_DATABASE_URL: mysql.* was refused") as failure:
        database.read(lambda conn: None)
    if part == "password":
        assert "sesame" not in str(failure.value)
    database.dispose()


@pytest.mark.parametrize(
    "url",
    ["postgresql://user:sesame@host/cofi", "mysql+mysqlconnector://user:sesame@host/cofi", "sqlite://", "sesame"],
)
def test_other_databases_are_refused_by_name_and_without_the_password(url: str) -> None:
    with pytest.raises(ConfigError, match="COFI_DATABASE_URL") as failure:
        Database(url)
    assert "sesame" not in str(failure.value)


@pytest.mark.services
def test_a_url_without_a_driver_gets_ours(mariadb_url: str) -> None:
    for scheme in ("mysql://", "mariadb://"):
        database = Database(mariadb_url.replace("mysql+pymysql://", scheme))
        assert database.read(lambda conn: conn.execute(text("SELECT 1")).scalar_one()) == 1
        database.dispose()


def test_what_was_said_stands_in_no_error_message(accounts: Database) -> None:
    with pytest.raises(IntegrityError) as failure:
        accounts.transact(
            lambda conn: conn.execute(text("INSERT INTO account VALUES (1, :total)"), {"total": 987654321})
        )
    assert "987654321" not in str(failure.value)
