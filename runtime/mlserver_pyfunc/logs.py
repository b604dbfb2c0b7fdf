"""Logs as JSON, one object a line, for whoever collects them: ``PYFUNC_LOG_FORMAT=json``.

MLServer's own structured format puts messages between quotes as they are, so that one with a quote
in it is no JSON, and leaves tracebacks and uvicorn's lines as text.
"""

from __future__ import annotations

import json
import logging
import os
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from mlserver.context import model_name_var, model_version_var

from pyfunc_packaging.errors import InvalidSetting

VARIABLE = "PYFUNC_LOG_FORMAT"

#: The id of the request that is being answered, as its client gave it.
REQUEST_ID: ContextVar[str | None] = ContextVar("REQUEST_ID", default=None)

#: What uvicorn says when each of its servers starts, in a format of its own; MLServer has said it.
_CHATTER = (
    "Started server process",
    "Waiting for application startup",
    "Application startup complete",
    "Uvicorn running on",
)

#: Characters of an id that a line repeats; a client may send kilobytes.
_MAX_ID = 200


class JSONFormatter(logging.Formatter):
    """Formats a record as one JSON object: time, level, logger, message, and what else is known.

    ``model`` and ``version`` are there while a model is loaded or asked, ``request_id`` where the
    request has an id, ``traceback`` where an error is ours or the model's.

    Examples
    --------
    >>> record = logging.LogRecord("mlserver", logging.INFO, "", 0, 'a "%s"', ("b",), None)
    >>> line = json.loads(JSONFormatter().format(record))
    >>> line["level"], line["logger"], line["message"]
    ('INFO', 'mlserver', 'a "b"')
    """

    def format(self, record: logging.LogRecord) -> str:
        """One line; see :class:`logging.Formatter`."""
        moment = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, Any] = {
            "timestamp": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        identity = REQUEST_ID.get()
        for name, value in (
            ("model", model_name_var.get("")),
            ("version", model_version_var.get("")),
            ("request_id", identity and identity[:_MAX_ID]),
        ):
            if value:
                line[name] = value
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = self.formatStack(record.stack_info)
        # what is no Unicode (half a surrogate pair, of an id) is escaped, as ASCII is by default
        return json.dumps(line, default=str)


def choose_logging(settings: Any) -> None:
    """Let MLServer, uvicorn and every library log as ``PYFUNC_LOG_FORMAT`` says.

    Parameters
    ----------
    settings : mlserver.Settings
        Gets the configuration, which MLServer and uvicorn apply when they configure their logs.

    Raises
    ------
    InvalidSetting
        If the variable is neither ``json`` nor ``text``, or the settings say something else.
    """
    chosen = os.environ.get(VARIABLE) or "text"
    if chosen not in ("json", "text"):
        raise InvalidSetting(f"{VARIABLE} should be 'json' or 'text', found {chosen!r:.80}")
    if chosen == "text":
        if not settings.debug:
            # a filter, as every server of uvicorn's sets the level anew
            logging.getLogger("uvicorn.error").addFilter(_is_news)
        return
    if settings.logging_settings:
        raise InvalidSetting(
            f"{VARIABLE}=json, and MLServer's logging_settings say how to log, too; unset one of"
            f" them (they may name the formatter {__name__}.JSONFormatter)"
        )
    logging.captureWarnings(True)
    settings.logging_settings = _configuration("DEBUG" if settings.debug else "INFO")


def _is_news(record: logging.LogRecord) -> bool:
    return record.levelno > logging.INFO or not str(record.msg).startswith(_CHATTER)


def _configuration(level: str) -> dict[str, Any]:
    """For ``logging.config``: one handler, at the root, so that no line is anything else."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": f"{__name__}.JSONFormatter"}},
        "handlers": {
            "json": {
                "class": "logging.StreamHandler",
                "stream": "ext://sys.stdout",
                "formatter": "json",
            }
        },
        "root": {"handlers": ["json"], "level": "WARNING"},
        "loggers": {
            name: {"handlers": [], "propagate": True, "level": level}
            for name in ("mlserver", "uvicorn", "uvicorn.error", "uvicorn.access")
        },
    }
