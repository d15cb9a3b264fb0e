"""How much memory a process has, and has had at most."""

from __future__ import annotations

import re
import resource
import sys
from pathlib import Path


def rss_bytes() -> int:
    """Return resident memory now; where the system does not say, its peak until now."""
    return _from_status("VmRSS") or _from_rusage()


def peak_bytes(process_id: int | None = None) -> int:
    """Return the most resident memory so far, of this process or (on Linux) of another; 0: ended.

    Linux hands the peak of a parent on to a child's getrusage, so its own figure is read.
    """
    if process_id is not None:
        return _from_status("VmHWM", str(process_id)) or 0
    return _from_status("VmHWM") or _from_rusage()


def _from_status(name: str, process: str = "self") -> int | None:
    status = Path(f"/proc/{process}/status")
    if not status.exists():
        return None
    found = re.search(rf"{name}:\s+(\d+) kB", status.read_text())
    return int(found[1]) * 1024 if found else None


def _from_rusage() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
