"""Lines of the log: for people, or one JSON object each for programs."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from api.settings import Settings
from api.tracing import current

TEXT = "%(asctime)s %(levelname)s %(message)s [%(request_id)s]"
NO_REQUEST = "-"


def configure_logging(settings: Settings) -> None:
    """Send the log to stderr in the form that was asked for; uvicorn's lines, too."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_with_request_id)
    handler.setFormatter(JsonLines() if settings.log_format == "json" else TextLines(TEXT))
    logging.basicConfig(force=True, handlers=[handler], level=logging.getLogger().level)
    logging.getLogger("api").setLevel(logging.INFO if settings.log_requests else logging.WARNING)


def _with_request_id(record: logging.LogRecord) -> bool:
    trace = current()
    record.request_id = trace.request_id if trace else NO_REQUEST
    return True


class TextLines(logging.Formatter):
    """Formats a record as one line, a traceback below it: no path that was asked for adds more."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = super().formatMessage(record)
        return line if line.isprintable() else ascii(line)[1:-1]


class JsonLines(logging.Formatter):
    """Formats a record as one JSON object; `extra={"fields": {...}}` adds to it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        moment = datetime.fromtimestamp(record.created, UTC)
        line = {
            "time": moment.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "request_id": getattr(record, "request_id", NO_REQUEST),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)
