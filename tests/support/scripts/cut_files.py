"""A script: `segsearch segment` for each of many files, in one process: the model is loaded once.

Usage: python cut_files.py FLAG... < FILES. One JSON line a file on stdout: a child of a test.
"""

from __future__ import annotations

import io
import json
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

from api.cli.main import main as segsearch


def outcome(path: str, flags: list[str]) -> dict[str, Any]:
    """Return what the command left behind, and the seconds of a processor that it took."""
    sys.argv = ["segsearch", "segment", path, "--json", *flags]
    out, err, code = io.StringIO(), io.StringIO(), None
    started = time.process_time()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            segsearch()
        except SystemExit as ended:
            code = ended.code
    seconds = time.process_time() - started
    said = {"path": path, "code": code, "err": err.getvalue(), "seconds": seconds}
    return said | {"found": json.loads(out.getvalue()) if out.getvalue() else None}


if __name__ == "__main__":
    given = sys.argv[1:]  # the command's own arguments take their place
    for line in sys.stdin:
        print(json.dumps(outcome(line.rstrip("\n"), given)), flush=True)
