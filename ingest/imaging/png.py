"""PNG files: metadata chunks are parsed here, with limits, and hidden from Pillow.

Pillow rejects a whole picture because of a long text or color profile, or a wrong checksum of a
chunk that the pixels don't need. So Pillow gets only the chunks with the pixels, and the others
(texts, EXIF, color) are parsed here; invalid ones are skipped.
"""

from __future__ import annotations

import io
import struct
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import IO, BinaryIO, NamedTuple

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_CHUNKS = 200_000  # a picture of 500 MB in chunks of 8 kB has 60,000
MAX_CHUNK_BYTES = 64 * 1024**2  # of a chunk parsed here
MAX_PROFILE_BYTES = 32 * 1024**2  # monitor profiles have up to 2 MB, printer profiles 10 MB
MAX_TEXT_BYTES = 8 * 1024**2  # XMP with an editing history can have 1 MB

CHANGES_PIXELS = b"tRNS"  # the only ancillary chunk that Pillow needs
COLOR_CHUNKS = (b"iCCP", b"cICP", b"sRGB", b"gAMA", b"cHRM")
TEXT_CHUNKS = (b"tEXt", b"zTXt", b"iTXt")
XMP_KEY = "XML:com.adobe.xmp"
# Texts that are used; Pillow reads EXIF from the raw profile, and the orientation from XMP.
RAW_XMP_KEY = "Raw profile type xmp"  # written by ImageMagick, in hexadecimal digits
DATE_KEYS = ("exif:DateTimeOriginal", "Creation Time")
TEXT_KEYS = frozenset((XMP_KEY, RAW_XMP_KEY, "Raw profile type exif", *DATE_KEYS))


class _Chunk(NamedTuple):
    kind: bytes
    at: int  # offset of its length field, where it begins
    length: int  # of its content, which begins 8 bytes later and is followed by 4 bytes


class _Part(NamedTuple):
    at: int
    length: int


def split_png(file: IO[bytes]) -> tuple[BinaryIO, dict[str, object]]:
    """Split a PNG into a file with only the pixel chunks, and metadata under Pillow's info keys.

    Additional keys: `cicp` (primaries, transfer function, matrix, full range), `xmp` (bytes). Bytes
    that are not valid chunks stay in the file, for Pillow to handle.
    """
    parts, info = [_Part(0, len(SIGNATURE))], dict[str, object]()
    end = len(SIGNATURE)
    for chunk in _iter_chunks(file):
        end = chunk.at + 12 + chunk.length
        if _is_critical(chunk.kind) or (
            chunk.kind == CHANGES_PIXELS and _content(file, chunk) is not None
        ):
            _append(parts, _Part(chunk.at, 12 + chunk.length))
        elif chunk.kind in (*COLOR_CHUNKS, *TEXT_CHUNKS, b"eXIf"):
            info |= _info_from_chunk(file, chunk)
    _append(parts, _Part(end, file.seek(0, io.SEEK_END) - end))
    return io.BufferedReader(_Spliced(file, parts)), info


def _append(parts: list[_Part], part: _Part) -> None:
    last = parts[-1]
    if last.at + last.length == part.at:
        parts[-1] = _Part(last.at, last.length + part.length)
    else:
        parts.append(part)


def _iter_chunks(file: IO[bytes]) -> Iterator[_Chunk]:
    """Iterate over complete chunks, up to IEND or the first invalid one."""
    whole = file.seek(0, io.SEEK_END)
    at = len(SIGNATURE)
    for _ in range(MAX_CHUNKS):
        file.seek(at)
        head = file.read(8)
        if len(head) < 8:
            return
        length, kind = struct.unpack(">I4s", head)
        if not kind.isalpha() or at + 12 + length > whole:
            return
        yield _Chunk(kind, at, length)
        if kind == b"IEND":
            return
        at += 12 + length


def _is_critical(kind: bytes) -> bool:
    return kind[:1].isupper()


