"""Logs of changes only."""

from __future__ import annotations

import logging
import sys
import threading
from collections import OrderedDict
from collections.abc import Hashable, MutableMapping
from typing import Any, Literal

import structlog

from cloudroute.core.words import one_line

REMEMBERED = 10_000


def setup_logging(format: Literal["text", "json"], level: str) -> None:  # noqa: A002 (the flag's name)
    """Log to stderr, one line per event, times in UTC; `level` is debug, info, warning or error."""
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(default=str) if format == "json" else _text,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )
    logging.basicConfig(handlers=[_Forward()], level=max(number, logging.WARNING), force=True)


class _Forward(logging.Handler):
    """Forwards the log records of libraries, in the same form."""

    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger().log(record.levelno, record.getMessage(), logger=record.name)


_logfmt = structlog.processors.LogfmtRenderer()


def _text(logger: Any, name: str, event: MutableMapping[str, Any]) -> str:
    """Format for people, in one line: time, level, event, then key=value."""
    head = f"{event.pop('timestamp')} {event.pop('level'):<7} {event.pop('event')}"
    return one_line(f"{head} {_logfmt(logger, name, event)}".rstrip())


class ChangeLog:
    """Logs changes only: equal fields under one key are logged once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._said: OrderedDict[Hashable, tuple[str, dict[str, Any]]] = OrderedDict()

    def say(self, key: Hashable, event: str, *, warning: bool = False, **fields: Any) -> bool:
        """Log `event` with `fields` unless they equal the last ones under `key`. Returns whether it was logged."""
        words = (event, fields)
        with self._lock:
            if self._said.get(key) == words:
                return False
            self._said[key] = words
            self._said.move_to_end(key)
            if len(self._said) > REMEMBERED:
                self._said.popitem(last=False)
        structlog.get_logger().log(logging.WARNING if warning else logging.INFO, event, **fields)
        return True

    def forget(self, key: Hashable) -> bool:
        """Forget the last fields under `key`, so that the next are logged in any case. Returns whether it had any."""
        with self._lock:
            return self._said.pop(key, None) is not None
