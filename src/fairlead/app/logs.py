"""Structured logs: a line of JSON for each event (or a line for people), secrets taken out.

Everything goes one way: structlog's loggers and the standard library's (uvicorn, asyncio, warnings) meet in
one handler. A level that is off costs a call that returns at once: nothing is formatted for it. Start
uvicorn with `log_config=None`, or it brings handlers of its own.

    log = structlog.get_logger("fairlead.orchestrator")
    log.info("server ready", server="filesystem", tools=14)
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, Literal

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

REDACTED = "[redacted]"
SECRET_KEYS = ("authorization", "token", "password", "passwd", "secret", "api_key", "apikey", "cookie")
MIN_SECRET = 4  # shorter values occur everywhere by chance
MAX_FILE = 10 * 2**20  # bytes
KEPT_FILES = 3

_secrets: set[str] = set()


def register_secret(value: str) -> None:
    """From now on this value is taken out of every line, wherever it stands in it."""
    if len(value) >= MIN_SECRET:
        for form in (value, repr(value)[1:-1]):
            _secrets.update((form, json.dumps(form, ensure_ascii=False)[1:-1]))


def conceal(text: str) -> str:
    """The text without the registered values."""
    for secret in _secrets:
        text = text.replace(secret, REDACTED)
    return text


def configure(level: str, format: Literal["auto", "json", "console"], *, file: Path | None = None) -> None:  # noqa: A002 - the setting's own name
    """Set logging up for this process: to stdout, or to `file`, which is rotated.

    `level` is the least severe one that is logged: debug, info, warning, error.
    """
    number = logging.getLevelNamesMapping()[level.upper()]
    colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    console = format == "console" or (format == "auto" and file is None and sys.stdout.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
    ]
    handler = _handler(file)
    handler.setFormatter(
        _RedactingFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                _redact_keys,
                *(_for_people(colours=colours) if console else _for_machines()),
            ],
        )
    )
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(number)
    # It logs every change that it sees, and a log beside a watched file would be one.
    logging.getLogger("watchfiles").setLevel(max(number, logging.WARNING))
    logging.raiseExceptions = False  # a full disk or a closed pipe must not spill tracebacks
    logging.captureWarnings(capture=True)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


@contextmanager
def on_stderr() -> Iterator[None]:
    """Within, logs go to stderr, for people: a command's stdout is its answer."""
    before = structlog.get_config()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            _redact_keys,
            *_for_people(colours=False),
            _concealed,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    try:
        yield
    finally:
        structlog.configure(**before)


class _RedactingFormatter(structlog.stdlib.ProcessorFormatter):
    """Takes registered values out of the finished line, tracebacks and reprs included."""

    def format(self, record: logging.LogRecord) -> str:
        line = conceal(super().format(record))
        return line.encode("utf-8", "backslashreplace").decode()  # half a surrogate pair cannot be written


class _RotatingFile(RotatingFileHandler):
    """Rotates, and moves the process's stdout and stderr along when they were the same file."""

    def doRollover(self) -> None:  # noqa: N802 - the base class's name
        moved = [number for number in (1, 2) if self._is_here(number)]
        super().doRollover()
        if self.stream is not None:
            for number in moved:
                os.dup2(self.stream.fileno(), number)

    def _is_here(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), Path(self.baseFilename).stat())
        except OSError:  # closed, or the file is gone
            return False


def _handler(file: Path | None) -> logging.Handler:
    if file is None:
        return logging.StreamHandler(sys.stdout)
    return _RotatingFile(file, maxBytes=MAX_FILE, backupCount=KEPT_FILES, encoding="utf-8")


def _for_people(*, colours: bool) -> list[Processor]:
    # Exceptions are text by now; a formatter with local variables in it would show secrets.
    return [structlog.dev.ConsoleRenderer(colors=colours, timestamp_key="time")]


def _for_machines() -> list[Processor]:
    return [_in_order, structlog.processors.JSONRenderer(ensure_ascii=False)]


def _concealed(_logger: WrappedLogger, _method: str, line: Any) -> str:
    return conceal(str(line))


def _in_order(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    first = {name: event[name] for name in ("time", "level", "event", "logger") if name in event}
    return {**first, **event}


def _redact_keys(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {key: _redacted(key, value, depth=8) for key, value in event.items()}


def _redacted(key: Any, value: Any, *, depth: int) -> Any:
    """`value`, or a mark where the key says that it is secret. Numbers are counts, not secrets."""
    if isinstance(value, bool | int | float | None):
        return value
    if _names_secret(key):
        return REDACTED
    if depth and isinstance(value, Mapping):
        return {inner: _redacted(inner, item, depth=depth - 1) for inner, item in value.items()}
    if depth and isinstance(value, list | tuple):
        return [_redacted("", item, depth=depth - 1) for item in value]
    return value


def _names_secret(key: Any) -> bool:
    name = str(key).lower().replace("-", "_").removesuffix("s")
    return name.endswith(SECRET_KEYS)
