"""Statements for many rows at once, in the words that MariaDB, MySQL and SQLite share.

What belongs here: upserts, inserts, and cutting long key lists. What does not: any table's name.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, TypeVar

from sqlalchemy import Connection, Table, insert
from sqlalchemy.dialects import mysql, sqlite
from sqlalchemy.sql.dml import Insert

T = TypeVar("T")
Row = Mapping[str, Any]

KEYS_PER_STATEMENT = 500
"""Keys in one IN list: far below SQLite's limit on variables, and above where a statement's own cost counts."""


def chunks(items: Sequence[T], size: int = KEYS_PER_STATEMENT) -> Iterator[Sequence[T]]:
    """Consecutive slices of at most `size` items."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def insert_rows(conn: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Inserts rows that all have the same columns; sent as multi-row statements. Nothing for no rows."""
    if rows:
        conn.execute(insert(table), list(rows))


def upsert(
    conn: Connection, table: Table, rows: Sequence[Row], *, key: Sequence[str], update: Sequence[str] | None = None
) -> None:
    """Inserts rows, or updates the columns `update` of those whose `key` is there already.

    All rows have the same columns. `update` defaults to all of them but the key; empty, it leaves old rows as they
    are. MariaDB and MySQL go by any unique key of the table, so a row must not collide on another one.
    """
    if not rows:
        return
    if update is None:
        update = [name for name in rows[0] if name not in key]
    conn.execute(_upsert_statement(conn.dialect.name, table, tuple(key), tuple(update)), list(rows))


@cache
def _upsert_statement(dialect: str, table: Table, key: tuple[str, ...], update: tuple[str, ...]) -> Insert:
    if dialect == "sqlite":
        statement = sqlite.insert(table)
        if not update:
            return statement.on_conflict_do_nothing(index_elements=key)
        return statement.on_conflict_do_update(
            index_elements=key, set_={name: statement.excluded[name] for name in update}
        )
    statement = mysql.insert(table)
    # An update of the key to itself is the word for "leave it"; IGNORE would also swallow other errors.
    return statement.on_duplicate_key_update({name: statement.inserted[name] for name in update or key[:1]})
