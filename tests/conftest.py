"""Databases for tests: SQLite files, and schemas of one private MariaDB or MySQL server that lives for the session."""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from services import ServiceMissing, empty_schema, private_mariadb

from cofi_resources.database.engine import Database


@pytest.fixture(autouse=True)
def signals_as_in_a_terminal() -> Iterator[None]:
    """SIGINT and SIGTERM as a program finds them that is started by hand.

    Dagster gives SIGTERM the handler of SIGINT and leaves it so. Where the tests were started in the background, SIGINT
    is ignored: then SIGTERM is too, here and in every process started from here, and none of them can be ended.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


@pytest.fixture(scope="session")
def mariadb_server_url() -> Iterator[str]:
    """URL of a database on a private server; skips where no server is installed, unless services are required."""
    with ExitStack() as stack:
        try:
            url = stack.enter_context(private_mariadb())
        except ServiceMissing as missing:
            if os.environ.get("COFI_REQUIRE_SERVICES") == "1":
                pytest.fail(f"COFI_REQUIRE_SERVICES=1, and {missing}")
            pytest.skip(str(missing))
        yield url


@pytest.fixture
def mariadb_url(mariadb_server_url: str) -> Iterator[str]:
    """URL of an empty schema on the private server, dropped after the test."""
    with empty_schema(mariadb_server_url) as url:
        yield url


@pytest.fixture(params=["sqlite", pytest.param("mariadb", marks=pytest.mark.services)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of an empty database, for each kind of database in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'cofi.db'}"
    return request.getfixturevalue("mariadb_url")


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A database with all tables and no rows."""
    opened = Database(database_url)
    opened.upgrade()
    yield opened
    opened.dispose()
