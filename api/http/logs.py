"""Log formats: text lines, or one JSON object per line."""

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
    """Log to stderr in the configured format, including uvicorn's records."""
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
    """One line per record, then its traceback; control characters in a URL path are escaped."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Escape the line unless it is printable."""
        line = super().formatMessage(record)
        return line if line.isprintable() else ascii(line)[1:-1]


class JsonLines(logging.Formatter):
    """One JSON object per record; `extra={"fields": {...}}` adds fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON."""
        time = datetime.fromtimestamp(record.created, UTC)
        line = {
            "time": time.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "request_id": getattr(record, "request_id", NO_REQUEST),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)
