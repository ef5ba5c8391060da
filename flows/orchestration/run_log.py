"""The log of a run as Prefect keeps it: warnings of the program without what a document or an error's text holds.

Prefect's own forwarding (PREFECT_LOGGING_EXTRA_LOGGERS) sends whole messages and tracebacks to the server. It is turned
off for offramp's loggers, even where a worker's environment asks for it. The whole messages are on standard error.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from numbers import Number
from typing import Any

from prefect.context import FlowRunContext, TaskRunContext
from prefect.logging.handlers import APILogHandler

from flows.orchestration.summary import error_line
from stores.errors import OfframpError

PACKAGES = ("flows", "stores", "mappers")
_HIDDEN = "…"


class RunLog(APILogHandler):
    """Sends warnings to the log of the current flow or task run; outside of one it sends nothing."""

    def __init__(self) -> None:
        """Know no names yet."""
        super().__init__(logging.WARNING)
        self.names: set[str] = set()
        """Names of the plan, which a message may show."""

    def emit(self, record: logging.LogRecord) -> None:
        """Send the record as `shown` words it."""
        if FlowRunContext.get() is None and TaskRunContext.get() is None:
            return
        plain = logging.makeLogRecord(record.__dict__)
        plain.msg, plain.args = self.shown(record), ()
        plain.exc_info = plain.exc_text = plain.stack_info = None
        super().emit(plain)

    def shown(self, record: logging.LogRecord) -> str:
        """Return the message with its numbers and the plan's names; other arguments and the traceback are left out."""
        arguments = record.args if isinstance(record.args, tuple) else ()
        message = str(record.msg)
        try:
            message = message % tuple(map(self._argument, arguments)) if arguments else message
        except (TypeError, ValueError):
            message = record.name
        error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        return f"{message}: {error_line(error)}" if error is not None else message

    def _argument(self, value: Any) -> Any:
        if isinstance(value, OfframpError):
            return value.code
        if isinstance(value, BaseException):
            return type(value).__name__
        is_name = isinstance(value, str) and value in self.names
        return value if is_name or value is None or isinstance(value, Number) else _HIDDEN


_run_log = RunLog()


def use_run_log(names: Iterable[str]) -> None:
    """From now on warnings of the program go to the log of the run in which they arise, and by no other way."""
    _run_log.names.update(names)
    for package in PACKAGES:
        logger = logging.getLogger(package)
        for handler in [*logger.handlers]:
            if isinstance(handler, APILogHandler) and handler is not _run_log:
                logger.removeHandler(handler)
        logger.addHandler(_run_log)
