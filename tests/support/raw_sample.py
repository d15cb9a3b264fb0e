"""A RAW file as a camera would leave it: a DNG with sensor values and a JPEG preview."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
from PIL import Image

from search.records import RgbImage

BYTE, ASCII, SHORT, LONG, SRATIONAL = 1, 2, 3, 4, 10
FORMATS = {BYTE: "B", SHORT: "H", LONG: "I", SRATIONAL: "i"}
SENSOR_WH = (64, 48)
Tag = tuple[int, int, list[int] | bytes]  # number, type, values


def save_dng(path: Path, preview: RgbImage | None, *, orientation: int = 1) -> Path:
    """Write a DNG dated 2024-05-01 12:00 whose preview is stored as (h, w, 3) pixels, if any."""
    width, height = SENSOR_WH
    sensor = np.random.default_rng(0).integers(0, 4000, (height, width), "<u2").tobytes()
    jpeg, preview_wh = _jpeg(preview) if preview is not None else (b"", (0, 0))
    first = 8
    sensor_at = first + 4096  # the tags take some hundred bytes
    jpeg_at = sensor_at + len(sensor)
    raw_ifd = first + 2048
    described: list[Tag] = [
        (271, ASCII, b"Test\0"),
        (272, ASCII, b"One\0"),
        (274, SHORT, [orientation]),
        (306, ASCII, b"2024:05:01 12:00:00\0"),
        (330, LONG, [raw_ifd]),
        (50706, BYTE, [1, 4, 0, 0]),
        (50708, ASCII, b"Test One\0"),
        (50721, SRATIONAL, [1, 1, 0, 1, 0, 1, 0, 1, 1, 1, 0, 1, 0, 1, 0, 1, 1, 1]),
        (50778, SHORT, [21]),
    ]
    if jpeg:
        described += _picture(1, preview_wh, [8, 8, 8], 7, 6, jpeg_at, len(jpeg))
    cfa: list[Tag] = [
        *_picture(0, SENSOR_WH, [16], 1, 32803, sensor_at, len(sensor)),
        (33421, SHORT, [2, 2]),
        (33422, BYTE, [0, 1, 1, 2]),
        (50717, SHORT, [4095]),
    ]
    parts = bytearray(jpeg_at)
    parts[:8] = b"II*\0" + struct.pack("<I", first)
    _write_ifd(parts, first, described)
    _write_ifd(parts, raw_ifd, cfa)
    parts[sensor_at:] = sensor
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(parts) + jpeg)
    return path


def _jpeg(rgb: RgbImage) -> tuple[bytes, tuple[int, int]]:
    stored = io.BytesIO()
    Image.fromarray(rgb).save(stored, "JPEG", quality=95)
    return stored.getvalue(), (rgb.shape[1], rgb.shape[0])


def _picture(
    kind: int,
    size_wh: tuple[int, int],
    bits: list[int],
    compression: int,
    photometric: int,
    at: int,
    length: int,
) -> list[Tag]:
    return [
        (254, LONG, [kind]),
        (256, LONG, [size_wh[0]]),
        (257, LONG, [size_wh[1]]),
        (258, SHORT, bits),
        (259, SHORT, [compression]),
        (262, SHORT, [photometric]),
        (273, LONG, [at]),
        (277, SHORT, [len(bits)]),
        (278, LONG, [size_wh[1]]),
        (279, LONG, [length]),
    ]


def _write_ifd(parts: bytearray, at: int, tags: list[Tag]) -> None:
    """Write a directory of tags, and after it the values that are too long for it."""
    tags = sorted(tags)
    values_at = at + 2 + 12 * len(tags) + 4
    struct.pack_into("<H", parts, at, len(tags))
    for number, (tag, kind, values) in enumerate(tags):
        packed = values if isinstance(values, bytes) else _packed(kind, values)
        count = len(packed) if kind == ASCII else len(values) // (2 if kind == SRATIONAL else 1)
        entry = at + 2 + 12 * number
        struct.pack_into("<HHI", parts, entry, tag, kind, count)
        if len(packed) <= 4:
            parts[entry + 8 : entry + 8 + len(packed)] = packed
            continue
        struct.pack_into("<I", parts, entry + 8, values_at)
        parts[values_at : values_at + len(packed)] = packed
        values_at += len(packed) + len(packed) % 2


def _packed(kind: int, values: list[int]) -> bytes:
    return struct.pack(f"<{len(values)}{FORMATS[kind]}", *values)