def _content(file: IO[bytes], chunk: _Chunk) -> bytes | None:
    """Read a chunk's content; None if it is too long or its checksum is wrong."""
    if chunk.length > MAX_CHUNK_BYTES:
        return None
    file.seek(chunk.at + 8)
    content, checksum = file.read(chunk.length), file.read(4)
    if zlib.crc32(chunk.kind + content) != int.from_bytes(checksum):
        return None
    return content


def _info_from_chunk(file: IO[bytes], chunk: _Chunk) -> dict[str, object]:
    """Parse a chunk to entries of Pillow's info; empty if it is invalid."""
    content = _content(file, chunk)
    if content is None:
        return {}
    try:
        if chunk.kind in TEXT_CHUNKS:
            return _info_from_text(chunk.kind, content)
        return _INFO_FROM_CONTENT[chunk.kind](content)
    except (IndexError, ValueError, struct.error, zlib.error):
        return {}


def _info_from_profile(content: bytes) -> dict[str, object]:
    name, _, rest = content.partition(b"\0")
    if not name or rest[:1] != b"\0":  # 0 is zlib, the only compression method
        raise ValueError
    return {"icc_profile": _inflated(rest[1:], MAX_PROFILE_BYTES)}


def _info_from_chromaticities(content: bytes) -> dict[str, object]:
    return {"chromaticity": tuple(number / 100_000 for number in struct.unpack(">8I", content))}


_INFO_FROM_CONTENT: dict[bytes, Callable[[bytes], dict[str, object]]] = {
    b"iCCP": _info_from_profile,
    b"cICP": lambda content: {"cicp": struct.unpack(">4B", content)},
    b"sRGB": lambda content: {"srgb": content[0]},
    b"gAMA": lambda content: {"gamma": struct.unpack(">I", content)[0] / 100_000},
    b"cHRM": _info_from_chromaticities,
    b"eXIf": lambda content: {"exif": b"Exif\0\0" + content},
}


def _info_from_text(kind: bytes, content: bytes) -> dict[str, object]:
    key, _, rest = content.partition(b"\0")
    name = key.decode("latin-1")
    if name not in TEXT_KEYS:
        return {}
    if kind == b"iTXt":
        text = _international_text(rest)
    else:
        text = _inflated(rest[1:], MAX_TEXT_BYTES) if kind == b"zTXt" else rest
    if len(text) > MAX_TEXT_BYTES:
        return {}
    info: dict[str, object] = {name: _decoded(text)}
    if name == XMP_KEY:
        info["xmp"] = text
    elif name == RAW_XMP_KEY:
        info["xmp"] = bytes.fromhex("".join(_decoded(text).split("\n")[3:]))
    return info


def _international_text(rest: bytes) -> bytes:
    is_compressed = rest[0] == 1
    _language, _, rest = rest[2:].partition(b"\0")
    _translated_key, _, text = rest.partition(b"\0")
    return _inflated(text, MAX_TEXT_BYTES) if is_compressed else text


def _decoded(text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text.decode("latin-1")


def _inflated(compressed: bytes, at_most: int) -> bytes:
    """Decompress zlib data.

    Raises:
        ValueError: it is longer than `at_most` bytes, or truncated.
    """
    inflate = zlib.decompressobj()
    whole = inflate.decompress(compressed, at_most + 1)
    if len(whole) > at_most or not inflate.eof:
        raise ValueError
    return whole


class _Spliced(io.RawIOBase):
    """A read-only file that concatenates parts of another file."""

    def __init__(self, file: IO[bytes], parts: list[_Part]) -> None:
        self._file, self._parts = file, parts
        self._position = 0
        self._starts = [0]  # offset of each part, and the total length
        for part in parts:
            self._starts.append(self._starts[-1] + part.length)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._starts[-1]}
        self._position = max(0, base[whence] + offset)
        return self._position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        number = bisect_right(self._starts, self._position) - 1
        if number >= len(self._parts):
            return 0
        skipped = self._position - self._starts[number]
        part = self._parts[number]
        self._file.seek(part.at + skipped)
        read = self._file.read(min(len(buffer), part.length - skipped))
        buffer[: len(read)] = read
        self._position += len(read)
        return len(read)
