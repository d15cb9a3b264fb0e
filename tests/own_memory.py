"""How much memory this process has, and has had at most."""

from __future__ import annotations

import re
import resource
import sys
from pathlib import Path


def rss_bytes() -> int:
    """Return resident memory now; where the system does not say, its peak until now."""
    return _from_status("VmRSS") or _from_rusage()


def peak_bytes() -> int:
    """Return the most resident memory so far.

    Linux hands the peak of a parent on to a child's getrusage, so its own figure is read.
    """
    return _from_status("VmHWM") or _from_rusage()


def _from_status(name: str) -> int | None:
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    found = re.search(rf"{name}:\s+(\d+) kB", status.read_text())
    return int(found[1]) * 1024 if found else None


def _from_rusage() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
