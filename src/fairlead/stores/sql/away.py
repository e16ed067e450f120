"""Which errors of a database mean that it is away, and how that is said to people.

The words that come out are logged and shown: never the statement or its values, which may be secret.
"""

from __future__ import annotations

import sqlite3
import sys
from typing import Final

from sqlalchemy import exc

# SQLSTATE classes: connection, resources, operator intervention, system errors, damaged data.
_AWAY_CLASSES: Final = ("08", "53", "57", "58", "XX")
_AWAY_STATES: Final = frozenset(
    {
        "25006",  # read only: a standby, in recovery
        "25P03",  # idle in a transaction for too long
        "28000",  # not let in
        "28P01",  # wrong password
        "3D000",  # no such database
        "3F000",  # no such schema
        "40001",  # serialization failure
        "40P01",  # deadlock
        "42501",  # no privilege
        "42P01",  # no such table
        "55P03",  # lock not available
    }
)
_MISCONFIGURED: Final = frozenset({"28000", "28P01", "3D000", "42501"})

# A transaction that took too long by itself: cancelled, too long without a statement.
_SLOW_STATES: Final = frozenset({"57014", "25P03"})
_LOCKED_STATE: Final = "55P03"

_BUSY: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_AWAY_CODES: Final = _BUSY | {
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_NOLFS,
    sqlite3.SQLITE_NOTADB,
}
_UNUSABLE: Final = frozenset(
    {
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_NOTADB,
    }
)


class LockHeldError(Exception):
    """Somebody else has held a lock for too long; the message says who."""


def away_reason(error: BaseException) -> str | None:
    """Why the database is away, in a few words; None where `error` says nothing of the kind."""
    if isinstance(error, LockHeldError):
        return str(error)
    driver = _driver_error(error)
    if isinstance(driver, sqlite3.Error):
        return str(driver) if _code(driver) in _AWAY_CODES else None
    if isinstance(error, exc.TimeoutError):
        return "all connections to it are busy"
    if isinstance(error, exc.DBAPIError) and error.connection_invalidated:
        return f"the connection was lost ({_first_line(driver)})"
    state = getattr(driver, "sqlstate", None)
    if state is not None:
        away = state.startswith(_AWAY_CLASSES) or state in _AWAY_STATES
        return _first_line(driver) if away else None
    asyncpg = sys.modules.get("asyncpg")  # not imported for it: 5 MiB where there is only SQLite
    if asyncpg is not None and isinstance(driver, asyncpg.InterfaceError) and "closed" in str(driver):
        return "the connection was lost"
    if isinstance(driver, TimeoutError):
        return "it did not answer in time"
    return _first_line(driver) if isinstance(driver, OSError) else None


def slow(error: BaseException) -> bool:
    """It took too long, and that alone: perhaps it asked for much, or all connections were taken."""
    driver = _driver_error(error)
    if isinstance(driver, sqlite3.Error):
        return _code(driver) == sqlite3.SQLITE_INTERRUPT
    if isinstance(error, exc.TimeoutError) or isinstance(driver, TimeoutError):
        return True
    return getattr(driver, "sqlstate", None) in _SLOW_STATES


def lock_timed_out(error: BaseException) -> bool:
    """PostgreSQL's `lock_timeout` has passed."""
    return getattr(_driver_error(error), "sqlstate", None) == _LOCKED_STATE


def feature_missing(error: BaseException) -> bool:
    """This PostgreSQL does not have what was asked for, or does not let us."""
    return getattr(_driver_error(error), "sqlstate", None) in ("0A000", "42501", "42883")


def busy(error: BaseException | None) -> bool:
    """Another process has the SQLite file just now."""
    driver = _driver_error(error)
    return isinstance(driver, sqlite3.Error) and _code(driver) in _BUSY


def needs_mending(error: BaseException | None) -> bool:
    """Waiting does not help: a wrong password, a damaged file, a folder that may not be written."""
    driver = _driver_error(error)
    if isinstance(driver, sqlite3.Error):
        return _code(driver) in _UNUSABLE
    return getattr(driver, "sqlstate", None) in _MISCONFIGURED


def _driver_error(error: BaseException | None) -> BaseException | None:
    """What SQLAlchemy, and its adapter in between, have wrapped."""
    if isinstance(error, exc.DBAPIError) and error.orig is not None:
        error = error.orig
    return error


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF  # the primary code of an extended one


def _first_line(error: BaseException | None) -> str:
    return (str(error).splitlines() or [""])[0] or type(error).__name__
