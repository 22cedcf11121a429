"""What a database error means: whether the transaction may pass when it is run again.

What belongs here: error numbers and their meaning. What does not: the retry itself (`engine.py`).
"""

import sqlite3

import pymysql
from sqlalchemy.exc import DBAPIError

_PASSING_MYSQL_ERRORS = frozenset(
    {
        1020,  # record changed since last read (snapshot isolation)
        1021,  # disk full
        1040,  # too many connections
        1053,  # server shutdown in progress
        1114,  # table is full
        1129,  # host is blocked
        1203,  # user has too many connections
        1205,  # lock wait timeout
        1213,  # deadlock
        1226,  # resource limit of the user
        1290,  # read-only server, while another takes over
        1317,  # query was interrupted
        1836,  # read-only mode
        1927,  # connection was killed (MariaDB)
        2002,  # cannot connect through the socket
        2003,  # cannot connect
        2006,  # server has gone away
        2013,  # connection lost during query
        2014,  # commands out of sync, after a connection broke
        2055,  # connection lost
        3169,  # session was killed (MySQL)
        4031,  # disconnected for inactivity (MySQL)
    }
)
_REFUSING_MYSQL_ERRORS = frozenset({1044, 1045, 1049, 1130, 1698, 2005, 2059, 2061})
"""Wrong user, password, database or host name: a setting, not an accident."""

_PASSING_SQLITE_CODES = frozenset(
    {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_PROTOCOL}
)
_REFUSING_SQLITE_CODES = frozenset({sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_READONLY})


def _mysql_number(error: DBAPIError) -> int | None:
    cause = error.orig
    if isinstance(cause, pymysql.MySQLError) and cause.args and isinstance(cause.args[0], int):
        return cause.args[0]
    return None


def _sqlite_code(error: DBAPIError) -> int | None:
    code = getattr(error.orig, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def may_pass(error: DBAPIError) -> bool:
    """Whether the whole transaction may succeed when it is run again: deadlock, lock wait, lost connection, busy."""
    if error.connection_invalidated or isinstance(error.orig, pymysql.err.InterfaceError):
        return True
    return _mysql_number(error) in _PASSING_MYSQL_ERRORS or _sqlite_code(error) in _PASSING_SQLITE_CODES


def is_misconfigured(error: DBAPIError) -> bool:
    """Whether the database refuses us, or is not there, because of the URL that is set."""
    return _mysql_number(error) in _REFUSING_MYSQL_ERRORS or _sqlite_code(error) in _REFUSING_SQLITE_CODES


def short_reason(error: DBAPIError) -> str:
    """The server's own words, without the statement and its parameters."""
    cause = error.orig
    if isinstance(cause, pymysql.MySQLError) and len(cause.args) > 1:
        return f"{cause.args[1]} ({cause.args[0]})"
    return str(cause)
