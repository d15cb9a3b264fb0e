"""File extensions: photos that are ingested, and other pictures and videos that are counted."""

from __future__ import annotations

from ingest.imaging import raw

EXTENSIONS = frozenset((".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".gif"))
EXTENSIONS |= {".heic", ".heif", ".hif", ".avif", ".bmp", ".dib"} | raw.EXTENSIONS
EXTENSIONS |= {".jp2", ".j2k", ".jpf", ".jpx", ".j2c", ".jpc"}  # JPEG 2000

# Pictures and videos that a user may miss in a library: counted by extension, never opened.
UNREAD_EXTENSIONS = frozenset((".psd", ".psb", ".jxl", ".jxr", ".wdp", ".hdp", ".xcf", ".kra"))
UNREAD_EXTENSIONS |= {".jpm", ".mj2", ".tga", ".pcx", ".pnm", ".pbm", ".pgm", ".ppm", ".exr"}
UNREAD_EXTENSIONS |= {".hdr", ".heics", ".avifs", ".mpo", ".jps", ".apng", ".flif", ".bpg", ".qoi"}
UNREAD_EXTENSIONS |= {".insp", ".lfp", ".mos", ".eip", ".rwz", ".j6i"}
UNREAD_EXTENSIONS |= {".mov", ".mp4", ".m4v", ".avi", ".mts", ".m2ts", ".3gp", ".3g2", ".mkv"}
UNREAD_EXTENSIONS |= {".mpg", ".mpeg", ".wmv", ".webm", ".insv", ".lrv"}
