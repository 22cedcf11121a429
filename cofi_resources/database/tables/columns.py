"""Column types and table options that every table shares.

What belongs here: how a kind of value is stored on each database. What does not: tables.
Decision: what is compared with a value from outside (file names, keys, tokens) is `exact`, which is binary on MariaDB
and MySQL as it is on SQLite, so that two names that differ in case only are two rows everywhere.
Decision: free text is MEDIUMTEXT, which costs what a VARCHAR costs and cannot overflow with a model's answer.
Decision: RETURNING is off for every table; MySQL has none.
"""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    DateTime,
    Double,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.schema import SchemaItem
from sqlalchemy.types import TypeEngine

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

ID: TypeEngine[int] = BigInteger().with_variant(Integer(), "sqlite")
TEXT: TypeEngine[str] = Text().with_variant(mysql.MEDIUMTEXT(), "mysql")
REAL: TypeEngine[float] = Double()
TIMESTAMP: TypeEngine[datetime] = DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql")
"""Naive UTC, with microseconds."""
JSON_TEXT: TypeEngine[Any] = JSON(none_as_null=True)


def exact(length: int) -> TypeEngine[str]:
    """Text of at most `length` characters that is compared character for character."""
    return String(length).with_variant(mysql.VARCHAR(length, collation="utf8mb4_bin"), "mysql")


FILE_NAME_LENGTH = 255
MACHINE = String(261)
"""Host and port: a DNS name has up to 253 characters."""


def file_name() -> TypeEngine[str]:
    return exact(FILE_NAME_LENGTH)


def table(name: str, *items: SchemaItem) -> Table:
    """A table of this schema: InnoDB, utf8mb4, no RETURNING."""
    return Table(
        name,
        metadata,
        *items,
        implicit_returning=False,
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_unicode_ci",
    )


def id_column() -> Column[int]:
    return Column("id", ID, primary_key=True, autoincrement=True)


def utc_now() -> datetime:
    """Now, as the tables keep it: naive UTC."""
    return datetime.now(UTC).replace(tzinfo=None)
