"""Migrations make exactly the tables that the code speaks of."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect, text

from cofi_resources.database import tables
from cofi_resources.database.engine import Database
from cofi_resources.errors import ConfigError


def differences(conn: Connection) -> list[object]:
    context = MigrationContext.configure(conn, opts={"compare_type": True, "compare_server_default": True})
    return list(compare_metadata(context, tables.metadata))


def test_migrations_and_tables_are_equal(database: Database) -> None:
    assert database.read(differences) == []


def test_an_empty_database_awaits_all_revisions_and_an_upgraded_one_none(database_url: str) -> None:
    database = Database(database_url)
    assert database.pending_revisions() == ("0001",)
    database.upgrade()
    assert database.pending_revisions() == ()
    database.dispose()


def test_an_upgrade_of_what_is_up_to_date_changes_nothing(database: Database) -> None:
    database.upgrade()
    assert database.read(differences) == []


def test_two_upgrades_at_once_both_succeed(database_url: str) -> None:
    databases = [Database(database_url) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda database: database.upgrade(), databases))
    assert databases[0].read(differences) == []
    for database in databases:
        database.dispose()


def test_a_database_with_tables_of_another_system_is_refused_and_left_alone(database_url: str) -> None:
    database = Database(database_url)
    database.transact(lambda conn: conn.execute(text("CREATE TABLE language (id INTEGER PRIMARY KEY)")))
    with pytest.raises(ConfigError, match=r"tables of another system \(language\)"):
        database.upgrade()
    assert database.read(lambda conn: inspect(conn).get_table_names()) == ["language"]
    database.dispose()


def test_a_database_of_a_newer_program_is_refused(database: Database) -> None:
    database.transact(lambda conn: conn.execute(text("UPDATE alembic_version SET version_num = '9999'")))
    with pytest.raises(ConfigError, match="revision 9999, which this program does not know"):
        database.upgrade()


def test_the_folder_of_an_sqlite_file_is_made(tmp_path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'new' / 'cofi.db'}")
    database.upgrade()
    database.dispose()
    assert (tmp_path / "new" / "cofi.db").exists()


@pytest.mark.services
def test_tables_are_innodb_and_utf8mb4_whatever_the_servers_default(mariadb_url: str) -> None:
    database = Database(mariadb_url)
    database.transact(lambda conn: conn.execute(text("ALTER DATABASE CHARACTER SET latin1")))
    database.upgrade()
    found = database.read(
        lambda conn: conn.execute(
            text(
                "SELECT DISTINCT engine, table_collation FROM information_schema.tables "
                "WHERE table_schema = DATABASE() AND table_name <> 'alembic_version'"
            )
        ).all()
    )
    assert found == [("InnoDB", "utf8mb4_unicode_ci")]
    database.dispose()
