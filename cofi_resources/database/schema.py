"""How a schema comes to be: the migrations in `migrations/`, applied by Alembic without a configuration file.

What belongs here: running revisions, safely when two processes do it at once. What does not: the revisions.
"""

import hashlib
from pathlib import Path

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from cofi_resources.database.tables import metadata
from cofi_resources.errors import ConfigError, DatabaseUnavailable

_LOCK_WAIT_S = 300


def _script() -> ScriptDirectory:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return ScriptDirectory.from_config(config)


def upgrade(connection: Connection) -> None:
    """Applies every revision that is missing, one process at a time.

    On SQLite the transaction the connection is in holds the file; on MariaDB and MySQL, where each DDL statement
    commits, a named lock of the server does.
    """
    if connection.dialect.name == "sqlite":
        _apply(connection)
        return
    lock = _lock_name(connection)
    taken = connection.execute(text("SELECT GET_LOCK(:lock, :wait_s)"), {"lock": lock, "wait_s": _LOCK_WAIT_S})
    if taken.scalar() != 1:
        raise DatabaseUnavailable(f"another process has been migrating the database for {_LOCK_WAIT_S} s")
    try:
        _apply(connection)
    finally:
        connection.execute(text("SELECT RELEASE_LOCK(:lock)"), {"lock": lock})


def pending_revisions(connection: Connection) -> tuple[str, ...]:
    """Revisions not yet applied, oldest first. Raises ConfigError for a database newer than this program."""
    script = _script()
    applied = set(MigrationContext.configure(connection).get_current_heads())
    known = [revision.revision for revision in script.walk_revisions()]
    unknown = applied.difference(known)
    if unknown:
        raise ConfigError(
            f"the database is at revision {', '.join(sorted(unknown))}, which this program does not know: "
            "run the version of the program that upgraded it, or a newer one"
        )
    pending: list[str] = []
    for revision in known:
        if revision in applied:
            break
        pending.append(revision)
    return tuple(reversed(pending))


def _apply(connection: Connection) -> None:
    if not pending_revisions(connection):
        return
    _refuse_foreign_tables(connection)
    script = _script()
    context = EnvironmentContext(
        Config(), script, fn=lambda heads, _: script._upgrade_revs("head", heads), destination_rev="head"
    )
    with context:
        context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
        context.run_migrations()


def _refuse_foreign_tables(connection: Connection) -> None:
    tables = set(inspect(connection).get_table_names())
    if "alembic_version" in tables:
        return
    foreign = sorted(tables.intersection(metadata.tables))
    if foreign:
        raise ConfigError(
            f"COFI_DATABASE_URL names a database that already has tables of another system ({', '.join(foreign[:5])}): "
            "give the name of an empty database"
        )


def _lock_name(connection: Connection) -> str:
    # Named locks belong to the whole server, not to one database, and have at most 64 characters.
    database = connection.execute(text("SELECT DATABASE()")).scalar()
    return "cofi-migrate-" + hashlib.sha256(str(database).encode()).hexdigest()[:32]
