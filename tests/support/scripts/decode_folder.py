"""Decode every file below a folder within 4 GiB; one JSON line each on stdout: a child of a test.

Usage: python decode_folder.py FOLDER
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

from ingest.imaging.decode import decode_photo
from search.errors import PhotoError
from support.scripts.own_memory import peak_bytes

MEMORY_BYTES = 4 * 1024**3


def outcome(path: Path) -> str:
    try:
        photo = decode_photo(path, max_pixels=200_000_000, max_bytes=500_000_000)
    except PhotoError as error:
        return f"{type(error).__name__}: {error}"
    return f"ok {photo.rgb.shape}"


def main(folder: Path) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        start = time.perf_counter()
        said = outcome(path)
        seconds = time.perf_counter() - start
        print(json.dumps({"path": str(path), "said": said, "seconds": seconds}), flush=True)
    print(json.dumps({"peak_mb": peak_bytes() // 1_000_000}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
