"""The databases that figures are made on: SQLite files, and a private MariaDB or MySQL with its usual durability.

What belongs here: where results and Dagster's own rows go, and how Dagster is told. What does not: what is run on them.
Decision: Dagster's storage is configured by the `dagster.yaml` at the top of the repository on MariaDB, and by that of
`cofi dev` on SQLite, so that figures are of what is installed.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymysql
import yaml
from sqlalchemy import URL, make_url

from bench import proc
from cofi_api.dev import DAGSTER_YAML
from cofi_resources.errors import CofiError
from tests.services import ServiceMissing, private_mariadb

REPOSITORY = Path(__file__).parent.parent
RESULTS, DAGSTER = "cofi", "dagster"


class NoServer(CofiError):
    """No database server is installed; the message says which package has one."""


@dataclass(frozen=True, slots=True)
class SqliteFiles:
    """Everything in files of the installation's own folder."""

    name: str = f"SQLite {sqlite3.sqlite_version}"

    def results_url(self, home: Path) -> str:
        return f"sqlite:///{home / 'cofi.db'}"

    def cpu_s(self) -> float:
        """None of its own: SQLite works inside the run's process."""
        return 0.0

    def dagster_config(self, dagster_home: Path, *, bulk_events: bool) -> dict[str, Any]:
        config = yaml.safe_load(DAGSTER_YAML.format(history=f'"{dagster_home / "history"}"', concurrent_runs=1))
        if not bulk_events:
            config["event_log_storage"] |= {
                "module": "dagster._core.storage.event_log",
                "class": "SqliteEventLogStorage",
            }
        return config


@dataclass(frozen=True, slots=True)
class PrivateServer:
    """A server on this machine, flushed to disk at every commit, with a schema for results and one for Dagster."""

    name: str
    server: URL
    pid: int

    def results_url(self, home: Path) -> str:
        """Of a fresh schema; asking again empties it."""
        with _connected(self.server) as connection:
            for schema in (RESULTS, DAGSTER):
                connection.cursor().execute(f"DROP DATABASE IF EXISTS {schema}")
                connection.cursor().execute(f"CREATE DATABASE {schema}")
        return self.server.set(database=RESULTS).render_as_string(hide_password=False)

    def cpu_s(self) -> float:
        return proc.cpu_s(self.pid)

    def dagster_config(self, dagster_home: Path, *, bulk_events: bool) -> dict[str, Any]:
        config = yaml.safe_load((REPOSITORY / "dagster.yaml").read_text(encoding="utf-8"))
        connection = {
            "hostname": self.server.host,
            "username": self.server.username,
            "password": self.server.password,
            "db_name": DAGSTER,
            "port": self.server.port,
        }
        for storage in ("run_storage", "event_log_storage", "schedule_storage"):
            config[storage]["config"]["mysql_db"] = connection
        if not bulk_events:
            config["event_log_storage"] |= {"module": "dagster_mysql.event_log", "class": "MySQLEventLogStorage"}
        return config


MeasuredDatabase = SqliteFiles | PrivateServer


@contextmanager
def private_server() -> Iterator[PrivateServer]:
    """A durable server for as long as the context is open. NoServer if none is installed."""
    try:
        with private_mariadb(durable=True) as url:
            yield server_at(url)
    except ServiceMissing as missing:
        raise NoServer(str(missing)) from missing


def server_at(url: str) -> PrivateServer:
    """A running server of this machine whose schemas `cofi` and `dagster` may be replaced."""
    server = make_url(url)
    with _connected(server) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT VERSION(), @@pid_file")
        version, pid_file = cursor.fetchone() or ("", "")
    kind = "MariaDB" if "mariadb" in version.lower() else "MySQL"
    return PrivateServer(f"{kind} {version.split('-')[0]}", server, int(Path(pid_file).read_text()))


def _connected(server: URL):
    return pymysql.connect(
        host=server.host or "", port=server.port or 0, user=server.username, password=server.password or ""
    )
