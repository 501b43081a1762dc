"""Logging: one line per event, text for people or JSON for machines, and no secrets.

What comes from clients is escaped (a newline in a topic's name cannot forge a line). Tokens are masked wherever they
would appear, tracebacks and uvicorn's own lines included: in query strings, behind the schemes of an Authorization
header or a subprotocol, and whatever else has the form of a JWT.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from typing import Literal

_SECRET = re.compile(
    r"((?:token|ticket|api_key|cf_connect)=)[^&\s\"']+"
    r"|(\b(?:bearer|apikey)[\s,]+|\bx-api-key[\s'\":,b]{1,8})[\w.+/=~-]{16,}"
    r"|\beyJ[\w-]{6,}\.[\w-]*\.[\w-]*",
    re.IGNORECASE,
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def mask(text: str) -> str:
    """The text with whatever is or stands for a token replaced by `***`."""
    return _SECRET.sub(r"\1\2***", text)


def _plain(text: str) -> str:
    return _CONTROL.sub(lambda found: f"\\x{ord(found.group()):02x}", mask(text))


def _indented(traceback: str) -> str:
    # An error's text may hold line breaks that somebody else chose, and none may begin what looks like an event.
    return "\n".join(f"  {_plain(line)}" for line in traceback.split("\n"))


class TextFormatter(logging.Formatter):
    """`time level logger: message`, for terminals; a traceback stands indented below."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and the traceback below it where there is one."""
        stamp = time.strftime("%H:%M:%S", time.localtime(record.created))
        line = f"{stamp} {record.levelname.lower():7} {record.name}: {_plain(record.getMessage())}"
        return f"{line}\n{_indented(self.formatException(record.exc_info))}" if record.exc_info else line


class JsonFormatter(logging.Formatter):
    """One JSON object per line: ts (ISO 8601, UTC), level, logger, msg, and exc with a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        entry = {
            "ts": f"{stamp}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "msg": mask(record.getMessage()),
        }
        if record.exc_info:
            entry["exc"] = mask(self.formatException(record.exc_info))
        return json.dumps(entry, ensure_ascii=False)


def configure(level: str, form: Literal["auto", "text", "json"]) -> None:
    """Sends all logging of the process to standard error in one form; replaces what was configured before."""
    text = form == "text" or (form == "auto" and sys.stderr.isatty())
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(TextFormatter() if text else JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "asyncio", "alembic"):
        logging.getLogger(name).handlers[:] = []
        logging.getLogger(name).propagate = True
    for name in ("uvicorn.access", "alembic", "aiosqlite", "httpx2", "httpcore2"):
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    logging.getLogger("uvicorn.error").setLevel(max(logging.WARNING, root.level))
