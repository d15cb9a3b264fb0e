"""Color spaces that a file names by numbers: gamuts, HDR, gammas."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pillow_heif
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from ingest.imaging.color_spaces import (
    PRIMARIES,
    SRGB,
    ColorSpace,
    _matrix_to_srgb,
    color_space_from_info,
    srgb_from_space,
)
from ingest.imaging.decode import decode_bytes

pillow_heif.register_heif_opener()

ORANGE = (200, 100, 50)
BT2020, P3, UNSPECIFIED, VIDEO, PQ, HLG = 9, 12, 2, 1, 16, 18


def converted(color: tuple[int, int, int], **space: Any) -> list[int]:
    image = srgb_from_space(Image.new("RGB", (3, 300), color), ColorSpace(**space))
    levels = np.asarray(image).reshape(-1, 3)
    assert (levels == levels[0]).all()
    return [int(level) for level in levels[0]]


@pytest.mark.parametrize(
    ("primaries", "matrix"),
    [  # as the CSS Color specification and BT.2087 have them
        (P3, [[1.2249, -0.2249, 0], [-0.0420, 1.0420, 0], [-0.0197, -0.0786, 1.0979]]),
        (
            BT2020,
            [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]],
        ),
        (VIDEO, np.eye(3)),
    ],
)
def test_gamuts_are_converted_by_the_known_matrices(primaries: int, matrix: Any) -> None:
    assert _matrix_to_srgb(PRIMARIES[primaries]) == pytest.approx(np.array(matrix), abs=4e-4)


@pytest.mark.parametrize("primaries", PRIMARIES)
@pytest.mark.parametrize("transfer", ["sRGB", 1.8, 2.8])
def test_black_stays_black_and_white_white(primaries: int, transfer: Any) -> None:
    space = {"primaries": PRIMARIES[primaries], "transfer": transfer}
    assert converted((0, 0, 0), **space) == [0, 0, 0]
    assert converted((255, 255, 255), **space) == pytest.approx([255] * 3, abs=1)


def test_the_reference_white_of_hdr_is_nearly_white_and_brighter_light_is_brighter() -> None:
    for transfer, white in (("PQ", 148), ("HLG", 191)):  # 58% and 75%: 203 nits (BT.2408)
        grey, reference, bright, peak = (
            converted((level,) * 3, primaries=PRIMARIES[BT2020], transfer=transfer)[0]
            for level in (white // 2, white, white + 20, 255)
        )
        assert 240 <= reference <= 250
        assert 20 < grey < 120
        assert reference < bright <= peak == 255
        assert converted((0, 0, 0), transfer=transfer) == [0, 0, 0]


def test_half_the_linear_light_converts_exactly() -> None:
    assert converted((128, 128, 128), transfer=1.0) == [188] * 3
    assert converted((16, 235, 126), is_full_range=False) == pytest.approx([0, 255, 128], abs=1)


@given(st.tuples(*[st.floats(0, 1)] * 8), st.sampled_from(["PQ", "HLG", "sRGB", 2.2]))
def test_no_color_numbers_raise(primaries: Any, transfer: Any) -> None:
    image = Image.new("RGB", (2, 2), ORANGE)
    assert srgb_from_space(image, ColorSpace(primaries, transfer)).size == (2, 2)


def png(*chunks: tuple[bytes, bytes], mode: str = "RGB", color: Any = ORANGE) -> bytes:
    file = io.BytesIO()
    Image.new(mode, (4, 4), color).save(file, "PNG")
    data = file.getvalue()
    written = b"".join(
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )
    return data[:33] + written + data[33:]


def pixel(data: bytes) -> list[int]:
    photo = decode_bytes(data, max_pixels=10_000, max_bytes=10**6, name="a")
    return [int(level) for level in photo.rgb[0, 0]]


def gamma(value: float) -> tuple[bytes, bytes]:
    return b"gAMA", struct.pack(">I", round(value * 100_000))


def cicp(primaries: int, transfer: int, full: int = 1) -> tuple[bytes, bytes]:
    return b"cICP", bytes([primaries, transfer, 0, full])


PROFILE = (
    b"iCCP",
    b"a\0\0" + zlib.compress(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()),
)
P3_CHROMATICITIES = (b"cHRM", struct.pack(">8I", *(round(v * 100_000) for v in PRIMARIES[P3])))
SRGB_CHUNK = (b"sRGB", b"\0")


def test_a_png_s_color_numbers_are_used() -> None:
    as_p3 = converted(ORANGE, primaries=PRIMARIES[P3])
    assert as_p3 != list(ORANGE)
    assert pixel(png(cicp(P3, 13))) == as_p3
    assert pixel(png(cicp(BT2020, PQ))) == converted(
        ORANGE, primaries=PRIMARIES[BT2020], transfer="PQ"
    )
    assert pixel(png(gamma(0.45455), P3_CHROMATICITIES)) == as_p3
    assert pixel(png(gamma(1.0))) == converted(ORANGE, transfer=1.0)
    assert pixel(png(gamma(1.0), mode="L", color=128)) == [188] * 3
    assert pixel(png(cicp(VIDEO, 13, full=0))) == converted(ORANGE, is_full_range=False)


def test_profiles_and_cicp_have_priority_over_gamma() -> None:
    as_p3 = converted(ORANGE, primaries=PRIMARIES[P3])
    assert pixel(png(cicp(P3, 13), PROFILE, gamma(1.0))) == as_p3
    assert pixel(png(PROFILE, gamma(1.0))) == list(ORANGE)
    assert pixel(png(SRGB_CHUNK, gamma(1.0))) == list(ORANGE)


@pytest.mark.parametrize(
    "chunks",
    [
        [gamma(0.45455)],
        [gamma(0.0)],
        [gamma(0.00001)],
        [cicp(UNSPECIFIED, UNSPECIFIED)],
        [cicp(VIDEO, VIDEO)],
        [(b"cHRM", bytes(32))],
        [(b"cHRM", bytes(3))],
        [(b"cHRM", struct.pack(">8I", *(round(v * 100_000) for v in PRIMARIES[1])))],
    ],
)
def test_srgb_and_unknown_color_numbers_change_no_pixel(
    chunks: list[tuple[bytes, bytes]],
) -> None:
    assert pixel(png(*chunks)) == list(ORANGE)


@pytest.mark.parametrize("image_format", ["HEIF", "AVIF"])
@pytest.mark.parametrize(("primaries", "transfer"), [(P3, 13), (BT2020, PQ), (BT2020, HLG), (1, 1)])
def test_the_numbers_of_heif_and_avif_are_used(
    image_format: str, primaries: int, transfer: int
) -> None:
    file, options = io.BytesIO(), {"quality": 100, "chroma": 444, "subsampling": "4:4:4"}
    Image.new("RGB", (64, 64), ORANGE).save(file, image_format, **options)
    data = file.getvalue()
    at = data.index(b"colrnclx") + 8
    marked = data[:at] + struct.pack(">HH", primaries, transfer) + data[at + 4 :]
    names = {PQ: "PQ", HLG: "HLG"}
    expected = converted(
        ORANGE, primaries=PRIMARIES[primaries], transfer=names.get(transfer, "sRGB")
    )
    assert pixel(marked) == pytest.approx(expected, abs=6)


def test_a_heif_profile_has_priority_over_nclx_unless_that_is_hdr() -> None:
    nclx = {"color_primaries": P3, "transfer_characteristics": 13}
    assert color_space_from_info({"nclx_profile": nclx, "icc_profile": b"x"}) is None
    nclx["transfer_characteristics"] = PQ
    hdr = color_space_from_info({"nclx_profile": nclx, "icc_profile": b"x"})
    assert hdr == ColorSpace(PRIMARIES[P3], "PQ")
    assert color_space_from_info({"nclx_profile": {"color_primaries": "?"}}) == SRGB
    assert color_space_from_info({}) == SRGB
